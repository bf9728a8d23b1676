// Crops to the pixel: over every border, torchvision's centre and random crops, BIOSCAN's crop of a box, mirrors; the localiser on made-up and on
// real photographs.
#include <doctest/doctest.h>

#include <cstdlib>
#include <map>

#include "instar/data/image_crop.hpp"
#include "instar/data/image_file.hpp"
#include "instar/data/localize.hpp"
#include "instar/data/simulate.hpp"
#include "instar/data/simulate_image.hpp"

using namespace instar;
using data::image;
using data::pixel_box;

namespace {

/// Each pixel says where it is.
image coordinates(index_t height, index_t width) {
    image x{height, width, std::vector<std::uint8_t>(static_cast<std::size_t>(3 * height * width))};
    for (index_t i = 0; i < height; ++i) {
        for (index_t j = 0; j < width; ++j) {
            x.row(i)[3 * j] = static_cast<std::uint8_t>(i % 251);
            x.row(i)[3 * j + 1] = static_cast<std::uint8_t>(j % 251);
            x.row(i)[3 * j + 2] = 7;
        }
    }
    return x;
}

double overlap(const data::real_box& a, const data::real_box& b) {
    const double w = std::min(a.right, b.right) - std::max(a.left, b.left), h = std::min(a.bottom, b.bottom) - std::max(a.top, b.top);
    const double both = std::max(0.0, w) * std::max(0.0, h);
    return both / ((a.right - a.left) * (a.bottom - a.top) + (b.right - b.left) * (b.bottom - b.top) - both);
}

}  // namespace

TEST_CASE("image_crop: over every border") {
    const image x = coordinates(20, 30);
    for (const pixel_box box : {pixel_box{3, 4, 9, 11}, {-5, 2, 4, 8}, {25, 2, 40, 8}, {3, -6, 9, 2}, {3, 15, 9, 31}, {-4, -3, 35, 27}, {-9, -9, -2, -2}, {30, 20, 33, 24}, {0, 0, 30, 20}}) {
        CAPTURE(box.left);
        CAPTURE(box.top);
        const image y = data::crop(x, box, {240, 241, 242});
        REQUIRE(y.height == box.height());
        REQUIRE(y.width == box.width());
        bool equal = true;
        for (index_t i = 0; i < y.height; ++i) {
            for (index_t j = 0; j < y.width; ++j) {
                const index_t si = box.top + i, sj = box.left + j;
                const bool inside = si >= 0 && si < 20 && sj >= 0 && sj < 30;
                for (index_t c = 0; c < 3; ++c) equal = equal && y.row(i)[3 * j + c] == (inside ? x.row(si)[3 * sj + c] : 240 + c);
            }
        }
        CHECK(equal);
    }
    CHECK_THROWS_WITH_AS(data::crop(x, {5, 5, 5, 9}), "crop: the box (5, 5, 5, 9) is empty", value_error);
    CHECK_THROWS_AS(data::crop(x, {0, 0, 1 << 20, 1 << 20}), value_error);
}

TEST_CASE("image_crop: the centre, as torchvision takes it") {
    // height, width, height and width of the crop, top, left: from torchvision 0.29's center_crop.
    static constexpr index_t k_cases[][6] = {
        {256, 256, 224, 224, 16, 16}, {256, 256, 64, 33, 96, 112}, {256, 256, 50, 51, 103, 102}, {256, 256, 1, 1, 128, 128}, {257, 255, 224, 224, 16,
        16}, {257, 255, 64, 33, 96, 111}, {257, 255, 50, 51, 104, 102}, {257, 255, 1, 1, 128, 127}, {300, 225, 224, 224, 38, 0}, {300, 225, 64, 33,
        118, 96}, {300, 225, 50, 51, 125, 87}, {300, 225, 1, 1, 150, 112}, {225, 300, 224, 224, 0, 38}, {225, 300, 64, 33, 80, 134}, {225, 300, 50,
        51, 88, 124}, {225, 300, 1, 1, 112, 150}, {101, 50, 224, 224, -61, -87}, {101, 50, 64, 33, 18, 8}, {101, 50, 50, 51, 26, 0}, {101, 50, 1, 1,
        50, 24}, {7, 8, 224, 224, -108, -108}, {7, 8, 64, 33, -28, -12}, {7, 8, 50, 51, -21, -21}, {7, 8, 1, 1, 3, 4}, {224, 225, 224, 224, 0, 0},
        {224, 225, 64, 33, 80, 96}, {224, 225, 50, 51, 87, 87}, {224, 225, 1, 1, 112, 112}, {227, 226, 224, 224, 2, 1}, {227, 226, 64, 33, 82, 96},
        {227, 226, 50, 51, 88, 88}, {227, 226, 1, 1, 113, 112}
    };
    for (const auto& [h, w, out_h, out_w, top, left] : k_cases) {
        CAPTURE(h);
        CAPTURE(w);
        CAPTURE(out_h);
        const image y = data::center_crop(coordinates(h, w), out_h, out_w);
        REQUIRE(y.height == out_h);
        REQUIRE(y.width == out_w);
        const index_t i = std::max<index_t>(0, -top), j = std::max<index_t>(0, -left);  // the first pixel inside
        CHECK(y.row(i)[3 * j] == (top + i) % 251);
        CHECK(y.row(i)[3 * j + 1] == (left + j) % 251);
        CHECK(y.row(i)[3 * j + 2] == 7);
        if (i > 0) CHECK(y.row(i - 1)[3 * j + 2] == 0);
        if (j > 0) CHECK(y.row(i)[3 * (j - 1) + 2] == 0);
    }
}

