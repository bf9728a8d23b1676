#ifndef INSTAR_OPS_CUDA_GELU_CUH
#define INSTAR_OPS_CUDA_GELU_CUH

// GELU on a GPU: one pass, sixteen bytes a thread, erfc in float.
//
//     ops::gelu_forward(ctx, y, x);

#include "instar/cuda/flat_map.cuh"
#include "instar/ops/gelu.hpp"

namespace instar::ops {

namespace cuda {

/// Φ(x). Through erfc, so that the left tail keeps its digits.
__device__ __forceinline__ float normal_cdf(float x) { return 0.5f * erfcf(-0.70710678f * x); }

struct gelu_of {
    __device__ float operator()(float x) const { return x * normal_cdf(x); }
};
struct gelu_gradient {
    __device__ float operator()(float dy, float x) const {
        const float pdf = 0.39894228f * expf(-0.5f * x * x);
        return dy * (normal_cdf(x) + x * pdf);
    }
};

/// For operators that end in one: `op` is what a failure names.
template <class T>
void gelu(cuda_context& ctx, const char* op, const tensor_view<T, 1>& y, const tensor_view<const T, 1>& x) {
    flat_map<T>(ctx, op, {"y", y}, gelu_of{}, flat_input<T>{"x", x});
}

}  // namespace cuda

template <class T>
void gelu_forward(cuda_context& ctx, tensor_view<T, 1> y, in_view<T, 1> x) {
    cuda::gelu<T>(ctx, "gelu_forward", y, x);
}

template <class T>
void gelu_backward(cuda_context& ctx, tensor_view<T, 1> dx, in_view<T, 1> dy, in_view<T, 1> x) {
    cuda::flat_map<T>(ctx, "gelu_backward", {"dx", dx}, cuda::gelu_gradient{}, cuda::flat_input<T>{"dy", dy}, cuda::flat_input<T>{"x", x});
}

}  // namespace instar::ops

#endif
