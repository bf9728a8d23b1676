#ifndef INSTAR_OPS_ADAMW_HPP
#define INSTAR_OPS_ADAMW_HPP

// One AdamW update of a flat range of parameters. The optimiser around it is optim/adamw.hpp.
//
//     ops::adamw_update(ctx, parameters, m, v, gradients, {.lr = 1e-4f, .step = 1});

#include "instar/core/tensor_view.hpp"

namespace instar {
class cpu_context;
class cuda_context;
}  // namespace instar

namespace instar::ops {

struct adamw_options {
    double lr = 1e-3;
    double beta1 = 0.9;
    double beta2 = 0.999;
    double eps = 1e-8;
    double weight_decay = 0.0;
    index_t step = 1;           ///< 1 for the first update; the bias corrections use it
    double grad_scale = 1.0;    ///< multiplies the gradient first (clipping, averaging over micro-batches)
};

/// Decoupled weight decay (Loshchilov, Hutter 2019, arXiv:1711.05101), in PyTorch's order:
///
///     p −= lr·wd·p;  m = β₁m + (1−β₁)g;  v = β₂v + (1−β₂)g²;  p −= lr/(1−β₁ᵗ) · m / (√v/√(1−β₂ᵗ) + eps)
///
/// parameters, m, v, gradients: [n] contiguous, T float or double. One pass: 28 bytes an element read and written.
template <class T>
void adamw_update(cpu_context& ctx, tensor_view<T, 1> parameters, out_view<T, 1> m, out_view<T, 1> v, in_view<T, 1> gradients, adamw_options options);
template <class T>
void adamw_update(cuda_context& ctx, tensor_view<T, 1> parameters, out_view<T, 1> m, out_view<T, 1> v, in_view<T, 1> gradients, adamw_options options);

/// Σ g², in double, over fixed ranges added in order. gradients: [n] contiguous.
template <class T>
double squared_norm(cpu_context& ctx, tensor_view<const T, 1> gradients);
template <class T>
double squared_norm(cuda_context& ctx, tensor_view<const T, 1> gradients);

}  // namespace instar::ops

#if !defined(INSTAR_COMPILED)
#if !defined(__CUDACC__)
#include "instar/ops/cpu/adamw.hpp"
#endif
#if defined(__CUDACC__) || defined(INSTAR_CUDA_EMULATED)
#include "instar/ops/cuda/adamw.cuh"
#endif
#endif

#endif
