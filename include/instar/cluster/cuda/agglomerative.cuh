#ifndef INSTAR_CLUSTER_CUDA_AGGLOMERATIVE_CUH
#define INSTAR_CLUSTER_CUDA_AGGLOMERATIVE_CUH

// Agglomerative clustering on a GPU. Over a matrix of distances: linkage_matrix.cuh; single linkage: spanning_tree.cuh. Over means: here, by
// rounds of reciprocal nearest neighbours: every cluster looks for its nearest one, all pairs that are each other's nearest merge at once.
// The chain of the CPU finds the same tree one merge after the other; a device wants the searches of a round together. (Murtagh 1983 has
// both.)
//
// A cluster looks again only when it merged, or the one it found did: a union is never nearer to a third cluster than the nearer of
// its parts was, so everybody else's nearest stays. Rows that coincide merge before the rounds, which would take them one a round.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include "instar/cluster/agglomerative.hpp"
#include "instar/cluster/cuda/given_distances.cuh"
#include "instar/cluster/cuda/linkage_matrix.cuh"
#include "instar/cluster/cuda/nearest_clusters.cuh"
#include "instar/cluster/cuda/spanning_tree.cuh"

namespace instar::cluster {

namespace cuda {

/// Merges of rows that coincide, each into the next such row; sizes and alive follow. Rows of equal hash are neighbours after sorting;
/// two that differ all the same are left to the rounds.
template <class T>
std::vector<detail::merge_record> merge_equal_rows(cuda_context& ctx, const char* op, const tensor_view<const T, 2>& x,
                                                   std::vector<std::int32_t>& sizes, std::vector<std::int32_t>& alive) {
    const index_t n = x.extent(0);
    const scratch<std::uint64_t> hashes(ctx, n, op);
    launch(ctx, op, hash_rows_kernel<T>, grid_of_rows(n), {k_row_threads}, 0, hashes.data(), x);
    const std::vector<std::uint64_t> hash = downloaded<std::uint64_t>(ctx, hashes.data(), n);
    std::vector<std::int32_t> order = alive;
    std::sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
        const std::uint64_t p = hash[static_cast<std::size_t>(a)], q = hash[static_cast<std::size_t>(b)];
        return p < q || (p == q && a < b);
    });
    std::vector<std::int32_t> pairs;
    for (std::size_t i = 1; i < order.size(); ++i) {
        if (hash[static_cast<std::size_t>(order[i - 1])] == hash[static_cast<std::size_t>(order[i])])
            pairs.insert(pairs.end(), {order[i - 1], order[i]});
    }
    std::vector<detail::merge_record> merges;
    if (pairs.empty()) return merges;
    const auto n_pairs = static_cast<index_t>(pairs.size()) / 2;
    const uploaded<std::int32_t> on_device(ctx, op, pairs);
    const scratch<int> flags(ctx, n_pairs, op);
    launch(ctx, op, same_rows_kernel<T>, grid_of_rows(n_pairs), {k_row_threads}, 0, flags.data(), x, on_device.data(),
           n_pairs);
    const std::vector<int> same = downloaded<int>(ctx, flags.data(), n_pairs);
    std::vector<std::int32_t> next(static_cast<std::size_t>(n), -1);
    for (std::size_t p = 0; p < same.size(); ++p) {
        if (same[p] != 0) next[static_cast<std::size_t>(pairs[2 * p])] = pairs[2 * p + 1];
    }
    for (std::int32_t a = 0; a < static_cast<std::int32_t>(n);
         ++a) {  // ascending: a row's own merges come before it goes on
        const std::int32_t b = next[static_cast<std::size_t>(a)];
        if (b < 0) continue;
        merges.push_back({a, b, 0.0});
        sizes[static_cast<std::size_t>(b)] += sizes[static_cast<std::size_t>(a)];
        sizes[static_cast<std::size_t>(a)] = 0;
    }
    std::erase_if(alive, [&](std::int32_t slot) { return sizes[static_cast<std::size_t>(slot)] == 0; });
    return merges;
}

