#ifndef INSTAR_DATA_CSV_HPP
#define INSTAR_DATA_CSV_HPP

// Reading comma- or tab-separated text (RFC 4180), plain or gz, row by row, in constant memory.
//
//     data::csv_reader in("metadata.csv.gz", {.columns = {"processid", "coord-lat"}, .na_strings = true});
//     while (in.next()) {
//         std::string_view id = in[0];              // valid until the next next()
//         double latitude = in.real(1);             // NaN where missing
//     }
//     data::csv_reader t(io::input_file::from_memory("a test", "a\tb\n1\t2\n"));
//
// Quoted fields may hold delimiters, line ends and doubled quotes. Lines end in LF or CRLF; blank lines are skipped; a
// UTF-8 byte-order mark is. A quote inside a field that does not begin with one is an ordinary character. Every row must
// have as many fields as the header. Writing is in data/csv_writer.hpp.

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "instar/core/error.hpp"
#include "instar/data/csv_scan.hpp"
#include "instar/io/gzip.hpp"

namespace instar::data {

struct csv_options {
    char delimiter = '\0';                 ///< NUL = by the header: the most frequent of comma, tab, semicolon, bar
    std::vector<std::string> columns = {};  ///< what to read, in this order; empty = every column of the file
    bool header = true;                    ///< the first row names the columns; without, they are "0", "1", …
    bool quoting = true;                   ///< false: a quote is always an ordinary character
    bool na_strings = false;               ///< the texts that pandas takes for missing by default ("NA", "null", …) are
    std::size_t max_row_bytes = std::size_t{64} << 20;  ///< a longer row is an error: most likely a quote never closed
};

/// Whether pandas 1.x, with its defaults, reads this text as a missing value (pandas 2 adds "None").
inline bool is_pandas_na(std::string_view s) {
    switch (s.size()) {
    case 0: return true;
    case 2: return s == "NA";
    case 3: return s == "nan" || s == "NaN" || s == "N/A" || s == "n/a" || s == "#NA";
    case 4: return s == "NULL" || s == "null" || s == "#N/A" || s == "<NA>" || s == "-nan" || s == "-NaN";
    case 6: return s == "1.#IND";
    case 7: return s == "1.#QNAN" || s == "-1.#IND";
    case 8: return s == "-1.#QNAN" || s == "#N/A N/A";
    default: return false;
    }
}

/// Reader of one file. Movable.
///
/// Throws io_error (cannot open or read, see io::input_file) and parse_error with file and line, and column where one is
/// known, for: an empty file; a column named twice, or asked for and not there; a row with too few or too many fields; text
/// behind a closing quote; a quote that is never closed; a NUL byte; a header with bare carriage returns; UTF-16; a number
/// that is none. Nothing is guessed or dropped.
/// Cost: one pass; 2–4 GB/s a core on metadata, before gz.
class csv_reader {
public:
    explicit csv_reader(const std::string& path, csv_options options = {}) : csv_reader(io::input_file(path), std::move(options)) {}
    explicit csv_reader(io::input_file in, csv_options options = {})
        : in_(std::move(in)), options_(std::move(options)), scan_(','), capacity_(k_first_buffer), buffer_(new char[capacity_ + 64]) {
        start();
    }

    const std::string& name() const noexcept { return in_.name(); }
    char delimiter() const noexcept { return options_.delimiter; }
    /// Names of all columns of the file.
    const std::vector<std::string>& header() const noexcept { return header_; }
    /// Names of the columns that are read; fields are numbered in this order.
    const std::vector<std::string>& columns() const noexcept { return options_.columns; }
    bool has(std::string_view column) const { return std::find(header_.begin(), header_.end(), column) != header_.end(); }
    /// Number of a column among those that are read. Throws parse_error that lists them.
    std::size_t column(std::string_view name) const {
        const auto it = std::find(options_.columns.begin(), options_.columns.end(), name);
        if (it == options_.columns.end()) throw no_column(name, options_.columns);
        return static_cast<std::size_t>(it - options_.columns.begin());
    }

    /// Goes to the next row; false behind the last one.
    bool next() { return parse_row<false>(); }

