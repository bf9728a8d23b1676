#ifndef INSTAR_OPS_CPU_SIMD_SOFTMAX_HPP
#define INSTAR_OPS_CPU_SIMD_SOFTMAX_HPP

// Softmax rows of float: exponentials and their sum in one sweep of memory, for softmax and cross-entropy.
//
//     const auto sums = INSTAR_SIMD_PICK(exp_row<true>)(y, x, n);      // y holds exp(x − the maximum up to its block)
//     INSTAR_SIMD_PICK(scale_exp_row)(y, n, sums, 1.0, 0.0f);          // y = softmax(x)
//     double lse = sums.max + std::log(sums.sum);
//
// A row is cut in blocks small enough for the first-level cache. Each block is read twice, for its maximum and for its
// exponentials, but comes from memory once; when a later block raises the maximum, the sum is rescaled.

#include <cmath>

#include "instar/ops/cpu/simd/math.hpp"

namespace instar::ops::cpu::simd {

inline constexpr index_t k_softmax_blocks = 64;

/// What exp_row found.
struct exp_row_sums {
    double sum = 0.0;                     ///< Σ exp(x − max)
    float max = -HUGE_VALF;               ///< of the row, NaN apart
    index_t block = 0;                    ///< elements of a block
    float block_max[k_softmax_blocks];    ///< what was subtracted in each block: the maximum so far
};

/// Blocks of 4 KiB, or larger ones in rows so long that there would be more than k_softmax_blocks.
constexpr index_t softmax_block(index_t n) {
    const index_t even = (n + k_softmax_blocks - 1) / k_softmax_blocks;
    return even <= 1024 ? 1024 : (even + 63) / 64 * 64;
}

}  // namespace instar::ops::cpu::simd

#define INSTAR_SIMD_INNER "instar/ops/cpu/simd/softmax.inl"
#include "instar/ops/cpu/simd/foreach_isa.inl"

#endif
