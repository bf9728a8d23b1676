// Packed matrix product of one instruction set. Included by ops/cpu/gemm_packed.hpp once for each.
//
// The method of Goto and van de Geijn, "Anatomy of high-performance matrix multiplication", ACM TOMS 34(3), 2008: op(a) is
// copied in panels of k_gemm_rows rows and op(b) in panels of k_gemm_columns columns, so that the innermost loop reads both
// in order; a tile of c stays in registers for a block of depths.
//
// An element of c is the sum over blocks of depths, in order, of chains of fused multiply-adds, in order. The blocks depend on
// k alone. So the bits depend neither on the tile an element falls in, nor on m and n, nor on who computes it.
//
// What a panel's 32-bit lane holds is the Input's business: a float, rounded to bf16 when the problem says so; or, where the processor
// multiplies bf16, a pair of them at neighbouring depths, so that panels are half as long and each instruction does twice the work.
//
// What memory holds is the problem's business: floats, or bf16, which need no rounding on their way into pairs. Tiles of c are floats in
// either case; bf16 ones are rounded from a copy once their sums are complete.

namespace instar::ops::cpu::simd::INSTAR_SIMD_NS {

inline constexpr int k_gemm_vectors = 2;
inline constexpr index_t k_gemm_columns = k_gemm_vectors * k_lanes;
// Accumulators + k_gemm_vectors of b + 1 of a fill the registers: 31 of 32, 15 of 16, 11 of 16 (SSE2 needs one for products).
#if INSTAR_SIMD_LEVEL == 4
inline constexpr int k_gemm_rows = 14;
inline constexpr index_t k_gemm_block_rows = 14 * k_gemm_rows, k_gemm_block_lanes = 768;
#elif INSTAR_SIMD_LEVEL == 3
inline constexpr int k_gemm_rows = 6;
inline constexpr index_t k_gemm_block_rows = 32 * k_gemm_rows, k_gemm_block_lanes = 256;
#else
inline constexpr int k_gemm_rows = 4;
inline constexpr index_t k_gemm_block_rows = 32 * k_gemm_rows, k_gemm_block_lanes = 256;
#endif
static_assert(k_gemm_rows <= k_lanes);

// --- inputs ---------------------------------------------------------------------------------------------------------------------

/// Floats. A problem in bf16 has its packed copies rounded, and multiplies them as floats, which is exact: what bf16 gives on processors
/// without instructions for it.
struct gemm_float_input {
    static constexpr index_t k_depths = 1;       ///< depths in a lane
    static constexpr index_t k_lane_multiple = 1; ///< a block's lanes are padded with zeros to a multiple of this
    static constexpr index_t k_block_rows = k_gemm_block_rows, k_block_lanes = k_gemm_block_lanes;
    static constexpr bool k_is_float = true;      ///< a lane is what memory holds: op(b) may be read where it is, unless it must be rounded
    static constexpr int k_tile_widths = 2;       ///< tiles of one and two vectors, or of two alone

    /// k_lanes · k_depths neighbours of a row, or the first n of them and zeros.
    template <class T>
    static INSTAR_ALWAYS_INLINE f32 along(const T* p) { return load(p); }
    template <class T>
    static INSTAR_ALWAYS_INLINE f32 along_partial(const T* p, index_t n) { return load_partial(p, n); }
    /// From k_depths rows, k_lanes neighbours of each; T is what they were in memory.
    template <class T>
    static INSTAR_ALWAYS_INLINE f32 across(f32 first, f32) { return first; }
    static INSTAR_ALWAYS_INLINE f32 spread(const float* a) { return broadcast(*a); }
    static INSTAR_ALWAYS_INLINE f32 multiply_add(f32 x, f32 y, f32 sum) { return fma(x, y, sum); }
};

#if INSTAR_SIMD_LEVEL == 4
/// Pairs of bf16 (AVX512-BF16): the lower half of a lane is the earlier depth. By name of the instruction, so that neither the region
/// nor the compiler needs to know it. Denormals count as zero.
struct gemm_bf16_input {
    static constexpr index_t k_depths = 2, k_lane_multiple = 1;
    static constexpr index_t k_block_rows = k_gemm_block_rows, k_block_lanes = k_gemm_block_lanes;
    static constexpr bool k_is_float = false;
    static constexpr int k_tile_widths = 1;  // half the code to compile; who has so few columns has little to gain

