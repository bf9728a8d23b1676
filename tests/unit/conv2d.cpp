// Convolution, batch normalisation and max pooling on the CPU against the reference.

#include <cmath>
#include <limits>

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/ops/ref/batch_norm.hpp"
#include "instar/ops/ref/conv2d.hpp"
#include "instar/ops/ref/max_pool2d.hpp"
#include "support/compare.hpp"
#include "support/levels.hpp"

using namespace instar;

namespace {

constexpr ops::conv2d_shape k_shapes[] = {
    {.n_batch = 1, .height = 1, .width = 1, .d_in = 1, .d_out = 1},
    {.n_batch = 3, .height = 5, .width = 7, .d_in = 4, .d_out = 6, .kernel = 1},
    {.n_batch = 2, .height = 6, .width = 5, .d_in = 3, .d_out = 8, .kernel = 3, .padding = 1},
    {.n_batch = 2, .height = 9, .width = 8, .d_in = 5, .d_out = 7, .kernel = 3, .stride = 2, .padding = 1},
    {.n_batch = 2, .height = 8, .width = 8, .d_in = 6, .d_out = 9, .kernel = 1, .stride = 2},
    {.n_batch = 1, .height = 23, .width = 17, .d_in = 3, .d_out = 16, .kernel = 7, .stride = 2, .padding = 3},
    {.n_batch = 2, .height = 7, .width = 11, .d_in = 2, .d_out = 3, .kernel = 4, .stride = 3, .padding = 2},
    {.n_batch = 1, .height = 2, .width = 3, .d_in = 2, .d_out = 2, .kernel = 3, .stride = 1, .padding = 2},
    {.n_batch = 3, .height = 64, .width = 64, .d_in = 40, .d_out = 5, .kernel = 3, .padding = 1},  // more than one chunk
};

template <class T>
void check_conv2d(const ops::conv2d_shape& s, double tolerance) {
    CAPTURE(s.kernel);
    CAPTURE(s.stride);
    CAPTURE(s.height);
    cpu_context one{1}, two{2};
    const auto x = test::random_tensor<T, 4>({s.n_batch, s.height, s.width, s.d_in}, 1), w = test::random_tensor<T, 4>({s.d_out, s.d_in, s.kernel, s.kernel}, 2);
    const auto bias = test::random_tensor<T, 1>({s.d_out}, 3);
    const auto dy = test::random_tensor<T, 4>({s.n_batch, s.height_out(), s.width_out(), s.d_out}, 4);
    tensor<T, 1> scratch({ops::conv2d_scratch(s)});
    tensor<T, 4> y({s.n_batch, s.height_out(), s.width_out(), s.d_out}), y_two({s.n_batch, s.height_out(), s.width_out(), s.d_out}), expected({s.n_batch, s.height_out(), s.width_out(), s.d_out});
    for (const bool with_bias : {true, false}) {
        const tensor_view<const T, 1> b = with_bias ? bias.view() : tensor_view<const T, 1>{};
        ops::conv2d_forward<T>(one, y.view(), x, w, b, s, scratch.view());
        ops::conv2d_forward<T>(two, y_two.view(), x, w, b, s, scratch.view());
        ops::ref::conv2d_forward<T>(expected.view(), x, w, b, s);
        CHECK(test::nmse(y.view(), expected.view()) <= tolerance);
        CHECK(test::same_bits(y.view(), y_two.view()));
    }
    const auto make = [&](index_t a, index_t b, index_t c, index_t d, std::uint64_t seed) { return test::random_tensor<T, 4>({a, b, c, d}, seed); };
    auto dx = make(s.n_batch, s.height, s.width, s.d_in, 5), dx_two = make(s.n_batch, s.height, s.width, s.d_in, 6), dx_expected = make(s.n_batch, s.height, s.width, s.d_in, 7);
    auto dw = make(s.d_out, s.d_in, s.kernel, s.kernel, 8), dw_two = make(s.d_out, s.d_in, s.kernel, s.kernel, 8), dw_expected = make(s.d_out, s.d_in, s.kernel, s.kernel, 8);
    auto db = test::random_tensor<T, 1>({s.d_out}, 9), db_two = test::random_tensor<T, 1>({s.d_out}, 9), db_expected = test::random_tensor<T, 1>({s.d_out}, 9);
    ops::conv2d_backward<T>(one, dx.view(), dw.view(), db.view(), dy, x, w, s, scratch.view());
    ops::conv2d_backward<T>(two, dx_two.view(), dw_two.view(), db_two.view(), dy, x, w, s, scratch.view());
    ops::ref::conv2d_backward<T>(dx_expected.view(), dw_expected.view(), db_expected.view(), dy, x, w, s);
    CHECK(test::nmse(dx.view(), dx_expected.view()) <= tolerance);
    CHECK(test::nmse(dw.view(), dw_expected.view()) <= tolerance);
    CHECK(test::nmse(db.view(), db_expected.view()) <= tolerance);
    CHECK(test::same_bits(dx.view(), dx_two.view()));
    CHECK(test::same_bits(dw.view(), dw_two.view()));
    auto dw_alone = make(s.d_out, s.d_in, s.kernel, s.kernel, 8);
    ops::conv2d_backward<T>(two, {}, dw_alone.view(), {}, dy, x, w, s, scratch.view());
    CHECK(test::same_bits(dw.view(), dw_alone.view()));
}

template <class T>
void check_batch_norm(index_t n, index_t d, bool relu, double tolerance) {
    CAPTURE(n);
    CAPTURE(d);
    cpu_context one{1}, two{2};
    const auto x = test::random_tensor<T, 2>({n, d}, 1, 3.0, 5.0), dy = test::random_tensor<T, 2>({n, d}, 2);
    const auto w = test::random_tensor<T, 1>({d}, 3), b = test::random_tensor<T, 1>({d}, 4);
    const ops::batch_norm_options o{.relu = relu};
    struct result {
        tensor<T, 2> y, evaluated, dx;
        tensor<T, 1> mean, rstd, running_mean, running_variance, dw, db;
        result(index_t rows, index_t columns)
            : y({rows, columns}), evaluated({rows, columns}), dx({rows, columns}), mean({columns}), rstd({columns}), running_mean(test::random_tensor<T, 1>({columns}, 5)),
              running_variance(test::random_tensor<T, 1>({columns}, 6, 0.5, 2.0)), dw(test::random_tensor<T, 1>({columns}, 7)), db(test::random_tensor<T, 1>({columns}, 8)) {}
    };
    result r(n, d), s(n, d), e(n, d);
    const auto run = [&](cpu_context& ctx, result& to) {
        ops::batch_norm_forward<T>(ctx, to.y.view(), {to.mean.view(), to.rstd.view()}, {to.running_mean.view(), to.running_variance.view()}, x, w, b, o);
        ops::batch_norm_inference<T>(ctx, to.evaluated.view(), {to.running_mean.view(), to.running_variance.view()}, x, w, b, o);
        ops::batch_norm_backward<T>(ctx, to.dx.view(), to.dw.view(), to.db.view(), dy, {to.mean.view(), to.rstd.view()}, to.y, x, w, o);
    };
    run(one, r);
    run(two, s);
    ops::ref::batch_norm_forward<T>(e.y.view(), {e.mean.view(), e.rstd.view()}, {e.running_mean.view(), e.running_variance.view()}, x, w, b, o);
    ops::ref::batch_norm_inference<T>(e.evaluated.view(), {e.running_mean.view(), e.running_variance.view()}, x, w, b, o);
    // From the same y: a value on the edge of the ReLU may have fallen to the other side.
    ops::ref::batch_norm_backward<T>(e.dx.view(), e.dw.view(), e.db.view(), dy, {e.mean.view(), e.rstd.view()}, r.y, x, w, o);
    CHECK(test::nmse(r.y.view(), e.y.view()) <= tolerance);
    CHECK(test::nmse(r.evaluated.view(), e.evaluated.view()) <= tolerance);
    CHECK(test::nmse(r.mean.view(), e.mean.view()) <= tolerance);
    CHECK(test::nmse(r.rstd.view(), e.rstd.view()) <= tolerance);
    CHECK(test::nmse(r.running_mean.view(), e.running_mean.view()) <= tolerance);
    CHECK(test::nmse(r.running_variance.view(), e.running_variance.view()) <= tolerance);
    CHECK(test::nmse(r.dw.view(), e.dw.view()) <= 10 * tolerance);  // sums that mostly cancel
    CHECK(test::nmse(r.db.view(), e.db.view()) <= tolerance);
    if (n > 2) CHECK(test::nmse(r.dx.view(), e.dx.view()) <= tolerance);  // two rows leave no gradient but rounding
    CHECK(test::same_bits(r.y.view(), s.y.view()));
    CHECK(test::same_bits(r.evaluated.view(), s.evaluated.view()));
    CHECK(test::same_bits(r.dx.view(), s.dx.view()));
    CHECK(test::same_bits(r.dw.view(), s.dw.view()));
    for (index_t c = 0; c < d; ++c) {  // the gradient has no part along 1
        double sum = 0.0;
        for (index_t row = 0; row < n; ++row) sum += static_cast<double>(r.dx(row, c));
        CHECK(std::fabs(sum) < 1e-3);
    }
}

}  // namespace

