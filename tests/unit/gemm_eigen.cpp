// The Eigen backend against the packed one: all forms, accumulation, epilogue, few rows and many.

#include <doctest/doctest.h>

#include "instar/ops/cpu/gemm_eigen.hpp"
#include "instar/ops/cpu/gemm_packed.hpp"
#include "support/compare.hpp"

using namespace instar;

TEST_CASE("gemm_eigen: agrees with the packed backend") {
    cpu_context one{1}, two{2};
    const index_t shapes[][3] = {{1, 1, 1}, {5, 40, 9}, {30, 300, 80}, {150, 70, 60}, {4, 6, 0}};
    for (const auto& s : shapes) {
        const index_t m = s[0], n = s[1], k = s[2];
        CAPTURE(m);
        const auto numbers = test::random_tensor<float, 1>({40000}, 1);
        for (int bits = 0; bits < 8; ++bits) {
            CAPTURE(bits);
            ops::cpu::gemm_problem g{.m = m, .n = n, .k = k, .a = numbers.data(), .b = numbers.data() + 13000, .ldc = n + 1};
            g.transpose_a = (bits & 1) != 0;
            g.transpose_b = (bits & 2) != 0;
            g.accumulate = (bits & 4) != 0;
            g.lda = (g.transpose_a ? m : k) + 2;
            g.ldb = (g.transpose_b ? k : n) + 3;
            g.bias = bits % 3 == 0 ? numbers.data() : nullptr;
            struct result {
                test::strided_rows<float> c, activation;
                result(index_t rows, index_t columns) : c({rows, columns}, columns + 1, 5), activation({rows, columns}, columns + 1, 6) {}
            };
            result eigen1(m, n), eigen2(m, n), packed(m, n);
            const auto run = [&](auto&& f, cpu_context& ctx, result& r) {
                g.c = r.c.view.data();
                g.activation = r.activation.view.data();
                g.ld_activation = n + 1;
                f(ctx, g);
            };
            run(ops::cpu::gemm_eigen, one, eigen1);
            run(ops::cpu::gemm_eigen, two, eigen2);
            run(ops::cpu::gemm_packed, one, packed);
            CHECK(test::nmse(eigen1.c.view, packed.c.view) <= 1e-12);
            CHECK(test::nmse(eigen1.activation.view, packed.activation.view) <= 1e-11);
            CHECK(test::same_bits(eigen1.c.view, eigen2.c.view));
            CHECK(eigen1.c.gaps_intact());
            CHECK(eigen1.activation.gaps_intact());
        }
    }
}
