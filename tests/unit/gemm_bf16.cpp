// Products whose inputs are rounded to bf16 (cpu_context::allow_bf16), at every instruction set and by every instruction that the processor
// has for it. Inputs that are bf16 already multiply exactly, so the reference in double is the same as for floats.

#include <array>
#include <cmath>
#include <limits>

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/ops/conv2d.hpp"
#include "instar/ops/gemm.hpp"
#include "instar/ops/linear.hpp"
#include "instar/ops/ref/conv2d.hpp"
#include "instar/ops/ref/gemm.hpp"
#include "instar/ops/ref/linear.hpp"
#include "support/compare.hpp"
#include "support/levels.hpp"
#include "support/products.hpp"

using namespace instar;

namespace {

/// Runs f at every level, and at each once for every way to compute products in bf16 that this processor has.
template <class F>
void with_every_product(F&& f) {
    test::for_each_level([&] {
        for (const auto way : {isa::bf16_products::as_float, isa::bf16_products::pairs, isa::bf16_products::tiles}) {
            if (way != isa::bf16_products::as_float && (isa::active_level() != isa::level::v4 || !isa::supports(way))) continue;
            CAPTURE(isa::bf16_products_name(way));
            const isa::scoped_bf16 scope(way);
            f();
        }
    });
}

template <int Rank>
tensor<float, Rank> rounded_tensor(const index_t (&extents)[Rank], std::uint64_t seed) {
    auto x = test::random_tensor<float, Rank>(extents, seed);
    for (float& e : x) e = test::rounded_to_bf16(e);
    return x;
}

void check_convolution(cpu_context& one, cpu_context& two, const ops::conv2d_shape& s) {
    CAPTURE(s.kernel);
    CAPTURE(s.d_in);
    const auto x = rounded_tensor<4>({s.n_batch, s.height, s.width, s.d_in}, 1), w = rounded_tensor<4>({s.d_out, s.d_in, s.kernel, s.kernel}, 2);
    const auto dy = rounded_tensor<4>({s.n_batch, s.height_out(), s.width_out(), s.d_out}, 4);
    const auto bias = test::random_tensor<float, 1>({s.d_out}, 3);
    tensor<float, 1> scratch({ops::conv2d_scratch(s)});
    tensor<float, 4> y({s.n_batch, s.height_out(), s.width_out(), s.d_out}), y_two({s.n_batch, s.height_out(), s.width_out(), s.d_out}), e_y({s.n_batch, s.height_out(), s.width_out(), s.d_out});
    ops::conv2d_forward<float>(one, y.view(), x, w, bias.view(), s, scratch.view());
    ops::conv2d_forward<float>(two, y_two.view(), x, w, bias.view(), s, scratch.view());
    ops::ref::conv2d_forward<float>(e_y.view(), x, w, bias.view(), s);
    CHECK(test::nmse(y.view(), e_y.view()) <= 1e-12);
    CHECK(test::same_bits(y.view(), y_two.view()));
    tensor<float, 4> dx({s.n_batch, s.height, s.width, s.d_in}), e_dx({s.n_batch, s.height, s.width, s.d_in});
    tensor<float, 4> dw({s.d_out, s.d_in, s.kernel, s.kernel}), e_dw({s.d_out, s.d_in, s.kernel, s.kernel});
    tensor<float, 1> db({s.d_out}), e_db({s.d_out});
    ops::conv2d_backward<float>(two, dx.view(), dw.view(), db.view(), dy, x, w, s, scratch.view());
    ops::ref::conv2d_backward<float>(e_dx.view(), e_dw.view(), e_db.view(), dy, x, w, s);
    CHECK(test::nmse(dx.view(), e_dx.view()) <= 1e-12);
    CHECK(test::nmse(dw.view(), e_dw.view()) <= 1e-12);
    CHECK(test::nmse(db.view(), e_db.view()) <= 1e-12);
}

}  // namespace

