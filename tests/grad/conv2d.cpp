// Gradients of convolution, batch normalisation and max pooling against central differences in double, odd sizes and strides.

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/ops/batch_norm.hpp"
#include "instar/ops/conv2d.hpp"
#include "instar/ops/max_pool2d.hpp"
#include "support/gradient_check.hpp"

using namespace instar;

TEST_CASE("conv2d backward is the gradient of the forward") {
    cpu_context ctx;
    for (const ops::conv2d_shape s : {ops::conv2d_shape{.n_batch = 2, .height = 5, .width = 4, .d_in = 3, .d_out = 2, .kernel = 3, .stride = 2, .padding = 1},
                                      {.n_batch = 1, .height = 6, .width = 7, .d_in = 2, .d_out = 3, .kernel = 4, .stride = 3, .padding = 2},
                                      {.n_batch = 2, .height = 3, .width = 3, .d_in = 3, .d_out = 4}}) {
        CAPTURE(s.kernel);
        auto x = test::random_tensor<double, 4>({s.n_batch, s.height, s.width, s.d_in}, 1), w = test::random_tensor<double, 4>({s.d_out, s.d_in, s.kernel, s.kernel}, 2);
        auto bias = test::random_tensor<double, 1>({s.d_out}, 3);
        const auto dy = test::random_tensor<double, 4>({s.n_batch, s.height_out(), s.width_out(), s.d_out}, 4);
        tensor<double, 4> y({s.n_batch, s.height_out(), s.width_out(), s.d_out}), dx({s.n_batch, s.height, s.width, s.d_in}), dw({s.d_out, s.d_in, s.kernel, s.kernel});
        tensor<double, 1> db({s.d_out}), scratch({ops::conv2d_scratch(s)});
        const auto f = [&] {
            ops::conv2d_forward<double>(ctx, y.view(), x, w, bias, s, scratch.view());
            return test::dot(y.view(), dy.view());
        };
        ops::conv2d_backward<double>(ctx, dx.view(), dw.view(), db.view(), dy, x, w, s, scratch.view());
        CHECK(test::gradient_error(x.view(), dx.view(), f) < 1e-8);
        CHECK(test::gradient_error(w.view(), dw.view(), f) < 1e-8);
        CHECK(test::gradient_error(bias.view(), db.view(), f) < 1e-8);
    }
}

TEST_CASE("batch_norm backward is the gradient of the forward") {
    cpu_context ctx;
    for (const bool relu : {false, true}) {
        CAPTURE(relu);
        const index_t n = 7, d = 3;
        auto x = test::random_tensor<double, 2>({n, d}, 1);
        auto w = test::random_tensor<double, 1>({d}, 2), b = test::random_tensor<double, 1>({d}, 3);
        const auto dy = test::random_tensor<double, 2>({n, d}, 4);
        tensor<double, 1> mean({d}), rstd({d}), m({d}), v({d}), dw({d}), db({d});
        tensor<double, 2> y({n, d}), dx({n, d});
        const auto f = [&] {
            ops::batch_norm_forward<double>(ctx, y.view(), {mean.view(), rstd.view()}, {m.view(), v.view()}, x, w, b, {.relu = relu});
            return test::dot(y.view(), dy.view());
        };
        (void)f();
        ops::batch_norm_backward<double>(ctx, dx.view(), dw.view(), db.view(), dy, {mean.view(), rstd.view()}, y, x, w, {.relu = relu});
        CHECK(test::gradient_error(x.view(), dx.view(), f) < 1e-7);
        CHECK(test::gradient_error(w.view(), dw.view(), f) < 1e-7);
        CHECK(test::gradient_error(b.view(), db.view(), f) < 1e-7);
    }
}

TEST_CASE("max_pool2d backward is the gradient of the forward") {
    cpu_context ctx;
    const index_t n = 2, h = 5, w = 6, d = 3;
    const ops::max_pool2d_options o;
    auto x = test::random_tensor<double, 4>({n, h, w, d}, 1);
    const auto dy = test::random_tensor<double, 4>({n, o.out(h), o.out(w), d}, 2);
    tensor<double, 4> y({n, o.out(h), o.out(w), d}), dx({n, h, w, d});
    tensor<std::int32_t, 4> place({n, o.out(h), o.out(w), d});
    const auto f = [&] {
        ops::max_pool2d_forward<double>(ctx, y.view(), place.view(), x, o);
        return test::dot(y.view(), dy.view());
    };
    (void)f();
    ops::max_pool2d_backward<double>(ctx, dx.view(), dy, place.view(), o);
    CHECK(test::gradient_error(x.view(), dx.view(), f) < 1e-8);
}
