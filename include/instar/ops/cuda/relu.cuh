#ifndef INSTAR_OPS_CUDA_RELU_CUH
#define INSTAR_OPS_CUDA_RELU_CUH

// Sum and rectifier on a GPU: one pass, sixteen bytes a thread.
//
//     ops::add_relu(ctx, y, a, b);

#include "instar/cuda/flat_map.cuh"
#include "instar/ops/relu.hpp"

namespace instar::ops {

namespace cuda {

/// max(0, x); a comparison instead of fmaxf, which would lose a NaN.
__device__ __forceinline__ float rectified(float x) { return x < 0.0f ? 0.0f : x; }

struct rectified_sum {
    __device__ float operator()(float a, float b) const { return rectified(a + b); }
};
struct rectifier_gradient {
    __device__ float operator()(float dy, float y) const { return y > 0.0f ? dy : 0.0f; }
};

}  // namespace cuda

template <class T>
void add_relu(cuda_context& ctx, tensor_view<T, 1> y, in_view<T, 1> a, in_view<T, 1> b) {
    cuda::flat_map<T>(ctx, "add_relu", {"y", y}, cuda::rectified_sum{}, cuda::flat_input<T>{"a", a}, cuda::flat_input<T>{"b", b});
}

template <class T>
void relu_backward(cuda_context& ctx, tensor_view<T, 1> dx, in_view<T, 1> dy, in_view<T, 1> y) {
    cuda::flat_map<T>(ctx, "relu_backward", {"dx", dx}, cuda::rectifier_gradient{}, cuda::flat_input<T>{"dy", dy}, cuda::flat_input<T>{"y", y});
}

}  // namespace instar::ops

#endif