TEST_CASE("conv2d equals the reference, forward and backward") {
    for (const auto& s : k_shapes) {
        test::for_each_level([&] { check_conv2d<float>(s, 1e-12); });
        check_conv2d<double>(s, 1e-26);
    }
}

TEST_CASE("batch_norm equals the reference, with and without ReLU") {
    for (const bool relu : {false, true}) {
        check_batch_norm<float>(2, 1, relu, 1e-10);
        check_batch_norm<float>(700, 19, relu, 1e-12);
        check_batch_norm<double>(1000, 5, relu, 1e-24);
    }
}

TEST_CASE("max_pool2d takes maxima, the first of equals, and NaN") {
    cpu_context one{1}, two{2};
    const index_t n = 2, h = 7, w = 6, d = 5;
    auto x = test::random_tensor<float, 4>({n, h, w, d}, 1);
    x(0, 3, 3, 2) = std::numeric_limits<float>::quiet_NaN();
    x(1, 0, 0, 0) = x(1, 0, 1, 0) = x(1, 1, 0, 0) = x(1, 1, 1, 0) = 9.0f;
    for (const ops::max_pool2d_options o : {ops::max_pool2d_options{}, {.kernel = 2, .stride = 2, .padding = 0}, {.kernel = 3, .stride = 1, .padding = 1}}) {
        tensor<float, 4> y({n, o.out(h), o.out(w), d}), y_two({n, o.out(h), o.out(w), d});
        tensor<std::int32_t, 4> place({n, o.out(h), o.out(w), d}), place_two({n, o.out(h), o.out(w), d});
        ops::max_pool2d_forward<float>(one, y.view(), place.view(), x, o);
        ops::max_pool2d_forward<float>(two, y_two.view(), place_two.view(), x, o);
        CHECK(test::same_bits(y.view(), y_two.view()));
        CHECK(test::same_bits(place.view(), place_two.view()));
        tensor<float, 4> expected({n, o.out(h), o.out(w), d}), dx({n, h, w, d}), dx_expected({n, h, w, d});
        tensor<std::int32_t, 4> place_expected({n, o.out(h), o.out(w), d});
        const auto dy = test::random_tensor<float, 4>({n, o.out(h), o.out(w), d}, 2);
        ops::ref::max_pool2d_forward<float>(expected.view(), place_expected.view(), x, o);
        CHECK(test::same_bits(y.view(), expected.view()));
        CHECK(test::same_bits(place.view(), place_expected.view()));
        CHECK(std::isnan(y(0, (3 + o.padding) / o.stride, (3 + o.padding) / o.stride, 2)));
        CHECK(place(1, 0, 0, 0) == 0);
        ops::ref::max_pool2d_backward<float>(dx_expected.view(), dy, place_expected.view());
        ops::max_pool2d_backward<float>(two, dx.view(), dy, place.view(), o);
        CHECK(test::nmse(dx.view(), dx_expected.view()) <= 1e-12);
    }
}

