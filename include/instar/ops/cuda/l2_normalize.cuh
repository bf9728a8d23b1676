#ifndef INSTAR_OPS_CUDA_L2_NORMALIZE_CUH
#define INSTAR_OPS_CUDA_L2_NORMALIZE_CUH

// Rows to unit length on a GPU: a warp a row, or a block for long rows.
//
//     ops::l2_normalize_forward(ctx, y, inv_norm, x);

#include "instar/cuda/launch.cuh"
#include "instar/cuda/row_group.cuh"
#include "instar/cuda/vector.cuh"
#include "instar/ops/l2_normalize.hpp"

namespace instar::ops {

namespace cuda {

template <class T, int W, int Warps>
__global__ void l2_normalize_forward_kernel(tensor_view<T, 2> y, tensor_view<float, 1> inv_norm, tensor_view<const T, 2> x, float eps) {
    row_group<Warps> group;
    const index_t row = group.row(), d = y.extent(1);
    if (row >= y.extent(0)) return;
    const T* const from = x.data() + row * x.stride(0);
    T* const to = y.data() + row * y.stride(0);
    constexpr index_t k_step = row_group<Warps>::template step<W>();
    const index_t first = group.template first<W>();
    float v[W];
    float squares = 0.0f;
    for (index_t j = first; j < d; j += k_step) {
        load<W>(v, from + j);
        INSTAR_UNROLL
        for (int i = 0; i < W; ++i) squares += v[i] * v[i];
    }
    const float norm = sqrtf(group.sum(squares));
    const float inverse = 1.0f / (norm < eps ? eps : norm);  // a NaN stays one
    for (index_t j = first; j < d; j += k_step) {
        load<W>(v, from + j);
        INSTAR_UNROLL
        for (int i = 0; i < W; ++i) v[i] *= inverse;
        store<W>(to + j, v);
    }
    if (group.lane() == 0) inv_norm(row) = inverse;
}

template <class T, int W, int Warps>
__global__ void l2_normalize_backward_kernel(tensor_view<T, 2> dx, tensor_view<const T, 2> dy, tensor_view<const T, 2> y,
                                             tensor_view<const float, 1> inv_norm) {
    row_group<Warps> group;
    const index_t row = group.row(), d = y.extent(1);
    if (row >= y.extent(0)) return;
    const T* const dy_row = dy.data() + row * dy.stride(0);
    const T* const y_row = y.data() + row * y.stride(0);
    T* const dx_row = dx.data() + row * dx.stride(0);
    constexpr index_t k_step = row_group<Warps>::template step<W>();
    const index_t first = group.template first<W>();
    float g[W], v[W];
    float dot = 0.0f;
    for (index_t j = first; j < d; j += k_step) {
        load<W>(g, dy_row + j);
        load<W>(v, y_row + j);
        INSTAR_UNROLL
        for (int i = 0; i < W; ++i) dot += g[i] * v[i];
    }
    dot = group.sum(dot);
    const float inverse = inv_norm(row);
    for (index_t j = first; j < d; j += k_step) {
        load<W>(g, dy_row + j);
        load<W>(v, y_row + j);
        INSTAR_UNROLL
        for (int i = 0; i < W; ++i) g[i] = inverse * (g[i] - v[i] * dot);
        store<W>(dx_row + j, g);
    }
}

}  // namespace cuda

template <class T>
void l2_normalize_forward(cuda_context& ctx, tensor_view<T, 2> y, out_view<accumulator_t<T>, 1> inv_norm, in_view<T, 2> x, double eps) {
    static constexpr const char* k_op = "l2_normalize_forward";
    const index_t n_rows = y.extent(0), d = y.extent(1);
    instar::detail::check_shape(k_op, "inv_norm", inv_norm, {n_rows});
    instar::detail::check_shape(k_op, "x", x, {n_rows, d});
    instar::detail::check_unit_stride(k_op, "y", y);
    instar::detail::check_unit_stride(k_op, "x", x);
    const auto run = [&]<int W>(std::integral_constant<int, W>) {
        cuda::launch_rows(ctx, k_op, n_rows, d, cuda::l2_normalize_forward_kernel<T, W, 1>,
                          cuda::l2_normalize_forward_kernel<T, W, cuda::k_block_warps>, y, inv_norm, x, static_cast<float>(eps));
    };
    cuda::with_pack<T>(cuda::packable(y, x), run);
}

template <class T>
void l2_normalize_backward(cuda_context& ctx, tensor_view<T, 2> dx, in_view<T, 2> dy, in_view<T, 2> y, in_view<accumulator_t<T>, 1> inv_norm) {
    static constexpr const char* k_op = "l2_normalize_backward";
    const index_t n_rows = dx.extent(0), d = dx.extent(1);
    instar::detail::check_shape(k_op, "dy", dy, {n_rows, d});
    instar::detail::check_shape(k_op, "y", y, {n_rows, d});
    instar::detail::check_shape(k_op, "inv_norm", inv_norm, {n_rows});
    instar::detail::check_unit_stride(k_op, "dx", dx);
    instar::detail::check_unit_stride(k_op, "dy", dy);
    instar::detail::check_unit_stride(k_op, "y", y);
    const auto run = [&]<int W>(std::integral_constant<int, W>) {
        cuda::launch_rows(ctx, k_op, n_rows, d, cuda::l2_normalize_backward_kernel<T, W, 1>,
                          cuda::l2_normalize_backward_kernel<T, W, cuda::k_block_warps>, dx, dy, y, inv_norm);
    };
    cuda::with_pack<T>(cuda::packable(dx, dy, y), run);
}

}  // namespace instar::ops

#endif
