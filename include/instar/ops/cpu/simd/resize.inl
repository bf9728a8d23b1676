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

/// (sum >> 22) between 0 and 255.
template <class V>
INSTAR_ALWAYS_INLINE V to_byte_range(V sum) {
    V v = sum >> 22;
    v = v < 0 ? V{} : v;
    return v > 255 ? V{} + 255 : v;
}

/// Pixels r g b r g b … of a load, widened to lanes r g b · r g b ·, one of four unused.
INSTAR_ALWAYS_INLINE i32 spread_pixels(const std::uint8_t* p) {
    const u8_lanes b = load_bytes(p);
#if INSTAR_SIMD_BYTES == 64
    return __builtin_convertvector(__builtin_shufflevector(b, b, 0, 1, 2, 2, 3, 4, 5, 5, 6, 7, 8, 8, 9, 10, 11, 11), i32);
#elif INSTAR_SIMD_BYTES == 32
    return __builtin_convertvector(__builtin_shufflevector(b, b, 0, 1, 2, 2, 3, 4, 5, 5), i32);
#else
    return __builtin_convertvector(b, i32);
#endif
}

/// One weight a pixel, in that pixel's four lanes.
INSTAR_ALWAYS_INLINE i32 spread_weights(const std::int32_t* w) {
#if INSTAR_SIMD_BYTES == 64
    i32x4 k;
    std::memcpy(&k, w, sizeof k);
    return __builtin_shufflevector(k, k, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
#elif INSTAR_SIMD_BYTES == 32
    typedef std::int32_t i32x2 __attribute__((vector_size(8)));
    i32x2 k;
    std::memcpy(&k, w, sizeof k);
    return __builtin_shufflevector(k, k, 0, 0, 0, 0, 1, 1, 1, 1);
#else
    return broadcast(w[0]);
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
        const std::int32_t* const w = plan.weight + j * plan.n_taps;
        i32 sum{};
        for (index_t t = 0; t < plan.n_taps; t += k_pixels) sum += detail::spread_pixels(p + 3 * t) * detail::spread_weights(w + t);
        const detail::i32x4 v = detail::to_byte_range<detail::i32x4>(detail::fold_pixels(sum) + (1 << 21));
        const detail::u8x4 bytes = __builtin_convertvector(v, detail::u8x4);
        std::memcpy(y + 3 * j, &bytes, 4);
    }
}

/// y[i] = Σ_t weights[t] · rows[t][i], rounded.
inline void resize_column_bytes(std::uint8_t* y, const std::uint8_t* const* rows, const std::int32_t* weights, index_t n_taps, index_t n_bytes) {
    index_t i = 0;
    for (; i + 2 * k_lanes <= n_bytes; i += 2 * k_lanes) {
        i32 a = broadcast(std::int32_t{1 << 21}), b = a;
        for (index_t t = 0; t < n_taps; ++t) {
            const i32 w = broadcast(weights[t]);
            a += w * __builtin_convertvector(detail::load_bytes(rows[t] + i), i32);
            b += w * __builtin_convertvector(detail::load_bytes(rows[t] + i + k_lanes), i32);
        }
        const detail::u8_lanes first = __builtin_convertvector(detail::to_byte_range<i32>(a), detail::u8_lanes), second = __builtin_convertvector(detail::to_byte_range<i32>(b), detail::u8_lanes);
        std::memcpy(y + i, &first, sizeof first);
        std::memcpy(y + i + k_lanes, &second, sizeof second);
    }
    for (; i < n_bytes; ++i) {
        std::int32_t sum = 1 << 21;
        for (index_t t = 0; t < n_taps; ++t) sum += weights[t] * rows[t][i];
        sum >>= 22;
        y[i] = static_cast<std::uint8_t>(sum < 0 ? 0 : sum > 255 ? 255 : sum);
    }
}

}  // namespace instar::ops::cpu::simd::INSTAR_SIMD_NS