TEST_CASE("gemm_bf16: every extent to 70, transposed or not") {
    cpu_context ctx{1};
    ctx.allow_bf16(true);
    const auto numbers = test::random_tensor<float, 1>({10000}, 1);
    with_every_product([&] {
        for (int bits = 0; bits < 4; ++bits) {
            CAPTURE(bits);
            bool right = true;
            for (index_t x = 1; x <= 70; ++x) {
                right = right && test::product_is_right(ctx, {x, 1 + x * 3 % 70, 1 + x * 11 % 70}, test::product_options(bits), numbers, true);
                right = right && test::product_is_right(ctx, {1 + x * 11 % 70, x, 7}, test::product_options(bits), numbers, true);
                right = right && test::product_is_right(ctx, {3, 37, x}, test::product_options(bits), numbers, true);
            }
            CHECK(right);
        }
    });
}

TEST_CASE("gemm_bf16: strided rows, accumulation, several blocks, the same bits with two threads") {
    cpu_context one{1}, two{2};
    one.allow_bf16(true);
    two.allow_bf16(true);
    const test::product_shape shapes[] = {{0, 4, 3}, {4, 0, 3}, {1, 1, 1}, {14, 32, 16}, {15, 33, 17}, {1, 300, 70}, {300, 1, 41}, {33, 257, 65}, {200, 96, 31}, {5, 9, 3001}};
    with_every_product([&] {
        for (const test::product_shape& s : shapes) {
            for (int bits = 0; bits < 8; ++bits) test::check_product<float>(one, two, s, test::product_options(bits), 1e-12, true);
        }
        test::check_product<float>(one, two, {31, 401, 97}, {.transpose_b = true}, 1e-12, true);
        test::check_product<float>(one, two, {403, 70, 97}, {.transpose_b = true, .accumulate = true}, 1e-12, true);
        test::check_product<float>(one, two, {230, 65, 1701}, {.transpose_a = true, .accumulate = true}, 1e-12, true);
        test::check_product<float>(one, two, {211, 130, 1539}, {}, 1e-12, true);
    });
}

TEST_CASE("gemm_bf16: an element's bits depend on its row, its column and k alone") {
    cpu_context two{2};
    two.allow_bf16(true);
    const auto a = test::random_tensor<float, 2>({260, 401}, 1), b = test::random_tensor<float, 2>({100, 401}, 2);
    with_every_product([&] {
        tensor<float, 2> whole({260, 100}), part({37, 100});
        ops::gemm<float>(two, whole, a, b, {.transpose_b = true});
        ops::gemm<float>(two, part, a.view().rows(100, 137), b, {.transpose_b = true});
        CHECK(test::same_bits(whole.view().rows(100, 137), part.view()));
    });
}

TEST_CASE("gemm_bf16: more depth and more columns than a shared chunk holds") {
    cpu_context one{1}, two{2};
    one.allow_bf16(true);
    two.allow_bf16(true);
    for (const auto& [m, n, k] : {std::array<index_t, 3>{210, 4200, 2051}, {200, 33, 9001}}) {
        const auto a = rounded_tensor<2>({m, k}, 1), b = rounded_tensor<2>({k, n}, 2);
        tensor<float, 2> c1({m, n}), c2({m, n}), expected({1, n});
        ops::gemm<float>(one, c1, a, b);
        ops::gemm<float>(two, c2, a, b);
        CHECK(test::same_bits(c1.view(), c2.view()));
        ops::ref::gemm<float>(expected.view(), a.view().rows(m - 1, m), b);
        CHECK(test::nmse(c1.view().rows(m - 1, m), expected.view()) <= 1e-12);
    }
}

TEST_CASE("gemm_bf16: NaN and infinity reach their row and column, a float beyond bf16's range becomes infinite") {
    cpu_context ctx{2};
    ctx.allow_bf16(true);
    with_every_product([&] {
        for (int bits = 0; bits < 4; ++bits) {
            auto a = test::random_tensor<float, 2>({(bits & 1) ? index_t{51} : 20, (bits & 1) ? index_t{20} : 51}, 1, 1.0, 2.0);
            auto b = test::random_tensor<float, 2>({(bits & 2) ? index_t{45} : 51, (bits & 2) ? index_t{51} : 45}, 2, 1.0, 2.0);
            ((bits & 1) ? a(50, 7) : a(7, 50)) = std::numeric_limits<float>::quiet_NaN();
            ((bits & 1) ? a(50, 8) : a(8, 50)) = std::numeric_limits<float>::max();
            ((bits & 2) ? b(44, 3) : b(3, 44)) = std::numeric_limits<float>::infinity();
            tensor<float, 2> c({20, 45});
            ops::gemm<float>(ctx, c, a, b, test::product_options(bits));
            bool right = true;
            for (index_t i = 0; i < 20; ++i) {
                for (index_t j = 0; j < 45; ++j) {
                    right = right && std::isfinite(c(i, j)) == (i != 7 && i != 8 && j != 44) && std::isnan(c(i, j)) == (i == 7);
                }
            }
            CHECK(right);
        }
    });
}

