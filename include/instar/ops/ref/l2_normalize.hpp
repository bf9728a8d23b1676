#ifndef INSTAR_OPS_REF_L2_NORMALIZE_HPP
#define INSTAR_OPS_REF_L2_NORMALIZE_HPP

// Reference normalisation of rows to unit length.
//
//     ops::ref::l2_normalize_forward(y, inv_norm, x);

#include <algorithm>
#include <cmath>

#include "instar/ops/l2_normalize.hpp"
#include "instar/ops/ref/convert.hpp"

namespace instar::ops::ref {

/// y = x / max(‖x‖, eps).
template <class T>
void l2_normalize_forward(tensor_view<T, 2> y, out_view<accumulator_t<T>, 1> inv_norm, in_view<T, 2> x, double eps = 1e-12) {
    for (index_t r = 0; r < x.extent(0); ++r) {
        double sum = 0.0;
        for (index_t j = 0; j < x.extent(1); ++j) sum += as_double(x(r, j)) * as_double(x(r, j));
        const double inv = 1.0 / std::max(std::sqrt(sum), eps);
        inv_norm(r) = from_double<accumulator_t<T>>(inv);
        for (index_t j = 0; j < x.extent(1); ++j) y(r, j) = from_double<T>(as_double(x(r, j)) * inv);
    }
}

/// dx = inv_norm · (dy − y · (y · dy)).
template <class T>
void l2_normalize_backward(tensor_view<T, 2> dx, in_view<T, 2> dy, in_view<T, 2> y, in_view<accumulator_t<T>, 1> inv_norm) {
    for (index_t r = 0; r < dx.extent(0); ++r) {
        double dot = 0.0;
        for (index_t j = 0; j < dx.extent(1); ++j) dot += as_double(y(r, j)) * as_double(dy(r, j));
        for (index_t j = 0; j < dx.extent(1); ++j) {
            dx(r, j) = from_double<T>(as_double(inv_norm(r)) * (as_double(dy(r, j)) - as_double(y(r, j)) * dot));
        }
    }
}

}  // namespace instar::ops::ref

#endif
