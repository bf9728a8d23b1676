#ifndef INSTAR_OPS_EMBEDDING_HPP
#define INSTAR_OPS_EMBEDDING_HPP

// Table look-up: token, position and type embeddings summed, as BERT's first layer does.
//
//     ops::embedding_forward(ctx, y, ids, word, position, type_row);
//     ops::embedding_backward(ctx, dword, dposition, dtype_row, dy, ids, {.padding_idx = 0});

#include "instar/core/tensor_view.hpp"

namespace instar {
class cpu_context;
class cuda_context;
}  // namespace instar

namespace instar::ops {

struct embedding_options {
    std::int32_t padding_idx = -1;  ///< this row of dword receives no gradient (PyTorch's padding_idx); −1 = none
};

/// y[b, t] = word[ids[b, t]] + position[t] + type_row
///
/// | argument | shape                       | element |
/// |----------|-----------------------------|---------|
/// | y        | [n_batch, seq_len, d_model] | T       |
/// | ids      | [n_batch, seq_len]          | int32   |
/// | word     | [n_vocab, d_model]          | T       |
/// | position | [≥ seq_len, d_model], may be empty | T |
/// | type_row | [d_model], may be empty     | T       |
///
/// T: float, double or bf16 (CPU), float or bf16 (CUDA).
/// Throws value_error naming batch and position when an id is outside [0, n_vocab) (CPU), before anything is written.
template <class T>
void embedding_forward(cpu_context& ctx, tensor_view<T, 3> y, tensor_view<const std::int32_t, 2> ids, in_view<T, 2> word,
                       in_view<T, 2> position, in_view<T, 1> type_row);
template <class T>
void embedding_forward(cuda_context& ctx, tensor_view<T, 3> y, tensor_view<const std::int32_t, 2> ids, in_view<T, 2> word,
                       in_view<T, 2> position, in_view<T, 1> type_row);

/// dword[id] += Σ dy over the places of id;  dposition[t] += Σ_b dy[b, t];  dtype_row += Σ dy.
///
/// All accumulate; on the CPU those of bf16 add in float and round once. Deterministic: places are added in their order in ids, whatever the number of threads; no atomics.
template <class T>
void embedding_backward(cpu_context& ctx, tensor_view<T, 2> dword, out_view<T, 2> dposition, out_view<T, 1> dtype_row, in_view<T, 3> dy,
                        tensor_view<const std::int32_t, 2> ids, embedding_options options = {});
template <class T>
void embedding_backward(cuda_context& ctx, tensor_view<T, 2> dword, out_view<T, 2> dposition, out_view<T, 1> dtype_row, in_view<T, 3> dy,
                        tensor_view<const std::int32_t, 2> ids, embedding_options options = {});

}  // namespace instar::ops

#if !defined(INSTAR_COMPILED)
#if !defined(__CUDACC__)
#include "instar/ops/cpu/embedding.hpp"
#endif
#if defined(__CUDACC__) || defined(INSTAR_CUDA_EMULATED)
#include "instar/ops/cuda/embedding.cuh"
#endif
#endif

#endif
