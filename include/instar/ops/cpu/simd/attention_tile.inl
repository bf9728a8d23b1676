// Small matrix products of attention, on one thread and in cache. Included by simd/attention.hpp once for each
// instruction set.
//
//     pack_transposed(kt, rows, n, d, factor);                       // B operand: kᵀ in panels
//     pack_rows(v, ld, rows, n, d);                                  // B or A operand: rows padded with zeros
//     multiply({m, n, k, {q, row}, {kt}, {s, score_row}});           // C = A · B, or C += A · B
//
// C is cut into register tiles of k_tile_rows<NV> × NV vectors; A is read a scalar at a time (broadcast), B a vector at
// a time. Every element of A · B is one chain of fused multiply-adds over k in ascending order, whatever the tile: its
// bits depend neither on the cut nor on the position of its row.

namespace instar::ops::cpu::simd::INSTAR_SIMD_NS {
namespace attention {

// 32 vector registers hold 24 sums, their B vectors and a broadcast; 16 registers hold 12.
#if INSTAR_SIMD_LEVEL == 4 || defined(__aarch64__)
inline constexpr index_t k_tile_vectors = 4;
#else
inline constexpr index_t k_tile_vectors = 2;
#endif
template <int NV>
inline constexpr int k_tile_rows = k_tile_vectors == 4 ? (NV == 4   ? 6
                                                          : NV == 3 ? 8
                                                                    : 12)
                                                       : (NV == 2 ? 6 : 12);

/// A is read by whole tiles: its rows must be readable up to the next multiple of this, whatever they hold.
inline constexpr index_t k_tile_rows_max = 12;

constexpr index_t round_up(index_t n, index_t multiple) { return (n + multiple - 1) / multiple * multiple; }
constexpr index_t vectors_of(index_t n) { return (n + k_lanes - 1) / k_lanes; }

/// The columns of B are cut into panels of at most k_tile_vectors vectors, as even as possible; panel p begins at
/// vector panel_begin and ends where the next begins.
constexpr index_t panel_count(index_t vectors) { return (vectors + k_tile_vectors - 1) / k_tile_vectors; }
constexpr index_t panel_begin(index_t vectors, index_t p) { return vectors * p / panel_count(vectors); }

/// Rows that the next head will touch, asked for a line at a time while this one computes: a head's rows lie far apart (one in each row
/// of a [.., n_heads, d_head] buffer), which no hardware prefetcher follows. Several lines at once would not do: a core waits once some 16
/// are on their way, and waited a third of the forward's time at 83 positions × 64.
struct prefetch_queue {
    static constexpr index_t k_line = 16;                         // floats of a cache line
    static constexpr index_t k_most_bytes = index_t{1280} << 10;  // beyond it, the matrices added last are left out
    struct matrix {
        const float* data;
        index_t stride;
        bool write;
    };
    matrix matrices[8];
    index_t n_matrices = 0, n_rows = 0, d = 0;
    index_t matrix_at = 0, row_at = 0, column_at = 0;
    index_t n_lines = 0, n_steps = 1, due = 0;  // after the i-th of n_steps steps, ⌊i · n_lines / n_steps⌋ lines have been asked for

