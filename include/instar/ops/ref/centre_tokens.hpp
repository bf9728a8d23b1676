#ifndef INSTAR_OPS_REF_CENTRE_TOKENS_HPP
#define INSTAR_OPS_REF_CENTRE_TOKENS_HPP

// Reference of ops/centre_tokens.hpp.
//
//     ops::ref::centre_tokens_forward(y, x, centre, mask);

#include "instar/ops/centre_tokens.hpp"
#include "instar/ops/ref/convert.hpp"

namespace instar::ops::ref {

template <class T>
void centre_tokens_forward(tensor_view<T, 3> y, in_view<T, 3> x, in_view<T, 2> centre, tensor_view<const std::uint8_t, 2> mask) {
    for (index_t b = 0; b < x.extent(0); ++b) {
        for (index_t t = 0; t < x.extent(1); ++t) {
            const bool counts = mask.empty() || mask(b, t) != 0;
            for (index_t c = 0; c < x.extent(2); ++c) y(b, t, c) = from_double<T>(counts ? as_double(x(b, t, c)) - as_double(centre(t, c)) : 0.0);
        }
    }
}

template <class T>
void centre_tokens_backward(tensor_view<T, 3> dx, in_view<T, 3> dy, tensor_view<const std::uint8_t, 2> mask) {
    for (index_t b = 0; b < dy.extent(0); ++b) {
        for (index_t t = 0; t < dy.extent(1); ++t) {
            const bool counts = mask.empty() || mask(b, t) != 0;
            for (index_t c = 0; c < dy.extent(2); ++c) dx(b, t, c) = counts ? dy(b, t, c) : from_double<T>(0.0);
        }
    }
}

}  // namespace instar::ops::ref

#endif
