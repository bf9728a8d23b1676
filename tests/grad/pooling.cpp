// Sequence pooling's gradient against central differences in double.

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/ops/pooling.hpp"
#include "support/gradient_check.hpp"

using namespace instar;

TEST_CASE("pooling backward is the gradient of the forward") {
    cpu_context ctx;
    auto x = test::random_tensor<double, 3>({3, 4, 5}, 1);
    const auto dy = test::random_tensor<double, 2>({3, 5}, 2);
    tensor<std::uint8_t, 2> mask({3, 4});
    mask(0, 0) = mask(0, 2) = mask(2, 3) = 1;  // sample 1 has no position
    tensor<double, 2> y({3, 5});
    tensor<double, 3> dx({3, 4, 5});
    for (const auto kind : {ops::pooling::mean, ops::pooling::masked_mean, ops::pooling::first}) {
        CAPTURE(static_cast<int>(kind));
        const auto f = [&] {
            ops::sequence_pool_forward<double>(ctx, y, x, mask.view(), kind);
            return test::dot(y.view(), dy.view());
        };
        ops::sequence_pool_backward<double>(ctx, dx, dy, mask.view(), kind);
        CHECK(test::gradient_error(x.view(), dx.view(), f) < 1e-8);
    }
}
