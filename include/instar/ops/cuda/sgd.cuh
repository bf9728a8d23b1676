#ifndef INSTAR_OPS_CUDA_SGD_CUH
#define INSTAR_OPS_CUDA_SGD_CUH

// Gradient descent with momentum on a GPU: one pass over parameters, momentum and gradients, sixteen bytes a thread.
//
//     ops::sgd_update(ctx, parameters, momentum, gradients, {.lr = 0.1, .momentum = 0.9});

#include "instar/cuda/launch.cuh"
#include "instar/cuda/vector.cuh"
#include "instar/ops/sgd.hpp"

namespace instar::ops {

namespace cuda {

template <class T, int W>
__global__ void sgd_kernel(T* parameters, T* momentum, const T* gradients, float rate, float mu, float weight_decay, bool nesterov, index_t n) {
    const index_t i = flat_begin<W>();
    if (i >= n) return;
    float p[W], b[W], g[W];
    load<W>(p, parameters + i, n - i);
    load<W>(b, momentum + i, n - i);
    load<W>(g, gradients + i, n - i);
    INSTAR_UNROLL
    for (int j = 0; j < W; ++j) {
        const float gradient = g[j] + weight_decay * p[j];
        b[j] = mu * b[j] + gradient;
        p[j] -= rate * (nesterov ? gradient + mu * b[j] : b[j]);
    }
    store<W>(parameters + i, p, n - i);
    store<W>(momentum + i, b, n - i);
}

}  // namespace cuda

template <class T>
void sgd_update(cuda_context& ctx, tensor_view<T, 1> parameters, out_view<T, 1> momentum, in_view<T, 1> gradients, sgd_options options) {
    detail::check_sgd<T>(parameters, momentum, gradients, options);
    const index_t n = parameters.extent(0);
    const auto run = [&]<int W>(std::integral_constant<int, W>) {
        cuda::launch(ctx, "sgd_update", cuda::sgd_kernel<T, W>, cuda::flat_grid<W>(n), {cuda::k_flat_threads}, 0, parameters.data(), momentum.data(),
                     gradients.data(), static_cast<float>(options.lr), static_cast<float>(options.momentum), static_cast<float>(options.weight_decay),
                     options.nesterov, n);
    };
    cuda::with_pack<T>(cuda::packable(parameters, momentum, gradients), run);
}

}  // namespace instar::ops

#endif
