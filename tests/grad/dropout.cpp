// Dropout's gradient against central differences in double.

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/ops/dropout.hpp"
#include "support/gradient_check.hpp"

using namespace instar;

TEST_CASE("dropout backward is the gradient of both forwards") {
    cpu_context ctx;
    const ops::dropout_options options{.p = 0.4f, .rng = {1, 2}};
    auto x = test::random_tensor<double, 1>({101}, 1);
    auto residual = test::random_tensor<double, 1>({101}, 2);
    const auto dy = test::random_tensor<double, 1>({101}, 3);
    tensor<double, 1> y({101}), dx({101});
    ops::dropout_backward<double>(ctx, dx, dy, options);
    const auto plain = [&] {
        ops::dropout_forward<double>(ctx, y, x, options);
        return test::dot(y.view(), dy.view());
    };
    CHECK(test::gradient_error(x.view(), dx.view(), plain) < 1e-8);
    const auto with_residual = [&] {
        ops::residual_dropout_forward<double>(ctx, y, residual, x, options);
        return test::dot(y.view(), dy.view());
    };
    CHECK(test::gradient_error(x.view(), dx.view(), with_residual) < 1e-8);
    CHECK(test::gradient_error(residual.view(), dy.view(), with_residual) < 1e-8);
}
