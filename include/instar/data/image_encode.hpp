#ifndef INSTAR_DATA_IMAGE_ENCODE_HPP
#define INSTAR_DATA_IMAGE_ENCODE_HPP

// An image as the bytes of a JPEG or PNG file, by stb_image_write: for reports and thumbnails.
//
//     std::string jpeg = data::encode_jpeg(photo, 85);
//     io::write_file("thumbnail.png", data::encode_png(photo));
//
// stb_image_write.h is taken where the compiler finds it (Debian: libstb-dev); a build without it compiles, and both refuse.

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <string>

#include "instar/core/error.hpp"
#include "instar/data/image.hpp"

#if defined(INSTAR_HAVE_STB_WRITE)
#elif __has_include(<stb/stb_image_write.h>) || __has_include(<stb_image_write.h>)
#define INSTAR_HAVE_STB_WRITE 1
#else
#define INSTAR_HAVE_STB_WRITE 0
#endif

#if INSTAR_HAVE_STB_WRITE
// A copy of our own, in our namespace; the guard is taken back for a program that holds another.
#if defined(INCLUDE_STB_IMAGE_WRITE_H)
#define INSTAR_STB_WRITE_WAS_INCLUDED
#undef INCLUDE_STB_IMAGE_WRITE_H
#endif
#define STB_IMAGE_WRITE_STATIC
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STBI_WRITE_NO_STDIO
namespace instar::data::detail::stb_write {
#if __has_include(<stb/stb_image_write.h>)
#include <stb/stb_image_write.h>
#else
#include <stb_image_write.h>
#endif
}  // namespace instar::data::detail::stb_write
#undef STB_IMAGE_WRITE_STATIC
#undef STB_IMAGE_WRITE_IMPLEMENTATION
#undef STBI_WRITE_NO_STDIO
#undef STBIWDEF
#if defined(INSTAR_STB_WRITE_WAS_INCLUDED)
#undef INSTAR_STB_WRITE_WAS_INCLUDED
#else
#undef INCLUDE_STB_IMAGE_WRITE_H
#endif
#endif

namespace instar::data {

namespace detail {

template <class Write>
std::string encode_image(const char* what, const image& x, Write write) {
    if (x.height < 1 || x.width < 1 || x.pixels.size() != static_cast<std::size_t>(3 * x.height * x.width)) {
        throw value_error(std::string(what) + ": the image is empty, or does not hold 3 · height · width bytes");
    }
    std::string bytes;
    const auto append = [](void* to, void* from, int n) { static_cast<std::string*>(to)->append(static_cast<const char*>(from), static_cast<std::size_t>(n)); };
    if (!write(+append, &bytes)) throw error(std::string(what) + ": stb_image_write refused the image");
    return bytes;
}

}  // namespace detail

/// Baseline JPEG; quality 1 to 100.
inline std::string encode_jpeg(const image& x, int quality = 85) {
    if (quality < 1 || quality > 100) throw value_error("encode_jpeg: quality must be between 1 and 100, is " + std::to_string(quality));
#if INSTAR_HAVE_STB_WRITE
    return detail::encode_image("encode_jpeg", x, [&](auto* append, void* to) {
        return detail::stb_write::stbi_write_jpg_to_func(append, to, static_cast<int>(x.width), static_cast<int>(x.height), 3, x.pixels.data(), quality) != 0;
    });
#else
    static_cast<void>(x);
    throw error("encode_jpeg: this build writes no images: stb_image_write.h was not found (Debian package libstb-dev)");
#endif
}

/// PNG, lossless.
inline std::string encode_png(const image& x) {
#if INSTAR_HAVE_STB_WRITE
    return detail::encode_image("encode_png", x, [&](auto* append, void* to) {
        return detail::stb_write::stbi_write_png_to_func(append, to, static_cast<int>(x.width), static_cast<int>(x.height), 3, x.pixels.data(), static_cast<int>(3 * x.width)) != 0;
    });
#else
    static_cast<void>(x);
    throw error("encode_png: this build writes no images: stb_image_write.h was not found (Debian package libstb-dev)");
#endif
}

}  // namespace instar::data

#endif
