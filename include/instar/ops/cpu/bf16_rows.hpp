#ifndef INSTAR_OPS_CPU_BF16_ROWS_HPP
#define INSTAR_OPS_CPU_BF16_ROWS_HPP

// Rows and ranges of bf16 on one thread: widened to floats in a scratch that stays in cache, given to the kernels of floats, and rounded
// once on the way out. What operators do with tensors of bf16.
//
//     cpu::in_float(y, n, [](auto& x, index_t m) { INSTAR_SIMD_PICK(add_range)(x[0], x[0], x[1], m); }, a, b);     // y = a + b
//     float* const row = cpu::row_scratch(d);
//     cpu::widen(row, x, d);
//     cpu::narrow(y, row, d);

#include <algorithm>

#include "instar/core/memory.hpp"
#include "instar/ops/cpu/simd/rows.hpp"

namespace instar::ops::cpu {

/// y = x, exactly.
inline void widen(float* y, const bf16* x, index_t n) { INSTAR_SIMD_PICK(widen_range)(y, x, n); }
/// y = x to nearest, ties to even; a NaN stays one.
inline void narrow(bf16* y, const float* x, index_t n) { INSTAR_SIMD_PICK(narrow_range)(y, x, n); }

/// This thread's floats: they grow, never shrink, and go with the thread. A task that holds them must neither start parallel work nor call
/// what takes them too.
inline float* row_scratch(index_t n) {
    thread_local memory_block<host_memory> block;
    const auto bytes = static_cast<std::size_t>(n) * sizeof(float);
    if (block.bytes() < bytes) {
        block = memory_block<host_memory>{};
        block = memory_block<host_memory>(bytes + bytes / 4);
    }
    return static_cast<float*>(block.data());
}

/// Blocks of each of x, as floats in x[0], x[1], …, go to f(x, how many); what f leaves in x[0] is y's, rounded. y may be any of x.
template <class F, class... X>
void in_float(bf16* y, index_t n, F f, const X*... x) {
    constexpr index_t k_block = 1024;
    float blocks[sizeof...(X)][k_block];
    for (index_t i = 0; i < n; i += k_block) {
        const index_t m = std::min(k_block, n - i);
        index_t b = 0;
        (widen(blocks[b++], x + i, m), ...);
        f(blocks, m);
        narrow(y + i, blocks[0], m);
    }
}

}  // namespace instar::ops::cpu

#endif
