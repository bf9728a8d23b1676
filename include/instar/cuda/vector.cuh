#ifndef INSTAR_CUDA_VECTOR_CUH
#define INSTAR_CUDA_VECTOR_CUH

// Sixteen bytes at a time between memory and registers, as floats.
//
//     float v[W];
//     load<W>(v, x + i);            // W = k_pack<T>, or a multiple of it, when everything is aligned, else 1
//     store<W>(y + i, v);
//
// Memory-bound kernels reach the copy bandwidth only with 16-byte accesses; a launcher asks `packable` whether the pointers
// and strides allow them, and picks the kernel's W.

#include <cstdint>
#include <cstring>

#include "instar/core/tensor_view.hpp"
#include "instar/cuda/device.cuh"

namespace instar::cuda {

/// Elements in sixteen bytes: 4 float, 8 bf16.
template <class T>
inline constexpr int k_pack = 16 / static_cast<int>(sizeof(T));

template <int W, class T>
__device__ __forceinline__ void load(float (&to)[W], const T* from) {
    if constexpr (W == 1) {
        to[0] = to_float(*from);
    } else {
        static_assert(W * sizeof(T) % 16 == 0);
        alignas(16) T raw[W];
#if defined(__CUDACC__)
        INSTAR_UNROLL
        for (int i = 0; i < static_cast<int>(W * sizeof(T) / 16); ++i) reinterpret_cast<uint4*>(raw)[i] = reinterpret_cast<const uint4*>(from)[i];
#else
        emulator::check_aligned(from, 16);
        std::memcpy(static_cast<void*>(raw), from, W * sizeof(T));
#endif
        INSTAR_UNROLL
        for (int i = 0; i < W; ++i) to[i] = to_float(raw[i]);
    }
}

template <int W, class T>
__device__ __forceinline__ void store(T* to, const float (&from)[W]) {
    if constexpr (W == 1) {
        *to = from_float<T>(from[0]);
    } else {
        static_assert(W * sizeof(T) % 16 == 0);
        alignas(16) T raw[W];
        INSTAR_UNROLL
        for (int i = 0; i < W; ++i) raw[i] = from_float<T>(from[i]);
#if defined(__CUDACC__)
        INSTAR_UNROLL
        for (int i = 0; i < static_cast<int>(W * sizeof(T) / 16); ++i) reinterpret_cast<uint4*>(to)[i] = reinterpret_cast<const uint4*>(raw)[i];
#else
        emulator::check_aligned(to, 16);
        std::memcpy(static_cast<void*>(to), raw, W * sizeof(T));
#endif
    }
}

/// The same for the last, incomplete pack of a flat range: only the first `count` elements exist.
template <int W, class T>
__device__ __forceinline__ void load(float (&to)[W], const T* from, index_t count) {
    if (count >= W) {
        load<W>(to, from);
    } else {
        for (int i = 0; i < W; ++i) to[i] = i < count ? to_float(from[i]) : 0.0f;
    }
}
template <int W, class T>
__device__ __forceinline__ void store(T* to, const float (&from)[W], index_t count) {
    if (count >= W) {
        store<W>(to, from);
    } else {
        for (int i = 0; i < W && i < count; ++i) to[i] = from_float<T>(from[i]);
    }
}

/// Sixteen bytes that are only moved, whatever elements they hold.
#if defined(__CUDACC__)
using pack16 = uint4;
#else
struct alignas(16) [[gnu::may_alias]] pack16 {
    std::uint32_t words[4];
};
#endif

/// W elements between memory and an array aligned to sixteen bytes, as they are: in packs of sixteen bytes where W elements are whole ones.
template <int W, class V>
__device__ __forceinline__ void move(V* to, const V* from) {
    if constexpr (W * sizeof(V) % 16 == 0) {
        INSTAR_UNROLL
        for (int i = 0; i < static_cast<int>(W * sizeof(V) / 16); ++i) reinterpret_cast<pack16*>(to)[i] = reinterpret_cast<const pack16*>(from)[i];
    } else {
        INSTAR_UNROLL
        for (int i = 0; i < W; ++i) to[i] = from[i];
    }
}

// Floats of shared memory in packs of four; offset is a multiple of four.
#if defined(__CUDACC__)

template <int W>
__device__ __forceinline__ void load_shared(float (&to)[W], shared_array<float> tile, int offset) {
    static_assert(W % 4 == 0);
    INSTAR_UNROLL
    for (int i = 0; i < W; i += 4) {
        const float4 pack = *reinterpret_cast<const float4*>(tile + offset + i);
        to[i] = pack.x;
        to[i + 1] = pack.y;
        to[i + 2] = pack.z;
        to[i + 3] = pack.w;
    }
}
template <int W>
__device__ __forceinline__ void store_shared(shared_array<float> tile, int offset, const float (&from)[W]) {
    static_assert(W % 4 == 0);
    INSTAR_UNROLL
    for (int i = 0; i < W; i += 4) *reinterpret_cast<float4*>(tile + offset + i) = make_float4(from[i], from[i + 1], from[i + 2], from[i + 3]);
}

#else

template <int W>
void load_shared(float (&to)[W], shared_array<float> tile, int offset, const std::source_location where = std::source_location::current()) {
    static_assert(W % 4 == 0);
    if (offset % 4 != 0) emulator::this_block("a vector access").fail("misaligned access of 16 bytes, at " + emulator::block_runner::at(where));
    for (int i = 0; i < W; ++i) to[i] = tile[{offset + i, where}];
}
template <int W>
void store_shared(shared_array<float> tile, int offset, const float (&from)[W], const std::source_location where = std::source_location::current()) {
    static_assert(W % 4 == 0);
    if (offset % 4 != 0) emulator::this_block("a vector access").fail("misaligned access of 16 bytes, at " + emulator::block_runner::at(where));
    for (int i = 0; i < W; ++i) tile[{offset + i, where}] = from[i];
}

#endif

/// Threads of a block that walks over a flat range, one pack each.
inline constexpr int k_flat_threads = 256;

/// First element of this thread's pack in a grid of flat_grid<W>(n) blocks; n or more: nothing to do.
template <int W>
__device__ __forceinline__ index_t flat_begin() {
    return grid_thread() * W;
}
template <int W>
extent3 flat_grid(index_t n) {
    return {blocks_for(n, index_t{k_flat_threads} * W)};
}

/// Whether rows of this view can be read sixteen bytes at a time: the first address, the row length and every outer stride.
template <class T, int Rank>
bool packable(const tensor_view<T, Rank>& v) {
    constexpr index_t k = k_pack<std::remove_const_t<T>>;
    if (reinterpret_cast<std::uintptr_t>(v.data()) % 16 != 0) return false;
    if (Rank > 1 && v.extent(Rank - 1) % k != 0) return false;
    for (int d = 0; d + 1 < Rank; ++d) {
        if (v.extent(d) > 1 && v.stride(d) % k != 0) return false;
    }
    return true;
}
template <class... Views>
    requires(sizeof...(Views) > 1)
bool packable(const Views&... views) {
    return (packable(views) && ...);
}

/// Calls f with std::integral_constant<int, W>: W = k_pack<T> when `wide`, else 1.
template <class T, class F>
void with_pack(bool wide, F&& f) {
    if (wide) {
        f(std::integral_constant<int, k_pack<T>>{});
    } else {
        f(std::integral_constant<int, 1>{});
    }
}

}  // namespace instar::cuda

#endif
