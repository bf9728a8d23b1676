#ifndef INSTAR_CORE_VERSION_HPP
#define INSTAR_CORE_VERSION_HPP

// The version of the library, and the few macros that every header may use.
//
//     static_assert(INSTAR_VERSION >= 100);          // major·10000 + minor·100 + patch

#define INSTAR_VERSION_MAJOR 0
#define INSTAR_VERSION_MINOR 1
#define INSTAR_VERSION_PATCH 0
#define INSTAR_VERSION (INSTAR_VERSION_MAJOR * 10000 + INSTAR_VERSION_MINOR * 100 + INSTAR_VERSION_PATCH)

// Marks what host and device code share. Plain `inline` semantics for a host compiler.
#if defined(__CUDACC__)
#define INSTAR_HOST_DEVICE __host__ __device__
#else
#define INSTAR_HOST_DEVICE
#endif

#if defined(__GNUC__) || defined(__clang__)
#define INSTAR_RESTRICT __restrict__
#define INSTAR_ALWAYS_INLINE inline __attribute__((always_inline))
#define INSTAR_NOINLINE __attribute__((noinline))
#else
#define INSTAR_RESTRICT
#define INSTAR_ALWAYS_INLINE inline
#define INSTAR_NOINLINE
#endif

#endif
