#ifndef INSTAR_CUDA_ASYNC_COPY_CUH
#define INSTAR_CUDA_ASYNC_COPY_CUH

// Copies from global to shared memory that run while the thread goes on: cp.async (compute capability 8.0).
//
//     cuda::copy_async(tile, offset, x + i);            // sixteen bytes begin their way: 8 bf16, 4 float
//     cuda::copy_async(tile, offset, x + i, n);         // the first n elements, zeros behind them; n = 0 reads nothing
//     cuda::commit_group();                             // what this thread has begun since the last one is a group
//     …compute on another tile…
//     cuda::wait_group<1>();                            // all groups of this thread have arrived, but for the last one
//     __syncthreads();                                  // and those of the other threads, who have waited too
//
// The bytes go past the registers and past the first-level cache. Between the copy and the wait nobody may touch the elements,
// nor may the source change. Groups are counted by thread, and may be empty: so a loop commits once a round, also in the last ones.
//
// In the emulator the bytes arrive at the wait and not before. It catches a missing wait or commit (a race with the copy, or a thread
// that exits with copies in flight), a missing barrier, and addresses that are no multiple of sixteen bytes.

#include <cstdint>

#include "instar/cuda/device.cuh"
#include "instar/cuda/vector.cuh"

namespace instar::cuda {

#if defined(__CUDACC__)

/// Elements offset … of the tile become from[0 … n) and zeros. Both addresses are multiples of sixteen bytes.
template <class T>
__device__ __forceinline__ void copy_async(shared_array<T> tile, int offset, const T* from, int n = k_pack<T>) {
    const auto to = static_cast<std::uint32_t>(__cvta_generic_to_shared(tile + offset));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :: "r"(to), "l"(__cvta_generic_to_global(from)), "r"(n * static_cast<int>(sizeof(T))) : "memory");
}

__device__ __forceinline__ void commit_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }

/// Waits until at most Pending of this thread's groups, the last ones, are on their way.
template <int Pending>
__device__ __forceinline__ void wait_group() {
    asm volatile("cp.async.wait_group %0;" :: "n"(Pending) : "memory");
}

#else

template <class T>
void copy_async(shared_array<T> tile, int offset, const T* from, int n = k_pack<T>, const std::source_location where = std::source_location::current()) {
    auto& block = emulator::this_block("cp.async");
    if (n < 0 || n > k_pack<T>) block.fail("cp.async of " + std::to_string(n) + " elements, expected 0 to " + std::to_string(k_pack<T>) + ", at " + block.at(where));
    if (reinterpret_cast<std::uintptr_t>(from) % 16 != 0) block.fail("misaligned access of 16 bytes, at " + block.at(where));
    emulator::block_runner::copy_bytes bytes{};
    if (n > 0) std::memcpy(bytes.data(), static_cast<const void*>(from), static_cast<std::size_t>(n) * sizeof(T));
    tile.begin_copy({offset, where}, bytes);
}

inline void commit_group() { emulator::this_block("cp.async.commit_group").commit_group(); }

template <int Pending>
void wait_group() {
    emulator::this_block("cp.async.wait_group").wait_group(Pending);
}

#endif

}  // namespace instar::cuda

#endif
