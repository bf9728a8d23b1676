#ifndef INSTAR_CORE_ERROR_HPP
#define INSTAR_CORE_ERROR_HPP

// Every exception that instar throws derives from instar::error.
//
//     try { model = instar::nn::bert<float>::load(ctx, dir); }
//     catch (const instar::error& e) { std::cerr << e.what() << '\n'; }
//
// The message names the operator or the file, the argument or the place, and what was expected.

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace instar {

/// Base of all exceptions of the library.
struct error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// A tensor's shape disagrees with the operator's contract.
struct shape_error : error {
    using error::error;
};

/// An argument's value is outside what the function accepts (a negative size, k < 1, a NaN learning rate).
struct value_error : error {
    using error::error;
};

/// Reading or writing failed: missing file, short read, full disk, no permission.
struct io_error : error {
    using error::error;
};

/// A file or a text was read, and its content breaks the format. `what()` is "place: message".
struct parse_error : error {
    parse_error(std::string_view file, std::int64_t line, std::int64_t column, std::string_view message)
        : error(where(file, line, column) + std::string(message)), file_(file), line_(line), column_(column) {}
    parse_error(std::string_view file, std::string_view message) : parse_error(file, 0, 0, message) {}

    const std::string& file() const noexcept { return file_; }
    std::int64_t line() const noexcept { return line_; }      ///< 1-based; 0 = not applicable
    std::int64_t column() const noexcept { return column_; }  ///< 1-based; 0 = not applicable

private:
    static std::string where(std::string_view file, std::int64_t line, std::int64_t column) {
        std::string place(file);
        if (line > 0) place += ":" + std::to_string(line);
        if (line > 0 && column > 0) place += ":" + std::to_string(column);
        return place.empty() ? place : place + ": ";
    }
    std::string file_;
    std::int64_t line_;
    std::int64_t column_;
};

/// Memory that a call would need and that cannot be had; the message gives the bytes.
struct memory_error : error {
    using error::error;
};

/// The caller asked for the work to stop (a progress callback returned false, a signal arrived).
struct cancelled_error : error {
    using error::error;
};

/// The CUDA runtime, cuBLAS or cuDNN reported a failure; the message names the operator.
struct device_error : error {
    using error::error;
};

}  // namespace instar

#endif
