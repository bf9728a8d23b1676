#ifndef INSTAR_OPS_REF_BATCH_NORM_HPP
#define INSTAR_OPS_REF_BATCH_NORM_HPP

// Reference of ops/batch_norm.hpp: one channel after the other, sums in double.
//
//     ops::ref::batch_norm_forward(y, saved, running, x, weight, bias, {.relu = true});

#include <cmath>

#include "instar/ops/batch_norm.hpp"
#include "instar/ops/ref/convert.hpp"

namespace instar::ops::ref {

/// y = (x − mean) / √(variance + eps) · weight + bias of one channel, then max(0, ·) with options.relu.
template <class T>
void batch_norm_channel(tensor_view<T, 2> y, in_view<T, 2> x, index_t c, double mean, double variance, double weight, double bias, const batch_norm_options& options) {
    for (index_t r = 0; r < x.extent(0); ++r) {
        const double v = (as_double(x(r, c)) - mean) / std::sqrt(variance + options.eps) * weight + bias;
        y(r, c) = from_double<T>(options.relu && v < 0.0 ? 0.0 : v);
    }
}

template <class T>
void batch_norm_forward(tensor_view<T, 2> y, std::type_identity_t<batch_norm_saved<T>> saved, std::type_identity_t<batch_norm_running<T>> running, in_view<T, 2> x,
                        in_view<T, 1> weight, in_view<T, 1> bias, batch_norm_options options = {}) {
    using S = accumulator_t<T>;
    const auto n = static_cast<double>(x.extent(0));
    for (index_t c = 0; c < x.extent(1); ++c) {
        double sum = 0.0, squares = 0.0;
        for (index_t r = 0; r < x.extent(0); ++r) sum += as_double(x(r, c));
        const double mean = sum / n;
        for (index_t r = 0; r < x.extent(0); ++r) squares += (as_double(x(r, c)) - mean) * (as_double(x(r, c)) - mean);
        batch_norm_channel<T>(y, x, c, mean, squares / n, as_double(weight(c)), as_double(bias(c)), options);
        saved.mean(c) = static_cast<S>(mean);
        saved.rstd(c) = static_cast<S>(1.0 / std::sqrt(squares / n + options.eps));
        const double m = options.momentum;
        running.mean(c) = static_cast<S>((1.0 - m) * as_double(running.mean(c)) + m * mean);
        running.variance(c) = static_cast<S>((1.0 - m) * as_double(running.variance(c)) + m * squares / (n - 1.0));
    }
}

template <class T>
void batch_norm_inference(tensor_view<T, 2> y, std::type_identity_t<batch_norm_running<T>> running, in_view<T, 2> x, in_view<T, 1> weight, in_view<T, 1> bias,
                          batch_norm_options options = {}) {
    for (index_t c = 0; c < x.extent(1); ++c) {
        batch_norm_channel<T>(y, x, c, as_double(running.mean(c)), as_double(running.variance(c)), as_double(weight(c)), as_double(bias(c)), options);
    }
}

/// With g = dy where the ReLU let it through and xh = (x − mean) · rstd:
/// dbias += Σ g;   dweight += Σ g · xh;   dx = weight · rstd · (g − Σ g / n − xh · Σ (g · xh) / n).
template <class T>
void batch_norm_backward(tensor_view<T, 2> dx, tensor_view<T, 1> dweight, tensor_view<T, 1> dbias, in_view<T, 2> dy,
                         std::type_identity_t<batch_norm_saved<T>> saved, in_view<T, 2> y, in_view<T, 2> x, in_view<T, 1> weight, batch_norm_options options = {}) {
    const index_t n = x.extent(0);
    for (index_t c = 0; c < x.extent(1); ++c) {
        const double mean = as_double(saved.mean(c)), rstd = as_double(saved.rstd(c));
        const auto g = [&](index_t r) { return options.relu && !(as_double(y(r, c)) > 0.0) ? 0.0 : as_double(dy(r, c)); };
        const auto xh = [&](index_t r) { return (as_double(x(r, c)) - mean) * rstd; };
        double sum = 0.0, sum_x = 0.0;
        for (index_t r = 0; r < n; ++r) {
            sum += g(r);
            sum_x += g(r) * xh(r);
        }
        for (index_t r = 0; r < n; ++r) {
            dx(r, c) = from_double<T>(as_double(weight(c)) * rstd * (g(r) - sum / static_cast<double>(n) - xh(r) * sum_x / static_cast<double>(n)));
        }
        dbias(c) = from_double<T>(as_double(dbias(c)) + sum);
        dweight(c) = from_double<T>(as_double(dweight(c)) + sum_x);
    }
}

}  // namespace instar::ops::ref

#endif
