// Vectors of one instruction set. Included by simd/vec.hpp once for each.
//
//     f32 sum = broadcast(0.0f);
//     index_t i = 0;
//     for (; i + k_lanes <= n; i += k_lanes) sum = fma(load(x + i), load(y + i), sum);
//     if (i < n) sum = fma(load_partial(x + i, n - i), load_partial(y + i, n - i), sum);   // lanes past n are 0
//     float dot = reduce_add(sum);
//
// f32, i32, u32 have k_lanes lanes; f64 has k_lanes_f64, half as many. Arithmetic and comparisons are the compiler's
// operators (a + b, a * b, a < b); a comparison gives an i32 of 0 and −1 (i64 for f64), to be used in select.
// fma(a, b, c) is one rounding at v3 and v4; at base it is whatever a * b + c becomes.

namespace instar::ops::cpu::simd::INSTAR_SIMD_NS {

typedef float f32 __attribute__((vector_size(INSTAR_SIMD_BYTES)));
typedef double f64 __attribute__((vector_size(INSTAR_SIMD_BYTES)));
typedef std::int32_t i32 __attribute__((vector_size(INSTAR_SIMD_BYTES)));
typedef std::uint32_t u32 __attribute__((vector_size(INSTAR_SIMD_BYTES)));
typedef std::int64_t i64 __attribute__((vector_size(INSTAR_SIMD_BYTES)));
typedef std::uint16_t u16_half __attribute__((vector_size(INSTAR_SIMD_BYTES / 2)));

inline constexpr index_t k_lanes = INSTAR_SIMD_BYTES / 4;
inline constexpr index_t k_lanes_f64 = INSTAR_SIMD_BYTES / 8;

namespace unaligned {
typedef float f32 __attribute__((vector_size(INSTAR_SIMD_BYTES), aligned(4), may_alias));
typedef double f64 __attribute__((vector_size(INSTAR_SIMD_BYTES), aligned(8), may_alias));
typedef std::int32_t i32 __attribute__((vector_size(INSTAR_SIMD_BYTES), aligned(4), may_alias));
typedef std::uint32_t u32 __attribute__((vector_size(INSTAR_SIMD_BYTES), aligned(4), may_alias));
typedef std::uint16_t u16_half __attribute__((vector_size(INSTAR_SIMD_BYTES / 2), aligned(2), may_alias));
}  // namespace unaligned

// --- constants ----------------------------------------------------------------------------------------------------------------

INSTAR_ALWAYS_INLINE f32 broadcast(float x) { return x - f32{}; }
INSTAR_ALWAYS_INLINE f64 broadcast(double x) { return x - f64{}; }
INSTAR_ALWAYS_INLINE i32 broadcast(std::int32_t x) { return x - i32{}; }
INSTAR_ALWAYS_INLINE u32 broadcast(std::uint32_t x) { return x - u32{}; }

/// 0, 1, 2, …
INSTAR_ALWAYS_INLINE i32 iota() {
#if INSTAR_SIMD_BYTES == 64
    return i32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
#elif INSTAR_SIMD_BYTES == 32
    return i32{0, 1, 2, 3, 4, 5, 6, 7};
#else
    return i32{0, 1, 2, 3};
#endif
}

/// −1 in lanes [0, n), 0 in the others.
INSTAR_ALWAYS_INLINE i32 first_lanes(index_t n) { return iota() < broadcast(static_cast<std::int32_t>(n)); }

// --- memory: no alignment is needed -------------------------------------------------------------------------------------------

INSTAR_ALWAYS_INLINE f32 load(const float* p) { return *reinterpret_cast<const unaligned::f32*>(p); }
INSTAR_ALWAYS_INLINE f64 load(const double* p) { return *reinterpret_cast<const unaligned::f64*>(p); }
INSTAR_ALWAYS_INLINE i32 load(const std::int32_t* p) { return *reinterpret_cast<const unaligned::i32*>(p); }
INSTAR_ALWAYS_INLINE u32 load(const std::uint32_t* p) { return *reinterpret_cast<const unaligned::u32*>(p); }
INSTAR_ALWAYS_INLINE void store(float* p, f32 x) { *reinterpret_cast<unaligned::f32*>(p) = x; }
INSTAR_ALWAYS_INLINE void store(double* p, f64 x) { *reinterpret_cast<unaligned::f64*>(p) = x; }
INSTAR_ALWAYS_INLINE void store(std::int32_t* p, i32 x) { *reinterpret_cast<unaligned::i32*>(p) = x; }
INSTAR_ALWAYS_INLINE void store(std::uint32_t* p, u32 x) { *reinterpret_cast<unaligned::u32*>(p) = x; }

/// Past the caches; p is aligned to the vector. An ordinary store where the target has no such instruction.
INSTAR_ALWAYS_INLINE void store_streaming(float* p, f32 x) {
#if defined(__clang__)
    __builtin_nontemporal_store(x, reinterpret_cast<f32*>(p));
#elif INSTAR_SIMD_X86 && INSTAR_SIMD_LEVEL == 4
    __builtin_ia32_movntps512(p, x);
#elif INSTAR_SIMD_X86 && INSTAR_SIMD_LEVEL == 3
    __builtin_ia32_movntps256(p, x);
#elif INSTAR_SIMD_X86
    __builtin_ia32_movntps(p, x);
#else
    store(p, x);
#endif
}

/// The first n lanes from memory, 0 in the others; 0 ≤ n ≤ k_lanes. Reads nothing past p + n.
INSTAR_ALWAYS_INLINE f32 load_partial(const float* p, index_t n) {
#if INSTAR_SIMD_LEVEL == 4
    return __builtin_ia32_loadups512_mask(p, f32{}, static_cast<unsigned short>((1u << n) - 1u));
#elif INSTAR_SIMD_LEVEL == 3
    return __builtin_ia32_maskloadps256(reinterpret_cast<const f32*>(p), first_lanes(n));
#else
    f32 x{};
    for (index_t i = 0; i < n; ++i) x[i] = p[i];
    return x;
#endif
}
/// Writes the first n lanes.
INSTAR_ALWAYS_INLINE void store_partial(float* p, f32 x, index_t n) {
#if INSTAR_SIMD_LEVEL == 4
    __builtin_ia32_storeups512_mask(p, x, static_cast<unsigned short>((1u << n) - 1u));
#elif INSTAR_SIMD_LEVEL == 3
    __builtin_ia32_maskstoreps256(reinterpret_cast<f32*>(p), first_lanes(n), x);
#else
    for (index_t i = 0; i < n; ++i) p[i] = x[i];
#endif
}
INSTAR_ALWAYS_INLINE f64 load_partial(const double* p, index_t n) {
    f64 x{};
    for (index_t i = 0; i < n; ++i) x[i] = p[i];
    return x;
}
INSTAR_ALWAYS_INLINE void store_partial(double* p, f64 x, index_t n) {
    for (index_t i = 0; i < n; ++i) p[i] = x[i];
}

// --- the same bits as another type; conversions ---------------------------------------------------------------------------------

INSTAR_ALWAYS_INLINE f32 as_f32(i32 x) { return (f32)x; }
INSTAR_ALWAYS_INLINE f32 as_f32(u32 x) { return (f32)x; }
INSTAR_ALWAYS_INLINE i32 as_i32(f32 x) { return (i32)x; }
INSTAR_ALWAYS_INLINE i32 as_i32(u32 x) { return (i32)x; }
INSTAR_ALWAYS_INLINE u32 as_u32(f32 x) { return (u32)x; }
INSTAR_ALWAYS_INLINE u32 as_u32(i32 x) { return (u32)x; }

/// Nearest float of an integer.
INSTAR_ALWAYS_INLINE f32 to_f32(i32 x) { return __builtin_convertvector(x, f32); }
/// Toward zero; undefined outside int32.
INSTAR_ALWAYS_INLINE i32 to_i32(f32 x) { return __builtin_convertvector(x, i32); }
/// Nearest integer, as a float; |x| < 2²².
INSTAR_ALWAYS_INLINE f32 round_small(f32 x) {
    const f32 magic = broadcast(12582912.0f);  // 1.5 · 2²³: adding it leaves no bits for a fraction
    return (x + magic) - magic;
}

/// bf16 is the upper half of a float.
INSTAR_ALWAYS_INLINE f32 load(const bf16* p) {
    const u16_half h = *reinterpret_cast<const unaligned::u16_half*>(p);
    return as_f32(__builtin_convertvector(h, u32) << 16);
}
INSTAR_ALWAYS_INLINE void store(bf16* p, f32 x) {
    const u32 u = as_u32(x);
    const u32 rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
    const u32 quiet = (u >> 16) | 0x0040u;
    const u32 is_nan = (u32)((u & 0x7fffffffu) > 0x7f800000u);
    *reinterpret_cast<unaligned::u16_half*>(p) = __builtin_convertvector((is_nan & quiet) | (~is_nan & rounded), u16_half);
}
/// By way of a copy: only the ends of rows come here.
INSTAR_ALWAYS_INLINE f32 load_partial(const bf16* p, index_t n) {
    bf16 copy[k_lanes] = {};
    for (index_t i = 0; i < n; ++i) copy[i] = p[i];
    return load(copy);
}
INSTAR_ALWAYS_INLINE void store_partial(bf16* p, f32 x, index_t n) {
    bf16 copy[k_lanes];
    store(copy, x);
    for (index_t i = 0; i < n; ++i) p[i] = copy[i];
}

// --- arithmetic ---------------------------------------------------------------------------------------------------------------

/// a · b + c, rounded once where the level has FMA. With clang a builtin says so: of `a * b + c` it may share a · b with an equal
/// product elsewhere, rounded, and code that counts on the exact product (math.inl) then loses its digits.
INSTAR_ALWAYS_INLINE f32 fma(f32 a, f32 b, f32 c) {
#if defined(__clang__) && INSTAR_SIMD_LEVEL >= 3 && __has_builtin(__builtin_elementwise_fma)
    return __builtin_elementwise_fma(a, b, c);
#elif defined(__clang__)
#pragma clang fp contract(fast)
    return a * b + c;
#elif INSTAR_SIMD_LEVEL == 4
    return __builtin_ia32_vfmaddps512_mask(a, b, c, -1, 4);
#elif INSTAR_SIMD_LEVEL == 3
    return __builtin_ia32_vfmaddps256(a, b, c);
#else
    return a * b + c;
#endif
}
INSTAR_ALWAYS_INLINE f64 fma(f64 a, f64 b, f64 c) {
#if defined(__clang__) && INSTAR_SIMD_LEVEL >= 3 && __has_builtin(__builtin_elementwise_fma)
    return __builtin_elementwise_fma(a, b, c);
#elif defined(__clang__)
#pragma clang fp contract(fast)
    return a * b + c;
#elif INSTAR_SIMD_LEVEL == 4
    return __builtin_ia32_vfmaddpd512_mask(a, b, c, 0xff, 4);
#elif INSTAR_SIMD_LEVEL == 3
    return __builtin_ia32_vfmaddpd256(a, b, c);
#else
    return a * b + c;
#endif
}

/// mask ? a : b, lane by lane; mask from a comparison.
INSTAR_ALWAYS_INLINE f32 select(i32 mask, f32 a, f32 b) { return mask ? a : b; }
INSTAR_ALWAYS_INLINE f64 select(i64 mask, f64 a, f64 b) { return mask ? a : b; }
INSTAR_ALWAYS_INLINE i32 select(i32 mask, i32 a, i32 b) { return mask ? a : b; }

/// The second operand when a lane of either is NaN.
INSTAR_ALWAYS_INLINE f32 min(f32 a, f32 b) { return a < b ? a : b; }
INSTAR_ALWAYS_INLINE f32 max(f32 a, f32 b) { return a > b ? a : b; }
INSTAR_ALWAYS_INLINE f64 min(f64 a, f64 b) { return a < b ? a : b; }
INSTAR_ALWAYS_INLINE f64 max(f64 a, f64 b) { return a > b ? a : b; }
INSTAR_ALWAYS_INLINE f32 abs(f32 x) { return as_f32(as_u32(x) & 0x7fffffffu); }
/// |x| with the sign of s.
INSTAR_ALWAYS_INLINE f32 copysign(f32 x, f32 s) { return as_f32((as_u32(x) & 0x7fffffffu) | (as_u32(s) & 0x80000000u)); }

INSTAR_ALWAYS_INLINE f32 sqrt(f32 x) {
#if INSTAR_SIMD_LEVEL == 4 && defined(__clang__)
    return __builtin_ia32_sqrtps512(x, 4);
#elif INSTAR_SIMD_LEVEL == 4
    return __builtin_ia32_sqrtps512_mask(x, f32{}, -1, 4);
#elif INSTAR_SIMD_LEVEL == 3
    return __builtin_ia32_sqrtps256(x);
#elif INSTAR_SIMD_X86 && defined(__SSE__)
    return __builtin_ia32_sqrtps(x);
#else
    for (index_t i = 0; i < k_lanes; ++i) x[i] = __builtin_sqrtf(x[i]);
    return x;
#endif
}

// --- across lanes, always in the same order: halves first -----------------------------------------------------------------------

namespace detail {
typedef float f32x4 __attribute__((vector_size(16)));
typedef float f32x8 __attribute__((vector_size(32)));
typedef double f64x2 __attribute__((vector_size(16)));
typedef double f64x4 __attribute__((vector_size(32)));

struct add_op {
    template <class V>
    static INSTAR_ALWAYS_INLINE void apply(V& a, const V& b) { a = a + b; }
};
struct max_op {
    template <class V>
    static INSTAR_ALWAYS_INLINE void apply(V& a, const V& b) { a = a > b ? a : b; }
};
struct min_op {
    template <class V>
    static INSTAR_ALWAYS_INLINE void apply(V& a, const V& b) { a = a < b ? a : b; }
};

template <class Op>
INSTAR_ALWAYS_INLINE float reduce(f32 x) {
#if INSTAR_SIMD_BYTES == 64
    f32x8 h = __builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7);
    Op::apply(h, f32x8(__builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15)));
#elif INSTAR_SIMD_BYTES == 32
    const f32x8 h = x;
#endif
#if INSTAR_SIMD_BYTES >= 32
    f32x4 q = __builtin_shufflevector(h, h, 0, 1, 2, 3);
    Op::apply(q, f32x4(__builtin_shufflevector(h, h, 4, 5, 6, 7)));
#else
    f32x4 q = x;
#endif
    Op::apply(q, f32x4(__builtin_shufflevector(q, q, 2, 3, 2, 3)));
    Op::apply(q, f32x4(__builtin_shufflevector(q, q, 1, 1, 1, 1)));
    return q[0];
}
template <class Op>
INSTAR_ALWAYS_INLINE double reduce(f64 x) {
#if INSTAR_SIMD_BYTES == 64
    f64x4 h = __builtin_shufflevector(x, x, 0, 1, 2, 3);
    Op::apply(h, f64x4(__builtin_shufflevector(x, x, 4, 5, 6, 7)));
#elif INSTAR_SIMD_BYTES == 32
    const f64x4 h = x;
#endif
#if INSTAR_SIMD_BYTES >= 32
    f64x2 q = __builtin_shufflevector(h, h, 0, 1);
    Op::apply(q, f64x2(__builtin_shufflevector(h, h, 2, 3)));
#else
    f64x2 q = x;
#endif
    Op::apply(q, f64x2(__builtin_shufflevector(q, q, 1, 1)));
    return q[0];
}
}  // namespace detail

