#ifndef INSTAR_OPS_GEMM_HPP
#define INSTAR_OPS_GEMM_HPP

// Matrix product.
//
//     ops::gemm(ctx, c, a, b);                                            // c  = a · b
//     ops::gemm(ctx, c, a, w, {.transpose_b = true});                     // c  = a · wᵀ
//     ops::gemm(ctx, dw, dy, x, {.transpose_a = true, .accumulate = true}); // dw += dyᵀ · x

#include "instar/core/tensor_view.hpp"

namespace instar {
class cpu_context;
class cuda_context;
}  // namespace instar

namespace instar::ops {

struct gemm_options {
    bool transpose_a = false;  ///< a is stored [k, m]
    bool transpose_b = false;  ///< b is stored [n, k]
    bool accumulate = false;   ///< c += instead of c =
};

/// General matrix product.
///
///     c = op(a) · op(b)   or   c += op(a) · op(b)
///
/// | argument | shape                          | element |
/// |----------|--------------------------------|---------|
/// | c        | [m, n]                         | T       |
/// | a        | [m, k], or [k, m] transposed   | T       |
/// | b        | [k, n], or [n, k] transposed   | T       |
///
/// T: float, double or bf16 (CPU), float or bf16 (CUDA). Accumulation in float (double for double); an element of bf16 is rounded once, when
/// its sum is complete. c may not alias a or b. On the CPU bf16 is multiplied as isa::active_bf16 says, whatever the context allows;
/// cpu_context::allow_bf16 lets the CPU round the a and b of floats to bf16 (nearest, ties to even), cuda_context::allow_tf32 the GPU
/// to TF32: the same sums of rounded inputs, in less time.
/// k = 0 gives zero (or leaves c, accumulating). Rows may be strided; the last dimension has stride 1.
/// Same bits for any number of threads. Cost: 2·m·n·k FLOP.
/// Throws shape_error when a shape disagrees, before anything is written.
template <class T>
void gemm(cpu_context& ctx, tensor_view<T, 2> c, in_view<T, 2> a, in_view<T, 2> b, gemm_options options = {});
template <class T>
void gemm(cuda_context& ctx, tensor_view<T, 2> c, in_view<T, 2> a, in_view<T, 2> b, gemm_options options = {});

}  // namespace instar::ops

#if !defined(INSTAR_COMPILED)
#if !defined(__CUDACC__)
#include "instar/ops/cpu/gemm.hpp"
#endif
#if defined(__CUDACC__) || defined(INSTAR_CUDA_EMULATED)
#include "instar/ops/cuda/gemm.cuh"
#endif
#endif

#endif
