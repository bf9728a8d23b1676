#ifndef INSTAR_OPS_REF_RELU_HPP
#define INSTAR_OPS_REF_RELU_HPP

// Reference of ops/relu.hpp.
//
//     ops::ref::add_relu(y, a, b);

#include "instar/ops/ref/convert.hpp"
#include "instar/ops/relu.hpp"

namespace instar::ops::ref {

/// y = max(0, a + b); a NaN stays one.
template <class T>
void add_relu(tensor_view<T, 1> y, in_view<T, 1> a, in_view<T, 1> b) {
    for (index_t i = 0; i < y.extent(0); ++i) {
        const double sum = as_double(a(i)) + as_double(b(i));
        y(i) = from_double<T>(sum < 0.0 ? 0.0 : sum);
    }
}

/// dx = dy where y > 0, else 0.
template <class T>
void relu_backward(tensor_view<T, 1> dx, in_view<T, 1> dy, in_view<T, 1> y) {
    for (index_t i = 0; i < dx.extent(0); ++i) dx(i) = from_double<T>(as_double(y(i)) > 0.0 ? as_double(dy(i)) : 0.0);
}

}  // namespace instar::ops::ref

#endif
