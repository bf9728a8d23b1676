#ifndef INSTAR_OPS_CPU_SIMD_DROPOUT_HPP
#define INSTAR_OPS_CPU_SIMD_DROPOUT_HPP

// Philox4x32-10 and dropout of float and bf16 on vectors: the same bits as core/philox.hpp.
//
//     INSTAR_SIMD_PICK(dropout_range<true, float>)(y, residual, x, begin, end, constants);

#include "instar/core/philox.hpp"
#include "instar/ops/cpu/simd/vec.hpp"

namespace instar::ops::cpu::simd {

struct dropout_constants {
    philox rng;
    std::uint32_t drop_below;
    float scale;
};

}  // namespace instar::ops::cpu::simd

#define INSTAR_SIMD_INNER "instar/ops/cpu/simd/dropout.inl"
#include "instar/ops/cpu/simd/foreach_isa.inl"

#endif
