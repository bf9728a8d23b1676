#ifndef INSTAR_OPS_CUDA_MAX_POOL2D_CUH
#define INSTAR_OPS_CUDA_MAX_POOL2D_CUH

// Max pooling on a GPU: a thread has sixteen bytes of a pixel's channels. Backward is a gather: a pixel asks each window that covers it
// whether it was that window's maximum, so nothing is added by two threads and there are no atomics.
//
//     ops::max_pool2d_forward(ctx, y, place, x, {});

#include "instar/cuda/launch.cuh"
#include "instar/cuda/pixels.cuh"
#include "instar/cuda/vector.cuh"
#include "instar/ops/max_pool2d.hpp"

namespace instar::ops {

namespace cuda {

template <class T, int W>
__global__ void max_pool2d_forward_kernel(tensor_view<T, 4> y, std::int32_t* place, tensor_view<const T, 4> x, max_pool2d_options o) {
    if (grid_thread() * W >= y.size()) return;
    const index_t height = x.extent(1), width = x.extent(2), d = x.extent(3);
    const pixel_pack at(grid_thread(), y.extent(1), y.extent(2), d, W);
    const index_t top = at.row * o.stride - o.padding, left = at.column * o.stride - o.padding;
    const index_t row0 = top < 0 ? 0 : top, row1 = top + o.kernel < height ? top + o.kernel : height;
    const index_t column0 = left < 0 ? 0 : left, column1 = left + o.kernel < width ? left + o.kernel : width;
    float best[W], v[W];
    alignas(16) std::int32_t where[W];
    const T* const image = x.data() + at.image * height * width * d + at.channel;
    load<W>(best, image + (row0 * width + column0) * d);
    INSTAR_UNROLL
    for (int k = 0; k < W; ++k) where[k] = static_cast<std::int32_t>(row0 * width + column0);
    for (index_t r = row0; r < row1; ++r) {
        for (index_t q = column0; q < column1; ++q) {
            load<W>(v, image + (r * width + q) * d);
            INSTAR_UNROLL
            for (int k = 0; k < W; ++k) {
                // Unequal to itself: a NaN, which stays once it is there.
                const bool take = v[k] > best[k] || (v[k] != v[k] && best[k] == best[k]);
                best[k] = take ? v[k] : best[k];
                where[k] = take ? static_cast<std::int32_t>(r * width + q) : where[k];
            }
        }
    }
    store<W>(y.data() + at.offset, best);
    move<W>(place + at.offset, where);
}

template <class T, int W>
__global__ void max_pool2d_backward_kernel(tensor_view<T, 4> dx, tensor_view<const T, 4> dy, const std::int32_t* place, max_pool2d_options o) {
    if (grid_thread() * W >= dx.size()) return;
    const index_t width = dx.extent(2), d = dx.extent(3), height_out = dy.extent(1), width_out = dy.extent(2);
    const pixel_pack at(grid_thread(), dx.extent(1), width, d, W);
    const auto here = static_cast<std::int32_t>(at.row * width + at.column);
    const window_range rows(at.row, height_out, o.kernel, o.stride, o.padding), columns(at.column, width_out, o.kernel, o.stride, o.padding);
    float sum[W] = {}, g[W];
    alignas(16) std::int32_t where[W];
    for (index_t i = rows.begin; i < rows.end; ++i) {
        for (index_t j = columns.begin; j < columns.end; ++j) {
            const index_t from = ((at.image * height_out + i) * width_out + j) * d + at.channel;
            load<W>(g, dy.data() + from);
            move<W>(where, place + from);
            INSTAR_UNROLL
            for (int k = 0; k < W; ++k) sum[k] += where[k] == here ? g[k] : 0.0f;
        }
    }
    store<W>(dx.data() + at.offset, sum);
}

}  // namespace cuda

template <class T>
void max_pool2d_forward(cuda_context& ctx, tensor_view<T, 4> y, tensor_view<std::int32_t, 4> place, in_view<T, 4> x, max_pool2d_options o) {
    static constexpr const char* k_op = "max_pool2d_forward";
    detail::check_max_pool2d(k_op, "x", x, "y", y, place, o);
    const auto run = [&]<int W>(std::integral_constant<int, W>) {
        cuda::launch(ctx, k_op, cuda::max_pool2d_forward_kernel<T, W>, cuda::flat_grid<W>(y.size()), {cuda::k_flat_threads}, 0, y, place.data(), x, o);
    };
    cuda::with_pack<T>(cuda::packable(y, x, place), run);
}

template <class T>
void max_pool2d_backward(cuda_context& ctx, tensor_view<T, 4> dx, in_view<T, 4> dy, tensor_view<const std::int32_t, 4> place, max_pool2d_options o) {
    static constexpr const char* k_op = "max_pool2d_backward";
    detail::check_max_pool2d(k_op, "dx", dx, "dy", dy, place, o);
    const auto run = [&]<int W>(std::integral_constant<int, W>) {
        cuda::launch(ctx, k_op, cuda::max_pool2d_backward_kernel<T, W>, cuda::flat_grid<W>(dx.size()), {cuda::k_flat_threads}, 0, dx, dy, place.data(), o);
    };
    cuda::with_pack<T>(cuda::packable(dx, dy, place), run);
}

}  // namespace instar::ops

#endif
