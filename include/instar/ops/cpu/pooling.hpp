#ifndef INSTAR_OPS_CPU_POOLING_HPP
#define INSTAR_OPS_CPU_POOLING_HPP

// Pooling over a sequence on the CPU, samples in parallel.
//
//     ops::sequence_pool_forward(ctx, y, x, mask, ops::pooling::masked_mean);

#include <algorithm>

#include "instar/core/cpu_context.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/ops/cpu/grain.hpp"
#include "instar/ops/cpu/rows.hpp"
#include "instar/ops/pooling.hpp"

namespace instar::ops {

namespace cpu {

/// 1 / (number of positions that count), 0 when none does.
inline double pooling_factor(tensor_view<const std::uint8_t, 2> mask, index_t b, bool masked, index_t seq_len) {
    index_t n = seq_len;
    if (masked) {
        n = 0;
        for (index_t t = 0; t < seq_len; ++t) n += mask(b, t) != 0;
    }
    return n > 0 ? 1.0 / static_cast<double>(n) : 0.0;
}

/// y = factor · Σ x[t·stride …] over the rows that the mask keeps, in order; all rows when it is null.
template <class T>
void pool_rows(T* y, const T* x, index_t stride, const std::uint8_t* mask, index_t mask_stride, index_t n_rows, index_t d, accumulator_t<T> factor) {
    if constexpr (std::same_as<T, float>) {
        INSTAR_SIMD_PICK(column_sums)(y, x, stride, mask, mask_stride, n_rows, d, factor);
    } else if constexpr (std::same_as<T, bf16>) {
        float* const sum = row_scratch(2 * d);
        std::fill(sum, sum + d, 0.0f);
        for (index_t t = 0; t < n_rows; ++t) {
            if (mask != nullptr && mask[t * mask_stride] == 0) continue;
            widen(sum + d, x + t * stride, d);
            add_rows<float>(sum, sum, sum + d, d);
        }
        scale_row<float>(sum, sum, factor, d);
        narrow(y, sum, d);
    } else {
        std::fill(y, y + d, T(0));
        for (index_t t = 0; t < n_rows; ++t) {
            if (mask == nullptr || mask[t * mask_stride] != 0) add_rows<T>(y, y, x + t * stride, d);
        }
        scale_row<T>(y, y, factor, d);
    }
}

}  // namespace cpu

template <class T>
void sequence_pool_forward(cpu_context& ctx, tensor_view<T, 2> y, in_view<T, 3> x, tensor_view<const std::uint8_t, 2> mask,
                           pooling kind) {
    static constexpr const char* k_op = "sequence_pool_forward";
    const index_t n_batch = x.extent(0), seq_len = x.extent(1), d = x.extent(2);
    const bool masked = kind == pooling::masked_mean && !mask.empty();
    instar::detail::check_shape(k_op, "y", y, {n_batch, d});
    if (!mask.empty()) instar::detail::check_shape(k_op, "mask", mask, {n_batch, seq_len});
    instar::detail::check_unit_stride(k_op, "y", y);
    instar::detail::check_unit_stride(k_op, "x", x);
    parallel_kernel(ctx, n_batch, cpu::row_grain(seq_len * d), [&](index_t begin, index_t end) {
        for (index_t b = begin; b < end; ++b) {
            T* const to = y[b].data();
            if (kind == pooling::first && seq_len > 0) {
                std::copy(x[b][0].data(), x[b][0].data() + d, to);
                continue;
            }
            const auto factor = static_cast<accumulator_t<T>>(cpu::pooling_factor(mask, b, masked, seq_len));
            const std::uint8_t* const mask_row = masked ? mask[b].data() : nullptr;
            cpu::pool_rows<T>(to, x[b].data(), x.stride(1), mask_row, mask.stride(1), seq_len, d, factor);
        }
    });
}

template <class T>
void sequence_pool_backward(cpu_context& ctx, tensor_view<T, 3> dx, in_view<T, 2> dy, tensor_view<const std::uint8_t, 2> mask,
                            pooling kind) {
    static constexpr const char* k_op = "sequence_pool_backward";
    const index_t n_batch = dx.extent(0), seq_len = dx.extent(1), d = dx.extent(2);
    const bool masked = kind == pooling::masked_mean && !mask.empty();
    instar::detail::check_shape(k_op, "dy", dy, {n_batch, d});
    if (!mask.empty()) instar::detail::check_shape(k_op, "mask", mask, {n_batch, seq_len});
    instar::detail::check_unit_stride(k_op, "dx", dx);
    instar::detail::check_unit_stride(k_op, "dy", dy);
    parallel_kernel(ctx, n_batch, cpu::row_grain(seq_len * d), [&](index_t begin, index_t end) {
        for (index_t b = begin; b < end; ++b) {
            const accumulator_t<T> factor = kind == pooling::first ? accumulator_t<T>(1) : static_cast<accumulator_t<T>>(cpu::pooling_factor(mask, b, masked, seq_len));
            const T* const from = dy[b].data();
            for (index_t t = 0; t < seq_len; ++t) {
                T* const to = dx[b][t].data();
                const bool counts = kind == pooling::first ? t == 0 : !masked || mask(b, t) != 0;
                if (counts) cpu::scale_row<T>(to, from, factor, d);
                else std::fill(to, to + d, T(0));
            }
        }
    });
}

}  // namespace instar::ops

#endif
