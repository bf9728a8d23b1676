#ifndef INSTAR_OPS_CPU_MAX_POOL2D_HPP
#define INSTAR_OPS_CPU_MAX_POOL2D_HPP

// Max pooling on the CPU, lines of the output in parallel; images in parallel backward, since windows overlap.
//
//     ops::max_pool2d_forward(ctx, y, place, x, {});

#include <algorithm>

#include "instar/core/cpu_context.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/ops/max_pool2d.hpp"

namespace instar::ops {

template <class T>
void max_pool2d_forward(cpu_context& ctx, tensor_view<T, 4> y, tensor_view<std::int32_t, 4> place, in_view<T, 4> x, max_pool2d_options o) {
    const index_t n = x.extent(0), height = x.extent(1), width = x.extent(2), d = x.extent(3);
    detail::check_max_pool2d("max_pool2d_forward", "x", x, "y", y, place, o);
    const index_t h = o.out(height), w = o.out(width);
    parallel_kernel(ctx, n * h, 1, [&](index_t begin, index_t end) {
        for (index_t line = begin; line < end; ++line) {
            const index_t b = line / h, i = line % h;
            for (index_t j = 0; j < w; ++j) {
                T* INSTAR_RESTRICT to = y.data() + (line * w + j) * d;
                std::int32_t* INSTAR_RESTRICT where = place.data() + (line * w + j) * d;
                bool first = true;
                for (index_t r = std::max<index_t>(0, i * o.stride - o.padding); r < std::min(height, i * o.stride - o.padding + o.kernel); ++r) {
                    for (index_t q = std::max<index_t>(0, j * o.stride - o.padding); q < std::min(width, j * o.stride - o.padding + o.kernel); ++q) {
                        const T* INSTAR_RESTRICT from = x.data() + ((b * height + r) * width + q) * d;
                        const auto here = static_cast<std::int32_t>(r * width + q);
                        if (first) {
                            std::copy_n(from, d, to);
                            std::fill_n(where, d, here);
                            first = false;
                            continue;
                        }
                        for (index_t c = 0; c < d; ++c) {
                            // Neither greater nor equal: a NaN, which stays once it is there.
                            const bool take = (from[c] > to[c]) | ((from[c] != from[c]) & (to[c] == to[c]));
                            to[c] = take ? from[c] : to[c];
                            where[c] = take ? here : where[c];
                        }
                    }
                }
            }
        }
    });
}

template <class T>
void max_pool2d_backward(cpu_context& ctx, tensor_view<T, 4> dx, in_view<T, 4> dy, tensor_view<const std::int32_t, 4> place, max_pool2d_options o) {
    detail::check_max_pool2d("max_pool2d_backward", "dx", dx, "dy", dy, place, o);
    const index_t n = dx.extent(0), pixels = dx.extent(1) * dx.extent(2), d = dx.extent(3), pooled = dy.extent(1) * dy.extent(2);
    parallel_kernel(ctx, n, 1, [&](index_t begin, index_t end) {
        for (index_t b = begin; b < end; ++b) {
            T* const to = dx.data() + b * pixels * d;
            std::fill_n(to, pixels * d, T(0));
            for (index_t p = 0; p < pooled; ++p) {
                const T* const from = dy.data() + (b * pooled + p) * d;
                const std::int32_t* const where = place.data() + (b * pooled + p) * d;
                for (index_t c = 0; c < d; ++c) to[where[c] * d + c] += from[c];
            }
        }
    });
}

}  // namespace instar::ops

#endif
