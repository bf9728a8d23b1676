// Products in bf16 by Intel's AMX: tile registers of 16 rows × 64 bytes. One instruction adds to 16 × 16 floats the products of 32 depths,
// 11 times a vector's multiply-adds a second (measured: 1,965 beside 179 GFLOP/s a core). Included by simd/gemm_amx.hpp; level 4 on x86-64.
//
// op(b) is packed as for pairs of bf16 (simd/gemm.inl): a lane is two neighbouring depths, and 16 lanes of 16 columns are a tile. op(a)
// is packed by rows: a panel of `rows` is a sequence of [rows][16 lanes], and 16 rows of that are a tile. Blocks of depths are padded
// with zeros to whole tiles. A tile may reach past a panel's rows, into what follows it or into the slack: those rows are not stored.
//
// Instructions by name, as for pairs: nothing else in a program uses tile registers, so the compiler need not know of them.

namespace instar::ops::cpu::simd::INSTAR_SIMD_NS {

#if INSTAR_SIMD_LEVEL == 4 && defined(__x86_64__)

struct gemm_amx_input : gemm_bf16_input {
    static constexpr index_t k_lane_multiple = 16;
    static constexpr index_t k_block_rows = 8 * 32, k_block_lanes = 768;
};

template <>
struct gemm_panels<gemm_amx_input> {
    static constexpr int k_rows = 32;
    static constexpr bool k_whole_tiles = true;        ///< a tile of fewer rows takes as long
    static constexpr index_t k_ahead_tiles = 8;        ///< more than of vectors: here a tile takes less time
    static constexpr index_t k_tile = 16;              ///< rows, columns and lanes of a tile
    static constexpr index_t k_depths = 2 * k_tile;    ///< depths of a tile

    /// Tile registers: 0–3 sums, 4 and 5 of op(a), 6 and 7 of op(b); all 16 × 64 bytes. They cost a context switch 8 KB while in use.
    static void begin() {
        struct alignas(64) configuration {
            std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
            std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
            std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
        };
        static_assert(sizeof(configuration) == 64);
        static constexpr configuration k_configuration{};
        asm volatile("ldtilecfg %0" : : "m"(k_configuration));
    }
    static void end() { asm volatile("tilerelease"); }

    static INSTAR_ALWAYS_INLINE index_t first_row(index_t rows, index_t q, index_t) { return q * k_rows < rows ? q * k_rows : rows; }

    template <class T>
    static void pack_a(float* out, const basic_gemm_problem<T>& g, index_t i0, index_t rows, index_t n_panels, index_t p0, index_t p1) {
        const index_t lanes = detail::gemm_lanes<gemm_amx_input>(p1 - p0);
        if (g.transpose_a) {
            // A tile's depths at a time, all panels of them: memory is read in long rows.
            for (index_t p = p0; p < p1; p += k_depths) {
                for (index_t q = 0; q < n_panels; ++q) {
                    const index_t r0 = first_row(rows, q, n_panels), height = first_row(rows, q + 1, n_panels) - r0;
                    pack_columns(out + r0 * lanes + (p - p0) / 2 * height, g, i0 + r0, height, p, p1 - p < k_depths ? p1 : p + k_depths);
                }
            }
            return;
        }
        for (index_t q = 0; q < n_panels; ++q) {
            const index_t r0 = first_row(rows, q, n_panels), height = first_row(rows, q + 1, n_panels) - r0;
            float* panel = out + r0 * lanes;
            if (g.gather != nullptr) pack_gathered(panel, g, i0 + r0, height, p0, p1);
            else pack_rows(panel, g.a + (i0 + r0) * g.lda + p0, g.lda, height, p1 - p0);
        }
    }

