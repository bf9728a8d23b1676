#ifndef INSTAR_OPS_L2_NORMALIZE_HPP
#define INSTAR_OPS_L2_NORMALIZE_HPP

// Rows to unit length.
//
//     ops::l2_normalize_forward(ctx, y, inv_norm, x);
//     ops::l2_normalize_backward(ctx, dx, dy, y, inv_norm);

#include "instar/core/tensor_view.hpp"

namespace instar {
class cpu_context;
class cuda_context;
}  // namespace instar

namespace instar::ops {

/// y = x / max(‖x‖, eps) a row at a time; inv_norm keeps 1 / max(‖x‖, eps).
///
/// x, y: [n_rows, d], may alias; inv_norm: [n_rows], float (double for double). T: float, double or bf16 (CPU), float or bf16 (CUDA). Same bits for any number of threads.
template <class T>
void l2_normalize_forward(cpu_context& ctx, tensor_view<T, 2> y, out_view<accumulator_t<T>, 1> inv_norm, in_view<T, 2> x, double eps = 1e-12);
template <class T>
void l2_normalize_forward(cuda_context& ctx, tensor_view<T, 2> y, out_view<accumulator_t<T>, 1> inv_norm, in_view<T, 2> x, double eps = 1e-12);

/// dx = inv_norm · (dy − y · (y · dy)).   dx may alias dy.
template <class T>
void l2_normalize_backward(cpu_context& ctx, tensor_view<T, 2> dx, in_view<T, 2> dy, in_view<T, 2> y, in_view<accumulator_t<T>, 1> inv_norm);
template <class T>
void l2_normalize_backward(cuda_context& ctx, tensor_view<T, 2> dx, in_view<T, 2> dy, in_view<T, 2> y, in_view<accumulator_t<T>, 1> inv_norm);

}  // namespace instar::ops

#if !defined(INSTAR_COMPILED)
#if !defined(__CUDACC__)
#include "instar/ops/cpu/l2_normalize.hpp"
#endif
#if defined(__CUDACC__) || defined(INSTAR_CUDA_EMULATED)
#include "instar/ops/cuda/l2_normalize.cuh"
#endif
#endif

#endif
