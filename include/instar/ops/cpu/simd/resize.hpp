#ifndef INSTAR_OPS_CPU_SIMD_RESIZE_HPP
#define INSTAR_OPS_CPU_SIMD_RESIZE_HPP

// 8-bit images resampled along rows and along columns in fixed point, on vectors: data/image_resize.hpp.
//
//     INSTAR_SIMD_PICK(resize_row_rgb)(y, x, plan, n_out);
//     INSTAR_SIMD_PICK(resize_column_bytes)(y, rows, weights, n_taps, n_bytes);

#include <cstdint>
#include <cstring>

#include "instar/ops/cpu/simd/vec.hpp"

namespace instar::ops::cpu::simd {

/// Weights of one row of pixels: n_taps for each output pixel, in units of 2⁻²², zeros after the last that counts; each four times, once for a
/// lane of its pixel.
struct resize_plan {
    const std::int32_t* first;    ///< [n_out] the first source pixel
    const std::int32_t* weight;   ///< [n_out, n_taps, 4]
    index_t n_taps;               ///< a multiple of 4
};

}  // namespace instar::ops::cpu::simd

#define INSTAR_SIMD_INNER "instar/ops/cpu/simd/resize.inl"
#include "instar/ops/cpu/simd/foreach_isa.inl"

#endif
