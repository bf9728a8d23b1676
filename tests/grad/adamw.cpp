// AdamW has no backward; what can be checked with differences is squared_norm, and that a step goes downhill.

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/ops/adamw.hpp"
#include "support/gradient_check.hpp"

using namespace instar;

TEST_CASE("adamw squared_norm has the gradient 2g") {
    cpu_context ctx;
    auto g = test::random_tensor<double, 1>({33}, 1);
    tensor<double, 1> twice({33});
    for (index_t i = 0; i < 33; ++i) twice(i) = 2.0 * g(i);
    const auto f = [&] { return ops::squared_norm<double>(ctx, g); };
    CHECK(test::gradient_error(g.view(), twice.view(), f) < 1e-8);
}

TEST_CASE("adamw finds the minimum of a quadratic") {
    cpu_context ctx;
    const auto target = test::random_tensor<double, 1>({17}, 2);
    tensor<double, 1> p({17}), m({17}), v({17}), g({17});
    for (index_t step = 1; step <= 2000; ++step) {
        for (index_t i = 0; i < 17; ++i) g(i) = 2.0 * (p(i) - target(i));
        ops::adamw_update<double>(ctx, p, m, v, g, {.lr = 0.01 / static_cast<double>(1 + step / 100), .step = step});
    }
    CHECK(test::nmse(p.view(), target.view()) < 1e-6);
}
