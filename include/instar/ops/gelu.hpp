#ifndef INSTAR_OPS_GELU_HPP
#define INSTAR_OPS_GELU_HPP

// Gaussian error linear unit, the exact form (erf), as BERT and timm use it.
//
//     ops::gelu_forward(ctx, y, x);
//     ops::gelu_backward(ctx, dx, dy, x);

#include "instar/core/tensor_view.hpp"

namespace instar {
class cpu_context;
class cuda_context;
}  // namespace instar

namespace instar::ops {

/// y = x · Φ(x) = x/2 · (1 + erf(x/√2))   (Hendrycks, Gimpel 2016, arXiv:1606.08415)
///
/// x, y: [n] contiguous; may alias. T: float, double or bf16 (CPU), float or bf16 (CUDA), bf16 computed in float. One pass. Cost: 2·n·sizeof(T) bytes.
template <class T>
void gelu_forward(cpu_context& ctx, tensor_view<T, 1> y, in_view<T, 1> x);
template <class T>
void gelu_forward(cuda_context& ctx, tensor_view<T, 1> y, in_view<T, 1> x);

/// dx = dy · (Φ(x) + x · φ(x)),   φ the standard normal density.   dx may alias dy.
template <class T>
void gelu_backward(cpu_context& ctx, tensor_view<T, 1> dx, in_view<T, 1> dy, in_view<T, 1> x);
template <class T>
void gelu_backward(cuda_context& ctx, tensor_view<T, 1> dx, in_view<T, 1> dy, in_view<T, 1> x);

}  // namespace instar::ops

#if !defined(INSTAR_COMPILED)
#if !defined(__CUDACC__)
#include "instar/ops/cpu/gelu.hpp"
#endif
#if defined(__CUDACC__) || defined(INSTAR_CUDA_EMULATED)
#include "instar/ops/cuda/gelu.cuh"
#endif
#endif

#endif
