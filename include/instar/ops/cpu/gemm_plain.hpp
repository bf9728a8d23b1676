// The operator's own header first, ahead of the guard: it ends by including ops/cpu/gemm.hpp, which needs what this file
// defines, so this file must come up inside that include when it is the one a translation unit names first.
#include "instar/ops/gemm.hpp"

#ifndef INSTAR_OPS_CPU_GEMM_PLAIN_HPP
#define INSTAR_OPS_CPU_GEMM_PLAIN_HPP

// Matrix product of any element type in plain loops: the CPU's path for double, which gradient checks use. Blocked, so that
// checks of whole models stay quick; not tuned.
//
//     cpu::gemm_plain(ctx, c, a, b, options);

#include <algorithm>

#include "instar/core/cpu_context.hpp"
#include "instar/core/parallel_for.hpp"

namespace instar::ops::cpu {

/// c (+)= op(a) · op(b); shapes are the caller's to check. An element is summed over p in order, whatever the number of threads.
template <class T>
void gemm_plain(cpu_context& ctx, tensor_view<T, 2> c, in_view<T, 2> a, in_view<T, 2> b, gemm_options options) {
    constexpr index_t k_rows = 64, k_columns = 128, k_depth = 128;
    const index_t m = c.extent(0), n = c.extent(1), k = a.extent(options.transpose_a ? 0 : 1);
    const index_t across = (n + k_columns - 1) / k_columns, down = (m + k_rows - 1) / k_rows;
    parallel_kernel(ctx, across * down, 1, [&](index_t block, index_t) {
        const index_t i0 = block / across * k_rows, i1 = std::min(m, i0 + k_rows);
        const index_t j0 = block % across * k_columns, width = std::min(n, j0 + k_columns) - j0;
        T tile[k_depth * k_columns];
        if (!options.accumulate) {
            for (index_t i = i0; i < i1; ++i) std::fill(&c(i, j0), &c(i, j0) + width, T(0));
        }
        for (index_t p0 = 0; p0 < k; p0 += k_depth) {
            const index_t depth = std::min(k, p0 + k_depth) - p0;
            for (index_t p = 0; p < depth; ++p) {
                for (index_t j = 0; j < width; ++j) tile[p * width + j] = options.transpose_b ? b(j0 + j, p0 + p) : b(p0 + p, j0 + j);
            }
            for (index_t i = i0; i < i1; ++i) {
                T* const out = &c(i, j0);
                for (index_t p = 0; p < depth; ++p) {
                    const T x = options.transpose_a ? a(p0 + p, i) : a(i, p0 + p);
                    const T* const in = tile + p * width;
                    for (index_t j = 0; j < width; ++j) out[j] += x * in[j];
                }
            }
        }
    });
}

}  // namespace instar::ops::cpu

#endif
