#ifndef INSTAR_OPS_CUDA_SIGLIP_CUH
#define INSTAR_OPS_CUDA_SIGLIP_CUH

// The sigmoid loss on a GPU: one kernel makes a tile of logits, its losses and its gradient; two products carry the gradient
// on. Panels of fixed size, no atomics.
//
//     ops::siglip<float>(ctx, loss, da, db, d_logit_scale, d_logit_bias, a, b, logit_scale, logit_bias, {}, {});

#include "instar/ops/cuda/elementwise.cuh"
#include "instar/ops/cuda/info_nce_tiles.cuh"
#include "instar/ops/siglip.hpp"

namespace instar::ops {

namespace cuda {

/// What a tile of the sigmoid loss is computed from.
struct siglip_arguments {
    const float* logit_scale;
    const float* logit_bias;
    const float* weight;  ///< [1]
    nce_partners who;
    index_t row_begin, column_begin;
};

/// One tile: losses of its rows to losses[block's column][row], exp(logit_scale) · G to `panel` (unless that is null), and the
/// tile's Σ G (z − bias) and Σ G to moments[block] and sums[block].
template <class T>
__global__ void __launch_bounds__(k_nce_threads, 2)
    siglip_kernel(tensor_view<float, 2> losses, tensor_view<T, 2> panel, float* moments, float* sums,
                  nce_operand<T> a, nce_operand<T> b, siglip_arguments s) {
    INSTAR_SHARED_ARRAY(float, slots, k_nce_threads / k_warp_size);
    shared_memory memory;
    const nce_stage<T> stage(memory);
    const index_t first_row = block_y() * k_nce_edge, first_column = block_x() * k_nce_edge;
    nce_sums z;
    nce_product(z, a, first_row, b, first_column, stage);
    const float scale = expf(s.logit_scale[0]), bias = s.logit_bias[0], weight = s.weight[0];
    float moment = 0.0f, sum = 0.0f;
    INSTAR_UNROLL
    for (int i = 0; i < k_nce_each; ++i) {
        const index_t r = first_row + nce_row(i), row = s.row_begin + r;
        const bool row_here = r < a.n_rows && s.who.row_here(row);
        float loss = 0.0f;
        INSTAR_UNROLL
        for (int j = 0; j < k_nce_each; ++j) {
            const index_t c = first_column + nce_column(j), column = s.column_begin + c;
            float g = 0.0f;
            if (row_here && c < b.n_rows && s.who.column_here(column)) {
                const bool partner = s.who.partners(row, column);
                const float x = __fmul_rn(scale, z[i][j]), y = partner ? -(x + bias) : x + bias, e = expf(-fabsf(y));
                loss += fmaxf(y, 0.0f) + log1pf(e);
                const float sigmoid = (y < 0.0f ? e : 1.0f) / (1.0f + e);
                g = weight * (partner ? -sigmoid : sigmoid);
                moment += g * x;
                sum += g;
            }
            if (panel.data() != nullptr && r < a.n_rows && c < b.n_rows)
                panel.data()[r * panel.stride(0) + c] = from_float<T>(scale * g);
        }
        loss = nce_row_reduce(loss, plus{});
        if (nce_column(0) == 0 && r < a.n_rows) losses(block_x(), r) = loss;
    }
    const index_t block = block_y() * gridDim.x + block_x();
    moment = nce_block_sum(moment, slots);
    sum = nce_block_sum(sum, slots);
    if (thread_x() == 0) {
        moments[block] = moment;
        sums[block] = sum;
    }
}

/// loss[i] += weight · Σ over tiles, in order.
template <class A>
__global__ void siglip_add_losses_kernel(tensor_view<A, 1> loss, tensor_view<A, 2> parts, index_t n_tiles,
                                         const A* weight) {
    const index_t i = grid_thread();
    if (i >= loss.extent(0)) return;
    float sum = 0.0f;
    for (index_t t = 0; t < n_tiles; ++t) sum += parts(t, i);
    loss(i) += weight[0] * sum;
}

/// w[0] = weight, divided by the number of rows that take part when `mean`; one block.
template <class A>
__global__ void siglip_weight_kernel(A* w, nce_partners who, double weight, bool mean) {
    INSTAR_SHARED_ARRAY(float, slots, k_nce_threads / k_warp_size);
    float here = 0.0f;
    for (index_t i = thread_x(); i < who.n; i += k_nce_threads) here += who.row_here(i) ? 1.0f : 0.0f;
    here = nce_block_sum(here, slots);
    if (thread_x() == 0)
        w[0] = static_cast<float>(mean ? (here > 0.0f ? weight / static_cast<double>(here) : 0.0) : weight);
}

/// `panel`: a multiple of k_nce_edge.
template <class T>
void siglip_panels(cuda_context& ctx, const char* op, const tensor_view<float, 1>& loss, const tensor_view<T, 2>& da,
                   const tensor_view<T, 2>& db, const tensor_view<float, 1>& d_logit_scale,
                   const tensor_view<float, 1>& d_logit_bias, const tensor_view<const T, 2>& a,
                   const tensor_view<const T, 2>& b, const float* logit_scale, const float* logit_bias,
                   const info_nce_targets& targets, const siglip_options& options, index_t panel) {
    const index_t n = a.extent(0), m = b.extent(0), d = a.extent(1);
    const bool gradient = da.extent(0) != 0 || db.extent(0) != 0;
    if (n == 0) return;
    fill_values<float>(ctx, op, loss, 0.0f);
    if (m == 0) return;
    const nce_partners who = make_nce_partners(targets, n, m);
    const index_t height = std::min(n, panel), width = std::min(m, panel), most_across = ceil_div(width, k_nce_edge),
                  most_down = ceil_div(height, k_nce_edge);
    const scratch<T> gradient_memory(ctx, gradient ? height * width : 0, op);
    const scratch<float> memory(ctx, most_across * height + 2 * most_across * most_down + 1, op);
    float* const moments = memory.data() + most_across * height;
    float* const sums = moments + most_across * most_down;
    float* const weight = sums + most_across * most_down;
    launch(ctx, op, siglip_weight_kernel<float>, {1}, {k_nce_threads}, 0, weight, who, options.weight, options.mean);
    nce_gradient<T> to_a(ctx, op, da.extent(0) != 0 ? height : 0, d), to_b(ctx, op, db.extent(0), d);
    to_b.start(db);
    for (index_t i0 = 0; i0 < n; i0 += panel) {
        const index_t i1 = std::min(n, i0 + panel);
        to_a.start(da.extent(0) != 0 ? da.rows(i0, i1) : da);
        for (index_t j0 = 0; j0 < m; j0 += panel) {
            const index_t j1 = std::min(m, j0 + panel);
            const auto a_rows = a.rows(i0, i1), b_rows = b.rows(j0, j1);
            const extent3 grid = nce_grid(i1 - i0, j1 - j0);
            const index_t n_blocks = index_t{grid.x} * grid.y;
            const tensor_view<float, 2> parts(memory.data(), {index_t{grid.x}, i1 - i0});
            const tensor_view<T, 2> g(gradient ? gradient_memory.data() : nullptr, {i1 - i0, j1 - j0});
            launch(ctx, op, siglip_kernel<T>, grid, {k_nce_threads}, nce_stage<T>::bytes, parts, g, moments, sums,
                   nce_operand<T>::rows(a_rows), nce_operand<T>::rows(b_rows),
                   siglip_arguments{logit_scale, logit_bias, weight, who, i0, j0});
            launch(ctx, op, siglip_add_losses_kernel<float>, {blocks_for(i1 - i0, 256)}, {256}, 0, loss.rows(i0, i1),
                   parts, index_t{grid.x}, weight);
            if (d_logit_scale.extent(0) != 0)
                launch(ctx, op, nce_add_sum_kernel<float>, {1}, {k_nce_threads}, 0, d_logit_scale.data(), moments,
                       n_blocks);
            if (d_logit_bias.extent(0) != 0)
                launch(ctx, op, nce_add_sum_kernel<float>, {1}, {k_nce_threads}, 0, d_logit_bias.data(), sums,
                       n_blocks);
            to_a.add(0, i1 - i0, nce_operand<T>::rows(g), nce_operand<T>::columns(b_rows));
            to_b.add(j0, j1, nce_operand<T>::columns(g), nce_operand<T>::columns(a_rows));
        }
        to_a.finish();
    }
    to_b.finish();
}

}  // namespace cuda

template <class T>
void siglip(cuda_context& ctx, out_view<accumulator_t<T>, 1> loss, out_view<T, 2> da, out_view<T, 2> db,
            out_view<accumulator_t<T>, 1> d_logit_scale, out_view<accumulator_t<T>, 1> d_logit_bias, in_view<T, 2> a,
            in_view<T, 2> b, in_view<accumulator_t<T>, 1> logit_scale, in_view<accumulator_t<T>, 1> logit_bias,
            info_nce_targets targets, siglip_options options) {
    static constexpr const char* k_op = "siglip";
    detail::check_siglip<T, float>(k_op, loss, da, db, d_logit_scale, d_logit_bias, a, b, logit_scale, logit_bias,
                                   targets);
    instar::detail::check_contiguous(k_op, "loss", loss);
    cuda::siglip_panels<T>(ctx, k_op, loss, da, db, d_logit_scale, d_logit_bias, a, b, logit_scale.data(),
                           logit_bias.data(), targets, options, cuda::k_nce_panel);
}

}  // namespace instar::ops

#endif
