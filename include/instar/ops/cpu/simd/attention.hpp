#ifndef INSTAR_OPS_CPU_SIMD_ATTENTION_HPP
#define INSTAR_OPS_CPU_SIMD_ATTENTION_HPP

// Attention of one head of float, for every instruction set: simd/attention_tile.inl (products in cache), attention.inl
// (forward) and attention_backward.inl. Called through ops/cpu/attention.hpp.
//
//     INSTAR_SIMD_PICK(attention::forward_head)(head, 0, head.seq_len, scratch);
//     INSTAR_SIMD_PICK(attention::backward_head)(head, scratch);

#include "instar/ops/cpu/attention_plain.hpp"
#include "instar/ops/cpu/dropout.hpp"
#include "instar/ops/cpu/simd/dropout.hpp"
#include "instar/ops/cpu/simd/math.hpp"
#include "instar/ops/cpu/simd/transpose.hpp"
#include "instar/ops/cpu/simd/vec.hpp"

#define INSTAR_SIMD_INNER "instar/ops/cpu/simd/attention_tile.inl"
#include "instar/ops/cpu/simd/foreach_isa.inl"
#define INSTAR_SIMD_INNER "instar/ops/cpu/simd/attention.inl"
#include "instar/ops/cpu/simd/foreach_isa.inl"
#define INSTAR_SIMD_INNER "instar/ops/cpu/simd/attention_backward.inl"
#include "instar/ops/cpu/simd/foreach_isa.inl"

#endif
