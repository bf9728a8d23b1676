#ifndef INSTAR_OPS_REF_DROPOUT_HPP
#define INSTAR_OPS_REF_DROPOUT_HPP

// Reference dropout: one draw an element, or a group of elements.
//
//     ops::ref::dropout_forward(y, x, {.p = 0.1f, .rng = {seed, stream}});

#include "instar/ops/dropout.hpp"
#include "instar/ops/ref/convert.hpp"

namespace instar::ops::ref {

/// keep_i / (1 − p). The scale is rounded to float first, as the operators do.
inline double dropout_factor(const dropout_options& options, index_t i) {
    if (options.p == 0.0f) return 1.0;
    const bool kept = options.rng.bits(static_cast<std::uint64_t>(i / options.group)) >= options.drop_below();
    return kept ? static_cast<double>(options.scale()) : 0.0;
}

template <class T>
void dropout_forward(tensor_view<T, 1> y, in_view<T, 1> x, dropout_options options) {
    for (index_t i = 0; i < y.extent(0); ++i) {
        const double factor = dropout_factor(options, i);
        y(i) = from_double<T>(factor == 0.0 ? 0.0 : as_double(x(i)) * factor);
    }
}

template <class T>
void residual_dropout_forward(tensor_view<T, 1> y, in_view<T, 1> residual, in_view<T, 1> x, dropout_options options) {
    for (index_t i = 0; i < y.extent(0); ++i) {
        const double factor = dropout_factor(options, i);
        y(i) = from_double<T>(as_double(residual(i)) + (factor == 0.0 ? 0.0 : as_double(x(i)) * factor));
    }
}

template <class T>
void dropout_backward(tensor_view<T, 1> dx, in_view<T, 1> dy, dropout_options options) {
    ref::dropout_forward<T>(dx, dy, options);
}

}  // namespace instar::ops::ref

#endif
