#ifndef INSTAR_DATA_IMAGE_RESIZE_HPP
#define INSTAR_DATA_IMAGE_RESIZE_HPP

// Resizing with antialiasing, in both forms that trained models expect: Pillow's on 8-bit images, and torchvision's on float tensors.
//
//     data::image small = data::resize_shorter(photo, 256);                                   // as torchvision's Resize(256) of a PIL image
//     data::image exact = data::resize(photo, 224, 300, data::resample::bicubic);
//     data::resize_planes(y.view(), x.view(), data::resample::bilinear);                       // [3, 480, 640] → [3, 256, 341], float
//
// Both weigh the source pixels by a filter that widens with the shrinking, so that every pixel counts. Pillow rounds the weights to 22
// bits and the picture to 8 after each direction, rows first, and so do we: the same bytes. (Pillow 13 takes the columns first for some
// sizes; bytes then differ by one, bicubic's rarely by three.)

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "instar/core/error.hpp"
#include "instar/core/resample.hpp"
#include "instar/core/tensor.hpp"
#include "instar/data/image.hpp"
#include "instar/ops/cpu/simd/resize.hpp"

namespace instar::data {

using instar::resample;

namespace detail {

/// Rows of RGB pixels, each resampled along itself.
inline image resize_rows(const image& x, index_t width, resample filter) {
    const instar::detail::resize_weights w(x.width, width, filter);
    const std::vector<std::int32_t> k = w.fixed();
    // Four taps at a time, with zeros after the last that counts.
    const index_t n_taps = (w.width + 3) / 4 * 4;
    std::vector<std::int32_t> weight(static_cast<std::size_t>(4 * width * n_taps)), first(static_cast<std::size_t>(width));
    for (index_t j = 0; j < width; ++j) {
        const auto at = static_cast<std::size_t>(j);
        first[at] = static_cast<std::int32_t>(w.first[at]);
        for (index_t t = 0; t < w.count[at]; ++t) std::fill_n(&weight[static_cast<std::size_t>(4 * (j * n_taps + t))], 4, k[static_cast<std::size_t>(j * w.width + t)]);
    }
    const ops::cpu::simd::resize_plan plan{first.data(), weight.data(), n_taps};
    const auto run = INSTAR_SIMD_PICK(resize_row_rgb);
    image y{x.height, width, std::vector<std::uint8_t>(static_cast<std::size_t>(3 * x.height * width))};
    // Copies of a row in and out: the vectors reach past both ends.
    std::vector<std::uint8_t> in(static_cast<std::size_t>(3 * (x.width + n_taps) + 16)), out(static_cast<std::size_t>(3 * width + 1));
    for (index_t i = 0; i < x.height; ++i) {
        std::copy_n(x.row(i), 3 * x.width, in.data());
        run(out.data(), in.data(), plan, width);
        std::copy_n(out.data(), 3 * width, y.row(i));
    }
    return y;
}

/// Columns of RGB pixels, a whole row of them at a time.
inline image resize_columns(const image& x, index_t height, resample filter) {
    const instar::detail::resize_weights w(x.height, height, filter);
    const std::vector<std::int32_t> k = w.fixed();
    const auto run = INSTAR_SIMD_PICK(resize_column_bytes);
    image y{height, x.width, std::vector<std::uint8_t>(static_cast<std::size_t>(3 * height * x.width))};
    std::vector<const std::uint8_t*> rows(static_cast<std::size_t>(w.width));
    for (index_t i = 0; i < height; ++i) {
        const index_t n = w.count[static_cast<std::size_t>(i)];
        for (index_t t = 0; t < n; ++t) rows[static_cast<std::size_t>(t)] = x.row(w.first[static_cast<std::size_t>(i)] + t);
        run(y.row(i), rows.data(), &k[static_cast<std::size_t>(i * w.width)], n, 3 * x.width);
    }
    return y;
}

}  // namespace detail

/// Pillow's Image.resize((width, height), filter): along rows first, then along columns.
/// Throws value_error for an empty image or size. The same bytes on every CPU. Cost: for each pixel of either direction's result as many
/// multiplications of vectors as there are taps, 2 to 5 for bilinear shrinking by 2 or less.
inline image resize(const image& x, index_t height, index_t width, resample filter = resample::bilinear) {
    if (x.height < 1 || x.width < 1) throw value_error("resize: the image is empty");
    if (height < 1 || width < 1) throw value_error("resize: the size must be positive, is " + std::to_string(height) + " × " + std::to_string(width));
    if (height == x.height && width == x.width) return x;
    if (width == x.width) return detail::resize_columns(x, height, filter);
    image rows = detail::resize_rows(x, width, filter);
    return height == x.height ? rows : detail::resize_columns(rows, height, filter);
}

/// Height and width after the shorter side has become `size`, torchvision's rule: the longer is ⌊size · longer / shorter⌋.
inline std::array<index_t, 2> shorter_side_size(index_t height, index_t width, index_t size) {
    if (height < 1 || width < 1 || size < 1) throw value_error("shorter_side_size: sizes must be positive");
    const auto longer = [&](index_t l, index_t s) {
        return std::max<index_t>(1, static_cast<index_t>(static_cast<double>(size) * static_cast<double>(l) / static_cast<double>(s)));
    };
    return width <= height ? std::array{longer(height, width), size} : std::array{size, longer(width, height)};
}

/// Resized so that the shorter side is `size`.
inline image resize_shorter(const image& x, index_t size, resample filter = resample::bilinear) {
    const auto [height, width] = shorter_side_size(x.height, x.width, size);
    return resize(x, height, width, filter);
}

/// The same, but never enlarged.
inline image shrink_to(const image& x, index_t size, resample filter = resample::bilinear) {
    return std::min(x.height, x.width) <= size ? x : resize_shorter(x, size, filter);
}

/// torchvision's resize of float tensors with antialias: y[c] from x[c] for every plane.
///
/// | argument | shape                        | element |
/// |----------|------------------------------|---------|
/// | y, x     | [n_planes, height, width]    | float   |
///
/// Weights in double, sums in float. Throws shape_error when the planes disagree, value_error for an empty size.
inline void resize_planes(tensor_view<float, 3> y, tensor_view<const float, 3> x, resample filter = resample::bilinear) {
    if (y.extent(0) != x.extent(0)) throw shape_error("resize_planes: y has " + std::to_string(y.extent(0)) + " planes, x has " + std::to_string(x.extent(0)));
    if (x.extent(1) < 1 || x.extent(2) < 1 || y.extent(1) < 1 || y.extent(2) < 1) throw value_error("resize_planes: a size is empty");
    const instar::detail::resize_weights across(x.extent(2), y.extent(2), filter), down(x.extent(1), y.extent(1), filter);
    tensor<float, 2> rows({x.extent(1), y.extent(2)});
    for (index_t plane = 0; plane < x.extent(0); ++plane) {
        for (index_t i = 0; i < x.extent(1); ++i) {
            for (index_t j = 0; j < y.extent(2); ++j) {
                float s = 0.0f;
                for (index_t t = 0; t < across.count[static_cast<std::size_t>(j)]; ++t) {
                    s += static_cast<float>(across.weight[static_cast<std::size_t>(j * across.width + t)]) * x(plane, i, across.first[static_cast<std::size_t>(j)] + t);
                }
                rows(i, j) = s;
            }
        }
        for (index_t i = 0; i < y.extent(1); ++i) {
            for (index_t j = 0; j < y.extent(2); ++j) y(plane, i, j) = 0.0f;
            for (index_t t = 0; t < down.count[static_cast<std::size_t>(i)]; ++t) {
                const auto k = static_cast<float>(down.weight[static_cast<std::size_t>(i * down.width + t)]);
                const float* const from = &rows(down.first[static_cast<std::size_t>(i)] + t, 0);
                for (index_t j = 0; j < y.extent(2); ++j) y(plane, i, j) += k * from[j];
            }
        }
    }
}

}  // namespace instar::data

#endif
