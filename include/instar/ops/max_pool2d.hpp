#ifndef INSTAR_OPS_MAX_POOL2D_HPP
#define INSTAR_OPS_MAX_POOL2D_HPP

// Maxima over square windows of images whose channels lie together.
//
//     ops::max_pool2d_forward(ctx, y, place, x, {.kernel = 3, .stride = 2, .padding = 1});     // x [8, 112, 112, 64] → y [8, 56, 56, 64]
//     ops::max_pool2d_backward(ctx, dx, dy, place);
//
// On the CPU alone: there is no CUDA version yet.

#include "instar/core/tensor_view.hpp"

namespace instar {
class cpu_context;
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
/// A NaN in a window is its maximum, as in PyTorch. T: float or double. Throws shape_error when a shape disagrees, value_error when
/// padding exceeds half the kernel.
template <class T>
void max_pool2d_forward(cpu_context& ctx, tensor_view<T, 4> y, tensor_view<std::int32_t, 4> place, in_view<T, 4> x, max_pool2d_options options);

/// dx[b, place[b, i, j, c], c] = Σ dy[b, i, j, c], overwritten.
template <class T>
void max_pool2d_backward(cpu_context& ctx, tensor_view<T, 4> dx, in_view<T, 4> dy, tensor_view<const std::int32_t, 4> place);

}  // namespace instar::ops

#if !defined(INSTAR_COMPILED) && !defined(__CUDACC__)
#include "instar/ops/cpu/max_pool2d.hpp"
#endif

#endif
