#ifndef INSTAR_CUDA_LAUNCH_CUH
#define INSTAR_CUDA_LAUNCH_CUH

// Starts a kernel on a context's stream, or in the emulator.
//
//     cuda::launch(ctx, "gelu_forward", gelu_kernel<float, 4>, {cuda::blocks_for(n, 1024)}, {256}, 0, y, x, n);
//
// A failure is a device_error that begins with the operator's name. On a device only the launch itself is checked here; what
// goes wrong inside is reported by the next call that waits. The emulator reports everything at once. Tensors and pointers that
// are not memory of the context's device are refused before anything is queued (cuda_context::check_memory).

#include <type_traits>

#include "instar/cuda/cuda_context.hpp"
#include "instar/cuda/device.cuh"

namespace instar::cuda {

/// kernel<<<grid, block, shared>>>(arguments...). An empty grid does nothing.
template <class... Parameters>
void launch(cuda_context& ctx, const char* op, void (*kernel)(Parameters...), extent3 grid, extent3 block, std::size_t shared,
            std::type_identity_t<Parameters>... arguments) {
    if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
    if (shared > ctx.properties().shared_bytes_per_block) {
        throw device_error(std::string(op) + ": " + std::to_string(shared) + " bytes of shared memory a block, the device has " +
                           std::to_string(ctx.properties().shared_bytes_per_block));
    }
#if defined(__CUDACC__)
    ctx.activate();
    (check_argument(ctx, op, arguments), ...);
    if (shared > std::size_t{48} << 10) {
        check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared)), op, "cudaFuncSetAttribute");
    }
    kernel<<<dim3(grid.x, grid.y, grid.z), dim3(block.x, block.y, block.z), shared, ctx.stream()>>>(arguments...);
    check(cudaGetLastError(), op, "kernel launch");
#else
    (check_argument(ctx, op, arguments), ...);
    auto call = [&] { kernel(arguments...); };
    try {
        ctx.emulator().launch(grid, block, shared, [](void* c) { (*static_cast<decltype(call)*>(c))(); }, &call);
    } catch (const device_error& e) {
        throw device_error(std::string(op) + ": " + e.what());
    }
#endif
}

}  // namespace instar::cuda

#endif
