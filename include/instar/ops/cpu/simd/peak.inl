// Multiply-add loop of one instruction set. Included by simd/peak.hpp once for each.

namespace instar::ops::cpu::simd::INSTAR_SIMD_NS {

/// n · 12 · k_lanes fused multiply-adds in registers, 12 independent chains (latency times throughput of any current core is
/// at most 10). Returns their sum, so that nothing can be left out; *flop receives the FLOP done.
inline float peak_fma(index_t n, double* flop) {
    f32 a[12];
    for (int i = 0; i < 12; ++i) a[i] = broadcast(static_cast<float>(i));
    // Values the compiler cannot know; the chains converge to 2, so no denormal or infinity slows them.
    float half = 0.5f, one = 1.0f;
    asm volatile("" : "+m"(half), "+m"(one));
    const f32 x = broadcast(half), y = broadcast(one);
    for (index_t r = 0; r < n; ++r) {
#pragma GCC unroll 12
        for (int i = 0; i < 12; ++i) a[i] = fma(a[i], x, y);
    }
    f32 sum = broadcast(0.0f);
    for (int i = 0; i < 12; ++i) sum = sum + a[i];
    *flop = 2.0 * 12.0 * static_cast<double>(k_lanes) * static_cast<double>(n);
    return reduce_add(sum);
}

/// a = b + s · c, with ordinary stores.
inline void triad(float* a, const float* b, const float* c, float s, index_t n) {
    const f32 factor = broadcast(s);
    index_t i = 0;
    for (; i + k_lanes <= n; i += k_lanes) store(a + i, fma(factor, load(c + i), load(b + i)));
    if (i < n) store_partial(a + i, fma(factor, load_partial(c + i, n - i), load_partial(b + i, n - i)), n - i);
}

}  // namespace instar::ops::cpu::simd::INSTAR_SIMD_NS
