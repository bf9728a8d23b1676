#ifndef INSTAR_OPS_CUDA_ATTENTION_MMA_CUH
#define INSTAR_OPS_CUDA_ATTENTION_MMA_CUH

// Attention of bf16 on tensor cores, as FlashAttention-2 has it (Dao 2023, arXiv:2307.08691): launched by attention.cuh.
//
// A block owns 64 rows of one head, a warp 16 of them: rows of queries (forward, dq) or of keys (dk and dv). It walks over tiles of the
// other side in shared memory. What a warp's product leaves in registers, scores of its 16 rows, is as it stands the left operand of the
// next one (mma.cuh says who holds what), so probabilities and their gradients never travel through memory: they are rounded to bf16,
// sums stay float. In the kernel for dk and dv scores are computed transposed for the same reason.
//
// Rows of tiles are padded by sixteen bytes, so that the eight rows of a matrix lie in different banks.

#include "instar/cuda/mma.cuh"
#include "instar/cuda/row_group.cuh"
#include "instar/ops/cuda/attention_tiles.cuh"

namespace instar::ops::cuda {

/// Sizes for heads of at most D elements.
template <int D>
struct attention_mma_shape {
    static constexpr int d = D;
    static constexpr int threads = 128;
    static constexpr int rows = 64;                    ///< of a block: 16 a warp
    static constexpr int others = D <= 64 ? 64 : 32;   ///< rows of the other side in a tile
    static constexpr int n_parts = D <= 64 ? 1 : 2;    ///< of the columns of dk and dv: both sums of 192 columns do not fit a warp's registers
    static constexpr int pitch = D + 8;
    static_assert(D % 32 == 0);

