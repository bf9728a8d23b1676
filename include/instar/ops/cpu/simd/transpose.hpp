#ifndef INSTAR_OPS_CPU_SIMD_TRANSPOSE_HPP
#define INSTAR_OPS_CPU_SIMD_TRANSPOSE_HPP

// Transposition of k_lanes × k_lanes floats in registers, for every instruction set: see simd/transpose.inl.

#include "instar/ops/cpu/simd/vec.hpp"

#define INSTAR_SIMD_INNER "instar/ops/cpu/simd/transpose.inl"
#include "instar/ops/cpu/simd/foreach_isa.inl"

#endif
