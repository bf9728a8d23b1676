#ifndef INSTAR_DATA_CSV_WRITER_HPP
#define INSTAR_DATA_CSV_WRITER_HPP

// Writing comma- or tab-separated text (RFC 4180), aside and renamed: a reader never sees half a file.
//
//     data::csv_writer out("predictions.csv", {"processid", "species", "score"});
//     out.row({"ABC-1", "Apis mellifera", "0.99"});
//     out.commit();                                    // without it nothing is left behind

#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "instar/core/error.hpp"
#include "instar/io/atomic_file.hpp"

namespace instar::data {

/// Appends one row to `text`, LF at its end. A field is quoted when it holds the delimiter, a quote or a line end, when it is
/// the only one and empty (an empty line would be no row), and when it begins like a byte-order mark, which a reader would
/// take for one at the start of a file. Throws value_error for a NUL byte, which no reader accepts.
inline void append_csv_row(std::string& text, std::span<const std::string_view> fields, char delimiter = ',') {
    const char special[] = {delimiter, '"', '\n', '\r', '\0'};
    for (std::size_t i = 0; i < fields.size(); ++i) {
        const std::string_view f = fields[i];
        if (i > 0) text += delimiter;
        const std::size_t first = f.find_first_of(std::string_view(special, sizeof special));
        const bool like_mark = !f.empty() && (f[0] == '\xEF' || f[0] == '\xFE' || f[0] == '\xFF');
        if (first == std::string_view::npos && !(f.empty() && fields.size() == 1) && !like_mark) {
            text += f;
            continue;
        }
        text += '"';
        for (char c : f) {
            if (c == '\0') throw value_error("append_csv_row: field " + std::to_string(i + 1) + " holds a NUL byte");
            if (c == '"') text += '"';
            text += c;
        }
        text += '"';
    }
    text += '\n';
}

/// Writer of one file. Throws io_error as io::atomic_file does, value_error for a row whose number of fields is not that of
/// the header; the file under its name stays as it was until commit().
class csv_writer {
public:
    csv_writer(std::string path, const std::vector<std::string>& header, char delimiter = ',')
        : file_(std::move(path)), n_columns_(header.size()), delimiter_(delimiter) {
        if (header.empty()) throw value_error("csv_writer: the header is empty");
        const std::vector<std::string_view> fields(header.begin(), header.end());
        row(fields);
    }

    void row(std::span<const std::string_view> fields) {
        if (fields.size() != n_columns_) {
            throw value_error("csv_writer: " + file_.path() + ": a row has " + std::to_string(fields.size()) + " fields, the header has " +
                              std::to_string(n_columns_));
        }
        line_.clear();
        append_csv_row(line_, fields, delimiter_);
        file_.write(line_);
    }
    void row(std::initializer_list<std::string_view> fields) { row(std::span<const std::string_view>(fields.begin(), fields.size())); }

    void commit() { file_.commit(); }

private:
    io::atomic_file file_;
    std::string line_;
    std::size_t n_columns_;
    char delimiter_;
};

}  // namespace instar::data

#endif
