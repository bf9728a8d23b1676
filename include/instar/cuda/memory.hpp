#ifndef INSTAR_CUDA_MEMORY_HPP
#define INSTAR_CUDA_MEMORY_HPP

// Memory of the current CUDA device, and pinned memory of the host, as Memory policies of core/memory.hpp. In the emulator both
// are host memory.
//
//     instar::tensor<float, 2, instar::device_memory> x({64, 768});      // zero-filled, on the device
//     instar::arena<instar::device_memory> activations;
//     instar::tensor<float, 2, instar::pinned_memory> batch({64, 768});  // on the host; cuda_context::upload_async reads it
//
// Allocation here is for what lives long: parameters, arenas. An operator's temporaries come from its context's
// stream-ordered pool (cuda/cuda_context.hpp).

#include <cstddef>
#include <string>

#include "instar/core/memory.hpp"

#if defined(INSTAR_CUDA_EMULATED)
#include "instar/cuda/emulator/device_heap.hpp"
#else
#include "instar/cuda/runtime.hpp"
#endif

namespace instar {

namespace cuda {

/// "attention_backward: cannot allocate 1024 bytes of device memory, 512 of 4096 are free"
[[noreturn]] inline void throw_out_of_memory(const std::string& op, std::size_t bytes, std::size_t free, std::size_t total) {
    throw memory_error(op + ": cannot allocate " + std::to_string(bytes) + " bytes of device memory, " + std::to_string(free) + " of " +
                       std::to_string(total) + " are free");
}

}  // namespace cuda

#if defined(INSTAR_CUDA_EMULATED)

/// Host memory under another name, so that AddressSanitizer sees every access of an emulated kernel.
struct device_memory {
    static void* allocate(std::size_t bytes) {
        if (bytes != 0 && cuda::emulator::graph_running) throw device_error("device_memory: no allocation while a graph is captured");
        using heap = cuda::emulator::device_heap;
        if (const std::size_t free = heap::free_device_bytes(); bytes > free) {
            cuda::throw_out_of_memory("device_memory", bytes, free, heap::k_device_bytes);
        }
        void* const p = host_memory::allocate(bytes);
        heap::add(p, bytes, cuda::emulator::memory_kind::device);
        return p;
    }
    static void deallocate(void* p, std::size_t bytes) noexcept {
        cuda::emulator::device_heap::remove(p);
        host_memory::deallocate(p, bytes);
    }
    static void zero(void* p, std::size_t bytes) noexcept { host_memory::zero(p, bytes); }
};

/// Host memory that the emulator knows as pinned.
struct pinned_memory {
    static void* allocate(std::size_t bytes) {
        void* const p = host_memory::allocate(bytes);
        cuda::emulator::device_heap::add(p, bytes, cuda::emulator::memory_kind::pinned);
        return p;
    }
    static void deallocate(void* p, std::size_t bytes) noexcept {
        cuda::emulator::device_heap::remove(p);
        host_memory::deallocate(p, bytes);
    }
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
            std::size_t free = 0, total = 0;
            (void)cudaMemGetInfo(&free, &total);
            cuda::throw_out_of_memory("device_memory", bytes, free, total);
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

/// Page-locked host memory: the device copies from and to it while the host goes on. It is taken from everybody's memory, so
/// hold a few batches in it and not the data.
struct pinned_memory {
    static void* allocate(std::size_t bytes) {
        if (bytes == 0) return nullptr;
        void* p = nullptr;
        const cudaError_t status = cudaHostAlloc(&p, bytes, cudaHostAllocPortable);
        if (status == cudaErrorMemoryAllocation) {
            (void)cudaGetLastError();
            throw memory_error("pinned_memory: cannot allocate " + std::to_string(bytes) + " bytes of pinned host memory");
        }
        cuda::check(status, "pinned_memory", "cudaHostAlloc");
        return p;
    }
    static void deallocate(void* p, std::size_t) noexcept { (void)cudaFreeHost(p); }
    static void zero(void* p, std::size_t bytes) noexcept { host_memory::zero(p, bytes); }
};

#endif

}  // namespace instar

#endif
