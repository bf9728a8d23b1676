// Packed matrix product of one instruction set. Included by ops/cpu/gemm_packed.hpp once for each.
//
// The method of Goto and van de Geijn, "Anatomy of high-performance matrix multiplication", ACM TOMS 34(3), 2008: op(a) is
// copied in panels of k_gemm_rows rows and op(b) in panels of k_gemm_columns columns, so that the innermost loop reads both
// in order; a tile of c stays in registers for a block of depths.
//
// An element of c is the sum over blocks of depths, in order, of chains of fused multiply-adds, in order. The blocks depend on
// k alone. So the bits depend neither on the tile an element falls in, nor on m and n, nor on who computes it.

namespace instar::ops::cpu::simd::INSTAR_SIMD_NS {

inline constexpr int k_gemm_vectors = 2;
inline constexpr index_t k_gemm_columns = k_gemm_vectors * k_lanes;
// Accumulators + k_gemm_vectors of b + 1 of a fill the registers: 31 of 32, 15 of 16, 11 of 16 (SSE2 needs one for products).
#if INSTAR_SIMD_LEVEL == 4
inline constexpr int k_gemm_rows = 14;
inline constexpr index_t k_gemm_block_rows = 14 * k_gemm_rows, k_gemm_block_depth = 768;
#elif INSTAR_SIMD_LEVEL == 3
inline constexpr int k_gemm_rows = 6;
inline constexpr index_t k_gemm_block_rows = 32 * k_gemm_rows, k_gemm_block_depth = 256;
#else
inline constexpr int k_gemm_rows = 4;
inline constexpr index_t k_gemm_block_rows = 32 * k_gemm_rows, k_gemm_block_depth = 256;
#endif
static_assert(k_gemm_rows <= k_lanes);

inline constexpr gemm_geometry gemm_cut() { return {k_gemm_rows, k_gemm_columns, k_gemm_block_rows, k_gemm_block_depth}; }

/// Depths of each block but the last: k in equal parts, rounded up to whole vectors for the sake of packing.
inline constexpr index_t gemm_block_depth(index_t k) {
    const index_t n_blocks = (k + k_gemm_block_depth - 1) / k_gemm_block_depth;
    return n_blocks <= 1 ? k : ((k + n_blocks - 1) / n_blocks + k_lanes - 1) / k_lanes * k_lanes;
}

// --- packing --------------------------------------------------------------------------------------------------------------------

namespace detail {

/// out[p · stride + i] = row[i][p] for i < k_lanes, p < depth. What a panel of fewer rows writes past each stride is
/// overwritten by its next depth; past the end it is slack.
INSTAR_ALWAYS_INLINE void gemm_pack_rows(float* out, index_t stride, const float* const (&row)[k_lanes], index_t depth) {
    index_t p = 0;
    for (; p + k_lanes <= depth; p += k_lanes) {
        f32 r[k_lanes];
#pragma GCC unroll 16
        for (index_t i = 0; i < k_lanes; ++i) r[i] = load(row[i] + p);
        transpose(r);
#pragma GCC unroll 16
        for (index_t i = 0; i < k_lanes; ++i) store(out + (p + i) * stride, r[i]);
    }
    if (p < depth) {
        f32 r[k_lanes];
#pragma GCC unroll 16
        for (index_t i = 0; i < k_lanes; ++i) r[i] = load_partial(row[i] + p, depth - p);
        transpose(r);
        for (index_t i = 0; p + i < depth; ++i) store(out + (p + i) * stride, r[i]);
    }
}

/// The same of rows ld apart; a row that is not there repeats the last one: loads without a branch, lanes that fall into the slack.
INSTAR_ALWAYS_INLINE void gemm_pack_transposed(float* out, index_t stride, const float* in, index_t ld, index_t rows, index_t depth) {
    const float* row[k_lanes];
    for (index_t i = 0; i < k_lanes; ++i) row[i] = in + (i < rows ? i : rows - 1) * ld;
    gemm_pack_rows(out, stride, row, depth);
}

/// The same of gathered rows i0 … and depths [p0, p1): run by run.
inline void gemm_pack_gathered(float* out, index_t stride, const gemm_problem& g, index_t i0, index_t rows, index_t p0, index_t p1) {
    const gemm_gather& where = *g.gather;
    const float* start[k_lanes];
    for (index_t i = 0; i < k_lanes; ++i) start[i] = g.a + where.offset(i0 + (i < rows ? i : rows - 1));
    for (index_t p = p0; p < p1;) {
        const index_t in_run = p % where.run, shift = p / where.run * where.pitch + in_run;
        const index_t n = where.run - in_run < p1 - p ? where.run - in_run : p1 - p;
        const float* row[k_lanes];
        for (index_t i = 0; i < k_lanes; ++i) row[i] = start[i] + shift;
        gemm_pack_rows(out, stride, row, n);
        out += n * stride;
        p += n;
    }
}

/// Elements [i, i + n) of a gathered row, n ≤ k_lanes, across the end of a run.
inline f32 gemm_load_gathered(const float* row, const gemm_gather& where, index_t i, index_t n) {
    float values[k_lanes];
    for (index_t e = 0; e < n; ++e) values[e] = row[(i + e) / where.run * where.pitch + (i + e) % where.run];
    return load_partial(values, n);
}

}  // namespace detail

/// First row of panel q of n_panels, counted from the part's first row: panels of nearly equal height, so that 15 rows are
/// 8 + 7, not 14 + 1.
INSTAR_ALWAYS_INLINE index_t gemm_panel(index_t rows, index_t q, index_t n_panels) { return rows * q / n_panels; }

/// Rows [i0, i0 + rows) and depths [p0, p1) of op(a) in panels, one after the other: panel q, of height h, holds its element
/// (i, p) at [p · h + i]. Writes up to k_lanes elements of slack.
inline void gemm_pack_a(float* out, const gemm_problem& g, index_t i0, index_t rows, index_t n_panels, index_t p0, index_t p1) {
    const index_t depth = p1 - p0;
    if (!g.transpose_a) {
        for (index_t q = 0; q < n_panels; ++q) {
            const index_t r0 = gemm_panel(rows, q, n_panels), height = gemm_panel(rows, q + 1, n_panels) - r0;
            if (g.gather != nullptr) detail::gemm_pack_gathered(out + r0 * depth, height, g, i0 + r0, height, p0, p1);
            else detail::gemm_pack_transposed(out + r0 * depth, height, g.a + (i0 + r0) * g.lda + p0, g.lda, height, depth);
        }
        return;
    }
    // A few depths at a time, all panels of them: memory is read in long rows, and written in short runs.
    for (index_t p = 0; p < depth; p += 8) {
        const index_t end = depth - p < 8 ? depth : p + 8;
        const float* row[8];
        for (index_t t = p; t < end; ++t) row[t - p] = g.a + (g.gather != nullptr ? g.gather->offset(p0 + t) : (p0 + t) * g.lda);
        for (index_t q = 0; q < n_panels; ++q) {
            const index_t r0 = gemm_panel(rows, q, n_panels), height = gemm_panel(rows, q + 1, n_panels) - r0;
            float* o = out + r0 * depth + p * height;
            index_t shift = i0 + r0;
            bool split = false;
            if (g.gather != nullptr) {
                const index_t in_run = shift % g.gather->run;
                split = in_run + height > g.gather->run;
                shift = shift / g.gather->run * g.gather->pitch + in_run;
            }
            for (index_t t = p; t < end; ++t, o += height) {
                const f32 x = split ? detail::gemm_load_gathered(row[t - p], *g.gather, i0 + r0, height) : load_partial(row[t - p] + shift, height);
                if ((depth - t) * height >= k_lanes) store(o, x);
                else store_partial(o, x, height);  // the next panel is near, and written already
            }
        }
    }
}

/// Columns [j0, j1) and depths [p0, p1) of op(b) in panels of k_gemm_columns, one after the other: a panel's element (p, j)
/// at [p · k_gemm_columns + j]. Columns past j1 of the last panel hold any value.
inline void gemm_pack_b(float* out, const gemm_problem& g, index_t j0, index_t j1, index_t p0, index_t p1) {
    const index_t depth = p1 - p0, columns = j1 - j0;
    if (g.transpose_b) {
        for (index_t j = 0; j < columns; j += k_lanes) {
            float* o = out + j / k_gemm_columns * (k_gemm_columns * depth) + j % k_gemm_columns;
            detail::gemm_pack_transposed(o, k_gemm_columns, g.b + (j0 + j) * g.ldb + p0, g.ldb, columns - j < k_lanes ? columns - j : k_lanes, depth);
        }
        return;
    }
    for (index_t p = 0; p < depth; p += 8) {
        const index_t end = depth - p < 8 ? depth : p + 8;
        for (index_t j = 0; j < columns; j += k_lanes) {
            float* o = out + j / k_gemm_columns * (k_gemm_columns * depth) + j % k_gemm_columns + p * k_gemm_columns;
            const float* in = g.b + (p0 + p) * g.ldb + j0 + j;
            if (columns - j >= k_lanes) {
                for (index_t t = p; t < end; ++t, in += g.ldb, o += k_gemm_columns) store(o, load(in));
            } else {
                for (index_t t = p; t < end; ++t, in += g.ldb, o += k_gemm_columns) store(o, load_partial(in, columns - j));
            }
        }
    }
}

// --- a tile of c -----------------------------------------------------------------------------------------------------------------

/// c[Rows, columns] (+)= a · b (+ bias) over k depths. a: [k][Rows] packed; b: rows of Vectors · k_lanes, ldb apart;
/// (Vectors − 1) · k_lanes < columns ≤ Vectors · k_lanes.
template <int Rows, int Vectors>
inline void gemm_tile(index_t k, const float* INSTAR_RESTRICT a, const float* INSTAR_RESTRICT b, index_t ldb, float* INSTAR_RESTRICT c,
                      index_t ldc, index_t columns, bool accumulate, const float* bias) {
    f32 sum[Rows][Vectors];
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) {
        // c is wanted at the end; asked for now, it arrives while the products run.
        __builtin_prefetch(c + i * ldc, 1);
        if constexpr (Vectors > 1) __builtin_prefetch(c + i * ldc + k_lanes, 1);
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; ++v) sum[i][v] = broadcast(0.0f);
    }
    for (index_t p = 0; p < k; ++p, a += Rows, b += ldb) {
        f32 y[Vectors];
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; ++v) y[v] = load(b + v * k_lanes);
#pragma GCC unroll 16
        for (int i = 0; i < Rows; ++i) {
            const f32 x = broadcast(a[i]);
#pragma GCC unroll 4
            for (int v = 0; v < Vectors; ++v) sum[i][v] = fma(x, y[v], sum[i][v]);
        }
    }
    const index_t tail = columns - (Vectors - 1) * k_lanes;
    const bool full = tail == k_lanes;
    if (accumulate) {
#pragma GCC unroll 16
        for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 4
            for (int v = 0; v < Vectors; ++v) {
                const float* at = c + i * ldc + v * k_lanes;
                sum[i][v] = sum[i][v] + (v + 1 < Vectors || full ? load(at) : load_partial(at, tail));
            }
        }
    }
    if (bias != nullptr) {
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; ++v) {
            const f32 y = v + 1 < Vectors || full ? load(bias + v * k_lanes) : load_partial(bias + v * k_lanes, tail);
#pragma GCC unroll 16
            for (int i = 0; i < Rows; ++i) sum[i][v] = sum[i][v] + y;
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; ++v) {
            float* at = c + i * ldc + v * k_lanes;
            if (v + 1 < Vectors || full) store(at, sum[i][v]);
            else store_partial(at, sum[i][v], tail);
        }
    }
}

