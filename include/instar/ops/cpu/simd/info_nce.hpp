#ifndef INSTAR_OPS_CPU_SIMD_INFO_NCE_HPP
#define INSTAR_OPS_CPU_SIMD_INFO_NCE_HPP

// Sums of exponentials over rows and columns of a tile of similarities, and the tile's gradient: see simd/info_nce.inl.
// Called through ops/cpu/info_nce_tile.hpp, which has the same functions for double.

#include "instar/ops/cpu/simd/math.hpp"

namespace instar::ops::cpu {

/// What one row of a tile needs for its gradient: weight · exp(z − shift), less `pull` for each partner; the pointers are the
/// columns' own. Who is no anchor has shift = +∞ and weight = pull = 0.
template <class T>
struct info_nce_gradient_row {
    T scale;  ///< exp(logit_scale)
    T shift, weight, pull;
    const T* column_shift;
    const T* column_weight;
    const T* column_pull;
    std::int32_t label;                 ///< negative: no partners by label
    const std::int32_t* column_labels;  ///< or none
};

}  // namespace instar::ops::cpu

#define INSTAR_SIMD_INNER "instar/ops/cpu/simd/info_nce.inl"
#include "instar/ops/cpu/simd/foreach_isa.inl"

#endif
