#ifndef INSTAR_OPS_CUDA_LAYER_NORM_CUH
#define INSTAR_OPS_CUDA_LAYER_NORM_CUH

// Layer normalisation on a GPU. Forward: a warp (or a block, for long rows) reads its row once from memory and twice more
// from cache. Backward: each warp walks over its rows, keeps its share of dweight and dbias in shared memory, and the shares
// are added in a fixed order, so there are no atomics and the bits never change.
//
//     ops::layer_norm_forward(ctx, y, {mean, rstd}, x, weight, bias, 1e-12);

#include "instar/cuda/column_sums.cuh"
#include "instar/cuda/launch.cuh"
#include "instar/cuda/row_group.cuh"
#include "instar/cuda/vector.cuh"
#include "instar/ops/layer_norm.hpp"

namespace instar::ops {

namespace cuda {

// --- forward -----------------------------------------------------------------------------------------------------------

template <class T, int W, int Warps>
__global__ void layer_norm_forward_kernel(tensor_view<T, 2> y, layer_norm_saved<T> saved, tensor_view<const T, 2> x, const T* weight,
                                          const T* bias, float eps) {
    row_group<Warps> group;
    const index_t row = group.row(), d = y.extent(1);
    if (row >= y.extent(0)) return;
    const T* const from = x.data() + row * x.stride(0);
    T* const to = y.data() + row * y.stride(0);
    constexpr index_t k_step = row_group<Warps>::template step<W>();
    const index_t first = group.template first<W>();
    float v[W], w[W], b[W];

    float sum = 0.0f;
    for (index_t j = first; j < d; j += k_step) {
        load<W>(v, from + j);
        INSTAR_UNROLL
        for (int i = 0; i < W; ++i) sum += v[i];
    }
    const float mean = group.sum(sum) / static_cast<float>(d);

    // Squares of differences, not a difference of squares: digits survive a large mean.
    float squares = 0.0f;
    for (index_t j = first; j < d; j += k_step) {
        load<W>(v, from + j);
        INSTAR_UNROLL
        for (int i = 0; i < W; ++i) squares += (v[i] - mean) * (v[i] - mean);
    }
    const float rstd = 1.0f / sqrtf(group.sum(squares) / static_cast<float>(d) + eps);

    for (index_t j = first; j < d; j += k_step) {
        load<W>(v, from + j);
        load<W>(w, weight + j);
        load<W>(b, bias + j);
        INSTAR_UNROLL
        for (int i = 0; i < W; ++i) v[i] = (v[i] - mean) * rstd * w[i] + b[i];
        store<W>(to + j, v);
    }
    if (group.lane() == 0) {
        saved.mean(row) = mean;
        saved.rstd(row) = rstd;
    }
}

// --- backward ----------------------------------------------------------------------------------------------------------

/// dx of rows_per_block rows; with Parameters also the block's sums of dy · xh and of dy, partial[block, 2, d]. A lane always
/// has the same columns, so its warp's sums in shared memory are its own and need no barrier until the end.
template <class T, int W, bool Parameters>
__global__ void layer_norm_backward_kernel(tensor_view<T, 2> dx, float* partial, tensor_view<const T, 2> dy, layer_norm_saved<T> saved,
                                           tensor_view<const T, 2> x, const T* weight, index_t rows_per_block) {
    const index_t n_rows = dx.extent(0), d = dx.extent(1);
    const int n_warps = static_cast<int>(blockDim.x) / k_warp_size;
    shared_memory memory;
    const shared_array<float> sums = memory.take<float>(Parameters ? n_warps * 2 * d : 0);
    const shared_array<float> dw = sums + warp_id() * 2 * d;
    const shared_array<float> db = dw + d;
    const index_t first = lane_id() * W;
    constexpr index_t k_step = k_warp_size * W;
    if constexpr (Parameters) {
        for (index_t j = first; j < d; j += k_step) {
            INSTAR_UNROLL
            for (int i = 0; i < W; ++i) dw[j + i] = db[j + i] = 0.0f;
        }
    }
    const index_t begin = block_x() * rows_per_block;
    const index_t end = begin + rows_per_block < n_rows ? begin + rows_per_block : n_rows;
    float g[W], v[W], w[W];
    for (index_t row = begin + warp_id(); row < end; row += n_warps) {
        const T* const dy_row = dy.data() + row * dy.stride(0);
        const T* const x_row = x.data() + row * x.stride(0);
        const float mean = saved.mean(row), rstd = saved.rstd(row);
        float sum_g = 0.0f, sum_gx = 0.0f;
        for (index_t j = first; j < d; j += k_step) {
            load<W>(g, dy_row + j);
            load<W>(v, x_row + j);
            load<W>(w, weight + j);
            INSTAR_UNROLL
            for (int i = 0; i < W; ++i) {
                const float xh = (v[i] - mean) * rstd;
                sum_g += g[i] * w[i];
                sum_gx += g[i] * w[i] * xh;
                if constexpr (Parameters) {
                    dw[j + i] += g[i] * xh;
                    db[j + i] += g[i];
                }
            }
        }
        const float mean_g = warp_sum(sum_g) / static_cast<float>(d), mean_gx = warp_sum(sum_gx) / static_cast<float>(d);
        T* const dx_row = dx.data() + row * dx.stride(0);
        for (index_t j = first; j < d; j += k_step) {
            load<W>(g, dy_row + j);
            load<W>(v, x_row + j);
            load<W>(w, weight + j);
            INSTAR_UNROLL
            for (int i = 0; i < W; ++i) g[i] = rstd * (g[i] * w[i] - mean_g - (v[i] - mean) * rstd * mean_gx);
            store<W>(dx_row + j, g);
        }
    }
    if constexpr (Parameters) {
        __syncthreads();
        for (index_t j = thread_x(); j < 2 * d; j += blockDim.x) {
            float sum = sums[j];
            for (int other = 1; other < n_warps; ++other) sum += sums[other * 2 * d + j];
            partial[block_x() * 2 * d + j] = sum;
        }
    }
}

/// dweight and dbias of rows too long for shared memory: a thread a column, over one range of rows.
template <class T>
__global__ void layer_norm_parameters_kernel(float* partial, tensor_view<const T, 2> dy, layer_norm_saved<T> saved,
                                             tensor_view<const T, 2> x, index_t rows_per_range) {
    const index_t column = grid_thread(), d = dy.extent(1), n_rows = dy.extent(0);
    if (column >= d) return;
    const index_t begin = block_y() * rows_per_range;
    const index_t end = begin + rows_per_range < n_rows ? begin + rows_per_range : n_rows;
    float dw = 0.0f, db = 0.0f;
    for (index_t row = begin; row < end; ++row) {
        const float g = to_float(dy.data()[row * dy.stride(0) + column]);
        dw += g * (to_float(x.data()[row * x.stride(0) + column]) - saved.mean(row)) * saved.rstd(row);
        db += g;
    }
    partial[block_y() * 2 * d + column] = dw;
    partial[block_y() * 2 * d + d + column] = db;
}

}  // namespace cuda

template <class T>
void layer_norm_forward(cuda_context& ctx, tensor_view<T, 2> y, std::type_identity_t<layer_norm_saved<T>> saved, in_view<T, 2> x,
                        in_view<T, 1> weight, in_view<T, 1> bias, double eps) {
    static constexpr const char* k_op = "layer_norm_forward";
    const index_t n_rows = y.extent(0), d = y.extent(1);
    instar::detail::check_shape(k_op, "x", x, {n_rows, d});
    instar::detail::check_shape(k_op, "weight", weight, {d});
    instar::detail::check_shape(k_op, "bias", bias, {d});
    instar::detail::check_shape(k_op, "saved.mean", saved.mean, {n_rows});
    instar::detail::check_shape(k_op, "saved.rstd", saved.rstd, {n_rows});
    instar::detail::check_unit_stride(k_op, "y", y);
    instar::detail::check_unit_stride(k_op, "x", x);
    instar::detail::check_unit_stride(k_op, "weight", weight);
    instar::detail::check_unit_stride(k_op, "bias", bias);
    const auto run = [&]<int W>(std::integral_constant<int, W>) {
        cuda::launch_rows(ctx, k_op, n_rows, d, cuda::layer_norm_forward_kernel<T, W, 1>,
                          cuda::layer_norm_forward_kernel<T, W, cuda::k_block_warps>, y, saved, x, weight.data(), bias.data(),
                          static_cast<float>(eps));
    };
    cuda::with_pack<T>(cuda::packable(y, x, weight, bias), run);
}

template <class T>
void layer_norm_backward(cuda_context& ctx, tensor_view<T, 2> dx, out_view<T, 1> dweight, out_view<T, 1> dbias, in_view<T, 2> dy,
                         std::type_identity_t<layer_norm_saved<T>> saved, in_view<T, 2> x, in_view<T, 1> weight) {
    static constexpr const char* k_op = "layer_norm_backward";
    const index_t n_rows = dx.extent(0), d = dx.extent(1);
    instar::detail::check_shape(k_op, "dweight", dweight, {d});
    instar::detail::check_shape(k_op, "dbias", dbias, {d});
    instar::detail::check_shape(k_op, "dy", dy, {n_rows, d});
    instar::detail::check_shape(k_op, "saved.mean", saved.mean, {n_rows});
    instar::detail::check_shape(k_op, "saved.rstd", saved.rstd, {n_rows});
    instar::detail::check_shape(k_op, "x", x, {n_rows, d});
    instar::detail::check_shape(k_op, "weight", weight, {d});
    instar::detail::check_unit_stride(k_op, "dx", dx);
    instar::detail::check_unit_stride(k_op, "dweight", dweight);
    instar::detail::check_unit_stride(k_op, "dbias", dbias);
    instar::detail::check_unit_stride(k_op, "dy", dy);
    instar::detail::check_unit_stride(k_op, "x", x);
    instar::detail::check_unit_stride(k_op, "weight", weight);
    if (n_rows == 0 || d == 0) return;

    // As many warps as 96 KiB of sums allow: two blocks fit in a multiprocessor of any device since sm_80.
    const index_t bytes_a_warp = 2 * d * static_cast<index_t>(sizeof(float));
    const index_t shared_bytes = std::min<index_t>(96 << 10, static_cast<index_t>(ctx.properties().shared_bytes_per_block));
    const index_t n_warps = std::min<index_t>(cuda::k_block_warps, shared_bytes / bytes_a_warp);
    const bool fits = n_warps > 0;
    const index_t rows_per_block = std::max<index_t>(fits ? 2 * n_warps : 8, cuda::ceil_div(n_rows, 256));
    const index_t n_blocks = cuda::ceil_div(n_rows, rows_per_block);
    const cuda::scratch<float> partial(ctx, n_blocks * 2 * d, k_op);
    if (!fits) {  // first: dx may overwrite dy
        cuda::launch(ctx, k_op, cuda::layer_norm_parameters_kernel<T>, {cuda::blocks_for(d, 256), static_cast<unsigned>(n_blocks)}, {256}, 0,
                     partial.data(), dy, saved, x, rows_per_block);
    }
    const auto run = [&]<int W>(std::integral_constant<int, W>) {
        const unsigned threads = cuda::k_warp_size * static_cast<unsigned>(fits ? n_warps : cuda::k_block_warps);
        const std::size_t shared = fits ? cuda::shared_bytes<float>(n_warps * 2 * d) : 0;
        cuda::launch(ctx, k_op, fits ? cuda::layer_norm_backward_kernel<T, W, true> : cuda::layer_norm_backward_kernel<T, W, false>,
                     {static_cast<unsigned>(n_blocks)}, {threads}, shared, dx, partial.data(), dy, saved, x, weight.data(), rows_per_block);
    };
    cuda::with_pack<T>(cuda::packable(dx, dy, x, weight), run);
    const index_t strides[2] = {2 * d, 1};
    cuda::add_column_sums(ctx, k_op, dweight, tensor_view<const float, 2>(partial.data(), {n_blocks, d}, strides));
    cuda::add_column_sums(ctx, k_op, dbias, tensor_view<const float, 2>(partial.data() + d, {n_blocks, d}, strides));
}

}  // namespace instar::ops

#endif
