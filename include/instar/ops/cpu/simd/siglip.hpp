#ifndef INSTAR_OPS_CPU_SIMD_SIGLIP_HPP
#define INSTAR_OPS_CPU_SIMD_SIGLIP_HPP

// A row of the sigmoid loss, and its gradient: see simd/siglip.inl. Called through ops/cpu/siglip.hpp.

#include "instar/ops/cpu/simd/math.hpp"

namespace instar::ops::cpu {

/// What a row of a tile needs, and what it adds up to.
template <class T>
struct siglip_row {
    T scale, bias, weight;
    std::int32_t label;                 ///< negative: no partners by label
    const std::int32_t* column_labels;  ///< or none
    std::int32_t partner;               ///< the column of the partner; negative for none
    double loss = 0.0;                  ///< Σ softplus(−t z), without the weight
    double moment = 0.0;                ///< Σ G · (z − bias)
    double sum = 0.0;                   ///< Σ G
};

}  // namespace instar::ops::cpu

#define INSTAR_SIMD_INNER "instar/ops/cpu/simd/siglip.inl"
#include "instar/ops/cpu/simd/foreach_isa.inl"

#endif
