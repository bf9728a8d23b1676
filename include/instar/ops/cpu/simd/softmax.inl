// Rows of exponentials. Included by simd/softmax.hpp, which explains the blocks, once for each instruction set.

namespace instar::ops::cpu::simd::INSTAR_SIMD_NS {

/// The largest element, NaN apart; −∞ for none.
inline float row_max(const float* x, index_t n) {
    f32 m0 = broadcast(-__builtin_inff()), m1 = m0, m2 = m0, m3 = m0;
    index_t i = 0;
    // The maximum so far is the second operand, so that a NaN leaves it.
    for (; i + 4 * k_lanes <= n; i += 4 * k_lanes) {
        m0 = detail::greater(load(x + i), m0);
        m1 = detail::greater(load(x + i + k_lanes), m1);
        m2 = detail::greater(load(x + i + 2 * k_lanes), m2);
        m3 = detail::greater(load(x + i + 3 * k_lanes), m3);
    }
    for (; i + k_lanes <= n; i += k_lanes) m0 = detail::greater(load(x + i), m0);
    if (i < n) m0 = detail::greater(select(first_lanes(n - i), load_partial(x + i, n - i), m0), m0);
    return reduce_max(max(max(m0, m1), max(m2, m3)));
}

/// Σ exp(x − shift), at most a block of it; kept in e when Keep. Meanwhile `ahead`, n elements that are read next, comes into
/// the cache: the sweep for the next maximum would otherwise wait for memory, and this one leave memory idle.
template <bool Keep>
inline float exp_block(float* e, const float* x, index_t n, float shift, const float* ahead) {
    f32 s0 = broadcast(0.0f), s1 = s0, s2 = s0, s3 = s0;
    index_t i = 0;
    for (; i + 4 * k_lanes <= n; i += 4 * k_lanes) {
        const f32 e0 = exp_bounded(load(x + i) - shift);
        const f32 e1 = exp_bounded(load(x + i + k_lanes) - shift);
        const f32 e2 = exp_bounded(load(x + i + 2 * k_lanes) - shift);
        const f32 e3 = exp_bounded(load(x + i + 3 * k_lanes) - shift);
        for (index_t line = 0; line < 4 * k_lanes; line += 16) __builtin_prefetch(ahead + i + line);
        if constexpr (Keep) {
            store(e + i, e0);
            store(e + i + k_lanes, e1);
            store(e + i + 2 * k_lanes, e2);
            store(e + i + 3 * k_lanes, e3);
        }
        s0 = s0 + e0;
        s1 = s1 + e1;
        s2 = s2 + e2;
        s3 = s3 + e3;
    }
    for (; i < n; i += k_lanes) {
        const index_t m = n - i < k_lanes ? n - i : k_lanes;
        const f32 e0 = exp_bounded(load_partial(x + i, m) - shift);
        if constexpr (Keep) store_partial(e + i, e0, m);
        s0 = s0 + select(first_lanes(m), e0, broadcast(0.0f));
    }
    return reduce_add((s0 + s1) + (s2 + s3));
}

/// See simd/softmax.hpp. e may alias x; without Keep it is not used.
template <bool Keep>
inline exp_row_sums exp_row(float* e, const float* x, index_t n) {
    exp_row_sums r;
    r.block = softmax_block(n);
    index_t b = 0;
    for (index_t begin = 0; begin < n; begin += r.block, ++b) {
        const index_t m = n - begin < r.block ? n - begin : r.block;
        const float top = row_max(x + begin, m);
        if (top > r.max) {
            if (r.sum != 0.0) r.sum *= __builtin_exp(static_cast<double>(r.max) - static_cast<double>(top));
            r.max = top;
        }
        r.block_max[b] = r.max;
        // Nothing but −∞ so far: their exponentials are 0, not exp(−∞ + ∞).
        const float shift = r.max == -__builtin_inff() ? 0.0f : r.max;
        const float* const ahead = x + (begin + 2 * m <= n ? begin + m : begin);
        r.sum += static_cast<double>(exp_block<Keep>(e + (Keep ? begin : 0), x + begin, m, shift, ahead));
    }
    return r;
}

/// y = weight · softmax − shift, where y holds what exp_row kept. NaN everywhere when the row was nothing but −∞.
inline void scale_exp_row(float* y, index_t n, const exp_row_sums& sums, double weight, float shift) {
    const double scale = weight / sums.sum;
    float last_max = sums.max;
    float factor = static_cast<float>(sums.max == -__builtin_inff() ? __builtin_nan("") : scale);
    index_t b = 0;
    for (index_t begin = 0; begin < n; begin += sums.block, ++b) {
        if (sums.block_max[b] != last_max) {
            last_max = sums.block_max[b];
            factor = static_cast<float>(scale * __builtin_exp(static_cast<double>(last_max) - static_cast<double>(sums.max)));
        }
        const index_t end = n - begin < sums.block ? n : begin + sums.block;
        const f32 f = broadcast(factor), s = broadcast(-shift);
        index_t i = begin;
        for (; i + k_lanes <= end; i += k_lanes) store(y + i, fma(load(y + i), f, s));
        if (i < end) store_partial(y + i, fma(load_partial(y + i, end - i), f, s), end - i);
    }
}

/// Softmax of n_rows rows, the strides apart; y may alias x. Short rows go four at a time through each step, so that the steps
/// across lanes of one row overlap with the work on the others.
inline void softmax_rows_f32(float* y, index_t y_stride, const float* x, index_t x_stride, index_t n_rows, index_t n) {
    constexpr index_t k_group = 4;
    if (n > softmax_block(n)) {
        for (index_t r = 0; r < n_rows; ++r) {
            const exp_row_sums sums = exp_row<true>(y + r * y_stride, x + r * x_stride, n);
            scale_exp_row(y + r * y_stride, n, sums, 1.0, 0.0f);
        }
        return;
    }
    for (index_t first = 0; first < n_rows; first += k_group) {
        const index_t rows = n_rows - first < k_group ? n_rows - first : k_group;
        float* const to = y + first * y_stride;
        float shift[k_group], factor[k_group];
        for (index_t r = 0; r < rows; ++r) {
            const float top = row_max(x + (first + r) * x_stride, n);
            shift[r] = top == -__builtin_inff() ? 0.0f : top;  // then the sum is 0 and every result 0 · ∞ = NaN
        }
        for (index_t r = 0; r < rows; ++r) {
            const float* const row = x + (first + r) * x_stride;
            const float* const ahead = first + r + k_group < n_rows ? row + k_group * x_stride : row;
            factor[r] = 1.0f / exp_block<true>(to + r * y_stride, row, n, shift[r], ahead);
        }
        for (index_t r = 0; r < rows; ++r) {
            float* const row = to + r * y_stride;
            index_t i = 0;
            for (; i + k_lanes <= n; i += k_lanes) store(row + i, load(row + i) * factor[r]);
            if (i < n) store_partial(row + i, load_partial(row + i, n - i) * factor[r], n - i);
        }
    }
}

}  // namespace instar::ops::cpu::simd::INSTAR_SIMD_NS
