// Gradient of centred tokens against central differences in double.

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/ops/centre_tokens.hpp"
#include "support/compare.hpp"
#include "support/gradient_check.hpp"

using namespace instar;

TEST_CASE("centre_tokens backward is the gradient of the forward") {
    cpu_context ctx;
    auto x = test::random_tensor<double, 3>({3, 4, 5}, 1);
    const auto centre = test::random_tensor<double, 2>({4, 5}, 2);
    const auto dy = test::random_tensor<double, 3>({3, 4, 5}, 3);
    tensor<std::uint8_t, 2> mask({3, 4});
    for (index_t i = 0; i < 12; ++i) mask.data()[i] = i % 5 != 2 ? 1 : 0;
    tensor<double, 3> y({3, 4, 5}), dx({3, 4, 5});
    const auto f = [&] {
        ops::centre_tokens_forward<double>(ctx, y, x, centre, mask.view());
        return test::dot(y.view(), dy.view());
    };
    ops::centre_tokens_backward<double>(ctx, dx, dy, mask.view());
    CHECK(test::gradient_error(x.view(), dx.view(), f) < 1e-8);
}
