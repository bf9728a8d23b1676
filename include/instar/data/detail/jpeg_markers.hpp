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

/// Never reads past `b`. Bytes after the end of the image are ignored, as every reader does.
inline jpeg_outline outline_of_jpeg(std::span<const std::uint8_t> b) {
    jpeg_outline o;
    std::size_t at = 2;
    bool has_scan = false;
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
            o.height = segment[1] << 8 | segment[2];
            o.width = segment[3] << 8 | segment[4];
            o.n_components = segment[5];
        } else if (marker == 0xe1 && o.exif.empty() && segment.size() > 6 && std::string_view(reinterpret_cast<const char*>(segment.data()), 6) == std::string_view("Exif\0\0", 6)) {
            o.exif = segment.subspan(6);
        } else if (marker == 0xda) {
            has_scan = true;
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
