// GELU on the CPU against the reference.

#include <cmath>
#include <limits>

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/ops/ref/gelu.hpp"
#include "support/compare.hpp"
#include "support/levels.hpp"

using namespace instar;

namespace {

constexpr index_t k_sizes[] = {0, 1, 3, 15, 16, 17, 63, 64, 65, 1000, 40001};

template <class T>
void check_gelu(double tolerance) {
    cpu_context one{1}, two{2};
    for (const index_t n : k_sizes) {
        CAPTURE(n);
        const auto x = test::random_tensor<T, 1>({n}, 1, -7.0, 7.0);
        const auto dy = test::random_tensor<T, 1>({n}, 2);
        tensor<T, 1> y({n}), y_two({n}), expected({n});
        ops::gelu_forward<T>(one, y, x);
        ops::gelu_forward<T>(two, y_two, x);
        ops::ref::gelu_forward<T>(expected, x);
        CHECK(test::nmse(y.view(), expected.view()) <= tolerance);
        CHECK(test::same_bits(y.view(), y_two.view()));
        ops::gelu_backward<T>(one, y, dy, x);
        ops::gelu_backward<T>(two, y_two, dy, x);
        ops::ref::gelu_backward<T>(expected, dy, x);
        CHECK(test::nmse(y.view(), expected.view()) <= tolerance);
        CHECK(test::same_bits(y.view(), y_two.view()));
    }
}

}  // namespace

TEST_CASE("gelu agrees with the reference in float") {
    test::for_each_level([] { check_gelu<float>(1e-12); });
}
TEST_CASE("gelu agrees with the reference in double") { check_gelu<double>(1e-26); }

TEST_CASE("gelu works in place") {
    cpu_context ctx;
    const auto x = test::random_tensor<float, 1>({100}, 3, -4.0, 4.0);
    const auto dy = test::random_tensor<float, 1>({100}, 4);
    tensor<float, 1> apart({100});
    auto in_place = x.clone();
    ops::gelu_forward<float>(ctx, apart, x);
    ops::gelu_forward<float>(ctx, in_place, in_place);
    CHECK(test::same_bits(apart.view(), in_place.view()));
    auto gradient = dy.clone();
    ops::gelu_backward<float>(ctx, apart, dy, x);
    ops::gelu_backward<float>(ctx, gradient, gradient, x);
    CHECK(test::same_bits(apart.view(), gradient.view()));
}

TEST_CASE("gelu keeps the digits of small results and passes on what is not finite") {
    test::for_each_level([] {
        cpu_context ctx;
        constexpr float k_infinity = std::numeric_limits<float>::infinity(), k_nan = std::numeric_limits<float>::quiet_NaN();
        // Enough elements for whole vectors, so that lanes and tail both see each case.
        constexpr index_t n = 16 * 9 + 5;
        const float special[] = {0.0f, -0.0f, 1e-30f, -1e-30f, 1e-41f, -5.5f, -10.0f, -14.0f, 9.0f, 3e38f, -3e38f, k_infinity, k_nan};
        tensor<float, 1> x({n}), y({n}), expected({n}), dy({n});
        for (index_t i = 0; i < n; ++i) {
            x(i) = special[i % 13];
            dy(i) = 1.0f;
        }
        ops::gelu_forward<float>(ctx, y, x);
        ops::ref::gelu_forward<float>(expected, x);
        for (index_t i = 0; i < n; ++i) {
            CAPTURE(x(i));
            if (std::isnan(expected(i))) CHECK(std::isnan(y(i)));
            else if (std::isinf(expected(i))) CHECK(y(i) == expected(i));
            else CHECK(std::fabs(y(i) - expected(i)) <= 4e-6f * std::fabs(expected(i)) + 1e-37f);
        }
        ops::gelu_backward<float>(ctx, y, dy, x);
        ops::ref::gelu_backward<float>(expected, dy, x);
        for (index_t i = 0; i < n; ++i) {
            CAPTURE(x(i));
            if (std::isnan(expected(i))) CHECK(std::isnan(y(i)));
            else CHECK(std::fabs(y(i) - expected(i)) <= 1e-5f * std::fabs(expected(i)) + 1e-37f);
        }
    });
}

TEST_CASE("gelu names the argument whose shape is wrong") {
    cpu_context ctx;
    tensor<float, 1> three({3}), four({4});
    CHECK(test::error_text<shape_error>([&] { ops::gelu_forward<float>(ctx, three, four); }) ==
          "gelu_forward: x has shape [4], expected [3]");
    CHECK(test::error_text<shape_error>([&] { ops::gelu_backward<float>(ctx, three, four, three); }) ==
          "gelu_backward: dy has shape [4], expected [3]");
    CHECK(test::error_text<shape_error>([&] { ops::gelu_backward<float>(ctx, three, three, four); }) ==
          "gelu_backward: x has shape [4], expected [3]");
    const tensor_view<float, 1> every_other(four.data(), {2}, {2});
    tensor<float, 1> pair({2});
    CHECK(test::error_text<shape_error>([&] { ops::gelu_forward<float>(ctx, pair, every_other); }) ==
          "gelu_forward: x must be contiguous");
}
