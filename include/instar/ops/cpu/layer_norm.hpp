#ifndef INSTAR_OPS_CPU_LAYER_NORM_HPP
#define INSTAR_OPS_CPU_LAYER_NORM_HPP

// Layer normalisation on the CPU, rows in parallel.
//
//     ops::layer_norm_forward(ctx, y, {mean, rstd}, x, weight, bias, 1e-12);

#include <cmath>

#include "instar/core/cpu_context.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/core/tensor.hpp"
#include "instar/ops/cpu/grain.hpp"
#include "instar/ops/cpu/rows.hpp"
#include "instar/ops/cpu/simd/normalize.hpp"
#include "instar/ops/cpu/streaming.hpp"
#include "instar/ops/layer_norm.hpp"

namespace instar::ops {

namespace cpu {

template <class T>
void layer_norm_rows(tensor_view<T, 2> y, const layer_norm_saved<T>& saved, in_view<T, 2> x, const T* weight, const T* bias, double eps) {
    const index_t n_rows = y.extent(0), d = y.extent(1);
    if constexpr (std::same_as<T, float>) {
        INSTAR_SIMD_PICK(layer_norm_rows_f32)
        (y.data(), y.stride(0), x.data(), x.stride(0), weight, bias, n_rows, d, eps, saved.mean.data(), saved.mean.stride(0),
         saved.rstd.data(), saved.rstd.stride(0));
    } else if constexpr (std::same_as<T, bf16>) {
        float* const row = row_scratch(3 * d);
        widen(row + d, weight, d);
        widen(row + 2 * d, bias, d);
        for (index_t r = 0; r < n_rows; ++r) {
            widen(row, x[r].data(), d);
            INSTAR_SIMD_PICK(layer_norm_rows_f32)(row, d, row, d, row + d, row + 2 * d, 1, d, eps, &saved.mean(r), 1, &saved.rstd(r), 1);
            narrow(y[r].data(), row, d);
        }
    } else {
        for (index_t r = 0; r < n_rows; ++r) {
            T* const to = y[r].data();
            const T* const from = x[r].data();
            T sum = 0;
            for (index_t j = 0; j < d; ++j) sum += from[j];
            const T mean = sum / static_cast<T>(d);
            T squares = 0;
            for (index_t j = 0; j < d; ++j) squares += (from[j] - mean) * (from[j] - mean);
            const T rstd = T(1) / std::sqrt(squares / static_cast<T>(d) + static_cast<T>(eps));
            for (index_t j = 0; j < d; ++j) to[j] = (from[j] - mean) * rstd * weight[j] + bias[j];
            saved.mean(r) = mean;
            saved.rstd(r) = rstd;
        }
    }
}

/// Writes dx and adds these rows to dweight and dbias.
template <class T>
void layer_norm_gradient_rows(tensor_view<T, 2> dx, accumulator_t<T>* dweight, accumulator_t<T>* dbias, in_view<T, 2> dy, const layer_norm_saved<T>& saved,
                              in_view<T, 2> x, const T* weight) {
    const index_t n_rows = dx.extent(0), d = dx.extent(1);
    if constexpr (std::same_as<T, bf16>) {
        float* const row = row_scratch(3 * d);
        widen(row + 2 * d, weight, d);
        for (index_t r = 0; r < n_rows; ++r) {
            widen(row, dy[r].data(), d);
            widen(row + d, x[r].data(), d);
            INSTAR_SIMD_PICK(layer_norm_gradient_row_f32)(row, dweight, dbias, row, row + d, row + 2 * d, saved.mean(r), saved.rstd(r), d);
            narrow(dx[r].data(), row, d);
        }
    } else {
        for (index_t r = 0; r < n_rows; ++r) {
            T* const to = dx[r].data();
            const T* const g = dy[r].data();
            const T* const from = x[r].data();
            const T mean = saved.mean(r), rstd = saved.rstd(r);
            if constexpr (std::same_as<T, float>) {
                INSTAR_SIMD_PICK(layer_norm_gradient_row_f32)(to, dweight, dbias, g, from, weight, mean, rstd, d);
            } else {
                T sum_g = 0, sum_gx = 0;
                for (index_t j = 0; j < d; ++j) {
                    const T xh = (from[j] - mean) * rstd;
                    sum_g += g[j] * weight[j];
                    sum_gx += g[j] * weight[j] * xh;
                    dweight[j] += g[j] * xh;
                    dbias[j] += g[j];
                }
                const T mean_g = sum_g / static_cast<T>(d), mean_gx = sum_gx / static_cast<T>(d);
                for (index_t j = 0; j < d; ++j) {
                    const T xh = (from[j] - mean) * rstd;
                    to[j] = rstd * (g[j] * weight[j] - mean_g - xh * mean_gx);
                }
            }
        }
    }
}

}  // namespace cpu

template <class T>
void layer_norm_forward(cpu_context& ctx, tensor_view<T, 2> y, std::type_identity_t<layer_norm_saved<T>> saved, in_view<T, 2> x,
                        in_view<T, 1> weight, in_view<T, 1> bias, double eps) {
    static constexpr const char* k_op = "layer_norm_forward";
    const index_t n_rows = y.extent(0), d = y.extent(1);
    instar::detail::check_shape(k_op, "x", x, {n_rows, d});
    instar::detail::check_shape(k_op, "weight", weight, {d});
    instar::detail::check_shape(k_op, "bias", bias, {d});
    instar::detail::check_shape(k_op, "saved.mean", saved.mean, {n_rows});
    instar::detail::check_shape(k_op, "saved.rstd", saved.rstd, {n_rows});
    instar::detail::check_unit_stride(k_op, "y", y);
    instar::detail::check_unit_stride(k_op, "x", x);
    instar::detail::check_unit_stride(k_op, "weight", weight);
    instar::detail::check_unit_stride(k_op, "bias", bias);
    const bool stream = cpu::streams_rows(y, x.data());
    parallel_kernel(ctx, n_rows, cpu::row_grain(d), [&](index_t begin, index_t end) {
        cpu::write_row_blocks(stream, y.rows(begin, end), [&](tensor_view<T, 2> to, index_t first) {
            const index_t from = begin + first, until = from + to.extent(0);
            const layer_norm_saved<T> rows{saved.mean.rows(from, until), saved.rstd.rows(from, until)};
            cpu::layer_norm_rows<T>(to, rows, x.rows(from, until), weight.data(), bias.data(), eps);
        }, x.rows(begin, end));
    });
}

template <class T>
void layer_norm_backward(cpu_context& ctx, tensor_view<T, 2> dx, out_view<T, 1> dweight, out_view<T, 1> dbias, in_view<T, 2> dy,
                         std::type_identity_t<layer_norm_saved<T>> saved, in_view<T, 2> x, in_view<T, 1> weight) {
    static constexpr const char* k_op = "layer_norm_backward";
    const index_t n_rows = dx.extent(0), d = dx.extent(1);
    instar::detail::check_shape(k_op, "dweight", dweight, {d});
    instar::detail::check_shape(k_op, "dbias", dbias, {d});
    instar::detail::check_shape(k_op, "dy", dy, {n_rows, d});
    instar::detail::check_shape(k_op, "saved.mean", saved.mean, {n_rows});
    instar::detail::check_shape(k_op, "saved.rstd", saved.rstd, {n_rows});
    instar::detail::check_shape(k_op, "x", x, {n_rows, d});
    instar::detail::check_shape(k_op, "weight", weight, {d});
    instar::detail::check_unit_stride(k_op, "dx", dx);
    instar::detail::check_unit_stride(k_op, "dweight", dweight);
    instar::detail::check_unit_stride(k_op, "dbias", dbias);
    instar::detail::check_unit_stride(k_op, "dy", dy);
    instar::detail::check_unit_stride(k_op, "x", x);
    instar::detail::check_unit_stride(k_op, "weight", weight);
    // One pair of partial sums a range of rows. At most 64 ranges, so that the sums stay small beside the rows.
    const index_t rows_per_range = std::max(cpu::row_grain(d), (n_rows + 63) / 64);
    const index_t n_ranges = (n_rows + rows_per_range - 1) / rows_per_range;
    tensor<accumulator_t<T>, 3> partial({n_ranges, 2, d});
    const bool stream = cpu::streams_rows(dx, dy.data(), x.data());
    parallel_kernel(ctx, n_rows, rows_per_range, [&](index_t begin, index_t end) {
        accumulator_t<T>* const dw = partial[begin / rows_per_range].data();
        cpu::write_row_blocks(stream, dx.rows(begin, end), [&](tensor_view<T, 2> to, index_t first) {
            const index_t from = begin + first, until = from + to.extent(0);
            const layer_norm_saved<T> rows{saved.mean.rows(from, until), saved.rstd.rows(from, until)};
            cpu::layer_norm_gradient_rows<T>(to, dw, dw + d, dy.rows(from, until), rows, x.rows(from, until), weight.data());
        }, dy.rows(begin, end), x.rows(begin, end));
    });
    if constexpr (std::same_as<T, bf16>) {
        float* const sums = cpu::row_scratch(2 * d);
        cpu::widen(sums, dweight.data(), d);
        cpu::widen(sums + d, dbias.data(), d);
        for (index_t range = 0; range < n_ranges; ++range) cpu::add_rows<float>(sums, sums, partial[range].data(), 2 * d);
        cpu::narrow(dweight.data(), sums, d);
        cpu::narrow(dbias.data(), sums + d, d);
    } else {
        for (index_t range = 0; range < n_ranges; ++range) {
            const T* const dw = partial[range].data();
            cpu::add_rows<T>(dweight.data(), dweight.data(), dw, d);
            cpu::add_rows<T>(dbias.data(), dbias.data(), dw + d, d);
        }
    }
}

}  // namespace instar::ops

#endif
