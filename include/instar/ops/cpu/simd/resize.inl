// Fixed-point resampling of bytes. Included by simd/resize.hpp once for each instruction set.
//
//     resize_row_rgb(y, x, plan, n_out);                           // one row of RGB pixels along itself
//     resize_column_bytes(y, rows, weights, n_taps, n_bytes);      // one row out of several, byte by byte
//
// Sums are exact in 32 bits, so every instruction set gives the same bytes.

namespace instar::ops::cpu::simd::INSTAR_SIMD_NS {

namespace detail {

typedef std::uint8_t u8_lanes __attribute__((vector_size(INSTAR_SIMD_BYTES / 4)));
typedef std::uint8_t u8x4 __attribute__((vector_size(4)));
typedef std::int32_t i32x4 __attribute__((vector_size(16)));

INSTAR_ALWAYS_INLINE u8_lanes load_bytes(const std::uint8_t* p) {
    u8_lanes v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

/// k_lanes bytes, widened. By name on x86: GCC 12 makes one move a byte of __builtin_convertvector.
INSTAR_ALWAYS_INLINE i32 load_widened(const std::uint8_t* p) {
#if defined(__clang__) || !INSTAR_SIMD_X86
    return __builtin_convertvector(load_bytes(p), i32);
#elif INSTAR_SIMD_LEVEL == 4
    typedef char i8x16 __attribute__((vector_size(16)));
    return __builtin_ia32_pmovzxbd512_mask((i8x16)load_bytes(p), i32{}, static_cast<unsigned short>(0xffff));
#elif INSTAR_SIMD_LEVEL == 3
    typedef char i8x16 __attribute__((vector_size(16)));
    typedef long long i64x2 __attribute__((vector_size(16)));
    long long eight;
    std::memcpy(&eight, p, 8);
    return __builtin_ia32_pmovzxbd256((i8x16)i64x2{eight, 0});
#elif defined(__SSE2__)
    typedef char i8x16 __attribute__((vector_size(16)));
    std::int32_t four;
    std::memcpy(&four, p, 4);
    const i8x16 v = (i8x16)i32{four, 0, 0, 0}, zero{};
    const i8x16 wide = __builtin_shufflevector(v, zero, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    return (i32)__builtin_shufflevector(wide, zero, 0, 1, 16, 17, 2, 3, 18, 19, 4, 5, 20, 21, 6, 7, 22, 23);
#else
    return __builtin_convertvector(load_bytes(p), i32);
#endif
}

/// (sum >> 22) between 0 and 255, as bytes at p: 4 of them …
INSTAR_ALWAYS_INLINE void store_pixel(std::uint8_t* p, i32x4 sum) {
    const i32x4 v = sum >> 22;
#if !defined(__clang__) && INSTAR_SIMD_X86 && defined(__SSE2__)
    // Both packings saturate.
    typedef short i16x8 __attribute__((vector_size(16)));
    const i16x8 words = __builtin_ia32_packssdw128(v, v);
    const i32x4 bytes = (i32x4)__builtin_ia32_packuswb128(words, words);
    const std::int32_t four = bytes[0];
    std::memcpy(p, &four, 4);
#else
    const i32x4 low = v < 0 ? i32x4{} : v;
    const u8x4 bytes = __builtin_convertvector(low > 255 ? i32x4{} + 255 : low, u8x4);
    std::memcpy(p, &bytes, 4);
#endif
}
/// … or k_lanes of them.
INSTAR_ALWAYS_INLINE void store_lanes(std::uint8_t* p, i32 sum) {
#if INSTAR_SIMD_BYTES == 16
    store_pixel(p, sum);
#elif INSTAR_SIMD_BYTES == 32
    store_pixel(p, __builtin_shufflevector(sum, sum, 0, 1, 2, 3));
    store_pixel(p + 4, __builtin_shufflevector(sum, sum, 4, 5, 6, 7));
#else
    i32 v = sum >> 22;
    v = v < 0 ? i32{} : v;
    const u8_lanes bytes = __builtin_convertvector(v > 255 ? i32{} + 255 : v, u8_lanes);
    std::memcpy(p, &bytes, sizeof bytes);
#endif
}

/// Pixels r g b r g b … of a load, widened to lanes r g b · r g b ·, one of four unused.
INSTAR_ALWAYS_INLINE i32 spread_pixels(const std::uint8_t* p) {
    const i32 v = load_widened(p);
#if INSTAR_SIMD_BYTES == 64
    return __builtin_shufflevector(v, v, 0, 1, 2, 2, 3, 4, 5, 5, 6, 7, 8, 8, 9, 10, 11, 11);
#elif INSTAR_SIMD_BYTES == 32
    return __builtin_shufflevector(v, v, 0, 1, 2, 2, 3, 4, 5, 5);
#else
    return v;
#endif
}

/// Sum of the pixels' lanes: r g b ·.
INSTAR_ALWAYS_INLINE i32x4 fold_pixels(i32 v) {
#if INSTAR_SIMD_BYTES == 64
    typedef std::int32_t i32x8 __attribute__((vector_size(32)));
    const i32x8 half = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) + __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
    return __builtin_shufflevector(half, half, 0, 1, 2, 3) + __builtin_shufflevector(half, half, 4, 5, 6, 7);
#elif INSTAR_SIMD_BYTES == 32
    return __builtin_shufflevector(v, v, 0, 1, 2, 3) + __builtin_shufflevector(v, v, 4, 5, 6, 7);
#else
    return v;
#endif
}

}  // namespace detail

/// y: n_out pixels, and one byte after them that is overwritten; x: pixels, readable to 16 bytes past the last tap's pixel.
inline void resize_row_rgb(std::uint8_t* y, const std::uint8_t* x, resize_plan plan, index_t n_out) {
    constexpr index_t k_pixels = k_lanes / 4;
    for (index_t j = 0; j < n_out; ++j) {
        const std::uint8_t* p = x + 3 * static_cast<index_t>(plan.first[j]);
        const std::int32_t* const w = plan.weight + 4 * j * plan.n_taps;
        i32 sum{};
        for (index_t t = 0; t < plan.n_taps; t += k_pixels) sum += detail::spread_pixels(p + 3 * t) * load(w + 4 * t);
        detail::store_pixel(y + 3 * j, detail::fold_pixels(sum) + (1 << 21));
    }
}

/// y[i] = Σ_t weights[t] · rows[t][i], rounded.
inline void resize_column_bytes(std::uint8_t* y, const std::uint8_t* const* rows, const std::int32_t* weights, index_t n_taps, index_t n_bytes) {
    index_t i = 0;
    for (; i + 2 * k_lanes <= n_bytes; i += 2 * k_lanes) {
        i32 a = broadcast(std::int32_t{1 << 21}), b = a;
        for (index_t t = 0; t < n_taps; ++t) {
            const i32 w = broadcast(weights[t]);
            a += w * detail::load_widened(rows[t] + i);
            b += w * detail::load_widened(rows[t] + i + k_lanes);
        }
        detail::store_lanes(y + i, a);
        detail::store_lanes(y + i + k_lanes, b);
    }
    for (; i < n_bytes; ++i) {
        std::int32_t sum = 1 << 21;
        for (index_t t = 0; t < n_taps; ++t) sum += weights[t] * rows[t][i];
        sum >>= 22;
        y[i] = static_cast<std::uint8_t>(sum < 0 ? 0 : sum > 255 ? 255 : sum);
    }
}

}  // namespace instar::ops::cpu::simd::INSTAR_SIMD_NS
