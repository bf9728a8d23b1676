#ifndef INSTAR_OPS_CPU_CROSS_ENTROPY_HPP
#define INSTAR_OPS_CPU_CROSS_ENTROPY_HPP

// Softmax cross-entropy on the CPU, rows in parallel.
//
//     ops::softmax_cross_entropy(ctx, loss, dlogits, logits, targets, {}, {.denominator = n_targets});

#include <cmath>
#include <limits>

#include "instar/core/cpu_context.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/ops/cpu/bf16_rows.hpp"
#include "instar/ops/cpu/grain.hpp"
#include "instar/ops/cpu/simd/softmax.hpp"
#include "instar/ops/cpu/streaming.hpp"
#include "instar/ops/cross_entropy.hpp"

namespace instar::ops {

namespace cpu {

/// One row: returns log Σ exp x and, unless dx is null, writes dx = weight · softmax(x) − shift. dx may alias x.
template <class T>
double softmax_gradient_row(T* dx, const T* x, index_t n, double weight, T shift) {
    if constexpr (std::same_as<T, float>) {
        const simd::exp_row_sums sums =
            dx != nullptr ? INSTAR_SIMD_PICK(exp_row<true>)(dx, x, n) : INSTAR_SIMD_PICK(exp_row<false>)(nullptr, x, n);
        if (dx != nullptr) INSTAR_SIMD_PICK(scale_exp_row)(dx, n, sums, weight, shift);
        return static_cast<double>(sums.max) + std::log(sums.sum);
    } else {
        T max = -std::numeric_limits<T>::infinity();
        for (index_t j = 0; j < n; ++j) max = x[j] > max ? x[j] : max;
        T sum = 0;
        for (index_t j = 0; j < n; ++j) sum += std::exp(x[j] - max);
        const T lse = max + std::log(sum);
        for (index_t j = 0; j < n && dx != nullptr; ++j) dx[j] = weight * std::exp(x[j] - lse) - shift;
        return lse;
    }
}

/// Σ x in double.
template <class T>
double sum_of_logits(const T* x, index_t n) {
    double sum = 0.0;
    for (index_t j = 0; j < n; ++j) sum += static_cast<double>(x[j]);
    return sum;
}

}  // namespace cpu

template <class T>
void softmax_cross_entropy(cpu_context& ctx, out_view<accumulator_t<T>, 1> loss, tensor_view<T, 2> dlogits, in_view<T, 2> logits,
                           tensor_view<const std::int32_t, 1> targets, tensor_view<const float, 1> row_weights,
                           cross_entropy_options options) {
    static constexpr const char* k_op = "softmax_cross_entropy";
    using sum_type = accumulator_t<T>;
    const index_t n_rows = logits.extent(0), n_classes = logits.extent(1);
    const bool with_gradient = !dlogits.empty(), weighted = !row_weights.empty();
    detail::check_class_loss<T>(k_op, loss, dlogits, logits, targets, row_weights, options.denominator);
    if (!(options.label_smoothing >= 0.0 && options.label_smoothing <= 1.0)) {
        throw value_error(std::string(k_op) + ": options.label_smoothing must be in [0, 1], is " + std::to_string(options.label_smoothing));
    }
    detail::check_targets(k_op, targets, n_classes);
    const double smoothing = options.label_smoothing;
    // A row of the gradient is then made in a scratch, of 65,536 classes in the second-level cache.
    const bool stream = std::same_as<T, float> && with_gradient && cpu::streams(dlogits.data(), dlogits.size(), logits.data());
    parallel_kernel(ctx, n_rows, cpu::row_grain(n_classes), [&](index_t begin, index_t end) {
        for (index_t r = begin; r < end; ++r) {
            const std::int32_t target = targets(r);
            if (target < 0) {
                loss(r) = 0;
                if (with_gradient) std::fill(dlogits[r].data(), dlogits[r].data() + n_classes, T(0));
                continue;
            }
            sum_type* dx = nullptr;
            const sum_type* x = nullptr;
            if constexpr (std::same_as<T, bf16>) {
                float* const row = cpu::row_scratch(n_classes);
                cpu::widen(row, logits[r].data(), n_classes);
                x = row;
                dx = with_gradient ? row : nullptr;
            } else {
                x = logits[r].data();
                if (stream) dx = reinterpret_cast<sum_type*>(cpu::row_scratch(n_classes));
                else dx = with_gradient ? dlogits[r].data() : nullptr;
            }
            const double w = (weighted ? static_cast<double>(row_weights(r)) : 1.0) / options.denominator;
            // Before the gradient, which may take the logits' place.
            const double x_target = static_cast<double>(x[target]);
            // Guarded: with a logit of −∞ the sum is −∞, and 0 · ∞ would make the unsmoothed loss NaN.
            const double mean = smoothing > 0.0 ? cpu::sum_of_logits<sum_type>(x, n_classes) / static_cast<double>(n_classes) : 0.0;
            const auto shift = static_cast<sum_type>(w * smoothing / static_cast<double>(n_classes));
            const double lse = cpu::softmax_gradient_row<sum_type>(dx, x, n_classes, w, shift);
            loss(r) = static_cast<sum_type>(w * (lse - (1.0 - smoothing) * x_target - smoothing * mean));
            if (with_gradient) dx[target] -= static_cast<sum_type>(w * (1.0 - smoothing));
            if constexpr (std::same_as<T, bf16>) {
                if (with_gradient) cpu::narrow(dlogits[r].data(), dx, n_classes);
            } else if (stream) {
                cpu::stream_copy(dlogits[r].data(), static_cast<const T*>(dx), n_classes);
            }
        }
        if (stream) cpu::stream_fence();
    });
}

}  // namespace instar::ops

#endif
