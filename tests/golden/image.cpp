// Image decoding and resizing against Pillow and torchvision: resizes byte for byte, lossless files exactly, JPEG within the rounding of
// another inverse transform.
#include <doctest/doctest.h>

#include "instar/data/image_file.hpp"
#include "instar/data/image_resize.hpp"
#include "support/golden_fill.hpp"

using namespace instar;

namespace {

/// The picture of tests/reference/image_golden.py.
data::image picture(index_t height, index_t width) {
    data::image im{height, width, std::vector<std::uint8_t>(static_cast<std::size_t>(3 * height * width))};
    for (index_t y = 0; y < height; ++y) {
        for (index_t x = 0; x < width; ++x) {
            for (index_t c = 0; c < 3; ++c) im.row(y)[3 * x + c] = static_cast<std::uint8_t>((x * 7 + y * 3 + c * 31 + x * y * (c + 1) / 5 + 90 * ((x / 9 + y / 7) % 2)) % 256);
        }
    }
    return im;
}

struct difference {
    int largest = 0;
    double mean = 0.0;
};
difference compare(const std::vector<std::uint8_t>& a, const std::vector<std::uint8_t>& b) {
    REQUIRE(a.size() == b.size());
    difference d;
    for (std::size_t i = 0; i < a.size(); ++i) {
        const int by = std::abs(static_cast<int>(a[i]) - static_cast<int>(b[i]));
        d.largest = std::max(d.largest, by);
        d.mean += by / static_cast<double>(a.size());
    }
    return d;
}

}  // namespace

TEST_CASE("image_resize equals Pillow's bytes and torchvision's floats") {
    const test::golden_file golden("image");
    const data::image full = picture(97, 61);
    tensor<float, 3> planes({3, 97, 61});
    for (index_t y = 0; y < 97; ++y) {
        for (index_t x = 0; x < 61; ++x) {
            for (index_t c = 0; c < 3; ++c) planes(c, y, x) = static_cast<float>(full.row(y)[3 * x + c]) / 255.0f;
        }
    }
    int n_compared = 0;
    for (const auto& [name, filter] : {std::pair{"bilinear", data::resample::bilinear}, std::pair{"bicubic", data::resample::bicubic}}) {
        for (const auto& [height, width] : {std::pair<index_t, index_t>{31, 47}, {64, 40}, {100, 90}, {7, 5}, {1, 1}, {97, 61}, {150, 200}}) {
            const std::string key = std::string(name) + "." + std::to_string(height) + "x" + std::to_string(width);
            CAPTURE(key);
            const data::image small = data::resize(full, height, width, filter);
            CHECK(small.height == height);
            CHECK(small.width == width);
            // Pillow 13, which made the file, went along the columns first for this size alone.
            const difference d = compare(small.pixels, golden.read<std::uint8_t>("pil." + key));
            CHECK(d.largest <= (height != 31 ? 0 : filter == data::resample::bilinear ? 1 : 3));
            CHECK(d.mean <= 0.25);
            if (height * width >= 5000) continue;
            tensor<float, 3> y({3, height, width});
            data::resize_planes(y.view(), planes.view(), filter);
            CHECK(golden.max_error("tensor." + key, y.data(), y.size()) <= 1e-5);
            ++n_compared;
        }
    }
    CHECK(n_compared == 8);
    for (const index_t size : {32, 61, 80}) {
        const auto expected = golden.read<std::int64_t>("shorter." + std::to_string(size));
        const auto [height, width] = data::shorter_side_size(97, 61, size);
        CHECK(height == expected[0]);
        CHECK(width == expected[1]);
    }
}

TEST_CASE("image_file decodes what Pillow decodes") {
    const test::golden_file golden("image");
    int n_turned = 0;
    for (const char* name : {"png", "png_grey", "png_palette", "png_alpha", "bmp", "ppm"}) {
        CAPTURE(name);
        const auto bytes = golden.read<std::uint8_t>(std::string("file.") + name);
        const data::image im = data::decode_image(bytes, name);
        CHECK(im.height == 23);
        CHECK(im.width == 30);
        CHECK(im.pixels == golden.read<std::uint8_t>(std::string("decoded.") + name));
    }
    for (const char* name : {"jpeg", "jpeg_420", "jpeg_progressive", "jpeg_grey", "jpeg_exif1", "jpeg_exif2", "jpeg_exif3", "jpeg_exif4", "jpeg_exif5", "jpeg_exif6", "jpeg_exif7", "jpeg_exif8"}) {
        CAPTURE(name);
        const auto bytes = golden.read<std::uint8_t>(std::string("file.") + name);
        const data::image im = data::decode_image(bytes, name);
        const auto shape = golden.file().info(std::string("decoded.") + name).shape;
        CHECK(im.height == shape[0]);
        CHECK(im.width == shape[1]);
        const difference d = compare(im.pixels, golden.read<std::uint8_t>(std::string("decoded.") + name));
        const bool subsampled = std::string(name) == "jpeg_420";  // stb_image interpolates chroma by another filter
        CHECK(d.largest <= (subsampled ? 40 : 6));
        CHECK(d.mean <= (subsampled ? 3.0 : 0.6));
        if (shape[0] == 30) {
            ++n_turned;
            CHECK(data::decode_image(bytes, name, {.apply_orientation = false}).height == 23);
        }
    }
    CHECK(n_turned == 4);
}
