#ifndef INSTAR_OPS_SOFTMAX_HPP
#define INSTAR_OPS_SOFTMAX_HPP

// Softmax over the last dimension.
//
//     ops::softmax_forward(ctx, y, x);
//     ops::softmax_backward(ctx, dx, dy, y);

#include "instar/core/tensor_view.hpp"

namespace instar {
class cpu_context;
class cuda_context;
}  // namespace instar

namespace instar::ops {

/// y_j = exp(x_j − max x) / Σ exp(x − max x), a row at a time.
///
/// x, y: [n_rows, n_classes]; may alias. T: float, double or bf16 (CPU), float or bf16 (CUDA). Sums in float (double for double). A row of −∞ alone gives NaN, as in PyTorch.
/// Same bits for any number of threads.
template <class T>
void softmax_forward(cpu_context& ctx, tensor_view<T, 2> y, in_view<T, 2> x);
template <class T>
void softmax_forward(cuda_context& ctx, tensor_view<T, 2> y, in_view<T, 2> x);

/// dx = y · (dy − Σ dy · y).   dx may alias dy.
template <class T>
void softmax_backward(cpu_context& ctx, tensor_view<T, 2> dx, in_view<T, 2> dy, in_view<T, 2> y);
template <class T>
void softmax_backward(cuda_context& ctx, tensor_view<T, 2> dx, in_view<T, 2> dy, in_view<T, 2> y);

}  // namespace instar::ops

#if !defined(INSTAR_COMPILED)
#if !defined(__CUDACC__)
#include "instar/ops/cpu/softmax.hpp"
#endif
#if defined(__CUDACC__) || defined(INSTAR_CUDA_EMULATED)
#include "instar/ops/cuda/softmax.cuh"
#endif
#endif

#endif
