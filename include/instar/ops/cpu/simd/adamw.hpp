#ifndef INSTAR_OPS_CPU_SIMD_ADAMW_HPP
#define INSTAR_OPS_CPU_SIMD_ADAMW_HPP

// The AdamW update of float on vectors.
//
//     INSTAR_SIMD_PICK(adamw_range_f32)(p, m, v, g, n, constants);

#include "instar/ops/cpu/simd/vec.hpp"

namespace instar::ops::cpu::simd {

/// What is the same for every element, computed in double and rounded once.
template <class T>
struct adamw_constants {
    T keep;             ///< 1 − lr·wd
    T beta1;
    T one_minus_beta1;
    T beta2;
    T one_minus_beta2;
    T step_size;        ///< lr / (1 − β₁ᵗ)
    T inv_correction2;  ///< 1 / √(1 − β₂ᵗ)
    T eps;
    T grad_scale;
};

}  // namespace instar::ops::cpu::simd

#define INSTAR_SIMD_INNER "instar/ops/cpu/simd/adamw.inl"
#include "instar/ops/cpu/simd/foreach_isa.inl"

#endif
