#ifndef INSTAR_CLUSTER_CUDA_LINKAGE_DISTANCES_CUH
#define INSTAR_CLUSTER_CUDA_LINKAGE_DISTANCES_CUH

// Distances between points under the metrics of agglomerative clustering on a GPU, in double and in the CPU's operations and order
// (detail/linkage_distances.inl): the same values to the last bit, so that equal distances are equal on both.
//
//     const point_distance measure(linkage_metric::cosine);
//     linkage_rows(ctx, op, points, d, 1, x, measure);                          // what distances are taken of, in double: [n][d]
//     const condensed_matrix<double> m{memory, n};
//     fill_distances(ctx, op, m, x, measure);
//
// And the nearest of what the threads of a block have, by (distance, slot).

#include <cmath>
#include <cstdint>

#include "instar/cluster/cuda/distance_tiles.cuh"
#include "instar/cluster/cuda/rows.cuh"
#include "instar/cluster/detail/linkage_kinds.hpp"

namespace instar::cluster::cuda {

/// From Σ of squared differences to the distance.
struct point_distance {
    double factor;
    bool root, unit;  ///< unit: of rows of length 1

    explicit point_distance(linkage_metric metric)
        : factor(metric == linkage_metric::cosine ? 0.5 : 1.0),
          root(metric == linkage_metric::euclidean),
          unit(metric == linkage_metric::cosine) {}
    __device__ double of_squares(double squares) const { return root ? sqrt(squares) : squares * factor; }
};

/// sum + by², both rounded.
__device__ __forceinline__ void add_square(double& sum, double by) { sum += __dmul_rn(by, by); }

/// factor = 1 / ‖row‖. A thread a row: the sum runs over the coordinates in order.
template <class T>
__global__ void unit_factors_kernel(double* factor, tensor_view<const T, 2> x) {
    const index_t r = grid_thread();
    if (r >= x.extent(0)) return;
    double squares = 0.0;
    for (index_t c = 0; c < x.extent(1); ++c) {
        const double v = static_cast<double>(to_float(x.data()[r * x.stride(0) + c]));
        squares += v * v;  // exact products: fused or not, the same
    }
    factor[r] = 1.0 / sqrt(squares);
}

/// to[r · row_step + c · column_step] = x, times its row's factor unless that is null.
template <class S, class T>
__global__ void linkage_rows_kernel(S* to, index_t row_step, index_t column_step, tensor_view<const T, 2> x,
                                    const double* factor) {
    const index_t i = grid_thread();
    if (i >= x.size()) return;
    // Neighbouring threads write neighbouring elements.
    const bool by_columns = row_step < column_step;
    const index_t r = by_columns ? i % x.extent(0) : i / x.extent(1),
                  c = by_columns ? i / x.extent(0) : i % x.extent(1);
    const double v = static_cast<double>(to_float(x.data()[r * x.stride(0) + c]));
    to[r * row_step + c * column_step] = static_cast<S>(factor != nullptr ? v * factor[r] : v);
}

/// The points that distances are taken of: x, of length 1 for cosine. S: double, or float where rows stay as they are.
template <class S, class T>
void linkage_rows(cuda_context& ctx, const char* op, S* to, index_t row_step, index_t column_step,
                  const tensor_view<const T, 2>& x, const point_distance& measure) {
    const scratch<double> factor(ctx, measure.unit ? x.extent(0) : 0, op);
    if (measure.unit)
        launch(ctx, op, unit_factors_kernel<T>, {blocks_for(x.extent(0), 128)}, {128}, 0, factor.data(), x);
    launch(ctx, op, linkage_rows_kernel<S, T>, {blocks_for(x.size(), 256)}, {256}, 0, to, row_step, column_step, x,
           factor.data());
}

/// The part of a matrix of distances above its diagonal, row by row, in device memory.
template <class S>
struct condensed_matrix {
    S* data;
    index_t n;