TEST_CASE("gemm_bf16: linear layers with bias and GELU, forward and backward") {
    cpu_context two{2};
    two.allow_bf16(true);
    const index_t n = 67, d_in = 83, d_out = 45;
    const auto x = rounded_tensor<2>({n, d_in}, 1), w = rounded_tensor<2>({d_out, d_in}, 2), dy = rounded_tensor<2>({n, d_out}, 4);
    const auto bias = test::random_tensor<float, 1>({d_out}, 3);
    with_every_product([&] {
        tensor<float, 2> y({n, d_out}), pre({n, d_out}), e_y({n, d_out}), e_pre({n, d_out});
        ops::linear_gelu_forward<float>(two, y, pre.view(), x, w, bias.view());
        ops::ref::linear_gelu_forward<float>(e_y.view(), e_pre.view(), x, w, bias.view());
        CHECK(test::nmse(y.view(), e_y.view()) <= 1e-12);
        CHECK(test::nmse(pre.view(), e_pre.view()) <= 1e-12);
        tensor<float, 2> dx({n, d_in}), dw({d_out, d_in}), e_dx({n, d_in}), e_dw({d_out, d_in});
        tensor<float, 1> db({d_out}), e_db({d_out});
        ops::linear_backward<float>(two, dx, dw.view(), db.view(), dy, x, w);
        ops::ref::linear_backward<float>(e_dx.view(), e_dw.view(), e_db.view(), dy, x, w);
        CHECK(test::nmse(dx.view(), e_dx.view()) <= 1e-12);
        CHECK(test::nmse(dw.view(), e_dw.view()) <= 1e-12);
        CHECK(test::nmse(db.view(), e_db.view()) <= 1e-12);
    });
}

TEST_CASE("gemm_bf16: convolutions, whose runs of neighbours may be odd") {
    cpu_context one{1}, two{2};
    one.allow_bf16(true);
    two.allow_bf16(true);
    with_every_product([&] {
        for (const ops::conv2d_shape& s : {
                 ops::conv2d_shape{.n_batch = 1, .height = 23, .width = 17, .d_in = 3, .d_out = 16, .kernel = 7, .stride = 2, .padding = 3},
                 {.n_batch = 2, .height = 9, .width = 8, .d_in = 5, .d_out = 7, .kernel = 3, .stride = 2, .padding = 1},
                 {.n_batch = 2, .height = 14, .width = 13, .d_in = 6, .d_out = 33, .kernel = 3, .padding = 1},
                 {.n_batch = 3, .height = 5, .width = 7, .d_in = 4, .d_out = 6, .kernel = 1},
             }) {
            check_convolution(one, two, s);
        }
    });
}

TEST_CASE("gemm_bf16: only where it is allowed") {
    cpu_context plain{1}, allowed{1};
    CHECK_FALSE(plain.bf16_allowed());
    allowed.allow_bf16(true);
    CHECK(allowed.bf16_allowed());
    const auto a = test::random_tensor<float, 2>({20, 60}, 1), b = test::random_tensor<float, 2>({60, 40}, 2);
    tensor<float, 2> exact({20, 40}), c({20, 40}), rough({20, 40});
    ops::ref::gemm<float>(exact.view(), a.view(), b.view());
    ops::gemm<float>(plain, c, a, b);
    ops::gemm<float>(allowed, rough, a, b);
    CHECK(test::nmse(c.view(), exact.view()) <= 1e-12);
    // Each input is off by up to 2⁻⁸ of itself, evenly distributed: squared and averaged, 2 · 2⁻¹⁶ / 3 of the energy at most.
    CHECK(test::nmse(rough.view(), exact.view()) > 1e-7);
    CHECK(test::nmse(rough.view(), exact.view()) < 1.1e-5);
    allowed.allow_bf16(false);
    ops::gemm<float>(allowed, rough, a, b);
    CHECK(test::same_bits(rough.view(), c.view()));
}
