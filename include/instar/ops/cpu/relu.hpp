#ifndef INSTAR_OPS_CPU_RELU_HPP
#define INSTAR_OPS_CPU_RELU_HPP

// Sum and rectifier on the CPU: one pass over memory.
//
//     ops::add_relu(ctx, y, a, b);

#include "instar/core/cpu_context.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/ops/cpu/grain.hpp"
#include "instar/ops/relu.hpp"

namespace instar::ops {

template <class T>
void add_relu(cpu_context& ctx, tensor_view<T, 1> y, in_view<T, 1> a, in_view<T, 1> b) {
    const index_t n = y.extent(0);
    instar::detail::check_shape("add_relu", "a", a, {n});
    instar::detail::check_shape("add_relu", "b", b, {n});
    instar::detail::check_contiguous("add_relu", "y", y);
    instar::detail::check_contiguous("add_relu", "a", a);
    instar::detail::check_contiguous("add_relu", "b", b);
    T* const to = y.data();
    const T *const pa = a.data(), *const pb = b.data();
    parallel_kernel(ctx, n, cpu::k_flat_grain, [=](index_t begin, index_t end) {
        for (index_t i = begin; i < end; ++i) {
            const T s = pa[i] + pb[i];
            to[i] = s < T(0) ? T(0) : s;
        }
    });
}

template <class T>
void relu_backward(cpu_context& ctx, tensor_view<T, 1> dx, in_view<T, 1> dy, in_view<T, 1> y) {
    const index_t n = dx.extent(0);
    instar::detail::check_shape("relu_backward", "dy", dy, {n});
    instar::detail::check_shape("relu_backward", "y", y, {n});
    instar::detail::check_contiguous("relu_backward", "dx", dx);
    instar::detail::check_contiguous("relu_backward", "dy", dy);
    instar::detail::check_contiguous("relu_backward", "y", y);
    T* const to = dx.data();
    const T *const g = dy.data(), *const out = y.data();
    parallel_kernel(ctx, n, cpu::k_flat_grain, [=](index_t begin, index_t end) {
        for (index_t i = begin; i < end; ++i) to[i] = out[i] > T(0) ? g[i] : T(0);
    });
}

}  // namespace instar::ops

#endif
