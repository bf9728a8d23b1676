// Affine resampling of images: identity, shifts, mirrors and rotations by hand, borders, normalisation, random maps, bad input.
#include <doctest/doctest.h>

#include "instar/core/tensor.hpp"
#include "instar/data/image.hpp"
#include "instar/data/image_warp.hpp"

using namespace instar;

namespace {

/// Every channel another linear function of the place: bilinear interpolation is exact on it.
data::image slopes(index_t height, index_t width) {
    data::image im{height, width, std::vector<std::uint8_t>(static_cast<std::size_t>(3 * height * width))};
    for (index_t y = 0; y < height; ++y) {
        for (index_t x = 0; x < width; ++x) {
            im.row(y)[3 * x] = static_cast<std::uint8_t>(4 * x);
            im.row(y)[3 * x + 1] = static_cast<std::uint8_t>(3 * y);
            im.row(y)[3 * x + 2] = static_cast<std::uint8_t>(x + 2 * y + 5);
        }
    }
    return im;
}

}  // namespace

TEST_CASE("image_warp: identity, normalisation and one channel") {
    const auto im = slopes(7, 9);
    tensor<float, 3> y({3, 7, 9}), red({1, 7, 9});
    data::warp_image(y.view(), im, {}, {.mean = {0.1f, 0.2f, 0.3f}, .deviation = {0.5f, 0.25f, 2.0f}, .brightness = 1.1f});
    data::warp_image(red.view(), im, {});
    for (index_t i = 0; i < 7; ++i) {
        for (index_t j = 0; j < 9; ++j) {
            CHECK(y(0, i, j) == doctest::Approx((4.0 * static_cast<double>(j) / 255 * 1.1 - 0.1) / 0.5).epsilon(1e-5));
            CHECK(y(1, i, j) == doctest::Approx((3.0 * static_cast<double>(i) / 255 * 1.1 - 0.2) / 0.25).epsilon(1e-5));
            CHECK(y(2, i, j) == doctest::Approx((static_cast<double>(j + 2 * i + 5) / 255 * 1.1 - 0.3) / 2.0).epsilon(1e-5));
            CHECK(red(0, i, j) == doctest::Approx(4.0 * static_cast<double>(j) / 255).epsilon(1e-5));
        }
    }
}

TEST_CASE("image_warp: any affine map of a linear picture is exact inside, the border's pixel or the fill outside") {
    const auto im = slopes(20, 24);
    const data::affine_map map{.xx = 0.4f, .xy = -0.3f, .x0 = 8.25f, .yx = 0.2f, .yy = 0.5f, .y0 = 3.5f};
    tensor<float, 3> y({3, 12, 10}), filled({3, 12, 10});
    data::warp_image(y.view(), im, map);
    int n_outside = 0;
    data::affine_map away = map;
    away.x0 = -3.0f;
    data::warp_image(filled.view(), im, away, {.outside = data::border::fill, .fill = {255, 0, 51}});
    tensor<float, 3> kept({3, 12, 10});
    data::warp_image(kept.view(), im, away);
    for (index_t i = 0; i < 12; ++i) {
        for (index_t j = 0; j < 10; ++j) {
            const double x = 0.4 * static_cast<double>(j) - 0.3 * static_cast<double>(i) + 8.25, v = 0.2 * static_cast<double>(j) + 0.5 * static_cast<double>(i) + 3.5;
            CHECK(255 * static_cast<double>(y(0, i, j)) == doctest::Approx(4 * x).epsilon(1e-4));
            CHECK(255 * static_cast<double>(y(1, i, j)) == doctest::Approx(3 * v).epsilon(1e-4));
            const double moved = x - 11.25;
            if (moved < -0.5) {
                ++n_outside;
                CHECK(filled(0, i, j) == doctest::Approx(1.0f));
                CHECK(filled(2, i, j) == doctest::Approx(0.2f));
                CHECK(kept(0, i, j) == 0.0f);  // the first column is 0
            } else {
                CHECK(filled(0, i, j) == kept(0, i, j));
            }
        }
    }
    CHECK(n_outside > 10);
}

