// Softmax on the CPU against the reference.

#include <cmath>
#include <limits>

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/ops/ref/softmax.hpp"
#include "support/compare.hpp"
#include "support/levels.hpp"

using namespace instar;

namespace {

template <class T>
void check_softmax(double tolerance) {
    cpu_context one{1}, two{2};
    const index_t shapes[][2] = {{0, 5}, {3, 0}, {1, 1}, {2, 3}, {5, 16}, {7, 17}, {3, 83}, {4, 1027}, {2, 20011}};
    for (const auto& s : shapes) {
        CAPTURE(s[0]);
        CAPTURE(s[1]);
        const auto x = test::random_tensor<T, 2>({s[0], s[1]}, 1, -6.0, 6.0);
        const auto dy = test::random_tensor<T, 2>({s[0], s[1]}, 2);
        tensor<T, 2> y({s[0], s[1]}), y_two({s[0], s[1]}), expected({s[0], s[1]}), dx({s[0], s[1]}), dx_two({s[0], s[1]});
        ops::softmax_forward<T>(one, y, x);
        ops::softmax_forward<T>(two, y_two, x);
        ops::ref::softmax_forward<T>(expected, x);
        CHECK(test::nmse(y.view(), expected.view()) <= tolerance);
        CHECK(test::same_bits(y.view(), y_two.view()));
        ops::softmax_backward<T>(one, dx, dy, expected);
        ops::softmax_backward<T>(two, dx_two, dy, expected);
        CHECK(test::same_bits(dx.view(), dx_two.view()));
        ops::ref::softmax_backward<T>(y, dy, expected);
        CHECK(test::nmse(dx.view(), y.view()) <= tolerance);
    }
}

}  // namespace

TEST_CASE("softmax agrees with the reference in float") {
    test::for_each_level([] { check_softmax<float>(1e-11); });
}
TEST_CASE("softmax agrees with the reference in double") { check_softmax<double>(1e-26); }

TEST_CASE("softmax takes strided rows and works in place") {
    cpu_context ctx;
    test::strided_rows<float> x({6, 37}, 48, 1), y({6, 37}, 40, 2);
    tensor<float, 2> expected({6, 37}), g({6, 37});
    ops::ref::softmax_forward<float>(expected, x.view);
    ops::softmax_forward<float>(ctx, y.view, x.view);
    CHECK(test::nmse(y.view, expected.view()) <= 1e-11);
    CHECK(y.gaps_intact());
    ops::softmax_forward<float>(ctx, x.view, x.view);
    CHECK(test::same_bits(x.view, y.view));
    CHECK(x.gaps_intact());
    test::strided_rows<float> dy({6, 37}, 39, 3);
    ops::ref::softmax_backward<float>(g, dy.view, y.view);
    ops::softmax_backward<float>(ctx, dy.view, dy.view, y.view);
    CHECK(test::nmse(dy.view, g.view()) <= 1e-11);
    CHECK(dy.gaps_intact());
}

TEST_CASE("softmax of large, infinite and NaN logits") {
    test::for_each_level([] {
        cpu_context ctx;
        constexpr float k_infinity = std::numeric_limits<float>::infinity(), k_nan = std::numeric_limits<float>::quiet_NaN();
        for (const index_t n : {5, 16, 37}) {
            CAPTURE(n);
            tensor<float, 2> x({5, n}), y({5, n});
            for (index_t j = 0; j < n; ++j) {
                x(0, j) = 3e38f;                                    // equal and huge: uniform
                x(1, j) = j == 2 ? 1.0f : -k_infinity;              // one possible class
                x(2, j) = -k_infinity;                              // none: NaN
                x(3, j) = j == n - 1 ? k_nan : 0.0f;                // NaN spreads over its row
                x(4, j) = j == 1 ? -3e38f : 3e38f;                  // their difference overflows to −∞
            }
            ops::softmax_forward<float>(ctx, y, x);
            for (index_t j = 0; j < n; ++j) {
                CHECK(y(0, j) == doctest::Approx(1.0 / static_cast<double>(n)).epsilon(1e-6));
                CHECK(y(1, j) == (j == 2 ? 1.0f : 0.0f));
                CHECK(std::isnan(y(2, j)));
                CHECK(std::isnan(y(3, j)));
                if (j == 1) CHECK(y(4, j) == 0.0f);
                else CHECK(y(4, j) == doctest::Approx(1.0 / static_cast<double>(n - 1)).epsilon(1e-6));
            }
        }
    });
}

TEST_CASE("softmax names what is wrong") {
    cpu_context ctx;
    tensor<float, 2> a({2, 3}), b({2, 4});
    CHECK(test::error_text<shape_error>([&] { ops::softmax_forward<float>(ctx, a, b); }) ==
          "softmax_forward: x has shape [2, 4], expected [2, 3]");
    CHECK(test::error_text<shape_error>([&] { ops::softmax_backward<float>(ctx, a, b, a); }) ==
          "softmax_backward: dy has shape [2, 4], expected [2, 3]");
    CHECK(test::error_text<shape_error>([&] { ops::softmax_backward<float>(ctx, a, a, b); }) ==
          "softmax_backward: y has shape [2, 4], expected [2, 3]");
    const tensor_view<float, 2> transposed(a.data(), {3, 2}, {1, 3});
    tensor<float, 2> y({3, 2});
    CHECK(test::error_text<shape_error>([&] { ops::softmax_forward<float>(ctx, y, transposed); }) ==
          "softmax_forward: x must have stride 1 in its last dimension, has 3");
}
