// Dropout on the CPU against the reference; the kept elements are Philox's, bit for bit.

#include <cmath>
#include <limits>

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/ops/ref/dropout.hpp"
#include "support/compare.hpp"
#include "support/levels.hpp"

using namespace instar;

namespace {

template <class T>
void check_dropout() {
    cpu_context one{1}, two{2};
    for (const index_t n : {0, 1, 2, 3, 4, 5, 15, 16, 63, 64, 65, 127, 129, 1000, 40003}) {
        for (const auto& [p, group] : {std::pair<float, index_t>{0.0f, 1}, {0.1f, 1}, {0.5f, 1}, {0.999f, 1}, {0.5f, 7}, {0.3f, 640}, {0.0f, 9}}) {
            CAPTURE(n);
            CAPTURE(p);
            CAPTURE(group);
            const ops::dropout_options options{.p = p, .rng = {0x123456789abcdefull, 0xfedcba987654321ull}, .group = group};
            const auto x = test::random_tensor<T, 1>({n}, 1, 0.5, 1.5);
            const auto residual = test::random_tensor<T, 1>({n}, 2);
            tensor<T, 1> y({n}), y_two({n}), expected({n});
            ops::dropout_forward<T>(one, y, x, options);
            ops::dropout_forward<T>(two, y_two, x, options);
            ops::ref::dropout_forward<T>(expected, x, options);
            CHECK(test::same_bits(y.view(), expected.view()));
            CHECK(test::same_bits(y.view(), y_two.view()));
            ops::dropout_backward<T>(two, y, x, options);
            CHECK(test::same_bits(y.view(), expected.view()));
            ops::residual_dropout_forward<T>(one, y, residual, x, options);
            ops::residual_dropout_forward<T>(two, y_two, residual, x, options);
            ops::ref::residual_dropout_forward<T>(expected, residual, x, options);
            CHECK(test::nmse(y.view(), expected.view()) <= 1e-13);
            CHECK(test::same_bits(y.view(), y_two.view()));
        }
    }
}

}  // namespace

TEST_CASE("dropout agrees with the reference in float") {
    test::for_each_level([] { check_dropout<float>(); });
}
TEST_CASE("dropout agrees with the reference in double") { check_dropout<double>(); }

TEST_CASE("dropout keeps the share of elements that p asks for") {
    cpu_context ctx;
    constexpr index_t n = 1 << 18;
    tensor<float, 1> x({n}), y({n});
    for (float& v : x) v = 1.0f;
    ops::dropout_forward<float>(ctx, y, x, {.p = 0.1f, .rng = {3, 4}});
    double kept = 0.0;
    for (const float v : y) {
        CHECK_UNARY(v == 0.0f || v == 1.0f / 0.9f);
        kept += v != 0.0f;
    }
    // Five standard deviations of a binomial.
    CHECK(std::fabs(kept / n - 0.9) < 5.0 * std::sqrt(0.09 / n));
}

TEST_CASE("dropout works in place, for either alias") {
    cpu_context ctx;
    const ops::dropout_options options{.p = 0.3f, .rng = {5, 6}};
    const auto x = test::random_tensor<float, 1>({333}, 1);
    const auto residual = test::random_tensor<float, 1>({333}, 2);
    tensor<float, 1> apart({333});
    ops::residual_dropout_forward<float>(ctx, apart, residual, x, options);
    auto over_x = x.clone(), over_residual = residual.clone();
    ops::residual_dropout_forward<float>(ctx, over_x, residual, over_x, options);
    ops::residual_dropout_forward<float>(ctx, over_residual, over_residual, x, options);
    CHECK(test::same_bits(apart.view(), over_x.view()));
    CHECK(test::same_bits(apart.view(), over_residual.view()));
}

TEST_CASE("dropout passes on kept NaNs and drops the others") {
    test::for_each_level([] {
        cpu_context ctx;
        const ops::dropout_options options{.p = 0.5f, .rng = {7, 8}};
        tensor<float, 1> x({200}), y({200}), zeros({200});
        for (float& v : x) v = std::numeric_limits<float>::quiet_NaN();
        ops::dropout_forward<float>(ctx, y, x, options);
        for (index_t i = 0; i < 200; ++i) {
            if (options.rng.bits(static_cast<std::uint64_t>(i)) >= options.drop_below()) CHECK(std::isnan(y(i)));
            else CHECK(y(i) == 0.0f);
        }
        ops::residual_dropout_forward<float>(ctx, y, zeros, x, options);
        for (index_t i = 0; i < 200; ++i) {
            CHECK(std::isnan(y(i)) == (options.rng.bits(static_cast<std::uint64_t>(i)) >= options.drop_below()));
        }
    });
}

TEST_CASE("dropout names what is wrong") {
    cpu_context ctx;
    tensor<float, 1> three({3}), four({4});
    CHECK(test::error_text<shape_error>([&] { ops::dropout_forward<float>(ctx, three, four, {}); }) ==
          "dropout_forward: x has shape [4], expected [3]");
    CHECK(test::error_text<shape_error>([&] { ops::residual_dropout_forward<float>(ctx, three, four, three, {}); }) ==
          "residual_dropout_forward: residual has shape [4], expected [3]");
    CHECK(test::error_text<shape_error>([&] { ops::dropout_backward<float>(ctx, three, four, {}); }) ==
          "dropout_backward: dy has shape [4], expected [3]");
    CHECK(test::error_text<value_error>([&] { ops::dropout_forward<float>(ctx, three, three, {.p = 1.0f}); }) ==
          "dropout_forward: options.p must be in [0, 1), is 1.000000");
    CHECK(test::error_text<value_error>([&] { ops::dropout_backward<float>(ctx, three, three, {.p = -0.5f}); }) ==
          "dropout_backward: options.p must be in [0, 1), is -0.500000");
}
