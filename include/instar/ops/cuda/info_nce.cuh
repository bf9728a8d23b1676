#ifndef INSTAR_OPS_CUDA_INFO_NCE_CUH
#define INSTAR_OPS_CUDA_INFO_NCE_CUH

// InfoNCE on a GPU without the n × m matrix. Forward: a block computes a tile of logits and reduces it at once, over its rows
// and over its columns; the tiles' results are merged in order. Backward: the tile's logits again, their gradient to a panel of
// fixed size, and two products from there. No atomics: every sum has one owner, so the bits never change.
//
//     ops::info_nce_forward<float>(ctx, saved, a, b, logit_scale, {});

#include "instar/ops/cuda/elementwise.cuh"
#include "instar/ops/cuda/info_nce_tiles.cuh"
#include "instar/ops/info_nce.hpp"

namespace instar::ops {

namespace cuda {

// --- forward -------------------------------------------------------------------------------------------------------------------

/// Statistics of tiles: value `which` of element i in tile t at data[(t · k_values + which) · stride + i].
struct nce_parts {
    static constexpr int k_values = 4;  // max, sum, positive, count
    float* data;
    index_t stride;

    __device__ float& at(index_t tile, int which, index_t i) const {
        return data[(tile * k_values + which) * stride + i];
    }
};

/// One tile of logits; its statistics to row_parts (tile: the block's column) and column_parts (tile: the block's row).
template <class T>
__global__ void __launch_bounds__(k_nce_threads, 2)
    info_nce_statistics_kernel(nce_parts row_parts, nce_parts column_parts, nce_operand<T> a, nce_operand<T> b,
                               index_t row_begin, index_t column_begin, const float* logit_scale, nce_partners who) {
    shared_memory memory;
    const nce_stage<T> stage(memory);
    const shared_array<float> tall = memory.take<float>(3 * k_nce_side * k_nce_edge);  // 16 partial results a column
    const index_t first_row = block_y() * k_nce_edge, first_column = block_x() * k_nce_edge;
    nce_sums z;
    nce_product(z, a, first_row, b, first_column, stage);

    const float scale = expf(logit_scale[0]);
    bool row_here[k_nce_each], column_here[k_nce_each];
    INSTAR_UNROLL
    for (int i = 0; i < k_nce_each; ++i) {
        row_here[i] = first_row + nce_row(i) < a.n_rows && who.row_here(row_begin + first_row + nce_row(i));
        column_here[i] =
            first_column + nce_column(i) < b.n_rows && who.column_here(column_begin + first_column + nce_column(i));
    }
    float positive[k_nce_each] = {}, count[k_nce_each] = {};  // of the thread's columns
    INSTAR_UNROLL
    for (int i = 0; i < k_nce_each; ++i) {
        const index_t r = first_row + nce_row(i);
        float max = -INFINITY, row_positive = 0.0f, row_count = 0.0f;
        INSTAR_UNROLL
        for (int j = 0; j < k_nce_each; ++j) {
            // Rounded before anything is taken from it: the logit is the same number everywhere.
            z[i][j] = row_here[i] && column_here[j] ? __fmul_rn(scale, z[i][j]) : -INFINITY;
            max = fmaxf(max, z[i][j]);
            if (row_here[i] && column_here[j] &&
                who.partners(row_begin + r, column_begin + first_column + nce_column(j))) {
                row_positive += z[i][j];
                row_count += 1.0f;
                positive[j] += z[i][j];
                count[j] += 1.0f;
            }
        }
        max = nce_row_reduce(max, maximum{});
        const float shift = max == -INFINITY ? 0.0f : max;  // −∞ − −∞ would be NaN
        float sum = 0.0f;
        INSTAR_UNROLL
        for (int j = 0; j < k_nce_each; ++j) sum += expf(z[i][j] - shift);
        sum = nce_row_reduce(sum, plus{});
        row_positive = nce_row_reduce(row_positive, plus{});
        row_count = nce_row_reduce(row_count, plus{});
        if (nce_column(0) == 0 && r < a.n_rows) {
            row_parts.at(block_x(), 0, r) = max;
            row_parts.at(block_x(), 1, r) = sum;
            row_parts.at(block_x(), 2, r) = row_positive;
            row_parts.at(block_x(), 3, r) = row_count;
        }
    }
    if (column_parts.data == nullptr) return;

    // Columns: each thread's 8 rows first, then the 16 threads that share a column, through shared memory.
    float shift[k_nce_each];
    INSTAR_UNROLL
    for (int j = 0; j < k_nce_each; ++j) {
        float max = -INFINITY;
        INSTAR_UNROLL
        for (int i = 0; i < k_nce_each; ++i) max = fmaxf(max, z[i][j]);
        tall[nce_row(0) * k_nce_edge + nce_column(j)] = max;
    }
    __syncthreads();
    INSTAR_UNROLL
    for (int j = 0; j < k_nce_each; ++j) {
        shift[j] = -INFINITY;
        for (int y = 0; y < k_nce_side; ++y) shift[j] = fmaxf(shift[j], tall[y * k_nce_edge + nce_column(j)]);
        const index_t c = first_column + nce_column(j);
        if (nce_row(0) == 0 && c < b.n_rows) column_parts.at(block_y(), 0, c) = shift[j];
        if (shift[j] == -INFINITY) shift[j] = 0.0f;
    }
    __syncthreads();
    INSTAR_UNROLL
    for (int j = 0; j < k_nce_each; ++j) {
        float sum = 0.0f;
        INSTAR_UNROLL
        for (int i = 0; i < k_nce_each; ++i) sum += expf(z[i][j] - shift[j]);
        const int at = nce_row(0) * k_nce_edge + nce_column(j);
        tall[at] = sum;
        tall[k_nce_side * k_nce_edge + at] = positive[j];
        tall[2 * k_nce_side * k_nce_edge + at] = count[j];
    }
    __syncthreads();
    for (int p = thread_x(); p < 3 * k_nce_edge; p += k_nce_threads) {
        const int which = p / k_nce_edge, column = p % k_nce_edge;
        float sum = 0.0f;
        for (int y = 0; y < k_nce_side; ++y) {
            const float part = tall[(which * k_nce_side + y) * k_nce_edge + column];
            sum += part;
        }
        if (first_column + column < b.n_rows) column_parts.at(block_y(), 1 + which, first_column + column) = sum;
    }
}

/// Begins statistics that have seen nothing.
template <class A>
__global__ void info_nce_clear_kernel(info_nce_side<A> side) {
    const index_t i = grid_thread();
    if (i >= side.size()) return;
    side.max(i) = -INFINITY;
    side.sum(i) = side.positive(i) = side.count(i) = 0.0f;
}

/// One element's statistics while parts are added.
struct nce_running {
    float max, sum, positive, count;

