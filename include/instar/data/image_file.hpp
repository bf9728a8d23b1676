#ifndef INSTAR_DATA_IMAGE_FILE_HPP
#define INSTAR_DATA_IMAGE_FILE_HPP

// Photographs from files: JPEG, PNG and BMP by stb_image (JPEG by libjpeg-turbo on request), PNM by itself, to 8-bit RGB.
//
//     data::image photo = data::read_image("specimen.jpg");
//     data::image other = data::read_image(files, "train/a/ABC-1.jpg");          // io::file_source: folders and zip archives
//     data::image one = data::decode_image(bytes, "specimens.zip:a/ABC-1.jpg", {.max_pixels = 50'000'000});
//     std::string jpeg = data::encode_jpeg(photo);                    // data/image_encode.hpp
//
// What a file is, its first bytes tell, never its name. The EXIF orientation is applied. Grey becomes RGB; alpha is dropped and 16-bit
// samples lose their lower byte, as Pillow's convert("RGB") does it for RGB images. Checked before stb_image sees the bytes: the number of
// pixels, and that a file is whole (stb_image fills what is missing).
//
// stb_image.h is taken where the compiler finds it (Debian: libstb-dev); a build without it compiles, and decode_image refuses. A build with
// -DINSTAR_HAVE_TURBOJPEG=1 and -lturbojpeg (CMake: INSTAR_WITH_TURBOJPEG=ON; Debian: libturbojpeg0-dev) decodes JPEG by libjpeg-turbo, 1.8 times
// as fast: the bytes that Pillow gives, from which stb_image's differ by up to 3 levels (2,032 photographs).

#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "instar/core/error.hpp"
#include "instar/data/detail/exif.hpp"
#include "instar/data/detail/jpeg_markers.hpp"
#include "instar/data/detail/png_chunks.hpp"
#include "instar/data/detail/turbojpeg.hpp"
#include "instar/data/image.hpp"
#include "instar/io/file.hpp"
#include "instar/io/file_source.hpp"

#if defined(INSTAR_HAVE_STB)
#elif __has_include(<stb/stb_image.h>) || __has_include(<stb_image.h>)
#define INSTAR_HAVE_STB 1
#else
#define INSTAR_HAVE_STB 0
#endif

#if INSTAR_HAVE_STB
#if defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif
// A copy of our own, in our namespace: a program may hold another one. The guard is taken back, so that it can still include it.
#if defined(STBI_INCLUDE_STB_IMAGE_H)
#define INSTAR_STB_WAS_INCLUDED
#undef STBI_INCLUDE_STB_IMAGE_H
#endif
#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#define STBI_NO_STDIO
#define STBI_ASSERT(x) static_cast<void>(0)  // a broken file must not end the program
#define STBI_ONLY_JPEG
#define STBI_ONLY_PNG
#define STBI_ONLY_BMP
namespace instar::data::detail::stb {
#if __has_include(<stb/stb_image.h>)
#include <stb/stb_image.h>
#else
#include <stb_image.h>
#endif
}  // namespace instar::data::detail::stb
#undef STB_IMAGE_STATIC
#undef STB_IMAGE_IMPLEMENTATION
#undef STBI_NO_STDIO
#undef STBI_ASSERT
#undef STBI_ONLY_JPEG
#undef STBI_ONLY_PNG
#undef STBI_ONLY_BMP
#undef STBIDEF
#if defined(INSTAR_STB_WAS_INCLUDED)
#undef INSTAR_STB_WAS_INCLUDED
#else
#undef STBI_INCLUDE_STB_IMAGE_H
#endif
#endif

