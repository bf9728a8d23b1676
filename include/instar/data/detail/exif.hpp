#ifndef INSTAR_DATA_DETAIL_EXIF_HPP
#define INSTAR_DATA_DETAIL_EXIF_HPP

// One number of EXIF: which side is up. (A TIFF directory; tag 0x0112, a short from 1 to 8.)
//
//     const int turn = exif_orientation(payload);      // 1 = as it is, also when there is none or it makes no sense

#include <cstdint>
#include <span>

#include "instar/core/element.hpp"

namespace instar::data::detail {

/// Never reads past `b`.
inline int exif_orientation(std::span<const std::uint8_t> b) {
    if (b.size() < 8) return 1;
    const bool little = b[0] == 'I' && b[1] == 'I';
    if (!little && !(b[0] == 'M' && b[1] == 'M')) return 1;
    const auto number = [&](std::size_t at, std::size_t n) {
        std::uint64_t v = 0;
        for (std::size_t i = 0; i < n; ++i) v = v << 8 | b[at + (little ? n - 1 - i : i)];
        return v;
    };
    if (number(2, 2) != 42) return 1;
    const std::uint64_t directory = number(4, 4);
    if (directory > b.size() || b.size() - directory < 2) return 1;
    const std::uint64_t n_entries = number(directory, 2);
    for (std::uint64_t e = 0; e < n_entries; ++e) {
        const std::uint64_t at = directory + 2 + 12 * e;
        if (b.size() - directory - 2 < 12 * (e + 1)) return 1;
        if (number(at, 2) != 0x0112) continue;
        const std::uint64_t type = number(at + 2, 2), value = number(at + 8, 2);
        return type == 3 && value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
    }
    return 1;
}

}  // namespace instar::data::detail

#endif