    /// The 16 of `low`, then the 16 of `high`, as bf16.
    static INSTAR_ALWAYS_INLINE f32 convert(f32 low, f32 high) {
        f32 y;
        asm("vcvtne2ps2bf16 %2, %1, %0" : "=v"(y) : "v"(high), "v"(low));
        return y;
    }
    static INSTAR_ALWAYS_INLINE f32 along(const float* p) { return convert(load(p), load(p + k_lanes)); }
    static INSTAR_ALWAYS_INLINE f32 along_partial(const float* p, index_t n) {
        return convert(load_partial(p, n < k_lanes ? n : k_lanes), n > k_lanes ? load_partial(p + k_lanes, n - k_lanes) : f32{});
    }
    /// Neighbours in memory are pairs already.
    static INSTAR_ALWAYS_INLINE f32 along(const bf16* p) {
        f32 pairs;
        __builtin_memcpy(&pairs, p, sizeof pairs);
        return pairs;
    }
    static INSTAR_ALWAYS_INLINE f32 along_partial(const bf16* p, index_t n) {
        bf16 copy[2 * k_lanes] = {};
        for (index_t i = 0; i < n; ++i) copy[i] = p[i];
        return along(copy);
    }
    template <class T>
    static INSTAR_ALWAYS_INLINE f32 across(f32 first, f32 second) {
        if constexpr (std::is_same_v<T, bf16>) return as_f32((as_u32(first) >> 16) | as_u32(second));
        const f32 y = convert(first, second);
        u16 lanes;
        __builtin_memcpy(&lanes, &y, sizeof y);
        lanes = __builtin_shufflevector(lanes, lanes, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
        f32 pairs;
        __builtin_memcpy(&pairs, &lanes, sizeof pairs);
        return pairs;
    }
    static INSTAR_ALWAYS_INLINE f32 spread(const float* a) {
        std::int32_t pair;  // as an integer: a pair may look like a signalling NaN
        __builtin_memcpy(&pair, a, sizeof pair);
        return as_f32(broadcast(pair));
    }
    static INSTAR_ALWAYS_INLINE f32 multiply_add(f32 x, f32 y, f32 sum) {
        asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(x), "v"(y));
        return sum;
    }

private:
    typedef std::uint16_t u16 __attribute__((vector_size(INSTAR_SIMD_BYTES)));
};
#endif

namespace detail {

template <class Input>
constexpr index_t gemm_lanes(index_t depth) {
    constexpr index_t k_step = Input::k_depths * Input::k_lane_multiple;
    return (depth + k_step - 1) / k_step * Input::k_lane_multiple;
}

/// Depths of each block but the last: k in equal parts, rounded up to whole vectors for the sake of packing.
template <class Input>
inline index_t gemm_block_depth(index_t k) {
    constexpr index_t k_block = Input::k_block_lanes * Input::k_depths, k_vector = k_lanes * Input::k_depths;
    const index_t n_blocks = (k + k_block - 1) / k_block;
    return n_blocks <= 1 ? k : ((k + n_blocks - 1) / n_blocks + k_vector - 1) / k_vector * k_vector;
}

/// Rounds packed floats to bf16: to nearest, ties to even; a NaN stays one. n: rounded up to whole vectors.
inline void gemm_round(float* x, index_t n) {
    for (index_t i = 0; i < n; i += k_lanes) {
        const u32 u = as_u32(load(x + i));
        const u32 rounded = (u + 0x7fffu + ((u >> 16) & 1u)) & 0xffff0000u;
        const u32 is_nan = (u32)((u & 0x7fffffffu) > 0x7f800000u);
        store(x + i, as_f32((is_nan & (u | 0x00400000u)) | (~is_nan & rounded)));
    }
}

}  // namespace detail

// --- packing --------------------------------------------------------------------------------------------------------------------

namespace detail {

/// out[p · stride + i] = lane p of row[i], for i < k_lanes and depths below `depth`. What a panel of fewer rows writes past each
/// stride is overwritten by its next lane; past the end it is slack.
template <class Input, class T>
INSTAR_ALWAYS_INLINE void gemm_pack_rows(float* out, index_t stride, const T* const (&row)[k_lanes], index_t depth) {
    constexpr index_t k_vector = k_lanes * Input::k_depths;
    index_t p = 0;
    for (; p + k_vector <= depth; p += k_vector, out += k_lanes * stride) {
        f32 r[k_lanes];
#pragma GCC unroll 16
        for (index_t i = 0; i < k_lanes; ++i) r[i] = Input::along(row[i] + p);
        transpose(r);
#pragma GCC unroll 16
        for (index_t i = 0; i < k_lanes; ++i) store(out + i * stride, r[i]);
    }
    if (p < depth) {
        f32 r[k_lanes];
#pragma GCC unroll 16
        for (index_t i = 0; i < k_lanes; ++i) r[i] = Input::along_partial(row[i] + p, depth - p);
        transpose(r);
        for (index_t i = 0; i < gemm_lanes<Input>(depth - p); ++i) store(out + i * stride, r[i]);
    }
}

/// The same of rows ld apart; a row that is not there repeats the last one: loads without a branch, lanes that fall into the slack.
template <class Input, class T>
INSTAR_ALWAYS_INLINE void gemm_pack_transposed(float* out, index_t stride, const T* in, index_t ld, index_t rows, index_t depth) {
    const T* row[k_lanes];
    for (index_t i = 0; i < k_lanes; ++i) row[i] = in + (i < rows ? i : rows - 1) * ld;
    gemm_pack_rows<Input>(out, stride, row, depth);
}

/// The same of gathered rows i0 … and depths [p0, p1): run by run, or, when a run's end would cut a lane, from a copy.
template <class Input, class T>
inline void gemm_pack_gathered(float* out, index_t stride, const basic_gemm_problem<T>& g, index_t i0, index_t rows, index_t p0, index_t p1) {
    const gemm_gather& where = *g.gather;
    const T* start[k_lanes];
    for (index_t i = 0; i < k_lanes; ++i) start[i] = g.a + where.offset(i0 + (i < rows ? i : rows - 1));
    const T* row[k_lanes];
    const bool whole_lanes = where.run % Input::k_depths == 0;
    constexpr index_t k_copied = Input::k_depths > 1 ? k_lanes * Input::k_depths : 0;
    T copy[k_copied > 0 ? k_lanes * k_copied : 1];
    for (index_t p = p0; p < p1;) {
        index_t n;
        if (whole_lanes || k_copied == 0) {
            const index_t in_run = p % where.run, shift = p / where.run * where.pitch + in_run;
            n = where.run - in_run < p1 - p ? where.run - in_run : p1 - p;
            for (index_t i = 0; i < k_lanes; ++i) row[i] = start[i] + shift;
        } else {
            n = k_copied < p1 - p ? k_copied : p1 - p;
            for (index_t e = 0; e < n; ++e) {
                const index_t shift = (p + e) / where.run * where.pitch + (p + e) % where.run;
                for (index_t i = 0; i < rows; ++i) copy[i * k_copied + e] = start[i][shift];
            }
            for (index_t i = 0; i < k_lanes; ++i) row[i] = copy + (i < rows ? i : rows - 1) * k_copied;
        }
        gemm_pack_rows<Input>(out, stride, row, n);
        out += gemm_lanes<Input>(n) * stride;
        p += n;
    }
}

/// Elements [i, i + n) of a gathered row, n ≤ k_lanes, across the end of a run.
template <class T>
inline f32 gemm_load_gathered(const T* row, const gemm_gather& where, index_t i, index_t n) {
    T values[k_lanes];
    for (index_t e = 0; e < n; ++e) values[e] = row[(i + e) / where.run * where.pitch + (i + e) % where.run];
    return load_partial(values, n);
}

}  // namespace detail

/// First row of panel q of n_panels, counted from the part's first row: panels of nearly equal height, so that 15 rows are
/// 8 + 7, not 14 + 1.
INSTAR_ALWAYS_INLINE index_t gemm_panel(index_t rows, index_t q, index_t n_panels) { return rows * q / n_panels; }

/// Rows [i0, i0 + rows) and depths [p0, p1) of op(a) in panels, one after the other: panel q, of height h, holds row i's lane p
/// at [p · h + i]. Writes up to k_lanes elements of slack.
template <class Input, class T>
inline void gemm_pack_a(float* out, const basic_gemm_problem<T>& g, index_t i0, index_t rows, index_t n_panels, index_t p0, index_t p1) {
    const index_t depth = p1 - p0, lanes = detail::gemm_lanes<Input>(depth);
    if (!g.transpose_a) {
        for (index_t q = 0; q < n_panels; ++q) {
            const index_t r0 = gemm_panel(rows, q, n_panels), height = gemm_panel(rows, q + 1, n_panels) - r0;
            if (g.gather != nullptr) detail::gemm_pack_gathered<Input>(out + r0 * lanes, height, g, i0 + r0, height, p0, p1);
            else detail::gemm_pack_transposed<Input>(out + r0 * lanes, height, g.a + (i0 + r0) * g.lda + p0, g.lda, height, depth);
        }
        return;
    }
    // A few depths at a time, all panels of them: memory is read in long rows, and written in short runs.
    constexpr index_t k_rows = 8 * Input::k_depths;
    for (index_t p = 0; p < lanes; p += 8) {
        const index_t end = lanes - p < 8 ? lanes : p + 8, first = p * Input::k_depths;
        const T* row[k_rows];
        for (index_t t = 0; t < k_rows && first + t < depth; ++t) {
            row[t] = g.a + (g.gather != nullptr ? g.gather->offset(p0 + first + t) : (p0 + first + t) * g.lda);
        }
        for (index_t q = 0; q < n_panels; ++q) {
            const index_t r0 = gemm_panel(rows, q, n_panels), height = gemm_panel(rows, q + 1, n_panels) - r0;
            float* o = out + r0 * lanes + p * height;
            index_t shift = i0 + r0;
            bool split = false;
            if (g.gather != nullptr) {
                const index_t in_run = shift % g.gather->run;
                split = in_run + height > g.gather->run;
                shift = shift / g.gather->run * g.gather->pitch + in_run;
            }
            for (index_t t = p; t < end; ++t, o += height) {
                f32 x[Input::k_depths];
                for (index_t e = 0; e < Input::k_depths; ++e) {
                    const index_t at = (t - p) * Input::k_depths + e;
                    if (first + at >= depth) x[e] = f32{};
                    else x[e] = split ? detail::gemm_load_gathered(row[at], *g.gather, i0 + r0, height) : load_partial(row[at] + shift, height);
                }
                const f32 y = Input::template across<T>(x[0], x[Input::k_depths - 1]);
                if ((lanes - t) * height >= k_lanes) store(o, y);
                else store_partial(o, y, height);  // the next panel is near, and written already
            }
        }
    }
}

/// Columns [j0, j1) and depths [p0, p1) of op(b) in panels of k_gemm_columns, one after the other: a panel's lane p of column j
/// at [p · k_gemm_columns + j]. Columns past j1 of the last panel hold any value.
template <class Input, class T>
inline void gemm_pack_b(float* out, const basic_gemm_problem<T>& g, index_t j0, index_t j1, index_t p0, index_t p1) {
    const index_t depth = p1 - p0, lanes = detail::gemm_lanes<Input>(depth), columns = j1 - j0;
    if (g.transpose_b) {
        for (index_t j = 0; j < columns; j += k_lanes) {
            float* o = out + j / k_gemm_columns * (k_gemm_columns * lanes) + j % k_gemm_columns;
            detail::gemm_pack_transposed<Input>(o, k_gemm_columns, g.b + (j0 + j) * g.ldb + p0, g.ldb, columns - j < k_lanes ? columns - j : k_lanes, depth);
        }
        return;
    }
    for (index_t p = 0; p < lanes; p += 8) {
        const index_t end = lanes - p < 8 ? lanes : p + 8;
        for (index_t j = 0; j < columns; j += k_lanes) {
            float* o = out + j / k_gemm_columns * (k_gemm_columns * lanes) + j % k_gemm_columns + p * k_gemm_columns;
            const index_t width = columns - j < k_lanes ? columns - j : k_lanes;
            for (index_t t = p; t < end; ++t, o += k_gemm_columns) {
                f32 x[Input::k_depths];
#pragma GCC unroll 2
                for (index_t e = 0; e < Input::k_depths; ++e) {
                    const index_t at = t * Input::k_depths + e;
                    const T* const in = g.b + (p0 + at) * g.ldb + j0 + j;
                    if (at >= depth) x[e] = f32{};
                    else x[e] = width == k_lanes ? load(in) : load_partial(in, width);
                }
                store(o, Input::template across<T>(x[0], x[Input::k_depths - 1]));
            }
        }
    }
}

namespace detail {

/// gemm_pack_b, and what a problem in bf16 asks for besides.
template <class Input, class T>
inline void gemm_pack_b_of(float* out, const basic_gemm_problem<T>& g, index_t j0, index_t j1, index_t p0, index_t p1) {
    gemm_pack_b<Input>(out, g, j0, j1, p0, p1);
    if (Input::k_is_float && std::is_same_v<T, float> && g.bf16) gemm_round(out, (j1 - j0 + k_gemm_columns - 1) / k_gemm_columns * k_gemm_columns * (p1 - p0));
}

}  // namespace detail

// --- a tile of c -----------------------------------------------------------------------------------------------------------------

/// Memory that will be read soon: `step` bytes for each lane of depths that is multiplied.
struct gemm_ahead {
    const char* at;
    index_t step;
};
/// The panel of op(b) after b's, of `lanes` too, asked for in the time of up to Tiles tiles, of n the q-th; or nothing new when it is not
/// `there`. It comes from the third level or memory, and only its first tile would wait for it: 5 % of the time. Asked for within two tiles,
/// its lines fill the cache's buffers, which costs 1 to 2 %.
template <index_t Tiles>
INSTAR_ALWAYS_INLINE gemm_ahead gemm_next_panel(const float* b, index_t lanes, index_t q, index_t n, bool there) {
    index_t tiles = Tiles;
    while (tiles > n) tiles /= 2;
    if (!there || q >= tiles) return {reinterpret_cast<const char*>(b), 0};
    const index_t step = k_gemm_columns * 4 / tiles;
    return {reinterpret_cast<const char*>(b + k_gemm_columns * lanes) + q * lanes * step, step};
}

inline constexpr index_t k_gemm_least_apart = 8;  ///< fewest lanes between a tile's requests for rows of c; closer, all are asked for at once

/// c[Rows, columns] (+)= a · b (+ bias) over k lanes of depths. a: [k][Rows] packed; b: rows of Vectors · k_lanes, ldb apart;
/// columns ≤ Vectors · k_lanes, and more than one vector less unless tiles have one width. next: the panel that follows, asked for while
/// this one is multiplied.
template <class Input, int Rows, int Vectors>
inline void gemm_tile(index_t k, const float* INSTAR_RESTRICT a, const float* INSTAR_RESTRICT b, index_t ldb, float* INSTAR_RESTRICT c,
                      index_t ldc, index_t columns, bool accumulate, const float* bias, gemm_ahead next) {
    f32 sum[Rows][Vectors];
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; ++v) sum[i][v] = broadcast(0.0f);
    }
    // c is wanted at the end, and asked for ahead: a row at a time in the second half of the depths, or all of it when there are few. Long
    // panels pass through the first-level cache meanwhile, and all rows at once would keep them waiting (4 % where c comes from memory).
    const auto ask_for = [&](index_t row) {
        __builtin_prefetch(c + row * ldc, 1);
        if constexpr (Vectors > 1) __builtin_prefetch(c + row * ldc + k_lanes, 1);
    };
    const index_t apart = k / (2 * Rows);
    index_t p = 0, stop = k, row = 0;
    if (apart >= k_gemm_least_apart) {
        stop = k - Rows * apart;
    } else {
        for (; row < Rows; ++row) ask_for(row);
    }
    while (true) {
        for (; p < stop; ++p, a += Rows, b += ldb, next.at += next.step) {
            // Panels exceed the first-level cache. Its own prefetcher is nearly enough while the core is one's own (0 to 3 % slower without
            // these requests), not when something else slows the caches (up to 14 %).
            constexpr index_t k_ahead = 8;
            __builtin_prefetch(a + k_ahead * Rows);
            __builtin_prefetch(b + k_ahead * ldb);
            if constexpr (Vectors > 1) __builtin_prefetch(b + k_ahead * ldb + k_lanes);
            __builtin_prefetch(next.at, 0, 2);
            f32 y[Vectors];
#pragma GCC unroll 4
            for (int v = 0; v < Vectors; ++v) y[v] = load(b + v * k_lanes);
#pragma GCC unroll 16
            for (int i = 0; i < Rows; ++i) {
                const f32 x = Input::spread(a + i);
#pragma GCC unroll 4
                for (int v = 0; v < Vectors; ++v) sum[i][v] = Input::multiply_add(x, y[v], sum[i][v]);
            }
        }
        if (p >= k) break;
        ask_for(row++);
        stop += apart;
    }
    // How many of a vector's lanes are columns. All of them but in the last, and in the one before it when tiles have one width.
    constexpr int k_whole = Input::k_tile_widths == 1 ? 0 : Vectors - 1;
    index_t width[Vectors];
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
        const index_t left = columns - v * k_lanes;
        width[v] = v < k_whole || left >= k_lanes ? k_lanes : left > 0 ? left : 0;
    }
    if (accumulate) {
#pragma GCC unroll 16
        for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 4
            for (int v = 0; v < Vectors; ++v) {
                const float* at = c + i * ldc + v * k_lanes;
                sum[i][v] = sum[i][v] + (width[v] == k_lanes ? load(at) : load_partial(at, width[v]));
            }
        }
    }
    if (bias != nullptr) {
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; ++v) {
            const f32 y = width[v] == k_lanes ? load(bias + v * k_lanes) : load_partial(bias + v * k_lanes, width[v]);
#pragma GCC unroll 16
            for (int i = 0; i < Rows; ++i) sum[i][v] = sum[i][v] + y;
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; ++v) {
            float* at = c + i * ldc + v * k_lanes;
            if (width[v] == k_lanes) store(at, sum[i][v]);
            else store_partial(at, sum[i][v], width[v]);
        }
    }
}

