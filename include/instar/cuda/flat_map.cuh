#ifndef INSTAR_CUDA_FLAT_MAP_CUH
#define INSTAR_CUDA_FLAT_MAP_CUH

// One pass over flat ranges, element by element: y[i] = f(inputs[i]…), computed in float, sixteen bytes a thread.
//
//     struct sum_of { __device__ float operator()(float a, float b) const { return a + b; } };
//     cuda::flat_map<T>(ctx, "add", {"y", y}, sum_of{}, flat_input<T>{"a", a}, flat_input<T>{"b", b});
//
// y may be one of the inputs. The names are what errors call the arguments.

#include <concepts>

#include "instar/cuda/launch.cuh"
#include "instar/cuda/vector.cuh"

namespace instar::cuda {

template <class T>
struct flat_output {
    const char* name;
    tensor_view<T, 1> view;
};
template <class T>
struct flat_input {
    const char* name;
    tensor_view<const T, 1> view;
};

/// Inputs: const T* each, at most two.
template <class T, int W, class F, class... Inputs>
__global__ void flat_map_kernel(T* y, index_t n, F f, Inputs... inputs) {
    constexpr int k_inputs = static_cast<int>(sizeof...(Inputs));
    static_assert(k_inputs <= 2);
    const index_t i = flat_begin<W>();
    if (i >= n) return;
    float v[2][W];
    [[maybe_unused]] int k = 0;
    (load<W>(v[k++], inputs + i, n - i), ...);
    INSTAR_UNROLL
    for (int j = 0; j < W; ++j) {
        if constexpr (k_inputs == 0) v[0][j] = f();
        else if constexpr (k_inputs == 1) v[0][j] = f(v[0][j]);
        else v[0][j] = f(v[0][j], v[1][j]);
    }
    store<W>(y + i, v[0], n - i);
}

/// Checks, then launches. All are [n] and contiguous; throws shape_error before anything is queued.
template <class T, class F, std::same_as<flat_input<T>>... Inputs>
void flat_map(cuda_context& ctx, const char* op, const flat_output<T>& y, F f, const Inputs&... inputs) {
    const index_t n = y.view.extent(0);
    (instar::detail::check_shape(op, inputs.name, inputs.view, {n}), ...);
    instar::detail::check_contiguous(op, y.name, y.view);
    (instar::detail::check_contiguous(op, inputs.name, inputs.view), ...);
    const auto run = [&]<int W>(std::integral_constant<int, W>) {
        launch(ctx, op, flat_map_kernel<T, W, F, decltype(inputs.view.data())...>, flat_grid<W>(n), {k_flat_threads}, 0, y.view.data(), n, f, inputs.view.data()...);
    };
    with_pack<T>(packable(y.view) && (packable(inputs.view) && ...), run);
}

}  // namespace instar::cuda

#endif
