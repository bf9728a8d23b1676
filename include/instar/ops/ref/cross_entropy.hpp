#ifndef INSTAR_OPS_REF_CROSS_ENTROPY_HPP
#define INSTAR_OPS_REF_CROSS_ENTROPY_HPP

// Reference softmax cross-entropy, a row at a time in double.
//
//     ops::ref::softmax_cross_entropy(loss, dlogits, logits, targets, {}, {.denominator = n_targets});

#include <cmath>
#include <limits>

#include "instar/ops/cross_entropy.hpp"
#include "instar/ops/ref/convert.hpp"

namespace instar::ops::ref {

/// With q = (1 − ε)·onehot(t) + ε/n_classes and p = softmax(logits), both times row_weight / denominator:
/// loss = logsumexp(logits) − Σ_j q_j logits_j;   dlogits = p − q.
template <class T>
void softmax_cross_entropy(out_view<accumulator_t<T>, 1> loss, tensor_view<T, 2> dlogits, in_view<T, 2> logits,
                           tensor_view<const std::int32_t, 1> targets, tensor_view<const float, 1> row_weights,
                           cross_entropy_options options) {
    const index_t n_classes = logits.extent(1);
    const double eps = options.label_smoothing;
    for (index_t r = 0; r < logits.extent(0); ++r) {
        const index_t target = targets(r);
        const double w = (row_weights.empty() ? 1.0 : static_cast<double>(row_weights(r))) / options.denominator;
        double max = -std::numeric_limits<double>::infinity();
        for (index_t j = 0; j < n_classes; ++j) max = std::fmax(max, as_double(logits(r, j)));
        double sum = 0.0;
        for (index_t j = 0; j < n_classes; ++j) sum += std::exp(as_double(logits(r, j)) - max);
        const double lse = max + std::log(sum);
        double value = 0.0;
        if (target >= 0) {
            value = lse - (1.0 - eps) * as_double(logits(r, target));
            if (eps != 0.0) {
                for (index_t j = 0; j < n_classes; ++j) value -= eps / static_cast<double>(n_classes) * as_double(logits(r, j));
            }
        }
        loss(r) = from_double<accumulator_t<T>>(target >= 0 ? w * value : 0.0);
        if (dlogits.empty()) continue;
        for (index_t j = 0; j < n_classes; ++j) {
            const double q = (j == target ? 1.0 - eps : 0.0) + eps / static_cast<double>(n_classes);
            dlogits(r, j) = from_double<T>(target >= 0 ? w * (std::exp(as_double(logits(r, j)) - lse) - q) : 0.0);
        }
    }
}

}  // namespace instar::ops::ref

#endif
