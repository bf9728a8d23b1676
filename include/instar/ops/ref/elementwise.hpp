#ifndef INSTAR_OPS_REF_ELEMENTWISE_HPP
#define INSTAR_OPS_REF_ELEMENTWISE_HPP

// Reference fill, copy, add and scale.
//
//     ops::ref::add(y, a, b);

#include "instar/ops/elementwise.hpp"
#include "instar/ops/ref/convert.hpp"

namespace instar::ops::ref {

template <class T>
void fill(tensor_view<T, 1> y, std::type_identity_t<T> value) {
    for (index_t i = 0; i < y.extent(0); ++i) y(i) = value;
}

template <class T>
void copy(tensor_view<T, 1> y, in_view<T, 1> x) {
    for (index_t i = 0; i < y.extent(0); ++i) y(i) = x(i);
}

template <class T>
void add(tensor_view<T, 1> y, in_view<T, 1> a, in_view<T, 1> b) {
    for (index_t i = 0; i < y.extent(0); ++i) y(i) = from_double<T>(as_double(a(i)) + as_double(b(i)));
}

template <class T>
void scale(tensor_view<T, 1> y, accumulator_t<T> factor) {
    for (index_t i = 0; i < y.extent(0); ++i) y(i) = from_double<T>(as_double(y(i)) * as_double(factor));
}

}  // namespace instar::ops::ref

#endif
