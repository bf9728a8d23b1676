// Fuzzes io::input_file: any bytes, read in pieces of different sizes, give the same text or an error.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "instar/io/gzip.hpp"

using namespace instar;

namespace {

/// The text, or "!" and nothing else for an error; at most 4 MiB of it.
std::string read(std::string_view bytes, std::size_t step) {
    std::string text;
    try {
        io::input_file in = io::input_file::from_memory("fuzz", bytes);
        std::string piece(step, '\0');
        while (const std::size_t n = in.read(piece.data(), piece.size())) {
            text.append(piece, 0, n);
            if (text.size() > (std::size_t{1} << 22)) return text.substr(0, std::size_t{1} << 22);
        }
    } catch (const io_error&) {
        return "!";
    }
    return text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
    const std::string_view all(reinterpret_cast<const char*>(bytes), size);
    const std::string once = read(all, 65536);
    if (read(all, 1000) != once) std::abort();
    const bool compressed = size >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b;
    if (!compressed && once != all.substr(0, std::size_t{1} << 22)) std::abort();
    return 0;
}
