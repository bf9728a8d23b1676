#ifndef INSTAR_OPS_CPU_GEMM_HPP
#define INSTAR_OPS_CPU_GEMM_HPP

// Matrix product on the CPU: shape checks, then a backend.
//
//     ops::gemm(ctx, c, a, b, {.transpose_b = true});
//
// float: gemm_packed.hpp, or Eigen when INSTAR_GEMM_EIGEN is defined (for comparison). bf16: gemm_packed.hpp. double: gemm_plain.hpp.

#include <type_traits>

#include "instar/core/cpu_context.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/ops/cpu/gemm_packed.hpp"
#include "instar/ops/cpu/gemm_plain.hpp"
#include "instar/ops/gemm.hpp"
#if defined(INSTAR_GEMM_EIGEN)
#include "instar/ops/cpu/gemm_eigen.hpp"
#endif

namespace instar::ops {

namespace cpu {

/// The backend of float products that ops::gemm and ops::linear use.
inline void gemm_float(cpu_context& ctx, const gemm_problem& problem) {
#if defined(INSTAR_GEMM_EIGEN)
    gemm_eigen(ctx, problem);
#else
    gemm_packed(ctx, problem);
#endif
}

/// Leading dimension of a matrix that may have one row, whose stride means nothing.
template <class T>
index_t leading_dimension(const tensor_view<T, 2>& v) {
    return v.extent(0) > 1 ? v.stride(0) : v.extent(1);
}

}  // namespace cpu

template <class T>
void gemm(cpu_context& ctx, tensor_view<T, 2> c, in_view<T, 2> a, in_view<T, 2> b, gemm_options options) {
    static_assert(real<T> || std::same_as<T, bf16>, "gemm on the CPU: float, double or bf16");
    static constexpr const char* k_op = "gemm";
    const index_t m = c.extent(0), n = c.extent(1), k = a.extent(options.transpose_a ? 0 : 1);
    if (options.transpose_a) instar::detail::check_shape(k_op, "a (transposed)", a, {k, m});
    else instar::detail::check_shape(k_op, "a", a, {m, k});
    if (options.transpose_b) instar::detail::check_shape(k_op, "b (transposed)", b, {n, k});
    else instar::detail::check_shape(k_op, "b", b, {k, n});
    instar::detail::check_unit_stride(k_op, "c", c);
    instar::detail::check_unit_stride(k_op, "a", a);
    instar::detail::check_unit_stride(k_op, "b", b);
    if constexpr (std::is_same_v<T, float>) {
        cpu::gemm_float(ctx, {.m = m, .n = n, .k = k,
                              .a = a.data(), .lda = cpu::leading_dimension(a), .transpose_a = options.transpose_a,
                              .b = b.data(), .ldb = cpu::leading_dimension(b), .transpose_b = options.transpose_b,
                              .c = c.data(), .ldc = cpu::leading_dimension(c), .accumulate = options.accumulate});
    } else if constexpr (std::is_same_v<T, bf16>) {
        cpu::gemm_packed_bf16<T>(ctx, {.m = m, .n = n, .k = k,
                                       .a = a.data(), .lda = cpu::leading_dimension(a), .transpose_a = options.transpose_a,
                                       .b = b.data(), .ldb = cpu::leading_dimension(b), .transpose_b = options.transpose_b,
                                       .c = c.data(), .ldc = cpu::leading_dimension(c), .accumulate = options.accumulate});
    } else {
        cpu::gemm_plain<T>(ctx, c, a, b, options);
    }
}

}  // namespace instar::ops

#endif
