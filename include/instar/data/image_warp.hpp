#ifndef INSTAR_DATA_IMAGE_WARP_HPP
#define INSTAR_DATA_IMAGE_WARP_HPP

// An image resampled through an affine map straight into a network's input: crop, scale, rotation and mirrors in one interpolation, not in
// four, so the picture is softened once.
//
//     const data::affine_map map = data::random_affine(photo, 128, {.scale_min = 0.35, .rotation = 20}, philox{.seed = 1, .stream = index});
//     data::warp_image(x, photo, map, {.mean = {0.485f, 0.456f, 0.406f}, .deviation = {0.229f, 0.224f, 0.225f}});      // x: [3, 128, 128]
//
// Shrinking by more than two loses detail to aliasing: shrink the image first (data/image_resize.hpp).

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <string>

#include "instar/core/error.hpp"
#include "instar/core/philox.hpp"
#include "instar/core/tensor_view.hpp"
#include "instar/data/image.hpp"

namespace instar::data {

/// Where an output pixel's centre comes from: source x = xx·x + xy·y + x0, source y = yx·x + yy·y + y0, in pixels; the centre of the first
/// pixel is (0, 0) on both sides.
struct affine_map {
    float xx = 1, xy = 0, x0 = 0;
    float yx = 0, yy = 1, y0 = 0;
};

/// What stands for pixels outside the source.
enum class border {
    replicate,  ///< the nearest pixel
    fill        ///< warp_options::fill
};

struct warp_options {
    std::array<float, 3> mean{0, 0, 0}, deviation{1, 1, 1};  ///< output = (value / 255 · brightness − mean) / deviation
    float brightness = 1.0f;
    border outside = border::replicate;
    std::array<std::uint8_t, 3> fill{240, 240, 240};
};

/// y[c, i, j] = (bilinear(x at map(j, i)) / 255 · brightness − mean[c]) / deviation[c].
///
/// | argument | shape                              | element       |
/// |----------|------------------------------------|---------------|
/// | y        | [3, height, width] or [1, …]: red  | float         |
/// | x        | any image with a pixel             | 8-bit RGB     |
///
/// Cost: four pixels read and about 30 FLOP for each of y's. Throws shape_error for other channels, value_error for an empty image or a map
/// that is not finite.
inline void warp_image(tensor_view<float, 3> y, const image& x, const affine_map& map, const warp_options& options = {}) {
    const index_t channels = y.extent(0), height = y.extent(1), width = y.extent(2);
    if (channels != 1 && channels != 3) throw shape_error("warp_image: y has " + std::to_string(channels) + " channels, expected 1 or 3");
    if (x.height < 1 || x.width < 1) throw value_error("warp_image: the image is empty");
    if (x.pixels.size() != static_cast<std::size_t>(3 * x.height * x.width)) throw shape_error("warp_image: the image holds " + std::to_string(x.pixels.size()) + " bytes, expected 3 · height · width");
    for (const float v : {map.xx, map.xy, map.x0, map.yx, map.yy, map.y0}) {
        if (!std::isfinite(v)) throw value_error("warp_image: the map is not finite");
    }
    float scale[3], shift[3];
    for (std::size_t c = 0; c < 3; ++c) {
        scale[c] = options.brightness / (255.0f * options.deviation[c]);
        shift[c] = -options.mean[c] / options.deviation[c];
    }
    const bool fills = options.outside == border::fill;
    const auto last_x = static_cast<float>(x.width - 1), last_y = static_cast<float>(x.height - 1);
    for (index_t i = 0; i < height; ++i) {
        float* out[3] = {&y(0, i, 0), channels == 3 ? &y(1, i, 0) : nullptr, channels == 3 ? &y(2, i, 0) : nullptr};
        for (index_t j = 0; j < width; ++j) {
            const float sx = map.xx * static_cast<float>(j) + map.xy * static_cast<float>(i) + map.x0;
            const float sy = map.yx * static_cast<float>(j) + map.yy * static_cast<float>(i) + map.y0;
            // A source point half a pixel outside is still the border pixel's.
            if (fills && (sx < -0.5f || sy < -0.5f || sx > last_x + 0.5f || sy > last_y + 0.5f)) {
                for (index_t c = 0; c < channels; ++c) out[c][j] = static_cast<float>(options.fill[static_cast<std::size_t>(c)]) * scale[c] + shift[c];
                continue;
            }
            const float cx = std::clamp(sx, 0.0f, last_x), cy = std::clamp(sy, 0.0f, last_y);
            const auto x0 = static_cast<index_t>(cx), y0 = static_cast<index_t>(cy);
            const index_t x1 = std::min(x0 + 1, x.width - 1), y1 = std::min(y0 + 1, x.height - 1);
            const float fx = cx - static_cast<float>(x0), fy = cy - static_cast<float>(y0);
            const std::uint8_t *top = x.row(y0), *bottom = x.row(y1);
            for (index_t c = 0; c < channels; ++c) {
                const auto at = [&](const std::uint8_t* row, index_t column) { return static_cast<float>(row[3 * column + c]); };
                const float upper = at(top, x0) + fx * (at(top, x1) - at(top, x0)), lower = at(bottom, x0) + fx * (at(bottom, x1) - at(bottom, x0));
                out[c][j] = (upper + fy * (lower - upper)) * scale[c] + shift[c];
            }
        }
    }
}

/// The map that fits a square of `side` source pixels about (center_x, center_y) to size × size output pixels.
inline affine_map square_map(float center_x, float center_y, float side, index_t size) {
    const float step = side / static_cast<float>(size), half = 0.5f * static_cast<float>(size - 1);
    return {.xx = step, .x0 = center_x - step * half, .yy = step, .y0 = center_y - step * half};
}

/// The largest centred square of an image, times `share`.
inline affine_map center_map(const image& x, index_t size, float share = 1.0f) {
    const auto side = share * static_cast<float>(std::min(x.height, x.width));
    return square_map(0.5f * static_cast<float>(x.width - 1), 0.5f * static_cast<float>(x.height - 1), side, size);
}

/// What random_affine draws from.
struct affine_options {
    float scale_min = 0.35f, scale_max = 1.0f;  ///< area of the crop, as a share of the image's
    float ratio = 4.0f / 3.0f;                  ///< width over height is between 1/ratio and ratio, evenly on the logarithm
    float rotation = 0.0f;                      ///< degrees to either side
    bool mirror = true;                         ///< left and right change places, one time in two
    bool flip = false;                          ///< above and below do, one time in two
};

/// A random crop (area and ratio as in RandomResizedCrop), rotated and mirrored, for size × size output pixels. A function of (x's size,
/// options, rng) alone. Corners of a rotated crop may lie outside the image.
inline affine_map random_affine(const image& x, index_t size, const affine_options& options, philox rng) {
    if (!(options.scale_min > 0 && options.scale_min <= options.scale_max && options.scale_max <= 1.0f)) throw value_error("random_affine: scale_min and scale_max must satisfy 0 < min <= max <= 1");
    if (!(options.ratio >= 1.0f)) throw value_error("random_affine: ratio must be at least 1, is " + std::to_string(options.ratio));
    const auto width = static_cast<float>(x.width), height = static_cast<float>(x.height);
    const float area = width * height * (options.scale_min + (options.scale_max - options.scale_min) * rng.uniform(0));
    const float log_ratio = std::log(options.ratio), ratio = std::exp(log_ratio * (2.0f * rng.uniform(1) - 1.0f));
    const float w = std::min(width, std::sqrt(area * ratio)), h = std::min(height, std::sqrt(area / ratio));
    const float center_x = 0.5f * (width - 1.0f) + (width - w) * (rng.uniform(2) - 0.5f);
    const float center_y = 0.5f * (height - 1.0f) + (height - h) * (rng.uniform(3) - 0.5f);
    const float angle = options.rotation * std::numbers::pi_v<float> / 180.0f * (2.0f * rng.uniform(4) - 1.0f);
    const float sx = (options.mirror && rng.uniform(5) < 0.5f ? -w : w) / static_cast<float>(size), sy = (options.flip && rng.uniform(6) < 0.5f ? -h : h) / static_cast<float>(size);
    const float half = 0.5f * static_cast<float>(size - 1);
    affine_map m{.xx = std::cos(angle) * sx, .xy = -std::sin(angle) * sy, .yx = std::sin(angle) * sx, .yy = std::cos(angle) * sy};
    m.x0 = center_x - m.xx * half - m.xy * half;
    m.y0 = center_y - m.yx * half - m.yy * half;
    return m;
}

}  // namespace instar::data

#endif
