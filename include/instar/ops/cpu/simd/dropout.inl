// Philox4x32-10 on 64-bit lanes, a block a lane. Included by simd/dropout.hpp once for each instruction set.
//
//     philox_range(bits, rng, block, n);           // n draws from element 4·block on
//     dropout_range<true, float>(y, residual, x, begin, end, constants);
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
/// The lower 32 bits of each lane of a, then of b. A shuffle, because clang turns a shift of a product into a slow product.
INSTAR_ALWAYS_INLINE u64 pair_low_halves(u64 a, u64 b) {
    const i32 x = (i32)a, y = (i32)b;
#if INSTAR_SIMD_BYTES == 64
    return (u64)__builtin_shufflevector(x, y, 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30);
#elif INSTAR_SIMD_BYTES == 32
    return (u64)__builtin_shufflevector(x, y, 0, 8, 2, 10, 4, 12, 6, 14);
#else
    return (u64)__builtin_shufflevector(x, y, 0, 4, 2, 6);
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

namespace detail {

/// 2·Groups vectors of draws. The rounds of one group wait for each other, so several groups go side by side: with one, the
/// schedulers fill up with waiting operations and half of the time is lost.
template <int Groups>
INSTAR_ALWAYS_INLINE void philox_groups(u32 (&draws)[2 * Groups], const philox& rng, std::uint64_t block) {
    const u64 m0 = broadcast_u64(0xD2511F53u), m1 = broadcast_u64(0xCD9E8D57u);
    u64 c0[Groups], c1[Groups], c2[Groups], c3[Groups];
#pragma GCC unroll 4
    for (int g = 0; g < Groups; ++g) {
        c0[g] = philox_lane_blocks() + (block + static_cast<std::uint64_t>(g * k_lanes_f64));
        c1[g] = c0[g] >> 32;
        c2[g] = broadcast_u64(rng.stream);
        c3[g] = broadcast_u64(rng.stream >> 32);
    }
    std::uint32_t k0 = static_cast<std::uint32_t>(rng.seed), k1 = static_cast<std::uint32_t>(rng.seed >> 32);
    // Unrolled, so that the keys of the rounds are computed once outside the caller's loop.
#pragma GCC unroll 10
    for (int round = 0; round < 10; ++round) {
        const u64 key0 = broadcast_u64(k0), key1 = broadcast_u64(k1);
#pragma GCC unroll 4
        for (int g = 0; g < Groups; ++g) {
            const u64 p0 = widening_product(m0, c0[g]);
            const u64 p1 = widening_product(m1, c2[g]);
            c0[g] = (p1 >> 32) ^ c1[g] ^ key0;
            c2[g] = (p0 >> 32) ^ c3[g] ^ key1;
            c1[g] = p1;
            c3[g] = p0;
        }
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
#pragma GCC unroll 4
    for (int g = 0; g < Groups; ++g) {
        const u64 low = pair_low_halves(c0[g], c1[g]), high = pair_low_halves(c2[g], c3[g]);
        draws[2 * g] = interleave_even(low, high);
        draws[2 * g + 1] = interleave_odd(low, high);
    }
}

/// As many as the registers hold.
inline constexpr int k_philox_groups = INSTAR_SIMD_LEVEL == 4 ? 4 : 2;

}  // namespace detail

/// rng.bits of elements 4·block … 4·block + 2·k_lanes − 1.
INSTAR_ALWAYS_INLINE void philox_bits(u32& first, u32& second, const philox& rng, std::uint64_t block) {
    u32 draws[2];
    detail::philox_groups<1>(draws, rng, block);
    first = draws[0];
    second = draws[1];
}

/// bits[i] = rng.bits(4·block + i), i < n.
inline void philox_range(std::uint32_t* bits, const philox& rng, std::uint64_t block, index_t n) {
    constexpr index_t k_step = 2 * detail::k_philox_groups * k_lanes;
    const philox copy = rng;
    index_t i = 0;
    for (; i + k_step <= n; i += k_step) {
        u32 draws[2 * detail::k_philox_groups];
        detail::philox_groups<detail::k_philox_groups>(draws, copy, block + static_cast<std::uint64_t>(i / 4));
        for (int v = 0; v < 2 * detail::k_philox_groups; ++v) store(bits + i + v * k_lanes, draws[v]);
    }
    for (; i < n; i += 2 * k_lanes) {
        u32 draws[2];
        detail::philox_groups<1>(draws, copy, block + static_cast<std::uint64_t>(i / 4));
        for (index_t j = 0; j < 2 * k_lanes && i + j < n; ++j) bits[i + j] = draws[j / k_lanes][j % k_lanes];
    }
}

namespace detail {

/// x · keep · scale, +0 where dropped.
INSTAR_ALWAYS_INLINE f32 dropped(f32 x, u32 bits, const dropout_constants& c) {
    return select((i32)(bits >= c.drop_below), x * c.scale, broadcast(0.0f));
}

}  // namespace detail

/// y = [residual +] x · keep · scale over elements [begin, end) of the whole tensor; begin is a multiple of 4. The pointers
/// are those of the whole tensor. y may alias either input. T: float or bf16.
template <bool WithResidual, class T>
inline void dropout_range(T* y, const T* residual, const T* x, index_t begin, index_t end,
                              const dropout_constants& constants) {
    constexpr int k_vectors = 2 * detail::k_philox_groups;
    // A copy, because the stores could otherwise change what the reference points at.
    const dropout_constants c = constants;
    index_t i = begin;
    for (; i + k_vectors * k_lanes <= end; i += k_vectors * k_lanes) {
        u32 draws[k_vectors];
        detail::philox_groups<detail::k_philox_groups>(draws, c.rng, static_cast<std::uint64_t>(i / 4));
#pragma GCC unroll 8
        for (int v = 0; v < k_vectors; ++v) {
            const index_t at = i + v * k_lanes;
            f32 kept = detail::dropped(load(x + at), draws[v], c);
            if constexpr (WithResidual) kept = load(residual + at) + kept;
            store(y + at, kept);
        }
    }
    for (; i < end; i += 2 * k_lanes) {
        u32 draws[2];
        detail::philox_groups<1>(draws, c.rng, static_cast<std::uint64_t>(i / 4));
        for (int v = 0; v < 2; ++v) {
            const index_t at = i + v * k_lanes, left = end - at, n = left < 0 ? 0 : left < k_lanes ? left : k_lanes;
            if (n == 0) break;
            f32 kept = detail::dropped(load_partial(x + at, n), draws[v], c);
            if constexpr (WithResidual) kept = load_partial(residual + at, n) + kept;
            store_partial(y + at, kept, n);
        }
    }
}

}  // namespace instar::ops::cpu::simd::INSTAR_SIMD_NS
