#ifndef INSTAR_OPS_CPU_INFO_NCE_TILE_HPP
#define INSTAR_OPS_CPU_INFO_NCE_TILE_HPP

// What InfoNCE does to one tile of similarities on the CPU: vectors for float, plain loops for double.
//
//     cpu::info_nce_row_sums<T>(z, n, &max, &sum);               // Σ exp(z − max)
//     running.add(max, sum);                                      // the same over all tiles

#include <cmath>
#include <concepts>
#include <limits>

#include "instar/core/element.hpp"
#include "instar/ops/cpu/simd/info_nce.hpp"

namespace instar::ops::cpu {

/// Σ exp, kept as a maximum and a sum relative to it while tiles come in.
struct running_exp {
    double max = -std::numeric_limits<double>::infinity();
    double sum = 0.0;

    /// Adds `part` exponentials relative to `top`.
    void add(double top, double part) {
        if (top > max) {
            sum = (sum != 0.0 ? sum * std::exp(max - top) : 0.0) + part;
            max = top;
        } else if (top != -std::numeric_limits<double>::infinity()) {
            sum += part * std::exp(top - max);
        } else {
            sum += part;  // 0, or NaN
        }
    }
};

/// max = the largest z of a row (−∞ for none), sum = Σ exp(z − max).
template <class T>
void info_nce_row_sums(const T* z, index_t n, T* max, double* sum) {
    if constexpr (std::same_as<T, float>) {
        INSTAR_SIMD_PICK(info_nce_row_sums)(z, n, max, sum);
    } else {
        constexpr T none = -std::numeric_limits<T>::infinity();
        T top = none, total = 0;
        for (index_t j = 0; j < n; ++j) top = z[j] > top ? z[j] : top;
        for (index_t j = 0; j < n; ++j) total += std::exp(z[j] - (top == none ? T(0) : top));
        *max = top;
        *sum = total;
    }
}

/// The same of every column of a tile whose rows are ld apart.
template <class T>
void info_nce_column_sums(const T* z, index_t ld, index_t rows, index_t columns, T* max, T* sum) {
    if constexpr (std::same_as<T, float>) {
        INSTAR_SIMD_PICK(info_nce_column_sums)(z, ld, rows, columns, max, sum);
    } else {
        constexpr T none = -std::numeric_limits<T>::infinity();
        for (index_t j = 0; j < columns; ++j) {
            T top = none, total = 0;
            for (index_t i = 0; i < rows; ++i) top = z[i * ld + j] > top ? z[i * ld + j] : top;
            for (index_t i = 0; i < rows; ++i) total += std::exp(z[i * ld + j] - (top == none ? T(0) : top));
            max[j] = top;
            sum[j] = total;
        }
    }
}

/// Adds the z of columns whose label is `label` (not negative), and their number.
template <class T>
void info_nce_row_partners(const T* z, const std::int32_t* labels, std::int32_t label, index_t n, double* sum,
                           double* count) {
    if constexpr (std::same_as<T, float>) {
        INSTAR_SIMD_PICK(info_nce_row_partners)(z, labels, label, n, sum, count);
    } else {
        for (index_t j = 0; j < n; ++j) {
            if (labels[j] != label) continue;
            *sum += z[j];
            *count += 1.0;
        }
    }
}

/// The same for the columns: adds a row's z to sum[j], and 1 to count[j], where the labels agree.
template <class T>
void info_nce_column_partners(const T* z, const std::int32_t* labels, std::int32_t label, index_t n, T* sum, T* count) {
    if constexpr (std::same_as<T, float>) {
        INSTAR_SIMD_PICK(info_nce_column_partners)(z, labels, label, n, sum, count);
    } else {
        for (index_t j = 0; j < n; ++j) {
            if (labels[j] != label) continue;
            sum[j] += z[j];
            count[j] += T(1);
        }
    }
}

/// z := scale · G of a row, partners by label only. Returns Σ G · z.
template <class T>
double info_nce_gradient(T* z, index_t n, const info_nce_gradient_row<T>& row) {
    const bool labelled = row.column_labels != nullptr && row.label >= 0;
    if constexpr (std::same_as<T, float>) {
        return labelled ? INSTAR_SIMD_PICK(info_nce_gradient_range<true>)(z, n, row)
                        : INSTAR_SIMD_PICK(info_nce_gradient_range<false>)(z, n, row);
    } else {
        double moment = 0.0;
        for (index_t j = 0; j < n; ++j) {
            T g = row.weight * std::exp(z[j] - row.shift) + row.column_weight[j] * std::exp(z[j] - row.column_shift[j]);
            if (labelled && row.column_labels[j] == row.label) g -= row.pull + row.column_pull[j];
            moment += g * z[j];
            z[j] = g * row.scale;
        }
        return moment;
    }
}

}  // namespace instar::ops::cpu

#endif
