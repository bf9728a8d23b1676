// One AdamW update of a range. Included by simd/adamw.hpp, where the constants are, once for each instruction set.

namespace instar::ops::cpu::simd::INSTAR_SIMD_NS {

namespace detail {

INSTAR_ALWAYS_INLINE void adamw_step(f32& p, f32& m, f32& v, f32 g, const adamw_constants<float>& c) {
    g = g * c.grad_scale;
    m = fma(broadcast(c.beta1), m, g * c.one_minus_beta1);
    v = fma(broadcast(c.beta2), v, g * g * c.one_minus_beta2);
    const f32 denominator = fma(sqrt(v), broadcast(c.inv_correction2), broadcast(c.eps));
    p = fma(broadcast(c.keep), p, m * -c.step_size / denominator);
}

}  // namespace detail

inline void adamw_range_f32(float* p, float* m, float* v, const float* g, index_t n, const adamw_constants<float>& constants) {
    // A copy, because the stores below could otherwise change what the reference points at.
    const adamw_constants<float> c = constants;
    index_t i = 0;
    for (; i + k_lanes <= n; i += k_lanes) {
        f32 pi = load(p + i), mi = load(m + i), vi = load(v + i);
        detail::adamw_step(pi, mi, vi, load(g + i), c);
        store(p + i, pi);
        store(m + i, mi);
        store(v + i, vi);
    }
    if (i < n) {
        const index_t k = n - i;
        f32 pi = load_partial(p + i, k), mi = load_partial(m + i, k), vi = load_partial(v + i, k);
        detail::adamw_step(pi, mi, vi, load_partial(g + i, k), c);
        store_partial(p + i, pi, k);
        store_partial(m + i, mi, k);
        store_partial(v + i, vi, k);
    }
}

}  // namespace instar::ops::cpu::simd::INSTAR_SIMD_NS
