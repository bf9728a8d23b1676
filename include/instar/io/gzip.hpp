#ifndef INSTAR_IO_GZIP_HPP
#define INSTAR_IO_GZIP_HPP

// Reading text that may be gzip-compressed: the first two bytes tell, never the file's name.
//
//     io::input_file in("metadata.csv.gz");
//     while (std::size_t n = in.read(buffer, sizeof buffer)) …      // decompressed bytes
//     std::string all = io::read_all("barcodes.fasta");              // plain or gz
//     io::input_file text = io::input_file::from_memory("a test", "id,label\n");
//
// zlib does the work where it is compiled in (INSTAR_HAVE_ZLIB=1, which the build sets when it finds zlib). A build without
// it reads plain files and refuses compressed ones.

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#if defined(INSTAR_HAVE_ZLIB) && INSTAR_HAVE_ZLIB
#include <zlib.h>
#endif

#include "instar/core/error.hpp"
#include "instar/io/atomic_file.hpp"

namespace instar::io {

namespace detail {

/// Bytes of a descriptor or of the caller's memory.
class raw_source {
public:
    raw_source() = default;
    raw_source(const std::string& path, int descriptor) : path_(path), descriptor_(descriptor) {}
    explicit raw_source(std::string_view memory) : memory_(memory) {}
    raw_source(raw_source&& o) noexcept
        : path_(std::move(o.path_)), descriptor_(std::exchange(o.descriptor_, -1)), memory_(std::exchange(o.memory_, {})), read_(o.read_) {}
    raw_source& operator=(raw_source&& o) noexcept {
        std::swap(path_, o.path_);
        std::swap(descriptor_, o.descriptor_);
        std::swap(memory_, o.memory_);
        std::swap(read_, o.read_);
        return *this;
    }
    ~raw_source() {
        if (descriptor_ >= 0) ::close(descriptor_);
    }

    /// Up to n bytes; 0 at the end only.
    std::size_t read(void* destination, std::size_t n) {
        if (descriptor_ < 0) {
            n = std::min(n, memory_.size());
            if (n > 0) std::memcpy(destination, memory_.data(), n);
            memory_.remove_prefix(n);
            return n;
        }
        for (;;) {
            const ssize_t got = ::read(descriptor_, destination, std::min(n, std::size_t{1} << 30));
            if (got >= 0) {
                read_ += static_cast<std::uint64_t>(got);
                return static_cast<std::size_t>(got);
            }
            if (errno != EINTR) throw_io(path_, "cannot read at byte " + std::to_string(read_), errno);
        }
    }

private:
    std::string path_;
    int descriptor_ = -1;
    std::string_view memory_;
    std::uint64_t read_ = 0;
};

#if defined(INSTAR_HAVE_ZLIB) && INSTAR_HAVE_ZLIB
/// One gzip stream of any number of members. Its state keeps its address: zlib points back at it.
class inflater {
public:
    explicit inflater(std::string name) : name_(std::move(name)) {
        // 15 window bits, + 16 for "gzip wrapper only".
        if (::inflateInit2(&stream_, 15 + 16) != Z_OK) throw memory_error(name_ + ": cannot start zlib");
    }
    inflater(const inflater&) = delete;
    inflater& operator=(const inflater&) = delete;
    ~inflater() { ::inflateEnd(&stream_); }

    /// Puts bytes that were read already in front.
    void prime(const unsigned char* bytes, std::size_t n) {
        std::memcpy(buffer_.get(), bytes, n);
        stream_.next_in = buffer_.get();
        stream_.avail_in = static_cast<uInt>(n);
    }

    std::size_t read(raw_source& source, void* destination, std::size_t n) {
        n = std::min(n, std::size_t{1} << 30);
        stream_.next_out = static_cast<Bytef*>(destination);
        stream_.avail_out = static_cast<uInt>(n);
        while (stream_.avail_out == n && !finished_) {
            if (stream_.avail_in == 0) refill(source);
            if (between_members_ && !next_member(source)) break;
            if (stream_.avail_in == 0) {
                throw io_error(name_ + ": the gzip data is cut off: it ends in the middle of a stream, after " + std::to_string(out_before_) +
                               " decompressed bytes");
            }
            const int result = ::inflate(&stream_, Z_NO_FLUSH);
            out_before_ += n - stream_.avail_out - counted_;
            counted_ = n - stream_.avail_out;
            if (result == Z_STREAM_END) {
                between_members_ = true;
                if (::inflateReset(&stream_) != Z_OK) throw io_error(name_ + ": cannot reset zlib");
            } else if (result == Z_MEM_ERROR) {
                throw memory_error(name_ + ": zlib has no memory");
            } else if (result != Z_OK && result != Z_BUF_ERROR) {
                throw io_error(name_ + ": the gzip data is corrupt after " + std::to_string(out_before_) + " decompressed bytes: " +
                               (stream_.msg != nullptr ? stream_.msg : "unknown reason"));
            }
        }
        counted_ = 0;
        return n - stream_.avail_out;
    }

private:
    static constexpr std::size_t k_buffer = std::size_t{1} << 16;

