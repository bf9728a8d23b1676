#ifndef INSTAR_CUDA_COLUMN_SUMS_CUH
#define INSTAR_CUDA_COLUMN_SUMS_CUH

// Sums over the rows of a matrix, as gradients of biases and of LayerNorm's parameters need them. No atomics: rows are cut
// into fixed ranges, each range has one adder per column, and the ranges' sums are added in order.
//
//     cuda::add_column_sums(ctx, "linear_backward", dbias, dy);        // dbias[c] += Σ_r dy[r, c]

#include "instar/cuda/launch.cuh"

namespace instar::cuda {

inline constexpr int k_column_sums_warps = 8;

/// A block adds 32 columns over one range of rows: lane = column, warp w takes rows w, w + 8, …
template <class To, class From, bool Accumulate>
__global__ void column_sums_kernel(To* to, index_t to_stride, const From* from, index_t row_stride, index_t n_rows, index_t n_columns,
                                   index_t rows_per_range) {
    INSTAR_SHARED_ARRAY(float, sums, k_column_sums_warps * k_warp_size);
    const index_t column = block_x() * k_warp_size + lane_id();
    const index_t begin = block_y() * rows_per_range;
    const index_t end = begin + rows_per_range < n_rows ? begin + rows_per_range : n_rows;
    float sum = 0.0f;
    if (column < n_columns) {
        for (index_t r = begin + warp_id(); r < end; r += k_column_sums_warps) sum += to_float(from[r * row_stride + column]);
    }
    sums[thread_x()] = sum;
    __syncthreads();
    if (warp_id() != 0 || column >= n_columns) return;
    for (int w = 1; w < k_column_sums_warps; ++w) sum += sums[w * k_warp_size + lane_id()];
    To& place = to[block_y() * to_stride + column];
    place = from_float<To>(Accumulate ? to_float(place) + sum : sum);
}

/// to[c] += Σ_r from[r, c]. The ranges depend on the shape alone, so the bits do too.
template <class To, class From>
void add_column_sums(cuda_context& ctx, const char* op, const tensor_view<To, 1>& to, const tensor_view<From, 2>& from) {
    using F = std::remove_const_t<From>;
    const index_t n_rows = from.extent(0), n_columns = from.extent(1);
    if (n_rows == 0) return;
    const unsigned strips = blocks_for(n_columns, k_warp_size);
    const extent3 block{k_column_sums_warps * k_warp_size};
    const index_t rows_per_range = std::max<index_t>(256, ceil_div(n_rows, 128));
    const index_t n_ranges = ceil_div(n_rows, rows_per_range);
    if (n_ranges == 1) {
        launch(ctx, op, column_sums_kernel<To, F, true>, {strips}, block, 0, to.data(), 0, from.data(), from.stride(0), n_rows, n_columns, n_rows);
        return;
    }
    const scratch<float> partial(ctx, n_ranges * n_columns, op);
    launch(ctx, op, column_sums_kernel<float, F, false>, {strips, static_cast<unsigned>(n_ranges)}, block, 0, partial.data(), n_columns,
           from.data(), from.stride(0), n_rows, n_columns, rows_per_range);
    launch(ctx, op, column_sums_kernel<To, float, true>, {strips}, block, 0, to.data(), 0, partial.data(), n_columns, n_ranges, n_columns,
           n_ranges);
}

}  // namespace instar::cuda

#endif
