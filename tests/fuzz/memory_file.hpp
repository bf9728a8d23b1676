#ifndef INSTAR_TESTS_FUZZ_MEMORY_FILE_HPP
#define INSTAR_TESTS_FUZZ_MEMORY_FILE_HPP

// Bytes under a file name, without a disk: readers that take a path can be fuzzed at full speed (Linux).
//
//     const fuzz::memory_file file(data, size);
//     io::read_npy<float>(file.path());

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

namespace instar::fuzz {

class memory_file {
public:
    memory_file(const std::uint8_t* data, std::size_t size) : descriptor_(::memfd_create("fuzz", MFD_CLOEXEC)) {
        if (descriptor_ < 0) std::abort();
        for (std::size_t at = 0; at < size;) {
            const ssize_t n = ::write(descriptor_, data + at, size - at);
            if (n <= 0) std::abort();
            at += static_cast<std::size_t>(n);
        }
    }
    memory_file(const memory_file&) = delete;
    memory_file& operator=(const memory_file&) = delete;
    ~memory_file() { ::close(descriptor_); }

    std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

private:
    int descriptor_;
};

}  // namespace instar::fuzz

#endif
