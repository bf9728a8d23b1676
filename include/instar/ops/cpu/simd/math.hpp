#ifndef INSTAR_OPS_CPU_SIMD_MATH_HPP
#define INSTAR_OPS_CPU_SIMD_MATH_HPP

// exp, log, erf, gelu and its gradient on vectors of every instruction set: the names of simd/math.inl.
//
//     INSTAR_SIMD_PICK(exp_range)(y, x, n);

#include "instar/ops/cpu/simd/vec.hpp"

#define INSTAR_SIMD_INNER "instar/ops/cpu/simd/math.inl"
#include "instar/ops/cpu/simd/foreach_isa.inl"

#endif
