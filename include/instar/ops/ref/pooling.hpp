#ifndef INSTAR_OPS_REF_POOLING_HPP
#define INSTAR_OPS_REF_POOLING_HPP

// Reference pooling over the positions of a sequence.
//
//     ops::ref::sequence_pool_forward(y, x, mask, ops::pooling::masked_mean);

#include "instar/ops/pooling.hpp"
#include "instar/ops/ref/convert.hpp"

namespace instar::ops::ref {

/// a_bt of ops/pooling.hpp: what position t of sample b weighs.
inline double pooling_weight(index_t b, index_t t, index_t seq_len, tensor_view<const std::uint8_t, 2> mask, pooling kind) {
    if (kind == pooling::first) return t == 0 ? 1.0 : 0.0;
    if (kind == pooling::mean || mask.empty()) return 1.0 / static_cast<double>(seq_len);
    index_t n = 0;
    for (index_t s = 0; s < seq_len; ++s) n += mask(b, s) != 0;
    return mask(b, t) != 0 ? 1.0 / static_cast<double>(n) : 0.0;
}

template <class T>
void sequence_pool_forward(tensor_view<T, 2> y, in_view<T, 3> x, tensor_view<const std::uint8_t, 2> mask, pooling kind) {
    for (index_t b = 0; b < x.extent(0); ++b) {
        for (index_t j = 0; j < x.extent(2); ++j) {
            double sum = 0.0;
            for (index_t t = 0; t < x.extent(1); ++t) {
                const double a = pooling_weight(b, t, x.extent(1), mask, kind);
                if (a != 0.0) sum += a * as_double(x(b, t, j));
            }
            y(b, j) = from_double<T>(sum);
        }
    }
}

template <class T>
void sequence_pool_backward(tensor_view<T, 3> dx, in_view<T, 2> dy, tensor_view<const std::uint8_t, 2> mask, pooling kind) {
    for (index_t b = 0; b < dx.extent(0); ++b) {
        for (index_t t = 0; t < dx.extent(1); ++t) {
            const double a = pooling_weight(b, t, dx.extent(1), mask, kind);
            for (index_t j = 0; j < dx.extent(2); ++j) dx(b, t, j) = from_double<T>(a == 0.0 ? 0.0 : a * as_double(dy(b, j)));
        }
    }
}

}  // namespace instar::ops::ref

#endif
