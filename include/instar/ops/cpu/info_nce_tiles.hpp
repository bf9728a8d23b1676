// The operator's own header first, ahead of the guard: it ends by including cpu/info_nce.hpp, which needs what this file
// defines, so this file must come up inside that include when it is the one a translation unit names first.
#include "instar/ops/info_nce.hpp"

#ifndef INSTAR_OPS_CPU_INFO_NCE_TILES_HPP
#define INSTAR_OPS_CPU_INFO_NCE_TILES_HPP

// What the contrastive losses share on the CPU: who belongs to whom, and tiles of logits by gemm.
//
//     cpu::info_nce_tiles<float> tiles(a, b, scale);
//     tiles.forwards(ctx, [&](index_t i0, index_t j0, const tensor_view<float, 2>& tile) { … });

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "instar/core/cpu_context.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/ops/cpu/gemm_packed.hpp"
#include "instar/ops/cpu/grain.hpp"
#include "instar/ops/cpu/rows.hpp"
#include "instar/ops/gemm.hpp"

namespace instar::ops::cpu {

/// Rows and columns of a tile. Fixed: all sums follow it. Square, because a product packs both its operands; large, because
/// packing is repaid by the other side's length; 16 MiB of float, which a shared cache holds.
inline constexpr index_t k_info_nce_tile = 2048;

/// Who takes part and who belongs to whom, in plain arrays.
class info_nce_partners {
public:
    info_nce_partners(const info_nce_targets& t, index_t n, index_t m)
        : diagonal_(t.diagonal),
          rows_(present(t.row_mask, n)),
          columns_(present(t.column_mask, m)),
          labelled_(t.row_labels.extent(0) != 0) {
        if (!labelled_) return;
        row_labels_ = labels(t.row_labels, rows_);
        column_labels_ = labels(t.column_labels, columns_);
    }
    bool labelled() const { return labelled_; }
    bool masked() const { return !rows_.empty() || !columns_.empty(); }
    bool row_present(index_t i) const { return rows_.empty() || rows_[static_cast<std::size_t>(i)] != 0; }
    bool column_present(index_t j) const { return columns_.empty() || columns_[static_cast<std::size_t>(j)] != 0; }
    /// −1 for who lacks the modality.
    const std::int32_t* row_labels() const { return row_labels_.data(); }
    const std::int32_t* column_labels() const { return column_labels_.data(); }
    /// Column of row i's partner on the diagonal when it lies in [j0, j1) and both take part; else −1.
    index_t partner(index_t i, index_t j0, index_t j1) const {
        const index_t j = i + diagonal_;
        return !labelled_ && j >= j0 && j < j1 && row_present(i) && column_present(j) ? j : -1;
    }
    /// Overwrites what takes no part in rows [i0, …) and columns [j0, …) of a tile.
    template <class T>
    void blank(cpu_context& ctx, const tensor_view<T, 2>& tile, index_t i0, index_t j0, T value) const {
        if (!masked()) return;
        parallel_kernel(ctx, tile.extent(0), 16, [&](index_t begin, index_t end) {
            for (index_t i = begin; i < end; ++i) {
                T* const x = tile[i].data();
                const bool here = row_present(i0 + i);
                for (index_t j = 0; j < tile.extent(1); ++j) {
                    if (!here || !column_present(j0 + j)) x[j] = value;
                }
            }
        });
    }

private:
    static std::vector<std::uint8_t> present(const tensor_view<const std::uint8_t, 1>& mask, index_t n) {
        std::vector<std::uint8_t> v(mask.extent(0) != 0 ? static_cast<std::size_t>(n) : 0);
        for (std::size_t i = 0; i < v.size(); ++i) v[i] = mask(static_cast<index_t>(i)) != 0;
        return v;
    }
    static std::vector<std::int32_t> labels(const tensor_view<const std::int32_t, 1>& from,
                                            const std::vector<std::uint8_t>& here) {
        std::vector<std::int32_t> v(static_cast<std::size_t>(from.extent(0)));
        for (std::size_t i = 0; i < v.size(); ++i)
            v[i] = here.empty() || here[i] != 0 ? from(static_cast<index_t>(i)) : -1;
        return v;
    }
    index_t diagonal_;
    std::vector<std::uint8_t> rows_, columns_;
    bool labelled_;
    std::vector<std::int32_t> row_labels_, column_labels_;
};

/// exp(logit_scale), checked.
template <class T>
T info_nce_scale(const char* op, const tensor_view<const T, 1>& logit_scale) {
    const T scale = std::exp(logit_scale(0));
    if (!std::isfinite(logit_scale(0)) || !std::isfinite(scale)) {
        throw value_error(std::string(op) + ": logit_scale is " + std::to_string(logit_scale(0)) +
                          ", it and its exponential must be finite");
    }
    return scale;
}

/// The tiles of a problem, one at a time. The scale goes into a copy of a's rows, so a logit is rounded once and is the same
/// number wherever it is used.
template <class T>
class info_nce_tiles {
public:
    info_nce_tiles(const tensor_view<const T, 2>& a, const tensor_view<const T, 2>& b, T scale)
        : a_(a),
          b_(b),
          scale_(scale),
          height_(std::min(a.extent(0), k_info_nce_tile)),
          width_(std::min(b.extent(0), k_info_nce_tile)),
          memory_((height_ * width_ + height_ * a.extent(1)) * static_cast<index_t>(sizeof(T) / sizeof(float))) {}

