#ifndef INSTAR_EXAMPLES_COMMON_TABLE_HPP
#define INSTAR_EXAMPLES_COMMON_TABLE_HPP

// A compact text table for the terminal: first column to the left, the others to the right.
//
//     examples::text_table t({"encoder", "species"});
//     t.add_row({"5-mer counts", "99.32"});
//     std::cout << t.text();

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "instar/core/error.hpp"
#include "instar/io/json_text.hpp"

namespace examples {

/// Columns that a UTF-8 text takes in a terminal: none for combining marks and joiners, two for East Asian wide characters and
/// emoji. A byte that is no UTF-8 takes one.
inline std::size_t display_width(std::string_view s) {
    const auto in = [](char32_t c, char32_t first, char32_t last) { return c >= first && c <= last; };
    std::size_t width = 0;
    while (!s.empty()) {
        const std::size_t n = instar::io::detail::utf8_length(s);
        const auto byte = [&](std::size_t i) { return static_cast<char32_t>(static_cast<unsigned char>(s[i])); };
        char32_t c = n > 1 ? byte(0) & (0xffu >> (n + 1)) : U'x';
        for (std::size_t i = 1; i < n; ++i) c = c << 6 | (byte(i) & 0x3f);
        const bool none = in(c, 0x300, 0x36f) || in(c, 0x1ab0, 0x1aff) || in(c, 0x20d0, 0x20ff) || in(c, 0x200b, 0x200f) || in(c, 0xfe00, 0xfe0f);
        const bool wide = in(c, 0x1100, 0x115f) || in(c, 0x2e80, 0xa4cf) || in(c, 0xac00, 0xd7a3) || in(c, 0xf900, 0xfaff) || in(c, 0xfe30, 0xfe6f) ||
                          in(c, 0xff00, 0xff60) || in(c, 0xffe0, 0xffe6) || in(c, 0x1f300, 0x1faff) || in(c, 0x20000, 0x3fffd);
        width += none ? 0 : wide ? 2 : 1;
        s.remove_prefix(n == 0 ? 1 : n);
    }
    return width;
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
