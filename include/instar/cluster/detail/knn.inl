// Kernels of the exact nearest-neighbour search, one instruction set's part: a block of products, and the comparison of products
// with thresholds. Included by cluster/detail/knn_kernels.hpp once for each instruction set; knn_bounds.hpp says what the numbers
// mean.

namespace instar::ops::cpu::simd::INSTAR_SIMD_NS {

namespace detail {

/// Bit i: lane i is −1.
INSTAR_ALWAYS_INLINE std::uint32_t knn_bits(i32 mask) {
#if INSTAR_SIMD_LEVEL == 4
    return static_cast<std::uint32_t>(static_cast<std::uint16_t>(__builtin_ia32_cvtd2mask512(mask)));
#elif INSTAR_SIMD_LEVEL == 3
    return static_cast<std::uint32_t>(__builtin_ia32_movmskps256(as_f32(mask)));
#else
    std::uint32_t bits = 0;
    for (index_t i = 0; i < k_lanes; ++i) bits |= static_cast<std::uint32_t>(mask[i] & 1) << i;
    return bits;
#endif
}

/// Appends the lanes whose bits are set. May write k_lanes elements.
INSTAR_ALWAYS_INLINE index_t knn_collect(std::uint32_t bits, f32 x, index_t column, index_t n, std::int32_t* columns,
                                         float* lows) {
#if INSTAR_SIMD_LEVEL == 4
    // Without a branch, which could not be predicted; to registers, because compressing to memory is slow on some processors.
    const auto mask = static_cast<std::uint16_t>(bits);
    store(lows + n, __builtin_ia32_compresssf512_mask(x, f32{}, mask));
    store(columns + n,
          (i32)__builtin_ia32_compresssi512_mask(iota() + broadcast(static_cast<std::int32_t>(column)), i32{}, mask));
    return n + __builtin_popcount(bits);
#else
    if (bits == 0) return n;
    float lanes[k_lanes];
    store(lanes, x);
    for (; bits != 0; bits &= bits - 1, ++n) {
        const int lane = __builtin_ctz(bits);
        columns[n] = static_cast<std::int32_t>(column + lane);
        lows[n] = lanes[lane];
    }
    return n;
#endif
}

/// x, rounded: keeps the compiler from contracting the product that made it with what follows.
INSTAR_ALWAYS_INLINE f64 knn_rounded(f64 x) {
#if INSTAR_SIMD_X86
    __asm__("" : "+x"(x));
#elif defined(__aarch64__)
    __asm__("" : "+w"(x));
#endif
    return x;
}

}  // namespace detail

/// c[rows, columns] = a · bᵀ over `depth` coordinates. a: packed by knn_pack_queries; b: by knn_pack_references, of which there are
/// packed_columns; columns is a multiple of k_gemm_columns.
inline void knn_products(float* c, index_t ldc, index_t rows, index_t columns, index_t depth, const float* a,
                         const float* b, index_t packed_columns) {
    using panels = gemm_panels<gemm_float_input>;
    const index_t step = detail::gemm_block_depth<gemm_float_input>(depth), n_panels = (rows + k_gemm_rows - 1) / k_gemm_rows;
    index_t p0 = 0;
    do {  // once for depth 0, which gives zeros
        const index_t p1 = p0 + step < depth ? p0 + step : depth, n = p1 - p0;
        for (index_t j = 0; j < columns; j += k_gemm_columns) {
            for (index_t q = 0; q < n_panels; ++q) {
                const index_t r0 = gemm_panel(rows, q, n_panels), r1 = gemm_panel(rows, q + 1, n_panels);
                const float* const panel = b + p0 * packed_columns + j * n;
                panels::multiply(r1 - r0, n, a + p0 * rows + r0 * n, panel, k_gemm_columns, c + r0 * ldc + j, ldc, k_gemm_columns, p0 > 0, nullptr,
                                 gemm_next_panel<panels::k_ahead_tiles>(panel, n, q, n_panels, j + k_gemm_columns < columns));
            }
        }
        p0 = p1;
    } while (p0 < depth);
}

/// Rows of x, [rows, depth] without gaps, in the panels of knn_products. Writes up to k_lanes floats of slack.
inline void knn_pack_queries(float* out, const float* x, index_t rows, index_t depth) {
    const gemm_problem g{.m = rows, .k = depth, .a = x, .lda = depth};
    const index_t step = detail::gemm_block_depth<gemm_float_input>(depth), n_panels = (rows + k_gemm_rows - 1) / k_gemm_rows;
    for (index_t p = 0; p < depth; p += step)
        gemm_pack_a<gemm_float_input>(out + p * rows, g, 0, rows, n_panels, p, p + step < depth ? p + step : depth);
}

/// The same as columns, of which there is room for `columns`.
inline void knn_pack_references(float* out, const float* x, index_t rows, index_t columns, index_t depth) {
    const gemm_problem g{.n = rows, .k = depth, .b = x, .ldb = depth, .transpose_b = true};
    const index_t step = detail::gemm_block_depth<gemm_float_input>(depth);
    for (index_t p = 0; p < depth; p += step)
        gemm_pack_b<gemm_float_input>(out + p * columns, g, 0, rows, p, p + step < depth ? p + step : depth);
}

/// out = factor · x − shift in float, computed in double. Returns Σ (factor · x − shift)².
inline double knn_center(float* out, const float* x, const double* shift, double factor, index_t n) {
    f64 s0{}, s1{};
    const f64 f = broadcast(factor);
    index_t i = 0;
    for (; i + 2 * k_lanes_f64 <= n; i += 2 * k_lanes_f64) {
        const f64 a = fma(detail::load_f64(x + i), f, -load(shift + i)),
                  b = fma(detail::load_f64(x + i + k_lanes_f64), f, -load(shift + i + k_lanes_f64));
        s0 = fma(a, a, s0);
        s1 = fma(b, b, s1);
        *reinterpret_cast<detail::f32_half_unaligned*>(out + i) = __builtin_convertvector(a, detail::f32_half);
        *reinterpret_cast<detail::f32_half_unaligned*>(out + i + k_lanes_f64) =
            __builtin_convertvector(b, detail::f32_half);
    }
    double sum = reduce_add(s0 + s1);
    for (; i < n; ++i) {
        const double a = static_cast<double>(x[i]) * factor - shift[i];
        sum += a * a;
        out[i] = static_cast<float>(a);
    }
    return sum;
}

/// Σ (factor_a · a − factor_b · b)² in double. Differences, so near points keep all digits; symmetric to the last bit.
template <bool Scaled>
inline double knn_squared_difference(const float* a, const float* b, index_t n, double factor_a, double factor_b) {
    constexpr index_t k_step = k_lanes_f64;
    f64 s[4] = {f64{}, f64{}, f64{}, f64{}};
    const f64 fa = broadcast(factor_a), fb = broadcast(factor_b);
    index_t i = 0;
    for (; i + 4 * k_step <= n; i += 4 * k_step) {
#pragma GCC unroll 4
        for (int v = 0; v < 4; ++v) {
            f64 x = detail::load_f64(a + i + v * k_step), y = detail::load_f64(b + i + v * k_step);
            if constexpr (Scaled) {
                // Not a multiply-add, which would round the two sides differently.
                x = detail::knn_rounded(x * fa);
                y = detail::knn_rounded(y * fb);
            }
            s[v] = fma(x - y, x - y, s[v]);
        }
    }
    for (; i < n; i += k_step) {
        const index_t m = n - i < k_step ? n - i : k_step;
        f64 x = lower_f64(load_partial(a + i, m)), y = lower_f64(load_partial(b + i, m));
        if constexpr (Scaled) {
            x = detail::knn_rounded(x * fa);
            y = detail::knn_rounded(y * fb);
        }
        s[0] = fma(x - y, x - y, s[0]);
    }
    return reduce_add((s[0] + s[1]) + (s[2] + s[3]));
}

/// Columns j < n with (base[j] − products[j]) − error · norm[j] < threshold, and that difference. n is a multiple of
/// 2 · k_lanes; a column that is not there has base +inf. Returns their number; up to k_lanes elements past it may be written.
inline index_t knn_scan(const float* products, const float* base, const float* norm, float error, float threshold,
                        index_t n, std::int32_t* columns, float* lows) {
    // No difference is NaN: rows are finite, and what fills the last panel is.
    const f32 e = broadcast(-error), t = broadcast(threshold);
    index_t found = 0, j = 0;
    f32 x[4];
    for (; j + 4 * k_lanes <= n; j += 4 * k_lanes) {
#pragma GCC unroll 4
        for (index_t v = 0; v < 4; ++v)
            x[v] =
                fma(e, load(norm + j + v * k_lanes), load(base + j + v * k_lanes) - load(products + j + v * k_lanes));
        if (detail::knn_bits(min(min(x[0], x[1]), min(x[2], x[3])) < t) == 0) continue;
#pragma GCC unroll 4
        for (index_t v = 0; v < 4; ++v)
            found = detail::knn_collect(detail::knn_bits(x[v] < t), x[v], j + v * k_lanes, found, columns, lows);
    }
    for (; j < n; j += k_lanes) {
        x[0] = fma(e, load(norm + j), load(base + j) - load(products + j));
        found = detail::knn_collect(detail::knn_bits(x[0] < t), x[0], j, found, columns, lows);
    }
    return found;
}

/// The same with the sides exchanged: the row is the reference, with its base and norm, and the columns are queries.
inline index_t knn_scan_queries(const float* products, float base, float norm, const float* errors,
                                const float* thresholds, index_t n, std::int32_t* columns, float* lows) {
    const f32 b = broadcast(base), m = broadcast(-norm);
    index_t found = 0, j = 0;
    f32 x[4];
    for (; j + 4 * k_lanes <= n; j += 4 * k_lanes) {
        i32 below[4];
#pragma GCC unroll 4
        for (index_t v = 0; v < 4; ++v) {
            x[v] = fma(m, load(errors + j + v * k_lanes), b - load(products + j + v * k_lanes));
            below[v] = x[v] < load(thresholds + j + v * k_lanes);
        }
        if (detail::knn_bits((below[0] | below[1]) | (below[2] | below[3])) == 0) continue;
#pragma GCC unroll 4
        for (index_t v = 0; v < 4; ++v)
            found = detail::knn_collect(detail::knn_bits(below[v]), x[v], j + v * k_lanes, found, columns, lows);
    }
    for (; j < n; j += k_lanes) {
        x[0] = fma(m, load(errors + j), b - load(products + j));
        found = detail::knn_collect(detail::knn_bits(x[0] < load(thresholds + j)), x[0], j, found, columns, lows);
    }
    return found;
}

// --- selection --------------------------------------------------------------------------------------------------------------------

/// A value that at least k of n floats do not exceed, and not many more than k: halving the range of their ordered bit patterns
/// until between k and k + k / 8 + 2 lie below, so no comparison's branch depends on an element. 1 ≤ k ≤ n; scratch: n rounded up
/// to k_lanes.
inline float knn_kth_bound(const float* x, index_t n, index_t k, std::int32_t* scratch) {
    constexpr std::int32_t k_none = 0x7fffffff;  // above every float
    i32 low = broadcast(k_none), high = broadcast(-k_none);
    index_t i = 0;
    for (; i < n; i += k_lanes) {
        const index_t m = n - i < k_lanes ? n - i : k_lanes;
        const i32 bits = as_i32(load_partial(x + i, m)), order = bits ^ ((bits >> 31) & 0x7fffffff),
                  there = first_lanes(m);
        store(scratch + i, select(there, order, broadcast(k_none)));
        low = select(there & (order < low), order, low);
        high = select(there & (order > high), order, high);
    }
    std::int64_t least = k_none, most = -k_none;
    for (index_t l = 0; l < k_lanes; ++l) {
        least = low[l] < least ? low[l] : least;
        most = high[l] > most ? high[l] : most;
    }
    while (least < most) {
        const std::int64_t middle = least + ((most - least) >> 1);
        const i32 at = broadcast(static_cast<std::int32_t>(middle));
        i32 count{};
        for (index_t j = 0; j < n; j += k_lanes) count -= load(scratch + j) <= at;
        index_t below = 0;
        for (index_t l = 0; l < k_lanes; ++l) below += count[l];
        if (below < k) {
            least = middle + 1;
        } else {
            most = middle;
            if (below <= k + k / 8 + 2) break;
        }
    }
    const auto order = static_cast<std::int32_t>(most);
    return __builtin_bit_cast(float, order ^ ((order >> 31) & 0x7fffffff));
}

/// Keeps the elements of three arrays whose low is below the limit, in order; returns their number.
inline index_t knn_keep(float* lows, float* highs, std::int32_t* references, index_t n, float limit) {
    index_t kept = 0;
#if INSTAR_SIMD_LEVEL == 4
    const f32 t = broadcast(limit);
    for (index_t i = 0; i < n; i += k_lanes) {
        const index_t m = n - i < k_lanes ? n - i : k_lanes;
        const f32 low = load_partial(lows + i, m);
        const std::uint32_t bits = detail::knn_bits((low < t) & first_lanes(m));
        const auto mask = static_cast<std::uint16_t>(bits);
        const f32 high = load_partial(highs + i, m);
        const i32 reference = as_i32(load_partial(reinterpret_cast<const float*>(references + i), m));
        const index_t room = __builtin_popcount(bits);
        store_partial(lows + kept, __builtin_ia32_compresssf512_mask(low, f32{}, mask), room);
        store_partial(highs + kept, __builtin_ia32_compresssf512_mask(high, f32{}, mask), room);
        store_partial(reinterpret_cast<float*>(references + kept),
                      as_f32((i32)__builtin_ia32_compresssi512_mask(reference, i32{}, mask)), room);
        kept += room;
    }
#else
    for (index_t i = 0; i < n; ++i) {  // without a branch: who stays cannot be predicted
        const float low = lows[i];
        lows[kept] = low;
        highs[kept] = highs[i];
        references[kept] = references[i];
        kept += low < limit ? 1 : 0;
    }
#endif
    return kept;
}

}  // namespace instar::ops::cpu::simd::INSTAR_SIMD_NS
