// Layer normalisation on the CPU against the reference.

#include <cmath>
#include <limits>

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/ops/ref/layer_norm.hpp"
#include "support/compare.hpp"
#include "support/levels.hpp"

using namespace instar;

namespace {

template <class T>
void check_layer_norm(double tolerance) {
    cpu_context one{1}, two{2};
    const index_t shapes[][2] = {{0, 5}, {1, 1}, {2, 3}, {5, 16}, {7, 17}, {3, 100}, {700, 65}, {70, 768}, {2, 5001}};
    for (const auto& s : shapes) {
        const index_t n = s[0], d = s[1];
        CAPTURE(n);
        CAPTURE(d);
        // An offset, so that a one-pass variance would lose digits.
        const auto x = test::random_tensor<T, 2>({n, d}, 1, 2.0, 4.0);
        const auto dy = test::random_tensor<T, 2>({n, d}, 2);
        const auto weight = test::random_tensor<T, 1>({d}, 3, 0.5, 1.5);
        const auto bias = test::random_tensor<T, 1>({d}, 4);
        struct result {
            tensor<T, 2> y, dx;
            tensor<T, 1> mean, rstd, dweight, dbias;
            result(index_t rows, index_t columns)
                : y({rows, columns}), dx({rows, columns}), mean({rows}), rstd({rows}),
                  dweight(test::random_tensor<T, 1>({columns}, 5)), dbias(test::random_tensor<T, 1>({columns}, 6)) {}
        };
        result a(n, d), b(n, d), e(n, d);
        const auto run = [&](cpu_context& ctx, result& r) {
            ops::layer_norm_forward<T>(ctx, r.y, {r.mean, r.rstd}, x, weight, bias, 1e-5);
            ops::layer_norm_backward<T>(ctx, r.dx, r.dweight, r.dbias, dy, {r.mean, r.rstd}, x, weight);
        };
        run(one, a);
        run(two, b);
        ops::ref::layer_norm_forward<T>(e.y, {e.mean, e.rstd}, x, weight, bias, 1e-5);
        ops::ref::layer_norm_backward<T>(e.dx, e.dweight, e.dbias, dy, {e.mean, e.rstd}, x, weight);
        // With one column y = bias and dx = 0 up to rounding: nothing to be relative to.
        CHECK(test::nmse(a.y.view(), e.y.view()) <= tolerance);
        CHECK(test::nmse(a.mean.view(), e.mean.view()) <= tolerance);
        CHECK(test::nmse(a.rstd.view(), e.rstd.view()) <= tolerance);
        if (d > 1) CHECK(test::nmse(a.dx.view(), e.dx.view()) <= tolerance);
        CHECK(test::nmse(a.dweight.view(), e.dweight.view()) <= tolerance);
        CHECK(test::nmse(a.dbias.view(), e.dbias.view()) <= tolerance);
        CHECK(test::same_bits(a.y.view(), b.y.view()));
        CHECK(test::same_bits(a.mean.view(), b.mean.view()));
        CHECK(test::same_bits(a.rstd.view(), b.rstd.view()));
        CHECK(test::same_bits(a.dx.view(), b.dx.view()));
        CHECK(test::same_bits(a.dweight.view(), b.dweight.view()));
        CHECK(test::same_bits(a.dbias.view(), b.dbias.view()));
    }
}

}  // namespace

TEST_CASE("layer_norm agrees with the reference in float") {
    test::for_each_level([] { check_layer_norm<float>(1e-11); });
}
TEST_CASE("layer_norm agrees with the reference in double") { check_layer_norm<double>(1e-26); }

