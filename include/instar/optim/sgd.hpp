#ifndef INSTAR_OPTIM_SGD_HPP
#define INSTAR_OPTIM_SGD_HPP

// Stochastic gradient descent with momentum, PyTorch's update rule, over a model's flat parameters.
//
//     optim::sgd<float> optimiser(model.layout().size(), {.momentum = 0.9});
//     optimiser.step(ctx, model.parameters(), gradients.view(), 0.1);

#include <type_traits>

#include "instar/core/tensor.hpp"
#include "instar/ops/sgd.hpp"

namespace instar::optim {

struct sgd_config {
    double momentum = 0.0;
    double weight_decay = 0.0;  ///< added to the gradient (L2), as PyTorch does
    bool nesterov = false;
};

/// State of SGD: the momentum; for parameters in bf16 a copy of them too, both in float. See ops/sgd.hpp for the formula.
template <class T, class Memory = host_memory>
class sgd {
public:
    using state_type = accumulator_t<T>;
    static constexpr bool k_keeps_master = !std::is_same_v<T, state_type>;

    explicit sgd(index_t n_parameters, sgd_config config = {}) : config_(config), momentum_({n_parameters}), master_({k_keeps_master ? n_parameters : 0}) {
        if (config.nesterov && config.momentum <= 0) throw value_error("sgd: Nesterov momentum needs momentum > 0");
    }

    template <class Context>
    void step(Context& ctx, tensor_view<T, 1> parameters, in_view<T, 1> gradients, double lr) {
        instar::detail::check_shape("sgd.step", "parameters", parameters, {momentum_.extent(0)});
        const ops::sgd_options options{.lr = lr, .momentum = config_.momentum, .weight_decay = config_.weight_decay, .nesterov = config_.nesterov, .step = steps_ + 1};
        if constexpr (k_keeps_master) ops::sgd_update<T>(ctx, parameters, master_.view(), momentum_.view(), gradients, options);
        else ops::sgd_update<T>(ctx, parameters, momentum_.view(), gradients, options);
        ++steps_;
    }

    const sgd_config& config() const noexcept { return config_; }
    index_t steps() const noexcept { return steps_; }
    tensor_view<state_type, 1> momentum() noexcept { return momentum_.view(); }
    /// The parameters in float, filled by the first step; empty when the parameters are not in bf16.
    tensor_view<state_type, 1> master() noexcept { return master_.view(); }
    /// For checkpoints of parameters in bf16: the state is restored through momentum() and master().
    void set_steps(index_t steps) noexcept { steps_ = steps; }

private:
    sgd_config config_;
    tensor<state_type, 1, Memory> momentum_;
    tensor<state_type, 1, Memory> master_;
    index_t steps_ = 0;
};

}  // namespace instar::optim

#endif
