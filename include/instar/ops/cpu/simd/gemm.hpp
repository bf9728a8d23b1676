#ifndef INSTAR_OPS_CPU_SIMD_GEMM_HPP
#define INSTAR_OPS_CPU_SIMD_GEMM_HPP

// The packed matrix product of every instruction set: see simd/gemm.inl. Called through ops/cpu/gemm_packed.hpp.

#include <utility>

#include "instar/ops/cpu/gemm_problem.hpp"
#include "instar/ops/cpu/simd/math.hpp"
#include "instar/ops/cpu/simd/transpose.hpp"
#include "instar/ops/cpu/simd/vec.hpp"

#define INSTAR_SIMD_INNER "instar/ops/cpu/simd/gemm.inl"
#include "instar/ops/cpu/simd/foreach_isa.inl"

#endif
