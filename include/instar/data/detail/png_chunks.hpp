#ifndef INSTAR_DATA_DETAIL_PNG_CHUNKS_HPP
#define INSTAR_DATA_DETAIL_PNG_CHUNKS_HPP

// Whether a PNG file is whole, from its chunks' lengths alone. A length that the file does not hold would have stb_image take as much memory.
//
//     const std::string wrong = png_error(bytes);      // empty when nothing is

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "instar/core/element.hpp"

namespace instar::data::detail {

/// `b` begins with PNG's signature. Never reads past it. Bytes after the last chunk are ignored.
inline std::string png_error(std::span<const std::uint8_t> b) {
    std::size_t at = 8;
    for (bool first = true;; first = false) {
        if (b.size() - at < 12) return "ends early: " + std::to_string(b.size()) + " bytes";
        const std::size_t length = static_cast<std::size_t>(b[at]) << 24 | static_cast<std::size_t>(b[at + 1]) << 16 | static_cast<std::size_t>(b[at + 2]) << 8 | b[at + 3];
        const std::string_view type(reinterpret_cast<const char*>(b.data() + at + 4), 4);
        if (first && type != "IHDR") return "does not begin with its head";
        if (length > b.size() - at - 12) return "ends early, in a chunk of " + std::to_string(length) + " bytes: " + std::to_string(b.size()) + " bytes";
        if (type == "IEND") return {};
        at += 12 + length;
    }
}

}  // namespace instar::data::detail

#endif