namespace detail {

using gemm_tile_pointer = void (*)(index_t, const float*, const float*, index_t, float*, index_t, index_t, bool, const float*, gemm_ahead);

template <class Input, class Rows>
struct gemm_tiles;
template <class Input, int... R>
struct gemm_tiles<Input, std::integer_sequence<int, R...>> {
    /// [rows − 1][width]
    static constexpr gemm_tile_pointer table[sizeof...(R)][2] = {{&gemm_tile<Input, R + 1, 3 - Input::k_tile_widths>, &gemm_tile<Input, R + 1, 2>}...};
};

}  // namespace detail

// --- a part of c -----------------------------------------------------------------------------------------------------------------

/// What is done with an Input's panels: here, by vectors.
template <class Input>
struct gemm_panels {
    static constexpr int k_rows = k_gemm_rows;
    static constexpr bool k_whole_tiles = false;
    static constexpr index_t k_ahead_tiles = 8;  ///< tiles in whose time the next panel of op(b) is asked for

    static INSTAR_ALWAYS_INLINE index_t first_row(index_t rows, index_t q, index_t n_panels) { return gemm_panel(rows, q, n_panels); }
    static INSTAR_ALWAYS_INLINE void begin() {}
    static INSTAR_ALWAYS_INLINE void end() {}
    template <class T>
    static INSTAR_ALWAYS_INLINE void pack_a(float* out, const basic_gemm_problem<T>& g, index_t i0, index_t rows, index_t n_panels, index_t p0, index_t p1) {
        gemm_pack_a<Input>(out, g, i0, rows, n_panels, p0, p1);
        if (Input::k_is_float && std::is_same_v<T, float> && g.bf16) detail::gemm_round(out, rows * (p1 - p0));
    }
    static INSTAR_ALWAYS_INLINE void multiply(index_t rows, index_t lanes, const float* a, const float* b, index_t ldb, float* c, index_t ldc, index_t columns,
                                              bool accumulate, const float* bias, gemm_ahead next) {
        using tiles = detail::gemm_tiles<Input, std::make_integer_sequence<int, k_gemm_rows>>;
        tiles::table[rows - 1][columns > k_lanes](lanes, a, b, ldb, c, ldc, columns, accumulate, bias, next);
    }
};

