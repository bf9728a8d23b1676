#ifndef INSTAR_CLUSTER_DETAIL_UMAP_SPECTRAL_HPP
#define INSTAR_CLUSTER_DETAIL_UMAP_SPECTRAL_HPP

// UMAP's start: the leading eigenvectors of the graph's normalised adjacency, component by component.
//
//     tensor<float, 2> y = umap_spectral(ctx, graph, x, n_components, rng);      // [n, n_components], largest coordinate 10
//
// Small components are decomposed exactly; large ones by subspace iteration with a Chebyshev filter (Zhou, Saad, Tiago, Chelikowsky 2006).
// A start needs no more digits than that gives.

#include <numeric>

#include "instar/cluster/detail/symmetric_eigen.hpp"
#include "instar/cluster/detail/umap_graph.hpp"
#include "instar/core/philox.hpp"
#include "instar/ops/gemm.hpp"

namespace instar::cluster::detail {

/// The eigenvectors 1 … m (not the constant 0) of D^-½ P D^-½ by falling value, [n, m]; P symmetric without empty rows, n > m + 1.
class umap_eigenvectors {
public:
    umap_eigenvectors(const umap_graph& graph) : graph_(graph), scale_(static_cast<std::size_t>(graph.n())) {
        for (index_t i = 0; i < graph.n(); ++i) {
            double degree = 0.0;
            for (index_t e = graph.start[static_cast<std::size_t>(i)]; e < graph.start[static_cast<std::size_t>(i) + 1]; ++e) degree += static_cast<double>(graph.weight[static_cast<std::size_t>(e)]);
            scale_[static_cast<std::size_t>(i)] = degree > 0.0 ? static_cast<float>(1.0 / std::sqrt(degree)) : 0.0f;
        }
    }

    tensor<float, 2> leading(cpu_context& ctx, index_t m, philox rng) const {
        const index_t n = graph_.n();
        tensor<float, 2> y({n, m});
        if (n <= 512) {
            std::vector<double> dense(static_cast<std::size_t>(n * n), 0.0);
            for (index_t i = 0; i < n; ++i) {
                for (index_t e = graph_.start[static_cast<std::size_t>(i)]; e < graph_.start[static_cast<std::size_t>(i) + 1]; ++e) {
                    const index_t j = graph_.column[static_cast<std::size_t>(e)];
                    dense[static_cast<std::size_t>(i * n + j)] = static_cast<double>(graph_.weight[static_cast<std::size_t>(e)] * scale_[static_cast<std::size_t>(i)] * scale_[static_cast<std::size_t>(j)]);
                }
            }
            const auto e = symmetric_eigen(n, std::move(dense));
            for (index_t i = 0; i < n; ++i) {
                for (index_t c = 0; c < m; ++c) y(i, c) = static_cast<float>(e.vectors[static_cast<std::size_t>((n - 2 - c) * n + i)]);
            }
            return y;
        }
        const index_t wide = std::min(n, (m + 1 + std::max<index_t>(8, m / 4) + 15) / 16 * 16);
        tensor<float, 2> q({n, wide}), a({n, wide}), b({n, wide});
        for (index_t i = 0; i < q.size(); ++i) q.data()[i] = rng.normal(static_cast<std::uint64_t>(i));
        std::vector<double> values;
        for (int round = 0; round < 8; ++round) {
            if (round > 0) filter(ctx, q, a, b, values.front());
            values = rayleigh_ritz(ctx, q, a, b);
        }
        for (index_t i = 0; i < n; ++i) {
            for (index_t c = 0; c < m; ++c) y(i, c) = q(i, c + 1);
        }
        return y;
    }

private:
    /// y = D^-½ P D^-½ x
    void multiply(cpu_context& ctx, tensor<float, 2>& y, const tensor<float, 2>& x) const {
        const index_t w = x.extent(1);
        parallel_for(ctx, graph_.n(), 64, [&](index_t begin, index_t end) {
            for (index_t i = begin; i < end; ++i) {
                float* const to = &y(i, 0);
                std::fill_n(to, w, 0.0f);
                for (index_t e = graph_.start[static_cast<std::size_t>(i)]; e < graph_.start[static_cast<std::size_t>(i) + 1]; ++e) {
                    const index_t j = graph_.column[static_cast<std::size_t>(e)];
                    const float s = graph_.weight[static_cast<std::size_t>(e)] * scale_[static_cast<std::size_t>(i)] * scale_[static_cast<std::size_t>(j)];
                    const float* const from = x.data() + j * w;
                    for (index_t c = 0; c < w; ++c) to[c] += s * from[c];
                }
            }
        });
    }