namespace detail {

using gemm_tile_pointer = void (*)(index_t, const float*, const float*, index_t, float*, index_t, index_t, bool, const float*);

template <class Rows>
struct gemm_tiles;
template <int... R>
struct gemm_tiles<std::integer_sequence<int, R...>> {
    /// [rows − 1][vectors − 1]
    static constexpr gemm_tile_pointer table[sizeof...(R)][k_gemm_vectors] = {{&gemm_tile<R + 1, 1>, &gemm_tile<R + 1, 2>}...};
};

}  // namespace detail

// --- a part of c -----------------------------------------------------------------------------------------------------------------

/// A part of a product, by one thread. At most k_gemm_block_rows rows. a_scratch: gemm_cut().scratch_a() floats; b_scratch:
/// scratch_b() floats, unused when part.packed_b is given.
inline void gemm_compute(const gemm_problem& g, const gemm_part& part, float* a_scratch, float* b_scratch) {
    using tiles = detail::gemm_tiles<std::make_integer_sequence<int, k_gemm_rows>>;
    constexpr index_t k_group = gemm_geometry::k_group_panels * k_gemm_columns;
    const index_t rows = part.i1 - part.i0, step = gemm_block_depth(g.k);
    const index_t n_panels = (rows + k_gemm_rows - 1) / k_gemm_rows;
    index_t p0 = part.p0;
    do {  // once for k = 0, which leaves c = 0 and the epilogue
        const index_t p1 = p0 + step < part.p1 ? p0 + step : part.p1, depth = p1 - p0;
        const bool accumulate = g.accumulate || p0 > 0, last = p1 == g.k;
        // An op(b) that is read once or twice, or that lies in the first-level cache, needs no copy.
        const bool direct = !g.transpose_b && part.packed_b == nullptr && depth > 0 && (n_panels <= 2 || depth * g.ldb <= 4096);
        if (depth > 0) gemm_pack_a(a_scratch, g, part.i0, rows, n_panels, p0, p1);
        for (index_t j = part.j0; j < part.j1; j += k_gemm_columns) {
            const index_t columns = part.j1 - j < k_gemm_columns ? part.j1 - j : k_gemm_columns;
            const float* b = nullptr;
            index_t ldb = k_gemm_columns;
            if (part.packed_b != nullptr) {
                b = part.packed_b + (p0 - part.p0) * part.packed_columns + (j - part.j_first) * depth;
            } else if (direct && columns % k_lanes == 0) {
                b = g.b + p0 * g.ldb + j;
                ldb = g.ldb;
            } else if (depth > 0) {
                const index_t in_group = (j - part.j0) % k_group;
                if (direct) {
                    gemm_pack_b(b_scratch, g, j, j + columns, p0, p1);
                } else if (in_group == 0) {
                    gemm_pack_b(b_scratch, g, j, part.j1 - j < k_group ? part.j1 : j + k_group, p0, p1);
                }
                b = b_scratch + (direct ? 0 : in_group * depth);
            }
            const float* bias = last && g.bias != nullptr ? g.bias + j : nullptr;
            for (index_t q = 0; q < n_panels; ++q) {
                const index_t r0 = gemm_panel(rows, q, n_panels), r1 = gemm_panel(rows, q + 1, n_panels);
                float* c = g.c + (part.i0 + r0) * g.ldc + j;
                tiles::table[r1 - r0 - 1][columns > k_lanes](depth, a_scratch + r0 * depth, b, ldb, c, g.ldc, columns, accumulate, bias);
                if (last && g.activation != nullptr) {  // while the tile is in the first-level cache
                    float* y = g.activation + (part.i0 + r0) * g.ld_activation + j;
                    for (index_t r = r0; r < r1; ++r, y += g.ld_activation, c += g.ldc) gelu_range(y, c, columns);
                }
            }
        }
        p0 = p1;
    } while (p0 < part.p1);
}

}  // namespace instar::ops::cpu::simd::INSTAR_SIMD_NS
