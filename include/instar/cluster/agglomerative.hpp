#ifndef INSTAR_CLUSTER_AGGLOMERATIVE_HPP
#define INSTAR_CLUSTER_AGGLOMERATIVE_HPP

// Agglomerative (hierarchical) clustering: every point is a cluster, the two nearest merge, until one is left.
//
//     auto tree   = cluster::agglomerative(ctx, x);                                            // ward, euclidean
//     auto labels = tree.cut({.n_clusters = 800});                                              // scikit-learn's labels_
//     auto other  = cluster::agglomerative(ctx, x, {.linkage = cluster::linkage::average, .metric = cluster::linkage_metric::cosine});
//     auto own    = cluster::agglomerative_precomputed(ctx, distances, {.linkage = cluster::linkage::complete});
//
// The tree is exact, and the one that SciPy and scikit-learn make; see the contract for what happens where distances tie.

#include <cstddef>
#include <functional>
#include <utility>

#include "instar/cluster/dendrogram.hpp"
#include "instar/cluster/detail/linkage_chain.hpp"
#include "instar/cluster/detail/linkage_checks.hpp"
#include "instar/cluster/detail/linkage_kinds.hpp"

#if !defined(__CUDACC__)
#include "instar/cluster/detail/agglomerative_centers.hpp"
#include "instar/cluster/detail/agglomerative_checks.hpp"
#include "instar/cluster/detail/agglomerative_generic.hpp"
#include "instar/cluster/detail/agglomerative_matrix.hpp"
#include "instar/cluster/detail/agglomerative_single.hpp"
#endif

namespace instar {
class cuda_context;
}

