#ifndef INSTAR_OPS_RELU_HPP
#define INSTAR_OPS_RELU_HPP

// The end of a residual block of a ResNet: y = max(0, a + b), and its backward.
//
//     ops::add_relu(ctx, y, a, b);
//     ops::relu_backward(ctx, dx, dy, y);

#include "instar/core/tensor_view.hpp"

namespace instar {
class cpu_context;
class cuda_context;
}  // namespace instar

namespace instar::ops {

/// y = max(0, a + b).   All [n] contiguous; any may alias. A NaN stays one.
template <class T>
void add_relu(cpu_context& ctx, tensor_view<T, 1> y, in_view<T, 1> a, in_view<T, 1> b);
template <class T>
void add_relu(cuda_context& ctx, tensor_view<T, 1> y, in_view<T, 1> a, in_view<T, 1> b);

/// dx = dy where y > 0, else 0.   All [n] contiguous; dx may alias dy.
template <class T>
void relu_backward(cpu_context& ctx, tensor_view<T, 1> dx, in_view<T, 1> dy, in_view<T, 1> y);
template <class T>
void relu_backward(cuda_context& ctx, tensor_view<T, 1> dx, in_view<T, 1> dy, in_view<T, 1> y);

}  // namespace instar::ops

#if !defined(INSTAR_COMPILED)
#if !defined(__CUDACC__)
#include "instar/ops/cpu/relu.hpp"
#endif
#if defined(__CUDACC__) || defined(INSTAR_CUDA_EMULATED)
#include "instar/ops/cuda/relu.cuh"
#endif
#endif

#endif