INSTAR_ALWAYS_INLINE float reduce_add(f32 x) { return detail::reduce<detail::add_op>(x); }
INSTAR_ALWAYS_INLINE float reduce_max(f32 x) { return detail::reduce<detail::max_op>(x); }
INSTAR_ALWAYS_INLINE float reduce_min(f32 x) { return detail::reduce<detail::min_op>(x); }
INSTAR_ALWAYS_INLINE double reduce_add(f64 x) { return detail::reduce<detail::add_op>(x); }
INSTAR_ALWAYS_INLINE double reduce_max(f64 x) { return detail::reduce<detail::max_op>(x); }

/// The lower and the upper half of the lanes, as double.
INSTAR_ALWAYS_INLINE f64 lower_f64(f32 x) {
#if INSTAR_SIMD_BYTES == 64
    return __builtin_convertvector(__builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7), f64);
#elif INSTAR_SIMD_BYTES == 32
    return __builtin_convertvector(__builtin_shufflevector(x, x, 0, 1, 2, 3), f64);
#else
    return f64{static_cast<double>(x[0]), static_cast<double>(x[1])};
#endif
}
INSTAR_ALWAYS_INLINE f64 upper_f64(f32 x) {
#if INSTAR_SIMD_BYTES == 64
    return __builtin_convertvector(__builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15), f64);
#elif INSTAR_SIMD_BYTES == 32
    return __builtin_convertvector(__builtin_shufflevector(x, x, 4, 5, 6, 7), f64);
#else
    return f64{static_cast<double>(x[2]), static_cast<double>(x[3])};
#endif
}

}  // namespace instar::ops::cpu::simd::INSTAR_SIMD_NS
