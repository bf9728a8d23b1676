#ifndef INSTAR_OPS_REF_CONV2D_HPP
#define INSTAR_OPS_REF_CONV2D_HPP

// Reference of ops/conv2d.hpp: the sum as it is written.
//
//     ops::ref::conv2d_forward(y, x, weight, bias, shape);

#include <vector>

#include "instar/ops/conv2d.hpp"
#include "instar/ops/ref/convert.hpp"

namespace instar::ops::ref {

/// f(b, i, j, o, r, s, c, row, column) for every product of a convolution that meets a pixel.
template <class F>
void each_conv2d_product(const conv2d_shape& s, F f) {
    for (index_t b = 0; b < s.n_batch; ++b) {
        for (index_t i = 0; i < s.height_out(); ++i) {
            for (index_t j = 0; j < s.width_out(); ++j) {
                for (index_t o = 0; o < s.d_out; ++o) {
                    for (index_t r = 0; r < s.kernel; ++r) {
                        for (index_t q = 0; q < s.kernel; ++q) {
                            const index_t row = i * s.stride + r - s.padding, column = j * s.stride + q - s.padding;
                            if (row < 0 || row >= s.height || column < 0 || column >= s.width) continue;
                            for (index_t c = 0; c < s.d_in; ++c) f(b, i, j, o, r, q, c, row, column);
                        }
                    }
                }
            }
        }
    }
}

template <class T>
void conv2d_forward(tensor_view<T, 4> y, in_view<T, 4> x, in_view<T, 4> weight, in_view<T, 1> bias, const conv2d_shape& s) {
    std::vector<double> sum(static_cast<std::size_t>(y.size()), 0.0);
    const auto place = [&](index_t b, index_t i, index_t j, index_t o) {
        return static_cast<std::size_t>(((b * s.height_out() + i) * s.width_out() + j) * s.d_out + o);
    };
    each_conv2d_product(s, [&](index_t b, index_t i, index_t j, index_t o, index_t r, index_t q, index_t c, index_t row, index_t column) {
        sum[place(b, i, j, o)] += as_double(x(b, row, column, c)) * as_double(weight(o, c, r, q));
    });
    for (index_t n = 0; n < y.size(); ++n) {
        y.data()[n] = from_double<T>(sum[static_cast<std::size_t>(n)] + (bias.empty() ? 0.0 : as_double(bias(n % s.d_out))));
    }
}

template <class T>
void conv2d_backward(out_view<T, 4> dx, tensor_view<T, 4> dweight, out_view<T, 1> dbias, in_view<T, 4> dy, in_view<T, 4> x, in_view<T, 4> weight,
                     const conv2d_shape& s) {
    std::vector<double> sum_x(static_cast<std::size_t>(x.size()), 0.0), sum_w(static_cast<std::size_t>(weight.size()), 0.0);
    std::vector<double> sum_b(static_cast<std::size_t>(s.d_out), 0.0);
    each_conv2d_product(s, [&](index_t b, index_t i, index_t j, index_t o, index_t r, index_t q, index_t c, index_t row, index_t column) {
        const double g = as_double(dy(b, i, j, o));
        sum_x[static_cast<std::size_t>(((b * s.height + row) * s.width + column) * s.d_in + c)] += g * as_double(weight(o, c, r, q));
        sum_w[static_cast<std::size_t>(((o * s.d_in + c) * s.kernel + r) * s.kernel + q)] += g * as_double(x(b, row, column, c));
    });
    for (index_t n = 0; n < dy.size(); ++n) sum_b[static_cast<std::size_t>(n % s.d_out)] += as_double(dy.data()[n]);
    for (index_t n = 0; n < dx.size(); ++n) dx.data()[n] = from_double<T>(sum_x[static_cast<std::size_t>(n)]);
    for (index_t n = 0; n < dweight.size(); ++n) dweight.data()[n] = from_double<T>(as_double(dweight.data()[n]) + sum_w[static_cast<std::size_t>(n)]);
    for (index_t o = 0; o < dbias.size(); ++o) dbias(o) = from_double<T>(as_double(dbias(o)) + sum_b[static_cast<std::size_t>(o)]);
}

}  // namespace instar::ops::ref

#endif
