#ifndef INSTAR_OPS_REF_FOCAL_LOSS_HPP
#define INSTAR_OPS_REF_FOCAL_LOSS_HPP

// Reference focal loss, a row at a time in double.
//
//     ops::ref::focal_loss(loss, dlogits, logits, targets, {}, {.denominator = n_targets, .gamma = 2.0});

#include <cmath>
#include <limits>

#include "instar/ops/focal_loss.hpp"
#include "instar/ops/ref/convert.hpp"

namespace instar::ops::ref {

/// loss = −w (1 − p_t)^γ log p_t; its derivative by log p_t times that of log p_t, δ_jt − p_j.
template <class T>
void focal_loss(out_view<accumulator_t<T>, 1> loss, tensor_view<T, 2> dlogits, in_view<T, 2> logits, tensor_view<const std::int32_t, 1> targets,
                tensor_view<const float, 1> row_weights, focal_loss_options options) {
    const index_t n_classes = logits.extent(1);
    const double g = options.gamma;
    for (index_t r = 0; r < logits.extent(0); ++r) {
        const index_t target = targets(r);
        const double w = (row_weights.empty() ? 1.0 : static_cast<double>(row_weights(r))) / options.denominator;
        double max = -std::numeric_limits<double>::infinity(), sum = 0.0, others = 0.0;
        for (index_t j = 0; j < n_classes; ++j) max = std::fmax(max, as_double(logits(r, j)));
        for (index_t j = 0; j < n_classes; ++j) {
            sum += std::exp(as_double(logits(r, j)) - max);
            if (j != target) others += std::exp(as_double(logits(r, j)) - max);
        }
        const double log_p = target >= 0 ? as_double(logits(r, target)) - max - std::log(sum) : 0.0, wrong = others / sum;
        loss(r) = from_double<accumulator_t<T>>(target >= 0 ? -w * std::pow(wrong, g) * log_p : 0.0);
        if (dlogits.empty()) continue;
        const double slope = g > 0.0 && wrong > 0.0 ? g * std::pow(wrong, g - 1.0) * std::exp(log_p) * log_p : 0.0;
        for (index_t j = 0; j < n_classes; ++j) {
            const double p = std::exp(as_double(logits(r, j)) - max) / sum;
            dlogits(r, j) = from_double<T>(target >= 0 ? w * (std::pow(wrong, g) - slope) * (p - (j == target ? 1.0 : 0.0)) : 0.0);
        }
    }
}

}  // namespace instar::ops::ref

#endif
