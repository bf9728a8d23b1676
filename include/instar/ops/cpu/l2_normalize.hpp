#ifndef INSTAR_OPS_CPU_L2_NORMALIZE_HPP
#define INSTAR_OPS_CPU_L2_NORMALIZE_HPP

// Rows to unit length on the CPU, rows in parallel.
//
//     ops::l2_normalize_forward(ctx, y, inv_norm, x);

#include <cmath>

#include "instar/core/cpu_context.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/ops/cpu/grain.hpp"
#include "instar/ops/cpu/rows.hpp"
#include "instar/ops/cpu/streaming.hpp"
#include "instar/ops/l2_normalize.hpp"

namespace instar::ops {

template <class T>
void l2_normalize_forward(cpu_context& ctx, tensor_view<T, 2> y, out_view<accumulator_t<T>, 1> inv_norm, in_view<T, 2> x, double eps) {
    static constexpr const char* k_op = "l2_normalize_forward";
    const index_t n_rows = y.extent(0), d = y.extent(1);
    instar::detail::check_shape(k_op, "inv_norm", inv_norm, {n_rows});
    instar::detail::check_shape(k_op, "x", x, {n_rows, d});
    instar::detail::check_unit_stride(k_op, "y", y);
    instar::detail::check_unit_stride(k_op, "x", x);
    const bool stream = cpu::streams_rows(y, x.data());
    parallel_kernel(ctx, n_rows, cpu::row_grain(d), [&](index_t begin, index_t end) {
        cpu::write_row_blocks(stream, y.rows(begin, end), [&](tensor_view<T, 2> to, index_t first) {
            for (index_t i = 0; i < to.extent(0); ++i) {
                const index_t r = begin + first + i;
                const T* const from = x[r].data();
                const double norm = std::sqrt(cpu::dot<T>(from, from, d));
                // A NaN norm must stay one, so no std::max.
                const auto inv = static_cast<accumulator_t<T>>(1.0 / (norm < eps ? eps : norm));
                inv_norm(r) = inv;
                cpu::scale_row<T>(to[i].data(), from, inv, d);
            }
        }, x.rows(begin, end));
    });
}

template <class T>
void l2_normalize_backward(cpu_context& ctx, tensor_view<T, 2> dx, in_view<T, 2> dy, in_view<T, 2> y,
                           in_view<accumulator_t<T>, 1> inv_norm) {
    static constexpr const char* k_op = "l2_normalize_backward";
    const index_t n_rows = dx.extent(0), d = dx.extent(1);
    instar::detail::check_shape(k_op, "dy", dy, {n_rows, d});
    instar::detail::check_shape(k_op, "y", y, {n_rows, d});
    instar::detail::check_shape(k_op, "inv_norm", inv_norm, {n_rows});
    instar::detail::check_unit_stride(k_op, "dx", dx);
    instar::detail::check_unit_stride(k_op, "dy", dy);
    instar::detail::check_unit_stride(k_op, "y", y);
    const bool stream = cpu::streams_rows(dx, dy.data(), y.data());
    parallel_kernel(ctx, n_rows, cpu::row_grain(d), [&](index_t begin, index_t end) {
        cpu::write_row_blocks(stream, dx.rows(begin, end), [&](tensor_view<T, 2> to, index_t first) {
            for (index_t i = 0; i < to.extent(0); ++i) {
                const index_t r = begin + first + i;
                const auto dot = static_cast<accumulator_t<T>>(cpu::dot<T>(y[r].data(), dy[r].data(), d));
                cpu::scaled_difference<T>(to[i].data(), dy[r].data(), y[r].data(), dot, inv_norm(r), d);
            }
        }, dy.rows(begin, end), y.rows(begin, end));
    });
}

}  // namespace instar::ops

#endif