/// unit: rows to length 1. n_slices: as search_cut has it.
template <class T>
dendrogram agglomerate_means(cuda_context& ctx, const char* op, const tensor_view<const T, 2>& x,
                             const std::vector<double>& squares, bool ward, bool unit,
                             const detail::linkage_progress& progress, index_t n_slices = 0) {
    const index_t n = x.extent(0);
    const auto at = [](auto& v, std::int32_t slot) -> auto& { return v[static_cast<std::size_t>(slot)]; };
    // A power of two, so that lengths are at most 1 and squares stay far from the limits of float.
    const double longest = std::sqrt(*std::max_element(squares.begin(), squares.end()));
    const int exponent = unit || longest == 0.0 ? 0 : std::ilogb(longest) + 1;
    const double unscale = std::ldexp(1.0, exponent);
    std::vector<double> factors(squares.size(), 1.0 / unscale);
    for (std::size_t i = 0; i < factors.size() && unit; ++i) factors[i] = 1.0 / std::sqrt(squares[i]);
    const auto height = [&](double distance) {
        return ward ? std::sqrt(distance) * unscale : unit ? 0.5 * distance : distance * unscale * unscale;
    };

    std::vector<std::int32_t> sizes(squares.size(), 1), alive(squares.size());
    std::iota(alive.begin(), alive.end(), 0);
    std::vector<detail::merge_record> merges = merge_equal_rows(ctx, op, x, sizes, alive);
    const cluster_centers centers(ctx, op, x, ward, factors, sizes);
    const detail::linkage_ticks tick(progress, n - 1);
    std::vector<std::int32_t> nearest(squares.size(), -1), rows(alive.size()), pairs;
    std::vector<double> distance(squares.size()), heights(squares.size(), 0.0);
    std::vector<char> touched(squares.size(), 0);
    std::iota(rows.begin(), rows.end(), 0);
    while (alive.size() > 1) {
        const nearest_found found = centers.nearest(ctx, alive, rows, n_slices);
        for (std::size_t r = 0; r < rows.size(); ++r) {
            const std::int32_t slot = at(alive, rows[r]);
            at(nearest, slot) = found.slot[r];
            at(distance, slot) = found.distance[r];
        }
        pairs.clear();
        for (const std::int32_t a : alive) {
            const std::int32_t b = at(nearest, a);
            if (b < a || at(nearest, b) != a) continue;
            // In exact arithmetic heights only grow towards the root.
            at(heights, b) = std::max({height(at(distance, a)), at(heights, a), at(heights, b)});
            merges.push_back({a, b, at(heights, b)});
            pairs.insert(pairs.end(), {a, b});
            at(touched, a) = 2;
            at(touched, b) = 1;
            tick(static_cast<index_t>(merges.size()));
        }
        centers.merge(ctx, pairs);
        std::erase_if(alive, [&](std::int32_t slot) { return at(touched, slot) == 2; });
        rows.clear();
        for (std::size_t p = 0; p < alive.size(); ++p) {
            if (at(touched, alive[p]) != 0 || at(touched, at(nearest, alive[p])) != 0)
                rows.push_back(static_cast<std::int32_t>(p));
        }
        for (const std::int32_t slot : pairs) at(touched, slot) = 0;
    }
    return detail::make_dendrogram(n, merges, true, detail::child_order::ascending);
}

/// The tree over a matrix, whatever the linkage. The matrix changes.
template <class S>
dendrogram linkage_over_matrix(cuda_context& ctx, const char* op, const condensed_matrix<S>& matrix, linkage l,
                               const detail::linkage_progress& progress) {
    const index_t n = matrix.n;
    constexpr auto k_order = detail::child_order::ascending;
    if (l == linkage::single)
        return detail::make_dendrogram(n, spanning_tree_of_matrix(ctx, op, matrix, progress), true, k_order);
    if (l == linkage::centroid || l == linkage::median) {
        generic_clusters<S> clusters(ctx, op, matrix, l);
        return detail::make_dendrogram(n, detail::generic_linkage(clusters, n, progress), false, k_order);
    }
    return detail::make_dendrogram(n, chain_over_matrix(ctx, op, matrix, l, progress), true, k_order);
}

/// The tree over a matrix of S that fill(matrix) fills.
template <class S, class Fill>
dendrogram linkage_over_new_matrix(cuda_context& ctx, const char* op, index_t n, linkage l,
                                   const detail::linkage_progress& progress, Fill&& fill) {
    const scratch<S> memory(ctx, condensed_matrix<S>::elements(n), op);
    const condensed_matrix<S> matrix{memory.data(), n};
    fill(matrix);
    return linkage_over_matrix(ctx, op, matrix, l, progress);
}
template <class Fill>
dendrogram linkage_over_new_matrix(cuda_context& ctx, const char* op, index_t n, const agglomerative_options& o,
                                   Fill&& fill) {
    if (o.precision == matrix_precision::float64)
        return linkage_over_new_matrix<double>(ctx, op, n, o.linkage, o.progress, fill);
    return linkage_over_new_matrix<float>(ctx, op, n, o.linkage, o.progress, fill);
}