    /// Field of the current row; the view lasts until the next call of next().
    std::string_view operator[](std::size_t column) const { return fields_[places_[column]]; }
    /// Whether the field is empty, or one of the NA texts under na_strings.
    bool missing(std::size_t column) const {
        const std::string_view f = (*this)[column];
        return f.empty() || (options_.na_strings && f.size() <= 8 && is_pandas_na(f));
    }
    /// Line of the file on which the current row begins, 1-based.
    std::int64_t line() const noexcept { return row_line_; }

    /// The field as a number; NaN where missing.
    double real(std::size_t column) const {
        if (missing(column)) return std::numeric_limits<double>::quiet_NaN();
        const std::string_view s = plain_number(column);
        double value = 0.0;
        const auto [end, code] = std::from_chars(s.data(), s.data() + s.size(), value);
        if (code != std::errc{} || end != s.data() + s.size()) throw not_a(column, "number");
        return value;
    }
    /// The field as an integer ("12", and "12.0" as pandas writes integers with gaps); `if_missing` where missing.
    std::int64_t integer(std::size_t column, std::int64_t if_missing = -1) const {
        if (missing(column)) return if_missing;
        std::string_view s = plain_number(column);
        if (s.size() > 2 && s.ends_with(".0")) s.remove_suffix(2);
        std::int64_t value = 0;
        const auto [end, code] = std::from_chars(s.data(), s.data() + s.size(), value);
        if (code != std::errc{} || end != s.data() + s.size()) throw not_a(column, "integer");
        return value;
    }

    /// An error about the current row, for the caller's own checks.
    parse_error error_here(const std::string& message) const { return parse_error(name(), row_line_, 0, message); }

private:
    static constexpr std::size_t k_first_buffer = std::size_t{1} << 18;
    static constexpr std::size_t k_unread = static_cast<std::size_t>(-1);

    void start() {
        refill(0);
        if (end_ == 0) throw parse_error(name(), "is empty");
        const std::string_view text(buffer_.get(), end_);
        if (text.starts_with("\xEF\xBB\xBF")) pos_ = 3;
        if (text.starts_with("\xFF\xFE") || text.starts_with("\xFE\xFF")) {
            throw parse_error(name(), 1, 1, "is UTF-16 text; save it as UTF-8");
        }
        if (options_.delimiter == '\0') options_.delimiter = sniff(text.substr(pos_));
        if (options_.delimiter == '"' || options_.delimiter == '\n' || options_.delimiter == '\r') {
            throw value_error("csv_reader: a quote or a line end cannot be the delimiter");
        }
        scan_ = csv_scanner(options_.delimiter);
        seek(pos_);
        if (!parse_row<true>()) throw parse_error(name(), "has no header, only blank lines");
        name_columns();
    }

    /// The most frequent separator of the first line, outside of quotes.
    char sniff(std::string_view text) const {
        constexpr char candidates[] = {',', '\t', ';', '|'};
        int count[4] = {};
        bool quoted = false;
        for (char c : text) {
            if (c == '"' && options_.quoting) quoted = !quoted;
            if (c == '\n' && !quoted) break;
            for (int i = 0; i < 4 && !quoted; ++i) count[i] += c == candidates[i];
        }
        return candidates[std::max_element(count, count + 4) - count];
    }

    void name_columns() {
        for (const std::string& h : header_) {
            const std::size_t carriage = h.find('\r');
            if (carriage != std::string::npos && h.compare(carriage, 2, "\r\n") != 0) {
                throw parse_error(name(), row_line_, 0, "the header holds a carriage return without a line feed; save the file with LF or CRLF line ends");
            }
        }
        if (!options_.header) {
            for (std::size_t c = 0; c < header_.size(); ++c) header_[c] = std::to_string(c);
            seek(first_row_);
            line_ = row_line_;
        }
        std::unordered_set<std::string_view> seen;
        for (const std::string& h : header_) {
            if (!h.empty() && !seen.insert(h).second) throw parse_error(name(), row_line_, 0, "column '" + h + "' appears twice in the header");
        }
        const bool all = options_.columns.empty();
        if (all) options_.columns = header_;
        places_.clear();
        for (std::size_t i = 0; i < options_.columns.size(); ++i) {
            const auto it = std::find(header_.begin(), header_.end(), options_.columns[i]);
            if (it == header_.end()) throw no_column(options_.columns[i], header_);
            const auto place = static_cast<std::size_t>(it - header_.begin());
            if (!all && std::find(places_.begin(), places_.end(), place) != places_.end()) {
                throw value_error("csv_reader: column '" + options_.columns[i] + "' is asked for twice");
            }
            places_.push_back(all ? i : place);
        }
        fields_.assign(header_.size() + 1, {});
        row_line_ = 0;
    }

