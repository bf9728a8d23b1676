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

/// from: what the parameters are read from when they are not; master: where they are kept besides; both may be null.
template <class T, class S, int W>
__global__ void sgd_kernel(T* parameters, const S* from, S* master, S* momentum, const T* gradients, float rate, float mu, float weight_decay, bool nesterov, index_t n) {
    const index_t i = flat_begin<W>();
    if (i >= n) return;
    float p[W], b[W], g[W];
    if (from != nullptr) load<W>(p, from + i, n - i);
    else load<W>(p, parameters + i, n - i);
    load<W>(b, momentum + i, n - i);
    load<W>(g, gradients + i, n - i);
    INSTAR_UNROLL
    for (int j = 0; j < W; ++j) {
        const float gradient = g[j] + weight_decay * p[j];
        b[j] = mu * b[j] + gradient;
        p[j] -= rate * (nesterov ? gradient + mu * b[j] : b[j]);
    }
    store<W>(parameters + i, p, n - i);
    if (master != nullptr) store<W>(master + i, p, n - i);
    store<W>(momentum + i, b, n - i);
}

/// S: the type of the state. master: none, or the parameters in float, which the first update takes from the parameters.
template <class T, class S>
void sgd_update(cuda_context& ctx, const tensor_view<T, 1>& parameters, const tensor_view<S, 1>& master, const tensor_view<S, 1>& momentum,
                const tensor_view<const T, 1>& gradients, const sgd_options& options) {
    ops::detail::check_sgd<T, S>(parameters, master, momentum, gradients, options);
    const index_t n = parameters.extent(0);
    const S* const from = options.step > 1 ? master.data() : nullptr;
    const auto run = [&]<int W>(std::integral_constant<int, W>) {
        launch(ctx, "sgd_update", sgd_kernel<T, S, W>, flat_grid<W>(n), {k_flat_threads}, 0, parameters.data(), from, master.data(), momentum.data(), gradients.data(),
               static_cast<float>(options.lr), static_cast<float>(options.momentum), static_cast<float>(options.weight_decay), options.nesterov, n);
    };
    with_pack<T>(packable(parameters, momentum, gradients) && packable(master), run);
}

}  // namespace cuda

template <class T>
void sgd_update(cuda_context& ctx, tensor_view<T, 1> parameters, out_view<T, 1> momentum, in_view<T, 1> gradients, sgd_options options) {
    cuda::sgd_update<T, T>(ctx, parameters, {}, momentum, gradients, options);
}
template <class T>
void sgd_update(cuda_context& ctx, tensor_view<T, 1> parameters, out_view<accumulator_t<T>, 1> master, out_view<accumulator_t<T>, 1> momentum,
                in_view<T, 1> gradients, sgd_options options) {
    static_assert(!std::is_same_v<T, accumulator_t<T>>, "sgd_update: a copy in float is for parameters in bf16");
    cuda::sgd_update<T, accumulator_t<T>>(ctx, parameters, master, momentum, gradients, options);
}

}  // namespace instar::ops

#endif
