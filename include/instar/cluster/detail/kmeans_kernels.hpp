#ifndef INSTAR_CLUSTER_DETAIL_KMEANS_KERNELS_HPP
#define INSTAR_CLUSTER_DETAIL_KMEANS_KERNELS_HPP

// The kernels of k-means for every instruction set: see kmeans.inl.
//
//     INSTAR_SIMD_PICK(kmeans_best)(best, label, scores, stride, n_rows, n_columns, names);

#include <cstdint>

#include "instar/ops/cpu/simd/vec.hpp"

#define INSTAR_SIMD_INNER "instar/cluster/detail/kmeans.inl"
#include "instar/ops/cpu/simd/foreach_isa.inl"

namespace instar::cluster::detail {

inline constexpr index_t k_kmeans_panel = 16;  ///< points of a packed panel

}  // namespace instar::cluster::detail

#endif
