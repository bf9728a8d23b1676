// Matrix product on the CPU against the reference, at every instruction set this machine has.

#include <cmath>
#include <limits>

#include <doctest/doctest.h>

#include "instar/ops/gemm.hpp"
#include "instar/ops/ref/gemm.hpp"
#include "support/compare.hpp"

using namespace instar;
namespace simd = instar::ops::cpu::simd;

namespace {

struct shape {
    index_t m, n, k;
};

/// Runs f once at each level.
template <class F>
void at_every_level(F&& f) {
    for (const simd::level l : {simd::level::base, simd::level::v3, simd::level::v4}) {
        if (!simd::supports(l)) continue;
        const simd::scoped_level scope(l);
        CAPTURE(simd::level_name(l));
        f();
    }
}

/// One product with strided rows: against the reference, on one and on two threads, nothing written beside c.
template <class T>
void check_product(cpu_context& one, cpu_context& two, shape s, ops::gemm_options options, double tolerance) {
    CAPTURE(s.m);
    CAPTURE(s.n);
    CAPTURE(s.k);
    CAPTURE(options.transpose_a);
    CAPTURE(options.transpose_b);
    CAPTURE(options.accumulate);
    const index_t a_rows = options.transpose_a ? s.k : s.m, a_columns = options.transpose_a ? s.m : s.k;
    const index_t b_rows = options.transpose_b ? s.n : s.k, b_columns = options.transpose_b ? s.k : s.n;
    const test::strided_rows<T> a({a_rows, a_columns}, a_columns + 3, 1), b({b_rows, b_columns}, b_columns + 5, 2);
    test::strided_rows<T> c1({s.m, s.n}, s.n + 7, 3), c2({s.m, s.n}, s.n + 7, 3), expected({s.m, s.n}, s.n + 7, 3);
    if (!options.accumulate) {  // what c held must not matter
        for (T& e : c1.memory) e = std::numeric_limits<T>::quiet_NaN();
        for (T& e : c2.memory) e = std::numeric_limits<T>::quiet_NaN();
    }
    ops::gemm<T>(one, c1.view, a.view, b.view, options);
    ops::gemm<T>(two, c2.view, a.view, b.view, options);
    ops::ref::gemm<T>(expected.view, a.view, b.view, options);
    CHECK(test::nmse(c1.view, expected.view) <= tolerance);
    CHECK(test::same_bits(c1.view, c2.view));
    CHECK(c1.gaps_intact());
    CHECK(c2.gaps_intact());
}

ops::gemm_options options_of(int bits) {
    return {.transpose_a = (bits & 1) != 0, .transpose_b = (bits & 2) != 0, .accumulate = (bits & 4) != 0};
}

/// Whether every element of a contiguous product is within rounding of a sum in double. Quicker than check_product.
bool product_is_right(cpu_context& ctx, shape s, ops::gemm_options options, const tensor<float, 1>& numbers) {
    const index_t lda = options.transpose_a ? s.m : s.k, ldb = options.transpose_b ? s.k : s.n;
    const float *a = numbers.data(), *b = numbers.data() + 5000;
    tensor<float, 2> c({s.m, s.n});
    ops::gemm<float>(ctx, c, {a, {options.transpose_a ? s.k : s.m, lda}}, {b, {options.transpose_b ? s.n : s.k, ldb}}, options);
    for (index_t i = 0; i < s.m; ++i) {
        for (index_t j = 0; j < s.n; ++j) {
            double sum = 0.0, size = 0.0;
            for (index_t p = 0; p < s.k; ++p) {
                const double x = static_cast<double>(options.transpose_a ? a[p * lda + i] : a[i * lda + p]) *
                                 static_cast<double>(options.transpose_b ? b[j * ldb + p] : b[p * ldb + j]);
                sum += x;
                size += std::fabs(x);
            }
            if (!(std::fabs(static_cast<double>(c(i, j)) - sum) <= 1e-5 * size)) return false;
        }
    }
    return true;
}

}  // namespace

