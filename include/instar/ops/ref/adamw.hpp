#ifndef INSTAR_OPS_REF_ADAMW_HPP
#define INSTAR_OPS_REF_ADAMW_HPP

// Reference AdamW update and squared gradient norm.
//
//     ops::ref::adamw_update(parameters, m, v, gradients, {.lr = 1e-4, .step = 1});

#include <cmath>

#include "instar/ops/adamw.hpp"
#include "instar/ops/ref/convert.hpp"

namespace instar::ops::ref {

/// p −= lr·wd·p;  m = β₁m + (1−β₁)g;  v = β₂v + (1−β₂)g²;  p −= lr/(1−β₁ᵗ) · m / (√v/√(1−β₂ᵗ) + eps).
template <class T>
void adamw_update(tensor_view<T, 1> parameters, out_view<T, 1> m, out_view<T, 1> v, in_view<T, 1> gradients, adamw_options options) {
    const double step = static_cast<double>(options.step);
    const double correction1 = 1.0 - std::pow(options.beta1, step);
    const double correction2 = 1.0 - std::pow(options.beta2, step);
    for (index_t i = 0; i < parameters.extent(0); ++i) {
        const double g = options.grad_scale * as_double(gradients(i));
        const double m1 = options.beta1 * as_double(m(i)) + (1.0 - options.beta1) * g;
        const double v1 = options.beta2 * as_double(v(i)) + (1.0 - options.beta2) * g * g;
        double p = as_double(parameters(i));
        p -= options.lr * options.weight_decay * p;
        p -= options.lr / correction1 * m1 / (std::sqrt(v1) / std::sqrt(correction2) + options.eps);
        parameters(i) = from_double<T>(p);
        m(i) = from_double<T>(m1);
        v(i) = from_double<T>(v1);
    }
}

/// The same on a copy in float, which the first update takes from the parameters; the parameters receive it rounded.
template <class T>
void adamw_update(tensor_view<T, 1> parameters, out_view<accumulator_t<T>, 1> master, out_view<accumulator_t<T>, 1> m, out_view<accumulator_t<T>, 1> v,
                  in_view<T, 1> gradients, adamw_options options) {
    for (index_t i = 0; i < parameters.extent(0); ++i) {
        if (options.step == 1) master(i) = from_double<accumulator_t<T>>(as_double(parameters(i)));
        accumulator_t<T> g = from_double<accumulator_t<T>>(as_double(gradients(i)));
        const auto one = [i](tensor_view<accumulator_t<T>, 1> x) { return tensor_view<accumulator_t<T>, 1>(&x(i), {1}); };
        adamw_update<accumulator_t<T>>(one(master), one(m), one(v), tensor_view<const accumulator_t<T>, 1>(&g, {1}), options);
        parameters(i) = from_double<T>(as_double(master(i)));
    }
}

template <class T>
double squared_norm(tensor_view<const T, 1> gradients) {
    double sum = 0.0;
    for (index_t i = 0; i < gradients.extent(0); ++i) sum += as_double(gradients(i)) * as_double(gradients(i));
    return sum;
}

}  // namespace instar::ops::ref

#endif
