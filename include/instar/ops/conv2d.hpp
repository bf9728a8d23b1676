#ifndef INSTAR_OPS_CONV2D_HPP
#define INSTAR_OPS_CONV2D_HPP

// Two-dimensional convolution (cross-correlation, as in every deep-learning library) over images whose channels lie together.
//
//     const ops::conv2d_shape shape{.n_batch = 8, .height = 56, .width = 56, .d_in = 64, .d_out = 128, .kernel = 3, .stride = 2, .padding = 1};
//     tensor<float, 1> scratch({ops::conv2d_scratch(shape)});
//     ops::conv2d_forward(ctx, y, x, weight, bias, shape, scratch);          // x [8, 56, 56, 64] → y [8, 28, 28, 128]
//
// On the CPU alone: there is no CUDA version yet.

#include <algorithm>

#include "instar/core/tensor_view.hpp"

namespace instar {
class cpu_context;
}  // namespace instar

namespace instar::ops {

/// Square kernel, equal stride and zero padding in both directions, one group.
struct conv2d_shape {
    index_t n_batch = 0, height = 0, width = 0;  ///< of the input
    index_t d_in = 0, d_out = 0;
    index_t kernel = 1, stride = 1, padding = 0;

    index_t height_out() const { return (height + 2 * padding - kernel) / stride + 1; }
    index_t width_out() const { return (width + 2 * padding - kernel) / stride + 1; }
    index_t depth() const { return kernel * kernel * d_in; }
    /// A product of the pixels as they lie.
    bool pointwise() const { return kernel == 1 && stride == 1 && padding == 0; }
    /// Whether dx is itself a convolution of stride 1: of dy, with the weight turned round.
    bool transposes() const { return stride == 1 && padding < kernel; }
    /// Elements of all patches of an image, of the padded image, and of the padded dy of which dx is a convolution.
    index_t patches() const { return height_out() * width_out() * depth(); }
    index_t padded() const { return (height + 2 * padding) * (width + 2 * padding) * d_in; }
    index_t padded_out() const { return (height + kernel - 1) * (width + kernel - 1) * d_out; }
    /// Images that are worked on at once: patches of about 16 MB of float.
    index_t chunk() const { return std::clamp<index_t>((index_t{1} << 22) / std::max<index_t>(patches(), 1), 1, std::max<index_t>(n_batch, 1)); }
};

/// Elements of scratch that forward and backward need: float pads images and unfolds patches only for dx of a strided convolution, double
/// unfolds always; the weight and its gradient in the order of a patch.
inline index_t conv2d_scratch(const conv2d_shape& s) {
    if (s.pointwise()) return 0;
    const index_t padding = s.padded() + (s.transposes() ? s.padded_out() : s.patches());
    return s.chunk() * std::max(padding, 2 * s.patches()) + 2 * s.d_out * s.depth();
}

/// y[b, i, j, o] = bias[o] + Σ_{c, r, s} x[b, i·stride + r − padding, j·stride + s − padding, c] · weight[o, c, r, s], zeros outside
///
/// | argument | shape                                     | element |
/// |----------|-------------------------------------------|---------|
/// | x        | [n_batch, height, width, d_in] contiguous | T       |
/// | y        | [n_batch, height_out, width_out, d_out] contiguous | T |
/// | weight   | [d_out, d_in, kernel, kernel], as PyTorch stores it | T |
/// | bias     | [d_out] or empty                          | T       |
/// | scratch  | [≥ conv2d_scratch(shape)]                 | T       |
///
/// T: float or double. A product of patches with the weight, ops::gemm's accumulation; float reads the patches where they lie (implicit
/// GEMM). Same bits for any number of threads. Cost: 2·n_batch·height_out·width_out·depth·d_out FLOP, three times that with the backward.
/// Throws shape_error when a shape disagrees or the kernel is larger than the padded image, before anything is written.
template <class T>
void conv2d_forward(cpu_context& ctx, tensor_view<T, 4> y, in_view<T, 4> x, in_view<T, 4> weight, in_view<T, 1> bias, const conv2d_shape& shape,
                    tensor_view<T, 1> scratch);

/// dx is overwritten and may be empty; dweight and dbias accumulate; dbias may be empty.
template <class T>
void conv2d_backward(cpu_context& ctx, out_view<T, 4> dx, tensor_view<T, 4> dweight, out_view<T, 1> dbias, in_view<T, 4> dy, in_view<T, 4> x,
                     in_view<T, 4> weight, const conv2d_shape& shape, tensor_view<T, 1> scratch);

namespace detail {

template <class X, class Y, class W>
void check_conv2d(const char* op, const tensor_view<X, 4>& x, const tensor_view<Y, 4>& y, const tensor_view<W, 4>& weight, const conv2d_shape& s, index_t scratch) {
    if (s.kernel < 1 || s.stride < 1 || s.padding < 0 || s.height + 2 * s.padding < s.kernel || s.width + 2 * s.padding < s.kernel) {
        throw shape_error(std::string(op) + ": a kernel of " + std::to_string(s.kernel) + " with stride " + std::to_string(s.stride) + " and padding " +
                          std::to_string(s.padding) + " does not fit an image of " + std::to_string(s.height) + " × " + std::to_string(s.width));
    }
    if (x.data() != nullptr || s.n_batch == 0) {
        instar::detail::check_shape(op, "x", x, {s.n_batch, s.height, s.width, s.d_in});
        instar::detail::check_contiguous(op, "x", x);
    }
    instar::detail::check_shape(op, "y", y, {s.n_batch, s.height_out(), s.width_out(), s.d_out});
    instar::detail::check_contiguous(op, "y", y);
    instar::detail::check_shape(op, "weight", weight, {s.d_out, s.d_in, s.kernel, s.kernel});
    instar::detail::check_contiguous(op, "weight", weight);
    if (scratch < conv2d_scratch(s)) {
        throw shape_error(std::string(op) + ": scratch has " + std::to_string(scratch) + " elements, needs " + std::to_string(conv2d_scratch(s)));
    }
}

}  // namespace detail

}  // namespace instar::ops

#if !defined(INSTAR_COMPILED) && !defined(__CUDACC__)
#include "instar/ops/cpu/conv2d.hpp"
#endif

#endif
