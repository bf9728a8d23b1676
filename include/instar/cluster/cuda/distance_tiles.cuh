#ifndef INSTAR_CLUSTER_CUDA_DISTANCE_TILES_CUH
#define INSTAR_CLUSTER_CUDA_DISTANCE_TILES_CUH

// Differences of all coordinates of 64 points with those of 64 others, in double, added up in the registers of a block: what silhouettes
// and matrices of distances have in common.
//
//     shared_memory memory;
//     const auto rows = memory.take<double>(k_far_stage), columns = memory.take<double>(k_far_stage);
//     distance_tile sums = {};
//     add_differences(sums, rows, columns, x, n, d, first, j0, [](double& to, double by) { to += by * by; });
//     // sums[i][j]: points first + far_row(i) and j0 + far_column(j)
//
// Each sum is one chain over the coordinates in their order.

#include "instar/cluster/cuda/row_products.cuh"

namespace instar::cluster::cuda {

inline constexpr int k_far_edge = 64;  ///< points of a tile's side; a thread has 4 × 4 distances
inline constexpr int k_far_each = k_far_edge / k_tile_side;
inline constexpr int k_far_depth = 8;  ///< features in shared memory at once
inline constexpr int k_far_pitch = k_far_edge + 1;
inline constexpr int k_far_stage = k_far_depth * k_far_pitch;  ///< doubles of either side in shared memory

using distance_tile = double[k_far_each][k_far_each];

__device__ __forceinline__ int far_row(int i) { return thread_x() / k_tile_side + i * k_tile_side; }
__device__ __forceinline__ int far_column(int j) { return thread_x() % k_tile_side + j * k_tile_side; }

/// Depths first_depth … of points first … into shared memory, a depth after the other; zeros outside. at(i, c): a coordinate.
template <class At>
__device__ __forceinline__ void fetch_points(shared_array<double> to, At at, index_t n, index_t d, index_t first,
                                             index_t first_depth) {
    for (int q = thread_x(); q < k_far_edge * k_far_depth; q += k_tile_threads) {
        const index_t i = first + q / k_far_depth, c = first_depth + q % k_far_depth;
        to[q % k_far_depth * k_far_pitch + q / k_far_depth] = i < n && c < d ? at(i, c) : 0.0;
    }
}

/// add(sum, difference) for every coordinate of points first … of n_rows and j0 … of n_columns. All k_tile_threads threads of the block.
template <class Row, class Column, class F>
__device__ __forceinline__ void add_differences_between(distance_tile& sums, shared_array<double> rows,
                                                        shared_array<double> columns, Row row, index_t n_rows,
                                                        Column column, index_t n_columns, index_t d, index_t first,
                                                        index_t j0, F add) {
    for (index_t depth = 0; depth < d || depth == 0; depth += k_far_depth) {  // once for none: its barriers count
        __syncthreads();                                                      // the last depths have been read
        fetch_points(rows, row, n_rows, d, first, depth);
        fetch_points(columns, column, n_columns, d, j0, depth);
        __syncthreads();
        INSTAR_UNROLL
        for (int k = 0; k < k_far_depth; ++k) {
            double a[k_far_each], b[k_far_each];
            INSTAR_UNROLL
            for (int i = 0; i < k_far_each; ++i) {
                a[i] = rows[k * k_far_pitch + far_row(i)];
                b[i] = columns[k * k_far_pitch + far_column(i)];
            }
            INSTAR_UNROLL
            for (int i = 0; i < k_far_each; ++i) {
                INSTAR_UNROLL
                for (int j = 0; j < k_far_each; ++j) add(sums[i][j], a[i] - b[j]);
            }
        }
    }
}

/// The same among the points of x, [n][d].
template <class F>
__device__ __forceinline__ void add_differences(distance_tile& sums, shared_array<double> rows,
                                                shared_array<double> columns, const double* x, index_t n, index_t d,
                                                index_t first, index_t j0, F add) {
    const auto at = [=](index_t i, index_t c) { return x[i * d + c]; };
    add_differences_between(sums, rows, columns, at, n, at, n, d, first, j0, add);
}

}  // namespace instar::cluster::cuda

#endif
