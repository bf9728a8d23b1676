#ifndef INSTAR_OPS_CPU_CONV2D_HPP
#define INSTAR_OPS_CPU_CONV2D_HPP

// Convolution on the CPU: patches are unfolded into rows [r, s, c], so that each of their lines is a copy of neighbouring pixels, and
// one product gives many pixels of all output channels.
//
//     ops::conv2d_forward(ctx, y, x, weight, bias, shape, scratch);

#include "instar/core/cpu_context.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/ops/conv2d.hpp"
#include "instar/ops/cpu/grain.hpp"
#include "instar/ops/cpu/linear.hpp"
#include "instar/ops/cpu/rows.hpp"
#include "instar/ops/gemm.hpp"

namespace instar::ops {

namespace cpu {

/// weight [o, c, r, s] → [o, r, s, c], or back with `fold`: dweight += .
template <class T>
void conv2d_permute(cpu_context& ctx, T* patch_order, const T* weight, T* accumulate, const conv2d_shape& s) {
    const index_t area = s.kernel * s.kernel;
    parallel_for(ctx, s.d_out, row_grain(s.depth()), [&](index_t begin, index_t end) {
        for (index_t o = begin; o < end; ++o) {
            for (index_t c = 0; c < s.d_in; ++c) {
                for (index_t p = 0; p < area; ++p) {
                    const index_t there = (o * s.d_in + c) * area + p, here = (o * area + p) * s.d_in + c;
                    if (accumulate) accumulate[there] += patch_order[here];
                    else patch_order[here] = weight[there];
                }
            }
        }
    });
}

/// Rows [b, i, j] of patches [r, s, c] of images first …, zeros outside.
template <class T>
void conv2d_unfold(cpu_context& ctx, T* patches, const T* images, index_t n_images, const conv2d_shape& s) {
    const index_t h = s.height_out(), w = s.width_out(), d = s.d_in;
    parallel_for(ctx, n_images * h, row_grain(w * s.depth()), [&](index_t begin, index_t end) {
        for (index_t line = begin; line < end; ++line) {
            const index_t b = line / h, i = line % h;
            for (index_t j = 0; j < w; ++j) {
                T* to = patches + (line * w + j) * s.depth();
                for (index_t r = 0; r < s.kernel; ++r, to += s.kernel * d) {
                    const index_t row = i * s.stride + r - s.padding, column = j * s.stride - s.padding;
                    if (row < 0 || row >= s.height) {
                        std::fill_n(to, s.kernel * d, T(0));
                        continue;
                    }
                    const index_t first = std::clamp<index_t>(-column, 0, s.kernel), last = std::clamp<index_t>(s.width - column, first, s.kernel);
                    std::fill_n(to, first * d, T(0));
                    std::copy_n(images + ((b * s.height + row) * s.width + column + first) * d, (last - first) * d, to + first * d);
                    std::fill_n(to + last * d, (s.kernel - last) * d, T(0));
                }
            }
        }
    });
}

/// The transpose: gradients of patches add up at the pixels they came from. An image is one task: its sums have one order.
template <class T>
void conv2d_fold(cpu_context& ctx, T* images, const T* patches, index_t n_images, const conv2d_shape& s) {
    const index_t h = s.height_out(), w = s.width_out(), d = s.d_in;
    // Bands of input rows are independent of each other; within a band, patches are visited in order.
    const index_t band = std::max<index_t>(1, row_grain(s.width * d * s.kernel * s.kernel)), bands = (s.height + band - 1) / band;
    parallel_for(ctx, n_images * bands, 1, [&](index_t begin, index_t end) {
        for (index_t task = begin; task < end; ++task) {
            const index_t b = task / bands, row0 = task % bands * band, row1 = std::min(s.height, row0 + band);
            std::fill(images + (b * s.height + row0) * s.width * d, images + (b * s.height + row1) * s.width * d, T(0));
            const index_t i0 = std::max<index_t>(0, (row0 + s.padding - s.kernel + s.stride) / s.stride), i1 = std::min(h, (row1 - 1 + s.padding) / s.stride + 1);
            for (index_t i = std::max<index_t>(0, i0 - 1); i < i1; ++i) {
                for (index_t j = 0; j < w; ++j) {
                    const T* from = patches + ((b * h + i) * w + j) * s.depth();
                    for (index_t r = 0; r < s.kernel; ++r, from += s.kernel * d) {
                        const index_t row = i * s.stride + r - s.padding, column = j * s.stride - s.padding;
                        if (row < row0 || row >= row1) continue;
                        const index_t first = std::clamp<index_t>(-column, 0, s.kernel), last = std::clamp<index_t>(s.width - column, first, s.kernel);
                        T* const to = images + ((b * s.height + row) * s.width + column + first) * d;
                        add_rows<T>(to, to, from + first * d, (last - first) * d);
                    }
                }
            }
        }
    });
}

}  // namespace cpu

template <class T>
void conv2d_forward(cpu_context& ctx, tensor_view<T, 4> y, in_view<T, 4> x, in_view<T, 4> weight, in_view<T, 1> bias, const conv2d_shape& s,
                    tensor_view<T, 1> scratch) {
    detail::check_conv2d("conv2d_forward", x, y, weight, s, scratch.size());
    const index_t pixels = s.height_out() * s.width_out(), image = s.height * s.width * s.d_in;
    if (s.pointwise()) {
        const tensor_view<const T, 2> rows(x.data(), {s.n_batch * pixels, s.d_in}), w(weight.data(), {s.d_out, s.d_in});
        linear_forward<T>(ctx, tensor_view<T, 2>(y.data(), {s.n_batch * pixels, s.d_out}), rows, w, bias);
        return;
    }
    T* const patches = scratch.data();
    T* const permuted = patches + s.chunk() * pixels * s.depth();
    cpu::conv2d_permute<T>(ctx, permuted, weight.data(), nullptr, s);
    for (index_t b = 0; b < s.n_batch; b += s.chunk()) {
        const index_t n = std::min(s.chunk(), s.n_batch - b);
        cpu::conv2d_unfold<T>(ctx, patches, x.data() + b * image, n, s);
        linear_forward<T>(ctx, tensor_view<T, 2>(y.data() + b * pixels * s.d_out, {n * pixels, s.d_out}), tensor_view<const T, 2>(patches, {n * pixels, s.depth()}),
                          tensor_view<const T, 2>(permuted, {s.d_out, s.depth()}), bias);
    }
}

template <class T>
void conv2d_backward(cpu_context& ctx, out_view<T, 4> dx, tensor_view<T, 4> dweight, out_view<T, 1> dbias, in_view<T, 4> dy, in_view<T, 4> x,
                     in_view<T, 4> weight, const conv2d_shape& s, tensor_view<T, 1> scratch) {
    detail::check_conv2d("conv2d_backward", x, dy, weight, s, scratch.size());
    detail::check_conv2d("conv2d_backward", dx, dy, dweight, s, scratch.size());
    const index_t pixels = s.height_out() * s.width_out(), image = s.height * s.width * s.d_in;
    if (s.pointwise()) {
        const index_t n = s.n_batch * pixels;
        linear_backward<T>(ctx, dx.data() ? tensor_view<T, 2>(dx.data(), {n, s.d_in}) : tensor_view<T, 2>{}, tensor_view<T, 2>(dweight.data(), {s.d_out, s.d_in}), dbias,
                           tensor_view<const T, 2>(dy.data(), {n, s.d_out}), tensor_view<const T, 2>(x.data(), {n, s.d_in}),
                           tensor_view<const T, 2>(weight.data(), {s.d_out, s.d_in}));
        return;
    }
    const index_t room = s.chunk() * pixels * s.depth();
    T *const patches = scratch.data(), *const d_patches = patches + room, *const permuted = d_patches + room, *const d_permuted = permuted + s.d_out * s.depth();
    if (dx.data()) cpu::conv2d_permute<T>(ctx, permuted, weight.data(), nullptr, s);
    std::fill_n(d_permuted, s.d_out * s.depth(), T(0));
    for (index_t b = 0; b < s.n_batch; b += s.chunk()) {
        const index_t n = std::min(s.chunk(), s.n_batch - b);
        cpu::conv2d_unfold<T>(ctx, patches, x.data() + b * image, n, s);
        linear_backward<T>(ctx, dx.data() ? tensor_view<T, 2>(d_patches, {n * pixels, s.depth()}) : tensor_view<T, 2>{},
                           tensor_view<T, 2>(d_permuted, {s.d_out, s.depth()}), dbias, tensor_view<const T, 2>(dy.data() + b * pixels * s.d_out, {n * pixels, s.d_out}),
                           tensor_view<const T, 2>(patches, {n * pixels, s.depth()}), tensor_view<const T, 2>(permuted, {s.d_out, s.depth()}));
        if (dx.data()) cpu::conv2d_fold<T>(ctx, dx.data() + b * image, d_patches, n, s);
    }
    cpu::conv2d_permute<T>(ctx, d_permuted, nullptr, dweight.data(), s);
}

}  // namespace instar::ops

#endif