    void add(const float* data, index_t stride, bool write) { matrices[n_matrices++] = {data, stride, write}; }
    /// Spreads all rows over `steps` calls of step().
    void plan(index_t rows, index_t columns, index_t steps) {
        n_rows = rows;
        d = columns;
        const index_t bytes = rows * columns * static_cast<index_t>(sizeof(float));
        while (n_matrices > 0 && n_matrices * bytes > k_most_bytes) --n_matrices;
        n_lines = n_matrices * rows * ((columns + k_line - 1) / k_line);
        n_steps = steps < 1 ? 1 : steps;
    }
    INSTAR_ALWAYS_INLINE void step() {
        for (due += n_lines; due >= n_steps; due -= n_steps) {
            const matrix& m = matrices[matrix_at];
            const float* const line = m.data + row_at * m.stride + column_at;
            if (m.write) __builtin_prefetch(line, 1, 2);
            else __builtin_prefetch(line, 0, 2);
            if ((column_at += k_line) < d) continue;
            column_at = 0;
            if (++row_at < n_rows) continue;
            row_at = 0;
            if (++matrix_at < n_matrices) continue;
            n_lines = due = 0;
            break;
        }
    }
};

/// A(i, l) = data[i · row + l · step]
struct operand_a {
    const float* data = nullptr;
    index_t row = 0, step = 1;
};
/// B(l, j) = data[l · row + j], readable to a multiple of k_lanes columns; row = 0: the panels of pack_transposed.
struct operand_b {
    const float* data = nullptr;
    index_t row = 0;
};
/// C(i, j) = data[i · row + j]. Columns past n are not written.
struct operand_c {
    float* data = nullptr;
    index_t row = 0;
    bool accumulate = false;
    const float* row_scale = nullptr;  ///< [m] or null
};
/// C [m, n] (+)= A [m, k] · B [k, n], each row then times row_scale. With a queue, prefetches a little with each k_queue_depths of a tile.
struct product {
    index_t m = 0, n = 0, k = 0;
    operand_a a;
    operand_b b;
    operand_c c;
    prefetch_queue* prefetch = nullptr;
};

inline constexpr index_t k_queue_depths = 4;

/// One register tile: rows [0, rows) of C, rows ≤ MR, and `columns` columns, which end in the last of the NV vectors.
template <int MR, int NV>
INSTAR_NOINLINE inline void multiply_tile(const product& x, const float* a, const float* b, index_t b_row, float* c,
                                          const float* row_scale, index_t rows, index_t columns) {
    f32 sum[MR][NV];
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
#pragma GCC unroll 16
        for (int v = 0; v < NV; ++v) sum[i][v] = f32{};
    }
    const index_t a_row = x.a.row, a_step = x.a.step;
    const float*
        a3[(MR + 2) / 3];  // a pointer for three rows: base, base + stride, base + 2·stride are x86 address forms
#pragma GCC unroll 16
    for (int g = 0; g < (MR + 2) / 3; ++g) a3[g] = a + 3 * g * a_row;
    for (index_t left = x.k; left > 0; left -= k_queue_depths) {
        if (x.prefetch != nullptr) x.prefetch->step();
        for (index_t l = left < k_queue_depths ? left : k_queue_depths; l > 0; --l) {
            f32 bv[NV];
#pragma GCC unroll 16
            for (int v = 0; v < NV; ++v) bv[v] = load(b + v * k_lanes);
#pragma GCC unroll 16
            for (int i = 0; i < MR; ++i) {
                const f32 av = broadcast(a3[i / 3][(i % 3) * a_row]);
#pragma GCC unroll 16
                for (int v = 0; v < NV; ++v) sum[i][v] = fma(av, bv[v], sum[i][v]);
            }
            b += b_row;
#pragma GCC unroll 16
            for (int g = 0; g < (MR + 2) / 3; ++g) a3[g] += a_step;
        }
    }
    const index_t last = columns - (NV - 1) * k_lanes;  // columns of the last vector
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
        if (i >= rows) break;
        float* ci = c + i * x.c.row;
        const f32 scale = broadcast(row_scale != nullptr ? row_scale[i] : 1.0f);
#pragma GCC unroll 16
        for (int v = 0; v < NV; ++v) {
            const bool full = v + 1 < NV || last == k_lanes;
            f32 r = sum[i][v];
            if (x.c.accumulate) r = r + (full ? load(ci + v * k_lanes) : load_partial(ci + v * k_lanes, last));
            r = r * scale;
            if (full) store(ci + v * k_lanes, r);
            else store_partial(ci + v * k_lanes, r, last);
        }
    }
}

/// All rows of one panel of NV vectors. A rest of at most half a tile takes a tile of half the rows.
template <int NV>
inline void multiply_panel(const product& x, const float* b, index_t b_row, float* c, index_t columns) {
    constexpr int k_rows = k_tile_rows<NV>;
    for (index_t i = 0; i < x.m; i += k_rows) {
        const index_t rows = x.m - i < k_rows ? x.m - i : k_rows;
        const float* scale = x.c.row_scale != nullptr ? x.c.row_scale + i : nullptr;
        if (rows > k_rows / 2) {
            multiply_tile<k_rows, NV>(x, x.a.data + i * x.a.row, b, b_row, c + i * x.c.row, scale, rows, columns);
        } else {
            multiply_tile<k_rows / 2, NV>(x, x.a.data + i * x.a.row, b, b_row, c + i * x.c.row, scale, rows, columns);
        }
    }
}

