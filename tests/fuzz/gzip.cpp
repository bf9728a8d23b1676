// Plain and compressed input on any bytes: an io_error or the text.
#include <cstdint>
#include <string_view>

#include "instar/io/gzip.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace instar;
    try {
        auto in = io::input_file::from_memory("fuzz", std::string_view(reinterpret_cast<const char*>(data), size));
        char piece[4096];
        std::size_t total = 0;
        while (total < (std::size_t{1} << 26)) {
            const std::size_t n = in.read(piece, sizeof piece);
            if (n == 0) break;
            total += n;
        }
    } catch (const error&) {
    }
    return 0;
}
