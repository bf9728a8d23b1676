#ifndef INSTAR_DATA_DETAIL_TURBOJPEG_HPP
#define INSTAR_DATA_DETAIL_TURBOJPEG_HPP

// JPEG by libjpeg-turbo, where a build asks for it (CMake: INSTAR_WITH_TURBOJPEG). Used by data/image_file.hpp.

#if defined(INSTAR_HAVE_TURBOJPEG) && INSTAR_HAVE_TURBOJPEG

#include <turbojpeg.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "instar/data/image.hpp"

namespace instar::data::detail {

/// True of a warning that need not mean damage: bytes between the end of a scan and the next marker. Damage that shows in this alone passes.
inline bool turbojpeg_warning_is_harmless(std::string_view text) { return text.find("extraneous bytes before marker") != std::string_view::npos; }

/// The pixels of a JPEG, as RGB, not oriented. `fail` is called with what is wrong and does not return; `check` with width and height before
/// the pixels are decoded. Where libjpeg-turbo would fill up damaged data, what it warns of first is an error, unless it is harmless.
template <class Check, class Fail>
image decode_jpeg_by_turbojpeg(std::span<const std::uint8_t> bytes, Check&& check, Fail&& fail) {
    const std::unique_ptr<std::remove_pointer_t<tjhandle>, int (*)(tjhandle)> turbo(tjInitDecompress(), tjDestroy);
    if (turbo == nullptr) fail(std::string("cannot be decoded: ") + tjGetErrorStr2(nullptr));
    const auto n = static_cast<unsigned long>(bytes.size());
    int width = 0, height = 0, subsampling = 0, colours = 0;
    if (tjDecompressHeader3(turbo.get(), bytes.data(), n, &width, &height, &subsampling, &colours) != 0) {
        fail(std::string("cannot be decoded: ") + tjGetErrorStr2(turbo.get()));
    }
    check(width, height);
    image x{height, width, std::vector<std::uint8_t>(3 * static_cast<std::size_t>(width) * static_cast<std::size_t>(height))};
    if (tjDecompress2(turbo.get(), bytes.data(), n, x.pixels.data(), width, 0, height, TJPF_RGB, TJFLAG_LIMITSCANS) != 0) {
        const std::string what = tjGetErrorStr2(turbo.get());
        if (tjGetErrorCode(turbo.get()) != TJERR_WARNING || !turbojpeg_warning_is_harmless(what)) fail("cannot be decoded: " + what);
    }
    return x;
}

}  // namespace instar::data::detail

#endif

#endif