    /// f(i0, j0, tile), tile holding the logits of rows i0, … of a and j0, … of b. f may overwrite what takes no part.
    template <class F>
    void forwards(cpu_context& ctx, F&& f) {
        for (index_t t = 0; t < count(); ++t) f(row(t), column(t), fill(ctx, t));
    }
    /// From the last to the first: after `forwards` the last tile is still there, and is not computed again. f may overwrite.
    template <class F>
    void backwards(cpu_context& ctx, F&& f) {
        for (index_t t = count() - 1; t >= 0; --t) {
            f(row(t), column(t), fill(ctx, t));
            filled_ = -1;
        }
    }

private:
    index_t across() const { return (b_.extent(0) + k_info_nce_tile - 1) / k_info_nce_tile; }
    index_t count() const { return (a_.extent(0) + k_info_nce_tile - 1) / k_info_nce_tile * across(); }
    index_t row(index_t t) const { return t / across() * k_info_nce_tile; }
    index_t column(index_t t) const { return t % across() * k_info_nce_tile; }

    tensor_view<T, 2> fill(cpu_context& ctx, index_t t) {
        const index_t i0 = row(t), j0 = column(t), d = a_.extent(1);
        const index_t rows = std::min(a_.extent(0) - i0, k_info_nce_tile),
                      columns = std::min(b_.extent(0) - j0, k_info_nce_tile);
        T* const memory = reinterpret_cast<T*>(memory_.data());
        const tensor_view<T, 2> tile(memory, {rows, columns}), scaled(memory + height_ * width_, {rows, d});
        if (t == filled_) return tile;
        if (i0 != scaled_row_) {
            parallel_kernel(ctx, rows, row_grain(d), [&](index_t begin, index_t end) {
                for (index_t r = begin; r < end; ++r) scale_row<T>(scaled[r].data(), a_[i0 + r].data(), scale_, d);
            });
        }
        scaled_row_ = i0;
        filled_ = t;
        gemm<T>(ctx, tile, scaled, b_.rows(j0, j0 + columns), {.transpose_b = true});
        return tile;
    }

    tensor_view<const T, 2> a_, b_;
    T scale_;
    index_t height_, width_;
    // From the pool of the products: fresh memory would be paid for in page faults at every call.
    detail::gemm_shared_scratch memory_;
    index_t filled_ = -1, scaled_row_ = -1;
};

}  // namespace instar::ops::cpu

#endif
