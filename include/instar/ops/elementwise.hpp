#ifndef INSTAR_OPS_ELEMENTWISE_HPP
#define INSTAR_OPS_ELEMENTWISE_HPP

// Flat passes over memory that modules need between the larger operators.
//
//     ops::fill(ctx, grads, 0.0f);
//     ops::copy(ctx, y, x);
//     ops::add(ctx, y, a, b);            // y = a + b, any may alias
//     ops::scale(ctx, y, 0.5f);          // y *= 0.5

#include "instar/core/tensor_view.hpp"

namespace instar {
class cpu_context;
class cuda_context;
}  // namespace instar

namespace instar::ops {

/// y = value.   y: [n] contiguous.
template <class T>
void fill(cpu_context& ctx, tensor_view<T, 1> y, std::type_identity_t<T> value);
template <class T>
void fill(cuda_context& ctx, tensor_view<T, 1> y, std::type_identity_t<T> value);

/// y = x.   Both [n] contiguous; they may be the same, not overlap otherwise.
template <class T>
void copy(cpu_context& ctx, tensor_view<T, 1> y, in_view<T, 1> x);
template <class T>
void copy(cuda_context& ctx, tensor_view<T, 1> y, in_view<T, 1> x);

/// y = a + b.   All [n] contiguous; any may alias.
template <class T>
void add(cpu_context& ctx, tensor_view<T, 1> y, in_view<T, 1> a, in_view<T, 1> b);
template <class T>
void add(cuda_context& ctx, tensor_view<T, 1> y, in_view<T, 1> a, in_view<T, 1> b);

/// y *= factor.
template <class T>
void scale(cpu_context& ctx, tensor_view<T, 1> y, accumulator_t<T> factor);
template <class T>
void scale(cuda_context& ctx, tensor_view<T, 1> y, accumulator_t<T> factor);

}  // namespace instar::ops

#if !defined(INSTAR_COMPILED)
#if !defined(__CUDACC__)
#include "instar/ops/cpu/elementwise.hpp"
#endif
#if defined(__CUDACC__) || defined(INSTAR_CUDA_EMULATED)
#include "instar/ops/cuda/elementwise.cuh"
#endif
#endif

#endif
