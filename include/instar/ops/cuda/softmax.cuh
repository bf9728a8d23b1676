#ifndef INSTAR_OPS_CUDA_SOFTMAX_CUH
#define INSTAR_OPS_CUDA_SOFTMAX_CUH

// Softmax over rows on a GPU: a warp a row, or a block for long rows; the row is read from memory once and then from cache.
//
//     ops::softmax_forward(ctx, y, x);

#include "instar/cuda/launch.cuh"
#include "instar/cuda/row_group.cuh"
#include "instar/cuda/vector.cuh"
#include "instar/ops/softmax.hpp"

namespace instar::ops {

namespace cuda {

template <class T, int W, int Warps>
__global__ void softmax_forward_kernel(tensor_view<T, 2> y, tensor_view<const T, 2> x) {
    row_group<Warps> group;
    const index_t row = group.row(), d = y.extent(1);
    if (row >= y.extent(0)) return;
    const T* const from = x.data() + row * x.stride(0);
    T* const to = y.data() + row * y.stride(0);
    constexpr index_t k_step = row_group<Warps>::template step<W>();
    const index_t first = group.template first<W>();
    float v[W];
    float max = -INFINITY;
    bool nan = false;  // fmaxf ignores a NaN, which must reach the whole row
    for (index_t j = first; j < d; j += k_step) {
        load<W>(v, from + j);
        INSTAR_UNROLL
        for (int i = 0; i < W; ++i) {
            max = fmaxf(max, v[i]);
            nan = nan || v[i] != v[i];
        }
    }
    max = group.max(max);
    float sum = nan ? NAN : 0.0f;
    for (index_t j = first; j < d; j += k_step) {
        load<W>(v, from + j);
        INSTAR_UNROLL
        for (int i = 0; i < W; ++i) sum += expf(v[i] - max);
    }
    const float inverse = 1.0f / group.sum(sum);
    for (index_t j = first; j < d; j += k_step) {
        load<W>(v, from + j);
        INSTAR_UNROLL
        for (int i = 0; i < W; ++i) v[i] = expf(v[i] - max) * inverse;
        store<W>(to + j, v);
    }
}

template <class T, int W, int Warps>
__global__ void softmax_backward_kernel(tensor_view<T, 2> dx, tensor_view<const T, 2> dy, tensor_view<const T, 2> y) {
    row_group<Warps> group;
    const index_t row = group.row(), d = y.extent(1);
    if (row >= y.extent(0)) return;
    const T* const dy_row = dy.data() + row * dy.stride(0);
    const T* const y_row = y.data() + row * y.stride(0);
    T* const dx_row = dx.data() + row * dx.stride(0);
    constexpr index_t k_step = row_group<Warps>::template step<W>();
    const index_t first = group.template first<W>();
    float g[W], p[W];
    float sum = 0.0f;
    for (index_t j = first; j < d; j += k_step) {
        load<W>(g, dy_row + j);
        load<W>(p, y_row + j);
        INSTAR_UNROLL
        for (int i = 0; i < W; ++i) sum += g[i] * p[i];
    }
    sum = group.sum(sum);
    for (index_t j = first; j < d; j += k_step) {
        load<W>(g, dy_row + j);
        load<W>(p, y_row + j);
        INSTAR_UNROLL
        for (int i = 0; i < W; ++i) g[i] = p[i] * (g[i] - sum);
        store<W>(dx_row + j, g);
    }
}

}  // namespace cuda

template <class T>
void softmax_forward(cuda_context& ctx, tensor_view<T, 2> y, in_view<T, 2> x) {
    static constexpr const char* k_op = "softmax_forward";
    const index_t n_rows = y.extent(0), d = y.extent(1);
    instar::detail::check_shape(k_op, "x", x, {n_rows, d});
    instar::detail::check_unit_stride(k_op, "y", y);
    instar::detail::check_unit_stride(k_op, "x", x);
    const auto run = [&]<int W>(std::integral_constant<int, W>) {
        cuda::launch_rows(ctx, k_op, n_rows, d, cuda::softmax_forward_kernel<T, W, 1>, cuda::softmax_forward_kernel<T, W, cuda::k_block_warps>, y, x);
    };
    cuda::with_pack<T>(cuda::packable(y, x), run);
}

template <class T>
void softmax_backward(cuda_context& ctx, tensor_view<T, 2> dx, in_view<T, 2> dy, in_view<T, 2> y) {
    static constexpr const char* k_op = "softmax_backward";
    const index_t n_rows = dx.extent(0), d = dx.extent(1);
    instar::detail::check_shape(k_op, "dy", dy, {n_rows, d});
    instar::detail::check_shape(k_op, "y", y, {n_rows, d});
    instar::detail::check_unit_stride(k_op, "dx", dx);
    instar::detail::check_unit_stride(k_op, "dy", dy);
    instar::detail::check_unit_stride(k_op, "y", y);
    const auto run = [&]<int W>(std::integral_constant<int, W>) {
        cuda::launch_rows(ctx, k_op, n_rows, d, cuda::softmax_backward_kernel<T, W, 1>, cuda::softmax_backward_kernel<T, W, cuda::k_block_warps>,
                          dx, dy, y);
    };
    cuda::with_pack<T>(cuda::packable(dx, dy, y), run);
}

}  // namespace instar::ops

#endif