    void refill(raw_source& source) {
        const std::size_t got = source.read(buffer_.get(), k_buffer);
        stream_.next_in = buffer_.get();
        stream_.avail_in = static_cast<uInt>(got);
    }
    /// Zeros after a member are padding (tape blocks); then the file ends, or another member begins.
    bool next_member(raw_source& source) {
        for (;;) {
            while (stream_.avail_in > 0 && *stream_.next_in == 0) ++stream_.next_in, --stream_.avail_in;
            if (stream_.avail_in > 0) break;
            refill(source);
            if (stream_.avail_in == 0) {
                finished_ = true;
                return false;
            }
        }
        if (*stream_.next_in != 0x1f) {
            throw io_error(name_ + ": the gzip data is followed by something else, after " + std::to_string(out_before_) + " decompressed bytes");
        }
        between_members_ = false;
        return true;
    }

    std::string name_;
    z_stream stream_{};
    std::unique_ptr<unsigned char[]> buffer_ = std::make_unique<unsigned char[]>(k_buffer);
    std::uint64_t out_before_ = 0;  // decompressed so far, for messages
    std::size_t counted_ = 0;       // of them, in the current call
    bool between_members_ = false;
    bool finished_ = false;
};
#endif

}  // namespace detail

/// A file, a pipe or memory as a stream of decompressed bytes. Movable; one reader at a time.
///
/// Throws io_error that names the file: it does not open, a read fails, gz data is cut off, corrupt (checksum and length of
/// each member are verified) or followed by something else, or this build has no zlib.
class input_file {
public:
    explicit input_file(std::string path) : name_(std::move(path)) {
        const int descriptor = ::open(name_.c_str(), O_RDONLY | O_CLOEXEC);
        if (descriptor < 0) detail::throw_io(name_, "cannot open for reading", errno);
        source_ = detail::raw_source(name_, descriptor);
        look();
    }
    /// Reads `bytes`, which must outlive the stream; `name` stands in messages.
    static input_file from_memory(std::string name, std::string_view bytes) {
        input_file f;
        f.name_ = std::move(name);
        f.source_ = detail::raw_source(bytes);
        f.look();
        return f;
    }

    const std::string& name() const noexcept { return name_; }
    bool compressed() const noexcept { return compressed_; }

    /// Up to n bytes; 0 at the end only (n > 0).
    std::size_t read(void* destination, std::size_t n) {
        if (n == 0) return 0;
#if defined(INSTAR_HAVE_ZLIB) && INSTAR_HAVE_ZLIB
        if (inflater_ != nullptr) return inflater_->read(source_, destination, n);
#endif
        if (n_held_ > 0) {
            const std::size_t now = std::min(n, n_held_);
            std::memcpy(destination, held_, now);
            n_held_ -= now;
            std::memmove(held_, held_ + now, n_held_);
            return now;
        }
        return source_.read(destination, n);
    }

private:
    input_file() = default;

    void look() {
        while (n_held_ < 2) {
            const std::size_t got = source_.read(held_ + n_held_, 2 - n_held_);
            if (got == 0) break;
            n_held_ += got;
        }
        compressed_ = n_held_ == 2 && held_[0] == 0x1f && held_[1] == 0x8b;
        if (!compressed_) return;
#if defined(INSTAR_HAVE_ZLIB) && INSTAR_HAVE_ZLIB
        inflater_ = std::make_unique<detail::inflater>(name_);
        inflater_->prime(held_, n_held_);
#else
        throw io_error(name_ + ": is gzip-compressed, and this build has no zlib (INSTAR_HAVE_ZLIB); decompress it first");
#endif
    }

    std::string name_;
    detail::raw_source source_;
#if defined(INSTAR_HAVE_ZLIB) && INSTAR_HAVE_ZLIB
    std::unique_ptr<detail::inflater> inflater_;
#endif
    unsigned char held_[2] = {};  // the bytes that told the format
    std::size_t n_held_ = 0;
    bool compressed_ = false;
};

/// Everything a stream still holds. Throws io_error above `limit` bytes: a small gz file can hold a very large text.
inline std::string read_all(input_file in, std::uint64_t limit = std::uint64_t{1} << 34) {
    std::string text;
    std::size_t size = 0;
    for (std::size_t room = std::size_t{1} << 16;; room = std::min(2 * room, std::size_t{1} << 26)) {
        text.resize(size + room);
        const std::size_t got = in.read(text.data() + size, room);
        size += got;
        if (size > limit) throw io_error(in.name() + ": longer than the " + std::to_string(limit) + " bytes allowed here");
        if (got == 0) break;
    }
    text.resize(size);
    return text;
}
inline std::string read_all(const std::string& path) { return read_all(input_file(path)); }

}  // namespace instar::io

#endif
