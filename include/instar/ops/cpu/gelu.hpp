#ifndef INSTAR_OPS_CPU_GELU_HPP
#define INSTAR_OPS_CPU_GELU_HPP

// GELU on the CPU: vectors for float (simd/math.inl has the approximation) and, by way of float, bf16; the C library for double.
//
//     ops::gelu_forward(ctx, y, x);

#include <cmath>

#include "instar/core/cpu_context.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/ops/cpu/bf16_rows.hpp"
#include "instar/ops/cpu/grain.hpp"
#include "instar/ops/cpu/simd/math.hpp"
#include "instar/ops/cpu/streaming.hpp"
#include "instar/ops/gelu.hpp"

namespace instar::ops {

namespace cpu {

/// x · Φ(x). Through erfc, so that the left tail keeps its digits.
template <class T>
void gelu_range(T* y, const T* x, index_t n) {
    if constexpr (std::same_as<T, float>) {
        INSTAR_SIMD_PICK(gelu_range)(y, x, n);
    } else if constexpr (std::same_as<T, bf16>) {
        in_float(y, n, [](auto& v, index_t m) { INSTAR_SIMD_PICK(gelu_range)(v[0], v[0], m); }, x);
    } else {
        for (index_t i = 0; i < n; ++i) y[i] = x[i] * T(0.5) * std::erfc(-x[i] * T(0.70710678118654752440));
    }
}

/// dy · (Φ(x) + x · φ(x)).
template <class T>
void gelu_gradient_range(T* dx, const T* dy, const T* x, index_t n) {
    if constexpr (std::same_as<T, float>) {
        INSTAR_SIMD_PICK(gelu_gradient_range)(dx, dy, x, n);
    } else if constexpr (std::same_as<T, bf16>) {
        in_float(dx, n, [](auto& v, index_t m) { INSTAR_SIMD_PICK(gelu_gradient_range)(v[0], v[0], v[1], m); }, dy, x);
    } else {
        for (index_t i = 0; i < n; ++i) {
            const T cdf = T(0.5) * std::erfc(-x[i] * T(0.70710678118654752440));
            const T pdf = T(0.39894228040143267794) * std::exp(T(-0.5) * x[i] * x[i]);
            dx[i] = dy[i] * (cdf + x[i] * pdf);
        }
    }
}

}  // namespace cpu

template <class T>
void gelu_forward(cpu_context& ctx, tensor_view<T, 1> y, in_view<T, 1> x) {
    instar::detail::check_shape("gelu_forward", "x", x, {y.extent(0)});
    instar::detail::check_contiguous("gelu_forward", "y", y);
    instar::detail::check_contiguous("gelu_forward", "x", x);
    const bool stream = cpu::streams(y.data(), y.extent(0), x.data());
    parallel_kernel(ctx, y.extent(0), cpu::k_flat_grain, [&](index_t begin, index_t end) {
        cpu::write_blocks(stream, y.data() + begin, end - begin, [&](T* to, index_t first, index_t m) { cpu::gelu_range<T>(to, x.data() + begin + first, m); });
    });
}

template <class T>
void gelu_backward(cpu_context& ctx, tensor_view<T, 1> dx, in_view<T, 1> dy, in_view<T, 1> x) {
    instar::detail::check_shape("gelu_backward", "dy", dy, {dx.extent(0)});
    instar::detail::check_shape("gelu_backward", "x", x, {dx.extent(0)});
    instar::detail::check_contiguous("gelu_backward", "dx", dx);
    instar::detail::check_contiguous("gelu_backward", "dy", dy);
    instar::detail::check_contiguous("gelu_backward", "x", x);
    const bool stream = cpu::streams(dx.data(), dx.extent(0), dy.data(), x.data());
    parallel_kernel(ctx, dx.extent(0), cpu::k_flat_grain, [&](index_t begin, index_t end) {
        cpu::write_blocks(stream, dx.data() + begin, end - begin, [&](T* to, index_t first, index_t m) {
            cpu::gelu_gradient_range<T>(to, dy.data() + begin + first, x.data() + begin + first, m);
        });
    });
}

}  // namespace instar::ops

#endif
