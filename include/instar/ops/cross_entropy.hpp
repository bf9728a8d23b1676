#ifndef INSTAR_OPS_CROSS_ENTROPY_HPP
#define INSTAR_OPS_CROSS_ENTROPY_HPP

// Softmax cross-entropy over class indices, the loss and its gradient in one pass.
//
//     ops::softmax_cross_entropy(ctx, loss, dlogits, logits, targets, {.denominator = n_targets});

#include <string>

#include "instar/core/error.hpp"
#include "instar/core/tensor_view.hpp"

namespace instar {
class cpu_context;
class cuda_context;
}  // namespace instar

namespace instar::ops {

/// Row r counts when targets[r] ≥ 0. `denominator` is what the sum is divided by: usually the number of such rows, or the
/// sum of their weights; with gradient accumulation, that of the whole batch. label_smoothing as in PyTorch.
struct cross_entropy_options {
    double denominator = 1.0;
    double label_smoothing = 0.0;
};

/// loss[r] = w_r · (logsumexp(logits_r) − logits_r[t_r]) / denominator,  0 for ignored rows;
/// dlogits = w_r · (softmax(logits_r) − onehot(t_r)) / denominator,  0 for ignored rows.
///
/// With label smoothing ε the target is (1 − ε)·onehot + ε/n_classes.
///
/// | argument                   | shape               | element         |
/// |----------------------------|---------------------|-----------------|
/// | loss                       | [n_rows]            | float or double |
/// | dlogits (may alias logits) | [n_rows, n_classes] | T; may be empty |
/// | logits                     | [n_rows, n_classes] | T               |
/// | targets                    | [n_rows]            | int32           |
/// | row_weights                | [n_rows] or empty   | float           |
///
/// T: float, double or bf16 (CPU), float or bf16 (CUDA); loss and sums of bf16 are float.
/// Throws value_error naming the row when a target is ≥ n_classes (CPU; the CUDA kernel writes NaN to that row's loss).
template <class T>
void softmax_cross_entropy(cpu_context& ctx, out_view<accumulator_t<T>, 1> loss, tensor_view<T, 2> dlogits, in_view<T, 2> logits,
                           tensor_view<const std::int32_t, 1> targets, tensor_view<const float, 1> row_weights,
                           cross_entropy_options options);
template <class T>
void softmax_cross_entropy(cuda_context& ctx, out_view<accumulator_t<T>, 1> loss, tensor_view<T, 2> dlogits, in_view<T, 2> logits,
                           tensor_view<const std::int32_t, 1> targets, tensor_view<const float, 1> row_weights,
                           cross_entropy_options options);

namespace detail {

/// Shapes of a loss over class indices and its denominator: of cross-entropy's calls and focal_loss's.
template <class T, class A>
void check_class_loss(const char* op, const tensor_view<A, 1>& loss, const tensor_view<T, 2>& dlogits, const tensor_view<const T, 2>& logits,
                      const tensor_view<const std::int32_t, 1>& targets, const tensor_view<const float, 1>& row_weights, double denominator) {
    const index_t n_rows = logits.extent(0);
    instar::detail::check_shape(op, "loss", loss, {n_rows});
    instar::detail::check_shape(op, "targets", targets, {n_rows});
    if (!dlogits.empty()) instar::detail::check_shape(op, "dlogits", dlogits, {n_rows, logits.extent(1)});
    if (!row_weights.empty()) instar::detail::check_shape(op, "row_weights", row_weights, {n_rows});
    instar::detail::check_unit_stride(op, "dlogits", dlogits);
    instar::detail::check_unit_stride(op, "logits", logits);
    if (!(denominator != 0.0)) throw value_error(std::string(op) + ": options.denominator must not be zero");
}

/// On the host alone, where targets can be read: each is less than n_classes.
inline void check_targets(const char* op, const tensor_view<const std::int32_t, 1>& targets, index_t n_classes) {
    for (index_t r = 0; r < targets.extent(0); ++r) {
        if (targets(r) >= n_classes) {
            throw value_error(std::string(op) + ": targets[" + std::to_string(r) + "] is " + std::to_string(targets(r)) + ", expected less than " +
                              std::to_string(n_classes));
        }
    }
}

}  // namespace detail

}  // namespace instar::ops

#if !defined(INSTAR_COMPILED)
#if !defined(__CUDACC__)
#include "instar/ops/cpu/cross_entropy.hpp"
#endif
#if defined(__CUDACC__) || defined(INSTAR_CUDA_EMULATED)
#include "instar/ops/cuda/cross_entropy.cuh"
#endif
#endif

#endif
