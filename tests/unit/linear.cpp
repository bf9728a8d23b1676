// Affine map on the CPU against the reference, at every instruction set this machine has.

#include <limits>

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/ops/cpu/simd/isa.hpp"
#include "instar/ops/linear.hpp"
#include "instar/ops/ref/linear.hpp"
#include "support/compare.hpp"

using namespace instar;
namespace simd = instar::ops::cpu::simd;

namespace {

template <class T>
struct gradients {
    tensor<T, 2> dx, dweight;
    tensor<T, 1> dbias;
    gradients(index_t n_rows, index_t d_in, index_t d_out)
        : dx({n_rows, d_in}), dweight(test::random_tensor<T, 2>({d_out, d_in}, 11)), dbias(test::random_tensor<T, 1>({d_out}, 12)) {}
};

template <class T>
void check_linear(index_t n_rows, index_t d_in, index_t d_out, double tolerance) {
    CAPTURE(n_rows);
    CAPTURE(d_in);
    CAPTURE(d_out);
    cpu_context one{1}, two{2};
    const test::strided_rows<T> x({n_rows, d_in}, d_in + 2, 1), weight({d_out, d_in}, d_in + 4, 2), dy({n_rows, d_out}, d_out + 1, 3);
    const auto bias = test::random_tensor<T, 1>({d_out}, 4);

    // forward, with and without a bias
    test::strided_rows<T> y1({n_rows, d_out}, d_out + 3, 5), y2({n_rows, d_out}, d_out + 3, 6), expected({n_rows, d_out}, d_out + 3, 7);
    for (const bool with_bias : {true, false}) {
        CAPTURE(with_bias);
        const tensor_view<const T, 1> b = with_bias ? bias.view() : tensor_view<const T, 1>{};
        ops::linear_forward<T>(one, y1.view, x.view, weight.view, b);
        ops::linear_forward<T>(two, y2.view, x.view, weight.view, b);
        ops::ref::linear_forward<T>(expected.view, x.view, weight.view, b);
        CHECK(test::nmse(y1.view, expected.view) <= tolerance);
        CHECK(test::same_bits(y1.view, y2.view));
        CHECK(y1.gaps_intact());
    }

    // the same with GELU
    test::strided_rows<T> pre1({n_rows, d_out}, d_out + 3, 5), pre2({n_rows, d_out}, d_out + 3, 6), pre({n_rows, d_out}, d_out + 3, 7);
    ops::linear_gelu_forward<T>(one, y1.view, pre1.view, x.view, weight.view, bias);
    ops::linear_gelu_forward<T>(two, y2.view, pre2.view, x.view, weight.view, bias);
    ops::ref::linear_gelu_forward<T>(expected.view, pre.view, x.view, weight.view, bias);
    CHECK(test::nmse(pre1.view, pre.view) <= tolerance);
    CHECK(test::nmse(y1.view, expected.view) <= tolerance);
    CHECK(test::same_bits(pre1.view, pre2.view));
    CHECK(test::same_bits(y1.view, y2.view));
    CHECK(y1.gaps_intact());
    CHECK(pre1.gaps_intact());
    // pre and y in one place, as in evaluation
    ops::linear_gelu_forward<T>(two, pre2.view, pre2.view, x.view, weight.view, bias);
    CHECK(test::same_bits(y1.view, pre2.view));

    // backward: dx overwritten, the others accumulate
    gradients<T> a(n_rows, d_in, d_out), b(n_rows, d_in, d_out), e(n_rows, d_in, d_out), some(n_rows, d_in, d_out);
    for (T& v : a.dx) v = std::numeric_limits<T>::quiet_NaN();
    ops::linear_backward<T>(one, a.dx, a.dweight, a.dbias, dy.view, x.view, weight.view);
    ops::linear_backward<T>(two, b.dx, b.dweight, b.dbias, dy.view, x.view, weight.view);
    ops::ref::linear_backward<T>(e.dx, e.dweight, e.dbias, dy.view, x.view, weight.view);
    CHECK(test::nmse(a.dx.view(), e.dx.view()) <= tolerance);
    CHECK(test::nmse(a.dweight.view(), e.dweight.view()) <= tolerance);
    CHECK(test::nmse(a.dbias.view(), e.dbias.view()) <= tolerance);
    CHECK(test::same_bits(a.dx.view(), b.dx.view()));
    CHECK(test::same_bits(a.dweight.view(), b.dweight.view()));
    CHECK(test::same_bits(a.dbias.view(), b.dbias.view()));

    // neither dx nor dbias
    ops::linear_backward<T>(one, tensor_view<T, 2>{}, some.dweight, tensor_view<T, 1>{}, dy.view, x.view, weight.view);
    CHECK(test::same_bits(some.dweight.view(), a.dweight.view()));
    CHECK(test::same_bits(some.dbias.view(), gradients<T>(n_rows, d_in, d_out).dbias.view()));
}

}  // namespace

TEST_CASE("linear: float against the reference, any shape, any number of threads") {
    const index_t shapes[][3] = {{0, 3, 4}, {1, 1, 1}, {2, 3, 5}, {17, 16, 33}, {129, 65, 40}, {300, 48, 96}, {40, 300, 520}, {9, 768, 7}};
    for (const simd::level l : {simd::level::base, simd::level::v3, simd::level::v4}) {
        if (!simd::supports(l)) continue;
        const simd::scoped_level scope(l);
        CAPTURE(simd::level_name(l));
        for (const auto& s : shapes) check_linear<float>(s[0], s[1], s[2], 1e-11);
    }
}

