// Products on the emulated device against the reference: gemm, linear. The emulator computes what cuBLASLt is asked for, so
// this checks the exchange of factors, leading dimensions and flags, and the kernels around the product.

#include <doctest/doctest.h>

#include "instar/cuda/matmul.hpp"
#include "instar/ops/linear.hpp"
#include "instar/ops/ref/gemm.hpp"
#include "instar/ops/ref/linear.hpp"
#include "support/emulated.hpp"

using namespace instar;

namespace {

template <class T>
void check_gemm() {
    cuda_context ctx;
    const index_t shapes[][3] = {{1, 1, 1}, {3, 5, 7}, {82, 33, 20}, {5, 1, 64}, {4, 6, 0}, {0, 3, 2}, {2, 0, 3}};
    for (const auto& s : shapes) {
        for (const bool ta : {false, true}) {
            for (const bool tb : {false, true}) {
                for (const bool accumulate : {false, true}) {
                    const index_t m = s[0], n = s[1], k = s[2];
                    CAPTURE(m);
                    CAPTURE(n);
                    CAPTURE(k);
                    CAPTURE(ta);
                    CAPTURE(tb);
                    const auto a = test::random_tensor<T, 2>({ta ? k : m, ta ? m : k}, 1);
                    const auto b = test::random_tensor<T, 2>({tb ? n : k, tb ? k : n}, 2);
                    auto c = test::random_tensor<T, 2>({m, n}, 3), e = test::random_tensor<T, 2>({m, n}, 3);
                    const ops::gemm_options o{.transpose_a = ta, .transpose_b = tb, .accumulate = accumulate};
                    ops::gemm<T>(ctx, c, a, b, o);
                    ops::ref::gemm<T>(e, a, b, o);
                    CHECK(test::close<T>(c.view(), e.view()));
                }
            }
        }
    }
}

template <class T>
void check_linear() {
    cuda_context ctx;
    const index_t shapes[][3] = {{1, 1, 1}, {82, 48, 33}, {300, 7, 40}, {600, 3, 5}, {5, 0, 4}, {0, 3, 4}};
    for (const auto& s : shapes) {
        for (const bool with_bias : {true, false}) {
            const index_t n = s[0], d_in = s[1], d_out = s[2];
            CAPTURE(n);
            CAPTURE(d_in);
            CAPTURE(d_out);
            const auto x = test::random_tensor<T, 2>({n, d_in}, 1), weight = test::random_tensor<T, 2>({d_out, d_in}, 2);
            const auto bias = test::random_tensor<T, 1>({with_bias ? d_out : 0}, 3);
            const auto dy = test::random_tensor<T, 2>({n, d_out}, 4);
            tensor<T, 2> y({n, d_out}), e({n, d_out}), pre({n, d_out}), e_pre({n, d_out}), dx({n, d_in}), e_dx({n, d_in});
            ops::linear_forward<T>(ctx, y, x, weight, bias);
            ops::ref::linear_forward<T>(e, x, weight, bias);
            CHECK(test::close<T>(y.view(), e.view()));
            ops::linear_gelu_forward<T>(ctx, y, pre, x, weight, bias);
            ops::ref::linear_gelu_forward<T>(e, e_pre, x, weight, bias);
            CHECK(test::close<T>(y.view(), e.view()));
            CHECK(test::close<T>(pre.view(), e_pre.view()));
            auto dw = test::random_tensor<T, 2>({d_out, d_in}, 5), e_dw = test::random_tensor<T, 2>({d_out, d_in}, 5);
            auto db = test::random_tensor<T, 1>({with_bias ? d_out : 0}, 6), e_db = test::random_tensor<T, 1>({with_bias ? d_out : 0}, 6);
            ops::linear_backward<T>(ctx, dx, dw, db, dy, x, weight);
            ops::ref::linear_backward<T>(e_dx, e_dw, e_db, dy, x, weight);
            CHECK(test::close<T>(dx.view(), e_dx.view()));
            CHECK(test::close<T>(dw.view(), e_dw.view()));
            CHECK(test::close<T>(db.view(), e_db.view()));
            ops::linear_backward<T>(ctx, {}, dw, db, dy, x, weight);  // no gradient at the input
            ops::ref::linear_backward<T>({}, e_dw, e_db, dy, x, weight);
            CHECK(test::close<T>(dw.view(), e_dw.view()));
        }
    }
}

}  // namespace

