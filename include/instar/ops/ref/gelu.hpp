#ifndef INSTAR_OPS_REF_GELU_HPP
#define INSTAR_OPS_REF_GELU_HPP

// Reference GELU: the formulas of ops/gelu.hpp in double, one element at a time.
//
//     ops::ref::gelu_forward(y, x);

#include <cmath>

#include "instar/ops/gelu.hpp"
#include "instar/ops/ref/convert.hpp"

namespace instar::ops::ref {

/// y = x · Φ(x). Through erfc, so that the left tail keeps its digits.
template <class T>
void gelu_forward(tensor_view<T, 1> y, in_view<T, 1> x) {
    for (index_t i = 0; i < y.extent(0); ++i) {
        const double v = as_double(x(i));
        y(i) = from_double<T>(v * 0.5 * std::erfc(-v * 0.70710678118654752440));
    }
}

/// dx = dy · (Φ(x) + x · φ(x)).
template <class T>
void gelu_backward(tensor_view<T, 1> dx, in_view<T, 1> dy, in_view<T, 1> x) {
    for (index_t i = 0; i < dx.extent(0); ++i) {
        const double v = as_double(x(i));
        const double cdf = 0.5 * std::erfc(-v * 0.70710678118654752440);
        const double pdf = 0.39894228040143267794 * std::exp(-0.5 * v * v);
        dx(i) = from_double<T>(as_double(dy(i)) * (cdf + v * pdf));
    }
}

}  // namespace instar::ops::ref

#endif
