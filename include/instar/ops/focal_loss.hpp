#ifndef INSTAR_OPS_FOCAL_LOSS_HPP
#define INSTAR_OPS_FOCAL_LOSS_HPP

// Focal loss over class indices: cross-entropy in which what is right already counts little. The loss and its gradient in one call.
//
//     ops::focal_loss(ctx, loss, dlogits, logits, targets, {}, {.denominator = n_targets, .gamma = 2.0});
//
// Lin et al. 2017 (arXiv:1708.02002), for softmax as in BIOSCAN-1M's MulticlassFocalLoss.

#include "instar/ops/cross_entropy.hpp"

namespace instar::ops {

/// Row r counts when targets[r] ≥ 0. `denominator` is what the sum is divided by, as in cross_entropy_options.
struct focal_loss_options {
    double denominator = 1.0;
    double gamma = 2.0;  ///< 0 = cross-entropy
};

/// loss[r] = −w_r · (1 − p)^γ · log p / denominator with p = softmax(logits_r)[t_r], 0 for ignored rows;
/// dlogits = w_r · ((1 − p)^γ − γ · (1 − p)^(γ−1) · p · log p) · (softmax(logits_r) − onehot(t_r)) / denominator.
///
/// | argument                   | shape               | element         |
/// |----------------------------|---------------------|-----------------|
/// | loss                       | [n_rows]            | float or double |
/// | dlogits (may alias logits) | [n_rows, n_classes] | T; may be empty |
/// | logits                     | [n_rows, n_classes] | T               |
/// | targets                    | [n_rows]            | int32           |
/// | row_weights                | [n_rows] or empty   | float           |
///
/// T: float or double (CPU), float or bf16 (CUDA); 1 − p as −expm1(log p), so that it does not cancel. Same bits for any number of threads. Cost: that of
/// cross-entropy and one more pass over dlogits.
/// Throws shape_error when a shape disagrees; value_error for gamma < 0, a denominator of 0, and naming the row for a target ≥ n_classes
/// (CPU; the CUDA kernel writes NaN to that row's loss).
template <class T>
void focal_loss(cpu_context& ctx, out_view<accumulator_t<T>, 1> loss, tensor_view<T, 2> dlogits, in_view<T, 2> logits,
                tensor_view<const std::int32_t, 1> targets, tensor_view<const float, 1> row_weights, focal_loss_options options);
template <class T>
void focal_loss(cuda_context& ctx, out_view<accumulator_t<T>, 1> loss, tensor_view<T, 2> dlogits, in_view<T, 2> logits,
                tensor_view<const std::int32_t, 1> targets, tensor_view<const float, 1> row_weights, focal_loss_options options);

}  // namespace instar::ops

#if !defined(INSTAR_COMPILED)
#if !defined(__CUDACC__)
#include "instar/ops/cpu/focal_loss.hpp"
#endif
#if defined(__CUDACC__) || defined(INSTAR_CUDA_EMULATED)
#include "instar/ops/cuda/focal_loss.cuh"
#endif
#endif

#endif