TEST_CASE("gemm: every small extent, transposed or not") {
    cpu_context ctx{1};
    const auto numbers = test::random_tensor<float, 1>({10000}, 1);
    at_every_level([&] {
        for (int bits = 0; bits < 4; ++bits) {
            // Each of m, n, k takes all values of 1 … 40 while the others walk through theirs.
            bool right = true;
            for (index_t x = 1; x <= 40; ++x) {
                for (index_t y = 1; y <= 40; y += 3) {
                    const index_t z = 1 + (x * 7 + y * 5) % 40;
                    right = right && product_is_right(ctx, {x, y + z % 3, z}, options_of(bits), numbers);
                }
            }
            CAPTURE(bits);
            CHECK(right);
        }
    });
}

TEST_CASE("gemm: every extent to 70 of x · wᵀ") {
    cpu_context ctx{1};
    const auto numbers = test::random_tensor<float, 1>({10000}, 1);
    at_every_level([&] {
        for (index_t x = 1; x <= 70; ++x) {
            CAPTURE(x);
            CHECK(product_is_right(ctx, {x, 1 + x * 3 % 70, 5}, {.transpose_b = true}, numbers));
            CHECK(product_is_right(ctx, {1 + x * 11 % 70, x, 7}, {.transpose_b = true}, numbers));
            CHECK(product_is_right(ctx, {3, 37, x}, {.transpose_b = true}, numbers));
        }
    });
}

TEST_CASE("gemm: strided rows, accumulation, several blocks, the same bits with two threads") {
    cpu_context one{1}, two{2};
    // Few rows and many columns, many rows and few columns, several blocks of depth, sizes around the cuts.
    const shape shapes[] = {{0, 4, 3}, {4, 0, 3}, {1, 1, 1}, {14, 32, 16}, {15, 33, 17}, {1, 300, 70}, {300, 1, 40}, {33, 257, 65}, {200, 96, 30}, {5, 9, 1000}};
    at_every_level([&] {
        for (const shape& s : shapes) {
            for (int bits = 0; bits < 8; ++bits) check_product<float>(one, two, s, options_of(bits), 1e-12);
        }
        // Large enough for both threads: columns in parallel, then rows in parallel over two blocks of depth.
        check_product<float>(one, two, {31, 401, 97}, {.transpose_b = true}, 1e-12);
        check_product<float>(one, two, {403, 70, 97}, {.transpose_b = true, .accumulate = true}, 1e-12);
        check_product<float>(one, two, {230, 65, 500}, {.transpose_a = true, .accumulate = true}, 1e-12);
        check_product<float>(one, two, {211, 130, 390}, {}, 1e-12);
    });
}

TEST_CASE("gemm: an element's bits depend on its row, its column and k alone") {
    cpu_context two{2};
    const auto a = test::random_tensor<float, 2>({260, 400}, 1), b = test::random_tensor<float, 2>({100, 400}, 2);
    at_every_level([&] {
        tensor<float, 2> whole({260, 100}), part({37, 100});
        ops::gemm<float>(two, whole, a, b, {.transpose_b = true});
        ops::gemm<float>(two, part, a.view().rows(100, 137), b, {.transpose_b = true});
        CHECK(test::same_bits(whole.view().rows(100, 137), part.view()));
    });
}

TEST_CASE("gemm: more columns than a shared chunk holds") {
    cpu_context one{1}, two{2};
    // 4 Mi floats of op(b) a chunk: 210 rows, 2 chunks of columns; then k over 4096, 2 chunks of depth.
    for (const shape s : {shape{210, 2100, 2048}, shape{200, 33, 4500}}) {
        const auto a = test::random_tensor<float, 2>({s.m, s.k}, 1), b = test::random_tensor<float, 2>({s.k, s.n}, 2);
        tensor<float, 2> c1({s.m, s.n}), c2({s.m, s.n});
        ops::gemm<float>(one, c1, a, b);
        ops::gemm<float>(two, c2, a, b);
        CHECK(test::same_bits(c1.view(), c2.view()));
        // The reference takes too long for all of it: the last row, which also meets the last columns and depths.
        tensor<float, 2> expected({1, s.n});
        ops::ref::gemm<float>(expected.view(), a.view().rows(s.m - 1, s.m), b);
        CHECK(test::nmse(c1.view().rows(s.m - 1, s.m), expected.view()) <= 1e-12);
    }
}

