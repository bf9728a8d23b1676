#ifndef INSTAR_CUDA_MEMORY_HPP
#define INSTAR_CUDA_MEMORY_HPP

// Memory of the current CUDA device as a Memory policy of core/memory.hpp. In the emulator it is host memory.
//
//     instar::tensor<float, 2, instar::device_memory> x({64, 768});      // zero-filled, on the device
//     instar::arena<instar::device_memory> activations;
//
// Allocation here is for what lives long: parameters, arenas. An operator's temporaries come from its context's
// stream-ordered pool (cuda/cuda_context.hpp).

#include <cstddef>
#include <string>

#include "instar/core/memory.hpp"

#if !defined(INSTAR_CUDA_EMULATED)
#include "instar/cuda/runtime.hpp"
#endif

namespace instar {

#if defined(INSTAR_CUDA_EMULATED)

/// Host memory under another name, so that AddressSanitizer sees every access of an emulated kernel.
struct device_memory {
    static void* allocate(std::size_t bytes) { return host_memory::allocate(bytes); }
    static void deallocate(void* p, std::size_t bytes) noexcept { host_memory::deallocate(p, bytes); }
    static void zero(void* p, std::size_t bytes) noexcept { host_memory::zero(p, bytes); }
};

#elif defined(INSTAR_CUDA_HEADERS)

/// cudaMalloc and cudaFree on the device that is current on this thread. Freeing waits for the device, so memory that a
/// kernel still uses may be released.
struct device_memory {
    static void* allocate(std::size_t bytes) {
        if (bytes == 0) return nullptr;
        void* p = nullptr;
        const cudaError_t status = cudaMalloc(&p, bytes);
        if (status == cudaErrorMemoryAllocation) {
            (void)cudaGetLastError();  // not sticky: the next call must not report it again
            throw memory_error("cannot allocate " + std::to_string(bytes) + " bytes of device memory");
        }
        cuda::check(status, "device_memory", "cudaMalloc");
        return p;
    }
    static void deallocate(void* p, std::size_t) noexcept { (void)cudaFree(p); }
    /// Complete when it returns: other streams may use the memory at once.
    static void zero(void* p, std::size_t bytes) {
        if (bytes == 0) return;
        cuda::check(cudaMemset(p, 0, bytes), "device_memory", "cudaMemset");
        cuda::check(cudaStreamSynchronize(cudaStreamLegacy), "device_memory", "cudaMemset");
    }
};

#endif

}  // namespace instar

#endif
