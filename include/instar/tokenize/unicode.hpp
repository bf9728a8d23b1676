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
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "instar/core/error.hpp"
#include "instar/tokenize/detail/unicode_categories.hpp"
#include "instar/tokenize/detail/unicode_decomposition.hpp"
#include "instar/tokenize/detail/unicode_lower_case.hpp"

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

inline constexpr char32_t k_s_base = 0xAC00, k_l_base = 0x1100, k_v_base = 0x1161, k_t_base = 0x11A7;
inline constexpr char32_t k_l_count = 19, k_v_count = 21, k_t_count = 28, k_s_count = k_l_count * k_v_count * k_t_count;

/// What a code point becomes; `from` by itself in a sorted table.
struct mapping {
    char32_t from;
    char32_t to[4];  // 0 = none
};
struct composition {
    char32_t first, second, composed;
    friend bool operator<(const composition& a, const composition& b) { return a.first != b.first ? a.first < b.first : a.second < b.second; }
};

/// Everything that the generated tables imply, worked out once, on first use.
struct tables {
    std::vector<std::uint8_t> pages = std::vector<std::uint8_t>(256);         // flags, 256 code points a page; those without any share the first
    std::vector<std::uint32_t> page_begin = std::vector<std::uint32_t>(0x1100);
    std::vector<mapping> lower, decomposition;  // decompositions in full, Hangul syllables left out
    std::vector<composition> compositions;

    tables() {
        using namespace tokenize::detail;
        for (const auto& r : k_unicode_flags) mark(r.first, r.last, r.value);
        for (const auto& r : k_unicode_lower) {
            for (std::uint32_t c = r.first; c <= r.last; c += r.step) lower.push_back({c, {static_cast<char32_t>(static_cast<std::int64_t>(c) + r.distance)}});
        }
        for (const auto& p : k_unicode_lower_pairs) lower.push_back({p.from, {p.first, p.second}});
        sort(lower);
        for (const mapping& m : lower) mark(m.from, m.from, lowered);

        for (const auto& r : k_unicode_combining) mark(r.first, r.last, normalised);
        mark(k_s_base, k_s_base + k_s_count - 1, normalised);
        for (const auto& s : k_unicode_both_ways) {
            decomposition.push_back({s.from, {s.first, s.second}});
            compositions.push_back({s.first, s.second, s.from});
        }
        for (const auto& s : k_unicode_one_way) decomposition.push_back({s.from, {s.first, s.second}});
        sort(decomposition);
        std::sort(compositions.begin(), compositions.end());
        for (const mapping& m : decomposition) mark(m.from, m.from, normalised);
        // In full: only the first of two code points decomposes further, and from there on what it became is in full already or becomes so.
        for (mapping& m : decomposition) {
            while (const mapping* further = find(decomposition, m.to[0])) {
                char32_t whole[4] = {};
                std::size_t n = 0;
                for (const char32_t c : further->to) {
                    if (c != 0) whole[n++] = c;
                }
                for (const char32_t c : {m.to[1], m.to[2], m.to[3]}) {
                    if (c != 0) whole[n++] = c;
                }
                std::copy_n(whole, 4, m.to);
            }
        }
    }

    static const mapping* find(const std::vector<mapping>& table, char32_t c) {
        const auto at = std::lower_bound(table.begin(), table.end(), c, [](const mapping& row, char32_t x) { return row.from < x; });
        return at != table.end() && at->from == c ? &*at : nullptr;
    }

private:
    void mark(std::uint32_t first, std::uint32_t last, std::uint8_t value) {
        for (std::uint32_t c = first; c <= last; ++c) {
            std::uint32_t& begin = page_begin[c >> 8];
            if (begin == 0) {
                begin = static_cast<std::uint32_t>(pages.size());
                pages.resize(pages.size() + 256);
            }
            std::uint8_t& flags = pages[begin + (c & 255)];
            flags = static_cast<std::uint8_t>(flags | value);
        }
    }
    static void sort(std::vector<mapping>& table) {
        std::sort(table.begin(), table.end(), [](const mapping& a, const mapping& b) { return a.from < b.from; });
    }
};

inline const tables& all() {
    static const tables t;
    return t;
}

/// The composition of two code points, 0 when they have none.
inline char32_t composed(char32_t a, char32_t b) {
    if (a >= k_l_base && a < k_l_base + k_l_count && b >= k_v_base && b < k_v_base + k_v_count) {
        return k_s_base + ((a - k_l_base) * k_v_count + (b - k_v_base)) * k_t_count;
    }
    if (a >= k_s_base && a < k_s_base + k_s_count && (a - k_s_base) % k_t_count == 0 && b > k_t_base && b < k_t_base + k_t_count) {
        return a + (b - k_t_base);
    }
    const auto& table = all().compositions;
    const auto at = std::lower_bound(table.begin(), table.end(), composition{a, b, 0});
    return at != table.end() && at->first == a && at->second == b ? at->composed : 0;
}

}  // namespace detail

/// The flags of a code point; 0 for one that is unassigned, a surrogate or out of range.
inline std::uint8_t flags(char32_t c) {
    static const detail::tables& table = detail::all();
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
    const auto& table = detail::all().lower;
    std::size_t expanded = 0;
    for (auto& p : text.points) {
        if ((flags(p.code) & lowered) == 0) continue;
        const auto& to = detail::tables::find(table, p.code)->to;
        if (to[1] == 0) p.code = to[0];
        else ++expanded;
    }
    if (expanded == 0) return;
    traced_text out;
    for (const auto& p : text.points) {
        const detail::mapping* m = (flags(p.code) & lowered) != 0 ? detail::tables::find(table, p.code) : nullptr;
        if (m == nullptr || m->to[1] == 0) {
            out.points.push_back(p);
            continue;
        }
        for (int i = 0; i < 4 && m->to[i] != 0; ++i) out.points.push_back({m->to[i], p.begin, p.end});
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
        } else if (const detail::mapping* m = detail::tables::find(detail::all().decomposition, p.code)) {
            for (int i = 0; i < 4 && m->to[i] != 0; ++i) put(m->to[i]);
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
