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
#include "instar/ops/softmax.hpp"

namespace instar::ops {

namespace cpu {

template <class T>
void softmax_row(T* y, const T* x, index_t n) {
    if constexpr (std::same_as<T, float>) {
        const simd::exp_row_sums sums = INSTAR_SIMD_PICK(exp_row<true>)(y, x, n);
        INSTAR_SIMD_PICK(scale_exp_row)(y, n, sums, 1.0, 0.0f);
    } else {
        T max = -std::numeric_limits<T>::infinity();
        for (index_t j = 0; j < n; ++j) max = x[j] > max ? x[j] : max;
        T sum = 0;
        for (index_t j = 0; j < n; ++j) {
            y[j] = std::exp(x[j] - max);
            sum += y[j];
        }
        for (index_t j = 0; j < n; ++j) y[j] /= sum;
    }
}

}  // namespace cpu

template <class T>
void softmax_forward(cpu_context& ctx, tensor_view<T, 2> y, in_view<T, 2> x) {
    const index_t n_rows = y.extent(0), n_classes = y.extent(1);
    instar::detail::check_shape("softmax_forward", "x", x, {n_rows, n_classes});
    instar::detail::check_unit_stride("softmax_forward", "y", y);
    instar::detail::check_unit_stride("softmax_forward", "x", x);
    parallel_for(ctx, n_rows, cpu::row_grain(n_classes), [&](index_t begin, index_t end) {
        for (index_t r = begin; r < end; ++r) cpu::softmax_row<T>(y[r].data(), x[r].data(), n_classes);
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
    parallel_for(ctx, n_rows, cpu::row_grain(n_classes), [&](index_t begin, index_t end) {
        for (index_t r = begin; r < end; ++r) {
            const T dot = static_cast<T>(cpu::dot<T>(dy[r].data(), y[r].data(), n_classes));
            cpu::shifted_product<T>(dx[r].data(), dy[r].data(), y[r].data(), dot, n_classes);
        }
    });
}

}  // namespace instar::ops

#endif