TEST_CASE("image_crop: random crops stay inside, have the area and aspect asked for, and depend on the numbers alone") {
    const image x = coordinates(120, 200);
    std::map<index_t, int> lefts;
    double smallest = 1.0, largest = 0.0;
    for (std::uint64_t k = 0; k < 2000; ++k) {
        const philox rng{.seed = 1, .stream = k};
        const pixel_box a = data::random_crop(x, 100, 190, rng);
        CHECK((a.left >= 0 && a.top >= 0 && a.right <= 200 && a.bottom <= 120 && a.width() == 190 && a.height() == 100));
        ++lefts[a.left];
        const pixel_box b = data::random_resized_crop(x, {.area_min = 0.2, .area_max = 0.6}, rng);
        CHECK((b.left >= 0 && b.top >= 0 && b.right <= 200 && b.bottom <= 120));
        const double area = static_cast<double>(b.width() * b.height()) / 24000.0, aspect = static_cast<double>(b.width()) / static_cast<double>(b.height());
        CHECK((aspect > 0.72 && aspect < 1.39));
        smallest = std::min(smallest, area);
        largest = std::max(largest, area);
        CHECK(b == data::random_resized_crop(x, {.area_min = 0.2, .area_max = 0.6}, rng));
    }
    CHECK(lefts.size() == 11);
    for (const auto& [left, n] : lefts) CHECK((n > 120 && n < 250));  // 182 expected
    CHECK((smallest > 0.19 && smallest < 0.22));
    CHECK((largest > 0.57 && largest < 0.61));
    // No box fits a strip: the central one of the nearest aspect.
    CHECK(data::random_resized_crop(coordinates(10, 300), {.area_min = 0.9}, philox{}) == pixel_box{143, 0, 156, 10});
    CHECK(data::random_resized_crop(coordinates(300, 10), {.area_min = 0.9}, philox{}) == pixel_box{0, 143, 10, 156});
    CHECK_THROWS_AS(data::random_crop(x, 121, 10, philox{}), value_error);
    CHECK_THROWS_AS(data::random_resized_crop(x, {.area_min = 0.0}, philox{}), value_error);
}

TEST_CASE("image_crop: BIOSCAN's box of a specimen, at every border of 1024 x 768") {
    struct made_up {
        data::real_box box;
        pixel_box expected;
    };
    // Worked out from the rules of the published tool, in another language.
    const made_up cases[] = {
        {{0, 0, 100, 50}, {-19, -19, 120, 70}},          {{-3.2, 5.5, 40.5, 60.4}, {-13, -4, 50, 70}},  {{0.5, 1.5, 11.5, 12.5}, {-2, 0, 14, 14}},
        {{900, 700, 1024, 768}, {875, 675, 1048, 792}}, {{2, 700, 60, 767.6}, {-11, 686, 73, 781}},   {{1000, 3, 1023, 40}, {992, -4, 1030, 47}},
        {{-5, -5, 1030, 775}, {-211, -211, 1237, 982}},
    };
    const image photo = coordinates(768, 1024);
    for (const auto& c : cases) {
        CHECK(data::specimen_box(c.box) == c.expected);
        const image x = data::crop_specimen(photo, c.box);
        CHECK(x.width == c.expected.width());
        CHECK(x.height == c.expected.height());
        if (c.expected.left < 0 || c.expected.top < 0) CHECK((x.row(0)[0] == 240 && x.row(0)[1] == 240 && x.row(0)[2] == 240));
        const index_t i = std::max<index_t>(0, -c.expected.top), j = std::max<index_t>(0, -c.expected.left);
        CHECK(x.row(i)[3 * j] == (c.expected.top + i) % 251);
        CHECK(x.row(i)[3 * j + 1] == (c.expected.left + j) % 251);
    }
    CHECK(data::resize_to_height(photo, 256).width == 341);
    CHECK(data::resize_to_height(coordinates(768, 1), 16).width == 1);
    CHECK_THROWS_WITH_AS(data::specimen_box({5.4, 0, 5.3, 9}), doctest::Contains("is empty"), value_error);
    CHECK_THROWS_AS(data::specimen_box({0, 0, std::nan(""), 9}), value_error);
    CHECK_THROWS_AS(data::specimen_box({0, 0, 1e30, 9}), value_error);
}