    /// q ← T₈((2S − (u − 1)) / (u + 1)) q: values in [−1, u] stay small, those above u grow.
    void filter(cpu_context& ctx, tensor<float, 2>& q, tensor<float, 2>& a, tensor<float, 2>& b, double u) const {
        const auto centre = static_cast<float>(0.5 * (u - 1.0)), half = static_cast<float>(std::max(0.5 * (u + 1.0), 1e-3));
        const auto step = [&](tensor<float, 2>& next, const tensor<float, 2>& now, float factor, const tensor<float, 2>* before) {
            multiply(ctx, next, now);
            for (index_t i = 0; i < next.size(); ++i) {
                next.data()[i] = factor * (next.data()[i] - centre * now.data()[i]) / half - (before != nullptr ? before->data()[i] : 0.0f);
            }
        };
        step(a, q, 1.0f, nullptr);
        tensor<float, 2> *before = &q, *now = &a, *next = &b;
        for (int degree = 2; degree <= 8; ++degree) {
            step(*next, *now, 2.0f, before);
            tensor<float, 2>* const free = before;
            before = now;
            now = next;
            next = free;
        }
        if (now != &q) std::copy(now->begin(), now->end(), q.begin());
    }

    /// Rotates q to approximate eigenvectors by falling value; returns the values.
    std::vector<double> rayleigh_ritz(cpu_context& ctx, tensor<float, 2>& q, tensor<float, 2>& a, tensor<float, 2>& b) const {
        const index_t w = q.extent(1);
        for (int pass = 0; pass < 2; ++pass) orthonormalise(ctx, q, a);
        multiply(ctx, a, q);
        tensor<float, 2> t({w, w});
        ops::gemm<float>(ctx, t.view(), q.view(), a.view(), {.transpose_a = true});
        std::vector<double> dense(static_cast<std::size_t>(w * w));
        for (index_t i = 0; i < w; ++i) {
            for (index_t j = 0; j < w; ++j) dense[static_cast<std::size_t>(i * w + j)] = 0.5 * (static_cast<double>(t(i, j)) + static_cast<double>(t(j, i)));
        }
        const auto e = symmetric_eigen(w, std::move(dense));
        for (index_t i = 0; i < w; ++i) {
            for (index_t c = 0; c < w; ++c) t(i, c) = static_cast<float>(e.vectors[static_cast<std::size_t>((w - 1 - c) * w + i)]);
        }
        ops::gemm<float>(ctx, b.view(), q.view(), t.view());
        std::copy(b.begin(), b.end(), q.begin());
        return e.values;  // ascending: the smallest kept one comes first
    }

    /// q ← q U Λ^-½ of its Gram matrix.
    static void orthonormalise(cpu_context& ctx, tensor<float, 2>& q, tensor<float, 2>& room) {
        const index_t w = q.extent(1);
        tensor<float, 2> gram({w, w});
        std::vector<double> length(static_cast<std::size_t>(w), 0.0);
        for (index_t i = 0; i < q.extent(0); ++i) {
            for (index_t c = 0; c < w; ++c) length[static_cast<std::size_t>(c)] += static_cast<double>(q(i, c)) * static_cast<double>(q(i, c));
        }
        for (double& l : length) l = l > 0.0 ? 1.0 / std::sqrt(l) : 0.0;
        for (index_t i = 0; i < q.extent(0); ++i) {
            for (index_t c = 0; c < w; ++c) q(i, c) *= static_cast<float>(length[static_cast<std::size_t>(c)]);
        }
        ops::gemm<float>(ctx, gram.view(), q.view(), q.view(), {.transpose_a = true});
        const auto e = symmetric_eigen(w, std::vector<double>(gram.begin(), gram.end()));
        for (index_t c = 0; c < w; ++c) {
            const double s = 1.0 / std::sqrt(std::max(e.values[static_cast<std::size_t>(c)], 1e-7 * e.values[static_cast<std::size_t>(w - 1)]));
            for (index_t i = 0; i < w; ++i) gram(i, c) = static_cast<float>(s * e.vectors[static_cast<std::size_t>(c * w + i)]);
        }
        ops::gemm<float>(ctx, room.view(), q.view(), gram.view());
        std::copy(room.begin(), room.end(), q.begin());
    }

