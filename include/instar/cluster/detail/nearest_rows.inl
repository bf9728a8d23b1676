// The search for near rows, one instruction set's part: tiles of a matrix product whose elements are compared instead of
// stored. Included by cluster/detail/nearest_rows_kernels.hpp once for each instruction set; nearest_rows.hpp drives it.
//
// For rows a and columns b the condition "a and b are nearer than row a's threshold" is brought to the form
//
//     row_constant[a] − column_norm[b] + 2·a·b + row_slope[a]·column_weight[b] > 0
//
// so a tile starts at the first two terms, adds the product, and ends with one multiply-add and one maximum an element.
// A column that is not there has the norm +inf and never meets it, whatever the threshold: inf − inf is NaN, not above 0.

namespace instar::ops::cpu::simd::INSTAR_SIMD_NS {

/// Columns are packed in panels of two vectors; rows are packed k_lanes to a depth, of which a tile uses the first Rows.
inline constexpr index_t k_nearest_panel = 2 * k_lanes;
#if INSTAR_SIMD_LEVEL == 4
inline constexpr int k_nearest_rows = 14;
#elif INSTAR_SIMD_LEVEL == 3
inline constexpr int k_nearest_rows = 6;
#else
inline constexpr int k_nearest_rows = 4;
#endif

namespace detail {

/// Bit i: lane i is −1.
INSTAR_ALWAYS_INLINE std::uint32_t nearest_bits(i32 mask) {
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

/// a where a > b, else b: also where a is NaN.
INSTAR_ALWAYS_INLINE f32 nearest_greater(f32 a, f32 b) {
#if INSTAR_SIMD_LEVEL == 4 && !defined(__clang__)
    return __builtin_ia32_maxps512_mask(a, b, f32{}, -1, 4);
#elif INSTAR_SIMD_LEVEL == 3 && !defined(__clang__)
    return __builtin_ia32_maxps256(a, b);
#else
    return a > b ? a : b;
#endif
}

/// Appends base + lane for each lane above 0.
INSTAR_ALWAYS_INLINE index_t nearest_write(std::uint32_t* hits, index_t n, f32 x, std::uint32_t base) {
    for (std::uint32_t bits = nearest_bits(x > f32{}); bits != 0; bits &= bits - 1) hits[n++] = base + static_cast<std::uint32_t>(__builtin_ctz(bits));
    return n;
}

/// k_lanes bytes as floats. GCC 12 takes a conversion of vectors apart into lanes where it is not told the instruction.
INSTAR_ALWAYS_INLINE f32 nearest_bytes(const std::int8_t* p) {
#if INSTAR_SIMD_LEVEL == 4 && !defined(__clang__)
    typedef char bytes __attribute__((vector_size(16)));
    typedef char bytes_memory __attribute__((vector_size(16), aligned(1), may_alias));
    return to_f32(__builtin_ia32_pmovsxbd512_mask(bytes(*reinterpret_cast<const bytes_memory*>(p)), i32{}, static_cast<unsigned short>(-1)));
#elif INSTAR_SIMD_LEVEL == 3 && !defined(__clang__)
    typedef char bytes __attribute__((vector_size(16)));
    typedef long long words __attribute__((vector_size(16)));
    typedef long long word_memory __attribute__((aligned(1), may_alias));
    return to_f32(__builtin_ia32_pmovsxbd256((bytes)words{*reinterpret_cast<const word_memory*>(p), 0}));
#else
    typedef std::int8_t bytes __attribute__((vector_size(INSTAR_SIMD_BYTES / 4), aligned(1), may_alias));
    return to_f32(__builtin_convertvector(*reinterpret_cast<const bytes*>(p), i32));
#endif
}

}  // namespace detail

/// k_nearest_rows × k_nearest_panel pairs. a: [depth][k_lanes]; b: [depth][k_nearest_panel]. Writes the pairs that meet the
/// condition as row · 65536 + column (counted from `column`) and returns how many there are.
inline index_t nearest_tile(index_t depth, const float* INSTAR_RESTRICT a, const float* INSTAR_RESTRICT b, const float* column_norm,
                            const float* column_weight, const float* row_constant, const float* row_slope, index_t column,
                            std::uint32_t* INSTAR_RESTRICT hits) {
    constexpr int k_rows = k_nearest_rows;
    f32 sum[k_rows][2];
#pragma GCC unroll 16
    for (int i = 0; i < k_rows; ++i) {
#pragma GCC unroll 2
        for (int v = 0; v < 2; ++v) sum[i][v] = broadcast(row_constant[i]) - load(column_norm + v * k_lanes);
    }
    for (index_t p = 0; p < depth; ++p, a += k_lanes, b += k_nearest_panel) {
        const f32 y[2] = {load(b), load(b + k_lanes)};
#pragma GCC unroll 16
        for (int i = 0; i < k_rows; ++i) {
            const f32 x = broadcast(a[i]);
#pragma GCC unroll 2
            for (int v = 0; v < 2; ++v) sum[i][v] = fma(x, y[v], sum[i][v]);
        }
    }
    const f32 weight[2] = {load(column_weight), load(column_weight + k_lanes)};
    f32 largest[4] = {f32{}, f32{}, f32{}, f32{}};  // four, so that no chain of maxima is long
#pragma GCC unroll 16
    for (int i = 0; i < k_rows; ++i) {
#pragma GCC unroll 2
        for (int v = 0; v < 2; ++v) {
            sum[i][v] = fma(broadcast(row_slope[i]), weight[v], sum[i][v]);
            largest[i % 2 * 2 + v] = detail::nearest_greater(sum[i][v], largest[i % 2 * 2 + v]);
        }
    }
    const f32 any = detail::nearest_greater(detail::nearest_greater(largest[0], largest[1]), detail::nearest_greater(largest[2], largest[3]));
    if (detail::nearest_bits(any > f32{}) == 0) return 0;
    index_t n = 0;
#pragma GCC unroll 16
    for (int i = 0; i < k_rows; ++i) {
#pragma GCC unroll 2
        for (int v = 0; v < 2; ++v) n = detail::nearest_write(hits, n, sum[i][v], static_cast<std::uint32_t>(i) << 16 | static_cast<std::uint32_t>(column + v * k_lanes));
    }
    return n;
}

/// One row against `n` columns, a multiple of 4 · k_nearest_panel, whose coordinates are bytes: a[p] is the row's times what a
/// byte's unit stands for. A search of this kind is bound by how fast columns arrive, and bytes arrive four times as fast.
inline index_t nearest_scan(index_t depth, const float* INSTAR_RESTRICT a, const std::int8_t* INSTAR_RESTRICT b, const float* column_norm,
                            const float* column_weight, float row_constant, float row_slope, index_t n, std::uint32_t* INSTAR_RESTRICT hits) {
    const index_t panel = depth * k_nearest_panel;
    index_t n_hits = 0;
    for (index_t j = 0; j < n; j += 4 * k_nearest_panel, b += 4 * panel) {
        f32 sum[8];
#pragma GCC unroll 8
        for (int v = 0; v < 8; ++v) sum[v] = broadcast(row_constant) - load(column_norm + j + v * k_lanes);
        for (index_t p = 0; p < depth; ++p) {
            const f32 x = broadcast(a[p]);
#pragma GCC unroll 8
            for (int v = 0; v < 8; ++v) sum[v] = fma(x, detail::nearest_bytes(b + v / 2 * panel + p * k_nearest_panel + v % 2 * k_lanes), sum[v]);
        }
        f32 largest[2] = {f32{}, f32{}};
#pragma GCC unroll 8
        for (int v = 0; v < 8; ++v) {
            sum[v] = fma(broadcast(row_slope), load(column_weight + j + v * k_lanes), sum[v]);
            largest[v % 2] = detail::nearest_greater(sum[v], largest[v % 2]);
        }
        if (detail::nearest_bits(detail::nearest_greater(largest[0], largest[1]) > f32{}) == 0) continue;
#pragma GCC unroll 8
        for (int v = 0; v < 8; ++v) n_hits = detail::nearest_write(hits, n_hits, sum[v], static_cast<std::uint32_t>(j + v * k_lanes));
    }
    return n_hits;
}

/// out = factor·(x − origin) and the sum of the squares of x − origin; n is a multiple of 8.
inline double nearest_row(float* INSTAR_RESTRICT out, const double* x, const double* origin, index_t n, double factor) {
    typedef float half __attribute__((vector_size(INSTAR_SIMD_BYTES / 2)));
    typedef float half_memory __attribute__((vector_size(INSTAR_SIMD_BYTES / 2), aligned(4), may_alias));
    f64 squares{};
    for (index_t p = 0; p < n; p += k_lanes_f64) {
        const f64 d = load(x + p) - load(origin + p);
        squares = fma(d, d, squares);
        *reinterpret_cast<half_memory*>(out + p) = __builtin_convertvector(d * factor, half);
    }
    return reduce_add(squares);
}

inline nearest_layout nearest_cut() { return {k_lanes, k_nearest_panel, k_nearest_rows}; }

/// out = 2·(in + delta) for each of k_lanes rows, [depth][k_lanes]; norms: Σ (in + delta)².
inline void nearest_shift(float* INSTAR_RESTRICT out, const float* INSTAR_RESTRICT in, const float* INSTAR_RESTRICT delta, index_t depth, float* norms) {
    f32 n0{}, n1{};
    index_t p = 0;
    for (; p + 2 <= depth; p += 2) {
        const f32 x = load(in + p * k_lanes) + broadcast(delta[p]), y = load(in + (p + 1) * k_lanes) + broadcast(delta[p + 1]);
        n0 = fma(x, x, n0);
        n1 = fma(y, y, n1);
        store(out + p * k_lanes, x + x);
        store(out + (p + 1) * k_lanes, y + y);
    }
    if (p < depth) {
        const f32 x = load(in + p * k_lanes) + broadcast(delta[p]);
        n0 = fma(x, x, n0);
        store(out + p * k_lanes, x + x);
    }
    store(norms, n0 + n1);
}

/// Σ (a − b)² in double; n is a multiple of 8.
inline double squared_distance(const double* a, const double* b, index_t n) {
    f64 s0{}, s1{};
    index_t i = 0;
    for (; i + 2 * k_lanes_f64 <= n; i += 2 * k_lanes_f64) {
        const f64 x = load(a + i) - load(b + i), y = load(a + i + k_lanes_f64) - load(b + i + k_lanes_f64);
        s0 = fma(x, x, s0);
        s1 = fma(y, y, s1);
    }
    for (; i < n; i += k_lanes_f64) {
        const f64 x = load(a + i) - load(b + i);
        s0 = fma(x, x, s0);
    }
    return reduce_add(s0 + s1);
}

}  // namespace instar::ops::cpu::simd::INSTAR_SIMD_NS
