// Matrix product on the CPU against the reference, at every instruction set this machine has.

#include <cmath>
#include <limits>

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/ops/gemm.hpp"
#include "instar/ops/ref/gemm.hpp"
#include "support/compare.hpp"
#include "support/levels.hpp"
#include "support/products.hpp"

using namespace instar;

namespace {

using test::check_product;
using test::product_is_right;
using shape = test::product_shape;

}  // namespace

TEST_CASE("gemm: every small extent, transposed or not") {
    cpu_context ctx{1};
    const auto numbers = test::random_tensor<float, 1>({10000}, 1);
    test::for_each_level([&] {
        for (int bits = 0; bits < 4; ++bits) {
            // Each of m, n, k takes all values of 1 … 40 while the others walk through theirs.
            bool right = true;
            for (index_t x = 1; x <= 40; ++x) {
                for (index_t y = 1; y <= 40; y += 3) {
                    const index_t z = 1 + (x * 7 + y * 5) % 40;
                    right = right && product_is_right(ctx, {x, y + z % 3, z}, test::product_options(bits), numbers);
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
    test::for_each_level([&] {
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
    test::for_each_level([&] {
        for (const shape& s : shapes) {
            for (int bits = 0; bits < 8; ++bits) check_product<float>(one, two, s, test::product_options(bits), 1e-12);
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
    test::for_each_level([&] {
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
        for (int bits = 0; bits < 8; ++bits) check_product<double>(one, two, s, test::product_options(bits), 1e-28);
    }
}

TEST_CASE("gemm: k = 0 gives zero, or leaves c") {
    cpu_context ctx{1};
    const auto before = test::random_tensor<float, 2>({3, 40}, 1);
    test::for_each_level([&] {
        auto c = before.clone();
        ops::gemm<float>(ctx, c, {nullptr, {3, 0}}, {nullptr, {0, 40}}, {.accumulate = true});
        CHECK(test::same_bits(c.view(), before.view()));
        ops::gemm<float>(ctx, c, {nullptr, {3, 0}}, {nullptr, {0, 40}});
        CHECK(test::same_bits(c.view(), tensor<float, 2>({3, 40}).view()));
    });
}

TEST_CASE("gemm: NaN and infinity reach their row and column and no others") {
    cpu_context ctx{2};
    test::for_each_level([&] {
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
