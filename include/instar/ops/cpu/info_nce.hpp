#ifndef INSTAR_OPS_CPU_INFO_NCE_HPP
#define INSTAR_OPS_CPU_INFO_NCE_HPP

// InfoNCE on the CPU: tiles of the similarity matrix by gemm, each used for its rows and its columns while it is in cache, and
// in the backward overwritten by its gradient, which two more products carry to a and b. Memory: one tile.
//
//     ops::info_nce_forward<float>(ctx, saved, a, b, logit_scale, {});

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "instar/core/cpu_context.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/ops/cpu/info_nce_tile.hpp"
#include "instar/ops/cpu/info_nce_tiles.hpp"
#include "instar/ops/gemm.hpp"
#include "instar/ops/info_nce.hpp"

namespace instar::ops {

namespace cpu {

// --- forward -------------------------------------------------------------------------------------------------------------------

/// One side's sums while tiles come in.
struct info_nce_running {
    std::vector<running_exp> exponentials;
    std::vector<double> positive, count;

    explicit info_nce_running(index_t n)
        : exponentials(static_cast<std::size_t>(n)),
          positive(exponentials.size()),
          count(exponentials.size()) {}
    template <class T>
    void write(const info_nce_side<T>& to) const {
        for (std::size_t i = 0; i < exponentials.size(); ++i) {
            const auto k = static_cast<index_t>(i);
            to.max(k) = static_cast<T>(exponentials[i].max);
            to.sum(k) = static_cast<T>(exponentials[i].sum);
            to.positive(k) = static_cast<T>(positive[i]);
            to.count(k) = static_cast<T>(count[i]);
        }
    }
};

template <class T>
void info_nce_add_rows(cpu_context& ctx, info_nce_running& rows, const tensor_view<T, 2>& tile, index_t i0, index_t j0,
                       const info_nce_partners& partners) {
    const index_t columns = tile.extent(1);
    parallel_kernel(ctx, tile.extent(0), 16, [&](index_t begin, index_t end) {
        for (index_t r = begin; r < end; ++r) {
            const index_t i = i0 + r;
            const auto at = static_cast<std::size_t>(i);
            const T* const z = tile[r].data();
            T max;
            double sum;
            info_nce_row_sums<T>(z, columns, &max, &sum);
            rows.exponentials[at].add(static_cast<double>(max), sum);
            if (partners.labelled()) {
                const std::int32_t label = partners.row_labels()[i];
                if (label >= 0)
                    info_nce_row_partners<T>(z, partners.column_labels() + j0, label, columns, &rows.positive[at],
                                             &rows.count[at]);
            } else if (const index_t j = partners.partner(i, j0, j0 + columns); j >= 0) {
                rows.positive[at] = static_cast<double>(z[j - j0]);
                rows.count[at] = 1.0;
            }
        }
    });
}

template <class T>
void info_nce_add_columns(cpu_context& ctx, info_nce_running& columns, const tensor_view<T, 2>& tile, index_t i0,
                          index_t j0, const info_nce_partners& partners) {
    constexpr index_t k_strip = 128;
    const index_t rows = tile.extent(0), ld = tile.stride(0);
    parallel_kernel(ctx, tile.extent(1), k_strip, [&](index_t begin, index_t end) {
        T max[k_strip], sum[k_strip], positive[k_strip] = {}, count[k_strip] = {};
        const index_t width = end - begin;
        const T* const z = tile.data() + begin;
        info_nce_column_sums<T>(z, ld, rows, width, max, sum);
        for (index_t r = 0; r < rows; ++r) {
            if (partners.labelled()) {
                const std::int32_t label = partners.row_labels()[i0 + r];
                if (label >= 0)
                    info_nce_column_partners<T>(z + r * ld, partners.column_labels() + j0 + begin, label, width,
                                                positive, count);
            } else if (const index_t j = partners.partner(i0 + r, j0 + begin, j0 + end); j >= 0) {
                positive[j - j0 - begin] = z[r * ld + j - j0 - begin];
                count[j - j0 - begin] = T(1);
            }
        }
        for (index_t c = 0; c < width; ++c) {
            const auto at = static_cast<std::size_t>(j0 + begin + c);
            columns.exponentials[at].add(static_cast<double>(max[c]), static_cast<double>(sum[c]));
            columns.positive[at] += static_cast<double>(positive[c]);
            columns.count[at] += static_cast<double>(count[c]);
        }
    });
}

// --- backward ------------------------------------------------------------------------------------------------------------------

/// Per sample: what its logits' exponentials are taken relative to and multiplied by, and what each partner pulls with. At
/// first nobody is an anchor.
template <class T>
struct info_nce_factors {
    std::vector<T> shift, weight, pull;