    const umap_graph& graph_;
    std::vector<float> scale_;
};

/// Positions of components about which their points are laid out: ± unit axes, or, for more than 2·m, a spectral embedding of their means
/// in data space with affinities exp(−distance²).
inline tensor<float, 2> umap_component_centers(const std::vector<std::vector<double>>& means, index_t m) {
    const auto n = static_cast<index_t>(means.size());
    tensor<float, 2> y({n, m});
    if (n <= 2 * m) {
        const index_t half = (n + 1) / 2;
        for (index_t i = 0; i < n; ++i) y(i, i % half) = i < half ? 1.0f : -1.0f;
        return y;
    }
    if (n > 2048) {  // an exact decomposition would take minutes, and so many islands have no arrangement that two or fifty axes show
        const philox rng{1, 1};
        for (index_t i = 0; i < y.size(); ++i) y.data()[i] = 2.0f * rng.uniform(static_cast<std::uint64_t>(i)) - 1.0f;
        return y;
    }
    double mean_square = 0.0;
    std::vector<double> squares(static_cast<std::size_t>(n * n), 0.0);
    for (index_t i = 0; i < n; ++i) {
        for (index_t j = 0; j < i; ++j) {
            double s = 0.0;
            for (std::size_t p = 0; p < means[0].size(); ++p) s += std::pow(means[static_cast<std::size_t>(i)][p] - means[static_cast<std::size_t>(j)][p], 2);
            squares[static_cast<std::size_t>(i * n + j)] = squares[static_cast<std::size_t>(j * n + i)] = s;
            mean_square += 2.0 * s / static_cast<double>(n * (n - 1));
        }
    }
    // umap-learn takes exp(−d²) as it is, which is 0 or 1 throughout for data of large or small scale; distances are measured in their mean here.
    std::vector<double> degree(static_cast<std::size_t>(n), 0.0);
    for (index_t i = 0; i < n; ++i) {
        for (index_t j = 0; j < n; ++j) {
            double& s = squares[static_cast<std::size_t>(i * n + j)];
            s = i == j ? 0.0 : std::exp(-s / std::max(mean_square, 1e-300));
            degree[static_cast<std::size_t>(i)] += s;
        }
    }
    for (index_t i = 0; i < n; ++i) {
        for (index_t j = 0; j < n; ++j) squares[static_cast<std::size_t>(i * n + j)] /= std::sqrt(degree[static_cast<std::size_t>(i)] * degree[static_cast<std::size_t>(j)]);
    }
    const auto e = symmetric_eigen(n, std::move(squares));
    float largest = 0.0f;
    for (index_t i = 0; i < n; ++i) {
        for (index_t c = 0; c < m; ++c) {
            y(i, c) = static_cast<float>(e.vectors[static_cast<std::size_t>((n - 2 - c) * n + i)]);
            largest = std::max(largest, std::fabs(y(i, c)));
        }
    }
    for (auto& v : y) v /= std::max(largest, 1e-30f);
    return y;
}

inline tensor<float, 2> umap_spectral(cpu_context& ctx, const umap_graph& graph, tensor_view<const float, 2> x, index_t m, philox rng) {
    const index_t n = graph.n();
    std::vector<std::int32_t> of;
    const index_t n_parts = graph.components(of);
    tensor<float, 2> y({n, m});
    std::vector<std::vector<std::int32_t>> members(static_cast<std::size_t>(n_parts));
    for (index_t i = 0; i < n; ++i) members[static_cast<std::size_t>(of[static_cast<std::size_t>(i)])].push_back(static_cast<std::int32_t>(i));
    tensor<float, 2> centers({n_parts, m});
    double room = 1.0;
    if (n_parts > 1) {
        std::vector<std::vector<double>> means(members.size(), std::vector<double>(static_cast<std::size_t>(x.extent(1)), 0.0));
        for (std::size_t part = 0; part < members.size(); ++part) {
            for (const std::int32_t i : members[part]) {
                for (index_t p = 0; p < x.extent(1); ++p) means[part][static_cast<std::size_t>(p)] += static_cast<double>(x(i, p)) / static_cast<double>(members[part].size());
            }
        }
        centers = umap_component_centers(means, m);
    }
    for (std::size_t part = 0; part < members.size(); ++part) {
        const auto& own = members[part];
        const auto size = static_cast<index_t>(own.size()), row = static_cast<index_t>(part);
        if (n_parts > 1) {
            // Half the distance to the nearest other component.
            double nearest = std::numeric_limits<double>::infinity();
            for (index_t other = 0; other < n_parts; ++other) {
                double s = 0.0;
                for (index_t c = 0; c < m; ++c) s += std::pow(static_cast<double>(centers(row, c)) - static_cast<double>(centers(other, c)), 2);
                if (other != row && s > 0.0) nearest = std::min(nearest, s);
            }
            room = std::isinf(nearest) ? 1.0 : 0.5 * std::sqrt(nearest);
        }
        const philox own_rng = rng.fork(static_cast<std::uint64_t>(part));
        if (size < 2 * m || size <= m + 2) {
            for (index_t i = 0; i < size; ++i) {
                for (index_t c = 0; c < m; ++c) {
                    y(own[static_cast<std::size_t>(i)], c) = centers(row, c) + static_cast<float>(room * (2.0 * static_cast<double>(own_rng.uniform(static_cast<std::uint64_t>(i * m + c))) - 1.0));
                }
            }
            continue;
        }
        umap_graph sub;
        std::vector<std::int32_t> place(static_cast<std::size_t>(n_parts > 1 ? n : 0));
        if (n_parts > 1) {
            for (index_t i = 0; i < size; ++i) place[static_cast<std::size_t>(own[static_cast<std::size_t>(i)])] = static_cast<std::int32_t>(i);
            sub.start.push_back(0);
            for (const std::int32_t i : own) {
                for (index_t e = graph.start[static_cast<std::size_t>(i)]; e < graph.start[static_cast<std::size_t>(i) + 1]; ++e) {
                    sub.column.push_back(place[static_cast<std::size_t>(graph.column[static_cast<std::size_t>(e)])]);
                    sub.weight.push_back(graph.weight[static_cast<std::size_t>(e)]);
                }
                sub.start.push_back(static_cast<index_t>(sub.column.size()));
            }
        }
        const auto vectors = umap_eigenvectors(n_parts > 1 ? sub : graph).leading(ctx, m, own_rng);
        float largest = 0.0f;
        for (const float v : vectors) largest = std::max(largest, std::fabs(v));
        const float scale = static_cast<float>(room) / std::max(largest, 1e-30f);
        for (index_t i = 0; i < size; ++i) {
            for (index_t c = 0; c < m; ++c) y(own[static_cast<std::size_t>(i)], c) = centers(row, c) + scale * vectors(i, c);
        }
    }
    float largest = 0.0f;
    for (const float v : y) largest = std::max(largest, std::fabs(v));
    const philox noise = rng.fork(1000003);
    for (index_t i = 0; i < y.size(); ++i) y.data()[i] = y.data()[i] * 10.0f / std::max(largest, 1e-30f) + 1e-4f * noise.normal(static_cast<std::uint64_t>(i));
    return y;
}

}  // namespace instar::cluster::detail

#endif