    /// Keeps the bytes from `keep` on, at the front, and reads on. Without room for more the buffer doubles.
    void refill(std::size_t keep) {
        const std::size_t kept = end_ - keep;
        if (kept == capacity_) {
            if (capacity_ >= options_.max_row_bytes) {
                throw parse_error(name(), row_line_, 0,
                                  "a row of more than " + std::to_string(options_.max_row_bytes) + " bytes begins here; is a quote never closed?");
            }
            std::unique_ptr<char[]> larger(new char[2 * capacity_ + 64]);
            std::memcpy(larger.get(), buffer_.get() + keep, kept);
            buffer_ = std::move(larger);
            capacity_ *= 2;
        } else if (kept > 0) {
            std::memmove(buffer_.get(), buffer_.get() + keep, kept);
        }
        end_ = kept;
        while (end_ < capacity_) {
            const std::size_t got = in_.read(buffer_.get() + end_, capacity_ - end_);
            if (got == 0) {
                at_end_ = true;
                break;
            }
            end_ += got;
        }
        // NUL stops the scan: the end of the buffer needs no test of its own.
        std::memset(buffer_.get() + end_, 0, 64);
    }

    void seek(std::size_t pos) {
        pos_ = pos;
        block_ = pos / 64 * 64;
        mask_ = block_ < end_ ? scan_(buffer_.get() + block_) & (~std::uint64_t{0} << (pos % 64)) : 0;
        // A block that ends before its first mark leaves mask_ zero; the scan then goes on with the next one.
    }

    /// One row. Header: all fields go to header_.
    template <bool Header>
    bool parse_row() {
        for (;;) {
            if (pos_ >= end_) {
                if (at_end_) return false;
                refill(pos_);
                seek(0);
                continue;
            }
            row_line_ = line_;
            const outcome o = scan_row<Header>();
            if (o == outcome::row) return true;
            if (o == outcome::need_data) {
                refill(pos_);
                seek(0);
            }
        }
    }

    enum class outcome { row, blank, need_data };

