#ifndef INSTAR_OPS_REF_LINEAR_HPP
#define INSTAR_OPS_REF_LINEAR_HPP

// Reference affine map: the formulas of ops/linear.hpp, sums in double, one element at a time.
//
//     ops::ref::linear_forward(y, x, weight, bias);

#include <cmath>

#include "instar/ops/linear.hpp"
#include "instar/ops/ref/convert.hpp"

namespace instar::ops::ref {

/// y_ro = Σ_i x_ri · weight_oi + bias_o.
template <class T>
void linear_forward(tensor_view<T, 2> y, in_view<T, 2> x, in_view<T, 2> weight, in_view<T, 1> bias) {
    for (index_t r = 0; r < y.extent(0); ++r) {
        for (index_t o = 0; o < y.extent(1); ++o) {
            double sum = bias.empty() ? 0.0 : as_double(bias(o));
            for (index_t i = 0; i < x.extent(1); ++i) sum += as_double(x(r, i)) * as_double(weight(o, i));
            y(r, o) = from_double<T>(sum);
        }
    }
}

/// pre = x · weightᵀ + bias;   y = pre · Φ(pre), of pre as it is stored.
template <class T>
void linear_gelu_forward(tensor_view<T, 2> y, out_view<T, 2> pre, in_view<T, 2> x, in_view<T, 2> weight, in_view<T, 1> bias) {
    ref::linear_forward<T>(pre, x, weight, bias);
    for (index_t r = 0; r < y.extent(0); ++r) {
        for (index_t o = 0; o < y.extent(1); ++o) {
            const double v = as_double(pre(r, o));
            y(r, o) = from_double<T>(v * 0.5 * std::erfc(-v * 0.70710678118654752440));
        }
    }
}

/// dx = dy · weight;   dweight += dyᵀ · x;   dbias += Σ_rows dy.
template <class T>
void linear_backward(tensor_view<T, 2> dx, out_view<T, 2> dweight, out_view<T, 1> dbias, in_view<T, 2> dy, in_view<T, 2> x, in_view<T, 2> weight) {
    const index_t n_rows = dy.extent(0), d_out = weight.extent(0), d_in = weight.extent(1);
    if (!dx.empty()) {
        for (index_t r = 0; r < n_rows; ++r) {
            for (index_t i = 0; i < d_in; ++i) {
                double sum = 0.0;
                for (index_t o = 0; o < d_out; ++o) sum += as_double(dy(r, o)) * as_double(weight(o, i));
                dx(r, i) = from_double<T>(sum);
            }
        }
    }
    for (index_t o = 0; o < d_out; ++o) {
        for (index_t i = 0; i < d_in; ++i) {
            double sum = as_double(dweight(o, i));
            for (index_t r = 0; r < n_rows; ++r) sum += as_double(dy(r, o)) * as_double(x(r, i));
            dweight(o, i) = from_double<T>(sum);
        }
        if (dbias.empty()) continue;
        double sum = as_double(dbias(o));
        for (index_t r = 0; r < n_rows; ++r) sum += as_double(dy(r, o));
        dbias(o) = from_double<T>(sum);
    }
}

}  // namespace instar::ops::ref

#endif
