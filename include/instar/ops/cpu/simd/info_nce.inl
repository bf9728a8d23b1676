// Sums of exponentials over rows and columns of a tile, and the tile's gradient. Included by simd/info_nce.hpp once for each
// instruction set.
//
// A tile holds logits z; what takes no part holds −∞.

namespace instar::ops::cpu::simd::INSTAR_SIMD_NS {

/// max = the largest z of a row, sum = Σ exp(z − max); −∞ and 0 when nothing takes part.
inline void info_nce_row_sums(const float* z, index_t n, float* max, double* sum) {
    f32 m0 = broadcast(-__builtin_inff()), m1 = m0;
    index_t i = 0;
    for (; i + 2 * k_lanes <= n; i += 2 * k_lanes) {
        m0 = detail::greater(load(z + i), m0);
        m1 = detail::greater(load(z + i + k_lanes), m1);
    }
    for (; i < n; i += k_lanes) {
        const index_t left = n - i < k_lanes ? n - i : k_lanes;
        m0 = detail::greater(select(first_lanes(left), load_partial(z + i, left), m0), m0);
    }
    *max = reduce_max(detail::greater(m0, m1));
    if (*max == -__builtin_inff()) {
        // No logit, or none but NaN, which must not get lost.
        float none = 0.0f;
        for (i = 0; i < n; ++i) none += z[i] == z[i] ? 0.0f : z[i];
        *sum = static_cast<double>(none);
        return;
    }
    const f32 shift = broadcast(*max);
    f32 s0 = broadcast(0.0f), s1 = s0, s2 = s0, s3 = s0;
    i = 0;
    for (; i + 4 * k_lanes <= n; i += 4 * k_lanes) {
        s0 = s0 + exp_bounded(load(z + i) - shift);
        s1 = s1 + exp_bounded(load(z + i + k_lanes) - shift);
        s2 = s2 + exp_bounded(load(z + i + 2 * k_lanes) - shift);
        s3 = s3 + exp_bounded(load(z + i + 3 * k_lanes) - shift);
    }
    for (; i < n; i += k_lanes) {
        const index_t left = n - i < k_lanes ? n - i : k_lanes;
        s0 = s0 + select(first_lanes(left), exp_bounded(load_partial(z + i, left) - shift), broadcast(0.0f));
    }
    *sum = static_cast<double>(reduce_add((s0 + s1) + (s2 + s3)));
}

namespace detail {

/// info_nce_column_sums of Vectors vectors of columns; the last vector has `tail` columns.
template <int Vectors>
INSTAR_ALWAYS_INLINE void info_nce_column_strip(const float* z, index_t ld, index_t rows, index_t tail, float* max,
                                                float* sum) {
    const f32 none = broadcast(-__builtin_inff()), zero = broadcast(0.0f);
    const bool full = tail == k_lanes;
    f32 m[Vectors], shift[Vectors], total[Vectors];
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) m[v] = none;
    for (index_t r = 0; r < rows; ++r) {
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; ++v) {
            const float* at = z + r * ld + v * k_lanes;
            m[v] = detail::greater(v + 1 < Vectors || full ? load(at) : load_partial(at, tail), m[v]);
        }
    }
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
        shift[v] = select(m[v] == none, zero, m[v]);
        total[v] = zero;
    }
    // Sums of 64 rows, then sums of those: a lane would add all rows one by one, and lose digits.
    for (index_t first = 0; first < rows; first += 64) {
        const index_t end = rows - first < 64 ? rows : first + 64;
        f32 part[Vectors];
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; ++v) part[v] = zero;
        for (index_t r = first; r < end; ++r) {
#pragma GCC unroll 4
            for (int v = 0; v < Vectors; ++v) {
                const float* at = z + r * ld + v * k_lanes;
                part[v] =
                    part[v] + exp_bounded((v + 1 < Vectors || full ? load(at) : load_partial(at, tail)) - shift[v]);
            }
        }
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; ++v) total[v] = total[v] + part[v];
    }
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
        const index_t left = v + 1 < Vectors ? k_lanes : tail;
        store_partial(max + v * k_lanes, m[v], left);
        store_partial(sum + v * k_lanes, total[v], left);
    }
}

}  // namespace detail