TEST_CASE("conv2d, batch_norm and max_pool2d name what does not fit") {
    cpu_context ctx;
    const ops::conv2d_shape s{.n_batch = 1, .height = 2, .width = 2, .d_in = 1, .d_out = 1, .kernel = 3};
    tensor<float, 4> y({1, 1, 1, 1}), w({1, 1, 3, 3}), x({1, 2, 2, 1});
    tensor<float, 1> none;
    CHECK_THROWS_WITH_AS(ops::conv2d_forward<float>(ctx, y.view(), x, w, {}, s, none.view()), doctest::Contains("does not fit an image of 2 × 2"), shape_error);
    ops::conv2d_shape padded = s;
    padded.padding = 1;
    tensor<float, 4> y2({1, 2, 2, 1});
    CHECK_THROWS_WITH_AS(ops::conv2d_forward<float>(ctx, y2.view(), x, w, {}, padded, none.view()), doctest::Contains("scratch has 0"), shape_error);
    tensor<float, 1> scratch({ops::conv2d_scratch(padded)}), two_biases({2});
    CHECK_THROWS_WITH_AS(ops::conv2d_forward<float>(ctx, y2.view(), x, w, two_biases, padded, scratch.view()), doctest::Contains("bias has shape [2], expected [1]"), shape_error);
    tensor<float, 2> row({1, 3});
    tensor<float, 1> a({3}), b({3}), c({3}), v({3}), m({3}), r({3});
    CHECK_THROWS_WITH_AS(ops::batch_norm_forward<float>(ctx, row.view(), {m.view(), r.view()}, {a.view(), b.view()}, row, c, v, {}), doctest::Contains("two rows"), value_error);
    tensor<std::int32_t, 4> place({1, 1, 1, 1});
    CHECK_THROWS_AS(ops::max_pool2d_forward<float>(ctx, y.view(), place.view(), x, {.kernel = 3, .stride = 1, .padding = 2}), value_error);
    CHECK_THROWS_WITH_AS(ops::max_pool2d_backward<float>(ctx, x.view(), y, place.view(), {.kernel = 1, .stride = 1, .padding = 0}),
                         doctest::Contains("dy has shape [1, 1, 1, 1], expected [1, 2, 2, 1]"), shape_error);
}