TEST_CASE("image_warp: center_map takes the centred square, halves it exactly, and a mirrored random map mirrors") {
    const auto im = slopes(8, 12);
    tensor<float, 3> y({3, 8, 8}), half({3, 4, 4});
    data::warp_image(y.view(), im, data::center_map(im, 8));
    data::warp_image(half.view(), im, data::center_map(im, 4));
    for (index_t i = 0; i < 8; ++i) {
        for (index_t j = 0; j < 8; ++j) CHECK(255 * y(0, i, j) == doctest::Approx(4.0 * static_cast<double>(j + 2)));
    }
    for (index_t j = 0; j < 4; ++j) CHECK(255 * half(0, 0, j) == doctest::Approx(4.0 * (2.0 * static_cast<double>(j) + 2.5)));  // between two pixels
    // The whole image, no rotation: the only freedom is the mirror.
    const data::affine_options whole{.scale_min = 1.0f, .scale_max = 1.0f, .ratio = 1.0f};
    const auto square = slopes(8, 8);
    int n_mirrored = 0;
    for (std::uint64_t s = 0; s < 64; ++s) {
        const auto map = data::random_affine(square, 8, whole, philox{.seed = 3, .stream = s});
        data::warp_image(y.view(), square, map);
        const bool mirrored = map.xx < 0;
        n_mirrored += mirrored ? 1 : 0;
        for (index_t j = 0; j < 8; ++j) CHECK(255 * y(0, 3, j) == doctest::Approx(4.0 * static_cast<double>(mirrored ? 7 - j : j)).epsilon(1e-4));
    }
    CHECK(n_mirrored > 20);
    CHECK(n_mirrored < 44);
}

TEST_CASE("image_warp: random crops stay inside without rotation, cover the image, and depend on the stream alone") {
    const auto im = slopes(40, 60);
    float left = 1e9f, right = -1e9f, smallest = 1e9f, largest = 0.0f;
    for (std::uint64_t s = 0; s < 500; ++s) {
        const auto m = data::random_affine(im, 16, {.scale_min = 0.2f, .mirror = false}, philox{.seed = 1, .stream = s});
        const float x0 = m.x0 - 0.5f * m.xx, x1 = m.x0 + 15.5f * m.xx, y0 = m.y0 - 0.5f * m.yy, y1 = m.y0 + 15.5f * m.yy;
        CHECK(x0 >= -0.51f);
        CHECK(y0 >= -0.51f);
        CHECK(x1 <= 59.51f);
        CHECK(y1 <= 39.51f);
        left = std::min(left, x0);
        right = std::max(right, x1);
        const float area = (x1 - x0) * (y1 - y0) / 2400.0f;
        smallest = std::min(smallest, area);
        largest = std::max(largest, area);
    }
    CHECK(left < 1.0f);
    CHECK(right > 58.0f);
    CHECK(smallest < 0.23f);
    CHECK(smallest > 0.19f);
    CHECK(largest > 0.8f);
    const auto a = data::random_affine(im, 16, {.rotation = 30}, philox{.seed = 1, .stream = 9}), b = data::random_affine(im, 16, {.rotation = 30}, philox{.seed = 1, .stream = 9});
    CHECK(a.xx == b.xx);
    CHECK(a.yx == b.yx);
    CHECK(a.yx != 0.0f);
}

TEST_CASE("image_warp: bad input is refused") {
    const auto im = slopes(4, 4);
    tensor<float, 3> two({2, 4, 4}), y({3, 4, 4});
    CHECK_THROWS_WITH_AS(data::warp_image(two.view(), im, {}), "warp_image: y has 2 channels, expected 1 or 3", shape_error);
    CHECK_THROWS_WITH_AS(data::warp_image(y.view(), data::image{}, {}), "warp_image: the image is empty", value_error);
    CHECK_THROWS_WITH_AS(data::warp_image(y.view(), data::image{4, 4, std::vector<std::uint8_t>(5)}, {}), "warp_image: the image holds 5 bytes, expected 3 · height · width", shape_error);
    CHECK_THROWS_AS(data::warp_image(y.view(), im, {.x0 = INFINITY}), value_error);
    CHECK_THROWS_AS(data::random_affine(im, 4, {.scale_min = 0.0f}, philox{}), value_error);
    CHECK_THROWS_AS(data::random_affine(im, 4, {.ratio = 0.5f}, philox{}), value_error);
}
