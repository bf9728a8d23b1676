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
#include "instar/ops/layer_norm.hpp"

namespace instar::ops {

namespace cpu {

template <class T>
struct layer_norm_row_statistics {
    T mean;
    T rstd;
};

template <class T>
layer_norm_row_statistics<T> layer_norm_row(T* y, const T* x, const T* weight, const T* bias, index_t d, double eps) {
    if constexpr (std::same_as<T, float>) {
        layer_norm_row_statistics<T> s{};
        INSTAR_SIMD_PICK(layer_norm_row_f32)(y, x, weight, bias, d, eps, &s.mean, &s.rstd);
        return s;
    }
    T sum = 0;
    for (index_t j = 0; j < d; ++j) sum += x[j];
    const T mean = sum / static_cast<T>(d);
    T squares = 0;
    for (index_t j = 0; j < d; ++j) squares += (x[j] - mean) * (x[j] - mean);
    const T rstd = static_cast<T>(1.0 / std::sqrt(static_cast<double>(squares) / static_cast<double>(d) + eps));
    for (index_t j = 0; j < d; ++j) y[j] = (x[j] - mean) * rstd * weight[j] + bias[j];
    return {mean, rstd};
}

/// Writes dx and adds this row to dweight and dbias.
template <class T>
void layer_norm_gradient_row(T* dx, T* dweight, T* dbias, const T* dy, const T* x, const T* weight, T mean, T rstd, index_t d) {
    if constexpr (std::same_as<T, float>) {
        INSTAR_SIMD_PICK(layer_norm_gradient_row_f32)(dx, dweight, dbias, dy, x, weight, mean, rstd, d);
        return;
    }
    T sum_g = 0, sum_gx = 0;
    for (index_t j = 0; j < d; ++j) {
        const T xh = (x[j] - mean) * rstd;
        sum_g += dy[j] * weight[j];
        sum_gx += dy[j] * weight[j] * xh;
        dweight[j] += dy[j] * xh;
        dbias[j] += dy[j];
    }
    const T mean_g = sum_g / static_cast<T>(d), mean_gx = sum_gx / static_cast<T>(d);
    for (index_t j = 0; j < d; ++j) {
        const T xh = (x[j] - mean) * rstd;
        dx[j] = rstd * (dy[j] * weight[j] - mean_g - xh * mean_gx);
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
    parallel_for(ctx, n_rows, cpu::row_grain(d), [&](index_t begin, index_t end) {
        for (index_t r = begin; r < end; ++r) {
            const auto s = cpu::layer_norm_row<T>(y[r].data(), x[r].data(), weight.data(), bias.data(), d, eps);
            saved.mean(r) = s.mean;
            saved.rstd(r) = s.rstd;
        }
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
    tensor<T, 3> partial({n_ranges, 2, d});
    parallel_for(ctx, n_rows, rows_per_range, [&](index_t begin, index_t end) {
        T* const dw = partial[begin / rows_per_range].data();
        for (index_t r = begin; r < end; ++r) {
            cpu::layer_norm_gradient_row<T>(dx[r].data(), dw, dw + d, dy[r].data(), x[r].data(), weight.data(), saved.mean(r), saved.rstd(r), d);
        }
    });
    for (index_t range = 0; range < n_ranges; ++range) {
        const T* const dw = partial[range].data();
        cpu::add_rows<T>(dweight.data(), dweight.data(), dw, d);
        cpu::add_rows<T>(dbias.data(), dbias.data(), dw + d, d);
    }
}

}  // namespace instar::ops

#endif
