#ifndef INSTAR_OPS_CPU_SOFTMAX_HPP
#define INSTAR_OPS_CPU_SOFTMAX_HPP

// Softmax on the CPU, rows in parallel.
//
//     ops::softmax_forward(ctx, y, x);

#include <cmath>
#include <limits>

#include "instar/core/cpu_context.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/ops/cpu/grain.hpp"
#include "instar/ops/cpu/rows.hpp"
#include "instar/ops/cpu/simd/softmax.hpp"
#include "instar/ops/cpu/streaming.hpp"
#include "instar/ops/softmax.hpp"

namespace instar::ops {

namespace cpu {

template <class T>
void softmax_rows(tensor_view<T, 2> y, in_view<T, 2> x) {
    const index_t n_rows = y.extent(0), n = y.extent(1);
    if constexpr (std::same_as<T, float>) {
        INSTAR_SIMD_PICK(softmax_rows_f32)(y.data(), y.stride(0), x.data(), x.stride(0), n_rows, n);
    } else if constexpr (std::same_as<T, bf16>) {
        const index_t block = std::min(n_rows, row_grain(4 * n));
        float* const rows = row_scratch(block * n);
        for (index_t r0 = 0; r0 < n_rows; r0 += block) {
            const index_t m = std::min(block, n_rows - r0);
            for (index_t r = 0; r < m; ++r) widen(rows + r * n, x[r0 + r].data(), n);
            INSTAR_SIMD_PICK(softmax_rows_f32)(rows, n, rows, n, m, n);
            for (index_t r = 0; r < m; ++r) narrow(y[r0 + r].data(), rows + r * n, n);
        }
    } else {
        for (index_t r = 0; r < n_rows; ++r) {
            T* const to = y[r].data();
            const T* const from = x[r].data();
            T max = -std::numeric_limits<T>::infinity();
            for (index_t j = 0; j < n; ++j) max = from[j] > max ? from[j] : max;
            T sum = 0;
            for (index_t j = 0; j < n; ++j) {
                to[j] = std::exp(from[j] - max);
                sum += to[j];
            }
            for (index_t j = 0; j < n; ++j) to[j] /= sum;
        }
    }
}

}  // namespace cpu

template <class T>
void softmax_forward(cpu_context& ctx, tensor_view<T, 2> y, in_view<T, 2> x) {
    const index_t n_rows = y.extent(0), n_classes = y.extent(1);
    instar::detail::check_shape("softmax_forward", "x", x, {n_rows, n_classes});
    instar::detail::check_unit_stride("softmax_forward", "y", y);
    instar::detail::check_unit_stride("softmax_forward", "x", x);
    const bool stream = cpu::streams_rows(y, x.data());
    parallel_kernel(ctx, n_rows, cpu::row_grain(n_classes), [&](index_t begin, index_t end) {
        cpu::write_row_blocks(stream, y.rows(begin, end), [&](tensor_view<T, 2> to, index_t first) {
            cpu::softmax_rows<T>(to, x.rows(begin + first, begin + first + to.extent(0)));
        }, x.rows(begin, end));
    });
}

template <class T>
void softmax_backward(cpu_context& ctx, tensor_view<T, 2> dx, in_view<T, 2> dy, in_view<T, 2> y) {
    const index_t n_rows = dx.extent(0), n_classes = dx.extent(1);
    instar::detail::check_shape("softmax_backward", "dy", dy, {n_rows, n_classes});
    instar::detail::check_shape("softmax_backward", "y", y, {n_rows, n_classes});
    instar::detail::check_unit_stride("softmax_backward", "dx", dx);
    instar::detail::check_unit_stride("softmax_backward", "dy", dy);
    instar::detail::check_unit_stride("softmax_backward", "y", y);
    const bool stream = cpu::streams_rows(dx, dy.data(), y.data());
    parallel_kernel(ctx, n_rows, cpu::row_grain(n_classes), [&](index_t begin, index_t end) {
        cpu::write_row_blocks(stream, dx.rows(begin, end), [&](tensor_view<T, 2> to, index_t first) {
            for (index_t i = 0; i < to.extent(0); ++i) {
                const index_t r = begin + first + i;
                const auto dot = static_cast<accumulator_t<T>>(cpu::dot<T>(dy[r].data(), y[r].data(), n_classes));
                cpu::shifted_product<T>(to[i].data(), dy[r].data(), y[r].data(), dot, n_classes);
            }
        }, dy.rows(begin, end), y.rows(begin, end));
    });
}

}  // namespace instar::ops

#endif
