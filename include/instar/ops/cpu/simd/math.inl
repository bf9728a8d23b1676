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

/// exp(hi + lo) for |lo| ≪ |hi|, without the range checks: −200 < hi + lo < 89. Cody–Waite: n = round((hi + lo)/ln 2),
/// r = hi + lo − n·ln 2 with ln 2 in two parts, the first short enough that n times it is exact.
INSTAR_ALWAYS_INLINE f32 exp_sum(f32 hi, f32 lo) {
    const f32 n = round_small((hi + lo) * 1.44269504f);
    f32 r = fma(n, broadcast(-0.693359375f), hi);
    r = fma(n, broadcast(2.12194440e-4f), r + lo);
    return times_power_of_two(exp_polynomial(r), n);
}

/// exp(−factor·a²), factor a power of two. It keeps its digits for large a only when a² does: a² = ah² + (a − ah)(a + ah),
/// where ah is the upper 12 bits of a, so that ah² is exact.
INSTAR_ALWAYS_INLINE f32 exp_minus_square(f32 a, float factor) {
    const f32 ah = as_f32(as_u32(a) & 0xfffff000u);
    const f32 hi = ah * ah;
    const f32 lo = (a - ah) * (a + ah);
    return exp_sum(hi * -factor, lo * -factor);
}

/// Q(a)·exp(a²/2) for 0 ≤ a ≤ 14.5, where Q(a) = 1 − Φ(a): a rational minimax with positive coefficients, relative error
/// 6e-9 before rounding.
INSTAR_ALWAYS_INLINE f32 mills(f32 a) {
    f32 p = fma(a, broadcast(0x1.0dc39ap-8f), broadcast(0x1.4cdd92p-5f));
    p = fma(a, p, broadcast(0x1.7743a4p-3f));
    p = fma(a, p, broadcast(0x1.c0d02ap-2f));
    p = fma(a, p, broadcast(0.5f));
    f32 q = fma(a, broadcast(0x1.52185ep-7f), broadcast(0x1.a13622p-4f));
    q = fma(a, q, broadcast(0x1.e0bc74p-2f));
    q = fma(a, q, broadcast(0x1.33d712p+0f));
    q = fma(a, q, broadcast(0x1.acaa46p+0f));
    q = fma(a, q, broadcast(1.0f));
    return p / q;
}

}  // namespace detail

/// eˣ for x ≤ 89 (or NaN): what a softmax needs after the largest logit is taken off. Largest error 1.1 ulp (1.4 without
/// FMA).
INSTAR_ALWAYS_INLINE f32 exp_bounded(f32 x) {
    // The constant first: max gives the second operand, here x, when it is NaN.
    x = max(broadcast(-104.0f), x);
    const f32 n = round_small(x * 1.44269504f);
    f32 r = fma(n, broadcast(-0.693359375f), x);
    r = fma(n, broadcast(2.12194440e-4f), r);
    return detail::times_power_of_two(detail::exp_polynomial(r), n);
}

/// eˣ. Largest error 1.1 ulp (1.4 without FMA).
INSTAR_ALWAYS_INLINE f32 exp(f32 x) { return exp_bounded(min(broadcast(89.0f), x)); }

/// Natural logarithm; −∞ for ±0, NaN below 0. Largest error 0.9 ulp.
INSTAR_ALWAYS_INLINE f32 log(f32 x) {
    const i32 is_denormal = x < 0x1.0p-126f;
    const f32 scaled = select(is_denormal, x * 0x1.0p24f, x);
    // The exponent that puts the mantissa in [√½, √2).
    const i32 bits = as_i32(scaled) - 0x3f3504f3;
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
    tail = fma(e, broadcast(-2.12194440e-4f), tail);
    tail = fma(r2, broadcast(-0.5f), tail);
    f32 y = fma(e, broadcast(0.693359375f), r + tail);
    const f32 k_infinity = broadcast(__builtin_inff());
    y = select(x < k_infinity, y, x);
    y = select(x > 0.0f, y, broadcast(__builtin_nanf("")));
    return select(x == 0.0f, -k_infinity, y);
}

/// Error function. Largest error 1.2 ulp (1.5 without FMA).
INSTAR_ALWAYS_INLINE f32 erf(f32 x) {
    const f32 z = x * x;
    f32 p = fma(z, broadcast(0x1.496a30p-14f), broadcast(-0x1.a3f700p-11f));
    p = fma(z, p, broadcast(0x1.5405b2p-8f));
    p = fma(z, p, broadcast(-0x1.b7f90ep-6f));
    p = fma(z, p, broadcast(0x1.ce2cf8p-4f));
    p = fma(z, p, broadcast(-0x1.81273ep-2f));
    p = fma(z, p, broadcast(1.2837915e-1f));  // 2/√π − 1: adding x last keeps its digits
    const f32 a = min(broadcast(4.5f), abs(x));
    const f32 far = 1.0f - 2.0f * detail::exp_minus_square(a, 1.0f) * detail::mills(a * 1.41421356f);
    return select(a < 1.0f, fma(x, p, x), copysign(far, x));
}

/// x·Φ(x). Largest error 5 ulp for |x| ≤ 5 (6 without FMA); 10 ulp to the left of it, where results near the denormals.
INSTAR_ALWAYS_INLINE f32 gelu(f32 x) {
    const f32 a = min(broadcast(14.5f), abs(x));
    const f32 q = detail::exp_minus_square(a, 0.5f) * detail::mills(a);
    return x * select(x < 0.0f, q, 1.0f - q);
}

/// Φ(x) + x·φ(x). Largest error 1.4e-7 (results lie in [−0.13, 1.13]).
INSTAR_ALWAYS_INLINE f32 gelu_gradient(f32 x) {
    const f32 magnitude = abs(x);
    const f32 a = min(broadcast(14.5f), magnitude);
    // Not the clamped a in the product: at ±∞ it makes ∞ · 0 = NaN, as the formula does.
    const f32 s = detail::exp_minus_square(a, 0.5f) * fma(magnitude, broadcast(-0.398942280f), detail::mills(a));
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
inline void gelu_range(float* y, const float* x, index_t n) {
    index_t i = 0;
    for (; i + k_lanes <= n; i += k_lanes) store(y + i, gelu(load(x + i)));
    if (i < n) store_partial(y + i, gelu(load_partial(x + i, n - i)), n - i);
}
/// dx = dy · (Φ(x) + x·φ(x))
inline void gelu_gradient_range(float* dx, const float* dy, const float* x, index_t n) {
    index_t i = 0;
    for (; i + k_lanes <= n; i += k_lanes) store(dx + i, load(dy + i) * gelu_gradient(load(x + i)));
    if (i < n) store_partial(dx + i, load_partial(dy + i, n - i) * gelu_gradient(load_partial(x + i, n - i)), n - i);
}

}  // namespace instar::ops::cpu::simd::INSTAR_SIMD_NS
