#ifndef INSTAR_OPS_CPU_BATCH_NORM_HPP
#define INSTAR_OPS_CPU_BATCH_NORM_HPP

// Batch normalisation on the CPU: column sums by ranges of rows, ranges in parallel and added in order.
//
//     ops::batch_norm_forward(ctx, y, saved, running, x, weight, bias, {.relu = true});

#include <algorithm>
#include <cmath>

#include "instar/core/cpu_context.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/core/tensor.hpp"
#include "instar/ops/batch_norm.hpp"

namespace instar::ops {

namespace cpu {

inline constexpr index_t k_batch_norm_rows = 256;

/// sums[k][c] = Σ_rows value(k, r, c) for k < N: T within 256 rows, double across them.
template <int N, class T, class F>
void column_totals(cpu_context& ctx, double* const (&totals)[N], index_t n_rows, index_t d, F add_rows) {
    const index_t n_ranges = (n_rows + k_batch_norm_rows - 1) / k_batch_norm_rows;
    tensor<T, 2> partial({n_ranges, N * d});
    parallel_kernel(ctx, n_ranges, 1, [&](index_t begin, index_t end) {
        for (index_t range = begin; range < end; ++range) {
            T* sums[N];
            for (int k = 0; k < N; ++k) sums[k] = &partial(range, k * d);
            for (index_t r = range * k_batch_norm_rows; r < std::min(n_rows, (range + 1) * k_batch_norm_rows); ++r) add_rows(sums, r);
        }
    });
    for (int k = 0; k < N; ++k) std::fill_n(totals[k], d, 0.0);
    for (index_t range = 0; range < n_ranges; ++range) {
        for (int k = 0; k < N; ++k) {
            for (index_t c = 0; c < d; ++c) totals[k][c] += static_cast<double>(partial(range, k * d + c));
        }
    }
}

/// Columns that are held between reading and writing.
inline constexpr index_t k_batch_norm_columns = 64;

/// gate = the gradient behind the ReLU, of row r and at most k_batch_norm_columns columns from c0; returns how many.
template <class T>
index_t gated(T* INSTAR_RESTRICT gate, tensor_view<const T, 2> dy, tensor_view<const T, 2> y, bool relu, index_t r, index_t c0) {
    const index_t m = std::min(k_batch_norm_columns, dy.extent(1) - c0);
    const T* const g = &dy(r, c0);
    if (relu) {
        const T* const out = &y(r, c0);
        for (index_t c = 0; c < m; ++c) gate[c] = out[c] > T(0) ? g[c] : T(0);
    } else {
        for (index_t c = 0; c < m; ++c) gate[c] = g[c];
    }
    return m;
}

/// y = scale · x + shift, then ReLU if asked for.
template <class T>
void batch_norm_apply(cpu_context& ctx, tensor_view<T, 2> y, in_view<T, 2> x, const T* scale, const T* shift, bool relu) {
    const index_t d = x.extent(1);
    parallel_kernel(ctx, x.extent(0), k_batch_norm_rows, [&](index_t begin, index_t end) {
        for (index_t r = begin; r < end; ++r) {
            T* const to = &y(r, 0);
            const T* const from = &x(r, 0);
            if (relu) {
                for (index_t c = 0; c < d; ++c) to[c] = std::max(from[c] * scale[c] + shift[c], T(0));
            } else {
                for (index_t c = 0; c < d; ++c) to[c] = from[c] * scale[c] + shift[c];
            }
        }
    });
}

}  // namespace cpu

template <class T>
void batch_norm_forward(cpu_context& ctx, tensor_view<T, 2> y, std::type_identity_t<batch_norm_saved<T>> saved,
                        std::type_identity_t<batch_norm_running<T>> running, in_view<T, 2> x, in_view<T, 1> weight, in_view<T, 1> bias,
                        batch_norm_options options) {
    static constexpr const char* k_op = "batch_norm_forward";
    const index_t n = x.extent(0), d = x.extent(1);
    detail::check_batch_norm_forward<T>(k_op, y, saved, running, x, weight, bias);
    tensor<double, 1> total({d});
    tensor<T, 1> scale({d}), shift({d});
    cpu::column_totals<1, T>(ctx, {total.data()}, n, d, [&](T* const(&sums)[1], index_t r) {
        const T* INSTAR_RESTRICT from = &x(r, 0);
        T* INSTAR_RESTRICT sum = sums[0];
        for (index_t c = 0; c < d; ++c) sum[c] += from[c];
    });
    for (index_t c = 0; c < d; ++c) saved.mean(c) = static_cast<T>(total(c) / static_cast<double>(n));
    const T* const mean = saved.mean.data();
    cpu::column_totals<1, T>(ctx, {total.data()}, n, d, [&](T* const(&sums)[1], index_t r) {
        const T* INSTAR_RESTRICT from = &x(r, 0);
        T* INSTAR_RESTRICT sum = sums[0];
        for (index_t c = 0; c < d; ++c) sum[c] += (from[c] - mean[c]) * (from[c] - mean[c]);
    });
    const double m = options.momentum;
    for (index_t c = 0; c < d; ++c) {
        const double variance = total(c) / static_cast<double>(n), unbiased = total(c) / static_cast<double>(n - 1);
        saved.rstd(c) = static_cast<T>(1.0 / std::sqrt(variance + options.eps));
        scale(c) = saved.rstd(c) * weight(c);
        shift(c) = bias(c) - saved.mean(c) * scale(c);
        running.mean(c) = static_cast<T>((1.0 - m) * static_cast<double>(running.mean(c)) + m * static_cast<double>(saved.mean(c)));
        running.variance(c) = static_cast<T>((1.0 - m) * static_cast<double>(running.variance(c)) + m * unbiased);
    }
    cpu::batch_norm_apply<T>(ctx, y, x, scale.data(), shift.data(), options.relu);
}

template <class T>
void batch_norm_inference(cpu_context& ctx, tensor_view<T, 2> y, std::type_identity_t<batch_norm_running<T>> running, in_view<T, 2> x, in_view<T, 1> weight,
                          in_view<T, 1> bias, batch_norm_options options) {
    static constexpr const char* k_op = "batch_norm_inference";
    const index_t d = x.extent(1);
    detail::check_batch_norm_inference<T>(k_op, y, running, x, weight, bias);
    tensor<T, 1> scale({d}), shift({d});
    for (index_t c = 0; c < d; ++c) {
        scale(c) = static_cast<T>(1.0 / std::sqrt(static_cast<double>(running.variance(c)) + options.eps)) * weight(c);
        shift(c) = bias(c) - running.mean(c) * scale(c);
    }
    cpu::batch_norm_apply<T>(ctx, y, x, scale.data(), shift.data(), options.relu);
}

template <class T>
void batch_norm_backward(cpu_context& ctx, tensor_view<T, 2> dx, tensor_view<T, 1> dweight, tensor_view<T, 1> dbias, in_view<T, 2> dy,
                         std::type_identity_t<batch_norm_saved<T>> saved, in_view<T, 2> y, in_view<T, 2> x, in_view<T, 1> weight,
                         batch_norm_options options) {
    static constexpr const char* k_op = "batch_norm_backward";
    const index_t n = x.extent(0), d = x.extent(1);
    detail::check_batch_norm_backward<T>(k_op, dx, dweight, dbias, dy, saved, y, x, weight, options.relu);
    tensor<double, 1> sum_g({d}), sum_gx({d});
    tensor<T, 1> scale({d}), mean_g({d}), mean_gx({d});
    const T *const mean = saved.mean.data(), *const rstd = saved.rstd.data();
    cpu::column_totals<2, T>(ctx, {sum_g.data(), sum_gx.data()}, n, d, [&](T* const(&sums)[2], index_t r) {
        const T* INSTAR_RESTRICT from = &x(r, 0);
        T *INSTAR_RESTRICT sum = sums[0], *INSTAR_RESTRICT sum_x = sums[1];
        for (index_t c0 = 0; c0 < d; c0 += cpu::k_batch_norm_columns) {
            T gate[cpu::k_batch_norm_columns];
            const index_t m = cpu::gated<T>(gate, dy, y, options.relu, r, c0);
            for (index_t c = 0; c < m; ++c) {
                sum[c0 + c] += gate[c];
                sum_x[c0 + c] += gate[c] * ((from[c0 + c] - mean[c0 + c]) * rstd[c0 + c]);
            }
        }
    });
    for (index_t c = 0; c < d; ++c) {
        dbias(c) += static_cast<T>(sum_g(c));
        dweight(c) += static_cast<T>(sum_gx(c));
        scale(c) = weight(c) * rstd[c];
        mean_g(c) = static_cast<T>(sum_g(c) / static_cast<double>(n));
        mean_gx(c) = static_cast<T>(sum_gx(c) / static_cast<double>(n));
    }
    const T *const factor = scale.data(), *const mean_of_g = mean_g.data(), *const mean_of_gx = mean_gx.data();
    parallel_kernel(ctx, n, cpu::k_batch_norm_rows, [&](index_t begin, index_t end) {
        for (index_t r = begin; r < end; ++r) {
            const T* INSTAR_RESTRICT from = &x(r, 0);
            T* INSTAR_RESTRICT to = &dx(r, 0);
            for (index_t c0 = 0; c0 < d; c0 += cpu::k_batch_norm_columns) {
                T gate[cpu::k_batch_norm_columns];  // read before dx, which may be dy, is written
                const index_t m = cpu::gated<T>(gate, dy, y, options.relu, r, c0);
                for (index_t c = 0; c < m; ++c) {
                    to[c0 + c] = factor[c0 + c] * (gate[c] - mean_of_g[c0 + c] - (from[c0 + c] - mean[c0 + c]) * rstd[c0 + c] * mean_of_gx[c0 + c]);
                }
            }
        }
    });
}

}  // namespace instar::ops

#endif
