#ifndef INSTAR_DATA_FASTA_HPP
#define INSTAR_DATA_FASTA_HPP

// FASTA files, plain or gz: record by record, or all at once; and writing them.
//
//     data::fasta_reader in("barcodes.fasta.gz");
//     data::fasta_record r;
//     while (in.next(r)) use(r.id, r.sequence);
//
//     auto records = data::read_fasta("barcodes.fasta");
//     data::write_fasta("out.fasta", records);
//
// A record is a line ">id description" and any number of sequence lines. Letters keep their case; letters, '-', '*' and '.'
// are sequence, blanks between them are not. data/sequence.hpp turns what people send into A, C, G, T and N.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "instar/core/error.hpp"
#include "instar/io/gzip.hpp"

namespace instar::data {

struct fasta_record {
    std::string id;           ///< up to the first blank of the header
    std::string description;  ///< the rest of it
    std::string sequence;
    std::int64_t line = 0;    ///< of the header, 1-based
};

/// Reader of one file, in memory of one record.
///
/// Throws io_error (see io::input_file) and parse_error with file and line for: an empty file, sequence before the first
/// header, a header without an id, a record without sequence, a NUL byte, a character that is no sequence (with its column).
class fasta_reader {
public:
    explicit fasta_reader(const std::string& path) : fasta_reader(io::input_file(path)) {}
    explicit fasta_reader(io::input_file in) : in_(std::move(in)), buffer_(k_buffer, '\0') {}

    const std::string& name() const noexcept { return in_.name(); }

    /// The next record; false behind the last one. The strings of `record` are reused.
    bool next(fasta_record& record) {
        if (!started_) {
            started_ = true;
            skip_to_first_header();
        }
        if (!has_header_) return false;
        record.line = header_line_;
        split_header(record);
        record.sequence.clear();
        has_header_ = false;
        while (next_line()) {
            if (!line_.empty() && line_[0] == '>') {
                has_header_ = true;
                header_ = line_.substr(1);
                header_line_ = n_lines_;
                break;
            }
            append(record.sequence);
        }
        if (record.sequence.empty()) throw parse_error(name(), record.line, 0, "record '" + record.id + "' has no sequence");
        return true;
    }

private:
    static constexpr std::size_t k_buffer = std::size_t{1} << 18;

    void skip_to_first_header() {
        bool any = false;
        while (next_line()) {
            if (!any && line_.starts_with("\xEF\xBB\xBF")) line_.erase(0, 3);
            any = true;
            if (line_.find_first_not_of(" \t") == std::string::npos) continue;
            if (line_[0] != '>') {
                check_bytes();
                throw parse_error(name(), n_lines_, 1, "sequence before the first header; a header begins with '>'");
            }
            has_header_ = true;
            header_ = line_.substr(1);
            header_line_ = n_lines_;
            return;
        }
        throw parse_error(name(), any ? "has only blank lines" : "is empty");
    }

    void split_header(fasta_record& record) const {
        const std::size_t nul = header_.find('\0');
        if (nul != std::string::npos) throw parse_error(name(), header_line_, static_cast<std::int64_t>(nul) + 2, "NUL byte; is this a text file?");
        const std::size_t end = std::min(header_.find_first_of(" \t"), header_.size());
        if (end == 0) throw parse_error(name(), header_line_, 1, "a header without an id");
        record.id.assign(header_, 0, end);
        const std::size_t rest = header_.find_first_not_of(" \t", end);
        record.description.clear();
        if (rest != std::string::npos) record.description.assign(header_, rest, std::string::npos);
        while (!record.description.empty() && (record.description.back() == ' ' || record.description.back() == '\t')) record.description.pop_back();
    }

