// k-means, one instruction set's part: best scores of rows of a product, and distances of panels of points to candidates.
// Included by cluster/detail/kmeans_kernels.hpp once for each instruction set.

namespace instar::ops::cpu::simd::INSTAR_SIMD_NS {

/// best[r], label[r] = the largest score of row r and the name of its column, if it beats what is there: larger, or equal under a smaller
/// name. scores: [n_rows][stride], the first n_columns of each row; names: [n_columns], ascending.
inline void kmeans_best(float* best, std::int32_t* label, const float* scores, index_t stride, index_t n_rows, index_t n_columns, const std::int32_t* names) {
    for (index_t r = 0; r < n_rows; ++r) {
        const float* const row = scores + r * stride;
        float value = best[r];
        std::int32_t name = label[r];
        index_t j = 0;
        if (n_columns >= k_lanes) {
            f32 high = load(row);
            i32 who = load(names);
            for (j = k_lanes; j + k_lanes <= n_columns; j += k_lanes) {
                const f32 s = load(row + j);
                const i32 larger = s > high;  // strictly: names ascend, so the first of equals stays
                high = larger ? s : high;
                who = larger ? load(names + j) : who;
            }
            const float top = reduce_max(high);
            for (index_t l = 0; l < k_lanes; ++l) {
                if (high[l] == top && (top > value || (top == value && who[l] < name))) {
                    value = top;
                    name = who[l];
                }
            }
        }
        for (; j < n_columns; ++j) {
            if (row[j] > value || (row[j] == value && names[j] < name)) {
                value = row[j];
                name = names[j];
            }
        }
        best[r] = value;
        label[r] = name;
    }
}

/// Points of a panel; a panel is [depth][k_kmeans_panel].
inline constexpr index_t k_kmeans_panel = 16;

namespace detail {

/// Squared distances of a panel's points to G candidates, kept at or above 0.
template <int G>
INSTAR_ALWAYS_INLINE void kmeans_distances(f32 (&out)[G][k_kmeans_panel / k_lanes], const float* panel, const float* norms, index_t depth, const float* candidates,
                                           const float* candidate_norms) {
    constexpr int k_vectors = k_kmeans_panel / k_lanes;
    f32 dot[G][k_vectors] = {};
    for (index_t p = 0; p < depth; ++p, panel += k_kmeans_panel) {
#pragma GCC unroll 8
        for (int v = 0; v < k_vectors; ++v) {
            const f32 x = load(panel + v * k_lanes);
#pragma GCC unroll 8
            for (int g = 0; g < G; ++g) dot[g][v] = fma(broadcast(candidates[g * depth + p]), x, dot[g][v]);
        }
    }
#pragma GCC unroll 8
    for (int g = 0; g < G; ++g) {
#pragma GCC unroll 8
        for (int v = 0; v < k_vectors; ++v) {
            const f32 d = (load(norms + v * k_lanes) + broadcast(candidate_norms[g])) - (dot[g][v] + dot[g][v]);
            out[g][v] = d > f32{} ? d : f32{};
        }
    }
}

template <int G>
INSTAR_ALWAYS_INLINE void kmeans_gains_of(double* gains, const float* panels, const float* norms, const float* nearest, index_t n_panels, index_t depth,
                                          const float* candidates, const float* candidate_norms) {
    constexpr int k_vectors = k_kmeans_panel / k_lanes;
    f32 sum[G] = {};
    for (index_t i = 0; i < n_panels; ++i) {
        f32 d[G][k_vectors];
        kmeans_distances<G>(d, panels + i * depth * k_kmeans_panel, norms + i * k_kmeans_panel, depth, candidates, candidate_norms);
#pragma GCC unroll 8
        for (int v = 0; v < k_vectors; ++v) {
            const f32 now = load(nearest + i * k_kmeans_panel + v * k_lanes);
#pragma GCC unroll 8
            for (int g = 0; g < G; ++g) {
                const f32 gain = now - d[g][v];
                sum[g] = sum[g] + (gain > f32{} ? gain : f32{});
            }
        }
    }
#pragma GCC unroll 8
    for (int g = 0; g < G; ++g) gains[g] = static_cast<double>(reduce_add(sum[g]));
}

}  // namespace detail

/// gains[t] = Σ max(0, nearest − ‖x − candidate t‖²) over the points of a run of panels. candidates: [n][depth].
inline void kmeans_gains(double* gains, const float* panels, const float* norms, const float* nearest, index_t n_panels, index_t depth, const float* candidates,
                         const float* candidate_norms, index_t n) {
    // Groups of equal size, so that none is too small to hide the latency of its multiply-adds.
    constexpr index_t k_group = INSTAR_SIMD_LEVEL == 4 ? 8 : INSTAR_SIMD_LEVEL == 3 ? 4 : 2;
    const index_t n_groups = (n + k_group - 1) / k_group;
    for (index_t q = 0; q < n_groups; ++q) {
        const index_t t = n * q / n_groups, size = n * (q + 1) / n_groups - t;
        double* const out = gains + t;
        const float *const c = candidates + t * depth, *const cn = candidate_norms + t;
        switch (size) {
            case 1: detail::kmeans_gains_of<1>(out, panels, norms, nearest, n_panels, depth, c, cn); break;
            case 2: detail::kmeans_gains_of<2>(out, panels, norms, nearest, n_panels, depth, c, cn); break;
#if INSTAR_SIMD_LEVEL >= 3
            case 3: detail::kmeans_gains_of<3>(out, panels, norms, nearest, n_panels, depth, c, cn); break;
            case 4: detail::kmeans_gains_of<4>(out, panels, norms, nearest, n_panels, depth, c, cn); break;
#endif
#if INSTAR_SIMD_LEVEL == 4
            case 5: detail::kmeans_gains_of<5>(out, panels, norms, nearest, n_panels, depth, c, cn); break;
            case 6: detail::kmeans_gains_of<6>(out, panels, norms, nearest, n_panels, depth, c, cn); break;
            case 7: detail::kmeans_gains_of<7>(out, panels, norms, nearest, n_panels, depth, c, cn); break;
            case 8: detail::kmeans_gains_of<8>(out, panels, norms, nearest, n_panels, depth, c, cn); break;
#endif
            default: break;
        }
    }
}

/// distances[t][i] = ‖x_i − candidate t‖² for the points of a run of panels; rows of n_panels · k_kmeans_panel.
inline void kmeans_squared_distances(float* distances, const float* panels, const float* norms, index_t n_panels, index_t depth, const float* candidates,
                                     const float* candidate_norms, index_t n) {
    constexpr int k_vectors = k_kmeans_panel / k_lanes;
    for (index_t i = 0; i < n_panels; ++i) {
        for (index_t t = 0; t < n; ++t) {
            f32 d[1][k_vectors];
            detail::kmeans_distances<1>(d, panels + i * depth * k_kmeans_panel, norms + i * k_kmeans_panel, depth, candidates + t * depth, candidate_norms + t);
#pragma GCC unroll 8
            for (int v = 0; v < k_vectors; ++v) store(distances + (t * n_panels + i) * k_kmeans_panel + v * k_lanes, d[0][v]);
        }
    }
}

/// nearest = min(nearest, ‖x − candidate‖²) over the points of a run of panels.
inline void kmeans_lower(float* nearest, const float* panels, const float* norms, index_t n_panels, index_t depth, const float* candidate, float candidate_norm) {
    constexpr int k_vectors = k_kmeans_panel / k_lanes;
    for (index_t i = 0; i < n_panels; ++i) {
        f32 d[1][k_vectors];
        detail::kmeans_distances<1>(d, panels + i * depth * k_kmeans_panel, norms + i * k_kmeans_panel, depth, candidate, &candidate_norm);
#pragma GCC unroll 8
        for (int v = 0; v < k_vectors; ++v) {
            float* const at = nearest + i * k_kmeans_panel + v * k_lanes;
            const f32 now = load(at);
            store(at, d[0][v] < now ? d[0][v] : now);
        }
    }
}

}  // namespace instar::ops::cpu::simd::INSTAR_SIMD_NS
