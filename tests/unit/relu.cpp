// Sum with rectifier on the CPU against the reference, and its backward.

#include <cmath>
#include <limits>

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/ops/ref/relu.hpp"
#include "instar/ops/relu.hpp"
#include "support/compare.hpp"

using namespace instar;

namespace {

template <class T>
void check_relu() {
    cpu_context one{1}, two{2};
    for (const index_t n : {0, 1, 17, 1024, 40001}) {
        CAPTURE(n);
        auto a = test::random_tensor<T, 1>({n}, 1);
        const auto b = test::random_tensor<T, 1>({n}, 2), dy = test::random_tensor<T, 1>({n}, 3);
        tensor<T, 1> y({n}), y_two({n}), expected({n}), dx({n}), dx_two({n});
        ops::ref::add_relu<T>(expected.view(), a, b);
        ops::add_relu<T>(one, y.view(), a, b);
        ops::add_relu<T>(two, y_two.view(), a, b);
        CHECK(test::same_bits(y.view(), expected.view()));
        CHECK(test::same_bits(y.view(), y_two.view()));
        ops::ref::relu_backward<T>(expected.view(), dy, y);
        ops::relu_backward<T>(one, dx.view(), dy, y);
        ops::relu_backward<T>(two, dx_two.view(), dy, y);
        CHECK(test::same_bits(dx.view(), expected.view()));
        CHECK(test::same_bits(dx.view(), dx_two.view()));
        // In place.
        auto g = test::random_tensor<T, 1>({n}, 3);
        ops::relu_backward<T>(two, g.view(), g, y);
        CHECK(test::same_bits(g.view(), dx.view()));
        ops::add_relu<T>(two, a.view(), a, b);
        CHECK(test::same_bits(a.view(), y.view()));
    }
}

}  // namespace

TEST_CASE("relu equals the reference, forward and backward, also in place") {
    check_relu<float>();
    check_relu<double>();
}

TEST_CASE("relu keeps NaN, and names what does not fit") {
    cpu_context ctx;
    tensor<float, 1> a({3}), b({3}), y({3}), short_one({2});
    a(1) = std::numeric_limits<float>::quiet_NaN();
    a(2) = -1.0f;
    ops::add_relu<float>(ctx, y.view(), a, b);
    CHECK(y(0) == 0.0f);
    CHECK(std::isnan(y(1)));
    CHECK(y(2) == 0.0f);
    CHECK_THROWS_WITH_AS(ops::add_relu<float>(ctx, y.view(), a, short_one), doctest::Contains("add_relu: b"), shape_error);
    CHECK_THROWS_WITH_AS(ops::relu_backward<float>(ctx, y.view(), short_one, a), doctest::Contains("relu_backward: dy"), shape_error);
}