TEST_CASE("linear: weights that the context holds are packed once, and give the same bits") {
    const index_t shapes[][3] = {{1, 1, 1}, {1, 768, 700}, {40, 300, 520}, {300, 48, 96}, {600, 2000, 130}, {270, 40, 5000}};
    for (const simd::level l : {simd::level::base, simd::level::v3, simd::level::v4}) {
        if (!simd::supports(l)) continue;
        const simd::scoped_level scope(l);
        for (const bool bf16 : {false, true}) {
            for (const auto& s : shapes) {
                CAPTURE(s[0]);
                CAPTURE(s[1]);
                CAPTURE(bf16);
                const auto x = test::random_tensor<float, 2>({s[0], s[1]}, 1), other = test::random_tensor<float, 2>({s[0] + 300, s[1]}, 5);
                auto weight = test::random_tensor<float, 2>({s[2], s[1]}, 2);
                const auto bias = test::random_tensor<float, 1>({s[2]}, 3);
                tensor<float, 2> expected({s[0], s[2]}), y({s[0], s[2]}), pre({s[0], s[2]}), tall({s[0] + 300, s[2]}), expected_tall({s[0] + 300, s[2]});
                cpu_context plain{1}, ctx{2};
                plain.allow_bf16(bf16);
                ctx.allow_bf16(bf16);
                ops::linear_forward<float>(plain, expected, x, weight, bias);
                ops::linear_forward<float>(plain, expected_tall, other, weight, bias);
                {
                    const auto hold = ctx.hold_weights();
                    ops::linear_forward<float>(ctx, y, x, weight, bias);
                    CHECK(test::same_bits(y.view(), expected.view()));
                    ops::linear_forward<float>(ctx, tall, other, weight, bias);  // the same copy, another cut
                    CHECK(test::same_bits(tall.view(), expected_tall.view()));
                    {
                        const auto inner = ctx.hold_weights();
                        ops::linear_gelu_forward<float>(ctx, y, pre, x, weight, bias);
                    }
                    CHECK(ctx.weights_held());
                    CHECK(test::same_bits(pre.view(), expected.view()));
                    // The other precision is another copy.
                    ctx.allow_bf16(!bf16);
                    plain.allow_bf16(!bf16);
                    ops::linear_forward<float>(ctx, y, x, weight, bias);
                    ops::linear_forward<float>(plain, expected, x, weight, bias);
                    CHECK(test::same_bits(y.view(), expected.view()));
                    ctx.allow_bf16(bf16);
                    plain.allow_bf16(bf16);
                }
                CHECK(!ctx.weights_held());
                for (float& w : weight) w = -w;  // after the hold a weight may change
                ops::linear_forward<float>(ctx, y, x, weight, bias);
                ops::linear_forward<float>(plain, expected, x, weight, bias);
                CHECK(test::same_bits(y.view(), expected.view()));
            }
        }
    }
}

TEST_CASE("linear: double") {
    const index_t shapes[][3] = {{1, 1, 1}, {5, 3, 2}, {130, 20, 300}};
    for (const auto& s : shapes) check_linear<double>(s[0], s[1], s[2], 1e-28);
}

TEST_CASE("linear: one input feature, or none") {
    cpu_context ctx{1};
    tensor<float, 2> y({2, 3});
    const auto bias = test::random_tensor<float, 1>({3}, 1);
    ops::linear_forward<float>(ctx, y, {nullptr, {2, 0}}, {nullptr, {3, 0}}, bias);
    CHECK(test::same_bits(y[0], bias.view()));
    CHECK(test::same_bits(y[1], bias.view()));
}

TEST_CASE("linear: errors") {
    cpu_context ctx{1};
    tensor<float, 2> y({2, 3}), pre({2, 3}), x({2, 4}), weight({3, 4}), dx({2, 4}), dweight({3, 4});
    tensor<float, 1> bias({3}), dbias({3}), long_bias({4});
    tensor<float, 2> other({5, 6});
    const auto text = [](auto&& f) { return test::error_text<shape_error>(f); };
    CHECK(text([&] { ops::linear_forward<float>(ctx, y, other, weight, bias); }) == "linear_forward: x has shape [5, 6], expected [2, 6]");
    CHECK(text([&] { ops::linear_forward<float>(ctx, y, x, other, bias); }) == "linear_forward: weight has shape [5, 6], expected [3, 4]");
    CHECK(text([&] { ops::linear_forward<float>(ctx, y, x, weight, long_bias); }) == "linear_forward: bias has shape [4], expected [3]");
    CHECK(text([&] { ops::linear_gelu_forward<float>(ctx, y, other, x, weight, bias); }) ==
          "linear_gelu_forward: pre has shape [5, 6], expected [2, 3]");
    CHECK(text([&] { ops::linear_backward<float>(ctx, other, dweight, dbias, y, x, weight); }) ==
          "linear_backward: dx has shape [5, 6], expected [2, 4]");
    CHECK(text([&] { ops::linear_backward<float>(ctx, dx, other, dbias, y, x, weight); }) ==
          "linear_backward: dweight has shape [5, 6], expected [3, 4]");
    CHECK(text([&] { ops::linear_backward<float>(ctx, dx, dweight, long_bias, y, x, weight); }) ==
          "linear_backward: dbias has shape [4], expected [3]");
    const tensor_view<const float, 2> column_major(x.data(), {2, 4}, {1, 2});
    CHECK(text([&] { ops::linear_forward<float>(ctx, y, column_major, weight, bias); }) ==
          "linear_forward: x must have stride 1 in its last dimension, has 2");
}
