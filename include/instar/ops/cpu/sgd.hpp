#ifndef INSTAR_OPS_CPU_SGD_HPP
#define INSTAR_OPS_CPU_SGD_HPP

// Gradient descent with momentum on the CPU: one pass over parameters, momentum and gradients.
//
//     ops::sgd_update(ctx, parameters, momentum, gradients, {.lr = 0.1, .momentum = 0.9});

#include "instar/core/cpu_context.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/ops/cpu/grain.hpp"
#include "instar/ops/sgd.hpp"

namespace instar::ops {

template <class T>
void sgd_update(cpu_context& ctx, tensor_view<T, 1> parameters, out_view<T, 1> momentum, in_view<T, 1> gradients, sgd_options options) {
    detail::check_sgd<T, T>(parameters, {}, momentum, gradients, options);
    const T mu = static_cast<T>(options.momentum), wd = static_cast<T>(options.weight_decay), rate = static_cast<T>(options.lr);
    const bool nesterov = options.nesterov;
    T* INSTAR_RESTRICT p = parameters.data();
    T* INSTAR_RESTRICT b = momentum.data();
    const T* INSTAR_RESTRICT g = gradients.data();
    parallel_kernel(ctx, parameters.extent(0), cpu::k_flat_grain, [=](index_t begin, index_t end) {
        for (index_t i = begin; i < end; ++i) {
            const T gi = g[i] + wd * p[i];
            b[i] = mu * b[i] + gi;
            p[i] -= rate * (nesterov ? gi + mu * b[i] : b[i]);
        }
    });
}

}  // namespace instar::ops

#endif
