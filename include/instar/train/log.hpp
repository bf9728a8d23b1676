#ifndef INSTAR_TRAIN_LOG_HPP
#define INSTAR_TRAIN_LOG_HPP

// A training log: one JSON object a line (JSON Lines), appended.
//
//     train::jsonl_log log("out/train.jsonl");
//     log.write({{"step", step}, {"loss", loss}, {"split", "val"}, {"best", true}});
//     → {"step":12,"loss":0.53125,"split":"val","best":true}
//
// Every line reaches the system with one write, so a kill loses at most the line being written and never mixes two. A log whose
// last line was cut off by a crash is continued on a new line.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "instar/io/atomic_file.hpp"
#include "instar/io/json_text.hpp"

namespace instar::train {

/// A key and a value: a string, a number (NaN and infinities become null) or a bool.
class log_field {
public:
    log_field(std::string_view key, std::string_view value) : log_field(key) { io::append_json_string(text_, value); }
    log_field(std::string_view key, const char* value) : log_field(key, std::string_view(value)) {}
    log_field(std::string_view key, const std::string& value) : log_field(key, std::string_view(value)) {}
    template <class T>
        requires std::is_arithmetic_v<T>
    log_field(std::string_view key, T value) : log_field(key) {
        if constexpr (std::same_as<T, bool>) text_ += value ? "true" : "false";
        else if constexpr (std::floating_point<T>) io::append_json_number(text_, static_cast<double>(value));
        else text_ += std::to_string(value);
    }
    /// "key":value
    const std::string& text() const noexcept { return text_; }

private:
    explicit log_field(std::string_view key) {
        io::append_json_string(text_, key);
        text_ += ':';
    }
    std::string text_;
};

/// An open log. Throws io_error, naming the file, when it cannot be opened or written.
class jsonl_log {
public:
    /// Appends to what is there; `append = false` begins anew.
    explicit jsonl_log(std::string path, bool append = true) : path_(std::move(path)) {
        descriptor_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | (append ? 0 : O_TRUNC), 0666);
        // A pipe or a terminal may be writable only.
        if (descriptor_ < 0 && (errno == EACCES || errno == ENXIO)) descriptor_ = ::open(path_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
        if (descriptor_ < 0) io::detail::throw_io(path_, "cannot open for appending", errno);
        struct stat status {};
        char last = '\n';
        if (::fstat(descriptor_, &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0 &&
            ::pread(descriptor_, &last, 1, status.st_size - 1) == 1 && last != '\n') {
            try {
                put("\n");
            } catch (...) {
                ::close(descriptor_);
                throw;
            }
        }
    }
    jsonl_log(const jsonl_log&) = delete;
    jsonl_log& operator=(const jsonl_log&) = delete;
    ~jsonl_log() { ::close(descriptor_); }

    const std::string& path() const noexcept { return path_; }

    void write(std::initializer_list<log_field> fields) {
        std::string line = "{";
        for (const log_field& f : fields) {
            if (line.size() > 1) line += ',';
            line += f.text();
        }
        put(line + "}\n");
    }

private:
    void put(std::string_view text) {
        while (!text.empty()) {
            const ssize_t n = ::write(descriptor_, text.data(), text.size());
            if (n < 0) {
                if (errno == EINTR) continue;
                io::detail::throw_io(path_, "cannot append " + std::to_string(text.size()) + " bytes", errno);
            }
            text.remove_prefix(static_cast<std::size_t>(n));
        }
    }
    std::string path_;
    int descriptor_ = -1;
};

}  // namespace instar::train

#endif
