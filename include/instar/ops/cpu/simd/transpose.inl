// Transposition of a square of k_lanes × k_lanes floats in registers. Included by simd/transpose.hpp once for each
// instruction set.
//
//     f32 r[k_lanes];          // r[i] = row i
//     transpose(r);            // r[j] = column j
//
// First 4 × 4 blocks within 128-bit quarters, two rounds of interleaving; then the quarters themselves.

namespace instar::ops::cpu::simd::INSTAR_SIMD_NS {

namespace detail {

#if INSTAR_SIMD_BYTES == 64
#define INSTAR_SIMD_INTERLEAVE(a, b, p, q, r, s)                                                                                  \
    __builtin_shufflevector(a, b, p, q, r, s, p + 4, q + 4, r + 4, s + 4, p + 8, q + 8, r + 8, s + 8, p + 12, q + 12, r + 12, s + 12)
#elif INSTAR_SIMD_BYTES == 32
#define INSTAR_SIMD_INTERLEAVE(a, b, p, q, r, s) __builtin_shufflevector(a, b, p, q, r, s, p + 4, q + 4, r + 4, s + 4)
#else
#define INSTAR_SIMD_INTERLEAVE(a, b, p, q, r, s) __builtin_shufflevector(a, b, p, q, r, s)
#endif

/// Transposes the 4 × 4 blocks of four rows: quarter l of r[c] becomes column 4·l + c.
INSTAR_ALWAYS_INLINE void transpose_quarters(f32* r) {
    constexpr int n = static_cast<int>(k_lanes);  // indices n … 2n − 1 name the second operand
    const f32 t0 = INSTAR_SIMD_INTERLEAVE(r[0], r[1], 0, n, 1, n + 1);
    const f32 t1 = INSTAR_SIMD_INTERLEAVE(r[0], r[1], 2, n + 2, 3, n + 3);
    const f32 t2 = INSTAR_SIMD_INTERLEAVE(r[2], r[3], 0, n, 1, n + 1);
    const f32 t3 = INSTAR_SIMD_INTERLEAVE(r[2], r[3], 2, n + 2, 3, n + 3);
    r[0] = INSTAR_SIMD_INTERLEAVE(t0, t2, 0, 1, n, n + 1);
    r[1] = INSTAR_SIMD_INTERLEAVE(t0, t2, 2, 3, n + 2, n + 3);
    r[2] = INSTAR_SIMD_INTERLEAVE(t1, t3, 0, 1, n, n + 1);
    r[3] = INSTAR_SIMD_INTERLEAVE(t1, t3, 2, 3, n + 2, n + 3);
}
#undef INSTAR_SIMD_INTERLEAVE

}  // namespace detail

INSTAR_ALWAYS_INLINE void transpose(f32 (&r)[k_lanes]) {
#if INSTAR_SIMD_BYTES == 64
#pragma GCC unroll 4
    for (int g = 0; g < 4; ++g) detail::transpose_quarters(r + 4 * g);
    f32 out[16];
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) {
        const f32 a = r[c], b = r[4 + c], d = r[8 + c], e = r[12 + c];
        const f32 ab_even = __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
        const f32 ab_odd = __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
        const f32 de_even = __builtin_shufflevector(d, e, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
        const f32 de_odd = __builtin_shufflevector(d, e, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
        // ab_even = a0 a2 b0 b2, ab_odd = a1 a3 b1 b3 in quarters.
        out[c] = __builtin_shufflevector(ab_even, de_even, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
        out[4 + c] = __builtin_shufflevector(ab_odd, de_odd, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
        out[8 + c] = __builtin_shufflevector(ab_even, de_even, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
        out[12 + c] = __builtin_shufflevector(ab_odd, de_odd, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) r[i] = out[i];
#elif INSTAR_SIMD_BYTES == 32
    detail::transpose_quarters(r);
    detail::transpose_quarters(r + 4);
    f32 out[8];
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) {
        out[c] = __builtin_shufflevector(r[c], r[4 + c], 0, 1, 2, 3, 8, 9, 10, 11);
        out[4 + c] = __builtin_shufflevector(r[c], r[4 + c], 4, 5, 6, 7, 12, 13, 14, 15);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) r[i] = out[i];
#else
    detail::transpose_quarters(r);
#endif
}

}  // namespace instar::ops::cpu::simd::INSTAR_SIMD_NS
