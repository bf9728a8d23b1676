#ifndef INSTAR_OPS_CUDA_SUP_CON_CUH
#define INSTAR_OPS_CUDA_SUP_CON_CUH

// Supervised contrastive loss on a GPU: panels of rows of the similarity matrix by cuBLASLt, one kernel that turns a panel
// into losses and gradients in place, and two more products. Memory: one panel of at most k_sup_con_rows × n floats.
//
//     ops::sup_con(ctx, loss, dz, z, labels, {.temperature = 0.1f});
//
// bf16 is computed in float throughout: similarities divided by a temperature of 0.1 have no digits to spare.

#include "instar/cuda/row_group.cuh"
#include "instar/ops/cuda/cross_entropy.cuh"
#include "instar/ops/cuda/gemm.cuh"
#include "instar/ops/sup_con.hpp"

namespace instar::ops {

namespace cuda {

/// Rows of a panel. Fixed: the gradient's sums follow it.
inline constexpr index_t k_sup_con_rows = 1024;

/// Row i = first + row of the similarities z_i · z_j in, its share of the gradient at z · zᵀ out:
/// s_j := w/τ · (softmax_j − [j ∈ P(i)]/|P(i)|), with w = 1 / denominator and τ the temperature.
template <int Warps>
__global__ void sup_con_row_kernel(tensor_view<float, 1> loss, tensor_view<float, 2> panel, tensor_view<const std::int32_t, 1> labels,
                                   index_t first, float inv_temperature, float inv_denominator) {
    row_group<Warps> group;
    const index_t row = group.row(), n = panel.extent(1);
    if (row >= panel.extent(0)) return;
    const index_t i = first + row;
    float* const s = panel.data() + row * panel.stride(0);
    const std::int32_t label = labels(i);
    online_sum exponentials;
    float positive_sum = 0.0f;
    int n_mine = 0;  // positives that this thread met: exact, whatever n
    for (index_t j = group.lane(); j < n; j += row_group<Warps>::size) {
        const float value = s[j] * inv_temperature;
        if (j == i) continue;
        exponentials.add(value);
        if (labels(j) == label) {
            positive_sum += value;
            ++n_mine;
        }
    }
    const float lse = exponentials.log_sum_exp(group);
    positive_sum = group.sum(positive_sum);
    const float n_positives = label < 0 ? 0.0f : group.sum(static_cast<float>(n_mine));
    const bool anchor = n_positives > 0.0f;
    const float share = anchor ? 1.0f / n_positives : 0.0f;
    if (group.lane() == 0) loss(i) = anchor ? inv_denominator * (lse - share * positive_sum) : 0.0f;
    const float scale = inv_denominator * inv_temperature;
    for (index_t j = group.lane(); j < n; j += row_group<Warps>::size) {
        const float p = expf(s[j] * inv_temperature - lse) - (labels(j) == label ? share : 0.0f);
        s[j] = anchor && j != i ? scale * p : 0.0f;
    }
}

/// to = from, element types converted, rows strided.
template <class To, class From>
__global__ void convert_rows_kernel(tensor_view<To, 2> to, tensor_view<const From, 2> from) {
    const index_t i = grid_thread(), d = to.extent(1);
    if (i >= to.size()) return;
    to.data()[i / d * to.stride(0) + i % d] = from_float<To>(to_float(from.data()[i / d * from.stride(0) + i % d]));
}

inline void sup_con_float(cuda_context& ctx, const char* op, const tensor_view<float, 1>& loss, const tensor_view<float, 2>& dz,
                          const tensor_view<const float, 2>& z, const tensor_view<const std::int32_t, 1>& labels, const sup_con_options& options) {
    const index_t n = z.extent(0);
    const scratch<float> memory(ctx, std::min(n, k_sup_con_rows) * n, op);
    for (index_t begin = 0; begin < n; begin += k_sup_con_rows) {
        const index_t end = std::min(n, begin + k_sup_con_rows);
        const tensor_view<float, 2> panel(memory.data(), {end - begin, n});
        const tensor_view<const float, 2> rows = z.rows(begin, end);
        if (z.extent(1) > 0) {
            matmul<float>(ctx, op, panel, rows, z, {.transpose_b = true});
        } else {
            clear(ctx, op, panel);
        }
        launch_rows(ctx, op, end - begin, n, sup_con_row_kernel<1>, sup_con_row_kernel<k_block_warps>, loss, panel, labels, begin,
                    static_cast<float>(1.0 / options.temperature), static_cast<float>(1.0 / options.denominator));
        if (z.extent(1) == 0) continue;
        matmul<float>(ctx, op, dz.rows(begin, end), panel, z, {.accumulate = true});
        matmul<float>(ctx, op, dz, panel, rows, {.transpose_a = true, .accumulate = true});
    }
}

}  // namespace cuda

template <class T>
void sup_con(cuda_context& ctx, out_view<accumulator_t<T>, 1> loss, tensor_view<T, 2> dz, in_view<T, 2> z,
             tensor_view<const std::int32_t, 1> labels, sup_con_options options) {
    static constexpr const char* k_op = "sup_con";
    const index_t n = z.extent(0), d = z.extent(1);
    instar::detail::check_shape(k_op, "loss", loss, {n});
    instar::detail::check_shape(k_op, "dz", dz, {n, d});
    instar::detail::check_shape(k_op, "labels", labels, {n});
    cuda::check_rows(k_op, "dz", dz);
    cuda::check_rows(k_op, "z", z);
    if (!(options.temperature > 0.0)) {
        throw value_error(std::string(k_op) + ": options.temperature must be positive, is " + std::to_string(options.temperature));
    }
    if (!(options.denominator != 0.0)) throw value_error(std::string(k_op) + ": options.denominator must not be zero");
    if (n == 0) return;
    if constexpr (std::is_same_v<T, float>) {
        cuda::sup_con_float(ctx, k_op, loss, dz, z, labels, options);
    } else {
        const cuda::scratch<float> memory(ctx, 2 * n * d, k_op);
        const tensor_view<float, 2> z_float(memory.data(), {n, d}), dz_float(memory.data() + n * d, {n, d});
        const cuda::extent3 grid{cuda::blocks_for(n * d, 256)};
        cuda::launch(ctx, k_op, cuda::convert_rows_kernel<float, T>, grid, {256}, 0, z_float, z);
        cuda::launch(ctx, k_op, cuda::convert_rows_kernel<float, T>, grid, {256}, 0, dz_float, dz);
        cuda::sup_con_float(ctx, k_op, loss, dz_float, z_float, labels, options);
        cuda::launch(ctx, k_op, cuda::convert_rows_kernel<T, float>, grid, {256}, 0, dz, dz_float);
    }
}

}  // namespace instar::ops

#endif
