// Kernels for misuse.cpp: only nvcc can launch one.

#include "instar/cuda/launch.cuh"

namespace {

__global__ void index_kernel(float* y) { y[threadIdx.x] = static_cast<float>(threadIdx.x); }

}  // namespace

void launch_too_wide(instar::cuda_context& ctx) {
    instar::cuda::launch(ctx, "too_wide", index_kernel, {1}, {2048}, 0, nullptr);
}
void launch_four(instar::cuda_context& ctx, float* y) { instar::cuda::launch(ctx, "four", index_kernel, {1}, {4}, 0, y); }
