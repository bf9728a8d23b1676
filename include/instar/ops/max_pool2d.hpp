#ifndef INSTAR_OPS_MAX_POOL2D_HPP
#define INSTAR_OPS_MAX_POOL2D_HPP

// Maxima over square windows of images whose channels lie together.
//
//     ops::max_pool2d_forward(ctx, y, place, x, {.kernel = 3, .stride = 2, .padding = 1});     // x [8, 112, 112, 64] → y [8, 56, 56, 64]
//     ops::max_pool2d_backward(ctx, dx, dy, place, {.kernel = 3, .stride = 2, .padding = 1});

#include <string>

#include "instar/core/tensor_view.hpp"

namespace instar {
class cpu_context;
class cuda_context;
}  // namespace instar

namespace instar::ops {

struct max_pool2d_options {
    index_t kernel = 3, stride = 2, padding = 1;
    index_t out(index_t n) const { return (n + 2 * padding - kernel) / stride + 1; }
};

/// y[b, i, j, c] = max over the window's pixels inside the image; place: which pixel, row · width + column, the first of equals.
///
/// | argument | shape                                | element |
/// |----------|--------------------------------------|---------|
/// | x        | [n_batch, height, width, d] contiguous | T     |
/// | y, place | [n_batch, out, out, d] contiguous     | T, int32 |
///
/// A NaN in a window is its maximum, as in PyTorch. T: float or double; on a GPU float or bf16. Throws shape_error when a shape disagrees,
/// value_error when padding exceeds half the kernel, before anything is written.
template <class T>
void max_pool2d_forward(cpu_context& ctx, tensor_view<T, 4> y, tensor_view<std::int32_t, 4> place, in_view<T, 4> x, max_pool2d_options options);
template <class T>
void max_pool2d_forward(cuda_context& ctx, tensor_view<T, 4> y, tensor_view<std::int32_t, 4> place, in_view<T, 4> x, max_pool2d_options options);

/// dx[b, place[b, i, j, c], c] = Σ dy[b, i, j, c], overwritten; added in the order of the windows. place and options: the forward's.
template <class T>
void max_pool2d_backward(cpu_context& ctx, tensor_view<T, 4> dx, in_view<T, 4> dy, tensor_view<const std::int32_t, 4> place, max_pool2d_options options);
template <class T>
void max_pool2d_backward(cuda_context& ctx, tensor_view<T, 4> dx, in_view<T, 4> dy, tensor_view<const std::int32_t, 4> place, max_pool2d_options options);

namespace detail {

/// x: what is pooled, or its gradient; y likewise.
template <class X, class Y, class P>
void check_max_pool2d(const char* op, const char* x_name, const tensor_view<X, 4>& x, const char* y_name, const tensor_view<Y, 4>& y, const tensor_view<P, 4>& place,
                      const max_pool2d_options& o) {
    const index_t height = x.extent(1), width = x.extent(2);
    if (o.kernel < 1 || o.stride < 1 || o.padding < 0 || 2 * o.padding > o.kernel) {
        throw value_error(std::string(op) + ": kernel " + std::to_string(o.kernel) + ", stride " + std::to_string(o.stride) + " and padding " + std::to_string(o.padding) +
                          " must be at least 1, 1 and 0, and padding at most half the kernel");
    }
    if (height + 2 * o.padding < o.kernel || width + 2 * o.padding < o.kernel) {
        throw shape_error(std::string(op) + ": a window of " + std::to_string(o.kernel) + " does not fit an image of " + std::to_string(height) + " × " + std::to_string(width));
    }
    const index_t pooled[4] = {x.extent(0), o.out(height), o.out(width), x.extent(3)};
    instar::detail::check_shape(op, y_name, y, pooled);
    instar::detail::check_shape(op, "place", place, pooled);
    instar::detail::check_contiguous(op, x_name, x);
    instar::detail::check_contiguous(op, y_name, y);
    instar::detail::check_contiguous(op, "place", place);
}

}  // namespace detail

}  // namespace instar::ops

#if !defined(INSTAR_COMPILED)
#if !defined(__CUDACC__)
#include "instar/ops/cpu/max_pool2d.hpp"
#endif
#if defined(__CUDACC__) || defined(INSTAR_CUDA_EMULATED)
#include "instar/ops/cuda/max_pool2d.cuh"
#endif
#endif

#endif
