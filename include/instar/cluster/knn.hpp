#ifndef INSTAR_CLUSTER_KNN_HPP
#define INSTAR_CLUSTER_KNN_HPP

// Exact nearest neighbours by blocks of matrix products.
//
//     auto nn = cluster::knn(ctx, queries, references, {.k = 1, .metric = cluster::knn_metric::cosine});
//     nn.index(q, 0);      // row of `references` nearest to query q
//     nn.distance(q, 0);
//
// The 1-NN probes and retrieval use it.

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "instar/core/cpu_context.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/core/tensor.hpp"
#include "instar/ops/gemm.hpp"

namespace instar::cluster {

enum class knn_metric { euclidean, cosine, inner_product };

struct knn_options {
    index_t k = 1;
    knn_metric metric = knn_metric::euclidean;
};

/// Neighbours by increasing distance, ties by increasing index.
struct knn_result {
    tensor<std::int32_t, 2> index;  // [n_queries, k]
    tensor<float, 2> distance;      // [n_queries, k]: euclidean, 1 − cosine, or −inner product
};

namespace detail {

inline void check_finite(const char* argument, tensor_view<const float, 2> x) {
    for (index_t r = 0; r < x.extent(0); ++r) {
        for (index_t c = 0; c < x.extent(1); ++c) {
            if (!std::isfinite(x(r, c))) {
                throw value_error(std::string("knn: ") + argument + " row " + std::to_string(r) + ", column " + std::to_string(c) + " is not finite");
            }
        }
    }
}

/// Squared norms of the rows, in float from sums in double.
inline std::vector<double> row_norms(cpu_context& ctx, tensor_view<const float, 2> x) {
    std::vector<double> n(static_cast<std::size_t>(x.extent(0)));
    parallel_for(ctx, x.extent(0), 256, [&](index_t begin, index_t end) {
        for (index_t r = begin; r < end; ++r) {
            double s = 0;
            for (index_t c = 0; c < x.extent(1); ++c) s += static_cast<double>(x(r, c)) * static_cast<double>(x(r, c));
            n[static_cast<std::size_t>(r)] = s;
        }
    });
    return n;
}

}  // namespace detail

/// The k nearest rows of `references` for each row of `queries`.
///
/// queries: [n_queries, d], references: [n_references, d], float. Products by ops::gemm in blocks of at most 256 × 4096; the
/// candidates whose approximate distance lies within the rounding error of the k-th are compared again in double, so the
/// order is that of exact arithmetic. Same bits for any number of threads.
/// Cost: 2·n_queries·n_references·d FLOP; 4 MiB of scratch.
/// Throws value_error for k outside [1, n_references], a non-finite value (row and column named), or, under cosine, a zero
/// row; shape_error when d differs.
inline knn_result knn(cpu_context& ctx, tensor_view<const float, 2> queries, tensor_view<const float, 2> references, knn_options options) {
    const index_t n_q = queries.extent(0), n_r = references.extent(0), d = queries.extent(1), k = options.k;
    if (references.extent(1) != d) throw shape_error("knn: references have shape " + shape_string(references) + ", expected [n, " + std::to_string(d) + "]");
    if (k < 1 || k > n_r) throw value_error("knn: k is " + std::to_string(k) + ", must be between 1 and the " + std::to_string(n_r) + " references");
    detail::check_finite("queries", queries);
    detail::check_finite("references", references);
    const std::vector<double> q_norm = detail::row_norms(ctx, queries), r_norm = detail::row_norms(ctx, references);
    if (options.metric == knn_metric::cosine) {
        for (const auto* norms : {&q_norm, &r_norm}) {
            for (std::size_t i = 0; i < norms->size(); ++i) {
                if ((*norms)[i] == 0.0) throw value_error(std::string("knn: ") + (norms == &q_norm ? "queries" : "references") + " row " + std::to_string(i) + " is zero, its cosine undefined");
            }
        }
    }
    // Distance in double from a product in float or double.
    const auto distance = [&](double dot, index_t q, index_t r) {
        const double a = q_norm[static_cast<std::size_t>(q)], b = r_norm[static_cast<std::size_t>(r)];
        switch (options.metric) {
            case knn_metric::cosine: return 1.0 - dot / std::sqrt(a * b);
            case knn_metric::inner_product: return -dot;
            default: return a + b - 2.0 * dot;
        }
    };
    // |float product − exact| ≤ γ·‖q‖·‖r‖ with γ ≈ d·2⁻²⁴; doubled for safety.
    const double gamma = 2.0 * static_cast<double>(d + 8) * 0x1.0p-24;
    const auto error = [&](index_t q, index_t r) {
        const double ab = std::sqrt(q_norm[static_cast<std::size_t>(q)] * r_norm[static_cast<std::size_t>(r)]);
        switch (options.metric) {
            case knn_metric::cosine: return gamma;
            case knn_metric::inner_product: return gamma * ab;
            default: return 2.0 * gamma * ab;
        }
    };
    struct candidate {
        double low;  // approximate distance minus its error bound
        std::int32_t index;
    };
    knn_result result{tensor<std::int32_t, 2>({n_q, k}), tensor<float, 2>({n_q, k})};
    constexpr index_t k_q_block = 256, k_r_block = 4096;
    tensor<float, 2> products({std::min(n_q, k_q_block), std::min(n_r, k_r_block)});
    std::vector<std::vector<candidate>> kept(static_cast<std::size_t>(std::min(n_q, k_q_block)));
    std::vector<std::vector<double>> uppers(kept.size());
    for (index_t q0 = 0; q0 < n_q; q0 += k_q_block) {
        const index_t q1 = std::min(n_q, q0 + k_q_block);
        for (auto& c : kept) c.clear();
        for (auto& u : uppers) u.clear();
        for (index_t r0 = 0; r0 < n_r; r0 += k_r_block) {
            const index_t r1 = std::min(n_r, r0 + k_r_block);
            tensor_view<float, 2> p(products.data(), {q1 - q0, r1 - r0}, {products.extent(1), 1});
            ops::gemm<float>(ctx, p, queries.rows(q0, q1), references.rows(r0, r1), {.transpose_b = true});
            parallel_for(ctx, q1 - q0, 8, [&](index_t begin, index_t end) {
                for (index_t i = begin; i < end; ++i) {
                    auto& c = kept[static_cast<std::size_t>(i)];
                    auto& heap = uppers[static_cast<std::size_t>(i)];  // max-heap of the k smallest upper bounds
                    for (index_t j = 0; j < r1 - r0; ++j) {
                        const index_t q = q0 + i, r = r0 + j;
                        const double approx = distance(static_cast<double>(p(i, j)), q, r), e = error(q, r);
                        const bool full = static_cast<index_t>(heap.size()) == k;
                        if (full && approx - e > heap.front()) continue;
                        c.push_back({approx - e, static_cast<std::int32_t>(r)});
                        if (!full) {
                            heap.push_back(approx + e);
                            std::push_heap(heap.begin(), heap.end());
                        } else if (approx + e < heap.front()) {
                            std::pop_heap(heap.begin(), heap.end());
                            heap.back() = approx + e;
                            std::push_heap(heap.begin(), heap.end());
                        }
                        if (c.size() > static_cast<std::size_t>(4 * k + 64)) {
                            std::erase_if(c, [&](const candidate& x) { return x.low > heap.front(); });
                        }
                    }
                }
            });
        }
        parallel_for(ctx, q1 - q0, 8, [&](index_t begin, index_t end) {
            std::vector<std::pair<double, std::int32_t>> exact;
            for (index_t i = begin; i < end; ++i) {
                exact.clear();
                for (const candidate& c : kept[static_cast<std::size_t>(i)]) {
                    if (c.low > uppers[static_cast<std::size_t>(i)].front()) continue;
                    double dot = 0;
                    for (index_t t = 0; t < d; ++t) dot += static_cast<double>(queries(q0 + i, t)) * static_cast<double>(references(c.index, t));
                    exact.emplace_back(distance(dot, q0 + i, c.index), c.index);
                }
                std::partial_sort(exact.begin(), exact.begin() + static_cast<std::ptrdiff_t>(k), exact.end());
                for (index_t j = 0; j < k; ++j) {
                    const auto& [dist, r] = exact[static_cast<std::size_t>(j)];
                    result.index(q0 + i, j) = r;
                    result.distance(q0 + i, j) = static_cast<float>(options.metric == knn_metric::euclidean ? std::sqrt(std::max(dist, 0.0)) : dist);
                }
            }
        });
    }
    return result;
}

}  // namespace instar::cluster

#endif
