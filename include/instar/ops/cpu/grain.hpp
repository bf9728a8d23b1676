#ifndef INSTAR_OPS_CPU_GRAIN_HPP
#define INSTAR_OPS_CPU_GRAIN_HPP

// How the element-wise and row-wise CPU operators cut their work. The cuts depend on the shape alone, never on the
// number of threads, so every sum is added in one order.
//
//     parallel_kernel(ctx, n, cpu::k_flat_grain, …);              // flat ranges
//     parallel_kernel(ctx, n_rows, cpu::row_grain(d), …);         // rows of d elements

#include <algorithm>

#include "instar/core/element.hpp"

namespace instar::ops::cpu {

/// Elements of a flat range: 64 KiB of float, enough to hide a task's cost, few enough to balance two threads.
/// A multiple of 64, so that ranges start on vector boundaries and on whole Philox blocks.
inline constexpr index_t k_flat_grain = 16384;

/// Rows whose elements add up to about one flat range.
constexpr index_t row_grain(index_t row_length) {
    return std::max<index_t>(1, k_flat_grain / std::max<index_t>(1, row_length));
}

}  // namespace instar::ops::cpu

#endif