    INSTAR_HOST_DEVICE static index_t elements(index_t n) { return n * (n - 1) / 2; }
    /// Of elements (i, i + 1), (i, i + 2), ….
    INSTAR_HOST_DEVICE index_t row(index_t i) const { return i * n - i * (i + 1) / 2; }
    /// i ≠ j; the same element either way.
    INSTAR_HOST_DEVICE index_t place(index_t i, index_t j) const {
        return i < j ? row(i) + j - i - 1 : row(j) + i - j - 1;
    }
    __device__ S& operator()(index_t i, index_t j) const { return data[place(i, j)]; }
};

/// Points [n][d]; block (q, p): those of tile p with those of tile q, if any of these comes after.
template <class S>
__global__ void __launch_bounds__(k_tile_threads)
    fill_distances_kernel(condensed_matrix<S> matrix, const double* points, index_t d, point_distance measure) {
    const index_t first = block_y() * k_far_edge, j0 = block_x() * k_far_edge;
    if (j0 < first) return;
    shared_memory memory;
    const auto rows = memory.take<double>(k_far_stage), columns = memory.take<double>(k_far_stage);
    distance_tile sums = {};
    add_differences(sums, rows, columns, points, matrix.n, d, first, j0,
                    [](double& to, double by) { add_square(to, by); });
    INSTAR_UNROLL
    for (int i = 0; i < k_far_each; ++i) {
        INSTAR_UNROLL
        for (int j = 0; j < k_far_each; ++j) {
            const index_t r = first + far_row(i), c = j0 + far_column(j);
            if (r < c && c < matrix.n) matrix(r, c) = static_cast<S>(measure.of_squares(sums[i][j]));
        }
    }
}

/// The distances of the rows of x.
template <class S, class T>
void fill_distances(cuda_context& ctx, const char* op, const condensed_matrix<S>& matrix,
                    const tensor_view<const T, 2>& x, const point_distance& measure) {
    const index_t d = x.extent(1);
    const scratch<double> points(ctx, matrix.n * d, op);
    linkage_rows(ctx, op, points.data(), d, 1, x, measure);
    const unsigned tiles = blocks_for(matrix.n, k_far_edge);
    launch(ctx, op, fill_distances_kernel<S>, {tiles, tiles}, {k_tile_threads},
           2 * instar::cuda::shared_bytes<double>(k_far_stage), matrix, points.data(), d, measure);
}

/// A cluster and how far it is, by distance, then by slot.
struct nearest_slot {
    double distance = INFINITY;
    std::int32_t slot = 0x7fffffff;

    __device__ void take(const nearest_slot& other) {
        if (other.distance < distance || (other.distance == distance && other.slot < slot)) *this = other;
    }
};

inline constexpr int k_nearest_threads = k_block_warps * k_warp_size;  ///< of a block that searches

/// The nearest of all threads', in thread 0. Ends after a barrier.
__device__ __forceinline__ nearest_slot nearest_of_block(nearest_slot v) {
    INSTAR_SHARED_ARRAY(double, distances, k_block_warps);
    INSTAR_SHARED_ARRAY(std::int32_t, slots, k_block_warps);
    INSTAR_UNROLL
    for (int offset = k_warp_size / 2; offset > 0; offset /= 2) {
        const double distance = __shfl_xor_sync(k_full_warp, v.distance, offset);
        const std::int32_t slot = __shfl_xor_sync(k_full_warp, v.slot, offset);
        v.take({distance, slot});
    }
    if (lane_id() == 0) {
        distances[warp_id()] = v.distance;
        slots[warp_id()] = v.slot;
    }
    __syncthreads();
    if (thread_x() == 0) {
        for (int w = 1; w < k_block_warps; ++w) {
            const double distance = distances[w];
            const std::int32_t slot = slots[w];
            v.take({distance, slot});
        }
    }
    return v;
}

/// What the blocks of a search found, one after the other.
struct block_minima {
    double* distance;
    std::int32_t* slot;
    index_t n;

    __device__ void put(const nearest_slot& v) const {
        distance[block_x()] = v.distance;
        slot[block_x()] = v.slot;
    }
    /// The nearest of all, in thread 0 of a single block.
    __device__ nearest_slot nearest() const {
        nearest_slot best;
        for (index_t i = thread_x(); i < n; i += k_nearest_threads) best.take({distance[i], slot[i]});
        return nearest_of_block(best);
    }
};

/// Memory of the minima of a grid over n elements.
class block_minima_memory {
public:
    block_minima_memory(cuda_context& ctx, const char* op, index_t n)
        : n_(blocks_for(n, k_nearest_threads)),
          distance_(ctx, n_, op),
          slot_(ctx, n_, op) {}
    block_minima view() const { return {distance_.data(), slot_.data(), n_}; }
    extent3 grid() const { return {static_cast<unsigned>(n_)}; }

private:
    index_t n_;
    scratch<double> distance_;
    scratch<std::int32_t> slot_;
};

}  // namespace instar::cluster::cuda

#endif
