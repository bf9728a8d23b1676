#ifndef INSTAR_OPS_CUDA_ELEMENTWISE_CUH
#define INSTAR_OPS_CUDA_ELEMENTWISE_CUH

// Flat passes on a GPU, sixteen bytes a thread.
//
//     ops::add(ctx, y, a, b);

#include "instar/cuda/launch.cuh"
#include "instar/cuda/vector.cuh"
#include "instar/ops/elementwise.hpp"

namespace instar::ops {

namespace cuda {

template <class T, int W>
__global__ void fill_kernel(T* y, float value, index_t n) {
    const index_t i = flat_begin<W>();
    if (i >= n) return;
    float v[W];
    INSTAR_UNROLL
    for (int j = 0; j < W; ++j) v[j] = value;
    store<W>(y + i, v, n - i);
}

template <class T, int W>
__global__ void copy_kernel(T* y, const T* x, index_t n) {
    const index_t i = flat_begin<W>();
    if (i >= n) return;
    float v[W];
    load<W>(v, x + i, n - i);
    store<W>(y + i, v, n - i);
}

template <class T, int W>
__global__ void add_kernel(T* y, const T* a, const T* b, index_t n) {
    const index_t i = flat_begin<W>();
    if (i >= n) return;
    float va[W], vb[W];
    load<W>(va, a + i, n - i);
    load<W>(vb, b + i, n - i);
    INSTAR_UNROLL
    for (int j = 0; j < W; ++j) va[j] += vb[j];
    store<W>(y + i, va, n - i);
}

template <class T, int W>
__global__ void scale_kernel(T* y, float factor, index_t n) {
    const index_t i = flat_begin<W>();
    if (i >= n) return;
    float v[W];
    load<W>(v, y + i, n - i);
    INSTAR_UNROLL
    for (int j = 0; j < W; ++j) v[j] *= factor;
    store<W>(y + i, v, n - i);
}

/// For operators that begin with one: `op` is what a failure names.
template <class T>
void fill_values(cuda_context& ctx, const char* op, const tensor_view<T, 1>& y, std::type_identity_t<T> value) {
    instar::detail::check_contiguous(op, "y", y);
    const index_t n = y.extent(0);
    const auto run = [&]<int W>(std::integral_constant<int, W>) {
        launch(ctx, op, fill_kernel<T, W>, flat_grid<W>(n), {k_flat_threads}, 0, y.data(), static_cast<float>(value), n);
    };
    with_pack<T>(packable(y), run);
}

}  // namespace cuda

template <class T>
void fill(cuda_context& ctx, tensor_view<T, 1> y, std::type_identity_t<T> value) {
    cuda::fill_values<T>(ctx, "fill", y, value);
}

template <class T>
void copy(cuda_context& ctx, tensor_view<T, 1> y, in_view<T, 1> x) {
    const index_t n = y.extent(0);
    instar::detail::check_shape("copy", "x", x, {n});
    instar::detail::check_contiguous("copy", "y", y);
    instar::detail::check_contiguous("copy", "x", x);
    if (y.data() == x.data()) return;
    const auto run = [&]<int W>(std::integral_constant<int, W>) {
        cuda::launch(ctx, "copy", cuda::copy_kernel<T, W>, cuda::flat_grid<W>(n), {cuda::k_flat_threads}, 0, y.data(), x.data(), n);
    };
    cuda::with_pack<T>(cuda::packable(y, x), run);
}

template <class T>
void add(cuda_context& ctx, tensor_view<T, 1> y, in_view<T, 1> a, in_view<T, 1> b) {
    const index_t n = y.extent(0);
    instar::detail::check_shape("add", "a", a, {n});
    instar::detail::check_shape("add", "b", b, {n});
    instar::detail::check_contiguous("add", "y", y);
    instar::detail::check_contiguous("add", "a", a);
    instar::detail::check_contiguous("add", "b", b);
    const auto run = [&]<int W>(std::integral_constant<int, W>) {
        cuda::launch(ctx, "add", cuda::add_kernel<T, W>, cuda::flat_grid<W>(n), {cuda::k_flat_threads}, 0, y.data(), a.data(), b.data(), n);
    };
    cuda::with_pack<T>(cuda::packable(y, a, b), run);
}

template <class T>
void scale(cuda_context& ctx, tensor_view<T, 1> y, accumulator_t<T> factor) {
    instar::detail::check_contiguous("scale", "y", y);
    const index_t n = y.extent(0);
    const auto run = [&]<int W>(std::integral_constant<int, W>) {
        cuda::launch(ctx, "scale", cuda::scale_kernel<T, W>, cuda::flat_grid<W>(n), {cuda::k_flat_threads}, 0, y.data(), factor, n);
    };
    cuda::with_pack<T>(cuda::packable(y), run);
}

}  // namespace instar::ops

#endif
