#ifndef INSTAR_CUDA_RUNTIME_HPP
#define INSTAR_CUDA_RUNTIME_HPP

// The CUDA runtime and cuBLASLt, with errors as exceptions. Empty where the toolkit's headers are not found: then
// INSTAR_CUDA_HEADERS is undefined, and instar::cuda_context stays a declaration.
//
//     cuda::check(cudaMemsetAsync(p, 0, n, stream), "fill", "cudaMemsetAsync");
//
// Not used by the emulator.

#include <string>

#include "instar/core/error.hpp"

#if defined(__has_include)
#if __has_include(<cuda_runtime_api.h>) && __has_include(<cublasLt.h>)
#define INSTAR_CUDA_HEADERS 1
#include <cublasLt.h>
#include <cuda_runtime_api.h>

namespace instar::cuda {

/// Throws device_error "layer_norm_forward: cudaLaunchKernel: invalid configuration argument (9)".
inline void check(cudaError_t status, const char* op, const char* call) {
    if (status == cudaSuccess) return;
    throw device_error(std::string(op) + ": " + call + ": " + cudaGetErrorString(status) + " (" + std::to_string(static_cast<int>(status)) + ")");
}
inline void check(cublasStatus_t status, const char* op, const char* call) {
    if (status == CUBLAS_STATUS_SUCCESS) return;
    throw device_error(std::string(op) + ": " + call + ": " + cublasLtGetStatusString(status) + " (" + std::to_string(static_cast<int>(status)) + ")");
}

}  // namespace instar::cuda

#endif
#endif

#endif
