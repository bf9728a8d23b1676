#ifndef INSTAR_OPS_ATTENTION_HPP
#define INSTAR_OPS_ATTENTION_HPP

// Scaled dot-product attention, all heads of a batch, without a T × T matrix in memory.
//
//     ops::attention_forward(ctx, o, {lse}, q, k, v, key_mask, {.scale = 1 / std::sqrt(64.0f)});
//     ops::attention_backward(ctx, dq, dk, dv, d_o, o, {lse}, q, k, v, key_mask, same_options);

#include "instar/core/tensor_view.hpp"
#include "instar/ops/dropout.hpp"

namespace instar {
class cpu_context;
class cuda_context;
}  // namespace instar

namespace instar::ops {

/// What the forward keeps: the log-sum-exp of each row of scores, [n_batch, n_heads, seq_len].
template <class T>
struct attention_saved {
    tensor_view<accumulator_t<T>, 3> lse;
};

struct attention_options {
    double scale = 1.0;          ///< multiplies q · kᵀ; usually 1/√d_head
    dropout_options dropout{};   ///< on the probabilities; element index ((b·n_heads + h)·seq_len + i)·seq_len + j
};

/// For each batch b and head h:
///
///     s_ij = scale · q_i · k_j,  −∞ where key_mask[b, j] == 0;   p = softmax_j(s);   o_i = Σ_j dropout(p)_ij · v_j
///
/// | argument   | shape                               | element         |
/// |------------|-------------------------------------|-----------------|
/// | o, q, k, v | [n_batch, seq_len, n_heads, d_head] | T               |
/// | saved.lse  | [n_batch, n_heads, seq_len]         | float or double |
/// | key_mask   | [n_batch, seq_len] or empty         | uint8, 0 = out  |
///
/// Any strides with the last one 1, so q, k and v may be slices of one [.., 3, n_heads, d_head] buffer. Padded queries are
/// computed like others. A sample whose keys are all masked gives o = 0 and lse = −∞, and no gradient.
/// T: float, double or bf16 (CPU), float or bf16 (CUDA). Softmax and sums in float (double for double). Same bits for any number of threads.
/// Cost: 4·n_batch·n_heads·seq_len²·d_head FLOP; O(seq_len) extra memory a row, and a tile a thread.
template <class T>
void attention_forward(cpu_context& ctx, tensor_view<T, 4> o, std::type_identity_t<attention_saved<T>> saved, in_view<T, 4> q,
                       in_view<T, 4> k, in_view<T, 4> v, tensor_view<const std::uint8_t, 2> key_mask, attention_options options);
template <class T>
void attention_forward(cuda_context& ctx, tensor_view<T, 4> o, std::type_identity_t<attention_saved<T>> saved, in_view<T, 4> q,
                       in_view<T, 4> k, in_view<T, 4> v, tensor_view<const std::uint8_t, 2> key_mask, attention_options options);

/// Recomputes p from lse, then, with P = dropout(p) and dP_ij = d_o_i · v_j (through dropout) and D_i = Σ_j p_ij dP_ij = d_o_i · o_i:
///
///     dv_j = Σ_i P_ij d_o_i;   ds_ij = p_ij (dP_ij − D_i);   dq_i = scale Σ_j ds_ij k_j;   dk_j = scale Σ_i ds_ij q_i
///
/// dq, dk, dv are overwritten. Dao 2023 (arXiv:2307.08691), algorithm 2.
/// Cost: 10·n_batch·n_heads·seq_len²·d_head FLOP.
template <class T>
void attention_backward(cpu_context& ctx, tensor_view<T, 4> dq, out_view<T, 4> dk, out_view<T, 4> dv, in_view<T, 4> d_o, in_view<T, 4> o,
                        std::type_identity_t<attention_saved<T>> saved, in_view<T, 4> q, in_view<T, 4> k, in_view<T, 4> v,
                        tensor_view<const std::uint8_t, 2> key_mask, attention_options options);
template <class T>
void attention_backward(cuda_context& ctx, tensor_view<T, 4> dq, out_view<T, 4> dk, out_view<T, 4> dv, in_view<T, 4> d_o, in_view<T, 4> o,
                        std::type_identity_t<attention_saved<T>> saved, in_view<T, 4> q, in_view<T, 4> k, in_view<T, 4> v,
                        tensor_view<const std::uint8_t, 2> key_mask, attention_options options);

}  // namespace instar::ops

#if !defined(INSTAR_COMPILED)
#if !defined(__CUDACC__)
#include "instar/ops/cpu/attention.hpp"
#endif
#if defined(__CUDACC__) || defined(INSTAR_CUDA_EMULATED)
#include "instar/ops/cuda/attention.cuh"
#endif
#endif

#endif
