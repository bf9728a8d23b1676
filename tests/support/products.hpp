#ifndef INSTAR_TESTS_SUPPORT_PRODUCTS_HPP
#define INSTAR_TESTS_SUPPORT_PRODUCTS_HPP

// Checks of ops::gemm that float and bf16 products share. `rounded`: the context allows bf16, so what counts is the product of rounded inputs.
//
//     CHECK(test::product_is_right(ctx, {m, n, k}, test::product_options(bits), numbers));      // contiguous, quick
//     test::check_product<float>(one, two, {m, n, k}, options, 1e-12);                          // strided, on one and on two threads

#include <cmath>
#include <limits>

#include <doctest/doctest.h>

#include "instar/ops/gemm.hpp"
#include "instar/ops/ref/gemm.hpp"
#include "support/compare.hpp"

namespace instar::test {

struct product_shape {
    index_t m, n, k;
};

/// Bits: transpose_a, transpose_b, accumulate.
inline ops::gemm_options product_options(int bits) {
    return {.transpose_a = (bits & 1) != 0, .transpose_b = (bits & 2) != 0, .accumulate = (bits & 4) != 0};
}

inline float rounded_to_bf16(float x) { return static_cast<float>(bf16(x)); }

/// One product with strided rows: against the reference, on one and on two threads, nothing written beside c.
template <class T>
void check_product(cpu_context& one, cpu_context& two, product_shape s, ops::gemm_options options, double tolerance, bool rounded = false) {
    CAPTURE(s.m);
    CAPTURE(s.n);
    CAPTURE(s.k);
    CAPTURE(options.transpose_a);
    CAPTURE(options.transpose_b);
    CAPTURE(options.accumulate);
    const index_t a_rows = options.transpose_a ? s.k : s.m, a_columns = options.transpose_a ? s.m : s.k;
    const index_t b_rows = options.transpose_b ? s.n : s.k, b_columns = options.transpose_b ? s.k : s.n;
    const strided_rows<T> a({a_rows, a_columns}, a_columns + 3, 1), b({b_rows, b_columns}, b_columns + 5, 2);
    if (rounded) {  // inputs that are bf16 already multiply exactly
        for (const auto* x : {&a, &b}) for_each_element(x->view, [](T* p) { *p = static_cast<T>(rounded_to_bf16(static_cast<float>(*p))); });
    }
    strided_rows<T> c1({s.m, s.n}, s.n + 7, 3), c2({s.m, s.n}, s.n + 7, 3), expected({s.m, s.n}, s.n + 7, 3);
    if (!options.accumulate) {  // what c held must not matter
        for (T& e : c1.memory) e = quiet_nan<T>();
        for (T& e : c2.memory) e = quiet_nan<T>();
    }
    ops::gemm<T>(one, c1.view, a.view, b.view, options);
    ops::gemm<T>(two, c2.view, a.view, b.view, options);
    ops::ref::gemm<T>(expected.view, a.view, b.view, options);
    CHECK(nmse(c1.view, expected.view) <= tolerance);
    CHECK(same_bits(c1.view, c2.view));
    CHECK(c1.gaps_intact());
    CHECK(c2.gaps_intact());
}

/// Whether every element of a contiguous product is within rounding of a sum in double. Quicker than check_product.
inline bool product_is_right(cpu_context& ctx, product_shape s, ops::gemm_options options, const tensor<float, 1>& numbers, bool rounded = false) {
    const index_t lda = options.transpose_a ? s.m : s.k, ldb = options.transpose_b ? s.k : s.n;
    const float *a = numbers.data(), *b = numbers.data() + 5000;
    tensor<float, 2> c({s.m, s.n});
    ops::gemm<float>(ctx, c, {a, {options.transpose_a ? s.k : s.m, lda}}, {b, {options.transpose_b ? s.n : s.k, ldb}}, options);
    const auto value = [&](float x) { return static_cast<double>(rounded ? rounded_to_bf16(x) : x); };
    for (index_t i = 0; i < s.m; ++i) {
        for (index_t j = 0; j < s.n; ++j) {
            double sum = 0.0, size = 0.0;
            for (index_t p = 0; p < s.k; ++p) {
                const double x = value(options.transpose_a ? a[p * lda + i] : a[i * lda + p]) * value(options.transpose_b ? b[j * ldb + p] : b[p * ldb + j]);
                sum += x;
                size += std::fabs(x);
            }
            if (!(std::fabs(static_cast<double>(c(i, j)) - sum) <= 1e-5 * size)) return false;
        }
    }
    return true;
}

}  // namespace instar::test

#endif
