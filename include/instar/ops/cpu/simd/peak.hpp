#ifndef INSTAR_OPS_CPU_SIMD_PEAK_HPP
#define INSTAR_OPS_CPU_SIMD_PEAK_HPP

// What the machine can do at most: the loops that benchmarks compare themselves with (benchmarks/roofline.hpp).
//
//     double flop = 0;
//     INSTAR_SIMD_PICK(peak_fma)(1'000'000, &flop);     // time this
//     INSTAR_SIMD_PICK(triad)(a, b, c, 3.0f, n);        // 12·n bytes, 16·n with the read before the write

#include "instar/ops/cpu/simd/vec.hpp"

#define INSTAR_SIMD_INNER "instar/ops/cpu/simd/peak.inl"
#include "instar/ops/cpu/simd/foreach_isa.inl"

#endif