TEST_CASE("layer_norm takes strided rows and works in place") {
    cpu_context ctx;
    test::strided_rows<float> x({6, 37}, 48, 1), y({6, 37}, 41, 2), dy({6, 37}, 43, 3);
    const auto weight = test::random_tensor<float, 1>({37}, 4);
    const auto bias = test::random_tensor<float, 1>({37}, 5);
    tensor<float, 1> mean({6}), rstd({6}), dweight({37}), dbias({37}), dweight2({37}), dbias2({37});
    tensor<float, 2> dx({6, 37});
    ops::layer_norm_forward<float>(ctx, y.view, {mean, rstd}, x.view, weight, bias, 1e-12);
    CHECK(y.gaps_intact());
    ops::layer_norm_backward<float>(ctx, dx, dweight, dbias, dy.view, {mean, rstd}, x.view, weight);
    ops::layer_norm_backward<float>(ctx, dy.view, dweight2, dbias2, dy.view, {mean, rstd}, x.view, weight);
    CHECK(test::same_bits(dx.view(), dy.view));
    CHECK(test::same_bits(dweight.view(), dweight2.view()));
    CHECK(dy.gaps_intact());
    ops::layer_norm_forward<float>(ctx, x.view, {mean, rstd}, x.view, weight, bias, 1e-12);
    CHECK(test::same_bits(x.view, y.view));
    CHECK(x.gaps_intact());
}

TEST_CASE("layer_norm keeps a NaN or an infinity in its row") {
    test::for_each_level([] {
        cpu_context ctx;
        constexpr float k_infinity = std::numeric_limits<float>::infinity(), k_nan = std::numeric_limits<float>::quiet_NaN();
        for (const index_t d : {3, 16, 37}) {
            CAPTURE(d);
            auto x = test::random_tensor<float, 2>({4, d}, 1);
            auto weight = test::random_tensor<float, 1>({d}, 2);
            tensor<float, 2> y({4, d});
            tensor<float, 1> bias({d}), mean({4}), rstd({4});
            x(1, d - 1) = k_nan;
            x(2, 0) = k_infinity;
            ops::layer_norm_forward<float>(ctx, y, {mean, rstd}, x, weight, bias, 1e-5);
            for (index_t j = 0; j < d; ++j) {
                CHECK(std::isfinite(y(0, j)));
                CHECK(std::isnan(y(1, j)));
                CHECK(std::isnan(y(2, j)));
                CHECK(std::isfinite(y(3, j)));
            }
        }
    });
}

TEST_CASE("layer_norm of a constant row is the bias") {
    cpu_context ctx;
    tensor<float, 2> x({1, 35}), y({1, 35});
    for (float& v : x) v = 1234.5f;
    const auto weight = test::random_tensor<float, 1>({35}, 2);
    const auto bias = test::random_tensor<float, 1>({35}, 3);
    tensor<float, 1> mean({1}), rstd({1});
    ops::layer_norm_forward<float>(ctx, y, {mean, rstd}, x, weight, bias, 1e-12);
    CHECK(mean(0) == 1234.5f);
    CHECK(test::nmse(y.view().reshape<1>({35}), bias.view()) <= 1e-12);
}

TEST_CASE("layer_norm names what is wrong") {
    cpu_context ctx;
    tensor<float, 2> x({2, 3}), wrong({2, 4});
    tensor<float, 1> w({3}), four({4}), two({2}), three({3});
    const auto forward = [&](in_view<float, 2> input, in_view<float, 1> weight, in_view<float, 1> bias, out_view<float, 1> mean) {
        return test::error_text<shape_error>([&] { ops::layer_norm_forward<float>(ctx, x, {mean, two}, input, weight, bias, 1e-5); });
    };
    CHECK(forward(wrong, w, w, two) == "layer_norm_forward: x has shape [2, 4], expected [2, 3]");
    CHECK(forward(x, four, w, two) == "layer_norm_forward: weight has shape [4], expected [3]");
    CHECK(forward(x, w, four, two) == "layer_norm_forward: bias has shape [4], expected [3]");
    CHECK(forward(x, w, w, three) == "layer_norm_forward: saved.mean has shape [3], expected [2]");
    const auto backward = [&](out_view<float, 1> dweight, in_view<float, 2> dy, in_view<float, 1> weight) {
        return test::error_text<shape_error>([&] { ops::layer_norm_backward<float>(ctx, x, dweight, w, dy, {two, two}, x, weight); });
    };
    CHECK(backward(four, x, w) == "layer_norm_backward: dweight has shape [4], expected [3]");
    CHECK(backward(w, wrong, w) == "layer_norm_backward: dy has shape [2, 4], expected [2, 3]");
    CHECK(backward(w, x, four) == "layer_norm_backward: weight has shape [4], expected [3]");
}
