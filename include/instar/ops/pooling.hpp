#ifndef INSTAR_OPS_POOLING_HPP
#define INSTAR_OPS_POOLING_HPP

// From token features to one vector a sample: plain mean, masked mean, or the first token.
//
//     ops::sequence_pool_forward(ctx, y, x, mask, ops::pooling::masked_mean);

#include "instar/core/tensor_view.hpp"

namespace instar {
class cpu_context;
class cuda_context;
}  // namespace instar

namespace instar::ops {

/// mean: over all positions, padding included (BarcodeBERT's fine-tuning). masked_mean: over positions with mask ≠ 0
/// (its probes). first: position 0 (CLS).
enum class pooling { mean, masked_mean, first };

/// y[b] = Σ_t a_bt · x[b, t],  a = 1/seq_len, mask/Σmask, or [t = 0].
///
/// | argument | shape                       | element |
/// |----------|-----------------------------|---------|
/// | y        | [n_batch, d_model]          | T       |
/// | x        | [n_batch, seq_len, d_model] | T       |
/// | mask     | [n_batch, seq_len] or empty | uint8   |
///
/// T: float, double or bf16 (CPU), float or bf16 (CUDA); sums of bf16 in float.
/// A sample without any unmasked position gives zeros (the reference gives NaN). masked_mean with an empty mask is mean.
template <class T>
void sequence_pool_forward(cpu_context& ctx, tensor_view<T, 2> y, in_view<T, 3> x, tensor_view<const std::uint8_t, 2> mask, pooling kind);
template <class T>
void sequence_pool_forward(cuda_context& ctx, tensor_view<T, 2> y, in_view<T, 3> x, tensor_view<const std::uint8_t, 2> mask, pooling kind);

/// dx[b, t] = a_bt · dy[b], overwritten.
template <class T>
void sequence_pool_backward(cpu_context& ctx, tensor_view<T, 3> dx, in_view<T, 2> dy, tensor_view<const std::uint8_t, 2> mask, pooling kind);
template <class T>
void sequence_pool_backward(cuda_context& ctx, tensor_view<T, 3> dx, in_view<T, 2> dy, tensor_view<const std::uint8_t, 2> mask, pooling kind);

}  // namespace instar::ops

#if !defined(INSTAR_COMPILED)
#if !defined(__CUDACC__)
#include "instar/ops/cpu/pooling.hpp"
#endif
#if defined(__CUDACC__) || defined(INSTAR_CUDA_EMULATED)
#include "instar/ops/cuda/pooling.cuh"
#endif
#endif

#endif
