#ifndef INSTAR_CLUSTER_DETAIL_NEAREST_ROWS_KERNELS_HPP
#define INSTAR_CLUSTER_DETAIL_NEAREST_ROWS_KERNELS_HPP

// The kernels of nearest_rows.hpp for every instruction set: see nearest_rows.inl. Chosen once, by nearest_kernels::pick().

#include <cstdint>

#include "instar/ops/cpu/simd/vec.hpp"

namespace instar::ops::cpu::simd {

/// Floats of a packed row group's depth, columns of a packed panel, rows of a tile.
struct nearest_layout {
    index_t lanes, panel, rows;
};

}  // namespace instar::ops::cpu::simd

#define INSTAR_SIMD_INNER "instar/cluster/detail/nearest_rows.inl"
#include "instar/ops/cpu/simd/foreach_isa.inl"

namespace instar::cluster::detail {

/// The kernels of the active instruction set.
struct nearest_kernels {
    ops::cpu::simd::nearest_layout layout;
    index_t (*tile)(index_t, const float*, const float*, const float*, const float*, const float*, const float*, index_t, std::uint32_t*);
    index_t (*scan)(index_t, const float*, const std::int8_t*, const float*, const float*, float, float, index_t, std::uint32_t*);
    void (*shift)(float*, const float*, const float*, index_t, float*);
    double (*row)(float*, const double*, const double*, index_t, double);
    double (*squared_distance)(const double*, const double*, index_t);

    static nearest_kernels pick() {
        return {INSTAR_SIMD_PICK(nearest_cut)(), INSTAR_SIMD_PICK(nearest_tile), INSTAR_SIMD_PICK(nearest_scan), INSTAR_SIMD_PICK(nearest_shift),
                INSTAR_SIMD_PICK(nearest_row), INSTAR_SIMD_PICK(squared_distance)};
    }
};

}  // namespace instar::cluster::detail

#endif
