#ifndef INSTAR_OPS_CPU_LINEAR_HPP
#define INSTAR_OPS_CPU_LINEAR_HPP

// Affine map on the CPU: matrix products with the bias and GELU in their epilogue.
//
//     ops::linear_forward(ctx, y, x, weight, bias);
//     ops::linear_gelu_forward(ctx, y, pre, x, weight, bias);
//     ops::linear_backward(ctx, dx, dweight, dbias, dy, x, weight);

#include <cmath>
#include <type_traits>

#include "instar/core/cpu_context.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/ops/cpu/bf16_rows.hpp"
#include "instar/ops/cpu/gemm.hpp"
#include "instar/ops/cpu/simd/rows.hpp"
#include "instar/ops/gemm.hpp"
#include "instar/ops/linear.hpp"

namespace instar::ops {

namespace cpu {

/// y += Σ_rows x for the columns [j0, j0 + n): rows are added within ranges of 64, the ranges in order. n ≤ k_column_range.
inline constexpr index_t k_column_range = 256;
template <class T>
void add_column_sums(T* y, tensor_view<const T, 2> x, index_t j0, index_t n) {
    constexpr index_t k_rows = 64;
    T part[k_column_range];
    for (index_t r0 = 0; r0 < x.extent(0); r0 += k_rows) {
        const index_t rows = std::min(x.extent(0), r0 + k_rows) - r0;
        const T* const from = x.data() + r0 * x.stride(0) + j0;
        if constexpr (std::is_same_v<T, float>) {
            INSTAR_SIMD_PICK(column_sums)(part, from, x.stride(0), nullptr, 0, rows, n, 1.0f);
            INSTAR_SIMD_PICK(add_range)(y, y, part, n);
        } else {
            std::fill(part, part + n, T(0));
            for (index_t r = 0; r < rows; ++r) {
                for (index_t j = 0; j < n; ++j) part[j] += from[r * x.stride(0) + j];
            }
            for (index_t j = 0; j < n; ++j) y[j] += part[j];
        }
    }
}

template <class T>
void check_linear(const char* op, const tensor_view<T, 2>& y, in_view<T, 2> x, in_view<T, 2> weight, in_view<T, 1> bias) {
    instar::detail::check_shape(op, "x", x, {y.extent(0), x.extent(1)});
    instar::detail::check_shape(op, "weight", weight, {y.extent(1), x.extent(1)});
    if (!bias.empty()) instar::detail::check_shape(op, "bias", bias, {y.extent(1)});
    instar::detail::check_unit_stride(op, "y", y);
    instar::detail::check_unit_stride(op, "x", x);
    instar::detail::check_unit_stride(op, "weight", weight);
    instar::detail::check_unit_stride(op, "bias", bias);
}

/// The same of bf16: sums in float, rounded once.
template <class T>
void add_column_sums_rounded(T* y, tensor_view<const T, 2> x, index_t j0, index_t n) {
    constexpr index_t k_rows = 16;
    float rows[k_rows][k_column_range], part[k_column_range], sum[k_column_range];
    widen(sum, y, n);
    for (index_t r0 = 0; r0 < x.extent(0); r0 += k_rows) {
        const index_t n_rows = std::min(x.extent(0), r0 + k_rows) - r0;
        for (index_t r = 0; r < n_rows; ++r) widen(rows[r], x.data() + (r0 + r) * x.stride(0) + j0, n);
        INSTAR_SIMD_PICK(column_sums)(part, rows[0], k_column_range, nullptr, 0, n_rows, n, 1.0f);
        INSTAR_SIMD_PICK(add_range)(sum, sum, part, n);
    }
    narrow(y, sum, n);
}

template <class T>
basic_gemm_problem<T> linear_problem(tensor_view<T, 2> y, in_view<T, 2> x, in_view<T, 2> weight, in_view<T, 1> bias) {
    return {.m = y.extent(0), .n = y.extent(1), .k = x.extent(1),
            .a = x.data(), .lda = leading_dimension(x),
            .b = weight.data(), .ldb = leading_dimension(weight), .transpose_b = true,
            .c = y.data(), .ldc = leading_dimension(y),
            .bias = bias.empty() ? nullptr : bias.data(), .b_is_weight = true};
}

template <class T>
void add_bias(cpu_context& ctx, tensor_view<T, 2> y, in_view<T, 1> bias) {
    if (bias.empty()) return;
    parallel_kernel(ctx, y.extent(0), 16, [&](index_t begin, index_t end) {
        for (index_t r = begin; r < end; ++r) {
            for (index_t j = 0; j < y.extent(1); ++j) y(r, j) += bias(j);
        }
    });
}

}  // namespace cpu

template <class T>
void linear_forward(cpu_context& ctx, tensor_view<T, 2> y, in_view<T, 2> x, in_view<T, 2> weight, in_view<T, 1> bias) {
    static_assert(real<T> || std::same_as<T, bf16>, "linear_forward on the CPU: float, double or bf16");
    cpu::check_linear<T>("linear_forward", y, x, weight, bias);
    if constexpr (std::is_same_v<T, float>) {
        cpu::gemm_float(ctx, cpu::linear_problem<T>(y, x, weight, bias));
    } else if constexpr (std::is_same_v<T, bf16>) {
        cpu::gemm_packed_bf16<T>(ctx, cpu::linear_problem<T>(y, x, weight, bias));
    } else {
        cpu::gemm_plain<T>(ctx, y, x, weight, {.transpose_b = true});
        cpu::add_bias<T>(ctx, y, bias);
    }
}

template <class T>
void linear_gelu_forward(cpu_context& ctx, tensor_view<T, 2> y, out_view<T, 2> pre, in_view<T, 2> x, in_view<T, 2> weight, in_view<T, 1> bias) {
    static_assert(real<T> || std::same_as<T, bf16>, "linear_gelu_forward on the CPU: float, double or bf16");
    static constexpr const char* k_op = "linear_gelu_forward";
    cpu::check_linear<T>(k_op, y, x, weight, bias);
    instar::detail::check_shape(k_op, "pre", pre, {y.extent(0), y.extent(1)});
    instar::detail::check_unit_stride(k_op, "pre", pre);
    if constexpr (std::is_same_v<T, float> || std::is_same_v<T, bf16>) {
        cpu::basic_gemm_problem<T> problem = cpu::linear_problem<T>(pre, x, weight, bias);
        problem.activation = y.data();
        problem.ld_activation = cpu::leading_dimension(y);
        if constexpr (std::is_same_v<T, float>) cpu::gemm_float(ctx, problem);
        else cpu::gemm_packed_bf16<T>(ctx, problem);
    } else {
        cpu::gemm_plain<T>(ctx, pre, x, weight, {.transpose_b = true});
        cpu::add_bias<T>(ctx, pre, bias);
        parallel_kernel(ctx, y.extent(0), 16, [&](index_t begin, index_t end) {
            for (index_t r = begin; r < end; ++r) {
                // Through erfc, so that the left tail keeps its digits.
                for (index_t j = 0; j < y.extent(1); ++j) y(r, j) = pre(r, j) * T(0.5) * std::erfc(-pre(r, j) * T(0.70710678118654752440));
            }
        });
    }
}

template <class T>
void linear_backward(cpu_context& ctx, tensor_view<T, 2> dx, out_view<T, 2> dweight, out_view<T, 1> dbias, in_view<T, 2> dy,
                     in_view<T, 2> x, in_view<T, 2> weight) {
    static_assert(real<T> || std::same_as<T, bf16>, "linear_backward on the CPU: float, double or bf16");
    static constexpr const char* k_op = "linear_backward";
    const index_t n_rows = dy.extent(0), d_out = dy.extent(1), d_in = x.extent(1);
    instar::detail::check_shape(k_op, "x", x, {n_rows, d_in});
    instar::detail::check_shape(k_op, "weight", weight, {d_out, d_in});
    instar::detail::check_shape(k_op, "dweight", dweight, {d_out, d_in});
    if (!dx.empty()) instar::detail::check_shape(k_op, "dx", dx, {n_rows, d_in});
    if (!dbias.empty()) instar::detail::check_shape(k_op, "dbias", dbias, {d_out});
    instar::detail::check_unit_stride(k_op, "dx", dx);
    instar::detail::check_unit_stride(k_op, "dweight", dweight);
    instar::detail::check_unit_stride(k_op, "dbias", dbias);
    instar::detail::check_unit_stride(k_op, "dy", dy);
    instar::detail::check_unit_stride(k_op, "x", x);
    instar::detail::check_unit_stride(k_op, "weight", weight);
    gemm<T>(ctx, dweight, dy, x, {.transpose_a = true, .accumulate = true});
    if (!dbias.empty()) {
        parallel_kernel(ctx, d_out, cpu::k_column_range, [&](index_t begin, index_t end) {
            if constexpr (std::is_same_v<T, bf16>) cpu::add_column_sums_rounded<T>(dbias.data() + begin, dy, begin, end - begin);
            else cpu::add_column_sums<T>(dbias.data() + begin, dy, begin, end - begin);
        });
    }
    if (!dx.empty()) gemm<T>(ctx, dx, dy, weight);
}

}  // namespace instar::ops

#endif
