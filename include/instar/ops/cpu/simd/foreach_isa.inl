// Includes INSTAR_SIMD_INNER once for each instruction set, inside a region compiled for it. See simd/isa.hpp for the pattern.
//
// Inside the inner file:
//     INSTAR_SIMD_NS      the namespace to open below instar::ops::cpu::simd
//     INSTAR_SIMD_BYTES   bytes of a vector: 64, 32, 16
//     INSTAR_SIMD_LEVEL   4, 3, 0
//
// Features are listed instead of arch=x86-64-v4: GCC inlines a function of the standard library into a region only when
// their -march agree, and a list adds to the command line's.

#if !defined(INSTAR_SIMD_INNER)
#error "define INSTAR_SIMD_INNER before including simd/foreach_isa.inl"
#endif

#if INSTAR_SIMD_X86

#define INSTAR_SIMD_NS inline INSTAR_SIMD_TAG::v4
#define INSTAR_SIMD_BYTES 64
#define INSTAR_SIMD_LEVEL 4
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,bmi,bmi2,lzcnt,popcnt,avx512f,avx512cd,avx512bw,avx512dq,avx512vl"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi,bmi2,lzcnt,popcnt,avx512f,avx512cd,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")
#endif
#include INSTAR_SIMD_INNER
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#undef INSTAR_SIMD_NS
#undef INSTAR_SIMD_BYTES
#undef INSTAR_SIMD_LEVEL

#define INSTAR_SIMD_NS inline INSTAR_SIMD_TAG::v3
#define INSTAR_SIMD_BYTES 32
#define INSTAR_SIMD_LEVEL 3
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,bmi,bmi2,lzcnt,popcnt"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi,bmi2,lzcnt,popcnt")
#endif
#include INSTAR_SIMD_INNER
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#undef INSTAR_SIMD_NS
#undef INSTAR_SIMD_BYTES
#undef INSTAR_SIMD_LEVEL

#endif

#define INSTAR_SIMD_NS inline INSTAR_SIMD_TAG::base
#define INSTAR_SIMD_BYTES 16
#define INSTAR_SIMD_LEVEL 0
#include INSTAR_SIMD_INNER
#undef INSTAR_SIMD_NS
#undef INSTAR_SIMD_BYTES
#undef INSTAR_SIMD_LEVEL

#undef INSTAR_SIMD_INNER
