#ifndef INSTAR_OPS_REF_EMBEDDING_HPP
#define INSTAR_OPS_REF_EMBEDDING_HPP

// Reference embedding look-up and its gradient.
//
//     ops::ref::embedding_forward(y, ids, word, position, type_row);

#include <vector>

#include "instar/ops/embedding.hpp"
#include "instar/ops/ref/convert.hpp"

namespace instar::ops::ref {

/// y[b, t] = word[ids[b, t]] + position[t] + type_row.
template <class T>
void embedding_forward(tensor_view<T, 3> y, tensor_view<const std::int32_t, 2> ids, in_view<T, 2> word, in_view<T, 2> position,
                       in_view<T, 1> type_row) {
    for (index_t b = 0; b < y.extent(0); ++b) {
        for (index_t t = 0; t < y.extent(1); ++t) {
            for (index_t j = 0; j < y.extent(2); ++j) {
                double v = as_double(word(ids(b, t), j));
                if (!position.empty()) v += as_double(position(t, j));
                if (!type_row.empty()) v += as_double(type_row(j));
                y(b, t, j) = from_double<T>(v);
            }
        }
    }
}

/// Sums in double, added to what the gradients hold at the end.
template <class T>
void embedding_backward(tensor_view<T, 2> dword, out_view<T, 2> dposition, out_view<T, 1> dtype_row, in_view<T, 3> dy,
                        tensor_view<const std::int32_t, 2> ids, embedding_options options = {}) {
    const index_t d = dy.extent(2);
    std::vector<double> word(static_cast<std::size_t>(dword.size())), type(static_cast<std::size_t>(d));
    std::vector<double> position(static_cast<std::size_t>(dy.extent(1) * d));
    for (index_t b = 0; b < dy.extent(0); ++b) {
        for (index_t t = 0; t < dy.extent(1); ++t) {
            for (index_t j = 0; j < d; ++j) {
                const double g = as_double(dy(b, t, j));
                if (ids(b, t) != options.padding_idx) word[static_cast<std::size_t>(ids(b, t) * d + j)] += g;
                position[static_cast<std::size_t>(t * d + j)] += g;
                type[static_cast<std::size_t>(j)] += g;
            }
        }
    }
    const auto accumulate = [](T& to, double sum) { to = from_double<T>(as_double(to) + sum); };
    for (index_t v = 0; v < dword.extent(0); ++v) {
        for (index_t j = 0; j < d; ++j) accumulate(dword(v, j), word[static_cast<std::size_t>(v * d + j)]);
    }
    for (index_t t = 0; t < dy.extent(1) && !dposition.empty(); ++t) {
        for (index_t j = 0; j < d; ++j) accumulate(dposition(t, j), position[static_cast<std::size_t>(t * d + j)]);
    }
    for (index_t j = 0; j < d && !dtype_row.empty(); ++j) accumulate(dtype_row(j), type[static_cast<std::size_t>(j)]);
}

}  // namespace instar::ops::ref

#endif
