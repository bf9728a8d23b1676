#ifndef INSTAR_OPS_CUDA_FOCAL_LOSS_CUH
#define INSTAR_OPS_CUDA_FOCAL_LOSS_CUH

// Focal loss on a GPU, loss and gradient in one kernel: the two readings of cross-entropy, and one factor a row between them.
//
//     ops::focal_loss(ctx, loss, dlogits, logits, targets, {}, {.denominator = n_targets, .gamma = 2.0});

#include "instar/ops/cuda/cross_entropy.cuh"
#include "instar/ops/focal_loss.hpp"

namespace instar::ops {

namespace cuda {

template <class T, int W, int Warps>
__global__ void focal_loss_kernel(tensor_view<float, 1> loss, tensor_view<T, 2> dlogits, tensor_view<const T, 2> logits,
                                  tensor_view<const std::int32_t, 1> targets, tensor_view<const float, 1> row_weights,
                                  float inverse_denominator, float gamma, bool with_gradient) {
    row_group<Warps> group;
    if (group.row() >= logits.extent(0)) return;
    const class_row<T, W, Warps> row(group, logits, dlogits, targets, with_gradient);
    float& row_loss = loss(group.row());
    if (row.settled(group, row_loss)) return;
    const float weight = (row_weights.data() != nullptr ? row_weights(group.row()) : 1.0f) * inverse_denominator;
    const float target_logit = to_float(row.x[row.target]);
    online_sum exponentials;
    row.read(exponentials);
    const float lse = exponentials.log_sum_exp(group);
    float log_p = target_logit - lse;
    if (log_p > 0.0f) log_p = 0.0f;      // by rounding; a NaN stays
    const float wrong = -expm1f(log_p);  // 1 − p, without cancellation
    const float focus = gamma == 0.0f ? 1.0f : powf(wrong, gamma);
    if (group.lane() == 0) row_loss = -weight * focus * log_p;
    if (!with_gradient) return;
    // (1 − p)^(γ−1) · log p has the limit 0 at p = 1 for γ > 0, where the power alone may be infinite.
    const float slope = gamma == 0.0f || wrong == 0.0f ? 0.0f : gamma * powf(wrong, gamma - 1.0f) * expf(log_p) * log_p;
    const float factor = weight * (focus - slope);
    group.sync();  // dlogits may be logits: all have read the target's logit
    row.write([=](float x, bool is_target) { return factor * (is_target ? -wrong : expf(x - lse)); });
}

}  // namespace cuda

template <class T>
void focal_loss(cuda_context& ctx, out_view<accumulator_t<T>, 1> loss, tensor_view<T, 2> dlogits, in_view<T, 2> logits,
                tensor_view<const std::int32_t, 1> targets, tensor_view<const float, 1> row_weights, focal_loss_options options) {
    static constexpr const char* k_op = "focal_loss";
    const index_t n_rows = logits.extent(0), n_classes = logits.extent(1);
    const bool with_gradient = !dlogits.empty(), weighted = !row_weights.empty();
    detail::check_class_loss<T>(k_op, loss, dlogits, logits, targets, row_weights, options.denominator);
    if (!(options.gamma >= 0.0)) throw value_error(std::string(k_op) + ": options.gamma must not be negative, is " + std::to_string(options.gamma));
    const tensor_view<const float, 1> weights = weighted ? row_weights : tensor_view<const float, 1>{};
    const auto run = [&]<int W>(std::integral_constant<int, W>) {
        cuda::launch_rows(ctx, k_op, n_rows, n_classes, cuda::focal_loss_kernel<T, W, 1>, cuda::focal_loss_kernel<T, W, cuda::k_block_warps>,
                          loss, dlogits, logits, targets, weights, static_cast<float>(1.0 / options.denominator),
                          static_cast<float>(options.gamma), with_gradient);
    };
    cuda::with_pack<T>(cuda::packable(logits) && (!with_gradient || cuda::packable(dlogits)), run);
}

}  // namespace instar::ops

#endif
