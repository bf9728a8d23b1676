#ifndef INSTAR_CLUSTER_KNN_HPP
#define INSTAR_CLUSTER_KNN_HPP

// Exact nearest neighbours by blocks of matrix products.
//
//     auto nn = cluster::knn(ctx, queries, references, {.k = 1, .metric = cluster::knn_metric::cosine});
//     nn.index(q, 0);      // row of `references` nearest to query q
//     nn.distance(q, 0);
//     auto graph = cluster::knn(ctx, x, x, {.k = 15});                             // each row finds itself first (UMAP's way)
//     auto others = cluster::knn(ctx, x, x, {.k = 1, .exclude_self = true});       // leave one out
//
// The 1-NN probes, retrieval and UMAP use it. How it works: detail/knn_bounds.hpp (what products say about distances),
// detail/knn_candidates.hpp (who is kept), detail/knn_search.hpp (blocks, threads, halves); on a GPU cuda/knn.cuh, whose steps
// docs/kernels/clustering.md explains.

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "instar/cluster/detail/knn_rounding.hpp"
#include "instar/core/tensor.hpp"

#if !defined(__CUDACC__)
#include "instar/cluster/detail/knn_search.hpp"
#include "instar/core/cpu_context.hpp"
#endif

namespace instar {
class cuda_context;
}

namespace instar::cluster {

struct knn_options {
    index_t k = 1;
    knn_metric metric = knn_metric::euclidean;  ///< euclidean, cosine or inner_product
    bool exclude_self = false;                  ///< row i of `references` is query i, and not its neighbour
};

/// Neighbours by increasing distance, ties by increasing index.
struct knn_result {
    tensor<std::int32_t, 2> index;  // [n_queries, k]
    tensor<float, 2> distance;      // [n_queries, k]: euclidean, 1 − cosine, or −inner product
};

namespace detail {

inline void check_knn(tensor_view<const float, 2> queries, tensor_view<const float, 2> references,
                      const knn_options& options) {
    const index_t n_queries = queries.extent(0), n_references = references.extent(0), d = queries.extent(1),
                  k = options.k;
    if (references.extent(1) != d)
        throw shape_error("knn: references have shape " + shape_string(references) + ", expected [n, " +
                          std::to_string(d) + "]");
    instar::detail::check_unit_stride("knn", "queries", queries);
    instar::detail::check_unit_stride("knn", "references", references);
    if (n_references > std::numeric_limits<std::int32_t>::max()) {
        throw value_error("knn: " + std::to_string(n_references) + " references; indices hold at most 2147483647");
    }
    if (options.exclude_self && n_queries != n_references) {
        throw value_error("knn: exclude_self needs as many queries as references, there are " +
                          std::to_string(n_queries) + " and " + std::to_string(n_references));
    }
    const index_t most = n_references - (options.exclude_self ? 1 : 0);
    if (k < 1 || k > most) {
        throw value_error("knn: k is " + std::to_string(k) + ", must be between 1 and the " + std::to_string(most) +
                          (options.exclude_self ? " other" : "") + " references");
    }
}

inline bool same_rows(tensor_view<const float, 2> a, tensor_view<const float, 2> b) {
    return a.data() == b.data() && a.extent(0) == b.extent(0) && a.stride(0) == b.stride(0);
}

}  // namespace detail

#if !defined(__CUDACC__)

/// The k nearest rows of `references` for each row of `queries`.
///
/// | argument   | shape             | element |
/// |------------|-------------------|---------|
/// | queries    | [n_queries, d]    | float   |
/// | references | [n_references, d] | float   |
///
/// Products in float say which references may be near enough, with a bound of their rounding error; those are compared in double:
/// Σ(q − r)² of differences, of rows of length 1 for cosine (1 − cos is half of it), or the inner product. So the result is that
/// of comparing everything in double, whatever the norms, and rows that coincide are at distance 0 exactly. Ties go to the lower
/// index; a row that equals others need therefore not be its own first neighbour. Same bits for any number of threads.
///
/// Queries that are the references themselves (the same view) cost half: a product serves both rows.
/// Cost: 2·n_queries·n_references·d FLOP. Memory: 16 MiB of packed references; for each thread up to 2 MiB at d = 768; lists of
/// 1.5·k + 64 candidates of 12 bytes, for at most 8192 queries at once (for all, up to 512 MiB, when queries are the references).
///
/// Throws shape_error when d differs, or a last dimension's stride is not 1; value_error for k outside [1, n_references] (one
/// less with exclude_self), exclude_self with different numbers of rows, a value that is not finite (row and column named), and,
/// under cosine, a zero row.
inline knn_result knn(cpu_context& ctx, tensor_view<const float, 2> queries, tensor_view<const float, 2> references,
                      knn_options options = {}) {
    detail::check_knn(queries, references, options);
    const index_t n_queries = queries.extent(0), n_references = references.extent(0), k = options.k;
    const auto kernels = detail::knn_kernels::pick();
    const bool same_view = detail::same_rows(queries, references);
    const bool zero_allowed = options.metric != knn_metric::cosine;
    const std::vector<double> query_squares = detail::knn_squared_norms(ctx, kernels, "queries", queries, zero_allowed);
    const std::vector<double> reference_squares =
        same_view ? query_squares : detail::knn_squared_norms(ctx, kernels, "references", references, zero_allowed);
    knn_result result{tensor<std::int32_t, 2>({n_queries, k}), tensor<float, 2>({n_queries, k})};
    if (n_queries == 0) return result;
    const detail::knn_space space(kernels, queries, references, options.metric, query_squares, reference_squares);
    const bool halves = same_view && space.has_norm() && detail::knn_search::halves_pay(n_queries, k);
    detail::knn_search search(ctx, kernels, space, n_queries, n_references,
                              {.k = k, .exclude_self = options.exclude_self, .same_rows = halves});
    search.run(result.index, result.distance);
    return result;
}

#endif

/// The same on a GPU: queries and references lie in device memory, the result on the host, complete on return.
///
/// Everything is as on the CPU: who is a neighbour, the order and the distances are those of comparing everything in double;
/// products of floats (not TF32, whatever the context allows) only say who cannot be one. Sums in double are added in another order
/// than the CPU's, so two references whose distances differ by rounding alone, some 15 digits down, may change places; those that
/// coincide, or whose sums are exact, never do. The same bits on every run: nothing depends on the order of threads.
///
/// Cost: 2·n_queries·n_references·d FLOP of float, and some k·(1 + ln(n_references / k)) distances in double a query; while a list is
/// not full yet, every reference costs one, so k is meant to be well below n_references. Queries that are the references themselves
/// are centred once, their products are not halved. Memory: (n_queries + n_references)·d floats, and lists of 24·k + 1,040 bytes a
/// query and slice, at most about 256 MiB at once (one block's 128 queries at least).
/// Errors as on the CPU; device_error and memory_error of the device besides. T is float: a template, so that instar::compiled can
/// hold it.
template <class T = float>
knn_result knn(cuda_context& ctx, in_view<T, 2> queries, in_view<T, 2> references, knn_options options = {});

}  // namespace instar::cluster

#if !defined(INSTAR_COMPILED) && (defined(__CUDACC__) || defined(INSTAR_CUDA_EMULATED))
#include "instar/cluster/cuda/knn.cuh"
#endif

#endif
