// Reading and writing image files: round trips, and every kind of broken file.
#include <doctest/doctest.h>

#include "instar/data/image_encode.hpp"
#include "instar/data/image_file.hpp"
#include "instar/data/image_resize.hpp"
#include "support/temp_folder.hpp"

using namespace instar;

namespace {

data::image checks(index_t height, index_t width) {
    data::image im{height, width, std::vector<std::uint8_t>(static_cast<std::size_t>(3 * height * width))};
    for (index_t y = 0; y < height; ++y) {
        for (index_t x = 0; x < width; ++x) {
            for (index_t c = 0; c < 3; ++c) im.row(y)[3 * x + c] = static_cast<std::uint8_t>((x * 5 + y * 9 + c * 40) % 256);
        }
    }
    return im;
}

std::vector<std::uint8_t> bytes_of(const std::string& s) { return {s.begin(), s.end()}; }

data::image decode(const std::string& s, const data::image_options& options = {}) { return data::decode_image(bytes_of(s), "a photo", options); }

std::string error_of(const std::string& s, const data::image_options& options = {}) {
    try {
        decode(s, options);
    } catch (const parse_error& e) {
        return e.what();
    }
    return "no error";
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("image_file: what is written is read") {
    const data::image im = checks(19, 33);
    CHECK(decode(data::encode_png(im)).pixels == im.pixels);
    const data::image jpeg = decode(data::encode_jpeg(im, 100));
    CHECK(jpeg.height == 19);
    CHECK(jpeg.width == 33);
    int largest = 0;
    for (std::size_t i = 0; i < im.pixels.size(); ++i) largest = std::max(largest, std::abs(static_cast<int>(im.pixels[i]) - static_cast<int>(jpeg.pixels[i])));
    CHECK(largest < 60);  // chroma of a steep picture suffers
    test::temp_folder folder;
    io::write_file(folder / "a.png", data::encode_png(im));
    CHECK(data::read_image(folder / "a.png").pixels == im.pixels);
    io::write_file(folder / "wrong_name.jpg", data::encode_png(im));  // the first bytes count
    CHECK(data::read_image(folder / "wrong_name.jpg").pixels == im.pixels);
    CHECK(decode("P6 2 1 255\n" + std::string("\x01\x02\x03\xf0\xf1\xf2", 6)).pixels == std::vector<std::uint8_t>{1, 2, 3, 0xf0, 0xf1, 0xf2});
    CHECK(decode("P5 2 1 255\n" + std::string("\x01\xf0", 2)).pixels == std::vector<std::uint8_t>{1, 1, 1, 0xf0, 0xf0, 0xf0});
    CHECK_THROWS_AS(data::encode_png(data::image{}), value_error);
    CHECK_THROWS_AS(data::encode_jpeg(im, 0), value_error);
}

TEST_CASE("image_file: odd sizes") {
    CHECK(decode(data::encode_png(checks(1, 1))).pixels == checks(1, 1).pixels);
    CHECK(decode(data::encode_jpeg(checks(1, 1))).height == 1);
    const data::image wide = decode(data::encode_png(checks(1, 20'000)));
    CHECK(wide.width == 20'000);
    const data::image thumb = data::shrink_to(wide, 1);
    CHECK(thumb.width == 20'000);
    CHECK(data::resize(wide, 3, 10).width == 10);
}

TEST_CASE("image_file: broken files are named with their cause") {
    const std::string jpeg = data::encode_jpeg(checks(40, 40)), png = data::encode_png(checks(40, 40));
    CHECK(error_of("") == "a photo: holds no bytes");
    CHECK(contains(error_of("a text that is named .jpg"), "is not a JPEG, PNG, BMP or PNM image"));
    CHECK(contains(error_of("GIF89a"), "is not a JPEG"));
    // A JPEG cut anywhere is refused: stb_image would fill it with grey.
    for (std::size_t n = 3; n < jpeg.size(); n += 7) {
        CAPTURE(n);
        CHECK(contains(error_of(jpeg.substr(0, n)), "JPEG: ends early"));
    }
    CHECK(contains(error_of(jpeg.substr(0, jpeg.size() - 1)), "JPEG: ends early"));
    for (std::size_t n = 8; n + 12 < png.size(); n += 11) {
        CAPTURE(n);
        CHECK(contains(error_of(png.substr(0, n)), "PNG: ends early"));
    }
    const std::size_t frame = jpeg.find("\xff\xc0");
    REQUIRE(frame != std::string::npos);
    const std::string ppm = "P6\n# a comment\n2 2\n255\n" + std::string(12, 'x');
    CHECK(decode(ppm).height == 2);
    CHECK(decode("P5\n1 1 65535\n\x12\x34").pixels == std::vector<std::uint8_t>{0x12, 0x12, 0x12});
    for (const char* head : {"P6", "P6 2", "P6 2 2 ", "P6 x 2 255 ", "P6 0 2 255 ", "P6 99999999999999999999 2 255 ", "P6 2 2 0 "}) {
        CAPTURE(head);
        CHECK(contains(error_of(head + std::string(40, ' ')), "PNM: its head does not say"));
    }
    CHECK(contains(error_of("P6 2 2 65536 " + std::string(40, ' ')), "above 65535"));
    CHECK(contains(error_of(ppm, {.max_pixels = 3}), "more than max_pixels, 3"));
    CHECK(contains(error_of(ppm.substr(0, ppm.size() - 1)), "ends early: has 34 bytes, its head promises 35"));
    std::string bmp("BM", 2);
    const auto put = [&](std::uint32_t v, int n) {
        for (int i = 0; i < n; ++i) bmp += static_cast<char>(v >> (8 * i));
    };
    for (const std::uint32_t v : {54u + 16u, 0u, 54u, 40u, 2u, 2u}) put(v, 4);
    put(1, 2), put(24, 2);
    for (int i = 0; i < 6; ++i) put(0, 4);
    bmp += std::string(16, 'z');
    CHECK(decode(bmp).width == 2);
    CHECK(contains(error_of(bmp.substr(0, bmp.size() - 1)), "ends early: has 69 bytes, its head promises 70"));
    std::string zeroed = jpeg;
    zeroed[frame] = '\0';
    CHECK(contains(error_of(zeroed), "byte " + std::to_string(frame) + " should begin a marker"));
    CHECK(decode(jpeg + "bytes after the end are ignored").height == 40);

    CHECK(contains(error_of(png, {.max_pixels = 1599}), "has 40 × 40 pixels, more than max_pixels, 1599"));
    CHECK(decode(png, {.max_pixels = 1600}).height == 40);
    // Bombs: heads that promise 15,000 × 15,000 and 65,000 × 65,000 pixels.
    std::string bomb = png;
    bomb.replace(16, 8, std::string("\x00\x00\x3a\x98\x00\x00\x3a\x98", 8));
    CHECK(contains(error_of(bomb), "has 15000 × 15000 pixels, more than max_pixels"));
    bomb.replace(16, 8, std::string("\x00\x00\xfd\xe8\x00\x00\xfd\xe8", 8));
    CHECK_FALSE(error_of(bomb) == "no error");

    std::string cmyk = jpeg;  // the frame's head says four components
    cmyk[frame + 9] = 4;
    CHECK(contains(error_of(cmyk), "four components (CMYK)"));
    // More codes than a table holds, and a scan without tables: stb_image would run over its arrays.
    std::string many = jpeg;
    const std::size_t table = many.find("\xff\xc4");
    REQUIRE(table != std::string::npos);
    many[table + 4 + 1 + 7] = '\xff';
    CHECK(contains(error_of(many), "a Huffman table has more codes than there can be"));
    std::string none = jpeg;
    for (std::size_t at = 0; (at = none.find("\xff\xc4", at)) != std::string::npos; ++at) none[at + 1] = '\xe5';
    CHECK(contains(error_of(none), "a scan names a Huffman table that was not defined"));
    std::string greedy = png;
    greedy[33] = '\x3f';  // the length of the chunk after the head
    CHECK(contains(error_of(greedy), "PNG: ends early, in a chunk of"));
    std::string arithmetic = jpeg;
    arithmetic[frame + 1] = '\xc9';
    CHECK(contains(error_of(arithmetic), "is arithmetic-coded"));
    CHECK_THROWS_AS(data::read_image("/nowhere/at/all.jpg"), io_error);
}

TEST_CASE("image_file: bytes before the end marker do no harm, damaged data are an error or a picture of the right size") {
    const std::string jpeg = data::encode_jpeg(checks(40, 40));
    CHECK(decode(jpeg.substr(0, jpeg.size() - 2) + std::string(5, '\x11') + jpeg.substr(jpeg.size() - 2)).height == 40);
    const std::size_t scan = jpeg.find("\xff\xda");
    REQUIRE(scan != std::string::npos);
    int n_errors = 0;
    for (std::size_t at = scan + 14; at + 12 < jpeg.size(); at += 9) {
        std::string damaged = jpeg;
        for (std::size_t i = 0; i < 8; ++i) damaged[at + i] = '\x55';
        try {
            const data::image x = decode(damaged);
            CHECK(x.height == 40);
            CHECK(x.pixels.size() == 3 * 40 * 40);
        } catch (const parse_error& e) {
            ++n_errors;
            CHECK(contains(e.what(), "a photo: "));
        }
    }
    CHECK(n_errors > 0);
}

TEST_CASE("image_file: EXIF that makes no sense leaves the image as it is") {
    using data::detail::exif_orientation;
    const auto make = [](bool little, int count, int tag, int type, int value) {
        std::vector<std::uint8_t> b;
        const auto put = [&](std::uint32_t v, int n) {
            for (int i = 0; i < n; ++i) b.push_back(static_cast<std::uint8_t>(v >> (8 * (little ? i : n - 1 - i))));
        };
        b.push_back(little ? 'I' : 'M');
        b.push_back(little ? 'I' : 'M');
        put(42, 2);
        put(8, 4);
        put(static_cast<std::uint32_t>(count), 2);
        put(static_cast<std::uint32_t>(tag), 2);
        put(static_cast<std::uint32_t>(type), 2);
        put(1, 4);
        put(static_cast<std::uint32_t>(value), 2);
        put(0, 2);
        return b;
    };
    for (const bool little : {true, false}) {
        CHECK(exif_orientation(make(little, 1, 0x0112, 3, 6)) == 6);
        CHECK(exif_orientation(make(little, 1, 0x0112, 3, 9)) == 1);
        CHECK(exif_orientation(make(little, 1, 0x0112, 4, 6)) == 1);
        CHECK(exif_orientation(make(little, 1, 0x0113, 3, 6)) == 1);
        CHECK(exif_orientation(make(little, 60000, 0x0113, 3, 6)) == 1);
        auto cut = make(little, 1, 0x0112, 3, 6);
        for (std::size_t n = 0; n < cut.size() - 1; ++n) CHECK(exif_orientation(std::span<const std::uint8_t>(cut).first(n)) == 1);
        cut[little ? 4 : 7] = 200;  // the directory lies past the end
        CHECK(exif_orientation(cut) == 1);
    }
}

TEST_CASE("image_resize: bad sizes are refused") {
    CHECK_THROWS_AS(data::resize(data::image{}, 3, 3), value_error);
    CHECK_THROWS_AS(data::resize(checks(4, 4), 0, 3), value_error);
    CHECK_THROWS_AS(data::shorter_side_size(4, 4, 0), value_error);
    tensor<float, 3> two({2, 4, 4}), three({3, 4, 4});
    CHECK_THROWS_AS(data::resize_planes(two.view(), three.view()), shape_error);
}
