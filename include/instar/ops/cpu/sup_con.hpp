#ifndef INSTAR_OPS_CPU_SUP_CON_HPP
#define INSTAR_OPS_CPU_SUP_CON_HPP

// Supervised contrastive loss on the CPU: panels of rows of the similarity matrix by gemm, a softmax a row, and two
// more products for the gradient. Memory: one panel of k_sup_con_rows × n.
//
//     ops::sup_con(ctx, loss, dz, z, labels, {.temperature = 0.1});

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_map>
#include <vector>

#include "instar/core/cpu_context.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/core/tensor.hpp"
#include "instar/ops/cpu/cross_entropy.hpp"
#include "instar/ops/cpu/grain.hpp"
#include "instar/ops/cpu/rows.hpp"
#include "instar/ops/gemm.hpp"
#include "instar/ops/sup_con.hpp"

namespace instar::ops {

namespace cpu {

/// Rows of a panel. Fixed: the gradient's sums follow it.
inline constexpr index_t k_sup_con_rows = 256;

/// |P(i)| for every row: how many others share its label; 0 for a negative label.
inline std::vector<index_t> sup_con_positives(tensor_view<const std::int32_t, 1> labels) {
    std::unordered_map<std::int32_t, index_t> count;
    for (index_t i = 0; i < labels.extent(0); ++i) ++count[labels(i)];
    std::vector<index_t> positives(static_cast<std::size_t>(labels.extent(0)));
    for (index_t i = 0; i < labels.extent(0); ++i) {
        positives[static_cast<std::size_t>(i)] = labels(i) >= 0 ? count[labels(i)] - 1 : 0;
    }
    return positives;
}

/// Row i of the similarities z_i · z_j in, its share of the gradient at z · zᵀ out; returns the loss. With
/// w = 1 / denominator and τ the temperature: s_j := w/τ · (softmax_j − [j ∈ P(i)]/|P(i)|).
template <class T>
double sup_con_row(T* s, index_t i, tensor_view<const std::int32_t, 1> labels, index_t n_positives, const sup_con_options& options) {
    const index_t n = labels.extent(0);
    if (n_positives == 0) {
        std::fill(s, s + n, T(0));
        return 0.0;
    }
    const T inv_temperature = static_cast<T>(1.0 / options.temperature);
    const double w = 1.0 / options.denominator, share = 1.0 / static_cast<double>(n_positives);
    const std::int32_t label = labels(i);
    double positive_sum = 0.0;
    scale_row<T>(s, s, inv_temperature, n);
    s[i] = -std::numeric_limits<T>::infinity();
    for (index_t j = 0; j < n; ++j) {
        if (labels(j) == label && j != i) positive_sum += static_cast<double>(s[j]);
    }
    const double lse = softmax_gradient_row<T>(s, s, n, w / options.temperature, T(0));
    const T pull = static_cast<T>(w / options.temperature * share);
    for (index_t j = 0; j < n; ++j) {
        if (labels(j) == label && j != i) s[j] -= pull;
    }
    return w * (lse - share * positive_sum);
}

}  // namespace cpu

template <class T>
void sup_con(cpu_context& ctx, out_view<accumulator_t<T>, 1> loss, tensor_view<T, 2> dz, in_view<T, 2> z,
             tensor_view<const std::int32_t, 1> labels, sup_con_options options) {
    static constexpr const char* k_op = "sup_con";
    const index_t n = z.extent(0), d = z.extent(1);
    instar::detail::check_shape(k_op, "loss", loss, {n});
    instar::detail::check_shape(k_op, "dz", dz, {n, d});
    instar::detail::check_shape(k_op, "labels", labels, {n});
    instar::detail::check_unit_stride(k_op, "dz", dz);
    instar::detail::check_unit_stride(k_op, "z", z);
    if (!(options.temperature > 0.0)) {
        throw value_error(std::string(k_op) + ": options.temperature must be positive, is " + std::to_string(options.temperature));
    }
    if (!(options.denominator != 0.0)) throw value_error(std::string(k_op) + ": options.denominator must not be zero");
    const std::vector<index_t> positives = cpu::sup_con_positives(labels);
    tensor<T, 2> panel_memory({std::min(n, cpu::k_sup_con_rows), n});
    for (index_t begin = 0; begin < n; begin += cpu::k_sup_con_rows) {
        const index_t end = std::min(n, begin + cpu::k_sup_con_rows);
        const auto panel = panel_memory.view().rows(0, end - begin);
        const auto rows = z.rows(begin, end);
        gemm<T>(ctx, panel, rows, z, {.transpose_b = true});
        parallel_kernel(ctx, end - begin, cpu::row_grain(n), [&](index_t first, index_t last) {
            for (index_t i = first; i < last; ++i) {
                const index_t row = begin + i;
                loss(row) = static_cast<accumulator_t<T>>(
                    cpu::sup_con_row<T>(panel[i].data(), row, labels, positives[static_cast<std::size_t>(row)], options));
            }
        });
        gemm<T>(ctx, dz.rows(begin, end), panel, z, {.accumulate = true});
        gemm<T>(ctx, dz, panel, rows, {.transpose_a = true, .accumulate = true});
    }
}

}  // namespace instar::ops

#endif