    __device__ nce_running(const info_nce_side<float>& side, index_t i)
        : max(side.max(i)),
          sum(side.sum(i)),
          positive(side.positive(i)),
          count(side.count(i)) {}
    __device__ void add(float top, float part, float more_positive, float more_count) {
        if (top > max) {
            sum = (sum != 0.0f ? sum * expf(max - top) : 0.0f) + part;
            max = top;
        } else {
            sum += top == -INFINITY ? part : part * expf(top - max);  // −∞: 0, or NaN
        }
        positive += more_positive;
        count += more_count;
    }
    __device__ void write(const info_nce_side<float>& side, index_t i) const {
        side.max(i) = max;
        side.sum(i) = sum;
        side.positive(i) = positive;
        side.count(i) = count;
    }
};

/// Adds the parts of all tiles, in order.
template <class A>
__global__ void info_nce_add_parts_kernel(info_nce_side<A> side, nce_parts parts, index_t n_tiles) {
    const index_t i = grid_thread();
    if (i >= side.size()) return;
    nce_running s(side, i);
    for (index_t t = 0; t < n_tiles; ++t)
        s.add(parts.at(t, 0, i), parts.at(t, 1, i), parts.at(t, 2, i), parts.at(t, 3, i));
    s.write(side, i);
}

template <class A>
__global__ void info_nce_merge_kernel(info_nce_side<A> into, info_nce_side<A> part) {
    const index_t i = grid_thread();
    if (i >= into.size()) return;
    nce_running s(into, i);
    s.add(part.max(i), part.sum(i), part.positive(i), part.count(i));
    s.write(into, i);
}

inline info_nce_side<float> nce_side_rows(const info_nce_side<float>& side, index_t begin, index_t end) {
    info_nce_side<float> s;
    s.max = side.max.rows(begin, end);
    s.sum = side.sum.rows(begin, end);
    s.positive = side.positive.rows(begin, end);
    s.count = side.count.rows(begin, end);
    return s;
}

/// `panel`: a multiple of k_nce_edge.
template <class T>
void info_nce_forward_panels(cuda_context& ctx, const char* op, const info_nce_saved<float>& saved,
                             const tensor_view<const T, 2>& a, const tensor_view<const T, 2>& b,
                             const tensor_view<const float, 1>& logit_scale, const info_nce_targets& targets,
                             index_t panel) {
    const index_t n = a.extent(0), m = b.extent(0);
    const bool both = saved.column.size() != 0;
    const nce_partners who = make_nce_partners(targets, n, m);
    launch(ctx, op, info_nce_clear_kernel<float>, {blocks_for(n, 256)}, {256}, 0, saved.row);
    if (both) launch(ctx, op, info_nce_clear_kernel<float>, {blocks_for(m, 256)}, {256}, 0, saved.column);
    if (n == 0 || m == 0) return;
    const index_t height = std::min(n, panel), width = std::min(m, panel);
    const scratch<float> row_memory(ctx, nce_parts::k_values * ceil_div(width, k_nce_edge) * height, op);
    const scratch<float> column_memory(ctx, both ? nce_parts::k_values * ceil_div(height, k_nce_edge) * width : 0, op);
    const nce_parts row_parts{row_memory.data(), height}, column_parts{both ? column_memory.data() : nullptr, width};
    const std::size_t shared = nce_stage<T>::bytes + instar::cuda::shared_bytes<float>(3 * k_nce_side * k_nce_edge);
    for (index_t i0 = 0; i0 < n; i0 += panel) {
        const index_t i1 = std::min(n, i0 + panel);
        for (index_t j0 = 0; j0 < m; j0 += panel) {
            const index_t j1 = std::min(m, j0 + panel);
            launch(ctx, op, info_nce_statistics_kernel<T>, nce_grid(i1 - i0, j1 - j0), {k_nce_threads}, shared,
                   row_parts, column_parts, nce_operand<T>::rows(a.rows(i0, i1)), nce_operand<T>::rows(b.rows(j0, j1)),
                   i0, j0, logit_scale.data(), who);
            launch(ctx, op, info_nce_add_parts_kernel<float>, {blocks_for(i1 - i0, 256)}, {256}, 0,
                   nce_side_rows(saved.row, i0, i1), row_parts, ceil_div(j1 - j0, k_nce_edge));
            if (!both) continue;
            launch(ctx, op, info_nce_add_parts_kernel<float>, {blocks_for(j1 - j0, 256)}, {256}, 0,
                   nce_side_rows(saved.column, j0, j1), column_parts, ceil_div(i1 - i0, k_nce_edge));
        }
    }
}

// --- loss ----------------------------------------------------------------------------------------------------------------------

/// w[0] = weight, divided by the number of anchors when `mean`; one block.
template <class A>
__global__ void info_nce_weight_kernel(A* w, tensor_view<A, 1> count, double weight, bool mean) {
    INSTAR_SHARED_ARRAY(float, slots, k_nce_threads / k_warp_size);
    float anchors = 0.0f;
    for (index_t i = thread_x(); i < count.extent(0); i += k_nce_threads) anchors += count(i) > 0.0f ? 1.0f : 0.0f;
    anchors = nce_block_sum(anchors, slots);
    if (thread_x() == 0)
        w[0] = static_cast<float>(mean ? (anchors > 0.0f ? weight / static_cast<double>(anchors) : 0.0) : weight);
}

template <class A>
__global__ void info_nce_loss_kernel(tensor_view<A, 1> loss, info_nce_side<A> side, const A* w, bool normalize) {
    const index_t i = grid_thread();
    if (i >= side.size()) return;
    const float count = side.count(i);
    // The maximum first: it is the partner's logit, to the bit, where the sum is near 1.
    const float each = side.max(i) - side.positive(i) / count + logf(side.sum(i));
    loss(i) = count > 0.0f ? w[0] * (normalize ? each : count * each) : 0.0f;
}

// --- backward ------------------------------------------------------------------------------------------------------------------

/// Per sample: its logits' exponentials are taken relative to `shift` and times `weight`; each partner pulls with `pull`.
struct nce_factors {
    float* data = nullptr;  // [3, n]
    index_t n = 0;

