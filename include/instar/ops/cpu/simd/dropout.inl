// Philox4x32-10 on 64-bit lanes, a block a lane. Included by simd/dropout.hpp once for each instruction set.
//
//     u32 first, second;
//     philox_bits(first, second, rng, block);     // 2·k_lanes draws from element 4·block on, in order
//
// The 32×32→64-bit multiplications use the lower halves of the lanes and ignore what the upper halves hold, so nothing is
// masked between the rounds.

namespace instar::ops::cpu::simd::INSTAR_SIMD_NS {

namespace detail {

typedef std::uint64_t u64 __attribute__((vector_size(INSTAR_SIMD_BYTES)));

INSTAR_ALWAYS_INLINE u64 broadcast_u64(std::uint64_t x) { return x - u64{}; }

/// Product of the lower 32 bits of each lane.
INSTAR_ALWAYS_INLINE u64 widening_product(u64 a, u64 b) {
#if defined(__clang__) || !INSTAR_SIMD_X86
    return (a & 0xffffffffu) * (b & 0xffffffffu);
#elif INSTAR_SIMD_LEVEL == 4
    typedef long long i64x8 __attribute__((vector_size(64)));
    return (u64)__builtin_ia32_pmuludq512_mask((i32)a, (i32)b, i64x8{}, static_cast<unsigned char>(0xff));
#elif INSTAR_SIMD_LEVEL == 3
    return (u64)__builtin_ia32_pmuludq256((i32)a, (i32)b);
#elif defined(__SSE2__)
    return (u64)__builtin_ia32_pmuludq128((i32)a, (i32)b);
#else
    return (a & 0xffffffffu) * (b & 0xffffffffu);
#endif
}

/// Offsets of the blocks in the lanes, so that interleaving pairs of lanes puts the draws in order.
INSTAR_ALWAYS_INLINE u64 philox_lane_blocks() {
#if INSTAR_SIMD_BYTES == 64
    return u64{0, 4, 1, 5, 2, 6, 3, 7};
#elif INSTAR_SIMD_BYTES == 32
    return u64{0, 2, 1, 3};
#else
    return u64{0, 1};
#endif
}
INSTAR_ALWAYS_INLINE u32 interleave_even(u64 a, u64 b) {
#if INSTAR_SIMD_BYTES == 64
    return (u32)__builtin_shufflevector(a, b, 0, 8, 2, 10, 4, 12, 6, 14);
#elif INSTAR_SIMD_BYTES == 32
    return (u32)__builtin_shufflevector(a, b, 0, 4, 2, 6);
#else
    return (u32)__builtin_shufflevector(a, b, 0, 2);
#endif
}
INSTAR_ALWAYS_INLINE u32 interleave_odd(u64 a, u64 b) {
#if INSTAR_SIMD_BYTES == 64
    return (u32)__builtin_shufflevector(a, b, 1, 9, 3, 11, 5, 13, 7, 15);
#elif INSTAR_SIMD_BYTES == 32
    return (u32)__builtin_shufflevector(a, b, 1, 5, 3, 7);
#else
    return (u32)__builtin_shufflevector(a, b, 1, 3);
#endif
}

}  // namespace detail

/// rng.bits of elements 4·block … 4·block + 2·k_lanes − 1.
INSTAR_ALWAYS_INLINE void philox_bits(u32& first, u32& second, const philox& rng, std::uint64_t block) {
    using detail::broadcast_u64;
    using detail::u64;
    const u64 m0 = broadcast_u64(0xD2511F53u), m1 = broadcast_u64(0xCD9E8D57u);
    const u64 counter = detail::philox_lane_blocks() + block;
    u64 c0 = counter, c1 = counter >> 32;
    u64 c2 = broadcast_u64(rng.stream), c3 = broadcast_u64(rng.stream >> 32);
    std::uint32_t k0 = static_cast<std::uint32_t>(rng.seed), k1 = static_cast<std::uint32_t>(rng.seed >> 32);
    for (int round = 0; round < 10; ++round) {
        const u64 p0 = detail::widening_product(m0, c0);
        const u64 p1 = detail::widening_product(m1, c2);
        c0 = (p1 >> 32) ^ c1 ^ broadcast_u64(k0);
        c2 = (p0 >> 32) ^ c3 ^ broadcast_u64(k1);
        c1 = p1;
        c3 = p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    const u64 low = (c0 & 0xffffffffu) | (c1 << 32), high = (c2 & 0xffffffffu) | (c3 << 32);
    first = detail::interleave_even(low, high);
    second = detail::interleave_odd(low, high);
}

namespace detail {

/// x · keep · scale, +0 where dropped.
INSTAR_ALWAYS_INLINE f32 dropped(f32 x, u32 bits, const dropout_constants& c) {
    return select((i32)(bits >= c.drop_below), x * c.scale, broadcast(0.0f));
}

}  // namespace detail

/// y = [residual +] x · keep · scale over elements [begin, end) of the whole tensor; begin is a multiple of 4. The pointers
/// are those of the whole tensor. y may alias either input.
template <bool WithResidual>
inline void dropout_range_f32(float* y, const float* residual, const float* x, index_t begin, index_t end, const dropout_constants& c) {
    u32 bits0, bits1;
    index_t i = begin;
    for (; i + 2 * k_lanes <= end; i += 2 * k_lanes) {
        philox_bits(bits0, bits1, c.rng, static_cast<std::uint64_t>(i / 4));
        f32 y0 = detail::dropped(load(x + i), bits0, c);
        f32 y1 = detail::dropped(load(x + i + k_lanes), bits1, c);
        if constexpr (WithResidual) {
            y0 = load(residual + i) + y0;
            y1 = load(residual + i + k_lanes) + y1;
        }
        store(y + i, y0);
        store(y + i + k_lanes, y1);
    }
    if (i >= end) return;
    philox_bits(bits0, bits1, c.rng, static_cast<std::uint64_t>(i / 4));
    const index_t n = end - i, n0 = n < k_lanes ? n : k_lanes, n1 = n - n0;
    f32 y0 = detail::dropped(load_partial(x + i, n0), bits0, c);
    f32 y1 = detail::dropped(load_partial(x + i + n0, n1), bits1, c);
    if constexpr (WithResidual) {
        y0 = load_partial(residual + i, n0) + y0;
        y1 = load_partial(residual + i + n0, n1) + y1;
    }
    store_partial(y + i, y0, n0);
    store_partial(y + i + n0, y1, n1);
}

}  // namespace instar::ops::cpu::simd::INSTAR_SIMD_NS
