#ifndef INSTAR_CUDA_EMULATOR_INTRINSICS_HPP
#define INSTAR_CUDA_EMULATOR_INTRINSICS_HPP

// The names of CUDA C++ that kernels use, as host functions: barriers, warp collectives, atomics, a few maths functions.
// They stand in instar::cuda, where kernels find them by a using-directive; nothing enters the global namespace.
//
//     v += __shfl_xor_sync(0xffffffffu, v, 16);
//     __syncthreads();
//
// Where it was called from is a default argument, so an error names the kernel's line.

#include <bit>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <source_location>
#include <type_traits>

#include "instar/cuda/emulator/block_runner.hpp"

namespace instar::cuda {

namespace emulator {

inline block_runner& this_block(const char* name) {
    if (running_block == nullptr) throw device_error(std::string("emulator: ") + name + " outside a kernel");
    return *running_block;
}

template <class T>
T shuffle(const char* name, std::uint32_t mask, T value, int source, const std::source_location& where) {
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8, "CUDA shuffles 4 or 8 bytes");
    const std::byte* result = this_block(name).warp_collective(name, mask, &value, sizeof value, source, &block_runner::exchange, where);
    std::memcpy(&value, result, sizeof value);
    return value;
}

inline std::uint32_t vote(const char* name, std::uint32_t mask, bool predicate, const std::source_location& where) {
    const std::byte brought{predicate};
    const std::byte* result = this_block(name).warp_collective(name, mask, &brought, 1, 0, &block_runner::vote, where);
    std::uint32_t votes = 0;
    std::memcpy(&votes, result, sizeof votes);
    return votes;
}

/// A device faults on a vector access whose address is not a multiple of its size; a host would not.
inline void check_aligned(const void* address, std::size_t bytes) {
    if (reinterpret_cast<std::uintptr_t>(address) % bytes != 0) {
        this_block("a vector access").fail("misaligned access of " + std::to_string(bytes) + " bytes");
    }
}

/// A read-modify-write of global memory. Blocks run one after the other, so a plain one is atomic.
template <class T, class F>
T read_modify_write(T* place, F&& f) {
    this_block("an atomic operation");
    const T old = *place;
    *place = f(old);
    return old;
}

}  // namespace emulator

// --- barriers ------------------------------------------------------------------------------------------------------------

inline void __syncthreads(const std::source_location where = std::source_location::current()) {
    emulator::this_block("__syncthreads").block_barrier(where);
}
inline void __syncwarp(std::uint32_t mask = 0xffffffffu, const std::source_location where = std::source_location::current()) {
    emulator::this_block("__syncwarp").warp_collective("__syncwarp", mask, nullptr, 0, 0, &emulator::block_runner::order_memory, where);
}

// --- warp collectives; `width` splits the warp into segments of that many lanes --------------------------------------------

template <class T>
T __shfl_sync(std::uint32_t mask, T value, int source, int width = 32, const std::source_location where = std::source_location::current()) {
    const int lane = emulator::this_block("__shfl_sync").lane();
    return emulator::shuffle("__shfl_sync", mask, value, (lane & ~(width - 1)) + (source & (width - 1)), where);
}
template <class T>
T __shfl_xor_sync(std::uint32_t mask, T value, int lane_mask, int width = 32,
                  const std::source_location where = std::source_location::current()) {
    const int lane = emulator::this_block("__shfl_xor_sync").lane(), other = lane ^ lane_mask;
    // Lanes may read from lower segments, not from higher ones: those give the lane's own value.
    return emulator::shuffle("__shfl_xor_sync", mask, value, other < (lane & ~(width - 1)) + width ? other : lane, where);
}
template <class T>
T __shfl_down_sync(std::uint32_t mask, T value, unsigned delta, int width = 32,
                   const std::source_location where = std::source_location::current()) {
    const int lane = emulator::this_block("__shfl_down_sync").lane(), other = lane + static_cast<int>(delta);
    return emulator::shuffle("__shfl_down_sync", mask, value, other < (lane & ~(width - 1)) + width ? other : lane, where);
}
template <class T>
T __shfl_up_sync(std::uint32_t mask, T value, unsigned delta, int width = 32,
                 const std::source_location where = std::source_location::current()) {
    const int lane = emulator::this_block("__shfl_up_sync").lane(), other = lane - static_cast<int>(delta);
    return emulator::shuffle("__shfl_up_sync", mask, value, other >= (lane & ~(width - 1)) ? other : lane, where);
}
inline std::uint32_t __ballot_sync(std::uint32_t mask, bool predicate, const std::source_location where = std::source_location::current()) {
    return emulator::vote("__ballot_sync", mask, predicate, where);
}
inline int __any_sync(std::uint32_t mask, bool predicate, const std::source_location where = std::source_location::current()) {
    return emulator::vote("__any_sync", mask, predicate, where) != 0;
}
inline int __all_sync(std::uint32_t mask, bool predicate, const std::source_location where = std::source_location::current()) {
    return emulator::vote("__all_sync", mask, predicate, where) == mask;
}

// --- atomics on global memory; shared memory's are in shared_array.hpp ------------------------------------------------------

template <class T>
T atomicAdd(T* place, std::type_identity_t<T> value) {
    return emulator::read_modify_write(place, [=](T old) { return static_cast<T>(old + value); });
}
template <class T>
T atomicMax(T* place, std::type_identity_t<T> value) {
    return emulator::read_modify_write(place, [=](T old) { return old < value ? value : old; });
}
template <class T>
T atomicMin(T* place, std::type_identity_t<T> value) {
    return emulator::read_modify_write(place, [=](T old) { return value < old ? value : old; });
}
template <class T>
T atomicExch(T* place, std::type_identity_t<T> value) {
    return emulator::read_modify_write(place, [=](T) { return value; });
}
template <std::integral T>
T atomicCAS(T* place, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
    return emulator::read_modify_write(place, [=](T old) { return old == expected ? value : old; });
}

// --- maths that a host compiler lacks; expf, erfcf, … are the C library's ----------------------------------------------------

inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __fadd_rn(float a, float b) { return a + b; }

namespace emulator {

/// Rounded here: no compiler fuses it with the addition that follows, which would change its last bit.
template <class T>
T rounded(T product) {
#if defined(__SSE2__)
    __asm__("" : "+x"(product));
#elif defined(__aarch64__)
    __asm__("" : "+w"(product));
#endif
    return product;
}

}  // namespace emulator

inline float __fmul_rn(float a, float b) { return emulator::rounded(a * b); }
inline double __dmul_rn(double a, double b) { return emulator::rounded(a * b); }
inline int __popc(std::uint32_t x) { return std::popcount(x); }
inline int __ffs(int x) { return x == 0 ? 0 : std::countr_zero(static_cast<std::uint32_t>(x)) + 1; }

}  // namespace instar::cuda

#endif
