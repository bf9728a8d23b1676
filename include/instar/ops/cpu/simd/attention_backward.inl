// Backward of one head of attention. Included by simd/attention.hpp once for each instruction set.
//
//     attention::backward_head(head, scratch);        // scratch: backward_scratch(seq_len, d_head) floats
//
// Blocks of queries, in order; P and dS of a block stay in L2. Five products a block, Dao 2023, algorithm 2:
//     S = (scale · log2 e) Q Kᵀ,  dP = dO Vᵀ,  P = 2^(S − lse · log2 e),  dS = scale · P ∘ (dropout(dP) − D)
//     dV += dropout(P)ᵀ dO,  dK += dSᵀ Q,  dQ = dS K

namespace instar::ops::cpu::simd::INSTAR_SIMD_NS {
namespace attention {

/// Queries of a block: blocks of about equal size, whole tiles, P and dS together below 256 KiB when 24 rows are.
constexpr index_t backward_block_rows(index_t seq_len) {
    const index_t most = 32768 / packed_row(seq_len) / k_block_rows;
    const index_t rows = most < 1 ? k_block_rows : most * k_block_rows;
    const index_t blocks = (seq_len + rows - 1) / rows;
    return blocks < 1 ? k_block_rows : round_up((seq_len + blocks - 1) / blocks, k_block_rows);
}

constexpr index_t backward_scratch(index_t seq_len, index_t d_head) {
    const index_t keys = round_up(seq_len, k_lanes), row = packed_row(d_head), block = backward_block_rows(seq_len);
    return 2 * d_head * keys + 3 * seq_len * row + 2 * block * (row + packed_row(seq_len) + k_tile_rows_max) +
           bits_scratch(seq_len);
}

/// Σ_c x[c] · y[c].
INSTAR_ALWAYS_INLINE float dot(const float* x, const float* y, index_t n) {
    f32 sum{};
    index_t c = 0;
    for (; c + k_lanes <= n; c += k_lanes) sum = fma(load(x + c), load(y + c), sum);
    if (c < n) sum = fma(load_partial(x + c, n - c), load_partial(y + c, n - c), sum);
    return reduce_add(sum);
}

/// In: s = scores in powers of two, dp = dO · V. Out: s = dropout(p), dp = ds. Columns past n hold nothing of use,
/// neither before nor after.
INSTAR_ALWAYS_INLINE void softmax_gradient_row(float* s, float* dp, index_t n, float lse2, float row_dot, float scale,
                                               const std::uint32_t* bits, std::uint32_t drop_below, float keep_scale) {
    const f32 minus_dot = broadcast(-scale * row_dot), p_scale = broadcast(keep_scale),
              dp_scale = broadcast(keep_scale * scale);
    for (index_t j = 0; j < n; j += k_lanes) {
        const f32 p = exp2(load(s + j) - lse2);
        if (bits == nullptr) {
            store(s + j, p);
            store(dp + j, p * fma(load(dp + j), dp_scale, minus_dot));
        } else {
            const i32 keep = (i32)(load(bits + j) >= drop_below);
            store(s + j, select(keep, p * p_scale, f32{}));
            store(dp + j, p * (select(keep, load(dp + j) * dp_scale, f32{}) + minus_dot));
        }
    }
}

/// Rows of a gradient back to where their keys came from; rows of masked keys are zero.
inline void unpack_key_rows(const attention_head<float>::out_matrix& to, const float* from, index_t ld,
                            const attention_head<float>& head) {
    index_t j = 0;
    for (index_t i = 0; i < head.seq_len; ++i) {
        float* out = to.row(i);
        if (j < head.n_keys && head.keys[j] == i) {
            const float* row = from + j++ * ld;
            for (index_t c = 0; c < head.d_head; ++c) out[c] = row[c];
        } else {
            for (index_t c = 0; c < head.d_head; ++c) out[c] = 0.0f;
        }
    }
}

inline void backward_head(const attention_head<float>& head, float* scratch) {
    const index_t n = head.n_keys, d = head.d_head, seq_len = head.seq_len;
    if (n == 0) {
        for (index_t i = 0; i < seq_len; ++i) {
            for (index_t c = 0; c < d; ++c) head.dq.row(i)[c] = head.dk.row(i)[c] = head.dv.row(i)[c] = 0.0f;
        }
        return;
    }
    const bool prefix = head.keys[n - 1] == n - 1;
    const std::int32_t* index = prefix ? nullptr : head.keys;
    const index_t row = packed_row(d), score_row = packed_row(n), block = backward_block_rows(seq_len);
    float* kt = scratch;
    float* vt = kt + d * round_up(n, k_lanes);
    float* k = vt + d * round_up(n, k_lanes);
    float* dk = k + n * row;
    float* dv = dk + n * row;
    float* q = dv + n * row;
    float* d_o = q + block * row;
    float* s = d_o + block * row;
    float* dp = s + block * score_row + k_tile_rows_max;  // Pᵀ as an A operand is read by whole tiles of columns
    auto* bits = reinterpret_cast<std::uint32_t*>(dp + block * score_row + k_tile_rows_max);
    const row_list keys{head.k.data, head.k.stride, index}, values{head.v.data, head.v.stride, index};
    pack_transposed(kt, keys, n, d, static_cast<float>(head.scale * 1.4426950408889634));
    pack_transposed(vt, values, n, d, 1.0f);
    pack_rows(k, row, keys, n, d);
    const bool dropout = head.dropout.p > 0.0f;
    const std::uint32_t drop_below = head.dropout.drop_below();
    const float scale = static_cast<float>(head.scale), keep_scale = dropout ? head.dropout.scale() : 1.0f;
    prefetch_queue prefetch;
    if (head.next != nullptr) {
        const attention_head<float>& next = *head.next;
        prefetch.add(next.k.data, next.k.stride, false);
        prefetch.add(next.v.data, next.v.stride, false);
        prefetch.add(next.q.data, next.q.stride, false);
        prefetch.add(next.d_o.data, next.d_o.stride, false);
        prefetch.add(next.o.data, next.o.stride, false);
        prefetch.add(next.dq.data, next.dq.stride, true);
        prefetch.add(next.dk.data, next.dk.stride, true);
        prefetch.add(next.dv.data, next.dv.stride, true);
        const index_t rows = seq_len < block ? seq_len : block;
        prefetch.plan(seq_len, d, (seq_len < block ? 1 : seq_len / block) * (2 * queue_steps(rows, n, d) + 2 * queue_steps(n, d, rows) + queue_steps(rows, d, n)));
    }
    for (index_t i = 0; i < seq_len; i += block) {
        const index_t rows = seq_len - i < block ? seq_len - i : block, columns = round_up(n, k_lanes);
        pack_rows(q, row, {head.q.row(i), head.q.stride, nullptr}, rows, d);
        pack_rows(d_o, row, {head.d_o.row(i), head.d_o.stride, nullptr}, rows, d);
        multiply({rows, columns, d, {q, row}, {kt}, {s, score_row}, &prefetch});
        multiply({rows, columns, d, {d_o, row}, {vt}, {dp, score_row}, &prefetch});
        for (index_t r = 0; r < rows; ++r) {
            const std::uint32_t* row_bits = dropout ? dropout_bits(head, i + r, prefix, bits) : nullptr;
            const float lse2 = head.lse[(i + r) * head.lse_stride] * k_log2_e;
            softmax_gradient_row(s + r * score_row, dp + r * score_row, n, lse2,
                                 dot(d_o + r * row, head.o.row(i + r), d), scale, row_bits, drop_below, keep_scale);
        }
        multiply({n, d, rows, {s, 1, score_row}, {d_o, row}, {dv, row, i > 0}, &prefetch});
        multiply({n, d, rows, {dp, 1, score_row}, {q, row}, {dk, row, i > 0}, &prefetch});
        multiply({rows, d, n, {dp, score_row}, {k, row}, {head.dq.row(i), head.dq.stride}, &prefetch});
    }
    unpack_key_rows(head.dk, dk, row, head);
    unpack_key_rows(head.dv, dv, row, head);
}

}  // namespace attention
}  // namespace instar::ops::cpu::simd::INSTAR_SIMD_NS
