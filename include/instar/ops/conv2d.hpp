#ifndef INSTAR_OPS_CONV2D_HPP
#define INSTAR_OPS_CONV2D_HPP

// Two-dimensional convolution (cross-correlation, as in every deep-learning library) over images whose channels lie together.
//
//     const ops::conv2d_shape shape{.n_batch = 8, .height = 56, .width = 56, .d_in = 64, .d_out = 128, .kernel = 3, .stride = 2, .padding = 1};
//     tensor<float, 1> scratch({ops::conv2d_scratch(shape)});
//     ops::conv2d_forward(ctx, y, x, weight, bias, shape, scratch);          // x [8, 56, 56, 64] → y [8, 28, 28, 128]
//
// On a GPU this is a matrix product of unfolded patches by cuBLASLt, not a call of cuDNN: ops/cuda/conv2d.cuh says why.

#include <algorithm>
#include <string>

#include "instar/core/tensor_view.hpp"

namespace instar {
class cpu_context;
class cuda_context;
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
    /// From one unfolded patch to the next on a GPU: a multiple of eight elements, so that rows start at multiples of sixteen bytes.
    index_t pitch() const { return (depth() + 7) / 8 * 8; }
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

/// Elements of scratch that forward and backward need on either device: float on the CPU pads images and unfolds patches only for dx of a
/// strided convolution; double and the GPU unfold always; the weight and its gradient in the order of a patch.
inline index_t conv2d_scratch(const conv2d_shape& s) {
    if (s.pointwise()) return 0;
    const index_t padding = s.padded() + (s.transposes() ? s.padded_out() : s.patches()), unfolded = s.height_out() * s.width_out() * s.pitch();
    return s.chunk() * std::max(padding, 2 * unfolded) + 2 * s.d_out * s.pitch();
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
/// T: float or double; on a GPU float or bf16. A product of patches with the weight, ops::gemm's accumulation; float on the CPU reads the
/// patches where they lie (implicit GEMM). y may alias nothing. Same bits for any number of threads and on each run. Cost:
/// 2·n_batch·height_out·width_out·depth·d_out FLOP, three times that with the backward; a GPU also writes and reads the patches once.
/// Throws shape_error when a shape disagrees or the kernel is larger than the padded image, before anything is written.
template <class T>
void conv2d_forward(cpu_context& ctx, tensor_view<T, 4> y, in_view<T, 4> x, in_view<T, 4> weight, in_view<T, 1> bias, const conv2d_shape& shape,
                    tensor_view<T, 1> scratch);
template <class T>
void conv2d_forward(cuda_context& ctx, tensor_view<T, 4> y, in_view<T, 4> x, in_view<T, 4> weight, in_view<T, 1> bias, const conv2d_shape& shape,
                    tensor_view<T, 1> scratch);

/// dx is overwritten and may be empty; dweight and dbias accumulate; dbias may be empty.
template <class T>
void conv2d_backward(cpu_context& ctx, out_view<T, 4> dx, tensor_view<T, 4> dweight, out_view<T, 1> dbias, in_view<T, 4> dy, in_view<T, 4> x,
                     in_view<T, 4> weight, const conv2d_shape& shape, tensor_view<T, 1> scratch);
template <class T>
void conv2d_backward(cuda_context& ctx, out_view<T, 4> dx, tensor_view<T, 4> dweight, out_view<T, 1> dbias, in_view<T, 4> dy, in_view<T, 4> x,
                     in_view<T, 4> weight, const conv2d_shape& shape, tensor_view<T, 1> scratch);

namespace detail {

/// What a kernel of this shape fits, and that the bias (or its gradient) is [d_out] when there is one.
template <class B>
void check_conv2d_shape(const char* op, const char* bias_name, const tensor_view<B, 1>& bias, const conv2d_shape& s, index_t scratch) {
    if (s.kernel < 1 || s.stride < 1 || s.padding < 0 || s.height + 2 * s.padding < s.kernel || s.width + 2 * s.padding < s.kernel) {
        throw shape_error(std::string(op) + ": a kernel of " + std::to_string(s.kernel) + " with stride " + std::to_string(s.stride) + " and padding " +
                          std::to_string(s.padding) + " does not fit an image of " + std::to_string(s.height) + " × " + std::to_string(s.width));
    }
    if (!bias.empty()) {
        instar::detail::check_shape(op, bias_name, bias, {s.d_out});
        instar::detail::check_unit_stride(op, bias_name, bias);
    }
    if (scratch < conv2d_scratch(s)) {
        throw shape_error(std::string(op) + ": scratch has " + std::to_string(scratch) + " elements, needs " + std::to_string(conv2d_scratch(s)));
    }
}

template <class X>
void check_conv2d_images(const char* op, const char* name, const tensor_view<X, 4>& x, const conv2d_shape& s) {
    instar::detail::check_shape(op, name, x, {s.n_batch, s.height, s.width, s.d_in});
    instar::detail::check_contiguous(op, name, x);
}
template <class Y>
void check_conv2d_outputs(const char* op, const char* name, const tensor_view<Y, 4>& y, const conv2d_shape& s) {
    instar::detail::check_shape(op, name, y, {s.n_batch, s.height_out(), s.width_out(), s.d_out});
    instar::detail::check_contiguous(op, name, y);
}
template <class W>
void check_conv2d_weight(const char* op, const char* name, const tensor_view<W, 4>& weight, const conv2d_shape& s) {
    instar::detail::check_shape(op, name, weight, {s.d_out, s.d_in, s.kernel, s.kernel});
    instar::detail::check_contiguous(op, name, weight);
}

template <class T>
void check_conv2d_forward(const char* op, const tensor_view<T, 4>& y, const tensor_view<const T, 4>& x, const tensor_view<const T, 4>& weight,
                          const tensor_view<const T, 1>& bias, const conv2d_shape& s, index_t scratch) {
    check_conv2d_shape(op, "bias", bias, s, scratch);
    check_conv2d_images(op, "x", x, s);
    check_conv2d_outputs(op, "y", y, s);
    check_conv2d_weight(op, "weight", weight, s);
}

template <class T>
void check_conv2d_backward(const char* op, const tensor_view<T, 4>& dx, const tensor_view<T, 4>& dweight, const tensor_view<T, 1>& dbias,
                           const tensor_view<const T, 4>& dy, const tensor_view<const T, 4>& x, const tensor_view<const T, 4>& weight, const conv2d_shape& s,
                           index_t scratch) {
    check_conv2d_shape(op, "dbias", dbias, s, scratch);
    if (dx.data() != nullptr) check_conv2d_images(op, "dx", dx, s);
    check_conv2d_outputs(op, "dy", dy, s);
    check_conv2d_images(op, "x", x, s);
    check_conv2d_weight(op, "weight", weight, s);
    check_conv2d_weight(op, "dweight", dweight, s);
}

}  // namespace detail

}  // namespace instar::ops

#if !defined(INSTAR_COMPILED)
#if !defined(__CUDACC__)
#include "instar/ops/cpu/conv2d.hpp"
#endif
#if defined(__CUDACC__) || defined(INSTAR_CUDA_EMULATED)
#include "instar/ops/cuda/conv2d.cuh"
#endif
#endif

#endif
