// Any bytes either decode or throw an error of ours; memory stays bounded by max_pixels.
#include "instar/data/image_file.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    try {
        const auto im = instar::data::decode_image({data, size}, "fuzz", {.max_pixels = 1 << 20});
        if (im.pixels.size() != static_cast<std::size_t>(3 * im.height * im.width)) __builtin_trap();
    } catch (const instar::error&) {
    }
    return 0;
}