    __device__ float& shift(index_t i) const { return data[i]; }
    __device__ float& weight(index_t i) const { return data[n + i]; }
    __device__ float& pull(index_t i) const { return data[2 * n + i]; }
};

/// A side without statistics has no anchors.
template <class A>
__global__ void info_nce_factors_kernel(nce_factors f, info_nce_side<A> side, const A* w, bool normalize) {
    const index_t i = grid_thread();
    if (i >= f.n) return;
    const float count = side.size() != 0 ? side.count(i) : 0.0f;
    const bool anchor = count > 0.0f;
    f.shift(i) = anchor ? side.max(i) : INFINITY;
    f.weight(i) = anchor ? (normalize ? w[0] : w[0] * count) / side.sum(i) : 0.0f;
    f.pull(i) = anchor ? (normalize ? w[0] / count : w[0]) : 0.0f;
}

/// One tile of exp(logit_scale) · G into `panel`, and the tile's Σ G z to moments[block].
template <class T>
__global__ void __launch_bounds__(k_nce_threads, 2)
    info_nce_gradient_kernel(tensor_view<T, 2> panel, float* moments, nce_operand<T> a, nce_operand<T> b,
                             index_t row_begin, index_t column_begin, const float* logit_scale, nce_partners who,
                             nce_factors rows, nce_factors columns) {
    INSTAR_SHARED_ARRAY(float, slots, k_nce_threads / k_warp_size);
    shared_memory memory;
    const nce_stage<T> stage(memory);
    const index_t first_row = block_y() * k_nce_edge, first_column = block_x() * k_nce_edge;
    nce_sums z;
    nce_product(z, a, first_row, b, first_column, stage);
    const float scale = expf(logit_scale[0]);
    float moment = 0.0f;
    INSTAR_UNROLL
    for (int i = 0; i < k_nce_each; ++i) {
        const index_t r = first_row + nce_row(i), row = row_begin + r;
        if (r >= panel.extent(0)) continue;
        const bool here = who.row_here(row);
        const float row_shift = rows.shift(row), row_weight = rows.weight(row), row_pull = rows.pull(row);
        INSTAR_UNROLL
        for (int j = 0; j < k_nce_each; ++j) {
            const index_t c = first_column + nce_column(j), column = column_begin + c;
            if (c >= panel.extent(1)) continue;
            float g = 0.0f;
            if (here && who.column_here(column)) {
                const float logit = __fmul_rn(scale, z[i][j]);
                g = row_weight * expf(logit - row_shift) + columns.weight(column) * expf(logit - columns.shift(column));
                if (who.partners(row, column)) g -= row_pull + columns.pull(column);
                moment += g * logit;
            }
            panel.data()[r * panel.stride(0) + c] = from_float<T>(scale * g);
        }
    }
    moment = nce_block_sum(moment, slots);
    if (thread_x() == 0) moments[block_y() * gridDim.x + block_x()] = moment;
}

template <class T>
void info_nce_backward_panels(cuda_context& ctx, const char* op, const tensor_view<T, 2>& da,
                              const tensor_view<T, 2>& db, const tensor_view<float, 1>& d_logit_scale,
                              const info_nce_saved<float>& saved, const tensor_view<const T, 2>& a,
                              const tensor_view<const T, 2>& b, const tensor_view<const float, 1>& logit_scale,
                              const info_nce_targets& targets, const info_nce_options& options, index_t panel) {
    const index_t n = a.extent(0), m = b.extent(0), d = a.extent(1);
    if (n == 0 || m == 0) return;
    const nce_partners who = make_nce_partners(targets, n, m);
    const scratch<float> factor_memory(ctx, 3 * (n + m) + 2, op);
    const nce_factors rows{factor_memory.data(), n}, columns{factor_memory.data() + 3 * n, m};
    float* const weights = factor_memory.data() + 3 * (n + m);
    const auto prepare = [&](const nce_factors& f, const info_nce_side<float>& side, float* w, double weight) {
        launch(ctx, op, info_nce_weight_kernel<float>, {1}, {k_nce_threads}, 0, w, side.count, weight, options.mean);
        launch(ctx, op, info_nce_factors_kernel<float>, {blocks_for(f.n, 256)}, {256}, 0, f, side, w,
               options.normalize_targets);
    };
    prepare(rows, saved.row, weights, options.row_weight);
    prepare(columns, saved.column, weights + 1, options.column_weight);

    const index_t height = std::min(n, panel), width = std::min(m, panel);
    const scratch<T> gradient_memory(ctx, height * width, op);
    const scratch<float> moments(ctx, ceil_div(height, k_nce_edge) * ceil_div(width, k_nce_edge), op);
    nce_gradient<T> to_a(ctx, op, da.extent(0) != 0 ? height : 0, d), to_b(ctx, op, db.extent(0), d);
    to_b.start(db);
    for (index_t i0 = 0; i0 < n; i0 += panel) {
        const index_t i1 = std::min(n, i0 + panel);
        to_a.start(da.extent(0) != 0 ? da.rows(i0, i1) : da);
        for (index_t j0 = 0; j0 < m; j0 += panel) {
            const index_t j1 = std::min(m, j0 + panel);
            const tensor_view<T, 2> g(gradient_memory.data(), {i1 - i0, j1 - j0});
            const auto a_rows = a.rows(i0, i1), b_rows = b.rows(j0, j1);
            const extent3 grid = nce_grid(i1 - i0, j1 - j0);
            launch(ctx, op, info_nce_gradient_kernel<T>, grid, {k_nce_threads}, nce_stage<T>::bytes, g, moments.data(),
                   nce_operand<T>::rows(a_rows), nce_operand<T>::rows(b_rows), i0, j0, logit_scale.data(), who, rows,
                   columns);
            if (d_logit_scale.extent(0) != 0) {
                launch(ctx, op, nce_add_sum_kernel<float>, {1}, {k_nce_threads}, 0, d_logit_scale.data(),
                       moments.data(), index_t{grid.x} * grid.y);
            }
            to_a.add(0, i1 - i0, nce_operand<T>::rows(g), nce_operand<T>::columns(b_rows));
            to_b.add(j0, j1, nce_operand<T>::columns(g), nce_operand<T>::columns(a_rows));
        }
        to_a.finish();
    }
    to_b.finish();
}

}  // namespace cuda

template <class T>
void info_nce_forward(cuda_context& ctx, std::type_identity_t<info_nce_saved<accumulator_t<T>>> saved, in_view<T, 2> a,
                      in_view<T, 2> b, in_view<accumulator_t<T>, 1> logit_scale, info_nce_targets targets) {
    static constexpr const char* k_op = "info_nce_forward";
    detail::check_info_nce<T>(k_op, saved, a, b, logit_scale, targets);
    cuda::info_nce_forward_panels<T>(ctx, k_op, saved, a, b, logit_scale, targets, cuda::k_nce_panel);
}

template <class T>
void info_nce_merge(cuda_context& ctx, std::type_identity_t<info_nce_side<accumulator_t<T>>> into,
                    std::type_identity_t<info_nce_side<accumulator_t<T>>> part) {
    static constexpr const char* k_op = "info_nce_merge";
    const index_t n = into.size();
    detail::check_info_nce_side(k_op, "side (into)", into, n);
    detail::check_info_nce_side(k_op, "side (part)", part, n);
    cuda::launch(ctx, k_op, cuda::info_nce_merge_kernel<float>, {cuda::blocks_for(n, 256)}, {256}, 0, into, part);
}

template <class T>
void info_nce_loss(cuda_context& ctx, out_view<accumulator_t<T>, 1> row_loss, out_view<accumulator_t<T>, 1> column_loss,
                   std::type_identity_t<info_nce_saved<accumulator_t<T>>> saved, info_nce_options options) {
    static constexpr const char* k_op = "info_nce_loss";
    detail::check_info_nce_losses(k_op, row_loss, column_loss, saved);
    const cuda::scratch<float> weights(ctx, 2, k_op);
    const auto write = [&](const tensor_view<float, 1>& loss, const info_nce_side<float>& side, float* w,
                           double weight) {
        if (side.size() == 0) return;
        cuda::launch(ctx, k_op, cuda::info_nce_weight_kernel<float>, {1}, {cuda::k_nce_threads}, 0, w, side.count,
                     weight, options.mean);
        cuda::launch(ctx, k_op, cuda::info_nce_loss_kernel<float>, {cuda::blocks_for(side.size(), 256)}, {256}, 0, loss,
                     side, w, options.normalize_targets);
    };
    write(row_loss, saved.row, weights.data(), options.row_weight);
    write(column_loss, saved.column, weights.data() + 1, options.column_weight);
}

template <class T>
void info_nce_backward(cuda_context& ctx, tensor_view<T, 2> da, out_view<T, 2> db,
                       out_view<accumulator_t<T>, 1> d_logit_scale,
                       std::type_identity_t<info_nce_saved<accumulator_t<T>>> saved, in_view<T, 2> a, in_view<T, 2> b,
                       in_view<accumulator_t<T>, 1> logit_scale, info_nce_targets targets, info_nce_options options) {
    static constexpr const char* k_op = "info_nce_backward";
    detail::check_info_nce<T>(k_op, saved, a, b, logit_scale, targets);
    detail::check_info_nce_gradients(k_op, da, db, d_logit_scale, a.extent(0), b.extent(0), a.extent(1));
    cuda::info_nce_backward_panels<T>(ctx, k_op, da, db, d_logit_scale, saved, a, b, logit_scale, targets, options,
                                      cuda::k_nce_panel);
}

template <class T>
void info_nce(cuda_context& ctx, out_view<accumulator_t<T>, 1> row_loss, out_view<accumulator_t<T>, 1> column_loss,
              tensor_view<T, 2> da, out_view<T, 2> db, out_view<accumulator_t<T>, 1> d_logit_scale,
              std::type_identity_t<info_nce_saved<accumulator_t<T>>> saved, in_view<T, 2> a, in_view<T, 2> b,
              in_view<accumulator_t<T>, 1> logit_scale, info_nce_targets targets, info_nce_options options) {
    detail::check_info_nce_gradients("info_nce", da, db, d_logit_scale, a.extent(0), b.extent(0), a.extent(1));
    detail::check_info_nce_losses("info_nce", row_loss, column_loss, saved);
    info_nce_forward<T>(ctx, saved, a, b, logit_scale, targets);
    info_nce_loss<T>(ctx, row_loss, column_loss, saved, options);
    if (da.extent(0) == 0 && db.extent(0) == 0 && d_logit_scale.extent(0) == 0) return;
    info_nce_backward<T>(ctx, da, db, d_logit_scale, saved, a, b, logit_scale, targets, options);
}

}  // namespace instar::ops

#endif