/// How often a product calls prefetch_queue::step.
constexpr index_t queue_steps(index_t m, index_t n, index_t k) {
    const index_t vectors = vectors_of(n), panels = panel_count(vectors);
    index_t tiles = 0;
    for (index_t p = 0; p < panels; ++p) {
        const index_t width = panel_begin(vectors, p + 1) - panel_begin(vectors, p);
        const index_t rows = width == 4 ? k_tile_rows<4> : width == 3 ? k_tile_rows<3> : width == 2 ? k_tile_rows<2> : k_tile_rows<1>;
        tiles += (m + rows - 1) / rows;
    }
    return tiles * ((k + k_queue_depths - 1) / k_queue_depths);
}

INSTAR_NOINLINE inline void multiply(const product& x) {
    const index_t vectors = vectors_of(x.n), panels = panel_count(vectors);
    for (index_t p = 0; p < panels; ++p) {
        const index_t first = panel_begin(vectors, p), width = panel_begin(vectors, p + 1) - first;
        const float* b = x.b.data + first * k_lanes * (x.b.row == 0 ? x.k : 1);
        const index_t b_row = x.b.row == 0 ? width * k_lanes : x.b.row;
        float* c = x.c.data + first * k_lanes;
        const index_t left = x.n - first * k_lanes, columns = left < width * k_lanes ? left : width * k_lanes;
        switch (width) {
#if INSTAR_SIMD_LEVEL == 4 || defined(__aarch64__)
        case 4:
            multiply_panel<4>(x, b, b_row, c, columns);
            break;
        case 3:
            multiply_panel<3>(x, b, b_row, c, columns);
            break;
#endif
        case 2:
            multiply_panel<2>(x, b, b_row, c, columns);
            break;
        default:
            multiply_panel<1>(x, b, b_row, c, columns);
            break;
        }
    }
}

// --- packing ---------------------------------------------------------------------------------------------------------

/// Rows of a head that take part: row j is data + index[j] · stride, or data + j · stride without an index.
struct row_list {
    const float* data = nullptr;
    index_t stride = 0;
    const std::int32_t* index = nullptr;
    const float* row(index_t j) const { return data + (index != nullptr ? index_t{index[j]} : j) * stride; }
};

/// Distance between packed rows of d columns: whole vectors, no multiple of 1 KiB, where rows would share cache sets.
constexpr index_t packed_row(index_t d) {
    const index_t padded = round_up(d, k_lanes);
    return padded % 256 == 0 ? padded + k_lanes : padded;
}

/// to[j · ld + c] = row j [c], zeros from d to a whole vector.
inline void pack_rows(float* to, index_t ld, const row_list& from, index_t n, index_t d) {
    for (index_t j = 0; j < n; ++j) {
        const float* row = from.row(j);
        float* out = to + j * ld;
        index_t c = 0;
        for (; c + k_lanes <= d; c += k_lanes) store(out + c, load(row + c));
        if (c < d) store(out + c, load_partial(row + c, d - c));
    }
}

/// The panels of B = factor · Xᵀ, X being n rows of d: for panel p, d rows of its width. Columns past n are zeros.
/// to: [d · round_up(n, k_lanes)].
inline void pack_transposed(float* to, const row_list& from, index_t n, index_t d, float factor) {
    const index_t vectors = vectors_of(n), panels = panel_count(vectors);
    const f32 scale = broadcast(factor);
    for (index_t p = 0; p < panels; ++p) {
        const index_t first = panel_begin(vectors, p), width = panel_begin(vectors, p + 1) - first;
        for (index_t w = 0; w < width; ++w) {
            const index_t j = (first + w) * k_lanes;
            const float* rows[k_lanes];
            for (index_t i = 0; i < k_lanes; ++i) rows[i] = j + i < n ? from.row(j + i) : nullptr;
            float* out = to + first * k_lanes * d + w * k_lanes;
            for (index_t c = 0; c < d; c += k_lanes) {
                const index_t count = d - c < k_lanes ? d - c : k_lanes;
                f32 x[k_lanes];
                if (count == k_lanes && j + k_lanes <= n) {
#pragma GCC unroll 16
                    for (index_t i = 0; i < k_lanes; ++i) x[i] = load(rows[i] + c);
                } else {
                    for (index_t i = 0; i < k_lanes; ++i)
                        x[i] = rows[i] != nullptr ? load_partial(rows[i] + c, count) : f32{};
                }
                transpose(x);
                for (index_t i = 0; i < count; ++i) store(out + (c + i) * width * k_lanes, x[i] * scale);
            }
        }
    }
}

}  // namespace attention
}  // namespace instar::ops::cpu::simd::INSTAR_SIMD_NS
