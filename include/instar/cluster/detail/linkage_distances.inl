// Distances of one point to many in double, one instruction set's part. Included by cluster/detail/linkage_distances.hpp once for
// each instruction set.
//
// Each sum runs over the coordinates in order and rounds after every product and every addition: the values that a plain
// loop gives, and SciPy and scikit-learn with it, down to the last bit, so that equal distances are equal here too. The
// vectors run over points.

namespace instar::ops::cpu::simd::INSTAR_SIMD_NS {

namespace detail {

/// x, in a way that no compiler fuses its product with the addition that follows.
INSTAR_ALWAYS_INLINE f64 rounded_product(f64 x) {
#if defined(__clang__)
#elif INSTAR_SIMD_LEVEL == 4
    asm("" : "+v"(x));
#elif INSTAR_SIMD_LEVEL == 3 || defined(__SSE2__)
    asm("" : "+x"(x));
#elif defined(__aarch64__)
    asm("" : "+w"(x));
#endif
    return x;
}

INSTAR_ALWAYS_INLINE f64 square_root(f64 x) {
#if INSTAR_SIMD_LEVEL == 4 && defined(__clang__)
    return __builtin_ia32_sqrtpd512(x, 4);
#elif INSTAR_SIMD_LEVEL == 4
    return __builtin_ia32_sqrtpd512_mask(x, f64{}, -1, 4);
#elif INSTAR_SIMD_LEVEL == 3
    return __builtin_ia32_sqrtpd256(x);
#else
    for (index_t i = 0; i < k_lanes_f64; ++i) x[i] = __builtin_sqrt(x[i]);
    return x;
#endif
}

template <int Panels>
INSTAR_ALWAYS_INLINE void panel_distances(double* out, index_t depth, const double* x, const double* panels, double factor, bool root) {
#if defined(__clang__)
#pragma clang fp contract(off)
#endif
    constexpr int k_vectors = static_cast<int>(8 / k_lanes_f64);  // of a panel
    f64 sum[Panels * k_vectors];
#pragma GCC unroll 16
    for (int v = 0; v < Panels * k_vectors; ++v) sum[v] = f64{};
    for (index_t p = 0; p < depth; ++p) {
        const f64 a = broadcast(x[p]);
#pragma GCC unroll 16
        for (int v = 0; v < Panels * k_vectors; ++v) {
            const f64 difference = a - load(panels + v / k_vectors * depth * 8 + p * 8 + v % k_vectors * k_lanes_f64);
            sum[v] = sum[v] + rounded_product(difference * difference);
        }
    }
#pragma GCC unroll 16
    for (int v = 0; v < Panels * k_vectors; ++v) store(out + v * k_lanes_f64, root ? square_root(sum[v]) : sum[v] * factor);
}

}  // namespace detail

/// out[j] = √(Σ (x − y_j)²) when `root`, else factor · Σ (x − y_j)², for the 8·n_panels points y of panels [depth][8].
inline void point_distances(double* out, index_t depth, const double* x, const double* panels, index_t n_panels, double factor, bool root) {
    index_t q = 0;
    for (; q + 4 <= n_panels; q += 4) detail::panel_distances<4>(out + 8 * q, depth, x, panels + 8 * q * depth, factor, root);
    for (; q < n_panels; ++q) detail::panel_distances<1>(out + 8 * q, depth, x, panels + 8 * q * depth, factor, root);
}

}  // namespace instar::ops::cpu::simd::INSTAR_SIMD_NS
