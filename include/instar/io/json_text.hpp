#ifndef INSTAR_IO_JSON_TEXT_HPP
#define INSTAR_IO_JSON_TEXT_HPP

// Writing JSON needs no JSON library: strings and numbers as text. What reads JSON is io/json.hpp.
//
//     std::string line = "{\"loss\": ";
//     io::append_json_number(line, 0.25);
//     io::append_json_string(line, name);        // quoted and escaped

#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace instar::io {

namespace detail {

/// Bytes of the well-formed UTF-8 sequence at the front of a text; 0 when there is none (RFC 3629: no overlong forms, no
/// surrogates, nothing above U+10FFFF).
inline std::size_t utf8_length(std::string_view s) noexcept {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(s[i]); };
    const auto continues = [&](std::size_t i) { return i < s.size() && (byte(i) & 0xc0) == 0x80; };
    if (s.empty()) return 0;
    const unsigned char b = byte(0);
    if (b < 0x80) return 1;
    if (b >= 0xc2 && b <= 0xdf) return continues(1) ? 2 : 0;
    if (b >= 0xe0 && b <= 0xef) {
        if (!continues(1) || !continues(2)) return 0;
        if ((b == 0xe0 && byte(1) < 0xa0) || (b == 0xed && byte(1) > 0x9f)) return 0;
        return 3;
    }
    if (b >= 0xf0 && b <= 0xf4) {
        if (!continues(1) || !continues(2) || !continues(3)) return 0;
        if ((b == 0xf0 && byte(1) < 0x90) || (b == 0xf4 && byte(1) > 0x8f)) return 0;
        return 4;
    }
    return 0;
}

}  // namespace detail

/// Whether a text is well-formed UTF-8.
inline bool is_utf8(std::string_view s) noexcept {
    while (!s.empty()) {
        const std::size_t n = detail::utf8_length(s);
        if (n == 0) return false;
        s.remove_prefix(n);
    }
    return true;
}

/// Appends a quoted, escaped string. A byte that is no UTF-8 becomes U+FFFD, as every browser and editor does it.
inline void append_json_string(std::string& out, std::string_view s) {
    static constexpr char k_hex[] = "0123456789abcdef";
    out += '"';
    while (!s.empty()) {
        const std::size_t n = detail::utf8_length(s);
        const char c = s[0];
        if (n == 0) {
            out += "\xef\xbf\xbd";
        } else if (n > 1) {
            out += s.substr(0, n);
        } else if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (c == '\n') {
            out += "\\n";
        } else if (c == '\t') {
            out += "\\t";
        } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
            out += "\\u00";
            out += k_hex[static_cast<unsigned char>(c) >> 4];
            out += k_hex[static_cast<unsigned char>(c) & 15];
        } else {
            out += c;
        }
        s.remove_prefix(n == 0 ? 1 : n);
    }
    out += '"';
}

/// Appends the shortest text that reads back as the same double; null for NaN and infinities, which JSON lacks.
inline void append_json_number(std::string& out, double v) {
    if (!std::isfinite(v)) {
        out += "null";
        return;
    }
    char text[32];
    out.append(text, std::to_chars(text, text + sizeof text, v).ptr);
}
inline void append_json_number(std::string& out, std::int64_t v) { out += std::to_string(v); }
inline void append_json_number(std::string& out, std::uint64_t v) { out += std::to_string(v); }

}  // namespace instar::io

#endif
