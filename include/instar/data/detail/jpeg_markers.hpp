#ifndef INSTAR_DATA_DETAIL_JPEG_MARKERS_HPP
#define INSTAR_DATA_DETAIL_JPEG_MARKERS_HPP

// The outline of a JPEG file, from its markers alone: size, components, EXIF, and whether it is whole (ITU-T T.81, annex B).
//
//     const jpeg_outline o = outline_of_jpeg(bytes);
//     if (!o.error.empty()) …                          // "ends early: …"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "instar/core/element.hpp"

namespace instar::data::detail {

struct jpeg_outline {
    index_t height = 0, width = 0;
    int n_components = 0;
    std::span<const std::uint8_t> exif{};  ///< the payload of APP1 after "Exif\0\0"
    std::string error{};                   ///< empty when the file is whole and of a kind that can be decoded
};

/// What is wrong with a segment of Huffman tables; empty when nothing is. More than 256 codes would overrun stb_image's tables. Those that it
/// defines are noted: bit 4 · class + number.
inline std::string huffman_error(std::span<const std::uint8_t> segment, unsigned& defined) {
    while (!segment.empty()) {
        if (segment.size() < 17) return "a Huffman table ends early";
        std::size_t n_codes = 0;
        std::uint32_t room = 1;  // codes of this length that shorter ones have left
        bool fits = true;
        for (std::size_t length = 1; length <= 16; ++length) {
            room = 2 * room;
            n_codes += segment[length];
            fits = fits && segment[length] <= room;
            room -= fits ? segment[length] : 0;
        }
        if (n_codes > 256 || !fits) return "a Huffman table has more codes than there can be";
        if (segment.size() < 17 + n_codes) return "a Huffman table ends early";
        if ((segment[0] >> 4) > 1 || (segment[0] & 15) > 3) return "a Huffman table has a class or number that does not exist";
        defined |= 1u << (4 * (segment[0] >> 4) + (segment[0] & 15));
        segment = segment.subspan(17 + n_codes);
    }
    return {};
}

/// What is wrong with a scan's head; empty when nothing is. A scan that names a table which was never defined would be decoded by none.
inline std::string scan_error(std::span<const std::uint8_t> segment, bool progressive, unsigned defined) {
    const std::size_t n = segment.empty() ? 0 : segment[0];
    if (n < 1 || n > 4 || segment.size() < 4 + 2 * n) return "a scan's head ends early";
    const int first = segment[1 + 2 * n], last = segment[2 + 2 * n], high = segment[3 + 2 * n] >> 4;
    const bool dc = !progressive || (first == 0 && high == 0), ac = !progressive || last > 0;
    for (std::size_t c = 0; c < n; ++c) {
        const unsigned tables = segment[2 + 2 * c], dc_table = tables >> 4, ac_table = tables & 15;
        if ((dc && (dc_table > 3 || (defined >> dc_table & 1u) == 0)) || (ac && (ac_table > 3 || (defined >> (4 + ac_table) & 1u) == 0))) {
            return "a scan names a Huffman table that was not defined";
        }
    }
    return {};
}

/// Never reads past `b`. Bytes after the end of the image are ignored, as every reader does.
inline jpeg_outline outline_of_jpeg(std::span<const std::uint8_t> b) {
    jpeg_outline o;
    std::size_t at = 2;
    bool has_scan = false, progressive = false;
    unsigned defined = 0;  // Huffman tables
    const auto ends_early = [&](const char* where) {
        o.error = std::string("ends early, ") + where + ": " + std::to_string(b.size()) + " bytes";
        return o;
    };
    for (;;) {
        // Between segments only markers may stand; fill bytes before one are allowed.
        if (at >= b.size()) return ends_early(has_scan ? "in the picture" : "before the picture");
        if (b[at] != 0xff) {
            o.error = "byte " + std::to_string(at) + " should begin a marker";
            return o;
        }
        while (at < b.size() && b[at] == 0xff) ++at;
        if (at >= b.size()) return ends_early("in a marker");
        const int marker = b[at++];
        if (marker == 0xd9) break;                                   // end of image
        if (marker == 0x01 || (marker >= 0xd0 && marker <= 0xd8)) continue;  // no length follows
        if (b.size() - at < 2) return ends_early("in a segment");
        const std::size_t length = static_cast<std::size_t>(b[at]) << 8 | b[at + 1];
        if (length < 2 || length > b.size() - at) return ends_early("in a segment");
        const std::span<const std::uint8_t> segment = b.subspan(at + 2, length - 2);
        at += length;
        const bool frame = marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc;
        if (frame) {
            if (marker >= 0xc9) {
                o.error = "is arithmetic-coded";
                return o;
            }
            if (marker != 0xc0 && marker != 0xc1 && marker != 0xc2) {
                o.error = "is lossless or hierarchical";
                return o;
            }
            if (segment.size() < 6) return ends_early("in the frame's head");
            progressive = marker == 0xc2;
            o.height = segment[1] << 8 | segment[2];
            o.width = segment[3] << 8 | segment[4];
            o.n_components = segment[5];
        } else if (marker == 0xc4) {
            o.error = huffman_error(segment, defined);
            if (!o.error.empty()) return o;
        } else if (marker == 0xe1 && o.exif.empty() && segment.size() > 6 && std::string_view(reinterpret_cast<const char*>(segment.data()), 6) == std::string_view("Exif\0\0", 6)) {
            o.exif = segment.subspan(6);
        } else if (marker == 0xda) {
            has_scan = true;
            o.error = scan_error(segment, progressive, defined);
            if (!o.error.empty()) return o;
            // Coded data: up to the next marker that is neither a stuffed zero nor a restart.
            for (;; ++at) {
                if (b.size() - at < 2) return ends_early("in the picture");
                if (b[at] == 0xff && b[at + 1] != 0x00 && b[at + 1] != 0xff && !(b[at + 1] >= 0xd0 && b[at + 1] <= 0xd7)) break;
            }
        }
    }
    if (!has_scan || o.n_components == 0) o.error = "holds no picture";
    return o;
}

}  // namespace instar::data::detail

#endif
