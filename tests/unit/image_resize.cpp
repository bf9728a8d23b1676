// Fixed-point resizing: the same bytes as plain loops give, at every level of vector instructions, for all small sizes and both filters.
#include <doctest/doctest.h>

#include "instar/core/philox.hpp"
#include "instar/core/resample.hpp"
#include "instar/data/image_resize.hpp"
#include "support/levels.hpp"

using namespace instar;
using data::image;

namespace {

std::uint8_t clip(std::int32_t v) { return static_cast<std::uint8_t>(std::clamp(v >> 22, 0, 255)); }

/// Rows first, then columns, one tap after the other.
image plain(const image& x, index_t height, index_t width, resample filter) {
    image y = x;
    if (width != x.width) {
        const detail::resize_weights w(x.width, width, filter);
        const auto k = w.fixed();
        y = {x.height, width, std::vector<std::uint8_t>(static_cast<std::size_t>(3 * x.height * width))};
        for (index_t i = 0; i < x.height; ++i) {
            for (index_t j = 0; j < width; ++j) {
                for (index_t c = 0; c < 3; ++c) {
                    std::int32_t sum = 1 << 21;
                    for (index_t t = 0; t < w.count[static_cast<std::size_t>(j)]; ++t) sum += k[static_cast<std::size_t>(j * w.width + t)] * x.row(i)[3 * (w.first[static_cast<std::size_t>(j)] + t) + c];
                    y.row(i)[3 * j + c] = clip(sum);
                }
            }
        }
    }
    if (height == x.height) return y;
    const detail::resize_weights w(x.height, height, filter);
    const auto k = w.fixed();
    image z{height, width, std::vector<std::uint8_t>(static_cast<std::size_t>(3 * height * width))};
    for (index_t i = 0; i < height; ++i) {
        for (index_t c = 0; c < 3 * width; ++c) {
            std::int32_t sum = 1 << 21;
            for (index_t t = 0; t < w.count[static_cast<std::size_t>(i)]; ++t) sum += k[static_cast<std::size_t>(i * w.width + t)] * y.row(w.first[static_cast<std::size_t>(i)] + t)[c];
            z.row(i)[c] = clip(sum);
        }
    }
    return z;
}

image noise(index_t height, index_t width) {
    image x{height, width, std::vector<std::uint8_t>(static_cast<std::size_t>(3 * height * width))};
    const philox rng{.seed = static_cast<std::uint64_t>(height * 1000 + width)};
    // Black and white mostly: bicubic overshoots there.
    for (std::size_t i = 0; i < x.pixels.size(); ++i) {
        const std::uint32_t v = rng.below(i, 512);
        x.pixels[i] = static_cast<std::uint8_t>(v < 128 ? 0 : v < 256 ? 255 : v - 256);
    }
    return x;
}

}  // namespace

TEST_CASE("image_resize: the bytes of plain loops, at every level") {
    test::for_each_level([] {
        for (const auto filter : {resample::bilinear, resample::bicubic}) {
            for (const auto& [h, w, to_h, to_w] : {std::array<index_t, 4>{1, 1, 3, 5}, {3, 5, 1, 1}, {7, 2, 7, 9}, {7, 2, 19, 2}, {33, 47, 32, 31}, {33, 47, 70, 95}, {64, 3, 5, 2}, {3, 200, 2, 7}, {50, 61, 17, 20}, {128, 171, 64, 85}}) {
                CAPTURE(h);
                CAPTURE(w);
                CAPTURE(to_h);
                CAPTURE(to_w);
                const image x = noise(h, w);
                CHECK(data::resize(x, to_h, to_w, filter).pixels == plain(x, to_h, to_w, filter).pixels);
            }
        }
        for (index_t n = 1; n <= 40; ++n) {
            const image x = noise(3, n);
            CHECK(data::resize(x, 5, 13, resample::bicubic).pixels == plain(x, 5, 13, resample::bicubic).pixels);
            CHECK(data::resize(noise(4, 29), 3, n).pixels == plain(noise(4, 29), 3, n, resample::bilinear).pixels);
        }
    });
}
