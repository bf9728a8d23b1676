// exp, log, erf and the Gaussian functions of GELU, lane by lane. Included by simd/math.hpp once for each instruction set.
//
//     f32 e = exp(x);                       // 0 and ∞ where float under- and overflows, NaN for NaN
//     f32 y = gelu(x), g = gelu_gradient(x);
//     exp_range(y, x, n);                   // whole arrays; y may alias x
//
// Largest errors are against double, over all floats; denormal inputs and results included, nothing is flushed.
// tests/unit/vec_math.cpp checks them on a sample. NaN gives NaN.

namespace instar::ops::cpu::simd::INSTAR_SIMD_NS {

namespace detail {

inline constexpr float k_log2_e = 1.44269504f;
// ln 2 in two parts (Cody, Waite), the first of nine bits, so that a small integer times it is exact.
inline constexpr float k_ln2_high = 0.693359375f;
inline constexpr float k_ln2_low = -2.12194440e-4f;

// min and max of simd/vec.inl in one instruction: GCC 12 makes a comparison and a blend of those. The second operand when a
// lane of either is NaN.
INSTAR_ALWAYS_INLINE f32 lesser(f32 a, f32 b) {
#if INSTAR_SIMD_LEVEL == 4 && !defined(__clang__)
    return __builtin_ia32_minps512_mask(a, b, f32{}, static_cast<unsigned short>(0xffff), 4);
#elif INSTAR_SIMD_LEVEL == 3 && !defined(__clang__)
    return __builtin_ia32_minps256(a, b);
#else
    return min(a, b);
#endif
}
INSTAR_ALWAYS_INLINE f32 greater(f32 a, f32 b) {
#if INSTAR_SIMD_LEVEL == 4 && !defined(__clang__)
    return __builtin_ia32_maxps512_mask(a, b, f32{}, static_cast<unsigned short>(0xffff), 4);
#elif INSTAR_SIMD_LEVEL == 3 && !defined(__clang__)
    return __builtin_ia32_maxps256(a, b);
#else
    return max(a, b);
#endif
}

/// Nearest integer of x · factor, as a float; below 2²² in magnitude.
INSTAR_ALWAYS_INLINE f32 round_product(f32 x, float factor) {
    const f32 magic = broadcast(12582912.0f);  // 1.5 · 2²³: adding it leaves no bits for a fraction
    return fma(x, broadcast(factor), magic) - magic;
}

/// x · 2ⁿ, n integral in [−300, 250]. Below v4 the power is applied in halves, so a denormal result may be rounded twice.
INSTAR_ALWAYS_INLINE f32 times_power_of_two(f32 x, f32 n) {
#if INSTAR_SIMD_LEVEL == 4
    return __builtin_ia32_scalefps512_mask(x, n, f32{}, static_cast<unsigned short>(0xffff), 4);
#else
    const i32 whole = to_i32(n);
    const i32 half = whole >> 1;
    return x * as_f32((half + 127) << 23) * as_f32((whole - half + 127) << 23);
#endif
}

/// eʳ for |r| ≤ ln(2)/2: minimax, relative error 2⁻²⁸·⁹ before rounding.
INSTAR_ALWAYS_INLINE f32 exp_polynomial(f32 r) {
    f32 p = fma(r, broadcast(0x1.6ae6e0p-10f), broadcast(0x1.1267d8p-7f));
    p = fma(r, p, broadcast(0x1.555824p-5f));
    p = fma(r, p, broadcast(0x1.555418p-3f));
    p = fma(r, p, broadcast(0x1.fffffcp-2f));
    p = fma(r, p, broadcast(1.0f));
    p = fma(r, p, broadcast(1.0f));
    return p;
}

/// exp(−a²/2), 0 ≤ a ≤ 15, to the bound of exp although a² is not a float: u = a² − 2n·ln 2 is one rounding of an exact
/// product and an exact subtrahend, and the polynomial is exp's in u = −2r. Without FMA, a = ah + al with ah short enough
/// for an exact square, and a² = ah² + al·(a + ah).
INSTAR_ALWAYS_INLINE f32 exp_minus_half_square(f32 a) {
    const f32 magic = broadcast(12582912.0f);
    const f32 minus_n = magic - fma(a * a, broadcast(0.5f * k_log2_e), magic);
#if INSTAR_SIMD_LEVEL >= 3
    f32 u = fma(a, a, minus_n * (2.0f * k_ln2_high));
    u = fma(minus_n, broadcast(2.0f * k_ln2_low), u);
#else
    const f32 ah = as_f32(as_u32(a) & 0xfffff000u);
    f32 u = fma(minus_n, broadcast(2.0f * k_ln2_high), ah * ah);
    u = fma(minus_n, broadcast(2.0f * k_ln2_low), u + (a - ah) * (a + ah));
#endif
    f32 p = fma(u, broadcast(0x1.6ae6ep-16f), broadcast(-0x1.1267d8p-12f));
    p = fma(u, p, broadcast(0x1.555824p-9f));
    p = fma(u, p, broadcast(-0x1.555418p-6f));
    p = fma(u, p, broadcast(0x1.fffffcp-4f));
    p = fma(u, p, broadcast(-0.5f));
    p = fma(u, p, broadcast(1.0f));
    return times_power_of_two(p, minus_n);
}

/// Q(a)·exp(a²/2) for 0 ≤ a ≤ 14.5, where Q(a) = 1 − Φ(a): a rational minimax with positive coefficients, relative error
/// 3e-8 with them rounded.
INSTAR_ALWAYS_INLINE f32 mills(f32 a) {
    f32 p = fma(a, broadcast(0x1.98858ap-2f), broadcast(0x1.f81492p+1f));
    p = fma(a, p, broadcast(0x1.1c24cep+4f));
    p = fma(a, p, broadcast(0x1.53d574p+5f));
    p = fma(a, p, broadcast(0x1.83ad84p+5f));
    f32 q = a + 0x1.3be7dp+3f;
    q = fma(a, q, broadcast(0x1.6c015ep+5f));
    q = fma(a, q, broadcast(0x1.d22ec8p+6f));
    q = fma(a, q, broadcast(0x1.4493fap+7f));
    q = fma(a, q, broadcast(0x1.83ad84p+6f));
    return p / q;
}

}  // namespace detail

/// eˣ for x ≤ 89 (or NaN): what a softmax needs after the largest logit is taken off. Largest error 1.1 ulp (1.4 without
/// FMA).
INSTAR_ALWAYS_INLINE f32 exp_bounded(f32 x) {
    // The constant first: max gives the second operand, here x, when it is NaN.
    x = detail::greater(broadcast(-104.0f), x);
    const f32 n = detail::round_product(x, detail::k_log2_e);
    f32 r = fma(n, broadcast(-detail::k_ln2_high), x);
    r = fma(n, broadcast(-detail::k_ln2_low), r);
    return detail::times_power_of_two(detail::exp_polynomial(r), n);
}

/// eˣ. Largest error 1.1 ulp (1.4 without FMA).
INSTAR_ALWAYS_INLINE f32 exp(f32 x) { return exp_bounded(detail::lesser(broadcast(89.0f), x)); }

/// Natural logarithm; −∞ for ±0, NaN below 0. Largest error 0.9 ulp.
INSTAR_ALWAYS_INLINE f32 log(f32 x) {
    const i32 is_denormal = x < 0x1.0p-126f;
    const f32 scaled = select(is_denormal, x * 0x1.0p24f, x);
    // The exponent that puts the mantissa in [√½, √2).
    const i32 bits = as_i32(as_u32(scaled) - 0x3f3504f3u);  // without a sign: −0 would overflow
    const f32 e = to_f32(bits >> 23) - select(is_denormal, broadcast(24.0f), broadcast(0.0f));
    const f32 r = as_f32((bits & 0x007fffff) + 0x3f3504f3) - 1.0f;
    // (log(1 + r) − r + r²/2) / r³, minimax
    f32 p = fma(r, broadcast(0x1.1457a2p-4f), broadcast(-0x1.de3c14p-4f));
    p = fma(r, p, broadcast(0x1.e6f06cp-4f));
    p = fma(r, p, broadcast(-0x1.fc2208p-4f));
    p = fma(r, p, broadcast(0x1.233768p-3f));
    p = fma(r, p, broadcast(-0x1.555c4ep-3f));
    p = fma(r, p, broadcast(0x1.99a4b6p-3f));
    p = fma(r, p, broadcast(-0x1.000006p-2f));
    p = fma(r, p, broadcast(0x1.555548p-2f));
    const f32 r2 = r * r;
    f32 tail = r * r2 * p;
    tail = fma(e, broadcast(detail::k_ln2_low), tail);
    tail = fma(r2, broadcast(-0.5f), tail);
    f32 y = fma(e, broadcast(detail::k_ln2_high), r + tail);
    const f32 k_infinity = broadcast(__builtin_inff());
    y = select(x < k_infinity, y, x);
    y = select(x > 0.0f, y, broadcast(__builtin_nanf("")));
    return select(x == 0.0f, -k_infinity, y);
}

/// Error function. Largest error 1.3 ulp (1.5 without FMA).
INSTAR_ALWAYS_INLINE f32 erf(f32 x) {
    const f32 z = x * x;
    f32 p = fma(z, broadcast(0x1.496a30p-14f), broadcast(-0x1.a3f700p-11f));
    p = fma(z, p, broadcast(0x1.5405b2p-8f));
    p = fma(z, p, broadcast(-0x1.b7f90ep-6f));
    p = fma(z, p, broadcast(0x1.ce2cf8p-4f));
    p = fma(z, p, broadcast(-0x1.81273ep-2f));
    p = fma(z, p, broadcast(1.2837915e-1f));  // 2/√π − 1: adding x last keeps its digits
    // erf(x) = 1 − 2 Q(√2 x)
    const f32 a = detail::lesser(broadcast(6.0f), abs(x) * 1.41421356f);
    const f32 far = 1.0f - 2.0f * detail::exp_minus_half_square(a) * detail::mills(a);
    return select(abs(x) < 1.0f, fma(x, p, x), copysign(far, x));
}

/// x·Φ(x). Largest error 5 ulp for |x| ≤ 5 (7 without FMA); 11 ulp to the left of it, where results near the denormals.
INSTAR_ALWAYS_INLINE f32 gelu(f32 x) {
    const f32 a = detail::lesser(broadcast(14.5f), abs(x));
    const f32 q = detail::exp_minus_half_square(a) * detail::mills(a);
    return x * select(x < 0.0f, q, 1.0f - q);
}

/// Φ(x) + x·φ(x). Largest error 1.4e-7 (results lie in [−0.13, 1.13]).
INSTAR_ALWAYS_INLINE f32 gelu_gradient(f32 x) {
    const f32 magnitude = abs(x);
    const f32 a = detail::lesser(broadcast(14.5f), magnitude);
    // Not the clamped a in the product: at ±∞ it makes ∞ · 0 = NaN, as the formula does.
    const f32 s = detail::exp_minus_half_square(a) * fma(magnitude, broadcast(-0.398942280f), detail::mills(a));
    return select(x < 0.0f, s, 1.0f - s);
}

// --- whole arrays -------------------------------------------------------------------------------------------------------------

inline void exp_range(float* y, const float* x, index_t n) {
    index_t i = 0;
    for (; i + k_lanes <= n; i += k_lanes) store(y + i, exp(load(x + i)));
    if (i < n) store_partial(y + i, exp(load_partial(x + i, n - i)), n - i);
}
inline void log_range(float* y, const float* x, index_t n) {
    index_t i = 0;
    for (; i + k_lanes <= n; i += k_lanes) store(y + i, log(load(x + i)));
    if (i < n) store_partial(y + i, log(load_partial(x + i, n - i)), n - i);
}
inline void erf_range(float* y, const float* x, index_t n) {
    index_t i = 0;
    for (; i + k_lanes <= n; i += k_lanes) store(y + i, erf(load(x + i)));
    if (i < n) store_partial(y + i, erf(load_partial(x + i, n - i)), n - i);
}
// Measured out of cache: with its arithmetic between the loads, GELU takes a quarter less time when it asks for 2 KiB ahead.
inline constexpr index_t k_ahead = 512;

inline void gelu_range(float* y, const float* x, index_t n) {
    index_t i = 0;
    for (; i + k_lanes <= n; i += k_lanes) {
        __builtin_prefetch(x + i + k_ahead);
        store(y + i, gelu(load(x + i)));
    }
    if (i < n) store_partial(y + i, gelu(load_partial(x + i, n - i)), n - i);
}
/// dx = dy · (Φ(x) + x·φ(x))
inline void gelu_gradient_range(float* dx, const float* dy, const float* x, index_t n) {
    index_t i = 0;
    for (; i + k_lanes <= n; i += k_lanes) {
        __builtin_prefetch(x + i + k_ahead);
        __builtin_prefetch(dy + i + k_ahead);
        store(dx + i, load(dy + i) * gelu_gradient(load(x + i)));
    }
    if (i < n) store_partial(dx + i, load_partial(dy + i, n - i) * gelu_gradient(load_partial(x + i, n - i)), n - i);
}

}  // namespace instar::ops::cpu::simd::INSTAR_SIMD_NS
