#ifndef INSTAR_IO_ATOMIC_FILE_HPP
#define INSTAR_IO_ATOMIC_FILE_HPP

// Files that are either wholly new or wholly as they were: written aside, flushed to the disk, then renamed.
//
//     io::atomic_file f("model/model.safetensors");
//     f.write(header);                       // any number of pieces; buffered
//     f.write(values.data(), n_bytes);
//     f.commit();                            // fsync + rename; without it the destructor removes what was written
//
//     io::write_file("results.json", text);  // the same in one call
//
// The bytes go to PATH.tmp in the same folder. A process killed while it writes leaves PATH untouched and a PATH.tmp that
// the next writer of PATH takes over. A second writer of the same PATH at the same time is refused. A PATH that is no
// regular file (/dev/stdout, a pipe) is written directly. Through a symbolic link, what it points to is replaced.

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "instar/core/error.hpp"

namespace instar::io {

namespace detail {

/// "PATH: cannot write 4096 bytes at byte 128: No space left on device"
[[noreturn]] inline void throw_io(std::string_view path, std::string_view what, int error_number) {
    throw io_error(std::string(path) + ": " + std::string(what) + ": " + std::generic_category().message(error_number));
}

/// The folder of a path: "a/b" → "a", "b" → ".".
inline std::string folder_of(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace detail

/// A file under construction. Move-free and copy-free: one writer, one scope.
///
/// Errors: io_error that names the file, the bytes and the system's reason (no space, no permission, no such folder, file
/// too large). After any of them the old file is as it was and PATH.tmp is gone.
class atomic_file {
public:
    /// Opens PATH.tmp for writing. A std::filesystem::path converts by itself.
    explicit atomic_file(std::string path) : path_(std::move(path)), target_(path_) {
        if (path_.empty()) throw io_error("atomic_file: the path is empty");
        struct stat status {};
        mode_t mode = 0666;
        bool keep_mode = false;
        if (::lstat(path_.c_str(), &status) == 0 && S_ISLNK(status.st_mode)) {
            char* real = ::realpath(path_.c_str(), nullptr);
            if (real == nullptr) detail::throw_io(path_, "cannot follow the symbolic link", errno);
            target_ = real;
            std::free(real);
        }
        if (::stat(target_.c_str(), &status) == 0) {
            if (S_ISDIR(status.st_mode)) detail::throw_io(path_, "cannot write", EISDIR);
            if (!S_ISREG(status.st_mode)) {
                descriptor_ = ::open(target_.c_str(), O_WRONLY | O_CLOEXEC);
                if (descriptor_ < 0) detail::throw_io(path_, "cannot open for writing", errno);
                direct_ = true;
                return;
            }
            // A read-only file is not replaced behind its owner's back, although the folder would allow it.
            if (::access(target_.c_str(), W_OK) != 0) detail::throw_io(path_, "cannot open for writing", errno);
            mode = status.st_mode & 07777;
            keep_mode = true;
        }
        open_aside(mode, keep_mode);
    }
    atomic_file(const atomic_file&) = delete;
    atomic_file& operator=(const atomic_file&) = delete;
    ~atomic_file() { discard(); }

    const std::string& path() const noexcept { return path_; }
    /// Bytes handed to write() so far.
    std::uint64_t bytes() const noexcept { return flushed_ + buffer_.size(); }

    void write(const void* data, std::size_t n) {
        if (descriptor_ < 0) throw io_error(path_ + ": written to after it was committed or failed");
        if (n == 0) return;
        const char* p = static_cast<const char*>(data);
        if (buffer_.size() + n < k_buffer) {
            buffer_.insert(buffer_.end(), p, p + n);
            return;
        }
        flush();
        if (n < k_buffer) buffer_.insert(buffer_.end(), p, p + n);
        else put(p, n);
    }
    void write(std::string_view text) { write(text.data(), text.size()); }

    /// Makes the new content durable and visible under its name. May throw like write(); then nothing has changed.
    void commit() {
        if (descriptor_ < 0) throw io_error(path_ + ": committed twice, or after a failure");
        flush();
        if (direct_) {
            const int result = ::close(std::exchange(descriptor_, -1));
            if (result != 0) detail::throw_io(path_, "cannot close", errno);
            return;
        }
        if (::fsync(descriptor_) != 0) fail("cannot flush " + std::to_string(flushed_) + " bytes to the disk", errno);
        if (::rename(aside_.c_str(), target_.c_str()) != 0) fail("cannot rename " + aside_ + " to it", errno);
        ::close(std::exchange(descriptor_, -1));
        // The rename itself is durable once the folder is flushed. Some file systems refuse; the file is complete even so.
        const int folder = ::open(detail::folder_of(target_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (folder >= 0) {
            (void)::fsync(folder);
            ::close(folder);
        }
    }

    /// Gives up: removes what was written aside. The destructor does the same.
    void discard() noexcept {
        if (descriptor_ < 0) return;
        // Unlinked before it is closed: the lock is still held, so this cannot be another writer's file.
        if (!direct_) ::unlink(aside_.c_str());
        ::close(std::exchange(descriptor_, -1));
    }

private:
    static constexpr std::size_t k_buffer = std::size_t{1} << 16;

    void open_aside(mode_t mode, bool keep_mode) {
        aside_ = target_ + ".tmp";
        for (;;) {
            descriptor_ = ::open(aside_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, mode | S_IWUSR);
            if (descriptor_ < 0) detail::throw_io(path_, "cannot create " + aside_, errno);
            if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
                ::close(std::exchange(descriptor_, -1));
                throw io_error(path_ + ": another writer is at work (" + aside_ + " is locked)");
            }
            // Between open and lock the former writer may have renamed this very file into place: then start over.
            struct stat mine {}, named {};
            if (::fstat(descriptor_, &mine) == 0 && ::stat(aside_.c_str(), &named) == 0 && mine.st_ino == named.st_ino &&
                mine.st_dev == named.st_dev) {
                break;
            }
            ::close(std::exchange(descriptor_, -1));
        }
        if (::ftruncate(descriptor_, 0) != 0) fail("cannot empty " + aside_, errno);
        if (keep_mode) (void)::fchmod(descriptor_, mode);
    }
    void flush() {
        put(buffer_.data(), buffer_.size());
        buffer_.clear();
    }
    void put(const char* p, std::size_t n) {
        while (n > 0) {
            const ssize_t written = ::write(descriptor_, p, std::min(n, std::size_t{1} << 30));
            if (written < 0) {
                if (errno == EINTR) continue;
                fail("cannot write " + std::to_string(n) + " bytes at byte " + std::to_string(flushed_), errno);
            }
            p += written;
            n -= static_cast<std::size_t>(written);
            flushed_ += static_cast<std::uint64_t>(written);
        }
    }
    [[noreturn]] void fail(const std::string& what, int error_number) {
        discard();
        buffer_.clear();
        detail::throw_io(path_, what, error_number);
    }

    std::string path_;    // as the caller named it, for messages
    std::string target_;  // what the rename replaces
    std::string aside_;
    std::vector<char> buffer_;
    std::uint64_t flushed_ = 0;
    int descriptor_ = -1;
    bool direct_ = false;
};

/// Replaces the content of a file, or leaves it as it was and throws io_error.
inline void write_file(const std::string& path, std::string_view content) {
    atomic_file f(path);
    f.write(content);
    f.commit();
}

}  // namespace instar::io

#endif
