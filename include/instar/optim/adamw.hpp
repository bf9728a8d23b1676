#ifndef INSTAR_OPTIM_ADAMW_HPP
#define INSTAR_OPTIM_ADAMW_HPP

// AdamW over a model's flat parameters.
//
//     optim::adamw<float> optimiser(model.layout().size(), {.weight_decay = 0.01});
//     optimiser.step(ctx, model.parameters(), gradients.view(), schedule(i));
//     ops::fill(ctx, gradients.view(), 0.0f);

#include <cmath>
#include <type_traits>

#include "instar/core/tensor.hpp"
#include "instar/ops/adamw.hpp"
#include "instar/optim/schedule.hpp"

namespace instar::optim {

struct adamw_config {
    double beta2 = 0.999;
    double eps = 1e-8;
    double weight_decay = 0.0;
    double max_grad_norm = 0.0;  ///< clip the global norm to this; 0 = no clipping
};

/// State of AdamW: two moments and the number of updates; for parameters in bf16 a copy of them too, all in float. See ops/adamw.hpp for
/// the formula.
template <class T, class Memory = host_memory>
class adamw {
public:
    using state_type = accumulator_t<T>;
    static constexpr bool k_keeps_master = !std::is_same_v<T, state_type>;

    explicit adamw(index_t n_parameters, adamw_config config = {})
        : config_(config), m_({n_parameters}), v_({n_parameters}), master_({k_keeps_master ? n_parameters : 0}) {}

    /// One update. Returns the global gradient norm when clipping is on, else 0.
    template <class Context>
    double step(Context& ctx, tensor_view<T, 1> parameters, in_view<T, 1> gradients, rates r) {
        double norm = 0.0, scale = 1.0;
        if (config_.max_grad_norm > 0) {
            norm = std::sqrt(ops::squared_norm<T>(ctx, gradients));
            scale = norm > config_.max_grad_norm ? config_.max_grad_norm / (norm + 1e-6) : 1.0;
        }
        ++steps_;
        const ops::adamw_options options{.lr = r.lr, .beta1 = r.beta1, .beta2 = config_.beta2, .eps = config_.eps, .weight_decay = config_.weight_decay,
                                         .step = steps_, .grad_scale = scale};
        if constexpr (k_keeps_master) ops::adamw_update<T>(ctx, parameters, master_.view(), m_.view(), v_.view(), gradients, options);
        else ops::adamw_update<T>(ctx, parameters, m_.view(), v_.view(), gradients, options);
        return norm;
    }

    const adamw_config& config() const noexcept { return config_; }
    index_t steps() const noexcept { return steps_; }
    tensor_view<state_type, 1> m() noexcept { return m_.view(); }
    tensor_view<state_type, 1> v() noexcept { return v_.view(); }
    /// The parameters in float, filled by the first step; empty when the parameters are not in bf16.
    tensor_view<state_type, 1> master() noexcept { return master_.view(); }
    /// For checkpoints: the state is restored through m(), v() and master().
    void set_steps(index_t steps) noexcept { steps_ = steps; }

private:
    adamw_config config_;
    tensor<state_type, 1, Memory> m_;
    tensor<state_type, 1, Memory> v_;
    tensor<state_type, 1, Memory> master_;
    index_t steps_ = 0;
};

}  // namespace instar::optim

#endif
