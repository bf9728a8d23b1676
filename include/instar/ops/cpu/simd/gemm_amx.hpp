#ifndef INSTAR_OPS_CPU_SIMD_GEMM_AMX_HPP
#define INSTAR_OPS_CPU_SIMD_GEMM_AMX_HPP

// The kernels that products use: simd/gemm.inl, and on processors with AMX, for bf16, simd/gemm_amx.inl.
//
//     const gemm_kernels kernels = INSTAR_SIMD_PICK(gemm_kernels_for)(problem.bf16);

#include <cstdint>

#include "instar/ops/cpu/simd/gemm.hpp"

#define INSTAR_SIMD_INNER "instar/ops/cpu/simd/gemm_amx.inl"
#include "instar/ops/cpu/simd/foreach_isa.inl"

#endif