namespace detail {

/// to[i, j] = from[i, j] as float, and back, rounded.
template <class To, class From>
inline void gemm_copy_tile(To* to, index_t ld_to, const From* from, index_t ld_from, index_t rows, index_t columns) {
    for (index_t i = 0; i < rows; ++i, to += ld_to, from += ld_from) {
        index_t j = 0;
        for (; j + k_lanes <= columns; j += k_lanes) store(to + j, load(from + j));
        if (j < columns) store_partial(to + j, load_partial(from + j, columns - j), columns - j);
    }
}

/// A tile of c in bf16: its sums begin with what `to` holds, are kept in `sums` from block to block of depths or in a copy, and are
/// rounded to `to` after the last block; the activation is that of c as it is stored.
template <class Input, class T>
inline void gemm_rounded_tile(const basic_gemm_problem<T>& g, index_t i, index_t j, index_t rows, index_t columns, index_t lanes, const float* a,
                              const float* b, bool first, bool last, gemm_ahead next) {
    alignas(64) float copy[gemm_panels<Input>::k_rows * k_gemm_columns], bias[k_gemm_columns];
    T* const c = g.c + i * g.ldc + j;
    float* const sums = g.sums != nullptr ? g.sums + i * g.ld_sums + j : copy;
    const index_t ld = g.sums != nullptr ? g.ld_sums : k_gemm_columns;
    const bool add_bias = last && g.bias != nullptr;
    if (add_bias) gemm_copy_tile(bias, 0, g.bias + j, 0, 1, columns);
    if (first && g.accumulate) gemm_copy_tile(sums, ld, c, g.ldc, rows, columns);
    else if (last) {
        for (index_t r = 0; r < rows; ++r) __builtin_prefetch(c + r * g.ldc, 1);
    }
    gemm_panels<Input>::multiply(rows, lanes, a, b, k_gemm_columns, sums, ld, columns, g.accumulate || !first, add_bias ? bias : nullptr, next);
    if (!last) return;
    gemm_copy_tile(c, g.ldc, sums, ld, rows, columns);
    if (g.activation == nullptr) return;
    T* const y = g.activation + i * g.ld_activation + j;
    gemm_copy_tile(copy, k_gemm_columns, c, g.ldc, rows, columns);
    for (index_t r = 0; r < rows; ++r) gelu_range(copy + r * k_gemm_columns, copy + r * k_gemm_columns, columns);
    gemm_copy_tile(y, g.ld_activation, copy, k_gemm_columns, rows, columns);
}

}  // namespace detail

