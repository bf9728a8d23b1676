// The one-cycle policy against PyTorch's OneCycleLR: learning rate and beta1 of every step.
#include <doctest/doctest.h>

#include "instar/optim/schedule.hpp"
#include "support/golden_fill.hpp"

using namespace instar;

namespace {

index_t check_all(const test::golden_file& golden, const std::string& variant, optim::one_cycle schedule) {
    index_t n = 0;
    for (const index_t total : {2, 3, 4, 7, 10, 100, 1000}) {
        const std::string key = variant + "." + std::to_string(total);
        if (!golden.file().contains(key)) continue;  // PyTorch divides by zero there
        CAPTURE(key);
        ++n;
        const auto expected = golden.read<double>(key);
        REQUIRE(static_cast<index_t>(expected.size()) == 2 * total);
        schedule.total_steps = total;
        double lr_error = 0.0, beta1_error = 0.0;
        for (index_t step = 0; step < total; ++step) {
            const auto [lr, beta1] = schedule(step);
            const auto i = static_cast<std::size_t>(step);
            lr_error = std::max(lr_error, std::fabs(lr / expected[2 * i] - 1.0));
            beta1_error = std::max(beta1_error, std::fabs(beta1 / expected[2 * i + 1] - 1.0));
        }
        CHECK(lr_error <= 1e-9);  // the last rates are differences of numbers 10⁶ times as large
        CHECK(beta1_error <= 1e-13);
    }
    return n;
}

}  // namespace

TEST_CASE("optim_schedule: one_cycle equals OneCycleLR at every step") {
    const test::golden_file golden("bert_one_cycle");
    CHECK(check_all(golden, "default", {.max_lr = 1e-4}) >= 6);
    CHECK(check_all(golden, "settings",
                    {.max_lr = 1e-4, .pct_start = 0.45, .div_factor = 10.0, .final_div_factor = 50.0, .base_momentum = 0.8, .max_momentum = 0.9}) >= 6);
    CHECK(check_all(golden, "fixed_momentum", {.max_lr = 1e-4, .cycle_momentum = false}) >= 6);
}

TEST_CASE("optim_schedule: the landmarks of 100 steps") {
    const optim::one_cycle schedule{.max_lr = 1e-4, .total_steps = 100};
    CHECK(schedule(0).lr == doctest::Approx(1e-4 / 25));
    CHECK(schedule(29).lr == doctest::Approx(1e-4));
    CHECK(schedule(29).beta1 == doctest::Approx(0.85));
    CHECK(schedule(99).lr == doctest::Approx(1e-4 / 25 / 1e4));
    CHECK(schedule(99).beta1 == doctest::Approx(0.95));
    CHECK_THROWS_AS(schedule(100), value_error);
    CHECK_THROWS_AS(schedule(-1), value_error);
}
