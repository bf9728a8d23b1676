#ifndef INSTAR_OPS_CUDA_ATTENTION_CUH
#define INSTAR_OPS_CUDA_ATTENTION_CUH

// Attention on a GPU without a T × T matrix: tiles of queries and keys in shared memory, an online softmax, and in the
// backward the probabilities computed again from lse (Dao 2023, arXiv:2307.08691).
//
//     ops::attention_forward(ctx, o, {lse}, q, k, v, key_mask, {.scale = 1 / std::sqrt(64.0f)});
//
// The backward has a kernel for dk and dv (a block owns a tile of keys, walks over queries) and one for dq (a block owns
// queries, walks over keys): scores are computed twice, 14·T²·d FLOP a head instead of 10, but every sum has one owner, so
// there are no atomics and the bits never change. For float, products run on the ordinary cores; for bf16 on tensor cores: attention_mma.cuh.

#include <type_traits>

#include "instar/cuda/row_group.cuh"
#include "instar/ops/attention.hpp"
#include "instar/ops/cuda/attention_mma.cuh"
#include "instar/ops/cuda/attention_tiles.cuh"

namespace instar::ops {

namespace cuda {

// --- forward -----------------------------------------------------------------------------------------------------------

template <class T, class Shape>
__global__ void __launch_bounds__(k_attention_threads) attention_forward_kernel(tensor_view<T, 4> o, attention_arguments<T> a, dropout_draw draw) {
    const index_t seq_len = o.extent(1), n_heads = o.extent(2);
    const attention_place place(seq_len, n_heads, Shape::rows);
    const int ty = thread_x() / k_attention_edge, tx = thread_x() % k_attention_edge;
    shared_memory memory;
    const shared_array<T> queries = memory.take<T>(Shape::rows * Shape::pitch);
    const shared_array<T> keys = memory.take<T>(Shape::rows * Shape::pitch);  // then values
    const shared_array<float> p = memory.take<float>(Shape::rows * Shape::score_pitch);
    load_tile<Shape, T>(queries, {a.q, place.b, place.h}, place.first, a.wide);

    float acc[Shape::n_row][Shape::n_column], max[Shape::n_row], sum[Shape::n_row];
    clear(acc);
    for (int i = 0; i < Shape::n_row; ++i) {
        max[i] = -INFINITY;
        sum[i] = 0.0f;
    }
    for (index_t first_key = 0; first_key < seq_len; first_key += Shape::rows) {
        load_tile<Shape, T>(keys, {a.k, place.b, place.h}, first_key, a.wide);
        if (draw.drop_below > 0) draw_factors<Shape::rows, Shape::rows, k_attention_threads>(p, draw, place.b * n_heads + place.h, seq_len, place.first, first_key);
        __syncthreads();
        float s[Shape::n_row][Shape::n_row];
        scores<Shape, T>(s, queries, keys);
        bool keep[Shape::n_row];
        for (int j = 0; j < Shape::n_row; ++j) keep[j] = a.keeps(place.b, first_key + tx + j * k_attention_edge);
        INSTAR_UNROLL
        for (int i = 0; i < Shape::n_row; ++i) {
            float largest = -INFINITY;
            INSTAR_UNROLL
            for (int j = 0; j < Shape::n_row; ++j) {
                s[i][j] = keep[j] ? s[i][j] * (a.scale * k_log2_e) : -INFINITY;
                largest = fmaxf(largest, s[i][j]);
            }
            INSTAR_UNROLL
            for (int offset = k_attention_edge / 2; offset > 0; offset /= 2) {
                largest = fmaxf(largest, __shfl_xor_sync(k_full_warp, largest, offset));
            }
            const float new_max = fmaxf(max[i], largest);
            // Until a key counts the maximum is −∞, and ∞ − ∞ would be NaN.
            const float shift = new_max == -INFINITY ? 0.0f : new_max;
            const float shrink = exp2f(max[i] - shift);
            float tile_sum = 0.0f;
            INSTAR_UNROLL
            for (int j = 0; j < Shape::n_row; ++j) {
                const float probability = exp2f(s[i][j] - shift);
                tile_sum += probability;
                const int at = (ty + i * k_attention_edge) * Shape::score_pitch + tx + j * k_attention_edge;
                p[at] = draw.drop_below > 0 ? probability * p[at] : probability;
            }
            INSTAR_UNROLL
            for (int offset = k_attention_edge / 2; offset > 0; offset /= 2) tile_sum += __shfl_xor_sync(k_full_warp, tile_sum, offset);
            sum[i] = sum[i] * shrink + tile_sum;
            max[i] = new_max;
            INSTAR_UNROLL
            for (int j = 0; j < Shape::n_column; ++j) acc[i][j] *= shrink;
        }
        __syncthreads();
        load_tile<Shape, T>(keys, {a.v, place.b, place.h}, first_key, a.wide);
        __syncthreads();
        add_product<Shape, T>(acc, p, keys);
        __syncthreads();
    }
    for (int i = 0; i < Shape::n_row; ++i) {
        const index_t row = place.first + ty + i * k_attention_edge;
        const float inverse = sum[i] > 0.0f ? 1.0f / sum[i] : 0.0f;
        for (int j = 0; j < Shape::n_column; ++j) acc[i][j] *= inverse;
        if (tx == 0 && row < seq_len) a.lse(place.b, place.h, row) = (max[i] + log2f(sum[i])) * k_ln_2;
    }
    store_rows<Shape, T>({o, place.b, place.h}, place.first, acc, 1.0f);
}

// --- backward ----------------------------------------------------------------------------------------------------------

/// D_i = d_o_i · o_i, a warp a row.
template <class T>
__global__ void attention_row_dot_kernel(float* row_dot, tensor_view<const T, 4> d_o, tensor_view<const T, 4> o) {
    const index_t seq_len = o.extent(1), n_heads = o.extent(2), d = o.extent(3);
    const index_t place = block_x() * k_block_warps + warp_id();
    if (place >= o.extent(0) * n_heads * seq_len) return;
    const index_t i = place % seq_len, h = place / seq_len % n_heads, b = place / seq_len / n_heads;
    const T* const x = d_o.data() + b * d_o.stride(0) + i * d_o.stride(1) + h * d_o.stride(2);
    const T* const y = o.data() + b * o.stride(0) + i * o.stride(1) + h * o.stride(2);
    float sum = 0.0f;
    for (index_t c = lane_id(); c < d; c += k_warp_size) sum += to_float(x[c]) * to_float(y[c]);
    sum = warp_sum(sum);
    if (lane_id() == 0) row_dot[place] = sum;
}

/// From the scores s and dP of a tile: p (through dropout) and ds of the thread's elements, in place of both. A row past the
/// sequence and a key that does not count give zeros. `factors` holds dropout's factors when there is dropout.
template <class T, class Shape>
__device__ void attention_gradient(float (&s)[Shape::n_row][Shape::n_row], float (&dp)[Shape::n_row][Shape::n_row],
                                   const attention_arguments<T>& a, const attention_place& place, index_t first_query, index_t first_key,
                                   shared_array<float> factors, bool dropped) {
    const int ty = thread_x() / k_attention_edge, tx = thread_x() % k_attention_edge;
    const index_t seq_len = a.q.extent(1), n_heads = a.q.extent(2);
    for (int i = 0; i < Shape::n_row; ++i) {
        const int r = ty + i * k_attention_edge;
        const index_t row = first_query + r;
        const float lse = row < seq_len ? a.lse(place.b, place.h, row) : 0.0f;
        const float row_dot = row < seq_len ? a.row_dot[(place.b * n_heads + place.h) * seq_len + row] : 0.0f;
        for (int j = 0; j < Shape::n_row; ++j) {
            const int c = tx + j * k_attention_edge;
            const bool counts = row < seq_len && a.keeps(place.b, first_key + c);
            const float p = counts ? exp2f((s[i][j] * a.scale - lse) * k_log2_e) : 0.0f;
            const float factor = dropped ? static_cast<float>(factors[r * Shape::score_pitch + c]) : 1.0f;
            s[i][j] = p * factor;
            dp[i][j] = p * (factor * dp[i][j] - row_dot);
        }
    }
}

/// The thread's part of an R × R tile into shared memory.
template <class Shape>
__device__ void store_scores(shared_array<float> tile, const float (&s)[Shape::n_row][Shape::n_row]) {
    const int ty = thread_x() / k_attention_edge, tx = thread_x() % k_attention_edge;
    for (int i = 0; i < Shape::n_row; ++i) {
        for (int j = 0; j < Shape::n_row; ++j) tile[(ty + i * k_attention_edge) * Shape::score_pitch + tx + j * k_attention_edge] = s[i][j];
    }
}

template <class T, class Shape>
__global__ void __launch_bounds__(k_attention_threads)
    attention_backward_keys_kernel(tensor_view<T, 4> dk, tensor_view<T, 4> dv, attention_arguments<T> a, dropout_draw draw) {
    const index_t seq_len = dk.extent(1), n_heads = dk.extent(2);
    const attention_place place(seq_len, n_heads, Shape::rows);
    shared_memory memory;
    const shared_array<T> keys = memory.take<T>(Shape::rows * Shape::pitch);
    const shared_array<T> values = memory.take<T>(Shape::rows * Shape::pitch);
    const shared_array<T> queries = memory.take<T>(Shape::rows * Shape::pitch);
    const shared_array<T> d_out = memory.take<T>(Shape::rows * Shape::pitch);
    const shared_array<float> w = memory.take<float>(Shape::rows * Shape::score_pitch);  // factors, then p, then ds
    load_tile<Shape, T>(keys, {a.k, place.b, place.h}, place.first, a.wide);
    load_tile<Shape, T>(values, {a.v, place.b, place.h}, place.first, a.wide);
    float acc_k[Shape::n_row][Shape::n_column], acc_v[Shape::n_row][Shape::n_column];
    clear(acc_k);
    clear(acc_v);
    for (index_t first_query = 0; first_query < seq_len; first_query += Shape::rows) {
        load_tile<Shape, T>(queries, {a.q, place.b, place.h}, first_query, a.wide);
        load_tile<Shape, T>(d_out, {a.d_o, place.b, place.h}, first_query, a.wide);
        if (draw.drop_below > 0) draw_factors<Shape::rows, Shape::rows, k_attention_threads>(w, draw, place.b * n_heads + place.h, seq_len, first_query, place.first);
        __syncthreads();
        float s[Shape::n_row][Shape::n_row], dp[Shape::n_row][Shape::n_row];
        scores<Shape, T>(s, queries, keys);
        scores<Shape, T>(dp, d_out, values);
        attention_gradient<T, Shape>(s, dp, a, place, first_query, place.first, w, draw.drop_below > 0);
        store_scores<Shape>(w, s);
        __syncthreads();
        add_transposed_product<Shape, T>(acc_v, w, d_out);
        __syncthreads();
        store_scores<Shape>(w, dp);
        __syncthreads();
        add_transposed_product<Shape, T>(acc_k, w, queries);
        __syncthreads();
    }
    store_rows<Shape, T>({dk, place.b, place.h}, place.first, acc_k, a.scale);
    store_rows<Shape, T>({dv, place.b, place.h}, place.first, acc_v, 1.0f);
}

template <class T, class Shape>
__global__ void __launch_bounds__(k_attention_threads)
    attention_backward_queries_kernel(tensor_view<T, 4> dq, attention_arguments<T> a, dropout_draw draw) {
    const index_t seq_len = dq.extent(1), n_heads = dq.extent(2);
    const attention_place place(seq_len, n_heads, Shape::rows);
    shared_memory memory;
    const shared_array<T> queries = memory.take<T>(Shape::rows * Shape::pitch);
    const shared_array<T> d_out = memory.take<T>(Shape::rows * Shape::pitch);
    const shared_array<T> keys = memory.take<T>(Shape::rows * Shape::pitch);
    const shared_array<T> values = memory.take<T>(Shape::rows * Shape::pitch);
    const shared_array<float> w = memory.take<float>(Shape::rows * Shape::score_pitch);  // factors, then ds
    load_tile<Shape, T>(queries, {a.q, place.b, place.h}, place.first, a.wide);
    load_tile<Shape, T>(d_out, {a.d_o, place.b, place.h}, place.first, a.wide);
    float acc[Shape::n_row][Shape::n_column];
    clear(acc);
    for (index_t first_key = 0; first_key < seq_len; first_key += Shape::rows) {
        load_tile<Shape, T>(keys, {a.k, place.b, place.h}, first_key, a.wide);
        load_tile<Shape, T>(values, {a.v, place.b, place.h}, first_key, a.wide);
        if (draw.drop_below > 0) draw_factors<Shape::rows, Shape::rows, k_attention_threads>(w, draw, place.b * n_heads + place.h, seq_len, place.first, first_key);
        __syncthreads();
        float s[Shape::n_row][Shape::n_row], dp[Shape::n_row][Shape::n_row];
        scores<Shape, T>(s, queries, keys);
        scores<Shape, T>(dp, d_out, values);
        attention_gradient<T, Shape>(s, dp, a, place, place.first, first_key, w, draw.drop_below > 0);
        store_scores<Shape>(w, dp);
        __syncthreads();
        add_product<Shape, T>(acc, w, keys);
        __syncthreads();
    }
    store_rows<Shape, T>({dq, place.b, place.h}, place.first, acc, a.scale);
}

// --- launchers -----------------------------------------------------------------------------------------------------------

/// Calls f with the smallest width that the kernels are compiled for and d_head fits. More than 192 would not fit into shared memory.
template <class F>
void with_attention_width(const char* op, index_t d_head, F&& f) {
    if (d_head <= 32) return f(std::integral_constant<int, 32>{});
    if (d_head <= 64) return f(std::integral_constant<int, 64>{});
    if (d_head <= 128) return f(std::integral_constant<int, 128>{});
    if (d_head <= 192) return f(std::integral_constant<int, 192>{});
    throw shape_error(std::string(op) + ": d_head is " + std::to_string(d_head) + ", the CUDA kernels take at most 192");
}

template <class T>
void check_attention(const char* op, const char* argument, const tensor_view<T, 4>& v, const index_t (&shape)[4]) {
    instar::detail::check_shape(op, argument, v, shape);
    instar::detail::check_unit_stride(op, argument, v);
}

inline unsigned attention_blocks(const index_t (&shape)[4], index_t rows) {
    return blocks_for(shape[0] * shape[2] * ceil_div(shape[1], rows), 1);
}

}  // namespace cuda

template <class T>
void attention_forward(cuda_context& ctx, tensor_view<T, 4> o, std::type_identity_t<attention_saved<T>> saved, in_view<T, 4> q,
                       in_view<T, 4> k, in_view<T, 4> v, tensor_view<const std::uint8_t, 2> key_mask, attention_options options) {
    static constexpr const char* k_op = "attention_forward";
    const index_t shape[4] = {o.extent(0), o.extent(1), o.extent(2), o.extent(3)};
    cuda::check_attention(k_op, "o", o, shape);
    cuda::check_attention(k_op, "q", q, shape);
    cuda::check_attention(k_op, "k", k, shape);
    cuda::check_attention(k_op, "v", v, shape);
    instar::detail::check_shape(k_op, "saved.lse", saved.lse, {shape[0], shape[2], shape[1]});
    const bool masked = !key_mask.empty();
    if (masked) instar::detail::check_shape(k_op, "key_mask", key_mask, {shape[0], shape[1]});
    const cuda::dropout_draw draw(k_op, options.dropout);
    if (shape[0] * shape[1] * shape[2] == 0) return;
    cuda::attention_arguments<T> a{.q = q, .k = k, .v = v, .d_o = {}, .lse = saved.lse, .row_dot = nullptr,
                                   .key_mask = masked ? key_mask : tensor_view<const std::uint8_t, 2>{},
                                   .scale = static_cast<float>(options.scale), .wide = cuda::packable(q, k, v)};
    cuda::with_attention_width(k_op, shape[3], [&]<int D>(std::integral_constant<int, D>) {
        if constexpr (std::is_same_v<T, bf16>) {
            using Shape = cuda::attention_mma_shape<D>;
            a.wide = a.wide && cuda::packable(o);
            cuda::launch(ctx, k_op, cuda::attention_forward_mma_kernel<Shape>, {cuda::attention_blocks(shape, Shape::rows)}, {Shape::threads},
                         Shape::forward_bytes(draw.drop_below > 0), o, a, draw);
        } else {
            using Shape = cuda::attention_shape<T, D, (D <= 64 ? 64 : 32)>;
            cuda::launch(ctx, k_op, cuda::attention_forward_kernel<T, Shape>, {cuda::attention_blocks(shape, Shape::rows)},
                         {cuda::k_attention_threads}, 2 * Shape::tile_bytes() + Shape::score_bytes(), o, a, draw);
        }
    });
}

template <class T>
void attention_backward(cuda_context& ctx, tensor_view<T, 4> dq, out_view<T, 4> dk, out_view<T, 4> dv, in_view<T, 4> d_o, in_view<T, 4> o,
                        std::type_identity_t<attention_saved<T>> saved, in_view<T, 4> q, in_view<T, 4> k, in_view<T, 4> v,
                        tensor_view<const std::uint8_t, 2> key_mask, attention_options options) {
    static constexpr const char* k_op = "attention_backward";
    const index_t shape[4] = {dq.extent(0), dq.extent(1), dq.extent(2), dq.extent(3)};
    cuda::check_attention(k_op, "dq", dq, shape);
    cuda::check_attention(k_op, "dk", dk, shape);
    cuda::check_attention(k_op, "dv", dv, shape);
    cuda::check_attention(k_op, "d_o", d_o, shape);
    cuda::check_attention(k_op, "o", o, shape);
    cuda::check_attention(k_op, "q", q, shape);
    cuda::check_attention(k_op, "k", k, shape);
    cuda::check_attention(k_op, "v", v, shape);
    instar::detail::check_shape(k_op, "saved.lse", saved.lse, {shape[0], shape[2], shape[1]});
    const bool masked = !key_mask.empty();
    if (masked) instar::detail::check_shape(k_op, "key_mask", key_mask, {shape[0], shape[1]});
    const cuda::dropout_draw draw(k_op, options.dropout);
    const index_t n_rows = shape[0] * shape[1] * shape[2];
    if (n_rows == 0) return;
    const cuda::scratch<float> row_dot(ctx, n_rows, k_op);
    cuda::launch(ctx, k_op, cuda::attention_row_dot_kernel<T>, {cuda::blocks_for(n_rows, cuda::k_block_warps)},
                 {cuda::k_block_warps * cuda::k_warp_size}, 0, row_dot.data(), d_o, o);
    cuda::attention_arguments<T> a{.q = q, .k = k, .v = v, .d_o = d_o, .lse = saved.lse, .row_dot = row_dot.data(),
                                   .key_mask = masked ? key_mask : tensor_view<const std::uint8_t, 2>{},
                                   .scale = static_cast<float>(options.scale), .wide = cuda::packable(q, k, v, d_o)};
    cuda::with_attention_width(k_op, shape[3], [&]<int D>(std::integral_constant<int, D>) {
        if constexpr (std::is_same_v<T, bf16>) {
            using Shape = cuda::attention_mma_shape<D>;
            const bool dropped = draw.drop_below > 0;
            a.wide = a.wide && cuda::packable(dq, dk, dv);
            const cuda::extent3 grid{cuda::attention_blocks(shape, Shape::rows)};
            cuda::launch(ctx, k_op, cuda::attention_backward_keys_mma_kernel<Shape>, grid, {Shape::threads * Shape::n_parts}, Shape::keys_bytes(dropped), dk, dv, a, draw);
            cuda::launch(ctx, k_op, cuda::attention_backward_queries_mma_kernel<Shape>, grid, {Shape::threads}, Shape::queries_bytes(dropped), dq, a, draw);
        } else {
            using Shape = cuda::attention_shape<T, D, (D <= 64 ? 64 : 32)>;
            const cuda::extent3 grid{cuda::attention_blocks(shape, Shape::rows)}, block{cuda::k_attention_threads};
            const std::size_t shared = 4 * Shape::tile_bytes() + Shape::score_bytes();
            cuda::launch(ctx, k_op, cuda::attention_backward_keys_kernel<T, Shape>, grid, block, shared, dk, dv, a, draw);
            cuda::launch(ctx, k_op, cuda::attention_backward_queries_kernel<T, Shape>, grid, block, shared, dq, a, draw);
        }
    });
}

}  // namespace instar::ops

#endif
