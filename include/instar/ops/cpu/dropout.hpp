#ifndef INSTAR_OPS_CPU_DROPOUT_HPP
#define INSTAR_OPS_CPU_DROPOUT_HPP

// Dropout on the CPU: Philox drawn again in every pass, nothing stored.
//
//     ops::residual_dropout_forward(ctx, y, residual, x, {.p = 0.1f, .rng = {seed, stream}});

#include <cmath>

#include "instar/core/cpu_context.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/ops/cpu/grain.hpp"
#include "instar/ops/cpu/rows.hpp"
#include "instar/ops/cpu/simd/dropout.hpp"
#include "instar/ops/dropout.hpp"

namespace instar::ops {

namespace cpu {

inline void check_dropout(const char* op, const dropout_options& options) {
    if (!(options.p >= 0.0f && options.p < 1.0f)) {
        throw value_error(std::string(op) + ": options.p must be in [0, 1), is " + std::to_string(options.p));
    }
    if (options.group < 1) throw value_error(std::string(op) + ": options.group must be at least 1, is " + std::to_string(options.group));
}

/// The same for groups of elements that fall together; begin is any element.
template <class T>
void dropout_groups(T* y, const T* residual, const T* x, index_t begin, index_t end, const dropout_options& options) {
    const auto scale = static_cast<accumulator_t<T>>(options.scale());
    while (begin < end) {
        const index_t group = begin / options.group, stop = std::min(end, (group + 1) * options.group);
        if (options.rng.bits(static_cast<std::uint64_t>(group)) >= options.drop_below()) {
            if constexpr (std::same_as<T, bf16>) {
                if (residual == nullptr) {
                    scale_row<T>(y + begin, x + begin, scale, stop - begin);
                } else {
                    in_float(y + begin, stop - begin, [=](auto& v, index_t m) { INSTAR_SIMD_PICK(scaled_difference_range)(v[0], v[0], v[1], -scale, 1.0f, m); }, residual + begin, x + begin);
                }
            } else {
                for (index_t i = begin; i < stop; ++i) {
                    const T kept = x[i] * scale;
                    y[i] = residual != nullptr ? residual[i] + kept : kept;
                }
            }
        } else if (residual != nullptr) {
            if (y != residual) copy_row<T>(y + begin, residual + begin, stop - begin);
        } else {
            std::fill(y + begin, y + stop, T(0));
        }
        begin = stop;
    }
}

/// y = residual + x · keep · scale over elements [begin, end) of the whole tensor; begin is a multiple of 4. Without a
/// residual the pointer is null.
template <class T>
void dropout_range(T* y, const T* residual, const T* x, index_t begin, index_t end, const dropout_options& options) {
    const std::uint32_t drop_below = options.drop_below();
    if constexpr (!std::same_as<T, double>) {
        const simd::dropout_constants c{options.rng, drop_below, options.scale()};
        if (residual != nullptr) INSTAR_SIMD_PICK(template dropout_range<true, T>)(y, residual, x, begin, end, c);
        else INSTAR_SIMD_PICK(template dropout_range<false, T>)(y, nullptr, x, begin, end, c);
    } else {
        const T scale = static_cast<T>(options.scale());
        for (index_t i = begin; i < end; i += 4) {
            const instar::detail::philox_block bits = options.rng.block(static_cast<std::uint64_t>(i / 4));
            const index_t n = std::min<index_t>(4, end - i);
            for (index_t j = 0; j < n; ++j) {
                const T kept = bits.v[j] >= drop_below ? x[i + j] * scale : T(0);
                y[i + j] = residual != nullptr ? residual[i + j] + kept : kept;
            }
        }
    }
}

template <class T>
void dropout(cpu_context& ctx, T* y, const T* residual, const T* x, index_t n, const dropout_options& options) {
    static_assert(k_flat_grain % 4 == 0, "a range starts at a whole Philox block");
    parallel_kernel(ctx, n, k_flat_grain, [&](index_t begin, index_t end) {
        if (options.p > 0.0f && options.group > 1) {
            dropout_groups<T>(y, residual, x, begin, end, options);
        } else if (options.p > 0.0f) {
            dropout_range<T>(y, residual, x, begin, end, options);
        } else if (residual != nullptr) {
            add_rows<T>(y + begin, residual + begin, x + begin, end - begin);
        } else {
            copy_row<T>(y + begin, x + begin, end - begin);
        }
    });
}

}  // namespace cpu

template <class T>
void dropout_forward(cpu_context& ctx, tensor_view<T, 1> y, in_view<T, 1> x, dropout_options options) {
    instar::detail::check_shape("dropout_forward", "x", x, {y.extent(0)});
    instar::detail::check_contiguous("dropout_forward", "y", y);
    instar::detail::check_contiguous("dropout_forward", "x", x);
    cpu::check_dropout("dropout_forward", options);
    cpu::dropout<T>(ctx, y.data(), nullptr, x.data(), y.extent(0), options);
}

template <class T>
void residual_dropout_forward(cpu_context& ctx, tensor_view<T, 1> y, in_view<T, 1> residual, in_view<T, 1> x, dropout_options options) {
    instar::detail::check_shape("residual_dropout_forward", "residual", residual, {y.extent(0)});
    instar::detail::check_shape("residual_dropout_forward", "x", x, {y.extent(0)});
    instar::detail::check_contiguous("residual_dropout_forward", "y", y);
    instar::detail::check_contiguous("residual_dropout_forward", "residual", residual);
    instar::detail::check_contiguous("residual_dropout_forward", "x", x);
    cpu::check_dropout("residual_dropout_forward", options);
    cpu::dropout<T>(ctx, y.data(), residual.data(), x.data(), y.extent(0), options);
}

template <class T>
void dropout_backward(cpu_context& ctx, tensor_view<T, 1> dx, in_view<T, 1> dy, dropout_options options) {
    instar::detail::check_shape("dropout_backward", "dy", dy, {dx.extent(0)});
    instar::detail::check_contiguous("dropout_backward", "dx", dx);
    instar::detail::check_contiguous("dropout_backward", "dy", dy);
    cpu::check_dropout("dropout_backward", options);
    cpu::dropout<T>(ctx, dx.data(), nullptr, dy.data(), dx.extent(0), options);
}

}  // namespace instar::ops

#endif
