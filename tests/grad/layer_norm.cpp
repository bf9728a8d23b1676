// Layer normalisation's gradients against central differences in double.

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/ops/layer_norm.hpp"
#include "support/gradient_check.hpp"

using namespace instar;

TEST_CASE("layer_norm backward is the gradient of the forward") {
    cpu_context ctx;
    const index_t shapes[][2] = {{1, 2}, {3, 5}, {4, 33}};
    for (const auto& s : shapes) {
        const index_t n = s[0], d = s[1];
        CAPTURE(n);
        CAPTURE(d);
        auto x = test::random_tensor<double, 2>({n, d}, 1);
        auto weight = test::random_tensor<double, 1>({d}, 2);
        auto bias = test::random_tensor<double, 1>({d}, 3);
        const auto dy = test::random_tensor<double, 2>({n, d}, 4);
        tensor<double, 2> y({n, d}), dx({n, d});
        tensor<double, 1> mean({n}), rstd({n}), dweight({d}), dbias({d});
        const auto f = [&] {
            ops::layer_norm_forward<double>(ctx, y, {mean, rstd}, x, weight, bias, 1e-2);
            return test::dot(y.view(), dy.view());
        };
        f();
        ops::layer_norm_backward<double>(ctx, dx, dweight, dbias, dy, {mean, rstd}, x, weight);
        CHECK(test::gradient_error(x.view(), dx.view(), f) < 1e-7);
        CHECK(test::gradient_error(weight.view(), dweight.view(), f) < 1e-8);
        CHECK(test::gradient_error(bias.view(), dbias.view(), f) < 1e-8);
    }
}