    static constexpr std::size_t tile_bytes(int n) { return instar::cuda::shared_bytes<bf16>(n * pitch); }
    static constexpr std::size_t forward_bytes(bool dropped) {
        return tile_bytes(rows) + 2 * tile_bytes(others) + (dropped ? instar::cuda::shared_bytes<float>(rows * (others + 1)) : 0);
    }
    static constexpr std::size_t queries_bytes(bool dropped) { return forward_bytes(dropped) + tile_bytes(rows); }
    static constexpr std::size_t keys_bytes(bool dropped) {
        return 2 * tile_bytes(rows) + 2 * tile_bytes(others) + 2 * instar::cuda::shared_bytes<float>(others) +
               (dropped ? instar::cuda::shared_bytes<float>(others * (rows + 1)) : 0);
    }
};

/// Rows first … first + Rows − 1 into shared memory; zeros past the sequence and past d_head. `wide`: sixteen bytes at a time.
template <class Shape, int Rows, int Threads>
__device__ void load_mma_tile(shared_array<bf16> tile, const head_rows<const bf16>& from, index_t first, bool wide) {
    constexpr int k_packs = Shape::d / 8;
    for (int p = thread_x(); p < Rows * k_packs; p += Threads) {
        const int r = p / k_packs, c = p % k_packs * 8;
        alignas(16) bf16 raw[8] = {};
        if (first + r < from.n_rows && c < from.d) {
            const bf16* const place = from.data + (first + r) * from.stride + c;
            if (wide) {
                move<8>(raw, place);
            } else {
                for (int i = 0; i < 8 && c + i < from.d; ++i) raw[i] = place[i];
            }
        }
        store_shared(tile, r * Shape::pitch + c, raw);
    }
}

/// s[16, 8 · N] = a · bᵀ: rows first_row … of tile a, all 8 · N rows of tile b.
template <class Shape, int N>
__device__ __forceinline__ void mma_scores(float (&s)[N][4], shared_array<bf16> a, int first_row, shared_array<bf16> b) {
    const int lane = lane_id(), of_a = (first_row + lane % 16) * Shape::pitch + lane / 16 * 8;
    const int of_b = (lane / 16 * 8 + lane % 8) * Shape::pitch + lane / 8 % 2 * 8;
    clear(s);
    INSTAR_UNROLL
    for (int k = 0; k < Shape::d; k += 16) {
        std::uint32_t left[4], right[4];
        load_matrices<false>(left, a, of_a + k);
        INSTAR_UNROLL
        for (int n = 0; n < N; n += 2) {
            load_matrices<false>(right, b, of_b + n * 8 * Shape::pitch + k);
            mma_16x8x16(s[n], left, {right[0], right[1]});
            mma_16x8x16(s[n + 1], left, {right[2], right[3]});
        }
    }
}

/// acc[16, 8 · C] += w[16, 8 · N] · b, columns first_column … of tile b. w is rounded to bf16.
template <class Shape, int N, int C>
__device__ __forceinline__ void mma_add_product(float (&acc)[C][4], const float (&w)[N][4], shared_array<bf16> b, int first_column) {
    const int lane = lane_id(), of_b = (lane / 8 % 2 * 8 + lane % 8) * Shape::pitch + lane / 16 * 8 + first_column;
    INSTAR_UNROLL
    for (int n = 0; n < N; n += 2) {
        const std::uint32_t left[4] = {pack_bf16(w[n][0], w[n][1]), pack_bf16(w[n][2], w[n][3]), pack_bf16(w[n + 1][0], w[n + 1][1]),
                                       pack_bf16(w[n + 1][2], w[n + 1][3])};
        INSTAR_UNROLL
        for (int c = 0; c < C; c += 2) {
            std::uint32_t right[4];
            load_matrices<true>(right, b, of_b + n * 8 * Shape::pitch + c * 8);
            mma_16x8x16(acc[c], left, {right[0], right[1]});
            mma_16x8x16(acc[c + 1], left, {right[2], right[3]});
        }
    }
}

/// Writes acc times the factor of its row (the lane's two: g and g + 8) to rows first_row … and columns first_column … of a head.
template <int C>
__device__ void store_mma_rows(const head_rows<bf16>& to, index_t first_row, int first_column, const float (&acc)[C][4], const float (&factor)[2], bool wide) {
    const int g = lane_id() / 4, t = lane_id() % 4;
    for (int half = 0; half < 2; ++half) {
        const index_t row = first_row + g + half * 8;
        if (row >= to.n_rows) continue;
        for (int c = 0; c < C; ++c) {
            const int column = first_column + c * 8 + 2 * t;
            if (column >= to.d) continue;
            bf16* const place = to.data + row * to.stride + column;
            const std::uint32_t pair = pack_bf16(acc[c][2 * half] * factor[half], acc[c][2 * half + 1] * factor[half]);
            if (wide) {
                store_pair(place, pair);
            } else {
                place[0].bits = static_cast<std::uint16_t>(pair);
                if (column + 1 < to.d) place[1].bits = static_cast<std::uint16_t>(pair >> 16);
            }
        }
    }
}

/// Reduction over the four lanes that hold a row.
template <class Op>
__device__ __forceinline__ float quad_reduce(float v, Op op) {
    v = op(v, __shfl_xor_sync(k_full_warp, v, 1));
    return op(v, __shfl_xor_sync(k_full_warp, v, 2));
}

// --- forward -----------------------------------------------------------------------------------------------------------

template <class Shape>
__global__ void __launch_bounds__(Shape::threads) attention_forward_mma_kernel(tensor_view<bf16, 4> o, attention_arguments<bf16> a, dropout_draw draw) {
    constexpr int N = Shape::others / 8, C = Shape::d / 8;
    const index_t seq_len = o.extent(1), n_heads = o.extent(2);
    const attention_place place(seq_len, n_heads, Shape::rows);
    const int g = lane_id() / 4, t = lane_id() % 4, own = warp_id() * 16;
    const bool dropped = draw.drop_below > 0;
    shared_memory memory;
    const shared_array<bf16> queries = memory.take<bf16>(Shape::rows * Shape::pitch);
    const shared_array<bf16> keys = memory.take<bf16>(Shape::others * Shape::pitch);
    const shared_array<bf16> values = memory.take<bf16>(Shape::others * Shape::pitch);
    const shared_array<float> factors = memory.take<float>(dropped ? Shape::rows * (Shape::others + 1) : 0);
    load_mma_tile<Shape, Shape::rows, Shape::threads>(queries, {a.q, place.b, place.h}, place.first, a.wide);

    float acc[C][4], max[2] = {-INFINITY, -INFINITY}, sum[2] = {0.0f, 0.0f};
    clear(acc);
    for (index_t first_key = 0; first_key < seq_len; first_key += Shape::others) {
        load_mma_tile<Shape, Shape::others, Shape::threads>(keys, {a.k, place.b, place.h}, first_key, a.wide);
        load_mma_tile<Shape, Shape::others, Shape::threads>(values, {a.v, place.b, place.h}, first_key, a.wide);
        if (dropped) draw_factors<Shape::rows, Shape::others, Shape::threads>(factors, draw, place.b * n_heads + place.h, seq_len, place.first, first_key);
        __syncthreads();
        float s[N][4];
        mma_scores<Shape>(s, queries, own, keys);
        INSTAR_UNROLL
        for (int n = 0; n < N; ++n) {
            INSTAR_UNROLL
            for (int e = 0; e < 2; ++e) {
                const bool keep = a.keeps(place.b, first_key + n * 8 + 2 * t + e);
                INSTAR_UNROLL
                for (int half = 0; half < 2; ++half) s[n][2 * half + e] = keep ? s[n][2 * half + e] * (a.scale * k_log2_e) : -INFINITY;
            }
        }
        INSTAR_UNROLL
        for (int half = 0; half < 2; ++half) {
            float largest = max[half];
            INSTAR_UNROLL
            for (int n = 0; n < N; ++n) largest = fmaxf(largest, fmaxf(s[n][2 * half], s[n][2 * half + 1]));
            largest = quad_reduce(largest, maximum{});
            // Until a key counts the maximum is −∞, and ∞ − ∞ would be NaN.
            const float shift = largest == -INFINITY ? 0.0f : largest;
            const float shrink = exp2f(max[half] - shift);
            float tile_sum = 0.0f;
            INSTAR_UNROLL
            for (int n = 0; n < N; ++n) {
                INSTAR_UNROLL
                for (int e = 0; e < 2; ++e) {
                    float& p = s[n][2 * half + e];
                    p = exp2f(p - shift);
                    tile_sum += p;
                    if (dropped) p *= factors[(own + g + half * 8) * (Shape::others + 1) + n * 8 + 2 * t + e];
                }
            }
            sum[half] = sum[half] * shrink + quad_reduce(tile_sum, plus{});
            max[half] = largest;
            INSTAR_UNROLL
            for (int c = 0; c < C; ++c) {
                acc[c][2 * half] *= shrink;
                acc[c][2 * half + 1] *= shrink;
            }
        }
        mma_add_product<Shape>(acc, s, values, 0);
        __syncthreads();
    }
    float inverse[2];
    for (int half = 0; half < 2; ++half) {
        const index_t row = place.first + own + g + half * 8;
        inverse[half] = sum[half] > 0.0f ? 1.0f / sum[half] : 0.0f;
        if (t == 0 && row < seq_len) a.lse(place.b, place.h, row) = (max[half] + log2f(sum[half])) * k_ln_2;
    }
    store_mma_rows({o, place.b, place.h}, place.first + own, 0, acc, inverse, a.wide);
}

// --- backward ----------------------------------------------------------------------------------------------------------

/// From a score and dP: p (through dropout) and ds, in place of both. Where it does not count, zeros.
__device__ __forceinline__ void mma_gradient(float& s, float& dp, bool counts, float scale, float lse, float row_dot, float factor) {
    const float p = counts ? exp2f((s * scale - lse) * k_log2_e) : 0.0f;
    s = p * factor;
    dp = p * (factor * dp - row_dot);
}

template <class Shape>
__global__ void __launch_bounds__(Shape::threads* Shape::n_parts)
    attention_backward_keys_mma_kernel(tensor_view<bf16, 4> dk, tensor_view<bf16, 4> dv, attention_arguments<bf16> a, dropout_draw draw) {
    constexpr int N = Shape::others / 8, C = Shape::d / 8 / Shape::n_parts, k_threads = Shape::threads * Shape::n_parts;
    const index_t seq_len = dk.extent(1), n_heads = dk.extent(2);
    const attention_place place(seq_len, n_heads, Shape::rows);
    const int g = lane_id() / 4, t = lane_id() % 4, own = warp_id() % 4 * 16, first_column = warp_id() / 4 * C * 8;
    const bool dropped = draw.drop_below > 0;
    shared_memory memory;
    const shared_array<bf16> keys = memory.take<bf16>(Shape::rows * Shape::pitch);
    const shared_array<bf16> values = memory.take<bf16>(Shape::rows * Shape::pitch);
    const shared_array<bf16> queries = memory.take<bf16>(Shape::others * Shape::pitch);
    const shared_array<bf16> d_out = memory.take<bf16>(Shape::others * Shape::pitch);
    const shared_array<float> lse = memory.take<float>(Shape::others);
    const shared_array<float> row_dot = memory.take<float>(Shape::others);
    const shared_array<float> factors = memory.take<float>(dropped ? Shape::others * (Shape::rows + 1) : 0);
    load_mma_tile<Shape, Shape::rows, k_threads>(keys, {a.k, place.b, place.h}, place.first, a.wide);
    load_mma_tile<Shape, Shape::rows, k_threads>(values, {a.v, place.b, place.h}, place.first, a.wide);
    bool keep[2];
    for (int half = 0; half < 2; ++half) keep[half] = a.keeps(place.b, place.first + own + g + half * 8);

    float acc_k[C][4], acc_v[C][4];
    clear(acc_k);
    clear(acc_v);
    for (index_t first_query = 0; first_query < seq_len; first_query += Shape::others) {
        load_mma_tile<Shape, Shape::others, k_threads>(queries, {a.q, place.b, place.h}, first_query, a.wide);
        load_mma_tile<Shape, Shape::others, k_threads>(d_out, {a.d_o, place.b, place.h}, first_query, a.wide);
        if (thread_x() < Shape::others) {
            const index_t row = first_query + thread_x();
            lse[thread_x()] = row < seq_len ? a.lse(place.b, place.h, row) : 0.0f;
            row_dot[thread_x()] = row < seq_len ? a.row_dot[(place.b * n_heads + place.h) * seq_len + row] : 0.0f;
        }
        if (dropped) draw_factors<Shape::others, Shape::rows, k_threads>(factors, draw, place.b * n_heads + place.h, seq_len, first_query, place.first);
        __syncthreads();
        float s[N][4], dp[N][4];  // [16 keys, queries]
        mma_scores<Shape>(s, keys, own, queries);
        mma_scores<Shape>(dp, values, own, d_out);
        INSTAR_UNROLL
        for (int n = 0; n < N; ++n) {
            INSTAR_UNROLL
            for (int e = 0; e < 2; ++e) {
                const int query = n * 8 + 2 * t + e;
                const bool exists = first_query + query < seq_len;
                const float of_query = lse[query], dot = row_dot[query];
                INSTAR_UNROLL
                for (int half = 0; half < 2; ++half) {
                    const float factor = dropped ? static_cast<float>(factors[query * (Shape::rows + 1) + own + g + half * 8]) : 1.0f;
                    mma_gradient(s[n][2 * half + e], dp[n][2 * half + e], exists && keep[half], a.scale, of_query, dot, factor);
                }
            }
        }
        mma_add_product<Shape>(acc_v, s, d_out, first_column);
        mma_add_product<Shape>(acc_k, dp, queries, first_column);
        __syncthreads();
    }
    const float scale[2] = {a.scale, a.scale}, one[2] = {1.0f, 1.0f};
    store_mma_rows({dk, place.b, place.h}, place.first + own, first_column, acc_k, scale, a.wide);
    store_mma_rows({dv, place.b, place.h}, place.first + own, first_column, acc_v, one, a.wide);
}

template <class Shape>
__global__ void __launch_bounds__(Shape::threads) attention_backward_queries_mma_kernel(tensor_view<bf16, 4> dq, attention_arguments<bf16> a, dropout_draw draw) {
    constexpr int N = Shape::others / 8, C = Shape::d / 8;
    const index_t seq_len = dq.extent(1), n_heads = dq.extent(2);
    const attention_place place(seq_len, n_heads, Shape::rows);
    const int g = lane_id() / 4, t = lane_id() % 4, own = warp_id() * 16;
    const bool dropped = draw.drop_below > 0;
    shared_memory memory;
    const shared_array<bf16> queries = memory.take<bf16>(Shape::rows * Shape::pitch);
    const shared_array<bf16> d_out = memory.take<bf16>(Shape::rows * Shape::pitch);
    const shared_array<bf16> keys = memory.take<bf16>(Shape::others * Shape::pitch);
    const shared_array<bf16> values = memory.take<bf16>(Shape::others * Shape::pitch);
    const shared_array<float> factors = memory.take<float>(dropped ? Shape::rows * (Shape::others + 1) : 0);
    load_mma_tile<Shape, Shape::rows, Shape::threads>(queries, {a.q, place.b, place.h}, place.first, a.wide);
    load_mma_tile<Shape, Shape::rows, Shape::threads>(d_out, {a.d_o, place.b, place.h}, place.first, a.wide);
    float lse[2], row_dot[2];
    bool exists[2];
    for (int half = 0; half < 2; ++half) {
        const index_t row = place.first + own + g + half * 8;
        exists[half] = row < seq_len;
        lse[half] = exists[half] ? a.lse(place.b, place.h, row) : 0.0f;
        row_dot[half] = exists[half] ? a.row_dot[(place.b * n_heads + place.h) * seq_len + row] : 0.0f;
    }
    float acc[C][4];
    clear(acc);
    for (index_t first_key = 0; first_key < seq_len; first_key += Shape::others) {
        load_mma_tile<Shape, Shape::others, Shape::threads>(keys, {a.k, place.b, place.h}, first_key, a.wide);
        load_mma_tile<Shape, Shape::others, Shape::threads>(values, {a.v, place.b, place.h}, first_key, a.wide);
        if (dropped) draw_factors<Shape::rows, Shape::others, Shape::threads>(factors, draw, place.b * n_heads + place.h, seq_len, place.first, first_key);
        __syncthreads();
        float s[N][4], dp[N][4];
        mma_scores<Shape>(s, queries, own, keys);
        mma_scores<Shape>(dp, d_out, own, values);
        INSTAR_UNROLL
        for (int n = 0; n < N; ++n) {
            INSTAR_UNROLL
            for (int e = 0; e < 2; ++e) {
                const int key = n * 8 + 2 * t + e;
                const bool keep = a.keeps(place.b, first_key + key);
                INSTAR_UNROLL
                for (int half = 0; half < 2; ++half) {
                    const float factor = dropped ? static_cast<float>(factors[(own + g + half * 8) * (Shape::others + 1) + key]) : 1.0f;
                    mma_gradient(s[n][2 * half + e], dp[n][2 * half + e], keep && exists[half], a.scale, lse[half], row_dot[half], factor);
                }
            }
        }
        mma_add_product<Shape>(acc, dp, keys, 0);
        __syncthreads();
    }
    const float scale[2] = {a.scale, a.scale};
    store_mma_rows({dq, place.b, place.h}, place.first + own, 0, acc, scale, a.wide);
}

}  // namespace instar::ops::cuda

#endif
