#ifndef INSTAR_IO_ZIP_ARCHIVE_HPP
#define INSTAR_IO_ZIP_ARCHIVE_HPP

// Files inside a zip archive, read where they are: nothing is unpacked to disk.
//
//     io::zip_archive zip("BIOSCAN_5M_cropped_256_train.zip");
//     std::string jpeg = zip.read("bioscan5m/images/cropped_256/train/0/ABC123.jpg");
//
// libzip does the work where it is compiled in (INSTAR_HAVE_LIBZIP=1, which the build sets when it finds libzip). A build without it refuses
// every archive with an io_error that says so.

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "instar/core/element.hpp"
#include "instar/core/error.hpp"

#if defined(INSTAR_HAVE_LIBZIP) && INSTAR_HAVE_LIBZIP
#include <zip.h>
#endif

namespace instar::io {

/// One archive, opened for reading. Any number of threads may read: the bytes come out one file at a time (15 µs for a stored photograph of
/// 42 KB, 108 µs for a deflated one, on a core of an AMD EPYC), what is done with them goes on beside it.
class zip_archive {
public:
#if defined(INSTAR_HAVE_LIBZIP) && INSTAR_HAVE_LIBZIP
    /// Reads the directory. Throws io_error naming the archive and what is wrong with it.
    explicit zip_archive(std::string path) : path_(std::move(path)) {
        int code = 0;
        zip_.reset(zip_open(path_.c_str(), ZIP_RDONLY, &code));
        if (zip_ == nullptr) {
            zip_error_t e;
            zip_error_init_with_code(&e, code);
            const std::string why = zip_error_strerror(&e);
            zip_error_fini(&e);
            throw io_error(path_ + ": cannot be opened as a zip archive: " + why);
        }
    }

    /// Entries, folders' among them.
    index_t size() const {
        const std::lock_guard lock(mutex_);
        return static_cast<index_t>(zip_get_num_entries(zip_.get(), 0));
    }
    std::string name(index_t entry) const {
        const std::lock_guard lock(mutex_);
        const char* n = entry < 0 ? nullptr : zip_get_name(zip_.get(), static_cast<zip_uint64_t>(entry), ZIP_FL_ENC_GUESS);
        if (n == nullptr) throw value_error(path_ + ": has no entry " + std::to_string(entry));
        return n;
    }
    std::optional<index_t> find(const std::string& name) const {
        const std::lock_guard lock(mutex_);
        return locate(name);
    }

    /// The file's bytes, their checksum compared. Throws io_error naming archive and file when it is not there, is encrypted or broken, or
    /// holds more than max_bytes.
    std::string read(const std::string& name, std::uint64_t max_bytes = std::uint64_t{1} << 28) const {
        const std::lock_guard lock(mutex_);
        const auto entry = locate(name);
        if (!entry) fail(name, "is not in the archive");
        zip_stat_t status;
        zip_stat_init(&status);
        if (zip_stat_index(zip_.get(), static_cast<zip_uint64_t>(*entry), 0, &status) != 0 || (status.valid & ZIP_STAT_SIZE) == 0) fail(name, zip_strerror(zip_.get()));
        if (status.size > max_bytes) fail(name, "holds " + std::to_string(status.size) + " bytes, the limit is " + std::to_string(max_bytes));
        const std::unique_ptr<zip_file_t, int (*)(zip_file_t*)> file(zip_fopen_index(zip_.get(), static_cast<zip_uint64_t>(*entry), 0), zip_fclose);
        if (file == nullptr) fail(name, zip_strerror(zip_.get()));
        std::string bytes(static_cast<std::size_t>(status.size), '\0');
        std::size_t have = 0;
        // Reading on to the end, past the last byte, is what compares the checksum.
        char beyond;
        for (;;) {
            const bool full = have == bytes.size();
            const zip_int64_t got = zip_fread(file.get(), full ? &beyond : bytes.data() + have, full ? 1 : bytes.size() - have);
            if (got < 0) fail(name, zip_file_strerror(file.get()));
            if (got == 0) break;
            if (full) fail(name, "holds more than its directory says");
            have += static_cast<std::size_t>(got);
        }
        if (have != bytes.size()) fail(name, "ends early");
        return bytes;
    }

private:
    std::optional<index_t> locate(const std::string& name) const {
        const zip_int64_t at = zip_name_locate(zip_.get(), name.c_str(), ZIP_FL_ENC_GUESS);
        return at < 0 ? std::nullopt : std::optional<index_t>(static_cast<index_t>(at));
    }
    [[noreturn]] void fail(const std::string& name, const std::string& why) const { throw io_error(path_ + ": " + name + " " + why); }
    struct closer {
        void operator()(zip_t* z) const noexcept { zip_discard(z); }
    };

    std::string path_;
    std::unique_ptr<zip_t, closer> zip_;
    mutable std::mutex mutex_;
#else
    explicit zip_archive(const std::string& path) { throw io_error(path + ": this build has no libzip (INSTAR_HAVE_LIBZIP); unpack the archive, or build with it"); }
    index_t size() const { return 0; }
    std::string name(index_t) const { return {}; }
    std::optional<index_t> find(const std::string&) const { return std::nullopt; }
    std::string read(const std::string&, std::uint64_t = 0) const { return {}; }
#endif
};

}  // namespace instar::io

#endif
