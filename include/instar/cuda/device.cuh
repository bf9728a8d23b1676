#ifndef INSTAR_CUDA_DEVICE_CUH
#define INSTAR_CUDA_DEVICE_CUH

// What every kernel file includes first: CUDA C++ under nvcc, the emulator under a host compiler, and the one thing that is
// written differently for both: shared memory.
//
//     __global__ void kernel(float* y, int n) {
//         INSTAR_SHARED_ARRAY(float, sums, 8);                    // static: __shared__ float sums[8], aligned to 16 bytes
//         cuda::shared_memory memory;
//         auto tile = memory.take<float>(64 * 65);                // dynamic: shared_array<float>, a float* on the device
//         tile[threadIdx.x] = …;
//         __syncthreads();
//
// The launch gives shared_bytes<float>(64 * 65) bytes. In kernels write `float v = tile[i]`, not `auto v`: the emulator's
// elements are proxies.

#include <cstddef>
#include <type_traits>

#include "instar/core/element.hpp"
#include "instar/cuda/grid.hpp"

#if !defined(__CUDACC__)

#if !defined(INSTAR_CUDA_EMULATED)
#error "instar: .cuh files need nvcc, or INSTAR_CUDA_EMULATED to run in the emulator"
#endif

#include "instar/cuda/emulator/shared_array.hpp"

// CUDA's keywords mean nothing to a host compiler.
#if !defined(__global__)
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#endif

#define INSTAR_UNROLL
#define INSTAR_SHARED_ARRAY(T, name, n)                                                                                        \
    static constexpr char name##_place = 0;                                                                                     \
    const ::instar::cuda::shared_array<T> name = ::instar::cuda::emulator::static_shared_array<T>(&name##_place, n)

#else

#include <cuda_runtime.h>

#define INSTAR_UNROLL _Pragma("unroll")
#define INSTAR_SHARED_ARRAY(T, name, n) __shared__ __align__(16) T name[n]

namespace instar::cuda {

template <class T>
using shared_array = T*;

/// Hands out the block's dynamic shared memory. Every thread takes the same arrays in the same order.
class shared_memory {
public:
    template <class T>
    __device__ shared_array<T> take(index_t n) {
        extern __shared__ __align__(16) unsigned char instar_dynamic_shared[];
        unsigned char* const begin = instar_dynamic_shared + used_;
        used_ += (static_cast<std::size_t>(n) * sizeof(T) + 15) / 16 * 16;
        return reinterpret_cast<T*>(begin);
    }

private:
    std::size_t used_ = 0;
};

}  // namespace instar::cuda

#endif

namespace instar::cuda {

inline constexpr unsigned k_full_warp = 0xffffffffu;
inline constexpr int k_warp_size = 32;

/// Bytes of dynamic shared memory that take<T>(n) uses.
template <class T>
constexpr std::size_t shared_bytes(index_t n) {
    return (static_cast<std::size_t>(n) * sizeof(T) + 15) / 16 * 16;
}

// --- positions as signed numbers, which the rest of the library computes with ----------------------------------------------

__device__ __forceinline__ int thread_x() { return static_cast<int>(threadIdx.x); }
__device__ __forceinline__ int lane_id() { return static_cast<int>(threadIdx.x) % k_warp_size; }
__device__ __forceinline__ int warp_id() { return static_cast<int>(threadIdx.x) / k_warp_size; }
__device__ __forceinline__ index_t block_x() { return static_cast<index_t>(blockIdx.x); }
__device__ __forceinline__ index_t block_y() { return static_cast<index_t>(blockIdx.y); }
/// Index of the thread in a one-dimensional grid, and their number.
__device__ __forceinline__ index_t grid_thread() { return static_cast<index_t>(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ __forceinline__ index_t grid_threads() { return static_cast<index_t>(gridDim.x) * blockDim.x; }

// --- elements: kernels compute in float whatever they store ----------------------------------------------------------------

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(bf16 x) { return static_cast<float>(x); }

template <class T>
__device__ __forceinline__ T from_float(float x) {
    return static_cast<T>(x);
}

}  // namespace instar::cuda

// Operators' and clusterings' kernels see these names without a prefix.
namespace instar::ops::cuda {
using namespace instar::cuda;
}
namespace instar::cluster::cuda {
using namespace instar::cuda;
}

#endif