    explicit info_nce_factors(index_t n)
        : shift(static_cast<std::size_t>(n), std::numeric_limits<T>::infinity()),
          weight(shift.size()),
          pull(shift.size()) {}
};

/// The weight of a direction, by its anchors when `mean`.
template <class T>
double info_nce_direction_weight(const info_nce_side<T>& side, double weight, bool mean) {
    index_t n_anchors = 0;
    for (index_t i = 0; i < side.size(); ++i) n_anchors += side.count(i) > T(0);
    return !mean ? weight : n_anchors > 0 ? weight / static_cast<double>(n_anchors) : 0.0;
}

template <class T>
info_nce_factors<T> make_info_nce_factors(const info_nce_side<T>& side, double weight,
                                          const info_nce_options& options) {
    info_nce_factors<T> f(side.size());
    const double w = info_nce_direction_weight(side, weight, options.mean);
    for (std::size_t i = 0; i < f.shift.size(); ++i) {
        const auto k = static_cast<index_t>(i);
        const double count = static_cast<double>(side.count(k));
        if (!(count > 0.0)) continue;
        f.shift[i] = side.max(k);
        f.weight[i] = static_cast<T>((options.normalize_targets ? w : w * count) / static_cast<double>(side.sum(k)));
        f.pull[i] = static_cast<T>(options.normalize_targets ? w / count : w);
    }
    return f;
}

/// tile := scale · G. Adds to moments[i] the Σ_j G_ij z_ij of the tile.
template <class T>
void info_nce_tile_gradient(cpu_context& ctx, const tensor_view<T, 2>& tile, index_t i0, index_t j0, T scale,
                            const info_nce_factors<T>& rows, const info_nce_factors<T>& columns,
                            const info_nce_partners& partners, std::vector<double>& moments) {
    const index_t width = tile.extent(1);
    parallel_kernel(ctx, tile.extent(0), 16, [&](index_t begin, index_t end) {
        for (index_t r = begin; r < end; ++r) {
            const index_t i = i0 + r;
            const auto at = static_cast<std::size_t>(i);
            T* const z = tile[r].data();
            const index_t j = partners.partner(i, j0, j0 + width);
            const T partner = j >= 0 ? z[j - j0] : T(0);
            double moment =
                info_nce_gradient<T>(z, width,
                                     {.scale = scale,
                                      .shift = rows.shift[at],
                                      .weight = rows.weight[at],
                                      .pull = rows.pull[at],
                                      .column_shift = columns.shift.data() + j0,
                                      .column_weight = columns.weight.data() + j0,
                                      .column_pull = columns.pull.data() + j0,
                                      .label = partners.labelled() ? partners.row_labels()[i] : -1,
                                      .column_labels = partners.labelled() ? partners.column_labels() + j0 : nullptr});
            if (j >= 0) {
                const T pull = rows.pull[at] + columns.pull[static_cast<std::size_t>(j)];
                z[j - j0] -= scale * pull;
                moment -= static_cast<double>(pull) * static_cast<double>(partner);
            }
            moments[at] += moment;
        }
    });
}

/// Statistics of all tiles.
template <class T>
void info_nce_forward_tiles(cpu_context& ctx, info_nce_tiles<T>& tiles, const info_nce_partners& partners,
                            const info_nce_saved<T>& saved) {
    const bool both = saved.column.size() != 0;
    info_nce_running rows(saved.row.size()), columns(saved.column.size());
    tiles.forwards(ctx, [&](index_t i0, index_t j0, const tensor_view<T, 2>& tile) {
        partners.blank(ctx, tile, i0, j0, -std::numeric_limits<T>::infinity());
        info_nce_add_rows<T>(ctx, rows, tile, i0, j0, partners);
        if (both) info_nce_add_columns<T>(ctx, columns, tile, i0, j0, partners);
    });
    rows.write(saved.row);
    if (both) columns.write(saved.column);
}

/// Gradients from all tiles.
template <class T>
void info_nce_backward_tiles(cpu_context& ctx, info_nce_tiles<T>& tiles, const info_nce_partners& partners,
                             const tensor_view<T, 2>& da, const tensor_view<T, 2>& db,
                             const tensor_view<T, 1>& d_logit_scale, const info_nce_saved<T>& saved,
                             const tensor_view<const T, 2>& a, const tensor_view<const T, 2>& b, T scale,
                             const info_nce_options& options) {
    const bool to_a = da.extent(0) != 0, to_b = db.extent(0) != 0;
    const auto rows = make_info_nce_factors(saved.row, options.row_weight, options);
    // Without a column side: no column is an anchor.
    const auto columns = saved.column.size() != 0 ? make_info_nce_factors(saved.column, options.column_weight, options)
                                                  : info_nce_factors<T>(b.extent(0));
    std::vector<double> moments(static_cast<std::size_t>(a.extent(0)));
    tiles.backwards(ctx, [&](index_t i0, index_t j0, const tensor_view<T, 2>& tile) {
        const index_t i1 = i0 + tile.extent(0), j1 = j0 + tile.extent(1);
        // Not −∞: their gradient is 0, and it is multiplied by them.
        partners.blank(ctx, tile, i0, j0, std::numeric_limits<T>::lowest());
        info_nce_tile_gradient<T>(ctx, tile, i0, j0, scale, rows, columns, partners, moments);
        if (to_a) gemm<T>(ctx, da.rows(i0, i1), tile, b.rows(j0, j1), {.accumulate = true});
        if (to_b) gemm<T>(ctx, db.rows(j0, j1), tile, a.rows(i0, i1), {.transpose_a = true, .accumulate = true});
    });
    if (d_logit_scale.extent(0) == 0) return;
    double sum = 0.0;
    for (const double x : moments) sum += x;
    d_logit_scale(0) += static_cast<T>(sum);
}

}  // namespace cpu

template <class T>
void info_nce_forward(cpu_context& ctx, std::type_identity_t<info_nce_saved<accumulator_t<T>>> saved, in_view<T, 2> a,
                      in_view<T, 2> b, in_view<accumulator_t<T>, 1> logit_scale, info_nce_targets targets) {
    static constexpr const char* k_op = "info_nce_forward";
    detail::check_info_nce<T>(k_op, saved, a, b, logit_scale, targets);
    const cpu::info_nce_partners partners(targets, a.extent(0), b.extent(0));
    cpu::info_nce_tiles<T> tiles(a, b, cpu::info_nce_scale<T>(k_op, logit_scale));
    cpu::info_nce_forward_tiles<T>(ctx, tiles, partners, saved);
}

template <class T>
void info_nce_merge(cpu_context&, std::type_identity_t<info_nce_side<accumulator_t<T>>> into,
                    std::type_identity_t<info_nce_side<accumulator_t<T>>> part) {
    static constexpr const char* k_op = "info_nce_merge";
    const index_t n = into.size();
    detail::check_info_nce_side(k_op, "side (into)", into, n);
    detail::check_info_nce_side(k_op, "side (part)", part, n);
    for (index_t i = 0; i < n; ++i) {
        cpu::running_exp both;
        for (const auto* side : {&into, &part})
            both.add(static_cast<double>(side->max(i)), static_cast<double>(side->sum(i)));
        into.max(i) = static_cast<T>(both.max);
        into.sum(i) = static_cast<T>(both.sum);
        into.positive(i) += part.positive(i);
        into.count(i) += part.count(i);
    }
}

template <class T>
void info_nce_loss(cpu_context&, out_view<accumulator_t<T>, 1> row_loss, out_view<accumulator_t<T>, 1> column_loss,
                   std::type_identity_t<info_nce_saved<accumulator_t<T>>> saved, info_nce_options options) {
    static constexpr const char* k_op = "info_nce_loss";
    detail::check_info_nce_losses(k_op, row_loss, column_loss, saved);
    const auto write = [&](const tensor_view<T, 1>& loss, const info_nce_side<T>& side, double weight) {
        const double w = cpu::info_nce_direction_weight(side, weight, options.mean);
        for (index_t i = 0; i < loss.extent(0); ++i) {
            const double count = static_cast<double>(side.count(i));
            if (!(count > 0.0)) {
                loss(i) = T(0);
                continue;
            }
            // The maximum first: it is the partner's logit, to the bit, where the sum is near 1.
            const double to_max = static_cast<double>(side.max(i)) - static_cast<double>(side.positive(i)) / count;
            loss(i) = static_cast<T>(w * (options.normalize_targets ? 1.0 : count) *
                                     (to_max + std::log(static_cast<double>(side.sum(i)))));
        }
    };
    write(row_loss, saved.row, options.row_weight);
    write(column_loss, saved.column, options.column_weight);
}

template <class T>
void info_nce_backward(cpu_context& ctx, tensor_view<T, 2> da, out_view<T, 2> db,
                       out_view<accumulator_t<T>, 1> d_logit_scale,
                       std::type_identity_t<info_nce_saved<accumulator_t<T>>> saved, in_view<T, 2> a, in_view<T, 2> b,
                       in_view<accumulator_t<T>, 1> logit_scale, info_nce_targets targets, info_nce_options options) {
    static constexpr const char* k_op = "info_nce_backward";
    detail::check_info_nce<T>(k_op, saved, a, b, logit_scale, targets);
    detail::check_info_nce_gradients(k_op, da, db, d_logit_scale, a.extent(0), b.extent(0), a.extent(1));
    const T scale = cpu::info_nce_scale<T>(k_op, logit_scale);
    const cpu::info_nce_partners partners(targets, a.extent(0), b.extent(0));
    cpu::info_nce_tiles<T> tiles(a, b, scale);
    cpu::info_nce_backward_tiles<T>(ctx, tiles, partners, da, db, d_logit_scale, saved, a, b, scale, options);
}

template <class T>
void info_nce(cpu_context& ctx, out_view<accumulator_t<T>, 1> row_loss, out_view<accumulator_t<T>, 1> column_loss,
              tensor_view<T, 2> da, out_view<T, 2> db, out_view<accumulator_t<T>, 1> d_logit_scale,
              std::type_identity_t<info_nce_saved<accumulator_t<T>>> saved, in_view<T, 2> a, in_view<T, 2> b,
              in_view<accumulator_t<T>, 1> logit_scale, info_nce_targets targets, info_nce_options options) {
    static constexpr const char* k_op = "info_nce";
    detail::check_info_nce<T>(k_op, saved, a, b, logit_scale, targets);
    detail::check_info_nce_gradients(k_op, da, db, d_logit_scale, a.extent(0), b.extent(0), a.extent(1));
    detail::check_info_nce_losses(k_op, row_loss, column_loss, saved);
    const T scale = cpu::info_nce_scale<T>(k_op, logit_scale);
    const cpu::info_nce_partners partners(targets, a.extent(0), b.extent(0));
    cpu::info_nce_tiles<T> tiles(a, b, scale);
    cpu::info_nce_forward_tiles<T>(ctx, tiles, partners, saved);
    info_nce_loss<T>(ctx, row_loss, column_loss, saved, options);
    if (da.extent(0) == 0 && db.extent(0) == 0 && d_logit_scale.extent(0) == 0) return;
    cpu::info_nce_backward_tiles<T>(ctx, tiles, partners, da, db, d_logit_scale, saved, a, b, scale, options);
}

}  // namespace instar::ops

#endif
