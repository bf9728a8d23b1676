#ifndef INSTAR_OPTIM_SCHEDULE_HPP
#define INSTAR_OPTIM_SCHEDULE_HPP

// Learning-rate schedules: pure functions of the step, so a resumed run needs no state.
//
//     optim::one_cycle schedule{.max_lr = 1e-4, .total_steps = 1000};
//     auto [lr, beta1] = schedule(step);                 // step 0 is the first update

#include <cmath>
#include <numbers>
#include <string>

#include "instar/core/element.hpp"
#include "instar/core/error.hpp"

namespace instar::optim {

struct rates {
    double lr = 0.0;
    double beta1 = 0.9;
};

/// The one-cycle policy with cosine annealing (Smith, Topin 2018, arXiv:1708.07120), equal to PyTorch's OneCycleLR with its
/// defaults, which also cycles Adam's beta1 against the learning rate:
///
///     lr:    max/div_factor  → max over steps 0 … pct_start·total − 1  → max/div_factor/final_div_factor at total − 1
///     beta1: max_momentum → base_momentum → max_momentum
///
/// Throws value_error when total_steps < 1 or the step lies past the end.
struct one_cycle {
    double max_lr = 1e-4;
    index_t total_steps = 1;
    double pct_start = 0.3;
    double div_factor = 25.0;
    double final_div_factor = 1e4;
    bool cycle_momentum = true;
    double base_momentum = 0.85;
    double max_momentum = 0.95;
    double fixed_beta1 = 0.9;  ///< used when cycle_momentum is off

    rates operator()(index_t step) const {
        if (total_steps < 1) throw value_error("one_cycle: total_steps must be at least 1, is " + std::to_string(total_steps));
        if (step < 0 || step >= total_steps) {
            throw value_error("one_cycle: step " + std::to_string(step) + " is outside the " + std::to_string(total_steps) + " steps of the schedule");
        }
        const double initial = max_lr / div_factor;
        const double final = initial / final_div_factor;
        const double up_end = pct_start * static_cast<double>(total_steps) - 1.0;
        const double last = static_cast<double>(total_steps) - 1.0;
        const auto s = static_cast<double>(step);
        if (s <= up_end) {
            // up_end can be 0 (a schedule of few steps): the peak is then the first step.
            const double pct = up_end > 0 ? s / up_end : 1.0;
            return {anneal(initial, max_lr, pct), beta1(max_momentum, base_momentum, pct)};
        }
        const double pct = last > up_end ? (s - up_end) / (last - up_end) : 1.0;
        return {anneal(max_lr, final, pct), beta1(base_momentum, max_momentum, pct)};
    }

private:
    static double anneal(double from, double to, double pct) { return to + (from - to) / 2.0 * (std::cos(std::numbers::pi * pct) + 1.0); }
    double beta1(double from, double to, double pct) const { return cycle_momentum ? anneal(from, to, pct) : fixed_beta1; }
};

/// The same rate at every step.
struct constant_rate {
    double lr = 1e-3;
    double beta1 = 0.9;
    rates operator()(index_t) const { return {lr, beta1}; }
};

}  // namespace instar::optim

#endif