TEST_CASE("gemm: double") {
    cpu_context one{1}, two{2};
    for (const shape& s : {shape{1, 1, 1}, shape{3, 5, 7}, shape{65, 130, 129}, shape{130, 3, 300}}) {
        for (int bits = 0; bits < 8; ++bits) check_product<double>(one, two, s, options_of(bits), 1e-28);
    }
}

TEST_CASE("gemm: k = 0 gives zero, or leaves c") {
    cpu_context ctx{1};
    const auto before = test::random_tensor<float, 2>({3, 40}, 1);
    at_every_level([&] {
        auto c = before.clone();
        ops::gemm<float>(ctx, c, {nullptr, {3, 0}}, {nullptr, {0, 40}}, {.accumulate = true});
        CHECK(test::same_bits(c.view(), before.view()));
        ops::gemm<float>(ctx, c, {nullptr, {3, 0}}, {nullptr, {0, 40}});
        CHECK(test::same_bits(c.view(), tensor<float, 2>({3, 40}).view()));
    });
}

TEST_CASE("gemm: NaN and infinity reach their row and column and no others") {
    cpu_context ctx{2};
    at_every_level([&] {
        auto a = test::random_tensor<float, 2>({20, 50}, 1);
        auto b = test::random_tensor<float, 2>({50, 45}, 2);
        a(7, 49) = std::numeric_limits<float>::quiet_NaN();
        b(3, 44) = std::numeric_limits<float>::infinity();
        tensor<float, 2> c({20, 45});
        ops::gemm<float>(ctx, c, a, b);
        bool right = true;
        for (index_t i = 0; i < 20; ++i) {
            for (index_t j = 0; j < 45; ++j) {
                const bool expect_finite = i != 7 && j != 44;
                right = right && std::isfinite(c(i, j)) == expect_finite && (i != 7 || std::isnan(c(i, j)));
            }
        }
        CHECK(right);
    });
}

TEST_CASE("gemm: inside a parallel loop, and from several contexts of one arena") {
    // A thread that waits for a product may be handed another task that multiplies too.
    tbb::task_arena arena(2);
    cpu_context outer{arena};
    const auto a = test::random_tensor<float, 2>({220, 64}, 1), b = test::random_tensor<float, 2>({64, 64}, 2);
    tensor<float, 2> expected({220, 64});
    ops::gemm<float>(outer, expected, a, b);
    std::atomic<int> n_wrong{0};
    parallel_for(outer, 16, 1, [&](index_t, index_t) {
        cpu_context mine{arena};
        tensor<float, 2> c({220, 64});
        ops::gemm<float>(mine, c, a, b);
        if (!test::same_bits(c.view(), expected.view())) ++n_wrong;
    });
    CHECK(n_wrong == 0);
}

TEST_CASE("gemm: errors") {
    cpu_context ctx{1};
    tensor<float, 2> c({2, 3}), a({2, 4}), b({4, 3});
    const auto text = [&](const tensor<float, 2>& x, const tensor<float, 2>& y, ops::gemm_options o) {
        return test::error_text<shape_error>([&] { ops::gemm<float>(ctx, c, x, y, o); });
    };
    CHECK(text(a, b, {}) == "");
    CHECK(text(b, b, {}) == "gemm: a has shape [4, 3], expected [2, 3]");
    CHECK(text(a, a, {}) == "gemm: b has shape [2, 4], expected [4, 3]");
    CHECK(text(a, b, {.transpose_a = true}) == "gemm: a (transposed) has shape [2, 4], expected [2, 2]");
    CHECK(text(a, b, {.transpose_b = true}) == "gemm: b (transposed) has shape [4, 3], expected [3, 4]");
    const tensor_view<const float, 2> column_major(a.data(), {2, 4}, {1, 2});
    CHECK(test::error_text<shape_error>([&] { ops::gemm<float>(ctx, c, column_major, b); }) ==
          "gemm: a must have stride 1 in its last dimension, has 2");
}
