#ifndef INSTAR_TOKENIZE_UNICODE_HPP
#define INSTAR_TOKENIZE_UNICODE_HPP

// What tokenizers need of Unicode: UTF-8, categories, lower case, canonical decomposition and composition.
//
//     auto text = tokenize::unicode::decode("Kantō");           // code points, and the bytes each came from
//     tokenize::unicode::decompose(text);                       // NFD: "Kanto" and a macron
//     tokenize::unicode::compose(text);                         // NFC: back again
//     std::string s = tokenize::unicode::encode(text);
//
// The tables are made by scripts/generate_unicode.py from the Unicode character database (15.0). Control, punctuation and accent are
// those of Unicode 8.0, as in the tables of Hugging Face's BERT normaliser: a code point assigned later is none of them.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "instar/core/error.hpp"
#include "instar/tokenize/detail/unicode_tables.hpp"

namespace instar::tokenize::unicode {

/// Bits of `flags`.
enum flag : std::uint8_t {
    control = 1,      ///< categories Cc, Cf, Co; Unicode 8.0
    space = 2,        ///< White_Space
    punctuation = 4,  ///< P*; Unicode 8.0. ASCII symbols such as $ are no punctuation here
    accent = 8,       ///< Mn; Unicode 8.0
    letter = 16,      ///< L*
    number = 32,      ///< N*
    lowered = 64,     ///< has another lower case
    normalised = 128  ///< decomposes, or has a combining class
};

namespace detail {

/// Two-level table of flags, filled on first use from the ranges: 256 code points a page, equal pages of zeros shared.
struct flag_table {
    std::vector<std::uint8_t> pages = std::vector<std::uint8_t>(256);
    std::vector<std::uint32_t> page_begin = std::vector<std::uint32_t>(0x1100);

