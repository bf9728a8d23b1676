#ifndef INSTAR_OPS_CPU_SIGLIP_HPP
#define INSTAR_OPS_CPU_SIGLIP_HPP

// The sigmoid loss on the CPU: tiles of logits by gemm, overwritten by their gradient, and two more products.
//
//     ops::siglip<float>(ctx, loss, da, db, d_logit_scale, d_logit_bias, a, b, logit_scale, logit_bias, {}, {});

#include <cmath>
#include <concepts>
#include <limits>
#include <string>
#include <vector>

#include "instar/ops/cpu/info_nce_tiles.hpp"
#include "instar/ops/cpu/simd/siglip.hpp"
#include "instar/ops/siglip.hpp"

namespace instar::ops {

namespace cpu {

/// z: scale · a · b of n columns; overwritten with scale · G when `gradient`.
template <class T>
void siglip_range(T* z, index_t n, siglip_row<T>& row, bool gradient) {
    const bool labelled = row.column_labels != nullptr;
    if constexpr (std::same_as<T, float>) {
        if (labelled) {
            gradient ? INSTAR_SIMD_PICK(siglip_range<true, true>)(z, n, row)
                     : INSTAR_SIMD_PICK(siglip_range<true, false>)(z, n, row);
        } else {
            gradient ? INSTAR_SIMD_PICK(siglip_range<false, true>)(z, n, row)
                     : INSTAR_SIMD_PICK(siglip_range<false, false>)(z, n, row);
        }
    } else {
        for (index_t j = 0; j < n; ++j) {
            const bool partner = labelled ? row.column_labels[j] == row.label : j == row.partner;
            const T y = partner ? -(z[j] + row.bias) : z[j] + row.bias, e = std::exp(-std::abs(y));
            row.loss += (y > 0 ? y : T(0)) + std::log1p(e);
            if (!gradient) continue;
            const T sigmoid = (y < 0 ? e : T(1)) / (1 + e), g = row.weight * (partner ? -sigmoid : sigmoid);
            row.moment += g * z[j];
            row.sum += g;
            z[j] = g * row.scale;
        }
    }
}

}  // namespace cpu

template <class T>
void siglip(cpu_context& ctx, out_view<accumulator_t<T>, 1> loss, out_view<T, 2> da, out_view<T, 2> db,
            out_view<accumulator_t<T>, 1> d_logit_scale, out_view<accumulator_t<T>, 1> d_logit_bias, in_view<T, 2> a,
            in_view<T, 2> b, in_view<accumulator_t<T>, 1> logit_scale, in_view<accumulator_t<T>, 1> logit_bias,
            info_nce_targets targets, siglip_options options) {
    static constexpr const char* k_op = "siglip";
    const index_t n = a.extent(0), m = b.extent(0);
    detail::check_siglip<T, accumulator_t<T>>(k_op, loss, da, db, d_logit_scale, d_logit_bias, a, b, logit_scale,
                                              logit_bias, targets);
    const T scale = cpu::info_nce_scale<T>(k_op, logit_scale), bias = logit_bias(0);
    if (!std::isfinite(bias))
        throw value_error(std::string(k_op) + ": logit_bias is " + std::to_string(bias) + ", must be finite");
    const cpu::info_nce_partners partners(targets, n, m);
    index_t n_present = 0;
    for (index_t i = 0; i < n; ++i) n_present += partners.row_present(i);
    const double weight = !options.mean   ? options.weight
                          : n_present > 0 ? options.weight / static_cast<double>(n_present)
                                          : 0.0;
    const bool to_a = da.extent(0) != 0, to_b = db.extent(0) != 0;
    const bool gradient = to_a || to_b || d_logit_scale.extent(0) != 0 || d_logit_bias.extent(0) != 0;
    std::vector<double> losses(static_cast<std::size_t>(n)), moments(losses.size()), sums(losses.size());
    cpu::info_nce_tiles<T>(a, b, scale).backwards(ctx, [&](index_t i0, index_t j0, const tensor_view<T, 2>& tile) {
        const index_t rows = tile.extent(0), columns = tile.extent(1);
        partners.blank(ctx, tile, i0, j0, std::numeric_limits<T>::lowest());
        parallel_kernel(ctx, rows, 16, [&](index_t begin, index_t end) {
            for (index_t r = begin; r < end; ++r) {
                const auto at = static_cast<std::size_t>(i0 + r);
                const index_t partner = partners.partner(i0 + r, j0, j0 + columns);
                const std::int32_t label = partners.labelled() ? partners.row_labels()[i0 + r] : -1;
                cpu::siglip_row<T> row{.scale = scale,
                                       .bias = bias,
                                       .weight = static_cast<T>(weight),
                                       .label = label,
                                       // Labels below 0 would agree with each other.
                                       .column_labels = label >= 0 ? partners.column_labels() + j0 : nullptr,
                                       .partner = static_cast<std::int32_t>(partner < 0 ? -1 : partner - j0)};
                cpu::siglip_range<T>(tile[r].data(), columns, row, gradient);
                losses[at] += row.loss;
                moments[at] += row.moment;
                sums[at] += row.sum;
            }
        });
        if (to_a) gemm<T>(ctx, da.rows(i0, i0 + rows), tile, b.rows(j0, j0 + columns), {.accumulate = true});
        if (to_b)
            gemm<T>(ctx, db.rows(j0, j0 + columns), tile, a.rows(i0, i0 + rows),
                    {.transpose_a = true, .accumulate = true});
    });
    double moment = 0.0, sum = 0.0;
    for (std::size_t i = 0; i < losses.size(); ++i) {
        loss(static_cast<index_t>(i)) = static_cast<T>(weight * losses[i]);
        moment += moments[i];
        sum += sums[i];
    }
    if (d_logit_scale.extent(0) != 0) d_logit_scale(0) += static_cast<T>(moment);
    if (d_logit_bias.extent(0) != 0) d_logit_bias(0) += static_cast<T>(sum);
}

}  // namespace instar::ops

#endif