    template <bool Header>
    outcome scan_row() {
        char* const b = buffer_.get();
        const std::size_t row = pos_;
        const char delimiter = options_.delimiter;
        const std::size_t n_columns = fields_.empty() ? 0 : fields_.size() - 1;
        std::string_view* const fields = fields_.data();
        std::size_t block = block_, n = 0, field = row, close = k_unread, line_start = row;
        std::uint64_t mask = mask_;
        std::int64_t line = line_;
        bool quoted = false, escaped = false;
        if constexpr (Header) header_.clear();
        escaped_.clear();

        // Ends the field that runs to `stop`. Fields beyond the header's go to one spare place: they are counted, then refused.
        const auto put = [&](std::size_t stop) {
            if (close == k_unread) {
                if constexpr (Header) header_.emplace_back(b + field, stop - field);
                else fields[std::min(n, n_columns)] = std::string_view(b + field, stop - field);
            } else {
                if (close + 1 != stop) {
                    throw parse_error(name(), line, static_cast<std::int64_t>(close + 2 - line_start),
                                      "text behind a closing quote, in field " + std::to_string(n + 1));
                }
                const std::size_t size = close - field - 1;
                close = k_unread;
                if constexpr (Header) {
                    header_.emplace_back(b + field + 1, size);
                    if (escaped) header_.back().resize(unescape(header_.back().data(), size));
                } else {
                    fields[std::min(n, n_columns)] = std::string_view(b + field + 1, size);
                    if (escaped) escaped_.push_back(std::min(n, n_columns));
                }
                escaped = false;
            }
            ++n;
        };

        for (;;) {
            while (mask == 0) {
                block += 64;
                mask = scan_(b + block);
            }
            const std::size_t p = block + static_cast<std::size_t>(std::countr_zero(mask));
            mask &= mask - 1;
            const char c = b[p];
            if (c == delimiter) {
                if (quoted) continue;
                put(p);
                field = p + 1;
            } else if (c == '\n') {
                if (quoted) {
                    ++line;
                    line_start = p + 1;
                    continue;
                }
                const bool carriage = p > field && b[p - 1] == '\r';
                const std::size_t stop = carriage ? p - 1 : p;
                const bool blank = n == 0 && stop == row;
                if (!blank) put(stop);
                pos_ = p + 1, block_ = block, mask_ = mask, line_ = line + 1;
                if (blank) return outcome::blank;
                break;
            } else if (c == '"') {
                if (!options_.quoting) continue;
                if (!quoted) {
                    if (p != field || close != k_unread) continue;
                    quoted = true;
                } else if (p + 1 >= end_ && !at_end_) {
                    return outcome::need_data;
                } else if (b[p + 1] == '"' && p + 1 < end_) {
                    escaped = true;
                    if (mask == 0) {
                        block += 64;
                        mask = scan_(b + block);
                    }
                    mask &= mask - 1;  // the second quote of the pair
                } else {
                    quoted = false;
                    close = p;
                }
            } else {
                if (p < end_) {
                    throw parse_error(name(), line, static_cast<std::int64_t>(p - line_start) + 1, "NUL byte; is this a text file?");
                }
                if (!at_end_) return outcome::need_data;
                if (quoted) throw parse_error(name(), row_line_, 0, "a quote in the row that begins here is never closed");
                std::size_t stop = end_;
                if (stop > field && b[stop - 1] == '\r') --stop;
                if (n == 0 && stop == row) {
                    pos_ = end_;
                    return outcome::blank;
                }
                put(stop);
                pos_ = end_;
                break;
            }
        }
        if constexpr (Header) {
            first_row_ = row;
        } else {
            if (n != n_columns) {
                throw parse_error(name(), row_line_, 0, "has " + std::to_string(n) + " fields, the header has " + std::to_string(n_columns));
            }
            for (std::size_t place : escaped_) {
                std::string_view& f = fields[place];
                f = f.substr(0, unescape(b + (f.data() - b), f.size()));
            }
        }
        return outcome::row;
    }

    /// Doubled quotes become single ones, in place; returns the new size.
    static std::size_t unescape(char* text, std::size_t size) {
        std::size_t out = 0;
        for (std::size_t i = 0; i < size; ++i) {
            text[out++] = text[i];
            if (text[i] == '"') ++i;
        }
        return out;
    }

    /// Without surrounding blanks and a leading plus, which from_chars does not take.
    std::string_view plain_number(std::size_t column) const {
        std::string_view s = (*this)[column];
        while (!s.empty() && s.front() == ' ') s.remove_prefix(1);
        while (!s.empty() && s.back() == ' ') s.remove_suffix(1);
        if (s.size() > 1 && s.front() == '+' && s[1] != '-') s.remove_prefix(1);
        return s;
    }
    parse_error not_a(std::size_t column, const char* kind) const {
        return error_here("column '" + options_.columns[column] + "': '" + std::string((*this)[column].substr(0, 60)) + "' is no " + kind);
    }
    parse_error no_column(std::string_view wanted, const std::vector<std::string>& names) const {
        std::string message = "has no column '" + std::string(wanted) + "'; its columns are: ";
        for (std::size_t i = 0; i < names.size(); ++i) message += (i ? ", " : "") + names[i];
        return parse_error(name(), message);
    }

    io::input_file in_;
    csv_options options_;
    csv_scanner scan_;
    std::vector<std::string> header_;
    std::vector<std::string_view> fields_;    // of the current row, all of them, and one spare place
    std::vector<std::size_t> places_;         // where in fields_ the columns that are read lie
    std::vector<std::size_t> escaped_;        // places whose text has doubled quotes
    std::size_t capacity_;
    std::unique_ptr<char[]> buffer_;          // 64 bytes more than capacity_
    std::size_t pos_ = 0, end_ = 0, block_ = 0;
    std::uint64_t mask_ = 0;                  // marks of block_ that are still to come
    std::size_t first_row_ = 0;
    std::int64_t line_ = 1, row_line_ = 1;
    bool at_end_ = false;
};

}  // namespace instar::data

#endif
