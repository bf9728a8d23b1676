// Gradients of the affine map against central differences in double.

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/ops/gelu.hpp"
#include "instar/ops/linear.hpp"
#include "support/gradient_check.hpp"

using namespace instar;

TEST_CASE("linear: gradients against central differences") {
    cpu_context ctx{2};
    const index_t shapes[][3] = {{1, 1, 1}, {1, 5, 3}, {4, 3, 7}, {70, 2, 3}};
    for (const auto& s : shapes) {
        const index_t n_rows = s[0], d_in = s[1], d_out = s[2];
        CAPTURE(n_rows);
        const auto x = test::random_tensor<double, 2>({n_rows, d_in}, 1), weight = test::random_tensor<double, 2>({d_out, d_in}, 2);
        const auto bias = test::random_tensor<double, 1>({d_out}, 3);
        const auto dy = test::random_tensor<double, 2>({n_rows, d_out}, 4);
        auto x_moved = x.clone(), weight_moved = weight.clone();
        auto bias_moved = bias.clone();
        tensor<double, 2> y({n_rows, d_out}), dx({n_rows, d_in}), dweight({d_out, d_in});
        tensor<double, 1> dbias({d_out});
        const auto f = [&] {
            ops::linear_forward<double>(ctx, y, x_moved, weight_moved, bias_moved);
            return test::dot(y.view(), dy.view());
        };
        ops::linear_backward<double>(ctx, dx, dweight, dbias, dy, x, weight);
        CHECK(test::gradient_error(x_moved.view(), dx.view(), f) < 1e-8);
        CHECK(test::gradient_error(weight_moved.view(), dweight.view(), f) < 1e-8);
        CHECK(test::gradient_error(bias_moved.view(), dbias.view(), f) < 1e-8);
    }
}

TEST_CASE("linear: gradients through GELU against central differences") {
    cpu_context ctx{1};
    const index_t n_rows = 5, d_in = 4, d_out = 6;
    const auto x = test::random_tensor<double, 2>({n_rows, d_in}, 1), weight = test::random_tensor<double, 2>({d_out, d_in}, 2);
    const auto bias = test::random_tensor<double, 1>({d_out}, 3);
    const auto dy = test::random_tensor<double, 2>({n_rows, d_out}, 4);
    auto x_moved = x.clone(), weight_moved = weight.clone();
    auto bias_moved = bias.clone();
    tensor<double, 2> y({n_rows, d_out}), pre({n_rows, d_out}), dpre({n_rows, d_out}), dx({n_rows, d_in}), dweight({d_out, d_in});
    tensor<double, 1> dbias({d_out});
    const auto f = [&] {
        ops::linear_gelu_forward<double>(ctx, y, pre, x_moved, weight_moved, bias_moved);
        return test::dot(y.view(), dy.view());
    };
    f();
    ops::gelu_backward<double>(ctx, dpre.view().reshape<1>({dpre.size()}), dy.view().reshape<1>({dy.size()}), pre.view().reshape<1>({pre.size()}));
    ops::linear_backward<double>(ctx, dx, dweight, dbias, dpre, x, weight);
    CHECK(test::gradient_error(x_moved.view(), dx.view(), f) < 1e-8);
    CHECK(test::gradient_error(weight_moved.view(), dweight.view(), f) < 1e-8);
    CHECK(test::gradient_error(bias_moved.view(), dbias.view(), f) < 1e-8);
}
