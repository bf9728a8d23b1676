#ifndef INSTAR_OPTIM_SGD_HPP
#define INSTAR_OPTIM_SGD_HPP

// Stochastic gradient descent with momentum, PyTorch's update rule, over a model's flat parameters.
//
//     optim::sgd<float> optimiser(model.layout().size(), {.momentum = 0.9});
//     optimiser.step(ctx, model.parameters(), gradients.view(), 0.1);

#include "instar/core/tensor.hpp"
#include "instar/ops/sgd.hpp"

namespace instar::optim {

struct sgd_config {
    double momentum = 0.0;
    double weight_decay = 0.0;  ///< added to the gradient (L2), as PyTorch does
    bool nesterov = false;
};

/// State of SGD: the momentum, in T. See ops/sgd.hpp for the formula.
template <class T, class Memory = host_memory>
class sgd {
public:
    explicit sgd(index_t n_parameters, sgd_config config = {}) : config_(config), momentum_({n_parameters}) {
        if (config.nesterov && config.momentum <= 0) throw value_error("sgd: Nesterov momentum needs momentum > 0");
    }

    template <class Context>
    void step(Context& ctx, tensor_view<T, 1> parameters, in_view<T, 1> gradients, double lr) {
        instar::detail::check_shape("sgd.step", "parameters", parameters, {momentum_.extent(0)});
        ops::sgd_update<T>(ctx, parameters, momentum_.view(), gradients,
                           {.lr = lr, .momentum = config_.momentum, .weight_decay = config_.weight_decay, .nesterov = config_.nesterov});
    }

    const sgd_config& config() const noexcept { return config_; }
    tensor_view<T, 1> momentum() noexcept { return momentum_.view(); }

private:
    sgd_config config_;
    tensor<T, 1, Memory> momentum_;
};

}  // namespace instar::optim

#endif
