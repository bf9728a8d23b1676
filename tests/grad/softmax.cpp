// Softmax's gradient against central differences in double.

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/ops/softmax.hpp"
#include "support/gradient_check.hpp"

using namespace instar;

TEST_CASE("softmax backward is the gradient of the forward") {
    cpu_context ctx;
    for (const index_t n : {1, 2, 7, 33}) {
        CAPTURE(n);
        auto x = test::random_tensor<double, 2>({3, n}, 1, -3.0, 3.0);
        const auto dy = test::random_tensor<double, 2>({3, n}, 2);
        tensor<double, 2> y({3, n}), dx({3, n});
        const auto f = [&] {
            ops::softmax_forward<double>(ctx, y, x);
            return test::dot(y.view(), dy.view());
        };
        f();
        ops::softmax_backward<double>(ctx, dx, dy, y);
        CHECK(test::gradient_error(x.view(), dx.view(), f) < 1e-8);
    }
}
