// Layer normalisation on the emulated device against the reference.

#include <doctest/doctest.h>

#include "instar/ops/layer_norm.hpp"
#include "instar/ops/ref/layer_norm.hpp"
#include "support/emulated.hpp"

using namespace instar;

namespace {

template <class T>
struct results {
    tensor<T, 2> y, dx;
    tensor<float, 1> mean, rstd;
    tensor<T, 1> dweight, dbias;
    results(index_t rows, index_t columns)
        : y({rows, columns}), dx({rows, columns}), mean({rows}), rstd({rows}), dweight(test::random_tensor<T, 1>({columns}, 5)),
          dbias(test::random_tensor<T, 1>({columns}, 6)) {}
};

template <class T>
void check_layer_norm(const index_t (&shape)[2]) {
    const index_t n = shape[0], d = shape[1];
    CAPTURE(n);
    CAPTURE(d);
    // An offset, so that a one-pass variance would lose digits.
    const auto x = test::random_tensor<T, 2>({n, d}, 1, 2.0, 4.0);
    const auto dy = test::random_tensor<T, 2>({n, d}, 2);
    const auto weight = test::random_tensor<T, 1>({d}, 3, 0.5, 1.5), bias = test::random_tensor<T, 1>({d}, 4);
    results<T> e(n, d), a(n, d), b(n, d);
    ops::ref::layer_norm_forward<T>(e.y, {e.mean, e.rstd}, x, weight, bias, 1e-5);
    ops::ref::layer_norm_backward<T>(e.dx, e.dweight, e.dbias, dy, {e.mean, e.rstd}, x, weight);
    test::for_each_order([&](cuda_context& ctx, int run) {
        results<T>& r = run == 0 ? a : b;
        ops::layer_norm_forward<T>(ctx, r.y, {r.mean, r.rstd}, x, weight, bias, 1e-5);
        ops::layer_norm_backward<T>(ctx, r.dx, r.dweight, r.dbias, dy, {r.mean, r.rstd}, x, weight);
    });
    CHECK(test::close<T>(a.y.view(), e.y.view()));
    CHECK(test::close<float>(a.mean.view(), e.mean.view()));
    CHECK(test::close<float>(a.rstd.view(), e.rstd.view()));
    if (d > 1) CHECK(test::close<T>(a.dx.view(), e.dx.view()));  // with one column dx is 0 up to rounding
    CHECK(test::close<T>(a.dweight.view(), e.dweight.view()));
    CHECK(test::close<T>(a.dbias.view(), e.dbias.view()));
    CHECK(test::same_bits(a.dx.view(), b.dx.view()));
    CHECK(test::same_bits(a.dweight.view(), b.dweight.view()));
}

}  // namespace

TEST_CASE("layer_norm on the emulated device agrees with the reference in float") {
    for (const auto& shape : {index_t{0}, index_t{5}}) check_layer_norm<float>({shape, 5});
    check_layer_norm<float>({1, 1});
    check_layer_norm<float>({82, 48});
    check_layer_norm<float>({133, 33});
    check_layer_norm<float>({3, 768});
    check_layer_norm<float>({2, 1601});
    check_layer_norm<float>({2, 2048});
}
TEST_CASE("layer_norm on the emulated device agrees with the reference in bf16") {
    check_layer_norm<bf16>({5, 7});
    check_layer_norm<bf16>({33, 64});
    check_layer_norm<bf16>({2, 1600});
}
TEST_CASE("layer_norm on the emulated device takes rows that do not fit into shared memory") { check_layer_norm<float>({9, 12500}); }

TEST_CASE("layer_norm on the emulated device takes strided rows and works in place") {
    cuda_context ctx;
    for (const index_t stride : {40, 41}) {
        test::strided_rows<float> x({6, 36}, stride, 1), y({6, 36}, 44, 2), dy({6, 36}, 40, 3);
        const auto weight = test::random_tensor<float, 1>({36}, 4), bias = test::random_tensor<float, 1>({36}, 5);
        tensor<float, 1> mean({6}), rstd({6}), dweight({36}), dbias({36}), dweight2({36}), dbias2({36});
        tensor<float, 2> dx({6, 36});
        ops::layer_norm_forward<float>(ctx, y.view, {mean, rstd}, x.view, weight, bias, 1e-12);
        CHECK(y.gaps_intact());
        ops::layer_norm_backward<float>(ctx, dx, dweight, dbias, dy.view, {mean, rstd}, x.view, weight);
        ops::layer_norm_backward<float>(ctx, dy.view, dweight2, dbias2, dy.view, {mean, rstd}, x.view, weight);
        CHECK(test::max_error(dy.view, dx.view()) <= 1e-6);
        CHECK(test::max_error(dweight2.view(), dweight.view()) <= 1e-6);
        CHECK(dy.gaps_intact());
        ops::layer_norm_forward<float>(ctx, x.view, {mean, rstd}, x.view, weight, bias, 1e-12);
        CHECK(test::same_bits(x.view, y.view));
        CHECK(x.gaps_intact());
    }
}

TEST_CASE("layer_norm on the emulated device names what is wrong") {
    cuda_context ctx;
    tensor<float, 2> x({2, 3}), wrong({2, 4});
    tensor<float, 1> w({3}), two({2});
    CHECK(test::error_text<shape_error>([&] { ops::layer_norm_forward<float>(ctx, x, {two, two}, wrong, w, w, 1e-5); }) ==
          "layer_norm_forward: x has shape [2, 4], expected [2, 3]");
    CHECK(test::error_text<shape_error>([&] { ops::layer_norm_backward<float>(ctx, x, two, w, x, {two, two}, x, w); }) ==
          "layer_norm_backward: dweight has shape [2], expected [3]");
}