    /// c[rows, columns] (+)= a · b (+ bias), rows ≤ 32. A chain of sums begins with c, or with the bias, or with zero, so that whole tiles
    /// go between c and the registers without a copy; others go through one, by the same sums.
    static void multiply(index_t rows, index_t lanes, const float* a, const float* b, index_t ldb, float* c, index_t ldc, index_t columns,
                         bool accumulate, const float* bias, gemm_ahead next) {
        const bool whole = rows == k_rows && columns == k_gemm_columns;
        alignas(64) float copy[k_rows * k_gemm_columns];
        alignas(64) float bias_copy[k_gemm_columns];
        float* const sums = whole ? c : copy;
        const index_t stride = whole ? ldc : k_gemm_columns;
        const float* start = accumulate ? sums : bias;
        const float* const wanted = whole && !accumulate ? c : nullptr;  // else c is needed now, or goes through the copy
        if (whole) {
            for (index_t i = 0; accumulate && i < rows; ++i) {
                __builtin_prefetch(c + i * ldc, 1);
                __builtin_prefetch(c + i * ldc + k_lanes, 1);
            }
        } else if (accumulate) {
            for (index_t i = 0; i < rows; ++i) copy_row(copy + i * k_gemm_columns, c + i * ldc, columns);
        } else if (bias != nullptr) {
            copy_row(bias_copy, bias, columns);
            start = bias_copy;
        }
        const index_t start_stride = accumulate ? stride : 0;  // one row of biases for all rows
        if (rows > k_tile) {
            if (columns > k_tile) sum<2, 2>(sums, stride, start, start_stride, rows, lanes, a, b, ldb, wanted, next);
            else sum<2, 1>(sums, stride, start, start_stride, rows, lanes, a, b, ldb, wanted, next);
        } else {
            if (columns > k_tile) sum<1, 2>(sums, stride, start, start_stride, rows, lanes, a, b, ldb, wanted, next);
            else sum<1, 1>(sums, stride, start, start_stride, rows, lanes, a, b, ldb, wanted, next);
        }
        const bool add_bias = accumulate && bias != nullptr;
        if (whole && !add_bias) return;
        for (index_t j = 0; j < columns; j += k_lanes) {
            const index_t width = columns - j < k_lanes ? columns - j : k_lanes;
            const f32 offset = !add_bias ? f32{} : width == k_lanes ? load(bias + j) : load_partial(bias + j, width);
            for (index_t i = 0; i < rows; ++i) {
                const f32 sum = load(sums + i * stride + j), y = add_bias ? sum + offset : sum;
                if (width == k_lanes) store(c + i * ldc + j, y);
                else store_partial(c + i * ldc + j, y, width);
            }
        }
    }

private:
    static INSTAR_ALWAYS_INLINE void copy_row(float* to, const float* from, index_t columns) {
        for (index_t j = 0; j < columns; j += k_lanes) {
            store(to + j, columns - j < k_lanes ? load_partial(from + j, columns - j) : load(from + j));
        }
    }

    /// sums[16 · Rows, 16 · Columns] = start + a · b; start: rows of floats start_stride apart, or zeros. wanted: what is asked for meanwhile,
    /// 32 rows of c, `stride` apart, or nothing.
    template <int Rows, int Columns>
    static INSTAR_ALWAYS_INLINE void sum(float* sums, index_t stride, const float* start, index_t start_stride, index_t rows, index_t lanes,
                                         const float* a, const float* b, index_t ldb, const float* wanted, gemm_ahead next) {
        if (start == nullptr) {
            asm volatile("tilezero %tmm0\n\ttilezero %tmm1\n\ttilezero %tmm2\n\ttilezero %tmm3");
        } else {
            const float* const below = start + k_tile * start_stride;
            const index_t bytes = start_stride * 4;
            asm volatile("tileloadd (%0,%1,1), %%tmm0" : : "r"(start), "r"(bytes) : "memory");
            if constexpr (Columns == 2) asm volatile("tileloadd (%0,%1,1), %%tmm1" : : "r"(start + k_tile), "r"(bytes) : "memory");
            if constexpr (Rows == 2) {
                asm volatile("tileloadd (%0,%1,1), %%tmm2" : : "r"(below), "r"(bytes) : "memory");
                if constexpr (Columns == 2) asm volatile("tileloadd (%0,%1,1), %%tmm3" : : "r"(below + k_tile), "r"(bytes) : "memory");
            }
        }
        const index_t b_stride = ldb * 4, c_stride = stride * 4;
        const float* const end = a + lanes * rows;
        index_t wanted_rows = wanted != nullptr ? k_rows : 0;
        const index_t rows_a_step = lanes > 0 ? (k_rows * k_tile + lanes - 1) / lanes : 0;
        for (; a < end; a += k_tile * rows, b += k_tile * ldb, next.at += k_tile * next.step) {
            for (index_t line = 0; line < k_tile * next.step; line += 64) __builtin_prefetch(next.at + line, 0, 2);
            for (index_t n = rows_a_step; n > 0 && wanted_rows > 0; --n, --wanted_rows, wanted += stride) {
                __builtin_prefetch(wanted, 1);
                __builtin_prefetch(wanted + k_lanes, 1);
            }
            asm volatile("tileloadd (%0,%1,1), %%tmm4" : : "r"(a), "r"(index_t{64}) : "memory");
            asm volatile("tileloadd (%0,%1,1), %%tmm6\n\ttdpbf16ps %%tmm6, %%tmm4, %%tmm0" : : "r"(b), "r"(b_stride) : "memory");
            if constexpr (Columns == 2) asm volatile("tileloadd (%0,%1,1), %%tmm7\n\ttdpbf16ps %%tmm7, %%tmm4, %%tmm1" : : "r"(b + k_tile), "r"(b_stride) : "memory");
            if constexpr (Rows == 2) {
                asm volatile("tileloadd (%0,%1,1), %%tmm5\n\ttdpbf16ps %%tmm6, %%tmm5, %%tmm2" : : "r"(a + k_tile * k_tile), "r"(index_t{64}) : "memory");
                if constexpr (Columns == 2) asm volatile("tdpbf16ps %tmm7, %tmm5, %tmm3");
            }
        }
        asm volatile("tilestored %%tmm0, (%0,%1,1)" : : "r"(sums), "r"(c_stride) : "memory");
        if constexpr (Columns == 2) asm volatile("tilestored %%tmm1, (%0,%1,1)" : : "r"(sums + k_tile), "r"(c_stride) : "memory");
        if constexpr (Rows == 2) {
            float* const below = sums + k_tile * stride;
            asm volatile("tilestored %%tmm2, (%0,%1,1)" : : "r"(below), "r"(c_stride) : "memory");
            if constexpr (Columns == 2) asm volatile("tilestored %%tmm3, (%0,%1,1)" : : "r"(below + k_tile), "r"(c_stride) : "memory");
        }
    }

