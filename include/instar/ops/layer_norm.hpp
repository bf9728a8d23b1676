#ifndef INSTAR_OPS_LAYER_NORM_HPP
#define INSTAR_OPS_LAYER_NORM_HPP

// Layer normalisation over the last dimension.
//
//     ops::layer_norm_forward(ctx, y, {mean, rstd}, x, weight, bias, 1e-12f);
//     ops::layer_norm_backward(ctx, dx, dweight, dbias, dy, {mean, rstd}, x, weight);

#include "instar/core/tensor_view.hpp"

namespace instar {
class cpu_context;
class cuda_context;
}  // namespace instar

namespace instar::ops {

/// What the forward keeps for the backward. Both are [n_rows], in float (double for double).
template <class T>
struct layer_norm_saved {
    tensor_view<accumulator_t<T>, 1> mean;
    tensor_view<accumulator_t<T>, 1> rstd;
};

/// Layer normalisation (Ba, Kiros, Hinton 2016, arXiv:1607.06450).
///
///     y = (x − mean) · rstd · weight + bias,   rstd = 1 / sqrt(var + eps),   var with 1/d_model
///
/// | argument             | shape             | element         |
/// |----------------------|-------------------|-----------------|
/// | x, y (may alias)     | [n_rows, d_model] | T               |
/// | weight, bias         | [d_model]         | T               |
/// | saved.mean, .rstd    | [n_rows]          | float or double |
///
/// T: float, double or bf16 (CPU), float or bf16 (CUDA). Statistics in float (double for double), two passes. Same bits for any number of threads.
/// Cost: 8·n_rows·d_model FLOP; 2·n_rows·d_model·sizeof(T) bytes.
/// Throws shape_error when a shape disagrees, before anything is written.
template <class T>
void layer_norm_forward(cpu_context& ctx, tensor_view<T, 2> y, std::type_identity_t<layer_norm_saved<T>> saved, in_view<T, 2> x,
                        in_view<T, 1> weight, in_view<T, 1> bias, double eps);
template <class T>
void layer_norm_forward(cuda_context& ctx, tensor_view<T, 2> y, std::type_identity_t<layer_norm_saved<T>> saved, in_view<T, 2> x,
                        in_view<T, 1> weight, in_view<T, 1> bias, double eps);

/// With xh = (x − mean) · rstd and g = dy · weight:
///
///     dx = rstd · (g − mean(g) − xh · mean(g · xh));   dweight += Σ_rows dy · xh;   dbias += Σ_rows dy
///
/// dx is overwritten and may alias dy; dweight and dbias accumulate, in float, over fixed ranges of rows added in order.
template <class T>
void layer_norm_backward(cpu_context& ctx, tensor_view<T, 2> dx, out_view<T, 1> dweight, out_view<T, 1> dbias, in_view<T, 2> dy,
                         std::type_identity_t<layer_norm_saved<T>> saved, in_view<T, 2> x, in_view<T, 1> weight);
template <class T>
void layer_norm_backward(cuda_context& ctx, tensor_view<T, 2> dx, out_view<T, 1> dweight, out_view<T, 1> dbias, in_view<T, 2> dy,
                         std::type_identity_t<layer_norm_saved<T>> saved, in_view<T, 2> x, in_view<T, 1> weight);

}  // namespace instar::ops

#if !defined(INSTAR_COMPILED)
#if !defined(__CUDACC__)
#include "instar/ops/cpu/layer_norm.hpp"
#endif
#if defined(__CUDACC__) || defined(INSTAR_CUDA_EMULATED)
#include "instar/ops/cuda/layer_norm.cuh"
#endif
#endif

#endif
