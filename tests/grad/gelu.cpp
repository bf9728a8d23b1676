// GELU's gradient against central differences in double.

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/ops/gelu.hpp"
#include "support/gradient_check.hpp"

using namespace instar;

TEST_CASE("gelu backward is the gradient of the forward") {
    cpu_context ctx;
    const auto x = test::random_tensor<double, 1>({201}, 1, -6.0, 6.0);
    const auto dy = test::random_tensor<double, 1>({201}, 2);
    tensor<double, 1> y({201}), dx({201});
    auto moved = x.clone();
    const auto f = [&] {
        ops::gelu_forward<double>(ctx, y, moved);
        return test::dot(y.view(), dy.view());
    };
    ops::gelu_backward<double>(ctx, dx, dy, x);
    CHECK(test::gradient_error(moved.view(), dx.view(), f) < 1e-8);
}
