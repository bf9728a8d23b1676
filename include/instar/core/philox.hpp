#ifndef INSTAR_CORE_PHILOX_HPP
#define INSTAR_CORE_PHILOX_HPP

// Counter-based random numbers: the value depends on (seed, stream, index) alone, never on a thread or on an order.
//
//     instar::philox rng{.seed = 7, .stream = step};
//     float u = rng.uniform(i);                     // [0, 1), the same on every device and for any thread count
//
// Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

#include <array>
#include <cmath>
#include <cstdint>

#include "instar/core/element.hpp"

namespace instar {

namespace detail {

struct philox_block {
    std::uint32_t v[4];
};

INSTAR_HOST_DEVICE inline philox_block philox4x32(std::uint64_t key, std::uint64_t counter_hi, std::uint64_t counter_lo) {
    std::uint32_t c0 = static_cast<std::uint32_t>(counter_lo), c1 = static_cast<std::uint32_t>(counter_lo >> 32);
    std::uint32_t c2 = static_cast<std::uint32_t>(counter_hi), c3 = static_cast<std::uint32_t>(counter_hi >> 32);
    std::uint32_t k0 = static_cast<std::uint32_t>(key), k1 = static_cast<std::uint32_t>(key >> 32);
    for (int round = 0; round < 10; ++round) {
        const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * c0;
        const std::uint64_t p1 = std::uint64_t{0xCD9E8D57u} * c2;
        const std::uint32_t n0 = static_cast<std::uint32_t>(p1 >> 32) ^ c1 ^ k0;
        const std::uint32_t n2 = static_cast<std::uint32_t>(p0 >> 32) ^ c3 ^ k1;
        c1 = static_cast<std::uint32_t>(p1);
        c3 = static_cast<std::uint32_t>(p0);
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return {{c0, c1, c2, c3}};
}

}  // namespace detail

/// A stream of random numbers addressed by index. Trivially copyable; costs nothing to make.
struct philox {
    std::uint64_t seed = 0;
    std::uint64_t stream = 0;

    /// 32 random bits for `index`. Four consecutive indices share one Philox block.
    INSTAR_HOST_DEVICE std::uint32_t bits(std::uint64_t index) const {
        return detail::philox4x32(seed, stream, index / 4).v[index % 4];
    }
    /// The four values of indices 4·block … 4·block+3.
    INSTAR_HOST_DEVICE detail::philox_block block(std::uint64_t block_index) const {
        return detail::philox4x32(seed, stream, block_index);
    }
    /// Uniform in [0, 1) with 24 bits.
    INSTAR_HOST_DEVICE float uniform(std::uint64_t index) const {
        return static_cast<float>(bits(index) >> 8) * 0x1.0p-24f;
    }
    /// Uniform integer in [0, n), n ≥ 1. Bias below n·2⁻³².
    INSTAR_HOST_DEVICE std::uint32_t below(std::uint64_t index, std::uint32_t n) const {
        return static_cast<std::uint32_t>((std::uint64_t{bits(index)} * n) >> 32);
    }
    /// Standard normal (Box–Muller; host and device agree to rounding of log and cos).
    float normal(std::uint64_t index) const {
        const auto b = detail::philox4x32(seed, stream ^ 0x6e6f726d616c0000ull, index);
        const double u1 = (static_cast<double>(b.v[0]) + 1.0) * 0x1.0p-32;
        const double u2 = static_cast<double>(b.v[1]) * 0x1.0p-32;
        return static_cast<float>(std::sqrt(-2.0 * std::log(u1)) * std::cos(6.283185307179586 * u2));
    }
    /// A stream derived from this one; distinct tags give independent streams.
    INSTAR_HOST_DEVICE philox fork(std::uint64_t tag) const {
        const auto b = detail::philox4x32(seed, stream, tag ^ 0x9e3779b97f4a7c15ull);
        return {seed, (std::uint64_t{b.v[1]} << 32) | b.v[0]};
    }
};

}  // namespace instar

#endif
