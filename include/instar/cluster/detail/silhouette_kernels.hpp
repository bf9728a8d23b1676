#ifndef INSTAR_CLUSTER_DETAIL_SILHOUETTE_KERNELS_HPP
#define INSTAR_CLUSTER_DETAIL_SILHOUETTE_KERNELS_HPP

// The kernels of cluster/silhouette.hpp for every instruction set: see silhouette.inl. Chosen once a call, by
// silhouette_kernels::pick(kind).

#include "instar/ops/cpu/simd/vec.hpp"

namespace instar::ops::cpu::simd {

/// euclidean: √Σδ², squared: Σδ², manhattan: Σ|δ|, chebyshev: max |δ|, over coordinates.
enum class silhouette_kind { euclidean, squared, manhattan, chebyshev };

/// Of a panel's rows: the sum over the cluster being passed, over the own cluster, the smallest mean over another; each row's
/// cluster as a double; the cluster being passed.
struct silhouette_state {
    double* sum;
    double* own;
    double* nearest;
    const double* own_cluster;
    index_t* cluster;
};

}  // namespace instar::ops::cpu::simd

#define INSTAR_SIMD_INNER "instar/cluster/detail/silhouette.inl"
#include "instar/ops/cpu/simd/foreach_isa.inl"

namespace instar::cluster::detail {

/// The kernels of the active instruction set.
struct silhouette_kernels {
    static constexpr index_t k_max_rows = 2 * ops::cpu::simd::k_max_bytes / 8;

    index_t rows;  // of a panel
    void (*sums)(const ops::cpu::simd::silhouette_state&, index_t, const double*, const double*, index_t,
                 const index_t*, index_t, index_t);
    void (*ratios)(double*, double*, index_t, const double*, const double*, const double*, index_t, const double*,
                   index_t);

    static silhouette_kernels pick(ops::cpu::simd::silhouette_kind kind) {
        using enum ops::cpu::simd::silhouette_kind;
        return {INSTAR_SIMD_PICK(silhouette_rows)(),
                kind == squared     ? INSTAR_SIMD_PICK(silhouette_sums<squared>)
                : kind == manhattan ? INSTAR_SIMD_PICK(silhouette_sums<manhattan>)
                : kind == chebyshev ? INSTAR_SIMD_PICK(silhouette_sums<chebyshev>)
                                    : INSTAR_SIMD_PICK(silhouette_sums<euclidean>),
                INSTAR_SIMD_PICK(davies_bouldin_ratios)};
    }
};

}  // namespace instar::cluster::detail

#endif
