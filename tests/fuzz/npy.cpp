// Any bytes are either an .npy file, whose array can be read, or a parse_error.
#include <cstdlib>

#include "instar/io/npy.hpp"
#include "memory_file.hpp"

using namespace instar;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const fuzz::memory_file file(data, size);
    try {
        const io::npy_info info = io::read_npy_info(file.path());
        const auto n = static_cast<std::uint64_t>(io::element_count(info.shape));
        if (n > size) std::abort();  // an element takes a byte at least
        const auto check = [&](const auto& array) {
            if (array.values.size() != n || array.shape != info.shape) std::abort();
        };
        if (io::convertible<float>(info.type)) check(io::read_npy<float>(file.path()));
        else check(io::read_npy<std::int16_t>(file.path()));
    } catch (const parse_error&) {
    }
    return 0;
}
