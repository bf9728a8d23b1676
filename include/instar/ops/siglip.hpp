#ifndef INSTAR_OPS_SIGLIP_HPP
#define INSTAR_OPS_SIGLIP_HPP

// SigLIP's loss: every pair of a batch is a yes-or-no question of its own, so nothing is summed over rows first.
//
//     ops::siglip<float>(ctx, loss, d_image, d_dna, d_logit_scale, d_logit_bias, image, dna, logit_scale, logit_bias, {}, {});
//
// Rows of a shard against all columns: targets.diagonal, as in ops/info_nce.hpp; the parts' losses and gradients add up.

#include "instar/ops/info_nce.hpp"

namespace instar::ops {

struct siglip_options {
    double weight = 1.0;
    bool mean =
        true;  ///< divide by the number of rows that take part; of a part of a batch set false and weight = 1 / rows of all
};

/// Sigmoid loss between two sets of embeddings (Zhai et al. 2023, arXiv:2303.15343), and its gradients, by tiles:
///
///     z_ij = exp(logit_scale) · a_i · b_j + logit_bias,   loss_i = w · Σ_j log(1 + exp(−t_ij z_ij))
///
/// t_ij is 1 for partners (info_nce_targets) and −1 for others; masked samples are left out. w = weight, divided by the rows
/// that take part when `mean`. The sum of the losses is the loss.
///
/// | argument                    | shape           | element                       |
/// |-----------------------------|-----------------|-------------------------------|
/// | loss                        | [n]             | float or double, overwritten  |
/// | da                          | [n, d] or empty | T, accumulated                |
/// | db                          | [m, d] or empty | T, accumulated                |
/// | d_logit_scale, d_logit_bias | [1] or empty    | float or double, accumulated  |
/// | a, b                        | [n, d], [m, d]  | T; masked rows must be finite |
/// | logit_scale, logit_bias     | [1]             | float or double               |
///
/// T: float or double (CPU), float or bf16 (CUDA). Logits in float (double for double). da and db may not alias a or b. Same
/// bits for any number of threads; no atomics. Cost: 2·n·m·d FLOP for the loss and 2·n·m·d for each of da and db; a tile of
/// fixed size in flight (CUDA with bf16: also a float copy of db).
/// Throws shape_error when a shape disagrees; value_error when logit_scale or logit_bias is not finite (CPU).
template <class T>
void siglip(cpu_context& ctx, out_view<accumulator_t<T>, 1> loss, out_view<T, 2> da, out_view<T, 2> db,
            out_view<accumulator_t<T>, 1> d_logit_scale, out_view<accumulator_t<T>, 1> d_logit_bias, in_view<T, 2> a,
            in_view<T, 2> b, in_view<accumulator_t<T>, 1> logit_scale, in_view<accumulator_t<T>, 1> logit_bias,
            info_nce_targets targets, siglip_options options);
template <class T>
void siglip(cuda_context& ctx, out_view<accumulator_t<T>, 1> loss, out_view<T, 2> da, out_view<T, 2> db,
            out_view<accumulator_t<T>, 1> d_logit_scale, out_view<accumulator_t<T>, 1> d_logit_bias, in_view<T, 2> a,
            in_view<T, 2> b, in_view<accumulator_t<T>, 1> logit_scale, in_view<accumulator_t<T>, 1> logit_bias,
            info_nce_targets targets, siglip_options options);

namespace detail {

/// Shapes of a call; the scalars' gradients and those of the features may be empty.
template <class T, class A>
void check_siglip(const char* op, const tensor_view<A, 1>& loss, const tensor_view<T, 2>& da,
                  const tensor_view<T, 2>& db, const tensor_view<A, 1>& d_logit_scale,
                  const tensor_view<A, 1>& d_logit_bias, const tensor_view<const T, 2>& a,
                  const tensor_view<const T, 2>& b, const tensor_view<const A, 1>& logit_scale,
                  const tensor_view<const A, 1>& logit_bias, const info_nce_targets& targets) {
    const index_t n = a.extent(0), m = b.extent(0), d = a.extent(1);
    instar::detail::check_shape(op, "loss", loss, {n});
    instar::detail::check_shape(op, "b", b, {m, d});
    check_info_nce_gradients(op, da, db, d_logit_scale, n, m, d);
    instar::detail::check_unit_stride(op, "a", a);
    instar::detail::check_unit_stride(op, "b", b);
    instar::detail::check_shape(op, "logit_scale", logit_scale, {1});
    instar::detail::check_shape(op, "logit_bias", logit_bias, {1});
    if (d_logit_bias.extent(0) != 0) instar::detail::check_shape(op, "d_logit_bias", d_logit_bias, {1});
    check_info_nce_targets(op, targets, n, m);
}

}  // namespace detail

}  // namespace instar::ops

#if !defined(INSTAR_COMPILED)
#if !defined(__CUDACC__)
#include "instar/ops/cpu/siglip.hpp"
#endif
#if defined(__CUDACC__) || defined(INSTAR_CUDA_EMULATED)
#include "instar/ops/cuda/siglip.cuh"
#endif
#endif

#endif
