#ifndef INSTAR_DATA_IMAGE_CROP_HPP
#define INSTAR_DATA_IMAGE_CROP_HPP

// Parts of an image, exactly to the pixel: crops that may reach over the border, torchvision's random crops, mirrors, and BIOSCAN's crop of a
// specimen from its box. (Crop, scale, turn and mirror in one interpolation: data/image_warp.hpp.)
//
//     image x = crop(photo, {.left = 10, .top = -5, .right = 110, .bottom = 95}, {240, 240, 240});
//     image y = center_crop(resize_shorter(photo, 256), 224, 224);
//     image z = resize(crop(photo, random_resized_crop(photo, {}, rng)), 224, 224);
//     image specimen = crop_specimen(photo, {.left = 812.3, .top = 344.0, .right = 1421.8, .bottom = 1002.1});
//
// Rectangles are in whole pixels, right and bottom exclusive.

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "instar/core/error.hpp"
#include "instar/core/philox.hpp"
#include "instar/data/image.hpp"
#include "instar/data/image_resize.hpp"

namespace instar::data {

struct pixel_box {
    index_t left = 0, top = 0, right = 0, bottom = 0;

    index_t width() const noexcept { return right - left; }
    index_t height() const noexcept { return bottom - top; }
    friend bool operator==(const pixel_box&, const pixel_box&) = default;
};

/// A box as a detector gives it, in pixels.
struct real_box {
    double left = 0, top = 0, right = 0, bottom = 0;
};

/// The pixels of a box; those outside the image get `fill`. Throws value_error for a box without a pixel, and for one of more than 2^28.
inline image crop(const image& x, const pixel_box& box, std::array<std::uint8_t, 3> fill = {0, 0, 0}) {
    const index_t w = box.width(), h = box.height();
    if (w < 1 || h < 1) throw value_error("crop: the box (" + std::to_string(box.left) + ", " + std::to_string(box.top) + ", " + std::to_string(box.right) + ", " + std::to_string(box.bottom) + ") is empty");
    if (w > (index_t{1} << 28) / h) throw value_error("crop: a box of " + std::to_string(w) + " x " + std::to_string(h) + " pixels is too large");
    image y{h, w, std::vector<std::uint8_t>(static_cast<std::size_t>(3 * h * w))};
    const index_t from = std::clamp<index_t>(-box.left, 0, w), to = std::clamp<index_t>(x.width - box.left, from, w);
    for (index_t i = 0; i < h; ++i) {
        std::uint8_t* out = y.row(i);
        const index_t at = box.top + i;
        const bool inside = at >= 0 && at < x.height && to > from;
        if (!inside || to - from < w) {
            for (index_t j = 0; j < w; ++j) std::copy_n(fill.data(), 3, out + 3 * j);
        }
        if (inside) std::copy_n(x.row(at) + 3 * (box.left + from), 3 * (to - from), out + 3 * from);
    }
    return y;
}

/// torchvision's CenterCrop: the offset is half the difference, rounded to even; black where the image is too small.
inline image center_crop(const image& x, index_t height, index_t width) {
    if (height < 1 || width < 1) throw value_error("center_crop: the size is " + std::to_string(height) + " x " + std::to_string(width));
    const auto offset = [](index_t all, index_t part) {
        // A smaller image is padded first, the odd pixel at the end; then the difference is 0.
        if (part > all) return -((part - all) / 2);
        const index_t twice = all - part, half = twice / 2;
        return twice % 2 == 0 ? half : half % 2 == 0 ? half : half + 1;
    };
    const index_t top = offset(x.height, height), left = offset(x.width, width);
    return crop(x, {left, top, left + width, top + height});
}

/// A box of this size anywhere in the image, each place as likely. Throws value_error when the image is smaller.
inline pixel_box random_crop(const image& x, index_t height, index_t width, philox rng) {
    if (height < 1 || width < 1 || height > x.height || width > x.width) {
        throw value_error("random_crop: " + std::to_string(height) + " x " + std::to_string(width) + " of an image of " + std::to_string(x.height) + " x " + std::to_string(x.width));
    }
    const auto top = static_cast<index_t>(rng.below(0, static_cast<std::uint32_t>(x.height - height + 1))), left = static_cast<index_t>(rng.below(1, static_cast<std::uint32_t>(x.width - width + 1)));
    return {left, top, left + width, top + height};
}

struct resized_crop_options {
    double area_min = 0.08, area_max = 1.0;             ///< of the image's area, uniform
    double aspect_min = 3.0 / 4.0, aspect_max = 4.0 / 3.0;  ///< width / height, log-uniform
};

/// torchvision's RandomResizedCrop: a box of random area and aspect; after ten that do not fit, the largest central one of an allowed aspect.
/// To be resized by the caller. Throws value_error for options that are no intervals above 0 and for an empty image.
inline pixel_box random_resized_crop(const image& x, const resized_crop_options& o, philox rng) {
    if (!(o.area_min > 0.0) || !(o.area_max >= o.area_min) || !(o.aspect_min > 0.0) || !(o.aspect_max >= o.aspect_min)) throw value_error("random_resized_crop: options.area and options.aspect must be intervals above 0");
    if (x.height < 1 || x.width < 1) throw value_error("random_resized_crop: the image is empty");
    const double area = static_cast<double>(x.height) * static_cast<double>(x.width);
    for (std::uint64_t attempt = 0; attempt < 10; ++attempt) {
        const philox own = rng.fork(attempt);
        const double part = area * (o.area_min + (o.area_max - o.area_min) * static_cast<double>(own.uniform(0)));
        const double aspect = std::exp(std::log(o.aspect_min) + (std::log(o.aspect_max) - std::log(o.aspect_min)) * static_cast<double>(own.uniform(1)));
        const auto w = static_cast<index_t>(std::nearbyint(std::sqrt(part * aspect))), h = static_cast<index_t>(std::nearbyint(std::sqrt(part / aspect)));
        if (w > 0 && w <= x.width && h > 0 && h <= x.height) return random_crop(x, h, w, own.fork(1));
    }
    const double aspect = static_cast<double>(x.width) / static_cast<double>(x.height);
    index_t w = x.width, h = x.height;
    if (aspect < o.aspect_min) h = std::max<index_t>(1, static_cast<index_t>(std::nearbyint(static_cast<double>(w) / o.aspect_min)));
    else if (aspect > o.aspect_max) w = std::max<index_t>(1, static_cast<index_t>(std::nearbyint(static_cast<double>(h) * o.aspect_max)));
    const index_t left = (x.width - w) / 2, top = (x.height - h) / 2;
    return {left, top, left + w, top + h};
}

/// Left and right, or top and bottom, exchanged.
inline image mirrored(image x) {
    for (index_t i = 0; i < x.height; ++i) {
        std::uint8_t* row = x.row(i);
        for (index_t a = 0, b = x.width - 1; a < b; ++a, --b) std::swap_ranges(row + 3 * a, row + 3 * a + 3, row + 3 * b);
    }
    return x;
}
inline image flipped(image x) {
    for (index_t a = 0, b = x.height - 1; a < b; ++a, --b) std::swap_ranges(x.row(a), x.row(a) + 3 * x.width, x.row(b));
    return x;
}

struct specimen_crop_options {
    double ratio = 1.4;                            ///< the longer side grows to this; both sides by as many pixels
    std::array<std::uint8_t, 3> fill{240, 240, 240};  ///< outside the photograph
};

/// The pixels that BIOSCAN's crop tool takes for a detector's box: the box is rounded (halves to even), then ratio − 1 times its longer side
/// is added to width and to height, half on each side, and truncated toward zero. It may reach over the photograph.
/// Throws value_error for a box that is not finite, is empty after rounding, or lies beyond ±2^30.
inline pixel_box specimen_box(const real_box& box, double ratio = 1.4) {
    const auto text = [&] { return "(" + std::to_string(box.left) + ", " + std::to_string(box.top) + ", " + std::to_string(box.right) + ", " + std::to_string(box.bottom) + ")"; };
    for (const double v : {box.left, box.top, box.right, box.bottom}) {
        if (!std::isfinite(v) || std::abs(v) > 1073741824.0) throw value_error("specimen_box: the box " + text() + " is not finite or too far out");
    }
    if (!(ratio >= 1.0) || ratio > 1000.0) throw value_error("specimen_box: the ratio must be between 1 and 1000, is " + std::to_string(ratio));
    const double left = std::nearbyint(box.left), top = std::nearbyint(box.top), right = std::nearbyint(box.right), bottom = std::nearbyint(box.bottom);
    if (!(right > left) || !(bottom > top)) throw value_error("specimen_box: the box " + text() + " is empty");
    const double half = (ratio - 1.0) * std::max(right - left, bottom - top) / 2.0;
    return {static_cast<index_t>(left - half), static_cast<index_t>(top - half), static_cast<index_t>(right + half), static_cast<index_t>(bottom + half)};
}

/// BIOSCAN's crop of a specimen. For its cropped_256 images it is then resized to a height of 256 (resize_to_height).
inline image crop_specimen(const image& photo, const real_box& box, const specimen_crop_options& o = {}) { return crop(photo, specimen_box(box, o.ratio), o.fill); }

/// Resized to this height, the width in proportion and rounded, at least 1: what BIOSCAN's packages hold, whichever side is the shorter.
inline image resize_to_height(const image& x, index_t height, resample filter = resample::bicubic) {
    if (x.height < 1 || height < 1) throw value_error("resize_to_height: an empty image or size");
    const auto width = static_cast<index_t>(std::llround(static_cast<double>(x.width) * static_cast<double>(height) / static_cast<double>(x.height)));
    return resize(x, height, std::max<index_t>(1, width), filter);
}

}  // namespace instar::data

#endif
