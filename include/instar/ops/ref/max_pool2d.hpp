#ifndef INSTAR_OPS_REF_MAX_POOL2D_HPP
#define INSTAR_OPS_REF_MAX_POOL2D_HPP

// Reference of ops/max_pool2d.hpp: every window looks at every pixel of its image.
//
//     ops::ref::max_pool2d_forward(y, place, x, {});

#include <cmath>
#include <vector>

#include "instar/ops/max_pool2d.hpp"
#include "instar/ops/ref/convert.hpp"

namespace instar::ops::ref {

template <class T>
void max_pool2d_forward(tensor_view<T, 4> y, tensor_view<std::int32_t, 4> place, in_view<T, 4> x, max_pool2d_options o) {
    const index_t pixels = x.extent(1) * x.extent(2), width = x.extent(2);
    for (index_t b = 0; b < y.extent(0); ++b) {
        for (index_t i = 0; i < y.extent(1); ++i) {
            for (index_t j = 0; j < y.extent(2); ++j) {
                for (index_t c = 0; c < y.extent(3); ++c) {
                    const auto at = [&](index_t p) { return as_double(x(b, p / width, p % width, c)); };
                    index_t best = -1;
                    for (index_t p = 0; p < pixels; ++p) {
                        const index_t r = p / width - i * o.stride + o.padding, q = p % width - j * o.stride + o.padding;
                        if (r < 0 || r >= o.kernel || q < 0 || q >= o.kernel) continue;
                        // The first of equals; the first NaN of all.
                        if (best < 0 || (!std::isnan(at(best)) && (std::isnan(at(p)) || at(p) > at(best)))) best = p;
                    }
                    y(b, i, j, c) = x(b, best / width, best % width, c);
                    place(b, i, j, c) = static_cast<std::int32_t>(best);
                }
            }
        }
    }
}

/// dx[b, place[b, i, j, c], c] = Σ dy[b, i, j, c].
template <class T>
void max_pool2d_backward(tensor_view<T, 4> dx, in_view<T, 4> dy, tensor_view<const std::int32_t, 4> place) {
    const index_t width = dx.extent(2), d = dx.extent(3);
    std::vector<double> sum(static_cast<std::size_t>(dx.size()), 0.0);
    for (index_t b = 0; b < dy.extent(0); ++b) {
        for (index_t i = 0; i < dy.extent(1); ++i) {
            for (index_t j = 0; j < dy.extent(2); ++j) {
                for (index_t c = 0; c < d; ++c) {
                    sum[static_cast<std::size_t>((b * dx.extent(1) * width + place(b, i, j, c)) * d + c)] += as_double(dy(b, i, j, c));
                }
            }
        }
    }
    for (index_t n = 0; n < dx.size(); ++n) dx.data()[n] = from_double<T>(sum[static_cast<std::size_t>(n)]);
}

}  // namespace instar::ops::ref

#endif
