#ifndef INSTAR_OPS_CPU_PATCH_EMBEDDING_HPP
#define INSTAR_OPS_CPU_PATCH_EMBEDDING_HPP

// Patches and tokens on the CPU: copies of whole lines of a patch, rows of patches in parallel.
//
//     ops::extract_patches(ctx, rows, images, 16);

#include <algorithm>

#include "instar/core/cpu_context.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/ops/cpu/grain.hpp"
#include "instar/ops/cpu/rows.hpp"
#include "instar/ops/patch_embedding.hpp"

namespace instar::ops {

namespace cpu {

/// f(image line, patch line) for each line of patch_size elements of the patches in one row of the grid.
template <class Image, class Patches, class F>
void each_patch_line(const ops::detail::patch_grid& g, index_t grid_row, const Image& image, const Patches& patches, F f) {
    const index_t b = grid_row / g.rows(), i = grid_row % g.rows();
    for (index_t c = 0; c < g.n_channels; ++c) {
        for (index_t r = 0; r < g.patch; ++r) {
            auto* const line = &image(b, c, i * g.patch + r, 0);
            for (index_t j = 0; j < g.columns(); ++j) f(line + j * g.patch, &patches(grid_row * g.columns() + j, (c * g.patch + r) * g.patch));
        }
    }
}

}  // namespace cpu

template <class T>
void extract_patches(cpu_context& ctx, tensor_view<T, 2> y, in_view<T, 4> x, index_t patch_size) {
    const auto g = detail::check_patches("extract_patches", x, y, patch_size);
    parallel_kernel(ctx, g.n_batch * g.rows(), cpu::row_grain(g.n_channels * g.patch * g.width), [&](index_t begin, index_t end) {
        for (index_t row = begin; row < end; ++row) {
            cpu::each_patch_line(g, row, x, y, [&](const T* from, T* to) { std::copy_n(from, g.patch, to); });
        }
    });
}

template <class T>
void extract_patches_backward(cpu_context& ctx, tensor_view<T, 4> dx, in_view<T, 2> dy, index_t patch_size) {
    const auto g = detail::check_patches("extract_patches_backward", dx, dy, patch_size);
    parallel_kernel(ctx, g.n_batch * g.rows(), cpu::row_grain(g.n_channels * g.patch * g.width), [&](index_t begin, index_t end) {
        for (index_t row = begin; row < end; ++row) {
            cpu::each_patch_line(g, row, dx, dy, [&](T* to, const T* from) { std::copy_n(from, g.patch, to); });
        }
    });
}

template <class T>
void prepend_class_token(cpu_context& ctx, tensor_view<T, 3> y, in_view<T, 2> patches, in_view<T, 1> class_token, in_view<T, 2> position) {
    detail::check_tokens("prepend_class_token", y, patches, class_token, position);
    const index_t n_tokens = y.extent(1), d = y.extent(2), first = class_token.empty() ? 0 : 1, n_patches = n_tokens - first;
    parallel_kernel(ctx, y.extent(0) * n_tokens, cpu::row_grain(d), [&](index_t begin, index_t end) {
        for (index_t row = begin; row < end; ++row) {
            const index_t b = row / n_tokens, t = row % n_tokens;
            const T* const token = t < first ? class_token.data() : &patches(b * n_patches + t - first, 0);
            cpu::add_rows<T>(&y(b, t, 0), token, &position(t, 0), d);
        }
    });
}

template <class T>
void prepend_class_token_backward(cpu_context& ctx, tensor_view<T, 2> d_patches, tensor_view<T, 1> d_class_token, tensor_view<T, 2> d_position,
                                  in_view<T, 3> dy) {
    detail::check_tokens("prepend_class_token_backward", dy, d_patches, d_class_token, d_position);
    const index_t n_batch = dy.extent(0), n_tokens = dy.extent(1), d = dy.extent(2), first = d_class_token.empty() ? 0 : 1, n_patches = n_tokens - first;
    parallel_kernel(ctx, n_tokens, cpu::row_grain(n_batch * d), [&](index_t begin, index_t end) {
        for (index_t t = begin; t < end; ++t) {
            T* const position = &d_position(t, 0);
            if constexpr (std::same_as<T, bf16>) {
                // Samples are added in float, and rounded once.
                float* const sum = cpu::row_scratch(2 * d);
                std::fill(sum, sum + d, 0.0f);
                for (index_t b = 0; b < n_batch; ++b) {
                    cpu::widen(sum + d, &dy(b, t, 0), d);
                    cpu::add_rows<float>(sum, sum, sum + d, d);
                    if (t >= first) std::copy_n(&dy(b, t, 0), d, &d_patches(b * n_patches + t - first, 0));
                }
                for (T* const to : {position, t < first ? d_class_token.data() : nullptr}) {
                    if (to == nullptr) continue;
                    cpu::widen(sum + d, to, d);
                    cpu::add_rows<float>(sum + d, sum + d, sum, d);
                    cpu::narrow(to, sum + d, d);
                }
            } else {
                for (index_t b = 0; b < n_batch; ++b) {
                    const T* const from = &dy(b, t, 0);
                    cpu::add_rows<T>(position, position, from, d);
                    if (t < first) cpu::add_rows<T>(d_class_token.data(), d_class_token.data(), from, d);
                    else std::copy_n(from, d, &d_patches(b * n_patches + t - first, 0));
                }
            }
        }
    });
}

}  // namespace instar::ops

#endif
