#ifndef INSTAR_EXAMPLES_COMMON_TABLE_HPP
#define INSTAR_EXAMPLES_COMMON_TABLE_HPP

// A compact text table for the terminal: first column to the left, the others to the right.
//
//     examples::text_table t({"encoder", "species"});
//     t.add_row({"5-mer counts", "99.32"});
//     std::cout << t.text();

#include <algorithm>
#include <string>
#include <vector>

#include "instar/core/error.hpp"

namespace examples {

/// Columns that a UTF-8 text takes in a terminal, for texts without combining or wide characters.
inline std::size_t display_width(const std::string& s) {
    return static_cast<std::size_t>(std::count_if(s.begin(), s.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0u) != 0x80u; }));
}

class text_table {
public:
    explicit text_table(std::vector<std::string> header) { rows_.push_back(std::move(header)); }

    void add_row(std::vector<std::string> row) {
        if (row.size() != rows_[0].size()) {
            throw instar::value_error("text_table: a row of " + std::to_string(row.size()) + " cells under " + std::to_string(rows_[0].size()) + " columns");
        }
        rows_.push_back(std::move(row));
    }

    std::string text() const {
        std::vector<std::size_t> width(rows_[0].size(), 0);
        for (const auto& row : rows_) {
            for (std::size_t c = 0; c < row.size(); ++c) width[c] = std::max(width[c], display_width(row[c]));
        }
        std::string s;
        for (std::size_t r = 0; r < rows_.size(); ++r) {
            std::string line;
            for (std::size_t c = 0; c < width.size(); ++c) {
                const std::string pad(width[c] - display_width(rows_[r][c]), ' ');
                line += c == 0 ? rows_[r][c] + pad : "  " + pad + rows_[r][c];
            }
            s += line.substr(0, line.find_last_not_of(' ') + 1) + '\n';
            if (r == 0) {
                for (std::size_t c = 0; c < width.size(); ++c) {
                    if (c) s += "  ";
                    for (std::size_t i = 0; i < width[c]; ++i) s += "─";
                }
                s += '\n';
            }
        }
        return s;
    }

private:
    std::vector<std::vector<std::string>> rows_;
};

}  // namespace examples

#endif
