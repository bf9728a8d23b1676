#ifndef INSTAR_OPS_REF_SOFTMAX_HPP
#define INSTAR_OPS_REF_SOFTMAX_HPP

// Reference softmax, a row at a time in double.
//
//     ops::ref::softmax_forward(y, x);

#include <cmath>
#include <limits>

#include "instar/ops/ref/convert.hpp"
#include "instar/ops/softmax.hpp"

namespace instar::ops::ref {

/// y_j = exp(x_j − max x) / Σ exp(x − max x).
template <class T>
void softmax_forward(tensor_view<T, 2> y, in_view<T, 2> x) {
    for (index_t r = 0; r < y.extent(0); ++r) {
        double max = -std::numeric_limits<double>::infinity();
        for (index_t j = 0; j < x.extent(1); ++j) max = std::fmax(max, as_double(x(r, j)));
        double sum = 0.0;
        for (index_t j = 0; j < x.extent(1); ++j) sum += std::exp(as_double(x(r, j)) - max);
        for (index_t j = 0; j < x.extent(1); ++j) y(r, j) = from_double<T>(std::exp(as_double(x(r, j)) - max) / sum);
    }
}

/// dx = y · (dy − Σ dy · y).
template <class T>
void softmax_backward(tensor_view<T, 2> dx, in_view<T, 2> dy, in_view<T, 2> y) {
    for (index_t r = 0; r < dx.extent(0); ++r) {
        double dot = 0.0;
        for (index_t j = 0; j < y.extent(1); ++j) dot += as_double(dy(r, j)) * as_double(y(r, j));
        for (index_t j = 0; j < y.extent(1); ++j) dx(r, j) = from_double<T>(as_double(y(r, j)) * (as_double(dy(r, j)) - dot));
    }
}

}  // namespace instar::ops::ref

#endif
