#ifndef INSTAR_CLUSTER_CUDA_AGGLOMERATIVE_CUH
#define INSTAR_CLUSTER_CUDA_AGGLOMERATIVE_CUH

// Agglomerative clustering over means on a GPU, by rounds of reciprocal nearest neighbours: every cluster looks for its nearest one,
// all pairs that are each other's nearest merge at once. The chain of the CPU finds the same tree one merge after the other; a device
// wants the searches of a round together. (Murtagh 1983 has both.)
//
// A cluster looks again only when it merged, or the one it found did: a union is never nearer to a third cluster than the nearer of
// its parts was, so everybody else's nearest stays. Rows that coincide merge before the rounds, which would take them one a round.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include "instar/cluster/agglomerative.hpp"
#include "instar/cluster/cuda/nearest_clusters.cuh"

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

}  // namespace cuda

template <class T>
dendrogram agglomerative(cuda_context& ctx, in_view<T, 2> x, agglomerative_options options) {
    const char* const op = "agglomerative";
    detail::check_linkage_metric(options.linkage, options.metric);
    detail::check_points_shape(x);
    instar::detail::check_unit_stride(op, "x", x);
    const bool ward = options.linkage == linkage::ward;
    if (!detail::over_means(options.linkage, options.metric)) {
        throw value_error(std::string("agglomerative: ") + detail::linkage_name(options.linkage) +
                          " linkage with the " + detail::metric_name(options.metric) +
                          " metric needs a matrix of distances or a spanning tree, and runs on the CPU alone");
    }
    const std::vector<double> squares = cuda::row_squares<T>(ctx, op, x);
    cuda::check_finite_rows<T>(ctx, op, "x row", x, squares);
    const bool cosine = options.metric == linkage_metric::cosine;
    if (cosine) cuda::check_no_zero_row(op, "x row", squares, "its cosine undefined");
    const auto per_point = 16.0 * static_cast<double>(x.extent(1)) + 300.0;
    detail::check_memory(op, options.linkage, x.extent(0), per_point, 0,
                         options.memory_limit != 0 ? options.memory_limit : ctx.properties().memory_bytes);
    if (x.extent(0) == 1) return detail::make_dendrogram(1, {}, false, detail::child_order::ascending);
    return cuda::agglomerate_means<T>(ctx, op, x, squares, ward, cosine, options.progress);
}

}  // namespace instar::cluster

#endif
