#ifndef INSTAR_OPS_CPU_ELEMENTWISE_HPP
#define INSTAR_OPS_CPU_ELEMENTWISE_HPP

// Fill, copy, add and scale on the CPU: flat loops, bound by memory.
//
//     ops::add(ctx, y, a, b);

#include "instar/core/cpu_context.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/ops/cpu/grain.hpp"
#include "instar/ops/cpu/rows.hpp"
#include "instar/ops/cpu/streaming.hpp"
#include "instar/ops/elementwise.hpp"

namespace instar::ops {

template <class T>
void fill(cpu_context& ctx, tensor_view<T, 1> y, std::type_identity_t<T> value) {
    instar::detail::check_contiguous("fill", "y", y);
    T* const py = y.data();
    parallel_kernel(ctx, y.extent(0), cpu::k_flat_grain, [=](index_t begin, index_t end) { std::fill(py + begin, py + end, value); });
}

template <class T>
void copy(cpu_context& ctx, tensor_view<T, 1> y, in_view<T, 1> x) {
    instar::detail::check_shape("copy", "x", x, {y.extent(0)});
    instar::detail::check_contiguous("copy", "y", y);
    instar::detail::check_contiguous("copy", "x", x);
    T* const py = y.data();
    const T* const px = x.data();
    if (py == px) return;
    const bool stream = cpu::streams(py, y.extent(0), px);
    parallel_kernel(ctx, y.extent(0), cpu::k_flat_grain, [=](index_t begin, index_t end) {
        if (!stream) {
            std::copy(px + begin, px + end, py + begin);
        } else {
            cpu::stream_copy(py + begin, px + begin, end - begin);
            cpu::stream_fence();
        }
    });
}

template <class T>
void add(cpu_context& ctx, tensor_view<T, 1> y, in_view<T, 1> a, in_view<T, 1> b) {
    const index_t n = y.extent(0);
    instar::detail::check_shape("add", "a", a, {n});
    instar::detail::check_shape("add", "b", b, {n});
    instar::detail::check_contiguous("add", "y", y);
    instar::detail::check_contiguous("add", "a", a);
    instar::detail::check_contiguous("add", "b", b);
    T* const py = y.data();
    const T* const pa = a.data();
    const T* const pb = b.data();
    const bool stream = cpu::streams(py, n, pa, pb);
    parallel_kernel(ctx, n, cpu::k_flat_grain, [=](index_t begin, index_t end) {
        cpu::write_blocks(stream, py + begin, end - begin, [=](T* to, index_t first, index_t m) {
            cpu::add_rows<T>(to, pa + begin + first, pb + begin + first, m);
        }, pa + begin, pb + begin);
    });
}

template <class T>
void scale(cpu_context& ctx, tensor_view<T, 1> y, accumulator_t<T> factor) {
    instar::detail::check_contiguous("scale", "y", y);
    T* const py = y.data();
    parallel_kernel(ctx, y.extent(0), cpu::k_flat_grain, [=](index_t begin, index_t end) {
        cpu::scale_row<T>(py + begin, py + begin, factor, end - begin);
    });
}

}  // namespace instar::ops

#endif
