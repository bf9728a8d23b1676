#ifndef INSTAR_OPS_REF_CHANNELS_LAST_HPP
#define INSTAR_OPS_REF_CHANNELS_LAST_HPP

// Reference of ops/channels_last.hpp.
//
//     ops::ref::channels_last(y, x);

#include "instar/ops/channels_last.hpp"

namespace instar::ops::ref {

template <class T>
void channels_last(tensor_view<T, 4> y, in_view<T, 4> x) {
    for (index_t b = 0; b < x.extent(0); ++b) {
        for (index_t c = 0; c < x.extent(1); ++c) {
            for (index_t i = 0; i < x.extent(2); ++i) {
                for (index_t j = 0; j < x.extent(3); ++j) y(b, i, j, c) = x(b, c, i, j);
            }
        }
    }
}

}  // namespace instar::ops::ref

#endif
