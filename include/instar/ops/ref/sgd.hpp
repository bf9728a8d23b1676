#ifndef INSTAR_OPS_REF_SGD_HPP
#define INSTAR_OPS_REF_SGD_HPP

// Reference of ops/sgd.hpp.
//
//     ops::ref::sgd_update(parameters, momentum, gradients, {.lr = 0.1, .momentum = 0.9});

#include "instar/ops/ref/convert.hpp"
#include "instar/ops/sgd.hpp"

namespace instar::ops::ref {

/// g ← g + wd·p;   b ← μ·b + g;   p ← p − lr·(nesterov ? g + μ·b : b).
template <class T>
void sgd_update(tensor_view<T, 1> parameters, out_view<T, 1> momentum, in_view<T, 1> gradients, sgd_options options) {
    for (index_t i = 0; i < parameters.extent(0); ++i) {
        const double p = as_double(parameters(i)), g = as_double(gradients(i)) + options.weight_decay * p;
        const double b = options.momentum * as_double(momentum(i)) + g;
        momentum(i) = from_double<T>(b);
        parameters(i) = from_double<T>(p - options.lr * (options.nesterov ? g + options.momentum * b : b));
    }
}

/// The same on a copy in float, which the first update takes from the parameters; the parameters receive it rounded.
template <class T>
void sgd_update(tensor_view<T, 1> parameters, out_view<accumulator_t<T>, 1> master, out_view<accumulator_t<T>, 1> momentum, in_view<T, 1> gradients, sgd_options options) {
    for (index_t i = 0; i < parameters.extent(0); ++i) {
        if (options.step == 1) master(i) = from_double<accumulator_t<T>>(as_double(parameters(i)));
        accumulator_t<T> g = from_double<accumulator_t<T>>(as_double(gradients(i)));
        const auto one = [i](tensor_view<accumulator_t<T>, 1> x) { return tensor_view<accumulator_t<T>, 1>(&x(i), {1}); };
        sgd_update<accumulator_t<T>>(one(master), one(momentum), tensor_view<const accumulator_t<T>, 1>(&g, {1}), options);
        parameters(i) = from_double<T>(as_double(master(i)));
    }
}

}  // namespace instar::ops::ref

#endif