namespace instar::cluster {

struct agglomerative_options {
    cluster::linkage linkage = cluster::linkage::ward;
    linkage_metric metric = linkage_metric::euclidean;  ///< agglomerative_precomputed does not read it
    matrix_precision precision = matrix_precision::float64;
    std::function<void(index_t done, index_t total)> progress = {};  ///< merges so far, a few hundred times; may throw to stop
    std::size_t memory_limit = 0;                                    ///< bytes; 0 = what the system says is available
};

#if !defined(__CUDACC__)

/// The tree of merges of the rows of x.
///
/// | linkage                         | metric                | memory in bytes, about                 | method                     |
/// |---------------------------------|-----------------------|----------------------------------------|----------------------------|
/// | ward                            | euclidean             | n·(13·d + 700)                         | chain over means           |
/// | average                         | sqeuclidean, cosine   | n·(13·d + 700)                         | chain over means           |
/// | single                          | all                   | n·(16·d + 100)                         | minimum spanning tree      |
/// | average                         | euclidean             | n·(n − 1)/2 · (8 or 4) + n·(16·d + 400) | chain over a matrix        |
/// | complete, weighted              | all                   | the same                               | chain over a matrix        |
/// | centroid, median                | euclidean             | the same                               | generic algorithm          |
///
/// | argument | shape  | element |                                                                    |
/// |----------|--------|---------|--------------------------------------------------------------------|
/// | x        | [n, d] | float   | n ≥ 1, d ≥ 1, finite; no zero rows under cosine                     |
///
/// Heights are those of SciPy's linkage(x, method, metric), for ward √(2·|A|·|B|/(|A|+|B|))·‖mean A − mean B‖. All distances
/// that decide are computed in double from differences of coordinates; products of floats only tell which cannot decide.
///
/// Ties. Merges and labels are SciPy's and scikit-learn's where no two distances are equal, and where the equal ones are zero
/// (duplicate points). Other ties are broken as SciPy breaks them: the previous cluster of the chain, else the one of
/// smallest index. With a matrix of doubles (and with single linkage) distances also round as SciPy's do, so trees are equal
/// bit for bit. Over means they round differently: on structured points, such as those of a grid, ties then fall either way
/// and the trees differ, both being right. Where SciPy's choice is wanted there, give agglomerative_precomputed the distances.
/// Cosine distances are computed as ‖u − v‖²/2, more accurately than as 1 − u·v; their ties are not SciPy's.
///
/// Determinism: the same bits for any number of threads; between instruction sets, heights over means may differ in the last
/// bits. Cost over means: 2·n²·d FLOP for a first pass, then some 0.2·n² distances one row at a time; over a matrix O(n²) after
/// 3·n²·d/2; the generic algorithm is O(n³) at worst, O(n²) usually.
/// Throws, before any work: value_error for n = 0, d = 0, a value that is not finite (row and column named), a zero row under
/// cosine, ward, centroid or median with another metric than euclidean; memory_error, with the bytes, when more is needed
/// than memory_limit or the system allows.
/// Sources: Ward 1963 (JASA 58); Murtagh 1983 (Computer Journal 26); Müllner 2011 (arXiv:1109.2378).
inline dendrogram agglomerative(cpu_context& ctx, tensor_view<const float, 2> x, agglomerative_options options = {}) {
    using detail::center_linkage;
    const index_t n = x.extent(0), d = x.extent(1);
    const linkage l = options.linkage;
    const linkage_metric metric = options.metric;
    detail::check_linkage_metric(l, metric);
    detail::check_points(x, metric);
    const bool over_means = detail::over_means(l, metric);
    const bool over_matrix = !over_means && l != linkage::single;
    const bool wide = options.precision == matrix_precision::float64;
    const double per_point = over_means ? 13.0 * static_cast<double>(d) + 700.0 : 16.0 * static_cast<double>(d) + (over_matrix ? 400.0 : 100.0);
    detail::check_memory("agglomerative", l, n, per_point, over_matrix ? (wide ? 8 : 4) : 0, options.memory_limit);
    if (n == 1) return detail::make_dendrogram(1, {}, false, detail::child_order::ascending);
    if (over_means) {
        detail::agglomerative_centers clusters(ctx, x, l == linkage::ward ? center_linkage::ward : center_linkage::average, metric == linkage_metric::cosine);
        return detail::make_dendrogram(n, detail::nearest_neighbour_chain(clusters, n, options.progress), true, detail::child_order::ascending);
    }
    if (!over_matrix) {
        // scikit-learn grows this tree itself under euclidean, and then lists children as they merged; else SciPy does.
        const auto order = metric == linkage_metric::euclidean ? detail::child_order::as_merged : detail::child_order::ascending;
        return detail::make_dendrogram(n, detail::spanning_tree(ctx, x, metric).edges(options.progress), true, order);
    }
    if (wide) return detail::linkage_over_matrix(ctx, detail::linkage_matrix<double>(ctx, x, metric), l, options.progress);
    return detail::linkage_over_matrix(ctx, detail::linkage_matrix<float>(ctx, x, metric), l, options.progress);
}

namespace detail {

template <class T, int Rank>
dendrogram agglomerate_distances(cpu_context& ctx, tensor_view<const T, Rank> distances, const agglomerative_options& options) {
    const index_t n = points_of_distances(distances);
    const bool wide = options.precision == matrix_precision::float64;
    check_memory("agglomerative_precomputed", options.linkage, n, 400.0, wide ? 8 : 4, options.memory_limit);
    check_distances(distances, n);
    if (n == 1) return make_dendrogram(1, {}, false, child_order::ascending);
    if (wide) return linkage_over_matrix(ctx, copy_distances<double>(distances, n), options.linkage, options.progress);
    return linkage_over_matrix(ctx, copy_distances<float>(distances, n), options.linkage, options.progress);
}

}  // namespace detail

/// The tree of merges of n points whose distances are given: [n, n], of which the part above the diagonal is used, or
/// [n·(n − 1)/2], that part row by row (SciPy's condensed form). Float or double; copied, never changed.
///
/// Everything is as for agglomerative over a matrix; single linkage too. Ward, centroid and median take the distances for
/// euclidean ones, as SciPy does.
/// Throws, before any work: shape_error when an array is not square or its length not n·(n − 1)/2; value_error for n = 0, a
/// distance that is not finite, one below −1e-6 times the largest (above that a negative one counts as rounding, and as 0), a
/// square matrix that is not symmetric to 1e-5 or has something else than 0 on its diagonal (to 1e-5 of the largest);
/// memory_error as above.
inline dendrogram agglomerative_precomputed(cpu_context& ctx, tensor_view<const float, 2> square, agglomerative_options options = {}) {
    return detail::agglomerate_distances(ctx, square, options);
}
inline dendrogram agglomerative_precomputed(cpu_context& ctx, tensor_view<const double, 2> square, agglomerative_options options = {}) {
    return detail::agglomerate_distances(ctx, square, options);
}
inline dendrogram agglomerative_precomputed(cpu_context& ctx, tensor_view<const float, 1> condensed, agglomerative_options options = {}) {
    return detail::agglomerate_distances(ctx, condensed, options);
}
inline dendrogram agglomerative_precomputed(cpu_context& ctx, tensor_view<const double, 1> condensed, agglomerative_options options = {}) {
    return detail::agglomerate_distances(ctx, condensed, options);
}

#endif

/// The same on a GPU: x lies in device memory, the tree on the host. Every linkage and metric of the CPU.
///
/// | linkage                                               | memory in bytes, about               | method                        |
/// |-------------------------------------------------------|--------------------------------------|-------------------------------|
/// | ward; average of sqeuclidean or cosine                | n·(16·d + 300), 256 MiB of lists     | rounds of mutual neighbours   |
/// | single                                                | n·(6·d + 100); 12·d for cosine       | minimum spanning tree         |
/// | complete, weighted; average of euclidean              | n·(n − 1)/2 · (8 or 4) + n·(8·d + 100) | the CPU's chain over a matrix |
/// | centroid, median                                      | the same                             | the CPU's generic algorithm   |
///
/// Single linkage and all that goes over a matrix: distances are computed in double in the CPU's operations, and merges are chosen as the
/// CPU chooses them, also among equal distances: the CPU's tree bit for bit, ties included.
///
/// Over means, by rounds: every cluster looks for its nearest, all pairs that are each other's nearest merge. Float products say who may be
/// near enough, double decides, by (distance, smaller slot), as on the CPU. Where no two distances are equal the tree is the CPU's, heights
/// to rounding (double sums are added in another order) and labels number for number. Rows that coincide merge first, at height 0; so
/// where there are some, clusters are the CPU's, but their numbers need not be. Other ties fall either way, both being right.
///
/// The same bits on every run.
///
/// Cost: over means some 1.5 to 2.6 times 2·n²·d FLOP of float (a round searches for clusters alone that merged or whose nearest did), in a
/// few dozen rounds with six waits for the host each. Single: 3·n²·d FLOP of double, less for what is dropped on the way, 2·n launches and a
/// few hundred waits. Over a matrix 3·n²·d/2 FLOP of double, at most 6·n launches that read a row of the matrix each, a wait every 1,024 of
/// them; centroid and median some 4·n waits. memory_limit 0 stands for the device's memory.
/// Throws as on the CPU. T is float: a template, so that instar::compiled can hold it.
template <class T = float>
dendrogram agglomerative(cuda_context& ctx, in_view<T, 2> x, agglomerative_options options = {});

/// agglomerative_precomputed of distances in device memory; T: float or double, named by the caller when it is double. Everything as for
/// agglomerative over a matrix; errors as on the CPU, value by value.
template <class T = float>
dendrogram agglomerative_precomputed(cuda_context& ctx, in_view<T, 2> square, agglomerative_options options = {});
template <class T = float>
dendrogram agglomerative_precomputed(cuda_context& ctx, in_view<T, 1> condensed, agglomerative_options options = {});

}  // namespace instar::cluster

#if !defined(INSTAR_COMPILED) && (defined(__CUDACC__) || defined(INSTAR_CUDA_EMULATED))
#include "instar/cluster/cuda/agglomerative.cuh"
#endif

#endif
