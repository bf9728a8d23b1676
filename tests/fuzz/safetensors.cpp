// Any bytes are either a valid .safetensors file, whose tensors can all be read and written again, or a parse_error.
#include <cstdlib>

#include "instar/io/safetensors.hpp"
#include "instar/train/checkpoint.hpp"
#include "memory_file.hpp"

using namespace instar;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const fuzz::memory_file file(data, size);
    try {
        const io::safetensors_file f(file.path());
        std::uint64_t n_bytes = 0;
        for (const io::tensor_info& t : f.tensors()) {
            n_bytes += t.end - t.begin;
            const auto bytes = static_cast<std::uint64_t>(t.size()) * io::dtype_size(t.type);
            if (bytes != t.end - t.begin) std::abort();
            try {
                if (io::convertible<float>(t.type)) (void)f.read<float>(t.name);
                else if (io::convertible<std::int32_t>(t.type)) (void)f.read<std::int32_t>(t.name);
                else (void)f.read<double>(t.name);
            } catch (const parse_error&) {  // a type or a value that does not convert
            }
        }
        if (n_bytes > size) std::abort();
        try {
            (void)train::read_checkpoint_state(file.path());
        } catch (const parse_error&) {
        }
    } catch (const parse_error&) {
    }
    return 0;
}
