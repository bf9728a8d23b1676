#ifndef INSTAR_OPS_CUDA_RELU_CUH
#define INSTAR_OPS_CUDA_RELU_CUH

// Sum and rectifier on a GPU: one pass, sixteen bytes a thread.
//
//     ops::add_relu(ctx, y, a, b);

#include "instar/cuda/launch.cuh"
#include "instar/cuda/vector.cuh"
#include "instar/ops/relu.hpp"

namespace instar::ops {

namespace cuda {

/// max(0, x); a comparison instead of fmaxf, which would lose a NaN.
__device__ __forceinline__ float rectified(float x) { return x < 0.0f ? 0.0f : x; }

template <class T, int W>
__global__ void add_relu_kernel(T* y, const T* a, const T* b, index_t n) {
    const index_t i = flat_begin<W>();
    if (i >= n) return;
    float va[W], vb[W];
    load<W>(va, a + i, n - i);
    load<W>(vb, b + i, n - i);
    INSTAR_UNROLL
    for (int j = 0; j < W; ++j) va[j] = rectified(va[j] + vb[j]);
    store<W>(y + i, va, n - i);
}

template <class T, int W>
__global__ void relu_backward_kernel(T* dx, const T* dy, const T* y, index_t n) {
    const index_t i = flat_begin<W>();
    if (i >= n) return;
    float g[W], v[W];
    load<W>(g, dy + i, n - i);
    load<W>(v, y + i, n - i);
    INSTAR_UNROLL
    for (int j = 0; j < W; ++j) g[j] = v[j] > 0.0f ? g[j] : 0.0f;
    store<W>(dx + i, g, n - i);
}

}  // namespace cuda

template <class T>
void add_relu(cuda_context& ctx, tensor_view<T, 1> y, in_view<T, 1> a, in_view<T, 1> b) {
    static constexpr const char* k_op = "add_relu";
    const index_t n = y.extent(0);
    instar::detail::check_shape(k_op, "a", a, {n});
    instar::detail::check_shape(k_op, "b", b, {n});
    instar::detail::check_contiguous(k_op, "y", y);
    instar::detail::check_contiguous(k_op, "a", a);
    instar::detail::check_contiguous(k_op, "b", b);
    const auto run = [&]<int W>(std::integral_constant<int, W>) {
        cuda::launch(ctx, k_op, cuda::add_relu_kernel<T, W>, cuda::flat_grid<W>(n), {cuda::k_flat_threads}, 0, y.data(), a.data(), b.data(), n);
    };
    cuda::with_pack<T>(cuda::packable(y, a, b), run);
}

template <class T>
void relu_backward(cuda_context& ctx, tensor_view<T, 1> dx, in_view<T, 1> dy, in_view<T, 1> y) {
    static constexpr const char* k_op = "relu_backward";
    const index_t n = dx.extent(0);
    instar::detail::check_shape(k_op, "dy", dy, {n});
    instar::detail::check_shape(k_op, "y", y, {n});
    instar::detail::check_contiguous(k_op, "dx", dx);
    instar::detail::check_contiguous(k_op, "dy", dy);
    instar::detail::check_contiguous(k_op, "y", y);
    const auto run = [&]<int W>(std::integral_constant<int, W>) {
        cuda::launch(ctx, k_op, cuda::relu_backward_kernel<T, W>, cuda::flat_grid<W>(n), {cuda::k_flat_threads}, 0, dx.data(), dy.data(), y.data(), n);
    };
    cuda::with_pack<T>(cuda::packable(dx, dy, y), run);
}

}  // namespace instar::ops

#endif