inline std::size_t linkage_memory(cuda_context& ctx, const agglomerative_options& options) {
    return options.memory_limit != 0 ? options.memory_limit : ctx.properties().memory_bytes;
}

template <class T>
dendrogram agglomerate_given(cuda_context& ctx, const given_distances<T>& given, const agglomerative_options& options) {
    const char* const op = "agglomerative_precomputed";
    const index_t n = given.n;
    detail::check_memory(op, options.linkage, n, 100.0, options.precision == matrix_precision::float64 ? 8 : 4,
                         linkage_memory(ctx, options));
    check_given(ctx, op, given);
    if (n == 1) return detail::make_dendrogram(1, {}, false, detail::child_order::ascending);
    return linkage_over_new_matrix(ctx, op, n, options,
                                   [&](const auto& matrix) { copy_given(ctx, op, matrix, given); });
}

}  // namespace cuda

template <class T>
dendrogram agglomerative(cuda_context& ctx, in_view<T, 2> x, agglomerative_options options) {
    const char* const op = "agglomerative";
    const linkage l = options.linkage;
    const index_t n = x.extent(0);
    detail::check_linkage_metric(l, options.metric);
    detail::check_points_shape(x);
    instar::detail::check_unit_stride(op, "x", x);
    const bool over_means = detail::over_means(l, options.metric), over_matrix = !over_means && l != linkage::single,
               cosine = options.metric == linkage_metric::cosine;
    const std::vector<double> squares = cuda::row_squares<T>(ctx, op, x);
    cuda::check_finite_rows<T>(ctx, op, "x row", x, squares);
    if (cosine) cuda::check_no_zero_row(op, "x row", squares, "its cosine undefined");
    const auto d = static_cast<double>(x.extent(1));
    // A spanning tree has its points once and, while it drops those that have joined, half of them again.
    const double per_point = over_means ? 16.0 * d + 300.0 : (over_matrix ? 8.0 : cosine ? 12.0 : 6.0) * d + 100.0;
    detail::check_memory(op, l, n, per_point,
                         !over_matrix                                     ? 0
                         : options.precision == matrix_precision::float64 ? 8
                                                                          : 4,
                         cuda::linkage_memory(ctx, options));
    if (n == 1) return detail::make_dendrogram(1, {}, false, detail::child_order::ascending);
    if (over_means)
        return cuda::agglomerate_means<T>(ctx, op, x, squares, l == linkage::ward, cosine, options.progress);
    const cuda::point_distance measure(options.metric);
    if (over_matrix) {
        return cuda::linkage_over_new_matrix(ctx, op, n, options, [&](const auto& matrix) {
            cuda::fill_distances(ctx, op, matrix, tensor_view<const T, 2>(x), measure);
        });
    }
    // As the CPU lists children: scikit-learn's order under euclidean, else SciPy's.
    const auto order =
        options.metric == linkage_metric::euclidean ? detail::child_order::as_merged : detail::child_order::ascending;
    const auto edges = cosine ? cuda::spanning_tree_of_rows<double, T>(ctx, op, x, measure, options.progress)
                              : cuda::spanning_tree_of_rows<T, T>(ctx, op, x, measure, options.progress);
    return detail::make_dendrogram(n, edges, true, order);
}

template <class T>
dendrogram agglomerative_precomputed(cuda_context& ctx, in_view<T, 2> square, agglomerative_options options) {
    const index_t n = detail::points_of_distances<T>(square);
    instar::detail::check_unit_stride("agglomerative_precomputed", "distances", square);
    return cuda::agglomerate_given(ctx, cuda::given_distances<T>{square.data(), n, square.stride(0), true}, options);
}
template <class T>
dendrogram agglomerative_precomputed(cuda_context& ctx, in_view<T, 1> condensed, agglomerative_options options) {
    const index_t n = detail::points_of_distances<T>(condensed);
    instar::detail::check_unit_stride("agglomerative_precomputed", "distances", condensed);
    return cuda::agglomerate_given(ctx, cuda::given_distances<T>{condensed.data(), n, 0, false}, options);
}

}  // namespace instar::cluster

#endif