    void append(std::string& sequence) const {
        const std::size_t before = sequence.size();
        bool clean = true;
        for (char c : line_) clean = clean && is_sequence(c);
        if (clean) {
            sequence += line_;
            return;
        }
        check_bytes();
        for (std::size_t i = 0; i < line_.size(); ++i) {
            const char c = line_[i];
            if (c == ' ' || c == '\t') continue;
            if (!is_sequence(c)) {
                sequence.resize(before);
                const auto byte = static_cast<unsigned char>(c);
                const std::string shown = byte > 32 && byte < 127 ? std::string("'") + c + "'" : "byte " + std::to_string(byte);
                throw parse_error(name(), n_lines_, static_cast<std::int64_t>(i) + 1, shown + " is no part of a sequence");
            }
            sequence += c;
        }
    }
    static bool is_sequence(char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' || c == '*' || c == '.'; }

    void check_bytes() const {
        const std::size_t nul = line_.find('\0');
        if (nul != std::string::npos) throw parse_error(name(), n_lines_, static_cast<std::int64_t>(nul) + 1, "NUL byte; is this a text file?");
    }

    /// The next line, without its LF or CRLF.
    bool next_line() {
        line_.clear();
        bool any = false;
        for (;;) {
            if (pos_ == end_) {
                end_ = in_.read(buffer_.data(), buffer_.size());
                pos_ = 0;
                if (end_ == 0) break;
            }
            any = true;
            const char* const begin = buffer_.data() + pos_;
            const auto* const stop = static_cast<const char*>(std::memchr(begin, '\n', end_ - pos_));
            const std::size_t n = stop != nullptr ? static_cast<std::size_t>(stop - begin) : end_ - pos_;
            line_.append(begin, n);
            pos_ += n;
            if (stop != nullptr) {
                ++pos_;
                break;
            }
        }
        if (!any) return false;
        if (!line_.empty() && line_.back() == '\r') line_.pop_back();
        ++n_lines_;
        return true;
    }

    io::input_file in_;
    std::string buffer_, line_, header_;
    std::size_t pos_ = 0, end_ = 0;
    std::int64_t n_lines_ = 0, header_line_ = 0;
    bool started_ = false, has_header_ = false;
};

/// All records of a file.
inline std::vector<fasta_record> read_fasta(io::input_file in) {
    fasta_reader reader(std::move(in));
    std::vector<fasta_record> records;
    for (fasta_record r; reader.next(r);) records.push_back(r);
    return records;
}
inline std::vector<fasta_record> read_fasta(const std::string& path) { return read_fasta(io::input_file(path)); }

/// Appends one record to `text`, `width` letters a line (0 = all in one). Throws value_error where reading it back would give
/// something else: an id that is empty or holds a blank or a line end, a description with a line end, an empty sequence.
inline void append_fasta(std::string& text, const fasta_record& record, std::size_t width = 0) {
    const std::string_view id = record.id, description = record.description, sequence = record.sequence;
    constexpr std::string_view line_ends("\n\r\0", 3);
    if (id.empty() || id.find_first_of(" \t") != std::string_view::npos || id.find_first_of(line_ends) != std::string_view::npos) {
        throw value_error("append_fasta: '" + record.id + "' cannot be an id: empty, or with a blank or a line end");
    }
    if (description.find_first_of(line_ends) != std::string_view::npos) throw value_error("append_fasta: the description of '" + record.id + "' holds a line end");
    if (sequence.empty()) throw value_error("append_fasta: record '" + record.id + "' has no sequence");
    const auto letter = [](char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' || c == '*' || c == '.'; };
    if (!std::all_of(sequence.begin(), sequence.end(), letter)) throw value_error("append_fasta: the sequence of '" + record.id + "' holds something else than letters, '-', '*' and '.'");
    text += '>';
    text += id;
    if (!description.empty()) {
        text += ' ';
        text += description;
    }
    text += '\n';
    if (width == 0) width = sequence.size();
    for (std::size_t i = 0; i < sequence.size(); i += width) {
        text += sequence.substr(i, width);
        text += '\n';
    }
}

/// Writes a file aside and renames it. Throws as append_fasta and io::atomic_file do; then the old file is as it was.
inline void write_fasta(const std::string& path, std::span<const fasta_record> records, std::size_t width = 0) {
    io::atomic_file file(path);
    std::string text;
    for (const fasta_record& r : records) {
        text.clear();
        append_fasta(text, r, width);
        file.write(text);
    }
    file.commit();
}

}  // namespace instar::data

#endif
