#ifndef INSTAR_OPS_REF_PATCH_EMBEDDING_HPP
#define INSTAR_OPS_REF_PATCH_EMBEDDING_HPP

// Reference of ops/patch_embedding.hpp.
//
//     ops::ref::extract_patches(rows, images, 16);

#include "instar/ops/patch_embedding.hpp"
#include "instar/ops/ref/convert.hpp"

namespace instar::ops::ref {

/// Calls f(patch row, patch column, b, c, y, x) for every element of an image.
template <class F>
void each_patch_element(index_t n_batch, index_t n_channels, index_t height, index_t width, index_t patch, F f) {
    for (index_t b = 0; b < n_batch; ++b) {
        for (index_t c = 0; c < n_channels; ++c) {
            for (index_t y = 0; y < height; ++y) {
                for (index_t x = 0; x < width; ++x) {
                    f((b * (height / patch) + y / patch) * (width / patch) + x / patch, (c * patch + y % patch) * patch + x % patch, b, c, y, x);
                }
            }
        }
    }
}

template <class T>
void extract_patches(tensor_view<T, 2> y, in_view<T, 4> x, index_t patch_size) {
    each_patch_element(x.extent(0), x.extent(1), x.extent(2), x.extent(3), patch_size,
                       [&](index_t row, index_t column, index_t b, index_t c, index_t i, index_t j) { y(row, column) = x(b, c, i, j); });
}

template <class T>
void extract_patches_backward(tensor_view<T, 4> dx, in_view<T, 2> dy, index_t patch_size) {
    each_patch_element(dx.extent(0), dx.extent(1), dx.extent(2), dx.extent(3), patch_size,
                       [&](index_t row, index_t column, index_t b, index_t c, index_t i, index_t j) { dx(b, c, i, j) = dy(row, column); });
}

template <class T>
void prepend_class_token(tensor_view<T, 3> y, in_view<T, 2> patches, in_view<T, 1> class_token, in_view<T, 2> position) {
    const index_t first = class_token.empty() ? 0 : 1, n_patches = y.extent(1) - first;
    for (index_t b = 0; b < y.extent(0); ++b) {
        for (index_t t = 0; t < y.extent(1); ++t) {
            for (index_t c = 0; c < y.extent(2); ++c) {
                const double token = as_double(t < first ? class_token(c) : patches(b * n_patches + t - first, c));
                y(b, t, c) = from_double<T>(token + as_double(position(t, c)));
            }
        }
    }
}

template <class T>
void prepend_class_token_backward(tensor_view<T, 2> d_patches, tensor_view<T, 1> d_class_token, tensor_view<T, 2> d_position, in_view<T, 3> dy) {
    const index_t first = d_class_token.empty() ? 0 : 1, n_patches = dy.extent(1) - first;
    for (index_t t = 0; t < dy.extent(1); ++t) {
        for (index_t c = 0; c < dy.extent(2); ++c) {
            double sum = 0.0;
            for (index_t b = 0; b < dy.extent(0); ++b) {
                sum += as_double(dy(b, t, c));
                if (t >= first) d_patches(b * n_patches + t - first, c) = dy(b, t, c);
            }
            d_position(t, c) = from_double<T>(as_double(d_position(t, c)) + sum);
            if (t < first) d_class_token(c) = from_double<T>(as_double(d_class_token(c)) + sum);
        }
    }
}

}  // namespace instar::ops::ref

#endif