    flag_table() {
        for (const auto& r : tokenize::detail::k_unicode_flags) {
            for (std::uint32_t c = r.first; c <= r.last; ++c) {
                std::uint32_t& begin = page_begin[c >> 8];
                if (begin == 0) {
                    begin = static_cast<std::uint32_t>(pages.size());
                    pages.resize(pages.size() + 256);
                }
                pages[begin + (c & 255)] = r.value;
            }
        }
    }
};

inline const flag_table& flags() {
    static const flag_table table;
    return table;
}

template <std::size_t N>
const std::uint32_t* find(const tokenize::detail::unicode_mapping (&table)[N], char32_t c) {
    const auto* at = std::lower_bound(std::begin(table), std::end(table), c, [](const auto& row, char32_t x) { return row.from < x; });
    return at != std::end(table) && at->from == c ? at->to : nullptr;
}

inline constexpr char32_t k_s_base = 0xAC00, k_l_base = 0x1100, k_v_base = 0x1161, k_t_base = 0x11A7;
inline constexpr char32_t k_l_count = 19, k_v_count = 21, k_t_count = 28, k_s_count = k_l_count * k_v_count * k_t_count;

/// The composition of two code points, 0 when they have none.
inline char32_t composed(char32_t a, char32_t b) {
    if (a >= k_l_base && a < k_l_base + k_l_count && b >= k_v_base && b < k_v_base + k_v_count) {
        return k_s_base + ((a - k_l_base) * k_v_count + (b - k_v_base)) * k_t_count;
    }
    if (a >= k_s_base && a < k_s_base + k_s_count && (a - k_s_base) % k_t_count == 0 && b > k_t_base && b < k_t_base + k_t_count) {
        return a + (b - k_t_base);
    }
    const auto& table = tokenize::detail::k_unicode_compositions;
    const auto* at = std::lower_bound(std::begin(table), std::end(table), std::pair(a, b),
                                      [](const auto& row, const auto& x) { return row.first != x.first ? row.first < x.first : row.second < x.second; });
    return at != std::end(table) && at->first == a && at->second == b ? at->composed : 0;
}

}  // namespace detail

/// The flags of a code point; 0 for one that is unassigned, a surrogate or out of range.
inline std::uint8_t flags(char32_t c) {
    static const detail::flag_table& table = detail::flags();
    return c < 0x110000 ? table.pages[table.page_begin[c >> 8] + (c & 255)] : std::uint8_t{0};
}

/// Canonical combining class.
inline std::uint8_t combining_class(char32_t c) {
    if ((flags(c) & normalised) == 0) return 0;
    const auto& table = tokenize::detail::k_unicode_combining;
    const auto* at = std::lower_bound(std::begin(table), std::end(table), c, [](const auto& row, char32_t x) { return row.last < x; });
    return at != std::end(table) && at->first <= c ? at->value : std::uint8_t{0};
}

/// Appends the UTF-8 of a code point.
inline void append(std::string& s, char32_t c) {
    const auto put = [&s](char32_t byte) { s += static_cast<char>(static_cast<unsigned char>(byte)); };
    if (c < 0x80) return put(c);
    if (c < 0x800) {
        put(0xC0 | c >> 6);
    } else {
        if (c < 0x10000) {
            put(0xE0 | c >> 12);
        } else {
            put(0xF0 | c >> 18);
            put(0x80 | (c >> 12 & 63));
        }
        put(0x80 | (c >> 6 & 63));
    }
    put(0x80 | (c & 63));
}

/// Code points, each with the bytes of the original text that it came from: [begin, end).
struct traced_text {
    struct code_point {
        char32_t code;
        std::uint32_t begin, end;
    };
    std::vector<code_point> points;
};

/// The code point at byte `at`, and its length; length 0 when the bytes there are not well-formed UTF-8 (overlong forms, surrogates
/// and values above U+10FFFF are not).
struct decoded {
    char32_t code;
    std::uint32_t length;
};
inline decoded decode_at(std::string_view s, std::size_t at) {
    const auto byte = [&](std::size_t i) { return i < s.size() ? static_cast<unsigned char>(s[i]) : 0u; };
    const char32_t a = byte(at);
    if (a < 0x80) return {a, 1};
    const auto more = [&](std::size_t i) { return (byte(at + i) & 0xC0) == 0x80; };
    if (a >= 0xC2 && a < 0xE0 && more(1)) return {(a & 31) << 6 | (byte(at + 1) & 63), 2};
    if (a >= 0xE0 && a < 0xF0 && more(1) && more(2)) {
        const char32_t c = (a & 15) << 12 | (byte(at + 1) & 63) << 6 | (byte(at + 2) & 63);
        if (c >= 0x800 && !(c >= 0xD800 && c < 0xE000)) return {c, 3};
    }
    if (a >= 0xF0 && a < 0xF5 && more(1) && more(2) && more(3)) {
        const char32_t c = (a & 7) << 18 | (byte(at + 1) & 63) << 12 | (byte(at + 2) & 63) << 6 | (byte(at + 3) & 63);
        if (c >= 0x10000 && c < 0x110000) return {c, 4};
    }
    return {0, 0};
}

/// Appends a text's code points; offsets start at `offset`. Throws value_error, with the byte, for anything that is not UTF-8.
inline void decode(std::string_view s, traced_text& out, std::uint32_t offset = 0) {
    for (std::size_t i = 0; i < s.size();) {
        const auto [code, length] = decode_at(s, i);
        if (length == 0) throw value_error("invalid UTF-8 at byte " + std::to_string(offset + i));
        const auto begin = static_cast<std::uint32_t>(offset + i);
        out.points.push_back({code, begin, begin + length});
        i += length;
    }
}
inline traced_text decode(std::string_view s) {
    traced_text out;
    decode(s, out);
    return out;
}

inline std::string encode(const traced_text& text) {
    std::string s;
    for (const auto& p : text.points) append(s, p.code);
    return s;
}

/// Lower case, code point by code point, full mapping (İ becomes i and a dot above); no context.
inline void to_lower(traced_text& text) {
    std::size_t expanded = 0;
    for (auto& p : text.points) {
        if ((flags(p.code) & lowered) == 0) continue;
        const std::uint32_t* to = detail::find(tokenize::detail::k_unicode_lower, p.code);
        if (to[1] == 0) p.code = to[0];
        else ++expanded;
    }
    if (expanded == 0) return;
    traced_text out;
    for (const auto& p : text.points) {
        const std::uint32_t* to = (flags(p.code) & lowered) != 0 ? detail::find(tokenize::detail::k_unicode_lower, p.code) : nullptr;
        if (to == nullptr || to[1] == 0) {
            out.points.push_back(p);
            continue;
        }
        for (int i = 0; i < 4 && to[i] != 0; ++i) out.points.push_back({to[i], p.begin, p.end});
    }
    text = std::move(out);
}

/// Canonical decomposition, NFD.
inline void decompose(traced_text& text) {
    if (std::none_of(text.points.begin(), text.points.end(), [](const auto& p) { return (flags(p.code) & normalised) != 0; })) return;
    traced_text out;
    out.points.reserve(text.points.size());
    for (const auto& p : text.points) {
        const auto put = [&](char32_t c) { out.points.push_back({c, p.begin, p.end}); };
        if ((flags(p.code) & normalised) == 0) {
            put(p.code);
        } else if (p.code >= detail::k_s_base && p.code < detail::k_s_base + detail::k_s_count) {
            const char32_t s = p.code - detail::k_s_base, t = s % detail::k_t_count;
            put(detail::k_l_base + s / (detail::k_v_count * detail::k_t_count));
            put(detail::k_v_base + s / detail::k_t_count % detail::k_v_count);
            if (t != 0) put(detail::k_t_base + t);
        } else if (const std::uint32_t* to = detail::find(tokenize::detail::k_unicode_decomposition, p.code)) {
            for (int i = 0; i < 4 && to[i] != 0; ++i) put(to[i]);
        } else {
            put(p.code);
        }
    }
    // Marks in the order of their classes, stable; starters (class 0) stay where they are. Only the codes move: offsets stay in order.
    std::vector<std::pair<std::uint32_t, char32_t>> marks;  // class and place in the run; code
    for (std::size_t i = 0; i < out.points.size();) {
        marks.clear();
        for (; i < out.points.size(); ++i) {
            const std::uint32_t its_class = combining_class(out.points[i].code);
            if (its_class == 0) break;
            marks.emplace_back(its_class << 24 | static_cast<std::uint32_t>(marks.size() & 0xFFFFFF), out.points[i].code);
        }
        if (marks.empty()) {
            ++i;
            continue;
        }
        std::sort(marks.begin(), marks.end());
        for (std::size_t k = 0; k < marks.size(); ++k) out.points[i - marks.size() + k].code = marks[k].second;
    }
    text = std::move(out);
}

/// Canonical composition after decomposition, NFC. A composed code point keeps the bytes of its starter.
inline void compose(traced_text& text) {
    decompose(text);
    auto& p = text.points;
    constexpr std::size_t k_none = ~std::size_t{0};
    std::size_t out = 0, starter = k_none;
    int last_class = -1;  // of what stands between the starter and here; −1 = nothing
    for (std::size_t i = 0; i < p.size(); ++i) {
        const int here = combining_class(p[i].code);
        if (starter != k_none && last_class < here) {
            if (const char32_t c = detail::composed(p[starter].code, p[i].code)) {
                p[starter].code = c;
                continue;
            }
        }
        if (here == 0) {
            starter = out;
            last_class = -1;
        } else {
            last_class = here;
        }
        p[out++] = p[i];
    }
    p.resize(out);
}

}  // namespace instar::tokenize::unicode

#endif
