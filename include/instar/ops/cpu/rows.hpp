#ifndef INSTAR_OPS_CPU_ROWS_HPP
#define INSTAR_OPS_CPU_ROWS_HPP

// Sums, products and scalings of rows and flat ranges, on one thread: vectors for float, the same by way of float for bf16, plain
// loops for double. What the
// element-wise and row-wise operators are made of.
//
//     cpu::add_rows(y, a, b, n);                  // y = a + b; y may alias
//     const double s = cpu::dot(a, b, n);

#include <algorithm>

#include "instar/ops/cpu/bf16_rows.hpp"
#include "instar/ops/cpu/simd/rows.hpp"

namespace instar::ops::cpu {

/// y = a + b
template <class T>
void add_rows(T* y, const T* a, const T* b, index_t n) {
    if constexpr (std::same_as<T, float>) {
        INSTAR_SIMD_PICK(add_range)(y, a, b, n);
    } else if constexpr (std::same_as<T, bf16>) {
        in_float(y, n, [=](auto& x, index_t m) { INSTAR_SIMD_PICK(add_range)(x[0], x[0], x[1], m); }, a, b);
    } else {
        for (index_t i = 0; i < n; ++i) y[i] = a[i] + b[i];
    }
}

/// y = a + b + c
template <class T>
void add_rows(T* y, const T* a, const T* b, const T* c, index_t n) {
    if constexpr (std::same_as<T, float>) {
        INSTAR_SIMD_PICK(add3_range)(y, a, b, c, n);
    } else if constexpr (std::same_as<T, bf16>) {
        in_float(y, n, [=](auto& x, index_t m) { INSTAR_SIMD_PICK(add3_range)(x[0], x[0], x[1], x[2], m); }, a, b, c);
    } else {
        for (index_t i = 0; i < n; ++i) y[i] = a[i] + b[i] + c[i];
    }
}

/// y = x; the ranges are apart or the same.
template <class T>
void copy_row(T* y, const T* x, index_t n) {
    if (y != x) std::copy(x, x + n, y);
}

/// y = factor · x
template <class T>
void scale_row(T* y, const T* x, accumulator_t<T> factor, index_t n) {
    if constexpr (std::same_as<T, float>) {
        INSTAR_SIMD_PICK(scale_range)(y, x, factor, n);
    } else if constexpr (std::same_as<T, bf16>) {
        in_float(y, n, [=](auto& v, index_t m) { INSTAR_SIMD_PICK(scale_range)(v[0], v[0], factor, m); }, x);
    } else {
        for (index_t i = 0; i < n; ++i) y[i] = factor * x[i];
    }
}

/// y = factor · (a − shift · b)
template <class T>
void scaled_difference(T* y, const T* a, const T* b, accumulator_t<T> shift, accumulator_t<T> factor, index_t n) {
    if constexpr (std::same_as<T, float>) {
        INSTAR_SIMD_PICK(scaled_difference_range)(y, a, b, shift, factor, n);
    } else if constexpr (std::same_as<T, bf16>) {
        in_float(y, n, [=](auto& x, index_t m) { INSTAR_SIMD_PICK(scaled_difference_range)(x[0], x[0], x[1], shift, factor, m); }, a, b);
    } else {
        for (index_t i = 0; i < n; ++i) y[i] = factor * (a[i] - shift * b[i]);
    }
}

/// y = b · (a − shift)
template <class T>
void shifted_product(T* y, const T* a, const T* b, accumulator_t<T> shift, index_t n) {
    if constexpr (std::same_as<T, float>) {
        INSTAR_SIMD_PICK(shifted_product_range)(y, a, b, shift, n);
    } else if constexpr (std::same_as<T, bf16>) {
        in_float(y, n, [=](auto& x, index_t m) { INSTAR_SIMD_PICK(shifted_product_range)(x[0], x[0], x[1], shift, m); }, a, b);
    } else {
        for (index_t i = 0; i < n; ++i) y[i] = b[i] * (a[i] - shift);
    }
}

/// Σ a·b, in double for float as well.
template <class T>
double dot(const T* a, const T* b, index_t n) {
    if constexpr (std::same_as<T, float>) {
        return INSTAR_SIMD_PICK(dot_f64)(a, b, n);
    } else if constexpr (std::same_as<T, bf16>) {
        constexpr index_t k_block = 1024;
        float x[k_block], y[k_block];
        double sum = 0.0;
        for (index_t i = 0; i < n; i += k_block) {
            const index_t m = std::min(k_block, n - i);
            widen(x, a + i, m);
            widen(y, b + i, m);
            sum += INSTAR_SIMD_PICK(dot_f64)(x, y, m);
        }
        return sum;
    } else {
        double sum = 0.0;
        for (index_t i = 0; i < n; ++i) sum += a[i] * b[i];
        return sum;
    }
}

/// Adds `from` to up to three rows; null pointers are skipped.
template <class T>
void add_row_to(T* a, T* b, T* c, const T* from, index_t n) {
    if constexpr (std::same_as<T, float>) {
        INSTAR_SIMD_PICK(add_row_to)(a, b, c, from, n);
    } else {
        for (T* const to : {a, b, c}) {
            if (to == nullptr) continue;
            for (index_t i = 0; i < n; ++i) to[i] += from[i];
        }
    }
}

}  // namespace instar::ops::cpu

#endif
