#ifndef INSTAR_OPS_CPU_ADAMW_HPP
#define INSTAR_OPS_CPU_ADAMW_HPP

// AdamW on the CPU: one pass over parameters, moments and gradients.
//
//     ops::adamw_update(ctx, parameters, m, v, gradients, {.lr = 1e-4, .step = 1});

#include <cmath>

#include "instar/core/cpu_context.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/ops/adamw.hpp"
#include "instar/ops/cpu/grain.hpp"
#include "instar/ops/cpu/rows.hpp"
#include "instar/ops/cpu/simd/adamw.hpp"

namespace instar::ops {

namespace cpu {

template <class T>
simd::adamw_constants<T> make_adamw_constants(const adamw_options& o) {
    const double step = static_cast<double>(o.step);
    return {.keep = static_cast<T>(1.0 - o.lr * o.weight_decay),
            .beta1 = static_cast<T>(o.beta1),
            .one_minus_beta1 = static_cast<T>(1.0 - o.beta1),
            .beta2 = static_cast<T>(o.beta2),
            .one_minus_beta2 = static_cast<T>(1.0 - o.beta2),
            .step_size = static_cast<T>(o.lr / (1.0 - std::pow(o.beta1, step))),
            .inv_correction2 = static_cast<T>(1.0 / std::sqrt(1.0 - std::pow(o.beta2, step))),
            .eps = static_cast<T>(o.eps),
            .grad_scale = static_cast<T>(o.grad_scale)};
}

template <class T>
void adamw_range(T* p, T* m, T* v, const T* g, index_t n, const simd::adamw_constants<T>& c) {
    if constexpr (std::same_as<T, float>) {
        INSTAR_SIMD_PICK(adamw_range_f32)(p, m, v, g, n, c);
    } else {
        for (index_t i = 0; i < n; ++i) {
            const T gradient = c.grad_scale * g[i];
            m[i] = c.beta1 * m[i] + c.one_minus_beta1 * gradient;
            v[i] = c.beta2 * v[i] + c.one_minus_beta2 * gradient * gradient;
            p[i] = c.keep * p[i] - c.step_size * m[i] / (std::sqrt(v[i]) * c.inv_correction2 + c.eps);
        }
    }
}

}  // namespace cpu

template <class T>
void adamw_update(cpu_context& ctx, tensor_view<T, 1> parameters, out_view<T, 1> m, out_view<T, 1> v, in_view<T, 1> gradients,
                  adamw_options options) {
    static_assert(std::is_same_v<T, accumulator_t<T>>, "adamw_update: parameters in bf16 need a copy in float");
    const index_t n = parameters.extent(0);
    detail::check_adamw<T, T>(parameters, {}, m, v, gradients, options);
    const auto constants = cpu::make_adamw_constants<T>(options);
    parallel_kernel(ctx, n, cpu::k_flat_grain, [&](index_t begin, index_t end) {
        cpu::adamw_range<T>(parameters.data() + begin, m.data() + begin, v.data() + begin, gradients.data() + begin, end - begin,
                            constants);
    });
}

template <class T>
void adamw_update(cpu_context& ctx, tensor_view<T, 1> parameters, out_view<accumulator_t<T>, 1> master, out_view<accumulator_t<T>, 1> m,
                  out_view<accumulator_t<T>, 1> v, in_view<T, 1> gradients, adamw_options options) {
    static_assert(std::same_as<T, bf16>, "adamw_update with a copy in float: parameters in bf16");
    const index_t n = parameters.extent(0);
    detail::check_adamw<T, float>(parameters, master, m, v, gradients, options);
    const auto constants = cpu::make_adamw_constants<float>(options);
    parallel_kernel(ctx, n, cpu::k_flat_grain, [&](index_t begin, index_t end) {
        constexpr index_t k_block = 1024;
        float g[k_block];
        for (index_t i = begin; i < end; i += k_block) {
            const index_t count = std::min(k_block, end - i);
            float* const p = master.data() + i;
            if (options.step == 1) cpu::widen(p, parameters.data() + i, count);
            cpu::widen(g, gradients.data() + i, count);
            cpu::adamw_range<float>(p, m.data() + i, v.data() + i, g, count, constants);
            cpu::narrow(parameters.data() + i, p, count);
        }
    });
}

template <class T>
double squared_norm(cpu_context& ctx, tensor_view<const T, 1> gradients) {
    instar::detail::check_contiguous("squared_norm", "gradients", gradients);
    const T* const g = gradients.data();
    return parallel_sum<double>(ctx, gradients.extent(0), cpu::k_flat_grain,
                                [=](index_t begin, index_t end) {
                                    const flush_denormals zero;
                                    return cpu::dot<T>(g + begin, g + begin, end - begin);
                                });
}

}  // namespace instar::ops

#endif
