// The gradient of rows of unit length against central differences in double.

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/ops/l2_normalize.hpp"
#include "support/gradient_check.hpp"

using namespace instar;

TEST_CASE("l2_normalize backward is the gradient of the forward") {
    cpu_context ctx;
    for (const index_t d : {1, 2, 9, 33}) {
        CAPTURE(d);
        auto x = test::random_tensor<double, 2>({3, d}, 1, 0.2, 1.5);
        const auto dy = test::random_tensor<double, 2>({3, d}, 2);
        tensor<double, 2> y({3, d}), dx({3, d});
        tensor<double, 1> inv({3});
        const auto f = [&] {
            ops::l2_normalize_forward<double>(ctx, y, inv, x);
            return test::dot(y.view(), dy.view());
        };
        f();
        ops::l2_normalize_backward<double>(ctx, dx, dy, y, inv);
        CHECK(test::gradient_error(x.view(), dx.view(), f) < 1e-8);
    }
}
