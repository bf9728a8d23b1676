#ifndef INSTAR_OPS_CUDA_ELEMENTWISE_CUH
#define INSTAR_OPS_CUDA_ELEMENTWISE_CUH

// Flat passes on a GPU, sixteen bytes a thread.
//
//     ops::add(ctx, y, a, b);

#include "instar/cuda/flat_map.cuh"
#include "instar/ops/elementwise.hpp"

namespace instar::ops {

namespace cuda {

struct constant {
    float value;
    __device__ float operator()() const { return value; }
};
struct identity {
    __device__ float operator()(float x) const { return x; }
};
struct sum_of_two {
    __device__ float operator()(float a, float b) const { return a + b; }
};
struct multiple {
    float factor;
    __device__ float operator()(float x) const { return x * factor; }
};

/// For operators that begin with one: `op` is what a failure names.
template <class T>
void fill_values(cuda_context& ctx, const char* op, const tensor_view<T, 1>& y, std::type_identity_t<T> value) {
    flat_map<T>(ctx, op, {"y", y}, constant{static_cast<float>(value)});
}

}  // namespace cuda

template <class T>
void fill(cuda_context& ctx, tensor_view<T, 1> y, std::type_identity_t<T> value) {
    cuda::fill_values<T>(ctx, "fill", y, value);
}

template <class T>
void copy(cuda_context& ctx, tensor_view<T, 1> y, in_view<T, 1> x) {
    const bool same = y.data() == x.data() && y.extent(0) == x.extent(0);
    if (!same) cuda::flat_map<T>(ctx, "copy", {"y", y}, cuda::identity{}, cuda::flat_input<T>{"x", x});
}

template <class T>
void add(cuda_context& ctx, tensor_view<T, 1> y, in_view<T, 1> a, in_view<T, 1> b) {
    cuda::flat_map<T>(ctx, "add", {"y", y}, cuda::sum_of_two{}, cuda::flat_input<T>{"a", a}, cuda::flat_input<T>{"b", b});
}

template <class T>
void scale(cuda_context& ctx, tensor_view<T, 1> y, accumulator_t<T> factor) {
    cuda::flat_map<T>(ctx, "scale", {"y", y}, cuda::multiple{factor}, cuda::flat_input<T>{"y", y});
}

}  // namespace instar::ops

#endif
