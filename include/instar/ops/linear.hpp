#ifndef INSTAR_OPS_LINEAR_HPP
#define INSTAR_OPS_LINEAR_HPP

// Affine map with weights stored as PyTorch stores them, [d_out, d_in].
//
//     ops::linear_forward(ctx, y, x, weight, bias);
//     ops::linear_backward(ctx, dx, dweight, dbias, dy, x, weight);

#include "instar/core/tensor_view.hpp"

namespace instar {
class cpu_context;
class cuda_context;
}  // namespace instar

namespace instar::ops {

/// y = x · weightᵀ + bias
///
/// | argument | shape            | element |
/// |----------|------------------|---------|
/// | y        | [n_rows, d_out]  | T       |
/// | x        | [n_rows, d_in]   | T       |
/// | weight   | [d_out, d_in]    | T       |
/// | bias     | [d_out] or empty | T       |
///
/// T: as ops::gemm's. Accumulation in float (double for double), inputs as ops::gemm takes them; the bias is added in the product's epilogue. y may not alias x.
/// Same bits for any number of threads. Cost: 2·n_rows·d_in·d_out FLOP.
/// Throws shape_error when a shape disagrees, before anything is written.
template <class T>
void linear_forward(cpu_context& ctx, tensor_view<T, 2> y, in_view<T, 2> x, in_view<T, 2> weight, in_view<T, 1> bias);
template <class T>
void linear_forward(cuda_context& ctx, tensor_view<T, 2> y, in_view<T, 2> x, in_view<T, 2> weight, in_view<T, 1> bias);

/// The same followed by exact GELU in the epilogue: pre = x · weightᵀ + bias (kept for the backward), y = gelu(pre).
/// pre and y are [n_rows, d_out]. They may be the same view where no backward follows: pre is then lost, and a pass over memory saved.
/// See ops/gelu.hpp for the function.
template <class T>
void linear_gelu_forward(cpu_context& ctx, tensor_view<T, 2> y, out_view<T, 2> pre, in_view<T, 2> x, in_view<T, 2> weight, in_view<T, 1> bias);
template <class T>
void linear_gelu_forward(cuda_context& ctx, tensor_view<T, 2> y, out_view<T, 2> pre, in_view<T, 2> x, in_view<T, 2> weight, in_view<T, 1> bias);

/// dx = dy · weight;   dweight += dyᵀ · x;   dbias += Σ_rows dy
///
/// dx is overwritten and may be empty (then it is not computed); dweight and dbias accumulate; dbias may be empty.
/// Shapes as in the forward. Cost: 4·n_rows·d_in·d_out FLOP.
template <class T>
void linear_backward(cpu_context& ctx, tensor_view<T, 2> dx, out_view<T, 2> dweight, out_view<T, 1> dbias, in_view<T, 2> dy,
                     in_view<T, 2> x, in_view<T, 2> weight);
template <class T>
void linear_backward(cuda_context& ctx, tensor_view<T, 2> dx, out_view<T, 2> dweight, out_view<T, 1> dbias, in_view<T, 2> dy,
                     in_view<T, 2> x, in_view<T, 2> weight);

}  // namespace instar::ops

#if !defined(INSTAR_COMPILED)
#if !defined(__CUDACC__)
#include "instar/ops/cpu/linear.hpp"
#endif
#if defined(__CUDACC__) || defined(INSTAR_CUDA_EMULATED)
#include "instar/ops/cuda/linear.cuh"
#endif
#endif

#endif
