#ifndef INSTAR_OPS_CPU_SIMD_VEC_HPP
#define INSTAR_OPS_CPU_SIMD_VEC_HPP

// Vector types and operations of every instruction set: simd::v4, simd::v3, simd::base. Kernels include this driver and use
// the names of simd/vec.inl.

#include <cstdint>

#include "instar/core/element.hpp"
#include "instar/ops/cpu/simd/isa.hpp"

#define INSTAR_SIMD_INNER "instar/ops/cpu/simd/vec.inl"
#include "instar/ops/cpu/simd/foreach_isa.inl"

#endif
