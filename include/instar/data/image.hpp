#ifndef INSTAR_DATA_IMAGE_HPP
#define INSTAR_DATA_IMAGE_HPP

// An image in memory: 8-bit RGB, row by row.
//
//     data::image photo = data::read_image("specimen.jpg");      // data/image_file.hpp
//     photo.row(0)[3 * 5 + 1];                                     // green of the sixth pixel of the first row

#include <cstdint>
#include <vector>

#include "instar/core/element.hpp"

namespace instar::data {

struct image {
    index_t height = 0, width = 0;
    std::vector<std::uint8_t> pixels{};  ///< height · width · 3

    std::uint8_t* row(index_t y) noexcept { return pixels.data() + y * width * 3; }
    const std::uint8_t* row(index_t y) const noexcept { return pixels.data() + y * width * 3; }
};

}  // namespace instar::data

#endif
