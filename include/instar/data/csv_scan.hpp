#ifndef INSTAR_DATA_CSV_SCAN_HPP
#define INSTAR_DATA_CSV_SCAN_HPP

// Finding the bytes that mean something in a delimited text, 64 at a time.
//
//     data::csv_scanner scan(',');
//     std::uint64_t bits = scan(text);     // bit i: text[i] is the delimiter, a quote, a line feed or NUL
//
// Two versions with the same result: SSE2, which every x86-64 has, and plain 64-bit words.

#include <bit>
#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace instar::data {

namespace detail {

/// Portable version: eight bytes a word.
struct scan_words {
    explicit scan_words(char delimiter) : delimiter_(repeat(static_cast<unsigned char>(delimiter))) {}

    std::uint64_t operator()(const char* text) const {
        std::uint64_t bits = 0;
        for (int i = 0; i < 8; ++i) {
            std::uint64_t w;
            std::memcpy(&w, text + 8 * i, 8);
            const std::uint64_t marks = zero_bytes(w ^ delimiter_) | zero_bytes(w ^ repeat('"')) | zero_bytes(w ^ repeat('\n')) | zero_bytes(w);
            bits |= gather(marks) << (8 * i);
        }
        return bits;
    }

private:
    static constexpr std::uint64_t repeat(unsigned char c) { return 0x0101010101010101u * c; }
    /// 0x80 in every byte of w that is zero, 0 elsewhere; exact, unlike the shorter formula that carries over.
    static constexpr std::uint64_t zero_bytes(std::uint64_t w) {
        constexpr std::uint64_t low = 0x7f7f7f7f7f7f7f7fu;
        return ~(((w & low) + low) | w | low);
    }
    /// The top bits of the eight bytes, first byte of memory first.
    static constexpr std::uint64_t gather(std::uint64_t marks) {
        if constexpr (std::endian::native == std::endian::little) return ((marks >> 7) * 0x0102040810204080u) >> 56;
        else return ((marks >> 7) * 0x8040201008040201u) >> 56;
    }
    std::uint64_t delimiter_;
};

#if defined(__SSE2__)
struct scan_sse2 {
    explicit scan_sse2(char delimiter) : delimiter_(_mm_set1_epi8(delimiter)) {}

    std::uint64_t operator()(const char* text) const {
        return part(text) | part(text + 16) << 16 | part(text + 32) << 32 | part(text + 48) << 48;
    }

private:
    std::uint64_t part(const char* text) const {
        __m128i c;
        std::memcpy(&c, text, 16);
        const __m128i hit = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(c, delimiter_), _mm_cmpeq_epi8(c, _mm_set1_epi8('"'))),
                                         _mm_or_si128(_mm_cmpeq_epi8(c, _mm_set1_epi8('\n')), _mm_cmpeq_epi8(c, _mm_setzero_si128())));
        return static_cast<std::uint32_t>(_mm_movemask_epi8(hit));
    }
    __m128i delimiter_;
};
#endif

}  // namespace detail

#if defined(__SSE2__)
using csv_scanner = detail::scan_sse2;
#else
using csv_scanner = detail::scan_words;
#endif

}  // namespace instar::data

#endif
