#ifndef INSTAR_OPS_CPU_SIMD_NORMALIZE_HPP
#define INSTAR_OPS_CPU_SIMD_NORMALIZE_HPP

// Layer normalisation of rows of float: the names of simd/normalize.inl, for every instruction set.
//
//     INSTAR_SIMD_PICK(layer_norm_rows)(…);

#include "instar/ops/cpu/simd/vec.hpp"

#define INSTAR_SIMD_INNER "instar/ops/cpu/simd/normalize.inl"
#include "instar/ops/cpu/simd/foreach_isa.inl"

#endif
