#ifndef INSTAR_TESTS_SUPPORT_TRAINING_HPP
#define INSTAR_TESTS_SUPPORT_TRAINING_HPP

// Whole training runs on the CPU and on the emulated device, compared.
//
//     test::check_same_training([](auto& ctx) { … return test::train_ten_steps(ctx, {model.parameters()}, gradients, update); });

#include <cmath>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/core/transfer.hpp"
#include "instar/cuda/cuda_context.hpp"
#include "instar/optim/schedule.hpp"
#include "support/compare.hpp"

namespace instar::test {

struct training_curve {
    std::vector<double> losses;
    tensor<float, 1> parameters;
};

/// Ten steps of one cycle. gradients(step, rng) accumulates and returns the loss; update(rates) is the optimiser's step. `parts`: what is trained,
/// in the context's memory.
template <class Context, class Gradients, class Update>
training_curve train_ten_steps(Context& ctx, const std::vector<tensor_view<float, 1>>& parts, Gradients gradients, Update update) {
    const optim::one_cycle schedule{.max_lr = 5e-3, .total_steps = 10};
    index_t n = 0;
    for (const auto& p : parts) n += p.extent(0);
    training_curve curve{{}, tensor<float, 1>({n})};
    for (index_t step = 0; step < 10; ++step) {
        curve.losses.push_back(gradients(step, philox{.seed = 7, .stream = static_cast<std::uint64_t>(step)}));
        update(schedule(step));
    }
    index_t begin = 0;
    for (const auto& p : parts) {
        transfer<host_memory, typename Context::memory>(ctx, curve.parameters.view().rows(begin, begin + p.extent(0)), p);
        begin += p.extent(0);
    }
    return curve;
}

/// run(ctx) on either device: losses agree to 1e-4 of their size at every step, change from step to step, and the trained parameters
/// are close. AdamW makes whole steps of gradients that are rounding noise alone (key biases), hence the wide bound on single ones.
template <class Run>
void check_same_training(Run run) {
    cpu_context cpu{2};
    cuda_context device;
    const training_curve expected = run(cpu), actual = run(device);
    REQUIRE(expected.losses.size() == actual.losses.size());
    for (std::size_t i = 0; i < expected.losses.size(); ++i) {
        CAPTURE(i);
        CHECK(std::isfinite(actual.losses[i]));
        CHECK(std::fabs(actual.losses[i] - expected.losses[i]) <= 1e-4 * std::fabs(expected.losses[i]));
        if (i > 0) CHECK(actual.losses[i] != actual.losses[i - 1]);
    }
    CHECK(nmse(actual.parameters.view(), expected.parameters.view()) <= 1e-4);
}

}  // namespace instar::test

#endif