namespace instar::data {

struct image_options {
    index_t max_pixels = 178'956'970;  ///< more is refused before memory is taken (Pillow's limit); a decompression bomb is small in the file
    bool apply_orientation = true;     ///< turn the image as its EXIF says
};

namespace detail {

enum class image_kind { jpeg, png, bmp, pnm, none };

inline image_kind kind_of_image(std::span<const std::uint8_t> b) {
    const auto begins = [&](std::initializer_list<int> magic) {
        return b.size() >= magic.size() && std::equal(magic.begin(), magic.end(), b.begin());
    };
    if (begins({0xff, 0xd8, 0xff})) return image_kind::jpeg;
    if (begins({0x89, 'P', 'N', 'G', 0x0d, 0x0a, 0x1a, 0x0a})) return image_kind::png;
    if (begins({'B', 'M'})) return image_kind::bmp;
    if (begins({'P', '5'}) || begins({'P', '6'})) return image_kind::pnm;
    return image_kind::none;
}

/// Bytes that an uncompressed BMP file must have by its head; 0 where the head does not say. stb_image fills what is missing.
inline std::uint64_t least_bytes_of_bmp(std::span<const std::uint8_t> b) {
    if (b.size() < 54) return 54;
    const auto number = [&](std::size_t at, std::size_t n) {
        std::uint64_t v = 0;
        for (std::size_t i = n; i-- > 0;) v = v << 8 | b[at + i];
        return v;
    };
    const auto height = static_cast<std::int32_t>(number(22, 4));
    const std::uint64_t width = number(18, 4), bits = number(28, 2), rows = static_cast<std::uint64_t>(height < 0 ? -static_cast<std::int64_t>(height) : height);
    if (number(14, 4) < 40 || bits > 32 || width > 1u << 24 || rows > 1u << 24) return 0;  // an older head, or one that stb_image refuses
    return number(10, 4) + (width * bits + 31) / 32 * 4 * rows;
}

/// Binary PNM: P5 (grey) or P6 (RGB), of one byte a sample or two, the upper first. `fail` throws.
template <class Fail>
image decode_pnm(std::span<const std::uint8_t> b, index_t max_pixels, const Fail& fail) {
    std::size_t at = 2;
    std::uint64_t field[3] = {0, 0, 0};  // width, height, largest value
    for (std::uint64_t& f : field) {
        while (at < b.size() && (b[at] == '#' || b[at] <= ' ')) {
            if (b[at] == '#') {
                while (at < b.size() && b[at] != '\n') ++at;
            } else {
                ++at;
            }
        }
        const std::size_t first = at;
        for (; at < b.size() && b[at] >= '0' && b[at] <= '9' && f < 1u << 24; ++at) f = 10 * f + b[at] - '0';
        if (at == first || f == 0 || f >= 1u << 24) fail("PNM: its head does not say a width, a height and a largest value that can be");
    }
    const std::uint64_t pixels = field[0] * field[1], channels = b[1] == '6' ? 3 : 1, bytes = field[2] > 255 ? 2 : 1;
    if (field[2] > 65535) fail("PNM: the largest value is above 65535");
    if (pixels > static_cast<std::uint64_t>(max_pixels)) {
        fail("has " + std::to_string(field[0]) + " × " + std::to_string(field[1]) + " pixels, more than max_pixels, " + std::to_string(max_pixels));
    }
    const std::uint64_t least = at + 1 + pixels * channels * bytes;  // one white space ends the head
    if (b.size() < least) fail("ends early: has " + std::to_string(b.size()) + " bytes, its head promises " + std::to_string(least));
    image x{static_cast<index_t>(field[1]), static_cast<index_t>(field[0]), std::vector<std::uint8_t>(static_cast<std::size_t>(3 * pixels))};
    const std::uint8_t* from = b.data() + at + 1;
    for (std::size_t i = 0; i < x.pixels.size(); ++i) x.pixels[i] = from[(channels == 3 ? i : i / 3) * bytes];
    return x;
}

/// Turned so that the first row is the top and the first column the left: EXIF orientations 1 to 8.
inline image oriented(image x, int orientation) {
    if (orientation <= 1 || orientation > 8) return x;
    const bool swaps = orientation >= 5;
    image y{swaps ? x.width : x.height, swaps ? x.height : x.width, std::vector<std::uint8_t>(x.pixels.size())};
    for (index_t i = 0; i < y.height; ++i) {
        for (index_t j = 0; j < y.width; ++j) {
            index_t r = swaps ? j : i, c = swaps ? i : j;
            if (orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8) c = x.width - 1 - c;
            if (orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7) r = x.height - 1 - r;
            std::copy_n(x.row(r) + 3 * c, 3, y.row(i) + 3 * j);
        }
    }
    return y;
}

}  // namespace detail

/// The image in the bytes of a file; `name` stands in errors.
///
/// Throws parse_error naming the image and the cause, before memory is taken where the cause shows before: no bytes; not a JPEG, PNG, BMP or
/// PNM; a JPEG that ends early, is arithmetic-coded or CMYK; more than max_pixels; bytes that stb_image or libjpeg-turbo cannot decode. Never
/// reads past the bytes. Cost: about 4 ms a megapixel for JPEG on one core, with libjpeg-turbo 2.3.
inline image decode_image(std::span<const std::uint8_t> bytes, std::string_view name, const image_options& options = {}) {
    const auto fail = [&](const std::string& what) { throw parse_error(name, what); };
    if (bytes.empty()) fail("holds no bytes");
    if (bytes.size() > static_cast<std::size_t>(INT_MAX)) fail("is larger than 2 GiB");
    const detail::image_kind kind = detail::kind_of_image(bytes);
    if (kind == detail::image_kind::none) fail("is not a JPEG, PNG, BMP or PNM image: its first bytes are none of theirs");
    int orientation = 1;
    if (kind == detail::image_kind::jpeg) {
        const detail::jpeg_outline outline = detail::outline_of_jpeg(bytes);
        if (!outline.error.empty()) fail("JPEG: " + outline.error);
        if (outline.n_components == 4) fail("JPEG: has four components (CMYK); save it as RGB");
        if (options.apply_orientation) orientation = detail::exif_orientation(outline.exif);
    }
    if (kind == detail::image_kind::png) {
        const std::string wrong = detail::png_error(bytes);
        if (!wrong.empty()) fail("PNG: " + wrong);
    }
    if (kind == detail::image_kind::pnm) return detail::decode_pnm(bytes, options.max_pixels, fail);
    if (kind == detail::image_kind::bmp) {
        const std::uint64_t least = detail::least_bytes_of_bmp(bytes);
        if (bytes.size() < least) fail("ends early: has " + std::to_string(bytes.size()) + " bytes, its head promises " + std::to_string(least));
    }
    const auto check_size = [&](int width, int height) {
        if (width < 1 || height < 1) fail("has no pixels");
        if (static_cast<index_t>(width) * height > options.max_pixels) {
            fail("has " + std::to_string(width) + " × " + std::to_string(height) + " pixels, more than max_pixels, " + std::to_string(options.max_pixels));
        }
    };
#if defined(INSTAR_HAVE_TURBOJPEG) && INSTAR_HAVE_TURBOJPEG
    if (kind == detail::image_kind::jpeg) return detail::oriented(detail::decode_jpeg_by_turbojpeg(bytes, check_size, fail), orientation);
#endif
#if INSTAR_HAVE_STB
    namespace stb = detail::stb;
    int width = 0, height = 0, channels = 0;
    const auto n = static_cast<int>(bytes.size());
    if (stb::stbi_info_from_memory(bytes.data(), n, &width, &height, &channels) == 0) fail(std::string("cannot be decoded: ") + stb::stbi_failure_reason());
    check_size(width, height);
    const index_t pixels = static_cast<index_t>(width) * height;
    stb::stbi_uc* const decoded = stb::stbi_load_from_memory(bytes.data(), n, &width, &height, &channels, 3);
    if (decoded == nullptr) fail(std::string("cannot be decoded: ") + stb::stbi_failure_reason());
    const std::unique_ptr<stb::stbi_uc, void (*)(void*)> owner(decoded, stb::stbi_image_free);
    return detail::oriented({height, width, std::vector<std::uint8_t>(decoded, decoded + 3 * pixels)}, orientation);
#else
    static_cast<void>(orientation), static_cast<void>(check_size);
    throw error(std::string(name) + ": this build reads no images: stb_image.h was not found (Debian package libstb-dev)");
#endif
}

/// The image of this name below folders or inside archives. Throws io_error when it is not there or cannot be read, and as decode_image does.
inline image read_image(const io::file_source& files, const std::string& name, const image_options& options = {}) {
    const std::string bytes = files.read(name);
    return decode_image({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()}, name, options);
}

/// The image in a file. Throws io_error when it cannot be read, and as decode_image does.
inline image read_image(const std::string& path, const image_options& options = {}) {
    const io::file_reader file(path);
    std::vector<std::uint8_t> bytes(static_cast<std::size_t>(file.size()));
    file.read_at(0, bytes.data(), bytes.size());
    return decode_image(bytes, path, options);
}

}  // namespace instar::data

#endif
