#ifndef INSTAR_OPS_CPU_CENTRE_TOKENS_HPP
#define INSTAR_OPS_CPU_CENTRE_TOKENS_HPP

// Centred tokens on the CPU, positions of all samples in parallel.
//
//     ops::centre_tokens_forward(ctx, y, x, centre, mask);

#include <algorithm>

#include "instar/core/cpu_context.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/ops/centre_tokens.hpp"
#include "instar/ops/cpu/grain.hpp"

namespace instar::ops {

namespace cpu {

/// row(to, from, t) for every position that counts, zeros elsewhere.
template <class T, class Row>
void masked_positions(cpu_context& ctx, const tensor_view<T, 3>& to, const tensor_view<const T, 3>& from, const tensor_view<const std::uint8_t, 2>& mask, Row&& row) {
    const index_t seq_len = from.extent(1), d = from.extent(2);
    parallel_kernel(ctx, from.extent(0) * seq_len, row_grain(d), [&](index_t begin, index_t end) {
        for (index_t r = begin; r < end; ++r) {
            const index_t b = r / seq_len, t = r % seq_len;
            T* const out = to[b][t].data();
            if (mask.empty() || mask(b, t) != 0) row(out, from[b][t].data(), t);
            else std::fill_n(out, d, T(0));
        }
    });
}

}  // namespace cpu

template <class T>
void centre_tokens_forward(cpu_context& ctx, tensor_view<T, 3> y, in_view<T, 3> x, in_view<T, 2> centre, tensor_view<const std::uint8_t, 2> mask) {
    detail::check_centre_tokens<T>("centre_tokens_forward", "y", y, "x", x, &centre, mask);
    const index_t d = x.extent(2);
    cpu::masked_positions<T>(ctx, y, x, mask, [&](T* to, const T* from, index_t t) {
        const T* const middle = centre[t].data();
        for (index_t c = 0; c < d; ++c) to[c] = from[c] - middle[c];
    });
}

template <class T>
void centre_tokens_backward(cpu_context& ctx, tensor_view<T, 3> dx, in_view<T, 3> dy, tensor_view<const std::uint8_t, 2> mask) {
    detail::check_centre_tokens<T>("centre_tokens_backward", "dx", dx, "dy", dy, nullptr, mask);
    const index_t d = dy.extent(2);
    cpu::masked_positions<T>(ctx, dx, dy, mask, [&](T* to, const T* from, index_t) {
        if (to != from) std::copy_n(from, d, to);
    });
}

}  // namespace instar::ops

#endif
