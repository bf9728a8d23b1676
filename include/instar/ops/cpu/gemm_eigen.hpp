#ifndef INSTAR_OPS_CPU_GEMM_EIGEN_HPP
#define INSTAR_OPS_CPU_GEMM_EIGEN_HPP

// Eigen's matrix product behind the seam of gemm_problem.hpp: for comparison, and for processors where it does better.
//
//     cpu::gemm_eigen(ctx, problem);       // what benchmarks/gemm.cpp measures beside gemm_packed
//
// Compile with INSTAR_GEMM_EIGEN defined in every file of a program to have ops::gemm and ops::linear use it. Eigen takes its
// instruction set from the compiler's flags, so it is fast only with -march=native or the like; and its own templates do
// not tell files compiled with different flags apart: give all files that use it the same flags. It multiplies floats as they are, also
// where the context allows bf16.
//
// Same bits for any number of threads: each thread multiplies whole rows of one cut, which follows from the shape alone.

#include <algorithm>

// g++ 12 takes its own AVX-512 intrinsics' "undefined" operands for uninitialised ones.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <Eigen/Core>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

#include "instar/core/cpu_context.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/ops/cpu/gemm_problem.hpp"
#include "instar/ops/cpu/simd/math.hpp"

namespace instar::ops::cpu {

namespace detail::inline INSTAR_SIMD_TAG {

using eigen_matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using eigen_const_map = Eigen::Map<const eigen_matrix, Eigen::Unaligned, Eigen::OuterStride<>>;
using eigen_map = Eigen::Map<eigen_matrix, Eigen::Unaligned, Eigen::OuterStride<>>;

template <class A, class B>
void eigen_product(eigen_map& c, const A& a, const B& b, bool accumulate) {
    if (accumulate) c.noalias() += a * b;
    else c.noalias() = a * b;
}

/// Rows [i0, i1) and columns [j0, j1) of a product.
inline void eigen_part(const gemm_problem& g, index_t i0, index_t i1, index_t j0, index_t j1) {
    using Eigen::OuterStride;
    const index_t m = i1 - i0, n = j1 - j0;
    eigen_map c(g.c + i0 * g.ldc + j0, m, n, OuterStride<>(g.ldc));
    if (g.k == 0) {
        if (!g.accumulate) c.setZero();
    } else {
        const eigen_const_map a = g.transpose_a ? eigen_const_map(g.a + i0, g.k, m, OuterStride<>(g.lda)) : eigen_const_map(g.a + i0 * g.lda, m, g.k, OuterStride<>(g.lda));
        const eigen_const_map b = g.transpose_b ? eigen_const_map(g.b + j0 * g.ldb, n, g.k, OuterStride<>(g.ldb)) : eigen_const_map(g.b + j0, g.k, n, OuterStride<>(g.ldb));
        if (g.transpose_a && g.transpose_b) eigen_product(c, a.transpose(), b.transpose(), g.accumulate);
        else if (g.transpose_a) eigen_product(c, a.transpose(), b, g.accumulate);
        else if (g.transpose_b) eigen_product(c, a, b.transpose(), g.accumulate);
        else eigen_product(c, a, b, g.accumulate);
    }
    for (index_t i = i0; i < i1; ++i) {
        float* const row = g.c + i * g.ldc + j0;
        if (g.bias != nullptr) {
            for (index_t j = 0; j < n; ++j) row[j] += g.bias[j0 + j];
        }
        if (g.activation != nullptr) INSTAR_SIMD_PICK(gelu_range)(g.activation + i * g.ld_activation + j0, row, n);
    }
}

}  // namespace detail::inline INSTAR_SIMD_TAG

/// The product by Eigen, cut into blocks of rows, or of columns when there are few rows.
inline void gemm_eigen(cpu_context& ctx, const gemm_problem& g) {
    if (g.m <= 0 || g.n <= 0) return;
    constexpr double k_serial_products = 5e5;
    if (static_cast<double>(g.m) * static_cast<double>(g.n) * static_cast<double>(g.k) < k_serial_products) {
        return detail::eigen_part(g, 0, g.m, 0, g.n);
    }
    // At most 16 parts: a part packs all of the other operand for itself.
    if (g.m >= 64) {
        parallel_kernel(ctx, g.m, std::max<index_t>(32, (g.m + 15) / 16), [&](index_t i0, index_t i1) { detail::eigen_part(g, i0, i1, 0, g.n); });
    } else {
        parallel_kernel(ctx, g.n, std::max<index_t>(32, (g.n + 15) / 16), [&](index_t j0, index_t j1) { detail::eigen_part(g, 0, g.m, j0, j1); });
    }
}

}  // namespace instar::ops::cpu

#endif
