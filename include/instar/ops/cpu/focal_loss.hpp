#ifndef INSTAR_OPS_CPU_FOCAL_LOSS_HPP
#define INSTAR_OPS_CPU_FOCAL_LOSS_HPP

// Focal loss on the CPU, rows in parallel: the softmax of cross-entropy, then one factor a row.
//
//     ops::focal_loss(ctx, loss, dlogits, logits, targets, {}, {.denominator = n_targets, .gamma = 2.0});

#include "instar/ops/cpu/cross_entropy.hpp"
#include "instar/ops/focal_loss.hpp"

namespace instar::ops {

template <class T>
void focal_loss(cpu_context& ctx, out_view<accumulator_t<T>, 1> loss, tensor_view<T, 2> dlogits, in_view<T, 2> logits,
                tensor_view<const std::int32_t, 1> targets, tensor_view<const float, 1> row_weights, focal_loss_options options) {
    static constexpr const char* k_op = "focal_loss";
    const index_t n_rows = logits.extent(0), n_classes = logits.extent(1);
    const bool with_gradient = !dlogits.empty(), weighted = !row_weights.empty();
    detail::check_class_loss<T>(k_op, loss, dlogits, logits, targets, row_weights, options.denominator);
    if (!(options.gamma >= 0.0)) throw value_error(std::string(k_op) + ": options.gamma must not be negative, is " + std::to_string(options.gamma));
    detail::check_targets(k_op, targets, n_classes);
    const double gamma = options.gamma;
    parallel_kernel(ctx, n_rows, cpu::row_grain(n_classes), [&](index_t begin, index_t end) {
        for (index_t r = begin; r < end; ++r) {
            const std::int32_t target = targets(r);
            T* const dx = with_gradient ? dlogits[r].data() : nullptr;
            if (target < 0) {
                loss(r) = 0;
                if (with_gradient) std::fill(dx, dx + n_classes, T(0));
                continue;
            }
            const T* const x = logits[r].data();
            const double w = (weighted ? static_cast<double>(row_weights(r)) : 1.0) / options.denominator;
            const double x_target = static_cast<double>(x[target]);  // before the gradient, which may take the logits' place
            double log_p = x_target - cpu::softmax_gradient_row<T>(dx, x, n_classes, 1.0, T(0));
            if (log_p > 0.0) log_p = 0.0;  // by rounding; a NaN stays
            const double wrong = -std::expm1(log_p);  // 1 − p
            const double focus = gamma == 0.0 ? 1.0 : std::pow(wrong, gamma);
            loss(r) = static_cast<T>(-w * focus * log_p);
            if (!with_gradient) continue;
            // (1 − p)^(γ−1) · log p has the limit 0 at p = 1 for γ > 0, where the power alone may be infinite.
            const double slope = gamma == 0.0 || wrong == 0.0 ? 0.0 : gamma * std::pow(wrong, gamma - 1.0) * std::exp(log_p) * log_p;
            const T factor = static_cast<T>(w * (focus - slope));
            dx[target] -= T(1);
            for (index_t j = 0; j < n_classes; ++j) dx[j] *= factor;
        }
    });
}

}  // namespace instar::ops

#endif
