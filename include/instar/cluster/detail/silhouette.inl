// Distances of a panel of points to others, in double, one instruction set's part: sums over clusters for the silhouette, ratios
// for the Davies-Bouldin index. Included by cluster/detail/silhouette_kernels.hpp once for each instruction set.
//
// A panel holds k_silhouette_rows points, [depth][k_silhouette_rows]; the other points are rows of doubles. A tile is the panel
// times some rows: differences, not products, so near points keep all digits. What follows a distance works on the panel's lanes
// at once, and other points come sorted by cluster, so a cluster's sum stays in registers.

namespace instar::ops::cpu::simd::INSTAR_SIMD_NS {

#if INSTAR_SIMD_LEVEL == 4
inline constexpr int k_silhouette_columns = 8;  // 16 sums of 32 registers
#else
inline constexpr int k_silhouette_columns = 4;
#endif
inline constexpr index_t k_silhouette_rows = 2 * k_lanes_f64;

inline index_t silhouette_rows() { return k_silhouette_rows; }

namespace detail {

INSTAR_ALWAYS_INLINE f64 silhouette_sqrt(f64 x) {
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

INSTAR_ALWAYS_INLINE f64 silhouette_abs(f64 x) { return (f64)((i64)x & 0x7fffffffffffffff); }

/// sum := what a coordinate adds.
template <silhouette_kind Kind>
INSTAR_ALWAYS_INLINE void silhouette_add(f64& sum, f64 difference) {
    if constexpr (Kind == silhouette_kind::manhattan) sum = sum + silhouette_abs(difference);
    else if constexpr (Kind == silhouette_kind::chebyshev) sum = max(sum, silhouette_abs(difference));
    else sum = fma(difference, difference, sum);
}

/// Distances of the panel to Columns rows from y on, ld apart.
template <silhouette_kind Kind, int Columns>
INSTAR_ALWAYS_INLINE void silhouette_tile(f64 (&out)[Columns][2], index_t depth, const double* panel, const double* y,
                                          index_t ld) {
    f64 sum[Columns][2];
#pragma GCC unroll 8
    for (int c = 0; c < Columns; ++c) sum[c][0] = sum[c][1] = f64{};
    for (index_t p = 0; p < depth; ++p) {
        const f64 x0 = load(panel + p * k_silhouette_rows), x1 = load(panel + p * k_silhouette_rows + k_lanes_f64);
#pragma GCC unroll 8
        for (int c = 0; c < Columns; ++c) {
            const f64 other = broadcast(y[c * ld + p]);
            silhouette_add<Kind>(sum[c][0], x0 - other);
            silhouette_add<Kind>(sum[c][1], x1 - other);
        }
    }
#pragma GCC unroll 8
    for (int c = 0; c < Columns; ++c) {
#pragma GCC unroll 2
        for (int v = 0; v < 2; ++v)
            out[c][v] = Kind == silhouette_kind::euclidean ? silhouette_sqrt(sum[c][v]) : sum[c][v];
    }
}

/// Where silhouette_sums is: the cluster being passed, its end, and its sums so far.
struct silhouette_place {
    index_t cluster, end;
    f64 s0, s1;
};

/// A row keeps the sum of its own cluster, and the mean of another if it is the smallest; then the next cluster begins.
INSTAR_ALWAYS_INLINE void silhouette_finish(const silhouette_state& s, silhouette_place& at, const index_t* begin) {
    const f64 count = broadcast(static_cast<double>(at.end - begin[at.cluster])),
              id = broadcast(static_cast<double>(at.cluster));
#pragma GCC unroll 2
    for (index_t v = 0; v < 2; ++v) {
        const f64 sum = v == 0 ? at.s0 : at.s1, nearest = load(s.nearest + v * k_lanes_f64);
        const i64 mine = load(s.own_cluster + v * k_lanes_f64) == id;
        store(s.own + v * k_lanes_f64, select(mine, sum, load(s.own + v * k_lanes_f64)));
        store(s.nearest + v * k_lanes_f64, select(mine, nearest, min(sum / count, nearest)));
    }
    at.s0 = at.s1 = f64{};
    ++at.cluster;
    at.end = begin[at.cluster + 1];
}

/// Points [j, j + Columns), which may lie in several clusters.
template <silhouette_kind Kind, int Columns>
INSTAR_ALWAYS_INLINE void silhouette_add_columns(const silhouette_state& s, silhouette_place& at, index_t depth,
                                                 const double* panel, const double* y, index_t ld, const index_t* begin,
                                                 index_t j) {
    f64 distance[Columns][2];
    silhouette_tile<Kind, Columns>(distance, depth, panel, y + j * ld, ld);
#pragma GCC unroll 8
    for (int c = 0; c < Columns; ++c) {
        at.s0 = at.s0 + distance[c][0];
        at.s1 = at.s1 + distance[c][1];
        if (j + c + 1 == at.end) silhouette_finish(s, at, begin);
    }
}

template <int Columns>
INSTAR_ALWAYS_INLINE void davies_bouldin_columns(f64 (&ratio)[2], f64 (&farthest)[2], index_t depth,
                                                 const double* panel, const double* scatter, const double* y,
                                                 index_t ld, const double* y_scatter) {
    f64 distance[Columns][2];
    silhouette_tile<silhouette_kind::euclidean, Columns>(distance, depth, panel, y, ld);
#pragma GCC unroll 8
    for (int c = 0; c < Columns; ++c) {
#pragma GCC unroll 2
        for (int v = 0; v < 2; ++v) {
            const f64 d = distance[c][v], r = (load(scatter + v * k_lanes_f64) + broadcast(y_scatter[c])) / d;
            ratio[v] = select(d > f64{}, max(r, ratio[v]), ratio[v]);
            farthest[v] = max(d, farthest[v]);
        }
    }
}

}  // namespace detail

/// Goes on with a panel's sums over points [j0, j1), which are sorted by cluster; cluster c holds points [begin[c], begin[c + 1]),
/// and begin has one more element past its end. s.cluster is the cluster of j0, whose sum so far is s.sum.
template <silhouette_kind Kind>
inline void silhouette_sums(const silhouette_state& s, index_t depth, const double* panel, const double* y, index_t ld,
                            const index_t* begin, index_t j0, index_t j1) {
    detail::silhouette_place at{*s.cluster, begin[*s.cluster + 1], load(s.sum), load(s.sum + k_lanes_f64)};
    index_t j = j0;
    for (; j + k_silhouette_columns <= j1; j += k_silhouette_columns)
        detail::silhouette_add_columns<Kind, k_silhouette_columns>(s, at, depth, panel, y, ld, begin, j);
    for (; j < j1; ++j) detail::silhouette_add_columns<Kind, 1>(s, at, depth, panel, y, ld, begin, j);
    store(s.sum, at.s0);
    store(s.sum + k_lanes_f64, at.s1);
    *s.cluster = at.cluster;
}

/// Of a panel of centres with their scatter: the largest (scatter + other scatter) / distance over `n` centres that do not
/// coincide with it, and the largest distance.
inline void davies_bouldin_ratios(double* ratio, double* farthest, index_t depth, const double* panel,
                                  const double* scatter, const double* y, index_t ld, const double* y_scatter,
                                  index_t n) {
    f64 r[2] = {f64{}, f64{}}, far[2] = {f64{}, f64{}};
    index_t j = 0;
    for (; j + k_silhouette_columns <= n; j += k_silhouette_columns) {
        detail::davies_bouldin_columns<k_silhouette_columns>(r, far, depth, panel, scatter, y + j * ld, ld,
                                                             y_scatter + j);
    }
    for (; j < n; ++j) detail::davies_bouldin_columns<1>(r, far, depth, panel, scatter, y + j * ld, ld, y_scatter + j);
#pragma GCC unroll 2
    for (index_t v = 0; v < 2; ++v) {
        store(ratio + v * k_lanes_f64, r[v]);
        store(farthest + v * k_lanes_f64, far[v]);
    }
}

}  // namespace instar::ops::cpu::simd::INSTAR_SIMD_NS
