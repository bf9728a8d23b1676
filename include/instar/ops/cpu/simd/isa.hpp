#ifndef INSTAR_OPS_CPU_SIMD_ISA_HPP
#define INSTAR_OPS_CPU_SIMD_ISA_HPP

// How CPU kernels are written once and compiled for several instruction sets; core/isa.hpp says which one runs.
//
//     INSTAR_SIMD_PICK(exp_range)(y, x, n);         // calls simd::v4::exp_range, simd::v3::… or simd::base::…
//     simd::scoped_level slow(simd::level::base);   // a test's override, for its scope
//
// How to write a kernel (an example is simd/vec.inl with its driver simd/vec.hpp):
//
//  1. simd/NAME.inl holds the kernels, written once over the types of simd/vec.inl. It has no include guard, includes
//     nothing and opens `namespace instar::ops::cpu::simd::INSTAR_SIMD_NS {`. Everything in it is inline or a template.
//  2. simd/NAME.hpp is its driver. It includes the drivers of what NAME.inl uses, then
//         #define INSTAR_SIMD_INNER "instar/ops/cpu/simd/NAME.inl"
//         #include "instar/ops/cpu/simd/foreach_isa.inl"
//     which includes NAME.inl once for each instruction set, inside a region of that target. Standard headers go above it.
//  3. Callers name a kernel through INSTAR_SIMD_PICK(kernel), or INSTAR_SIMD_PICK(template kernel<int>). It is a function
//     pointer, so a kernel should do a row or a range of work, not an element.
//
// Rules: no lambdas in an .inl (clang leaves them outside the target region); no std:: containers or algorithms over vector
// types; helpers that take or return vectors are INSTAR_ALWAYS_INLINE; plain inline for kernels.
//
// The kernels sit in an inline namespace that names the flags this file is compiled with, so objects built with different
// -march options never share one. k_lanes is not the same at all levels: scratch buffers are sized by k_max_bytes.

#include "instar/core/isa.hpp"
#include "instar/core/version.hpp"

// One tag for each family of compile-time flags.
#if defined(__AVX512F__)
#define INSTAR_SIMD_TAG flags_avx512
#elif defined(__AVX2__) && defined(__FMA__)
#define INSTAR_SIMD_TAG flags_avx2
#elif defined(__AVX__)
#define INSTAR_SIMD_TAG flags_avx
#else
#define INSTAR_SIMD_TAG flags_default
#endif

/// Pointer to the kernel of the active instruction set.
#if INSTAR_SIMD_X86
#define INSTAR_SIMD_PICK(...) \
    ::instar::ops::cpu::simd::pick(&::instar::ops::cpu::simd::v4::__VA_ARGS__, &::instar::ops::cpu::simd::v3::__VA_ARGS__, &::instar::ops::cpu::simd::base::__VA_ARGS__)
#else
#define INSTAR_SIMD_PICK(...) (&::instar::ops::cpu::simd::base::__VA_ARGS__)
#endif

namespace instar::ops::cpu::simd {

using isa::active_level;
using isa::best_level;
using isa::level;
using isa::level_name;
using isa::scoped_level;
using isa::set_level;
using isa::supports;

/// Bytes of the widest vector of any level.
inline constexpr int k_max_bytes = 64;

/// What INSTAR_SIMD_PICK expands to.
template <class F>
F pick(F v4, F v3, F base) {
    const level l = active_level();
    return l == level::v4 ? v4 : l == level::v3 ? v3 : base;
}

}  // namespace instar::ops::cpu::simd

#endif
