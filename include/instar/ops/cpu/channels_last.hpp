#ifndef INSTAR_OPS_CPU_CHANNELS_LAST_HPP
#define INSTAR_OPS_CPU_CHANNELS_LAST_HPP

// Planes to pixels on the CPU: lines of images in parallel, each plane's line read in order.
//
//     ops::channels_last(ctx, y, x);

#include "instar/core/cpu_context.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/ops/channels_last.hpp"
#include "instar/ops/cpu/grain.hpp"

namespace instar::ops {

template <class T>
void channels_last(cpu_context& ctx, tensor_view<T, 4> y, in_view<T, 4> x) {
    detail::check_channels_last<T>(y, x);
    const index_t channels = x.extent(1), height = x.extent(2), width = x.extent(3);
    parallel_kernel(ctx, x.extent(0) * height, cpu::row_grain(width * channels), [&](index_t begin, index_t end) {
        for (index_t line = begin; line < end; ++line) {
            const index_t b = line / height, i = line % height;
            for (index_t c = 0; c < channels; ++c) {
                for (index_t j = 0; j < width; ++j) y(b, i, j, c) = x(b, c, i, j);
            }
        }
    });
}

}  // namespace instar::ops

#endif