TEST_CASE("products of double on the emulated device keep double's digits") {
    cuda_context ctx;
    for (const bool ta : {false, true}) {
        for (const bool tb : {false, true}) {
            const auto a = test::random_tensor<double, 2>({ta ? 30 : 7, ta ? 7 : 30}, 1), b = test::random_tensor<double, 2>({tb ? 5 : 30, tb ? 30 : 5}, 2);
            tensor<double, 2> c({7, 5}), e({7, 5});
            for (const bool accumulate : {false, true}) {
                cuda::run_matmul(ctx, "test", cuda::row_major_product<double>(c, a, b, ta, tb, accumulate));
                ops::ref::gemm<double>(e, a, b, {.transpose_a = ta, .transpose_b = tb, .accumulate = accumulate});
                CHECK(test::max_error(c.view(), e.view()) <= 1e-14);
            }
        }
    }
}
TEST_CASE("gemm on the emulated device agrees with the reference") {
    check_gemm<float>();
    check_gemm<bf16>();
}
TEST_CASE("linear on the emulated device agrees with the reference") {
    check_linear<float>();
    check_linear<bf16>();
}

TEST_CASE("gemm on the emulated device takes strided rows") {
    cuda_context ctx;
    test::strided_rows<float> a({5, 7}, 9, 1), b({7, 6}, 8, 2), c({5, 6}, 11, 3);
    tensor<float, 2> e({5, 6});
    ops::gemm<float>(ctx, c.view, a.view, b.view);
    ops::ref::gemm<float>(e, a.view, b.view);
    CHECK(test::close<float>(c.view, e.view()));
    CHECK(c.gaps_intact());
    ops::gemm<float>(ctx, c.view, tensor_view<float, 2>(a.view.data(), {5, 0}, {9, 1}), tensor_view<float, 2>(b.view.data(), {0, 6}));
    CHECK(c.gaps_intact());
    CHECK(test::max_error(c.view, tensor<float, 2>({5, 6}).view()) == 0.0);
    test::strided_rows<float> y({5, 6}, 11, 4), pre({5, 6}, 7, 5), w({6, 7}, 7, 6);
    tensor<float, 2> e_pre({5, 6});
    const auto bias = test::random_tensor<float, 1>({6}, 7);
    ops::linear_gelu_forward<float>(ctx, y.view, pre.view, a.view, w.view, bias);
    ops::ref::linear_gelu_forward<float>(e, e_pre, a.view, w.view, bias);
    CHECK(test::close<float>(y.view, e.view()));
    CHECK(y.gaps_intact());
    CHECK(pre.gaps_intact());
}

TEST_CASE("linear on the emulated device names what is wrong") {
    cuda_context ctx;
    tensor<float, 2> x({2, 3}), w({4, 3}), y({2, 4});
    tensor<float, 1> b({3});
    CHECK(test::error_text<shape_error>([&] { ops::linear_forward<float>(ctx, y, x, w, b); }) ==
          "linear_forward: bias has shape [3], expected [4]");
    CHECK(test::error_text<shape_error>([&] { ops::gemm<float>(ctx, y, x, w); }) == "gemm: b has shape [4, 3], expected [3, 4]");
    const tensor_view<float, 2> overlapping(x.data(), {2, 3}, {1, 1});
    CHECK(test::error_text<shape_error>([&] { ops::linear_forward<float>(ctx, y, overlapping, w, {}); }) ==
          "linear_forward: x has rows of 3 elements 1 apart");
}
