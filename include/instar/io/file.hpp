#ifndef INSTAR_IO_FILE_HPP
#define INSTAR_IO_FILE_HPP

// Reading at a place, and reading a whole text. Both fail loudly: a short read is an error, never a short result.
//
//     io::file_reader f("model.safetensors");
//     f.read_at(0, buffer, 8);                     // exactly 8 bytes or io_error
//     std::string text = io::read_text("config.json");
//
// Positioned reads rather than a memory map: a file that another process shortens meanwhile gives an io_error, where a
// mapping would give SIGBUS, and the bytes land in the caller's memory with one copy.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <string>
#include <utility>

#include "instar/io/atomic_file.hpp"

namespace instar::io {

/// A regular file open for reading. Any number of threads may call read_at at the same time.
class file_reader {
public:
    explicit file_reader(std::string path) : path_(std::move(path)) {
        descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
        if (descriptor_ < 0) detail::throw_io(path_, "cannot open for reading", errno);
        struct stat status {};
        const int result = ::fstat(descriptor_, &status);
        if (result != 0 || !S_ISREG(status.st_mode)) {
            const int why = result != 0 ? errno : S_ISDIR(status.st_mode) ? EISDIR : ESPIPE;
            ::close(descriptor_);
            detail::throw_io(path_, "cannot read", why);
        }
        size_ = static_cast<std::uint64_t>(status.st_size);
    }
    file_reader(file_reader&& o) noexcept
        : path_(std::move(o.path_)), descriptor_(std::exchange(o.descriptor_, -1)), size_(std::exchange(o.size_, 0)) {}
    file_reader& operator=(file_reader&& o) noexcept {
        std::swap(path_, o.path_);
        std::swap(descriptor_, o.descriptor_);
        std::swap(size_, o.size_);
        return *this;
    }
    ~file_reader() {
        if (descriptor_ >= 0) ::close(descriptor_);
    }

    const std::string& path() const noexcept { return path_; }
    std::uint64_t size() const noexcept { return size_; }

    /// Exactly n bytes from `offset` on. io_error names the file, the place and the bytes.
    void read_at(std::uint64_t offset, void* destination, std::size_t n) const {
        if (offset > size_ || n > size_ - offset) {
            throw io_error(path_ + ": " + std::to_string(n) + " bytes at byte " + std::to_string(offset) + " are beyond the end (" +
                           std::to_string(size_) + " bytes)");
        }
        char* p = static_cast<char*>(destination);
        while (n > 0) {
            const ssize_t got = ::pread(descriptor_, p, std::min(n, std::size_t{1} << 30), static_cast<off_t>(offset));
            if (got < 0) {
                if (errno == EINTR) continue;
                detail::throw_io(path_, "cannot read " + std::to_string(n) + " bytes at byte " + std::to_string(offset), errno);
            }
            if (got == 0) throw io_error(path_ + ": ends at byte " + std::to_string(offset) + ", it was shortened while being read");
            p += got;
            n -= static_cast<std::size_t>(got);
            offset += static_cast<std::uint64_t>(got);
        }
    }

private:
    std::string path_;
    int descriptor_ = -1;
    std::uint64_t size_ = 0;
};

/// Whether something of that name exists (a file, a folder, a device).
inline bool exists(const std::string& path) {
    struct stat status {};
    return ::stat(path.c_str(), &status) == 0;
}

/// Creates a folder and those above it, where missing. Throws io_error.
inline void create_folders(const std::string& path) {
    for (std::size_t end = path.find('/', 1); ; end = path.find('/', end + 1)) {
        const std::string part = path.substr(0, end);
        // EEXIST alone does not tell a folder from a file; what cannot be created for another reason may exist all the same.
        if (!part.empty() && ::mkdir(part.c_str(), 0777) != 0) {
            const int why = errno;
            struct stat status {};
            if (::stat(part.c_str(), &status) != 0 || !S_ISDIR(status.st_mode)) {
                detail::throw_io(part, "cannot create the folder", why == EEXIST ? ENOTDIR : why);
            }
        }
        if (end == std::string::npos) return;
    }
}

/// The whole content; pipes and devices included. Throws io_error, also above `limit` bytes.
inline std::string read_text(const std::string& path, std::uint64_t limit = std::uint64_t{1} << 32) {
    struct closer {
        int descriptor;
        ~closer() { ::close(descriptor); }
    };
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) detail::throw_io(path, "cannot open for reading", errno);
    const closer guard{descriptor};
    struct stat status {};
    std::string text;
    if (::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode)) {
        text.reserve(static_cast<std::size_t>(std::min(static_cast<std::uint64_t>(status.st_size), limit)));
    }
    std::string piece(std::size_t{1} << 16, '\0');
    for (;;) {
        const ssize_t got = ::read(descriptor, piece.data(), piece.size());
        if (got < 0) {
            if (errno == EINTR) continue;
            detail::throw_io(path, "cannot read at byte " + std::to_string(text.size()), errno);
        }
        if (got == 0) return text;
        if (text.size() + static_cast<std::size_t>(got) > limit) {
            throw io_error(path + ": longer than the " + std::to_string(limit) + " bytes allowed here");
        }
        text.append(piece.data(), static_cast<std::size_t>(got));
    }
}

}  // namespace instar::io

#endif
