// Forward of one head of attention. Included by simd/attention.hpp once for each instruction set.
//
//     attention::forward_head(head, 0, head.seq_len, scratch);     // scratch: forward_scratch(seq_len, d_head) floats
//
// The kept keys and values are packed once a head; then blocks of k_block_rows queries run through
//     S = (scale · log2 e) Q Kᵀ  →  P = 2^(S − max S), row sums  →  O = P V / sums
// while their scores lie in L1 or L2. Working in powers of two takes the factor out of the exponential: it rides on the
// packed keys.

namespace instar::ops::cpu::simd::INSTAR_SIMD_NS {
namespace attention {

/// Queries whose scores are held at once: whole tiles of 6, 8 and 12 rows.
inline constexpr index_t k_block_rows = 24;
static_assert(k_block_rows % 6 == 0 && k_block_rows % 8 == 0 && k_block_rows % k_tile_rows_max == 0);

inline constexpr float k_log2_e = 1.44269504f;
inline constexpr float k_ln_2 = 0.693147181f;

/// x, but at least `least`; a NaN stays. Spelled out because GCC turns max(constant, x) into a comparison and a blend.
INSTAR_ALWAYS_INLINE f32 at_least(float least, f32 x) {
#if INSTAR_SIMD_LEVEL == 4 && defined(__clang__)
    return __builtin_ia32_maxps512(broadcast(least), x, 4);
#elif INSTAR_SIMD_LEVEL == 4
    return __builtin_ia32_maxps512_mask(broadcast(least), x, f32{}, static_cast<unsigned short>(0xffff), 4);
#elif INSTAR_SIMD_LEVEL == 3
    return __builtin_ia32_maxps256(broadcast(least), x);
#else
    return max(broadcast(least), x);
#endif
}

/// 2ˣ for x ≤ 127; relative error 1.7e-7. What lies below 2⁻¹²⁵ gives 2⁻¹²⁵: denormals would slow the products.
INSTAR_ALWAYS_INLINE f32 exp2(f32 x) {
    x = at_least(-125.0f, x);
    const f32 shifted = x + 12582912.0f;  // 1.5 · 2²³: the integer nearest to x stands in the low bits
    const f32 f = x - (shifted - 12582912.0f);
    f32 p = fma(f, broadcast(0x1.5bba14p-10f), broadcast(0x1.3cea88p-7f));  // minimax on [−½, ½] with p(0) = 1
    p = fma(f, p, broadcast(0x1.c6b752p-5f));
    p = fma(f, p, broadcast(0x1.ebf9bcp-3f));
    p = fma(f, p, broadcast(0x1.62e42ap-1f));
    p = fma(f, p, broadcast(1.0f));
    return as_f32(as_u32(p) + (as_u32(shifted) << 23));
}

/// Largest of s[0, n), n ≥ 1. A NaN does not count: it shows in the sum.
INSTAR_ALWAYS_INLINE float row_max(const float* s, index_t n) {
    f32 m = broadcast(-__builtin_inff());
    index_t j = 0;
    for (; j + k_lanes <= n; j += k_lanes) m = max(load(s + j), m);
    if (j < n) m = max(select(first_lanes(n - j), load(s + j), m), m);
    return reduce_max(m);
}

/// s = 2^(s − max), zeros from n to a whole vector; returns the sum. What dropout drops is zeroed after it was summed.
template <bool Dropout>
INSTAR_ALWAYS_INLINE float row_exp(float* s, index_t n, float max, const std::uint32_t* bits,
                                   std::uint32_t drop_below) {
    f32 sum{};
    index_t j = 0;
    for (; j + k_lanes <= n; j += k_lanes) {
        f32 p = exp2(load(s + j) - max);
        sum = sum + p;
        if constexpr (Dropout) p = select((i32)(load(bits + j) >= drop_below), p, f32{});
        store(s + j, p);
    }
    if (j < n) {
        f32 p = select(first_lanes(n - j), exp2(load(s + j) - max), f32{});
        sum = sum + p;
        if constexpr (Dropout) p = select((i32)(load(bits + j) >= drop_below), p, f32{});
        store(s + j, p);
    }
    return reduce_add(sum);
}

/// Dropout's bits of elements 4·block … 4·(block + n_blocks) − 1, and of a few more.
inline void draw_bits(std::uint32_t* bits, const philox& rng, std::uint64_t block, index_t n_blocks) {
    for (index_t i = 0; i < 4 * n_blocks; i += 2 * k_lanes) {
        u32 first, second;
        philox_bits(first, second, rng, block + static_cast<std::uint64_t>(i / 4));
        store(bits + i, first);
        store(bits + i + k_lanes, second);
    }
}

/// Dropout's bits of row i in the order of the kept keys: bits[j] belongs to key keys[j]. Needs bits_scratch(seq_len)
/// elements; returns where the row begins.
inline const std::uint32_t* dropout_bits(const attention_head<float>& head, index_t i, bool all_in_order,
                                         std::uint32_t* bits) {
    const std::uint64_t first = head.dropout_index(i, 0), block = first / 4;
    std::uint32_t* row = bits + first % 4;
    const index_t n_used = head.n_keys > 0 ? head.keys[head.n_keys - 1] + 1 : 0;
    draw_bits(bits, head.dropout.rng, block, (static_cast<index_t>(first % 4) + n_used + 3) / 4);
    if (!all_in_order) {
        for (index_t j = 0; j < head.n_keys; ++j) row[j] = row[head.keys[j]];
    }
    return row;
}
constexpr index_t bits_scratch(index_t seq_len) { return round_up(seq_len + 8, k_lanes) + 3 * k_lanes; }

constexpr index_t forward_scratch(index_t seq_len, index_t d_head) {
    const index_t keys = round_up(seq_len, k_lanes), row = packed_row(d_head);
    return d_head * keys + seq_len * row + k_block_rows * (row + packed_row(seq_len)) + 3 * (k_block_rows + k_lanes) +
           bits_scratch(seq_len);
}

/// Queries [first, last) of one head. Rows of the result do not depend on the range they are computed in.
inline void forward_head(const attention_head<float>& head, index_t first, index_t last, float* scratch) {
    const index_t n = head.n_keys, d = head.d_head;
    if (n == 0) {
        for (index_t i = first; i < last; ++i) {
            for (index_t c = 0; c < d; ++c) head.out.row(i)[c] = 0.0f;
            head.lse[i * head.lse_stride] = -__builtin_inff();
        }
        return;
    }
    const bool prefix = head.keys[n - 1] == n - 1;
    const std::int32_t* index = prefix ? nullptr : head.keys;
    const index_t row = packed_row(d), score_row = packed_row(n);
    float* kt = scratch;
    float* v = kt + d * round_up(n, k_lanes);
    float* q = v + n * row;
    float* s = q + k_block_rows * row;
    float* max = s + k_block_rows * score_row;
    float* sum = max + k_block_rows + k_lanes;
    float* scale = sum + k_block_rows + k_lanes;
    auto* bits = reinterpret_cast<std::uint32_t*>(scale + k_block_rows + k_lanes);
    pack_transposed(kt, {head.k.data, head.k.stride, index}, n, d, static_cast<float>(head.scale * 1.4426950408889634));
    pack_rows(v, row, {head.v.data, head.v.stride, index}, n, d);
    const bool dropout = head.dropout.p > 0.0f;
    const std::uint32_t drop_below = head.dropout.drop_below();
    const f32 keep_scale = broadcast(dropout ? head.dropout.scale() : 1.0f);
    prefetch_queue prefetch;
    if (head.next != nullptr) {
        prefetch.add(head.next->k.data, head.next->k.stride, false);
        prefetch.add(head.next->v.data, head.next->v.stride, false);
        prefetch.add(head.next->q.data, head.next->q.stride, false);
        prefetch.add(head.next->out.data, head.next->out.stride, true);
        // Done when the whole blocks are, before a last block of fewer rows: what is asked for late is of no use.
        const index_t blocks = last - first < k_block_rows ? 1 : (last - first) / k_block_rows, rows = last - first < k_block_rows ? last - first : k_block_rows;
        prefetch.plan(head.seq_len, d, blocks * (queue_steps(rows, n, d) + queue_steps(rows, d, n)));
    }
    for (index_t i = first; i < last; i += k_block_rows) {
        const index_t rows = last - i < k_block_rows ? last - i : k_block_rows;
        pack_rows(q, row, {head.q.row(i), head.q.stride, nullptr}, rows, d);
        multiply({rows, round_up(n, k_lanes), d, {q, row}, {kt}, {s, score_row}, &prefetch});
        for (index_t r = 0; r < rows; ++r) max[r] = row_max(s + r * score_row, n);
        for (index_t r = 0; r < rows; ++r) {
            float* p = s + r * score_row;
            if (dropout) sum[r] = row_exp<true>(p, n, max[r], dropout_bits(head, i + r, prefix, bits), drop_below);
            else sum[r] = row_exp<false>(p, n, max[r], nullptr, 0);
        }
        for (index_t r = rows; r < k_block_rows + k_lanes; ++r) max[r] = 0.0f, sum[r] = 1.0f;  // whole vectors below
        for (index_t r = 0; r < rows; r += k_lanes) {
            const f32 total = load(sum + r);
            store(scale + r, keep_scale / total);
            store(sum + r, fma(load(max + r), broadcast(k_ln_2), log(total)));
        }
        for (index_t r = 0; r < rows; ++r) head.lse[(i + r) * head.lse_stride] = sum[r];
        multiply({rows, d, n, {s, score_row}, {v, row}, {head.out.row(i), head.out.stride, false, scale}, &prefetch});
    }
}

}  // namespace attention
}  // namespace instar::ops::cpu::simd::INSTAR_SIMD_NS
