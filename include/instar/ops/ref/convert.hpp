#ifndef INSTAR_OPS_REF_CONVERT_HPP
#define INSTAR_OPS_REF_CONVERT_HPP

// Elements to double and back, for the reference loops: every reference operator works on float, double and bf16.
//
//     double d = ref::as_double(x(i, j));
//     y(i, j) = ref::from_double<T>(d);

#include "instar/core/element.hpp"

namespace instar::ops::ref {

template <class T>
constexpr double as_double(T value) {
    if constexpr (std::same_as<T, bf16>) return static_cast<double>(static_cast<float>(value));
    else return static_cast<double>(value);
}

template <class T>
constexpr T from_double(double value) {
    if constexpr (std::same_as<T, bf16>) return bf16(static_cast<float>(value));
    else return static_cast<T>(value);
}

}  // namespace instar::ops::ref

#endif
