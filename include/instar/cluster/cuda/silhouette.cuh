#ifndef INSTAR_CLUSTER_CUDA_SILHOUETTE_CUH
#define INSTAR_CLUSTER_CUDA_SILHOUETTE_CUH

// Silhouettes on a GPU: 64 points a block against all others, 64 at a time, in double. Points are sorted by cluster, so the columns of
// a tile are runs of clusters: one thread a row walks along them, and whenever a cluster ends its mean is the row's own, or one more
// candidate for the nearest. No matrix of distances, no matrix of points by clusters.

#include <algorithm>
#include <cmath>
#include <vector>

#include "instar/cluster/cuda/distance_tiles.cuh"
#include "instar/cluster/cuda/rows.cuh"
#include "instar/cluster/silhouette.hpp"

namespace instar::cluster {

namespace cuda {

/// to[i] = the row of sorted point i, in double, divided by its length when `lengths` are given. A warp a row.
template <class T>
__global__ void sorted_rows_kernel(double* to, tensor_view<const T, 2> x, const std::int32_t* rows,
                                   const double* squares) {
    const index_t i = own_row();
    if (i >= x.extent(0)) return;
    const index_t r = rows[i];
    const double length = squares != nullptr ? sqrt(squares[r]) : 1.0;
    for (index_t c = lane_id(); c < x.extent(1); c += k_warp_size)
        to[i * x.extent(1) + c] = static_cast<double>(to_float(x.data()[r * x.stride(0) + c])) / length;
}

/// own[i]: Σ of distances within the cluster; nearest[i]: least mean distance to another. x: sorted, [n][d]; ids: of sorted points.
template <silhouette_metric Metric>
__global__ void __launch_bounds__(k_tile_threads)
    silhouette_kernel(double* own, double* nearest, const double* x, const std::int32_t* ids, const index_t* begin,
                      index_t n, index_t d) {
    shared_memory memory;
    const auto rows = memory.take<double>(k_far_depth * k_far_pitch),
               columns = memory.take<double>(k_far_depth * k_far_pitch),
               tile = memory.take<double>(k_far_edge * k_far_pitch);
    const index_t first = block_x() * k_far_edge, row = first + thread_x();
    const bool walks = thread_x() < k_far_edge && row < n;
    double sum = 0.0, own_sum = 0.0, least = INFINITY;  // of a walker's row
    for (index_t j0 = 0; j0 < n; j0 += k_far_edge) {
        distance_tile distance = {};
        add_differences(distance, rows, columns, x, n, d, first, j0, [](double& to, double by) {
            if constexpr (Metric == silhouette_metric::manhattan) to += fabs(by);
            else if constexpr (Metric == silhouette_metric::chebyshev) to = fmax(to, fabs(by));
            else to += by * by;
        });
        INSTAR_UNROLL
        for (int i = 0; i < k_far_each; ++i) {
            INSTAR_UNROLL
            for (int j = 0; j < k_far_each; ++j) {
                const double v = distance[i][j];
                tile[far_row(i) * k_far_pitch + far_column(j)] = Metric == silhouette_metric::euclidean ? sqrt(v) : v;
            }
        }
        __syncthreads();
        for (int j = 0; walks && j < k_far_edge && j0 + j < n; ++j) {
            const double v = tile[thread_x() * k_far_pitch + j];
            sum += v;
            const std::int32_t cluster = ids[j0 + j];
            if (j0 + j + 1 != begin[cluster + 1]) continue;
            if (cluster == ids[row]) own_sum = sum;
            else least = fmin(least, sum / static_cast<double>(begin[cluster + 1] - begin[cluster]));
            sum = 0.0;
        }
    }
    if (!walks) return;
    own[row] = own_sum;
    nearest[row] = least;
}

template <class T>
std::vector<double> silhouettes(cuda_context& ctx, const char* op, const tensor_view<const T, 2>& x,
                                std::span<const std::int32_t> labels, silhouette_metric metric) {
    const detail::cluster_order order(op, x, labels);
    const index_t n = x.extent(0), d = x.extent(1);
    const bool cosine = metric == silhouette_metric::cosine;
    const std::vector<double> squares = row_squares(ctx, op, x);
    check_finite_rows(ctx, op, "row", x, squares);
    if (cosine) check_no_zero_row(op, "row", squares, "its cosine undefined");
    const uploaded<std::int32_t> rows(ctx, op, order.rows), ids(ctx, op, order.ids);
    const uploaded<index_t> begin(ctx, op, order.begin);
    const uploaded<double> lengths(ctx, op, squares);
    const scratch<double> sorted(ctx, n * d, op), sums(ctx, 2 * n, op);
    launch(ctx, op, sorted_rows_kernel<T>, grid_of_rows(n), {k_row_threads}, 0, sorted.data(), x, rows.data(),
           cosine ? lengths.data() : nullptr);
    constexpr std::size_t k_bytes = 2 * instar::cuda::shared_bytes<double>(k_far_depth * k_far_pitch) +
                                    instar::cuda::shared_bytes<double>(k_far_edge * k_far_pitch);
    const auto run = [&](auto kernel) {
        launch(ctx, op, kernel, {blocks_for(n, k_far_edge)}, {k_tile_threads}, k_bytes, sums.data(), sums.data() + n,
               sorted.data(), ids.data(), begin.data(), n, d);
    };
    switch (metric) {
    case silhouette_metric::euclidean:
        run(silhouette_kernel<silhouette_metric::euclidean>);
        break;
    case silhouette_metric::manhattan:
        run(silhouette_kernel<silhouette_metric::manhattan>);
        break;
    case silhouette_metric::chebyshev:
        run(silhouette_kernel<silhouette_metric::chebyshev>);
        break;
    default:
        run(silhouette_kernel<silhouette_metric::sqeuclidean>);
        break;  // halved for cosine: no ratio changes
    }
    const std::vector<double> found = downloaded<double>(ctx, sums.data(), 2 * n);
    std::vector<double> result(labels.size());
    for (index_t i = 0; i < n; ++i)
        result[static_cast<std::size_t>(order.rows[static_cast<std::size_t>(i)])] =
            order.silhouette(i, found[static_cast<std::size_t>(i)], found[static_cast<std::size_t>(n + i)]);
    return result;
}

}  // namespace cuda

template <class T>
std::vector<double> silhouette_samples(cuda_context& ctx, in_view<T, 2> x, std::span<const std::int32_t> labels,
                                       silhouette_metric metric) {
    return cuda::silhouettes<T>(ctx, "silhouette_samples", x, labels, metric);
}

template <class T>
double silhouette_score(cuda_context& ctx, in_view<T, 2> x, std::span<const std::int32_t> labels,
                        silhouette_metric metric) {
    const std::vector<double> each = cuda::silhouettes<T>(ctx, "silhouette_score", x, labels, metric);
    double sum = 0.0;
    for (const double s : each) sum += s;
    return sum / static_cast<double>(each.size());
}

}  // namespace instar::cluster

#endif
