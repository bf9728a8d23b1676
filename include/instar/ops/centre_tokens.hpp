#ifndef INSTAR_OPS_CENTRE_TOKENS_HPP
#define INSTAR_OPS_CENTRE_TOKENS_HPP

// Tokens relative to what their positions hold on average, zero where a sequence has none. For nn/position_projection.hpp.
//
//     ops::centre_tokens_forward(ctx, y, x, centre, mask);
//     ops::centre_tokens_backward(ctx, dx, dy, mask);

#include <cstdint>

#include "instar/core/tensor_view.hpp"

namespace instar {
class cpu_context;
class cuda_context;
}  // namespace instar

namespace instar::ops {

/// y[b, t] = x[b, t] − centre[t] where mask[b, t] ≠ 0, else 0, whatever x holds there.
///
/// | argument | shape                       | element |
/// |----------|-----------------------------|---------|
/// | y, x     | [n_batch, seq_len, d_model] | T       |
/// | centre   | [seq_len, d_model]          | T       |
/// | mask     | [n_batch, seq_len] or empty | uint8   |
///
/// An empty mask keeps all. y may be x; otherwise they do not overlap. Last dimensions are contiguous, the others may be strided. T: float or
/// double; on a GPU float or bf16. Same bits for any number of threads, and on both devices. One pass.
/// Throws shape_error when a shape or stride disagrees, before anything is written.
template <class T>
void centre_tokens_forward(cpu_context& ctx, tensor_view<T, 3> y, in_view<T, 3> x, in_view<T, 2> centre, tensor_view<const std::uint8_t, 2> mask);
template <class T>
void centre_tokens_forward(cuda_context& ctx, tensor_view<T, 3> y, in_view<T, 3> x, in_view<T, 2> centre, tensor_view<const std::uint8_t, 2> mask);

/// dx[b, t] = dy[b, t] where mask[b, t] ≠ 0, else 0; overwritten. dx may be dy. `centre` is a constant. Otherwise as the forward.
template <class T>
void centre_tokens_backward(cpu_context& ctx, tensor_view<T, 3> dx, in_view<T, 3> dy, tensor_view<const std::uint8_t, 2> mask);
template <class T>
void centre_tokens_backward(cuda_context& ctx, tensor_view<T, 3> dx, in_view<T, 3> dy, tensor_view<const std::uint8_t, 2> mask);

namespace detail {

/// to, from: y and x, or dx and dy; centre: null for the backward.
template <class T>
void check_centre_tokens(const char* op, const char* to_name, const tensor_view<T, 3>& to, const char* from_name, const tensor_view<const T, 3>& from,
                         const tensor_view<const T, 2>* centre, const tensor_view<const std::uint8_t, 2>& mask) {
    const index_t n = from.extent(0), seq_len = from.extent(1), d = from.extent(2);
    instar::detail::check_shape(op, to_name, to, {n, seq_len, d});
    if (centre != nullptr) {
        instar::detail::check_shape(op, "centre", *centre, {seq_len, d});
        instar::detail::check_unit_stride(op, "centre", *centre);
    }
    if (!mask.empty()) instar::detail::check_shape(op, "mask", mask, {n, seq_len});
    instar::detail::check_unit_stride(op, to_name, to);
    instar::detail::check_unit_stride(op, from_name, from);
}

}  // namespace detail

}  // namespace instar::ops

#if !defined(INSTAR_COMPILED)
#if !defined(__CUDACC__)
#include "instar/ops/cpu/centre_tokens.hpp"
#endif
#if defined(__CUDACC__) || defined(INSTAR_CUDA_EMULATED)
#include "instar/ops/cuda/centre_tokens.cuh"
#endif
#endif

#endif
