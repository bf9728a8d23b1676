#ifndef INSTAR_CLUSTER_DETAIL_KNN_KERNELS_HPP
#define INSTAR_CLUSTER_DETAIL_KNN_KERNELS_HPP

// The kernels of cluster/knn.hpp for every instruction set: see knn.inl. Chosen once a search, by knn_kernels::pick().

#include <cstdint>
#include <utility>

#include "instar/ops/cpu/gemm_problem.hpp"
#include "instar/ops/cpu/simd/gemm.hpp"
#include "instar/ops/cpu/simd/rows.hpp"
#include "instar/ops/cpu/simd/vec.hpp"

#define INSTAR_SIMD_INNER "instar/cluster/detail/knn.inl"
#include "instar/ops/cpu/simd/foreach_isa.inl"

namespace instar::cluster::detail {

/// The kernels of the active instruction set.
struct knn_kernels {
    ops::cpu::gemm_geometry cut;
    void (*products)(float*, index_t, index_t, index_t, index_t, const float*, const float*, index_t);
    void (*pack_queries)(float*, const float*, index_t, index_t);
    void (*pack_references)(float*, const float*, index_t, index_t, index_t);
    double (*center)(float*, const float*, const double*, double, index_t);
    index_t (*scan)(const float*, const float*, const float*, float, float, index_t, std::int32_t*, float*);
    index_t (*scan_queries)(const float*, float, float, const float*, const float*, index_t, std::int32_t*, float*);
    float (*kth_bound)(const float*, index_t, index_t, std::int32_t*);
    index_t (*keep)(float*, float*, std::int32_t*, index_t, float);
    double (*difference)(const float*, const float*, index_t, double, double);
    double (*scaled_difference)(const float*, const float*, index_t, double, double);
    double (*dot)(const float*, const float*, index_t);

    static knn_kernels pick() {
        return {INSTAR_SIMD_PICK(gemm_pick)(false).cut,
                INSTAR_SIMD_PICK(knn_products),
                INSTAR_SIMD_PICK(knn_pack_queries),
                INSTAR_SIMD_PICK(knn_pack_references),
                INSTAR_SIMD_PICK(knn_center),
                INSTAR_SIMD_PICK(knn_scan),
                INSTAR_SIMD_PICK(knn_scan_queries),
                INSTAR_SIMD_PICK(knn_kth_bound),
                INSTAR_SIMD_PICK(knn_keep),
                INSTAR_SIMD_PICK(knn_squared_difference<false>),
                INSTAR_SIMD_PICK(knn_squared_difference<true>),
                INSTAR_SIMD_PICK(dot_f64)};
    }
};

}  // namespace instar::cluster::detail

#endif
