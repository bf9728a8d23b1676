#ifndef INSTAR_OPS_CPU_SIMD_ROWS_HPP
#define INSTAR_OPS_CPU_SIMD_ROWS_HPP

// Sums, products and scalings of rows of float: the names of simd/rows.inl, for every instruction set.
//
//     INSTAR_SIMD_PICK(add_range)(y, a, b, n);

#include "instar/ops/cpu/simd/vec.hpp"

#define INSTAR_SIMD_INNER "instar/ops/cpu/simd/rows.inl"
#include "instar/ops/cpu/simd/foreach_isa.inl"

#endif