TEST_CASE("image_crop: mirrors") {
    const image x = coordinates(5, 8), m = data::mirrored(x), f = data::flipped(x);
    for (index_t i = 0; i < 5; ++i) {
        for (index_t j = 0; j < 8; ++j) {
            CHECK(m.row(i)[3 * j + 1] == 7 - j);
            CHECK(f.row(i)[3 * j] == 4 - i);
        }
    }
    CHECK(data::mirrored(m).pixels == x.pixels);
    CHECK(data::flipped(f).pixels == x.pixels);
}

TEST_CASE("localize: an animal on a shaded, noisy plate; a speck and a far piece do not count; nothing where nothing is") {
    for (std::uint64_t k = 0; k < 20; ++k) {
        const philox rng{.seed = 9, .stream = k};
        image x{300, 400, std::vector<std::uint8_t>(3 * 300 * 400)};
        const double cx = 120.0 + 160.0 * static_cast<double>(rng.uniform(0)), cy = 100.0 + 100.0 * static_cast<double>(rng.uniform(1));
        const bool empty = k % 5 == 4;
        for (index_t i = 0; i < 300; ++i) {
            for (index_t j = 0; j < 400; ++j) {
                const double u = static_cast<double>(j) / 200.0 - 1.0, v = static_cast<double>(i) / 150.0 - 1.0;
                double level = 200.0 + 20.0 * u - 25.0 * (u * u + v * v) + 3.0 * static_cast<double>(rng.normal(static_cast<std::uint64_t>(100 + i * 400 + j)));
                const double a = (static_cast<double>(j) - cx) / 60.0, b = (static_cast<double>(i) - cy) / 30.0;
                if (!empty && a * a + b * b < 1.0) level = 70.0;
                if (!empty && i > 20 && i < 24 && j > 370 && j < 374) level = 40.0;  // a speck far away
                for (index_t c = 0; c < 3; ++c) x.row(i)[3 * j + c] = static_cast<std::uint8_t>(std::clamp(level, 0.0, 255.0));
            }
        }
        const auto found = data::localize_specimen(x);
        CHECK(found.has_value() != empty);
        if (!found) continue;
        CHECK(overlap(found->box, {cx - 60, cy - 30, cx + 60, cy + 30}) > 0.93);
        CHECK(found->contrast > 80.0);
    }
    CHECK_FALSE(data::localize_specimen(image{1, 1, {9, 9, 9}}));
    CHECK_FALSE(data::localize_specimen(image{1, 300, std::vector<std::uint8_t>(900, 50)}));
    CHECK_THROWS_AS(data::localize_specimen(image{}), value_error);
}

TEST_CASE("localize: one photograph of each of 18 orders") {
    const char* folder = std::getenv("INSTAR_DATA");
    if (folder == nullptr) {
        MESSAGE("skipped: INSTAR_DATA is not set");
        return;
    }
    // Boxes by eye, in shares of width and height.
    const std::map<std::string, data::real_box> by_eye{
        {"Archaeognatha", {0.21, 0.33, 0.62, 0.65}}, {"Coleoptera", {0.35, 0.35, 0.67, 0.66}}, {"Dermaptera", {0.14, 0.05, 0.70, 0.95}}, {"Diptera", {0.08, 0.14, 0.91, 0.83}},
        {"Embioptera", {0.17, 0.0, 0.92, 0.87}},     {"Hemiptera", {0.21, 0.37, 0.62, 0.66}},  {"Hymenoptera", {0.33, 0.28, 0.61, 0.79}}, {"Lepidoptera", {0.19, 0.27, 0.65, 0.71}},
        {"Neuroptera", {0.40, 0.40, 0.61, 0.95}},    {"Plecoptera", {0.28, 0.19, 0.90, 0.66}}, {"Psocodea", {0.28, 0.23, 0.60, 0.87}},    {"Strepsiptera", {0.41, 0.44, 0.57, 0.58}},
        {"Trichoptera", {0.13, 0.21, 0.74, 0.66}},   {"Zoraptera", {0.13, 0.10, 0.71, 0.98}},
    };
    for (const auto& [order, box] : by_eye) {
        CAPTURE(order);
        const image photo = data::read_image(std::string(folder) + "/bioscan1m_orders/" + order + ".jpg");
        const auto found = data::localize_specimen(photo);
        REQUIRE(found);
        const auto w = static_cast<double>(photo.width), h = static_cast<double>(photo.height);
        CHECK(overlap(found->box, {box.left * w, box.top * h, box.right * w, box.bottom * h}) > 0.75);
    }
}