/// A part of a product, by one thread. At most Input::k_block_rows rows. a_scratch: gemm_geometry's scratch_a() floats; b_scratch:
/// scratch_b() floats, unused when part.packed_b is given.
template <class Input, class T>
inline void gemm_compute(const basic_gemm_problem<T>& g, const gemm_part& part, float* a_scratch, float* b_scratch) {
    using panels = gemm_panels<Input>;
    constexpr index_t k_group = gemm_geometry::k_group_panels * k_gemm_columns;
    const index_t rows = part.i1 - part.i0, step = detail::gemm_block_depth<Input>(g.k);
    const index_t n_panels = (rows + panels::k_rows - 1) / panels::k_rows;
    index_t p0 = part.p0;
    panels::begin();
    do {  // once for k = 0, which leaves c = 0 and the epilogue
        const index_t p1 = p0 + step < part.p1 ? p0 + step : part.p1, depth = p1 - p0, lanes = detail::gemm_lanes<Input>(depth);
        [[maybe_unused]] const bool accumulate = g.accumulate || p0 > 0;
        const bool last = p1 == g.k;
        // An op(b) that is read once or twice, or that lies in the first-level cache, needs no copy.
        const bool direct = Input::k_is_float && std::is_same_v<T, float> && !g.bf16 && !g.transpose_b && part.packed_b == nullptr && depth > 0 && (n_panels <= 2 || depth * g.ldb <= 4096);
        if (depth > 0) panels::pack_a(a_scratch, g, part.i0, rows, n_panels, p0, p1);
        for (index_t j = part.j0; j < part.j1; j += k_gemm_columns) {
            const index_t columns = part.j1 - j < k_gemm_columns ? part.j1 - j : k_gemm_columns;
            const float* b = nullptr;
            [[maybe_unused]] index_t ldb = k_gemm_columns;
            if (part.packed_b != nullptr) {
                b = part.packed_b + (p0 - part.p0) / Input::k_depths * part.packed_columns + (j - part.j_first) * lanes;
            } else if (direct && columns % k_lanes == 0) {
                if constexpr (std::is_same_v<T, float>) b = g.b + p0 * g.ldb + j;
                ldb = g.ldb;
            } else if (depth > 0) {
                const index_t in_group = (j - part.j0) % k_group;
                if (direct) {
                    detail::gemm_pack_b_of<Input>(b_scratch, g, j, j + columns, p0, p1);
                } else if (in_group == 0) {
                    detail::gemm_pack_b_of<Input>(b_scratch, g, j, part.j1 - j < k_group ? part.j1 : j + k_group, p0, p1);
                }
                b = b_scratch + (direct ? 0 : in_group * lanes);
            }
            [[maybe_unused]] const T* bias = last && g.bias != nullptr ? g.bias + j : nullptr;
            for (index_t q = 0; q < n_panels; ++q) {
                const index_t r0 = panels::first_row(rows, q, n_panels), r1 = panels::first_row(rows, q + 1, n_panels);
                const auto next = gemm_next_panel<panels::k_ahead_tiles>(b, lanes, q, n_panels, part.packed_b != nullptr && j + k_gemm_columns < part.j1);
                if constexpr (!std::is_same_v<T, float>) {
                    detail::gemm_rounded_tile<Input>(g, part.i0 + r0, j, r1 - r0, columns, lanes, a_scratch + r0 * lanes, b, p0 == 0, last, next);
                    continue;
                } else {
                    float* c = g.c + (part.i0 + r0) * g.ldc + j;
                    panels::multiply(r1 - r0, lanes, a_scratch + r0 * lanes, b, ldb, c, g.ldc, columns, accumulate, bias, next);
                    if (last && g.activation != nullptr) {  // while the tile is in the first-level cache
                        float* y = g.activation + (part.i0 + r0) * g.ld_activation + j;
                        for (index_t r = r0; r < r1; ++r, y += g.ld_activation, c += g.ldc) gelu_range(y, c, columns);
                    }
                }
            }
        }
        p0 = p1;
    } while (p0 < part.p1);
    panels::end();
}

namespace detail {

template <class Input, class T>
basic_gemm_kernels<T> gemm_kernels_of() {
    using panels = gemm_panels<Input>;
    return {{panels::k_rows, k_gemm_columns, Input::k_block_rows, Input::k_block_lanes, Input::k_depths, Input::k_lane_multiple, panels::k_whole_tiles},
            &gemm_compute<Input, T>, &gemm_pack_b_of<Input, T>, &gemm_block_depth<Input>};
}

}  // namespace detail

/// What this instruction set multiplies with; gemm_amx.hpp knows one more. Without instructions for bf16, the kernels of floats see to a
/// problem's rounding.
template <class T>
basic_gemm_kernels<T> gemm_pick_for_type(bool bf16) {
#if INSTAR_SIMD_LEVEL == 4
    if (bf16 && isa::active_bf16() == isa::bf16_products::pairs) return detail::gemm_kernels_of<gemm_bf16_input, T>();
#else
    static_cast<void>(bf16);
#endif
    return detail::gemm_kernels_of<gemm_float_input, T>();
}
inline gemm_kernels gemm_pick(bool bf16) { return gemm_pick_for_type<float>(bf16); }

}  // namespace instar::ops::cpu::simd::INSTAR_SIMD_NS
