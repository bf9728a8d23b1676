// Layer normalisation of rows. Included by simd/normalize.hpp once for each instruction set.
//
//     layer_norm_rows_f32(y, d, x, d, weight, bias, n_rows, d, eps, mean, 1, rstd, 1);
//     layer_norm_gradient_row_f32(dx, dweight, dbias, dy, x, weight, mean, rstd, d);

namespace instar::ops::cpu::simd::INSTAR_SIMD_NS {

/// Σ x
inline float row_sum(const float* x, index_t n) {
    f32 s0 = broadcast(0.0f), s1 = s0, s2 = s0, s3 = s0;
    index_t i = 0;
    for (; i + 4 * k_lanes <= n; i += 4 * k_lanes) {
        s0 = s0 + load(x + i);
        s1 = s1 + load(x + i + k_lanes);
        s2 = s2 + load(x + i + 2 * k_lanes);
        s3 = s3 + load(x + i + 3 * k_lanes);
    }
    for (; i + k_lanes <= n; i += k_lanes) s0 = s0 + load(x + i);
    if (i < n) s1 = s1 + load_partial(x + i, n - i);
    return reduce_add((s0 + s1) + (s2 + s3));
}

/// Σ (x − mean)²
inline float row_squared_deviations(const float* x, float mean, index_t n) {
    f32 s0 = broadcast(0.0f), s1 = s0, s2 = s0, s3 = s0;
    index_t i = 0;
    for (; i + 4 * k_lanes <= n; i += 4 * k_lanes) {
        const f32 a = load(x + i) - mean, b = load(x + i + k_lanes) - mean;
        const f32 c = load(x + i + 2 * k_lanes) - mean, e = load(x + i + 3 * k_lanes) - mean;
        s0 = fma(a, a, s0);
        s1 = fma(b, b, s1);
        s2 = fma(c, c, s2);
        s3 = fma(e, e, s3);
    }
    for (; i < n; i += k_lanes) {
        const index_t m = n - i < k_lanes ? n - i : k_lanes;
        const f32 a = select(first_lanes(m), load_partial(x + i, m) - mean, broadcast(0.0f));
        s0 = fma(a, a, s0);
    }
    return reduce_add((s0 + s1) + (s2 + s3));
}

/// y = (x − mean) · rstd · weight + bias for n_rows rows, the strides apart; y may alias x. Three sweeps of a row that stays in
/// the first-level cache; the last one also fetches the next row, so that memory is not idle meanwhile.
inline void layer_norm_rows_f32(float* y, index_t y_stride, const float* x, index_t x_stride, const float* weight, const float* bias,
                                index_t n_rows, index_t d, double eps, float* mean, index_t mean_stride, float* rstd, index_t rstd_stride) {
    for (index_t row = 0; row < n_rows; ++row, y += y_stride, x += x_stride) {
        const float mu = row_sum(x, d) / static_cast<float>(d);
        const double variance = static_cast<double>(row_squared_deviations(x, mu, d)) / static_cast<double>(d);
        const float r = static_cast<float>(1.0 / __builtin_sqrt(variance + eps));
        mean[row * mean_stride] = mu;
        rstd[row * rstd_stride] = r;
        const float* const ahead = row + 1 < n_rows ? x + x_stride : x;
        index_t i = 0;
        for (; i + k_lanes <= d; i += k_lanes) {
            __builtin_prefetch(ahead + i);
            store(y + i, fma((load(x + i) - mu) * r, load(weight + i), load(bias + i)));
        }
        if (i < d) {
            const index_t m = d - i;
            store_partial(y + i, fma((load_partial(x + i, m) - mu) * r, load_partial(weight + i, m), load_partial(bias + i, m)), m);
        }
    }
}

/// Adds one row to dweight and dbias and writes dx, which may alias dy. No fetching ahead here: measured, it slows the two
/// streams down.
inline void layer_norm_gradient_row_f32(float* dx, float* dweight, float* dbias, const float* dy, const float* x, const float* weight,
                                        float mean, float rstd, index_t d) {
    f32 g0 = broadcast(0.0f), g1 = g0, h0 = g0, h1 = g0;
    index_t i = 0;
    for (; i + 2 * k_lanes <= d; i += 2 * k_lanes) {
        const index_t j = i + k_lanes;
        const f32 dy0 = load(dy + i), dy1 = load(dy + j);
        const f32 xh0 = (load(x + i) - mean) * rstd, xh1 = (load(x + j) - mean) * rstd;
        const f32 a0 = dy0 * load(weight + i), a1 = dy1 * load(weight + j);
        g0 = g0 + a0;
        g1 = g1 + a1;
        h0 = fma(a0, xh0, h0);
        h1 = fma(a1, xh1, h1);
        store(dweight + i, fma(dy0, xh0, load(dweight + i)));
        store(dweight + j, fma(dy1, xh1, load(dweight + j)));
        store(dbias + i, load(dbias + i) + dy0);
        store(dbias + j, load(dbias + j) + dy1);
    }
    for (; i < d; i += k_lanes) {
        const index_t m = d - i < k_lanes ? d - i : k_lanes;
        // dy is 0 in the lanes past the row, and so is what it multiplies.
        const f32 dy0 = load_partial(dy + i, m);
        const f32 xh0 = (load_partial(x + i, m) - mean) * rstd;
        const f32 a0 = dy0 * load_partial(weight + i, m);
        g0 = g0 + a0;
        h0 = fma(a0, select(first_lanes(m), xh0, broadcast(0.0f)), h0);
        store_partial(dweight + i, fma(dy0, xh0, load_partial(dweight + i, m)), m);
        store_partial(dbias + i, load_partial(dbias + i, m) + dy0, m);
    }
    const float mean_g = reduce_add(g0 + g1) / static_cast<float>(d);
    const float mean_gx = reduce_add(h0 + h1) / static_cast<float>(d);
    for (i = 0; i < d; i += k_lanes) {
        const index_t m = d - i < k_lanes ? d - i : k_lanes;
        const bool whole = m == k_lanes;
        const f32 xh = ((whole ? load(x + i) : load_partial(x + i, m)) - mean) * rstd;
        const f32 g = whole ? load(dy + i) * load(weight + i) : load_partial(dy + i, m) * load_partial(weight + i, m);
        const f32 result = rstd * fma(xh, broadcast(-mean_gx), g - mean_g);
        if (whole) store(dx + i, result);
        else store_partial(dx + i, result, m);
    }
}

}  // namespace instar::ops::cpu::simd::INSTAR_SIMD_NS