/// Likewise for every column: rows ld apart.
inline void info_nce_column_sums(const float* z, index_t ld, index_t rows, index_t columns, float* max, float* sum) {
    index_t j = 0;
    for (; j + 4 * k_lanes <= columns; j += 4 * k_lanes) {
        detail::info_nce_column_strip<4>(z + j, ld, rows, k_lanes, max + j, sum + j);
    }
    for (; j < columns; j += k_lanes) {
        detail::info_nce_column_strip<1>(z + j, ld, rows, columns - j < k_lanes ? columns - j : k_lanes, max + j,
                                         sum + j);
    }
}

/// Adds the z of columns whose label is `label` (not negative), and their number.
inline void info_nce_row_partners(const float* z, const std::int32_t* labels, std::int32_t label, index_t n,
                                  double* sum, double* count) {
    const i32 wanted = broadcast(label);
    const f32 zero = broadcast(0.0f), one = broadcast(1.0f);
    f32 s = zero, c = zero;
    index_t j = 0;
    for (; j + k_lanes <= n; j += k_lanes) {
        const i32 same = load(labels + j) == wanted;
        s = s + select(same, load(z + j), zero);
        c = c + select(same, one, zero);
    }
    *sum += static_cast<double>(reduce_add(s));
    *count += static_cast<double>(reduce_add(c));
    for (; j < n; ++j) {
        if (labels[j] != label) continue;
        *sum += static_cast<double>(z[j]);
        *count += 1.0;
    }
}

/// Adds to sum[j] and count[j] the row's z and 1 where the labels agree.
inline void info_nce_column_partners(const float* z, const std::int32_t* labels, std::int32_t label, index_t n,
                                     float* sum, float* count) {
    const i32 wanted = broadcast(label);
    const f32 zero = broadcast(0.0f), one = broadcast(1.0f);
    index_t j = 0;
    for (; j + k_lanes <= n; j += k_lanes) {
        const i32 same = load(labels + j) == wanted;
        store(sum + j, load(sum + j) + select(same, load(z + j), zero));
        store(count + j, load(count + j) + select(same, one, zero));
    }
    for (; j < n; ++j) {
        if (labels[j] != label) continue;
        sum[j] += z[j];
        count[j] += 1.0f;
    }
}

namespace detail {

template <bool Labelled>
INSTAR_ALWAYS_INLINE f32 info_nce_gradient(f32 z, const info_nce_gradient_row<float>& row, f32 column_shift,
                                           f32 column_weight, f32 column_pull, i32 column_label) {
    const f32 by_row = exp_bounded(z - row.shift), by_column = exp_bounded(z - column_shift);
    f32 g = fma(by_row, broadcast(row.weight), by_column * column_weight);
    if constexpr (Labelled)
        g = g - select(column_label == broadcast(row.label), column_pull + row.pull, broadcast(0.0f));
    return g;
}

}  // namespace detail

/// z := scale · G of a row (partners by label only; those of the diagonal are the caller's). Returns Σ G · z. What takes no part
/// holds a negative number near the largest, not −∞: its G is 0, and 0 · ∞ would be NaN.
template <bool Labelled>
inline double info_nce_gradient_range(float* z, index_t n, const info_nce_gradient_row<float>& row) {
    f32 moment = broadcast(0.0f);
    index_t j = 0;
    for (; j + k_lanes <= n; j += k_lanes) {
        const f32 v = load(z + j);
        i32 label{};
        if constexpr (Labelled) label = load(row.column_labels + j);
        const f32 g = detail::info_nce_gradient<Labelled>(
            v, row, load(row.column_shift + j), load(row.column_weight + j), load(row.column_pull + j), label);
        store(z + j, g * row.scale);
        moment = fma(g, v, moment);
    }
    if (j < n) {
        const index_t left = n - j;
        const f32 v = load_partial(z + j, left);
        i32 label = broadcast(std::int32_t{-1});
        if constexpr (Labelled) {
            for (index_t i = 0; i < left; ++i) label[i] = row.column_labels[j + i];
        }
        const f32 g = detail::info_nce_gradient<Labelled>(v, row, load_partial(row.column_shift + j, left),
                                                          load_partial(row.column_weight + j, left),
                                                          load_partial(row.column_pull + j, left), label);
        store_partial(z + j, g * row.scale, left);
        moment = fma(select(first_lanes(left), g, broadcast(0.0f)), v, moment);
    }
    return static_cast<double>(reduce_add(moment));
}

}  // namespace instar::ops::cpu::simd::INSTAR_SIMD_NS