    template <class T>
    static void pack_rows(float* out, const T* in, index_t ld, index_t rows, index_t depth) {
        for (index_t i = 0; i < rows; ++i, in += ld) {
            float* o = out + i * k_tile;
            index_t p = 0;
            for (; p + k_depths <= depth; p += k_depths, o += rows * k_tile) store(o, gemm_amx_input::along(in + p));
            if (p < depth) store(o, gemm_amx_input::along_partial(in + p, depth - p));
        }
    }

    /// Rows in pieces. A piece that ends within a tile's depths is copied element by element.
    template <class T>
    static void pack_gathered(float* out, const basic_gemm_problem<T>& g, index_t i0, index_t rows, index_t p0, index_t p1) {
        const gemm_gather& where = *g.gather;
        for (index_t i = 0; i < rows; ++i) {
            const T* const row = g.a + where.offset(i0 + i);
            float* o = out + i * k_tile;
            for (index_t p = p0; p < p1; p += k_depths, o += rows * k_tile) {
                const index_t n = p1 - p < k_depths ? p1 - p : k_depths, in_run = p % where.run;
                if (in_run + n <= where.run) {
                    const T* const in = row + p / where.run * where.pitch + in_run;
                    store(o, n == k_depths ? gemm_amx_input::along(in) : gemm_amx_input::along_partial(in, n));
                    continue;
                }
                T copy[k_depths];
                for (index_t e = 0; e < n; ++e) copy[e] = row[(p + e) / where.run * where.pitch + (p + e) % where.run];
                store(o, gemm_amx_input::along_partial(copy, n));
            }
        }
    }

    /// Depths [p0, p1) of one tile from a transposed: 16 rows of op(a) are neighbours there, so that tiles of pairs are transposed.
    template <class T>
    static void pack_columns(float* out, const basic_gemm_problem<T>& g, index_t i0, index_t rows, index_t p0, index_t p1) {
        const gemm_gather* const where = g.gather;
        const T* row[k_depths];
        for (index_t e = 0; e < p1 - p0; ++e) row[e] = g.a + (where != nullptr ? where->offset(p0 + e) : (p0 + e) * g.lda);
        for (index_t i = 0; i < rows; i += k_tile) {
            const index_t height = rows - i < k_tile ? rows - i : k_tile;
            index_t shift = i0 + i;
            bool split = false;
            if (where != nullptr) {
                const index_t in_run = shift % where->run;
                split = in_run + height > where->run;
                shift = shift / where->run * where->pitch + in_run;
            }
            f32 r[k_lanes];
            for (index_t t = 0; t < k_lanes; ++t) {
                f32 x[2];
                for (index_t e = 0; e < 2; ++e) {
                    const index_t at = 2 * t + e;
                    if (at >= p1 - p0) x[e] = f32{};
                    else if (split) x[e] = detail::gemm_load_gathered(row[at], *where, i0 + i, height);
                    else x[e] = height == k_lanes ? load(row[at] + shift) : load_partial(row[at] + shift, height);
                }
                r[t] = gemm_amx_input::across<T>(x[0], x[1]);
            }
            transpose(r);
            for (index_t t = 0; t < height; ++t) store(out + (i + t) * k_tile, r[t]);
        }
    }
};

#endif

/// What products use: gemm_pick's kernels, or tiles.
template <class T>
basic_gemm_kernels<T> gemm_kernels_for_type(bool bf16) {
#if INSTAR_SIMD_LEVEL == 4 && defined(__x86_64__)
    if (bf16 && isa::active_bf16() == isa::bf16_products::tiles) return detail::gemm_kernels_of<gemm_amx_input, T>();
#endif
    return gemm_pick_for_type<T>(bf16);
}
inline gemm_kernels gemm_kernels_for(bool bf16) { return gemm_kernels_for_type<float>(bf16); }

}  // namespace instar::ops::cpu::simd::INSTAR_SIMD_NS
