#ifndef INSTAR_OPS_CUDA_GELU_CUH
#define INSTAR_OPS_CUDA_GELU_CUH

// GELU on a GPU: one pass, sixteen bytes a thread, erfc in float.
//
//     ops::gelu_forward(ctx, y, x);

#include "instar/cuda/launch.cuh"
#include "instar/cuda/vector.cuh"
#include "instar/ops/gelu.hpp"

namespace instar::ops {

namespace cuda {

/// Φ(x). Through erfc, so that the left tail keeps its digits.
__device__ __forceinline__ float normal_cdf(float x) { return 0.5f * erfcf(-0.70710678f * x); }

template <class T, int W>
__global__ void gelu_forward_kernel(T* y, const T* x, index_t n) {
    const index_t i = flat_begin<W>();
    if (i >= n) return;
    float v[W];
    load<W>(v, x + i, n - i);
    INSTAR_UNROLL
    for (int j = 0; j < W; ++j) v[j] *= normal_cdf(v[j]);
    store<W>(y + i, v, n - i);
}

template <class T, int W>
__global__ void gelu_backward_kernel(T* dx, const T* dy, const T* x, index_t n) {
    const index_t i = flat_begin<W>();
    if (i >= n) return;
    float v[W], g[W];
    load<W>(v, x + i, n - i);
    load<W>(g, dy + i, n - i);
    INSTAR_UNROLL
    for (int j = 0; j < W; ++j) {
        const float pdf = 0.39894228f * expf(-0.5f * v[j] * v[j]);
        g[j] *= normal_cdf(v[j]) + v[j] * pdf;
    }
    store<W>(dx + i, g, n - i);
}

/// For operators that end in one: `op` is what a failure names.
template <class T>
void gelu(cuda_context& ctx, const char* op, const tensor_view<T, 1>& y, const tensor_view<const T, 1>& x) {
    const index_t n = y.extent(0);
    instar::detail::check_shape(op, "x", x, {n});
    instar::detail::check_contiguous(op, "y", y);
    instar::detail::check_contiguous(op, "x", x);
    const auto run = [&]<int W>(std::integral_constant<int, W>) {
        launch(ctx, op, gelu_forward_kernel<T, W>, flat_grid<W>(n), {k_flat_threads}, 0, y.data(), x.data(), n);
    };
    with_pack<T>(packable(y, x), run);
}

}  // namespace cuda

template <class T>
void gelu_forward(cuda_context& ctx, tensor_view<T, 1> y, in_view<T, 1> x) {
    cuda::gelu<T>(ctx, "gelu_forward", y, x);
}

template <class T>
void gelu_backward(cuda_context& ctx, tensor_view<T, 1> dx, in_view<T, 1> dy, in_view<T, 1> x) {
    const index_t n = dx.extent(0);
    instar::detail::check_shape("gelu_backward", "dy", dy, {n});
    instar::detail::check_shape("gelu_backward", "x", x, {n});
    instar::detail::check_contiguous("gelu_backward", "dx", dx);
    instar::detail::check_contiguous("gelu_backward", "dy", dy);
    instar::detail::check_contiguous("gelu_backward", "x", x);
    const auto run = [&]<int W>(std::integral_constant<int, W>) {
        cuda::launch(ctx, "gelu_backward", cuda::gelu_backward_kernel<T, W>, cuda::flat_grid<W>(n), {cuda::k_flat_threads}, 0, dx.data(),
                     dy.data(), x.data(), n);
    };
    cuda::with_pack<T>(cuda::packable(dx, dy, x), run);
}

}  // namespace instar::ops

#endif
