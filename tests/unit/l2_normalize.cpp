// Rows to unit length on the CPU against the reference.

#include <cmath>
#include <limits>

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/ops/ref/l2_normalize.hpp"
#include "support/compare.hpp"
#include "support/levels.hpp"

using namespace instar;

namespace {

template <class T>
void check_l2_normalize(double tolerance) {
    cpu_context one{1}, two{2};
    const index_t shapes[][2] = {{0, 5}, {3, 0}, {2, 3}, {5, 16}, {7, 17}, {70, 65}, {40, 768}, {2, 5001}};
    for (const auto& s : shapes) {
        const index_t n = s[0], d = s[1];
        CAPTURE(n);
        CAPTURE(d);
        const auto x = test::random_tensor<T, 2>({n, d}, 1);
        const auto dy = test::random_tensor<T, 2>({n, d}, 2);
        tensor<T, 2> y({n, d}), y_two({n, d}), expected({n, d});
        tensor<T, 1> inv({n}), inv_two({n}), inv_expected({n});
        ops::l2_normalize_forward<T>(one, y, inv, x);
        ops::l2_normalize_forward<T>(two, y_two, inv_two, x);
        ops::ref::l2_normalize_forward<T>(expected, inv_expected, x);
        CHECK(test::nmse(y.view(), expected.view()) <= tolerance);
        CHECK(test::nmse(inv.view(), inv_expected.view()) <= tolerance);
        CHECK(test::same_bits(y.view(), y_two.view()));
        CHECK(test::same_bits(inv.view(), inv_two.view()));
        tensor<T, 2> dx({n, d}), dx_two({n, d}), dx_expected({n, d});
        ops::l2_normalize_backward<T>(one, dx, dy, y, inv);
        ops::l2_normalize_backward<T>(two, dx_two, dy, y, inv);
        ops::ref::l2_normalize_backward<T>(dx_expected, dy, expected, inv_expected);
        CHECK(test::nmse(dx.view(), dx_expected.view()) <= tolerance);
        CHECK(test::same_bits(dx.view(), dx_two.view()));
    }
}

}  // namespace

TEST_CASE("l2_normalize agrees with the reference in float") {
    test::for_each_level([] { check_l2_normalize<float>(1e-12); });
}
TEST_CASE("l2_normalize agrees with the reference in double") { check_l2_normalize<double>(1e-28); }

TEST_CASE("l2_normalize takes strided rows and works in place") {
    cpu_context ctx;
    test::strided_rows<float> x({6, 37}, 48, 1), y({6, 37}, 41, 2), dy({6, 37}, 43, 3);
    tensor<float, 1> inv({6});
    tensor<float, 2> dx({6, 37});
    ops::l2_normalize_forward<float>(ctx, y.view, inv, x.view);
    ops::l2_normalize_backward<float>(ctx, dx, dy.view, y.view, inv);
    ops::l2_normalize_backward<float>(ctx, dy.view, dy.view, y.view, inv);
    CHECK(test::same_bits(dx.view(), dy.view));
    ops::l2_normalize_forward<float>(ctx, x.view, inv, x.view);
    CHECK(test::same_bits(x.view, y.view));
    CHECK(x.gaps_intact());
    CHECK(y.gaps_intact());
    CHECK(dy.gaps_intact());
}

TEST_CASE("l2_normalize of a zero row is zero, of a tiny row is a unit vector, of NaN is NaN") {
    test::for_each_level([] {
        cpu_context ctx;
        for (const index_t d : {4, 16, 36}) {
            CAPTURE(d);
            tensor<float, 2> x({4, d}), y({4, d});
            tensor<float, 1> inv({4});
            for (index_t j = 0; j < d; ++j) {
                x(1, j) = 3.0f;
                x(2, j) = j == 1 ? std::numeric_limits<float>::quiet_NaN() : 1.0f;
                x(3, j) = 1e-8f;
            }
            ops::l2_normalize_forward<float>(ctx, y, inv, x);
            CHECK(inv(0) == doctest::Approx(1e12));
            for (index_t j = 0; j < d; ++j) {
                CHECK(y(0, j) == 0.0f);
                CHECK(y(1, j) == doctest::Approx(1.0 / std::sqrt(static_cast<double>(d))).epsilon(1e-6));
                CHECK(std::isnan(y(2, j)));
                CHECK(y(3, j) == doctest::Approx(1.0 / std::sqrt(static_cast<double>(d))).epsilon(1e-6));
            }
        }
    });
}

TEST_CASE("l2_normalize names what is wrong") {
    cpu_context ctx;
    tensor<float, 2> x({2, 3}), wrong({2, 4});
    tensor<float, 1> inv({2}), three({3});
    CHECK(test::error_text<shape_error>([&] { ops::l2_normalize_forward<float>(ctx, x, inv, wrong); }) ==
          "l2_normalize_forward: x has shape [2, 4], expected [2, 3]");
    CHECK(test::error_text<shape_error>([&] { ops::l2_normalize_forward<float>(ctx, x, three, x); }) ==
          "l2_normalize_forward: inv_norm has shape [3], expected [2]");
    CHECK(test::error_text<shape_error>([&] { ops::l2_normalize_backward<float>(ctx, x, x, wrong, inv); }) ==
          "l2_normalize_backward: y has shape [2, 4], expected [2, 3]");
}
