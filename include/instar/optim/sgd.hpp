#ifndef INSTAR_OPTIM_SGD_HPP
#define INSTAR_OPTIM_SGD_HPP

// Stochastic gradient descent with momentum, PyTorch's update rule, over flat parameters on the CPU.
//
//     optim::sgd<float> optimiser(n_parameters, {.momentum = 0.9});
//     optimiser.step(ctx, parameters, gradients, 0.1);

#include "instar/core/parallel_for.hpp"
#include "instar/core/tensor.hpp"

namespace instar::optim {

struct sgd_config {
    double momentum = 0.0;
    double weight_decay = 0.0;  ///< added to the gradient (L2), as PyTorch does
    bool nesterov = false;
};

/// g ← g + wd·p;  b ← μ·b + g (b = g at the first step);  p ← p − lr·(nesterov ? g + μ·b : b).
/// One pass, 20 bytes an element of float. Same bits for any number of threads.
template <class T>
class sgd {
public:
    explicit sgd(index_t n_parameters, sgd_config config = {}) : config_(config), momentum_({n_parameters}) {
        if (config.nesterov && config.momentum <= 0) throw value_error("sgd: Nesterov momentum needs momentum > 0");
    }

    void step(cpu_context& ctx, tensor_view<T, 1> parameters, in_view<T, 1> gradients, double lr) {
        const index_t n = momentum_.extent(0);
        detail::check_shape("sgd.step", "parameters", parameters, {n});
        detail::check_shape("sgd.step", "gradients", gradients, {n});
        const T mu = static_cast<T>(config_.momentum), wd = static_cast<T>(config_.weight_decay), rate = static_cast<T>(lr);
        const bool nesterov = config_.nesterov;
        T* INSTAR_RESTRICT p = parameters.data();
        T* INSTAR_RESTRICT b = momentum_.data();
        const T* INSTAR_RESTRICT g = gradients.data();
        parallel_for(ctx, n, 1 << 14, [=](index_t begin, index_t end) {
            for (index_t i = begin; i < end; ++i) {
                const T gi = g[i] + wd * p[i];
                b[i] = mu * b[i] + gi;  // b starts at zero, so the first step gives b = g
                p[i] -= rate * (nesterov ? gi + mu * b[i] : b[i]);
            }
        });
    }

    tensor_view<T, 1> momentum() noexcept { return momentum_.view(); }

private:
    sgd_config config_;
    tensor<T, 1> momentum_;
};

}  // namespace instar::optim

#endif
