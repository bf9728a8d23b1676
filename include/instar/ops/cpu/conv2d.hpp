#ifndef INSTAR_OPS_CPU_CONV2D_HPP
#define INSTAR_OPS_CPU_CONV2D_HPP

// Convolution on the CPU as one matrix product of patches with the weight: many pixels of all output channels. A patch's elements are
// ordered [r, s, c], so that each of its lines is a run of neighbouring pixels.
//
//     ops::conv2d_forward(ctx, y, x, weight, bias, shape, scratch);
//
// Float multiplies without unfolding: images are padded with zeros once, and the product packs its panels from the runs themselves
// (gemm_gather). dx of a convolution of stride 1 is the convolution of dy with the weight turned round. Double, and dx of a strided
// convolution, unfold patches (im2col) and fold their gradients.

#include <type_traits>

#include "instar/core/cpu_context.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/ops/conv2d.hpp"
#include "instar/ops/cpu/gemm_packed.hpp"
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
    parallel_kernel(ctx, s.d_out, row_grain(s.depth()), [&](index_t begin, index_t end) {
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
    parallel_kernel(ctx, n_images * h, row_grain(w * s.depth()), [&](index_t begin, index_t end) {
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
    parallel_kernel(ctx, n_images * bands, 1, [&](index_t begin, index_t end) {
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

/// Images with a frame of zeros, before and after in both directions.
inline void conv2d_pad(cpu_context& ctx, float* padded, const float* images, index_t n_images, index_t height, index_t width, index_t d, index_t frame) {
    const index_t h = height + 2 * frame, w = width + 2 * frame;
    parallel_kernel(ctx, n_images * h, row_grain(w * d), [&](index_t begin, index_t end) {
        for (index_t line = begin; line < end; ++line) {
            float* const to = padded + line * w * d;
            const index_t i = line % h - frame;
            if (i < 0 || i >= height) {
                std::fill_n(to, w * d, 0.0f);
                continue;
            }
            std::fill_n(to, frame * d, 0.0f);
            std::copy_n(images + (line / h * height + i) * width * d, width * d, to + frame * d);
            std::fill_n(to + (frame + width) * d, frame * d, 0.0f);
        }
    });
}

/// Where the patches of padded images lie: rows [image, height_out, width_out], runs of kernel · d elements.
inline gemm_gather conv2d_patches(index_t padded_height, index_t padded_width, index_t d, index_t height_out, index_t width_out, index_t kernel, index_t stride) {
    return {.width = width_out, .height = height_out,
            .image_step = padded_height * padded_width * d, .row_step = stride * padded_width * d, .column_step = stride * d,
            .run = kernel * d, .pitch = padded_width * d};
}

/// weight [o, c, r, s] → [c, r', s', o] with r' = kernel − 1 − r, s' alike: the convolution that takes dy to dx.
inline void conv2d_turn(cpu_context& ctx, float* turned, const float* weight, const conv2d_shape& s) {
    const index_t area = s.kernel * s.kernel;
    // Sixteen outputs at a time: the weight is read and the result written in pieces of a cache line.
    constexpr index_t k_block = 16;
    parallel_kernel(ctx, s.d_in, row_grain(area * s.d_out), [&](index_t begin, index_t end) {
        for (index_t o0 = 0; o0 < s.d_out; o0 += k_block) {
            const index_t o1 = std::min(s.d_out, o0 + k_block);
            for (index_t c = begin; c < end; ++c) {
                for (index_t p = 0; p < area; ++p) {
                    float* const to = turned + (c * area + area - 1 - p) * s.d_out;
                    for (index_t o = o0; o < o1; ++o) to[o] = weight[(o * s.d_in + c) * area + p];
                }
            }
        }
    });
}

/// dweight [o, c, r, s] += gradient [r, s, c, o].
inline void conv2d_add_gradient(cpu_context& ctx, float* dweight, const float* gradient, const conv2d_shape& s) {
    const index_t area = s.kernel * s.kernel;
    constexpr index_t k_block = 16;
    parallel_kernel(ctx, s.d_in, row_grain(area * s.d_out), [&](index_t begin, index_t end) {
        for (index_t o0 = 0; o0 < s.d_out; o0 += k_block) {
            const index_t o1 = std::min(s.d_out, o0 + k_block);
            for (index_t c = begin; c < end; ++c) {
                for (index_t p = 0; p < area; ++p) {
                    const float* const from = gradient + (p * s.d_in + c) * s.d_out;
                    for (index_t o = o0; o < o1; ++o) dweight[(o * s.d_in + c) * area + p] += from[o];
                }
            }
        }
    });
}

inline void conv2d_forward_float(cpu_context& ctx, float* y, const float* x, const float* weight, const float* bias, const conv2d_shape& s, float* scratch) {
    const index_t pixels = s.height_out() * s.width_out(), image = s.height * s.width * s.d_in;
    float* const padded = scratch;
    float* const permuted = padded + s.chunk() * s.padded();
    conv2d_permute<float>(ctx, permuted, weight, nullptr, s);
    const gemm_gather where = conv2d_patches(s.height + 2 * s.padding, s.width + 2 * s.padding, s.d_in, s.height_out(), s.width_out(), s.kernel, s.stride);
    for (index_t b = 0; b < s.n_batch; b += s.chunk()) {
        const index_t n = std::min(s.chunk(), s.n_batch - b);
        const float* from = x + b * image;
        if (s.padding > 0) {
            conv2d_pad(ctx, padded, from, n, s.height, s.width, s.d_in, s.padding);
            from = padded;
        }
        gemm_packed(ctx, {.m = n * pixels, .n = s.d_out, .k = s.depth(), .a = from, .b = permuted, .ldb = s.depth(), .transpose_b = true,
                          .c = y + b * pixels * s.d_out, .ldc = s.d_out, .bias = bias, .gather = &where});
    }
}

inline void conv2d_backward_float(cpu_context& ctx, float* dx, float* dweight, const float* dy, const float* x, const float* weight, const conv2d_shape& s, float* scratch) {
    if (s.n_batch == 0) return;
    const index_t pixels = s.height_out() * s.width_out(), image = s.height * s.width * s.d_in, frame = s.kernel - 1 - s.padding;
    float* const padded = scratch;
    float* const d_patches = padded + s.chunk() * s.padded();  // or dy, padded
    float* const turned = d_patches + s.chunk() * (s.transposes() ? s.padded_out() : s.patches());
    float* const gradient = turned + s.d_out * s.depth();
    const gemm_gather where = conv2d_patches(s.height + 2 * s.padding, s.width + 2 * s.padding, s.d_in, s.height_out(), s.width_out(), s.kernel, s.stride);
    const gemm_gather back = conv2d_patches(s.height + s.kernel - 1, s.width + s.kernel - 1, s.d_out, s.height, s.width, s.kernel, 1);
    if (dx != nullptr) {
        if (s.transposes()) conv2d_turn(ctx, turned, weight, s);
        else conv2d_permute<float>(ctx, turned, weight, nullptr, s);
    }
    for (index_t b = 0; b < s.n_batch; b += s.chunk()) {
        const index_t n = std::min(s.chunk(), s.n_batch - b);
        const float *from = x + b * image, *const dy_b = dy + b * pixels * s.d_out;
        if (s.padding > 0) {
            conv2d_pad(ctx, padded, from, n, s.height, s.width, s.d_in, s.padding);
            from = padded;
        }
        gemm_packed(ctx, {.m = s.depth(), .n = s.d_out, .k = n * pixels, .a = from, .transpose_a = true, .b = dy_b, .ldb = s.d_out, .c = gradient, .ldc = s.d_out,
                          .accumulate = b > 0, .gather = &where});
        if (dx == nullptr) continue;
        if (s.transposes()) {
            const float* dy_from = dy_b;
            if (frame > 0) {
                conv2d_pad(ctx, d_patches, dy_b, n, s.height_out(), s.width_out(), s.d_out, frame);
                dy_from = d_patches;
            }
            gemm_packed(ctx, {.m = n * s.height * s.width, .n = s.d_in, .k = s.kernel * s.kernel * s.d_out, .a = dy_from, .b = turned, .ldb = s.kernel * s.kernel * s.d_out,
                              .transpose_b = true, .c = dx + b * image, .ldc = s.d_in, .gather = &back});
        } else {
            gemm_packed(ctx, {.m = n * pixels, .n = s.depth(), .k = s.d_out, .a = dy_b, .lda = s.d_out, .b = turned, .ldb = s.depth(), .c = d_patches, .ldc = s.depth()});
            conv2d_fold<float>(ctx, dx + b * image, d_patches, n, s);
        }
    }
    conv2d_add_gradient(ctx, dweight, gradient, s);
}

}  // namespace cpu

template <class T>
void conv2d_forward(cpu_context& ctx, tensor_view<T, 4> y, in_view<T, 4> x, in_view<T, 4> weight, in_view<T, 1> bias, const conv2d_shape& s,
                    tensor_view<T, 1> scratch) {
    detail::check_conv2d_forward<T>("conv2d_forward", y, x, weight, bias, s, scratch.size());
    const index_t pixels = s.height_out() * s.width_out(), image = s.height * s.width * s.d_in;
    if (s.pointwise()) {
        const tensor_view<const T, 2> rows(x.data(), {s.n_batch * pixels, s.d_in}), w(weight.data(), {s.d_out, s.d_in});
        linear_forward<T>(ctx, tensor_view<T, 2>(y.data(), {s.n_batch * pixels, s.d_out}), rows, w, bias);
        return;
    }
    if constexpr (std::is_same_v<T, float>) {
        return cpu::conv2d_forward_float(ctx, y.data(), x.data(), weight.data(), bias.empty() ? nullptr : bias.data(), s, scratch.data());
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
    detail::check_conv2d_backward<T>("conv2d_backward", dx, dweight, dbias, dy, x, weight, s, scratch.size());
    const index_t pixels = s.height_out() * s.width_out(), image = s.height * s.width * s.d_in;
    if (s.pointwise()) {
        const index_t n = s.n_batch * pixels;
        linear_backward<T>(ctx, dx.data() ? tensor_view<T, 2>(dx.data(), {n, s.d_in}) : tensor_view<T, 2>{}, tensor_view<T, 2>(dweight.data(), {s.d_out, s.d_in}), dbias,
                           tensor_view<const T, 2>(dy.data(), {n, s.d_out}), tensor_view<const T, 2>(x.data(), {n, s.d_in}),
                           tensor_view<const T, 2>(weight.data(), {s.d_out, s.d_in}));
        return;
    }
    if constexpr (std::is_same_v<T, float>) {
        cpu::conv2d_backward_float(ctx, dx.data(), dweight.data(), dy.data(), x.data(), weight.data(), s, scratch.data());
        if (dbias.empty()) return;
        const tensor_view<const float, 2> rows(dy.data(), {s.n_batch * pixels, s.d_out});
        return parallel_kernel(ctx, s.d_out, cpu::k_column_range, [&](index_t begin, index_t end) { cpu::add_column_sums<float>(dbias.data() + begin, rows, begin, end - begin); });
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
