#ifndef INSTAR_OPS_CUDA_ADAMW_CUH
#define INSTAR_OPS_CUDA_ADAMW_CUH

// AdamW on a GPU: one pass over parameters, moments and gradients, sixteen bytes a thread.
//
//     ops::adamw_update(ctx, parameters, m, v, gradients, {.lr = 1e-4, .step = 1});

#include <cmath>

#include "instar/cuda/launch.cuh"
#include "instar/cuda/row_group.cuh"
#include "instar/cuda/vector.cuh"
#include "instar/ops/adamw.hpp"

namespace instar::ops {

namespace cuda {

/// What is the same for every element, computed in double and rounded once.
struct adamw_constants {
    float keep, beta1, one_minus_beta1, beta2, one_minus_beta2, step_size, inv_correction2, eps, grad_scale;

    explicit adamw_constants(const adamw_options& o)
        : keep(static_cast<float>(1.0 - o.lr * o.weight_decay)),
          beta1(static_cast<float>(o.beta1)),
          one_minus_beta1(static_cast<float>(1.0 - o.beta1)),
          beta2(static_cast<float>(o.beta2)),
          one_minus_beta2(static_cast<float>(1.0 - o.beta2)),
          step_size(static_cast<float>(o.lr / (1.0 - std::pow(o.beta1, static_cast<double>(o.step))))),
          inv_correction2(static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(o.beta2, static_cast<double>(o.step))))),
          eps(static_cast<float>(o.eps)),
          grad_scale(static_cast<float>(o.grad_scale)) {}
};

/// from: what the parameters are read from when they are not; master: where they are kept besides; both may be null.
template <class T, class S, int W>
__global__ void adamw_kernel(T* parameters, const S* from, S* master, S* m, S* v, const T* gradients, adamw_constants c, index_t n) {
    const index_t i = flat_begin<W>();
    if (i >= n) return;
    float p[W], first[W], second[W], g[W];
    if (from != nullptr) load<W>(p, from + i, n - i);
    else load<W>(p, parameters + i, n - i);
    load<W>(first, m + i, n - i);
    load<W>(second, v + i, n - i);
    load<W>(g, gradients + i, n - i);
    INSTAR_UNROLL
    for (int j = 0; j < W; ++j) {
        const float gradient = c.grad_scale * g[j];
        first[j] = c.beta1 * first[j] + c.one_minus_beta1 * gradient;
        second[j] = c.beta2 * second[j] + c.one_minus_beta2 * gradient * gradient;
        p[j] = c.keep * p[j] - c.step_size * first[j] / (sqrtf(second[j]) * c.inv_correction2 + c.eps);
    }
    store<W>(parameters + i, p, n - i);
    if (master != nullptr) store<W>(master + i, p, n - i);
    store<W>(m + i, first, n - i);
    store<W>(v + i, second, n - i);
}

/// Σ x² over one range a block, in double; the threads' sums are added in their order.
template <class T>
__global__ void squared_norm_kernel(double* sums, const T* x, index_t n, index_t per_block) {
    INSTAR_SHARED_ARRAY(double, parts, k_block_warps);
    const index_t begin = block_x() * per_block;
    const index_t end = begin + per_block < n ? begin + per_block : n;
    double sum = 0.0;
    for (index_t i = begin + thread_x(); i < end; i += k_block_warps * k_warp_size) {
        const double value = static_cast<double>(to_float(x[i]));
        sum += value * value;
    }
    sum = warp_sum(sum);
    if (lane_id() == 0) parts[warp_id()] = sum;
    __syncthreads();
    if (thread_x() != 0) return;
    for (int w = 1; w < k_block_warps; ++w) sum += parts[w];
    sums[block_x()] = sum;
}

/// S: the type of the state. master: none, or the parameters in float, which the first update takes from the parameters.
template <class T, class S>
void adamw_update(cuda_context& ctx, const tensor_view<T, 1>& parameters, const tensor_view<S, 1>& master, const tensor_view<S, 1>& m, const tensor_view<S, 1>& v,
                  const tensor_view<const T, 1>& gradients, const adamw_options& options) {
    const index_t n = parameters.extent(0);
    ops::detail::check_adamw<T, S>(parameters, master, m, v, gradients, options);
    const adamw_constants constants(options);
    const S* const from = options.step > 1 ? master.data() : nullptr;
    const auto run = [&]<int W>(std::integral_constant<int, W>) {
        launch(ctx, "adamw_update", adamw_kernel<T, S, W>, flat_grid<W>(n), {k_flat_threads}, 0, parameters.data(), from, master.data(), m.data(), v.data(), gradients.data(), constants, n);
    };
    with_pack<T>(packable(parameters, m, v, gradients) && packable(master), run);
}

}  // namespace cuda

template <class T>
void adamw_update(cuda_context& ctx, tensor_view<T, 1> parameters, out_view<T, 1> m, out_view<T, 1> v, in_view<T, 1> gradients, adamw_options options) {
    static_assert(std::is_same_v<T, accumulator_t<T>>, "adamw_update: parameters in bf16 need a copy in float");
    cuda::adamw_update<T, T>(ctx, parameters, {}, m, v, gradients, options);
}
template <class T>
void adamw_update(cuda_context& ctx, tensor_view<T, 1> parameters, out_view<accumulator_t<T>, 1> master, out_view<accumulator_t<T>, 1> m,
                  out_view<accumulator_t<T>, 1> v, in_view<T, 1> gradients, adamw_options options) {
    cuda::adamw_update<T, accumulator_t<T>>(ctx, parameters, master, m, v, gradients, options);
}

/// The result is wanted on the host, so this waits for the device.
template <class T>
double squared_norm(cuda_context& ctx, tensor_view<const T, 1> gradients) {
    static constexpr const char* k_op = "squared_norm";
    instar::detail::check_contiguous(k_op, "gradients", gradients);
    const index_t n = gradients.extent(0);
    if (n == 0) return 0.0;
    const index_t per_block = std::max<index_t>(16384, cuda::ceil_div(n, 1024));
    const index_t n_blocks = cuda::ceil_div(n, per_block);
    const cuda::scratch<double> sums(ctx, n_blocks, k_op);
    cuda::launch(ctx, k_op, cuda::squared_norm_kernel<T>, {static_cast<unsigned>(n_blocks)}, {cuda::k_block_warps * cuda::k_warp_size}, 0,
                 sums.data(), gradients.data(), n, per_block);
    tensor<double, 1> host({n_blocks});
    ctx.download(host.view(), tensor_view<const double, 1>(sums.data(), {n_blocks}));
    double total = 0.0;
    for (const double s : host) total += s;
    return total;
}

}  // namespace instar::ops

#endif
