#ifndef INSTAR_DATA_MD5_HPP
#define INSTAR_DATA_MD5_HPP

// MD5, for file names and checksums of published files; not for anything that must be secure.
//
//     data::md5_hex("abc");            // "900150983cd24fb0d6963f7d28e17f72"
//     data::md5 m; m.update(part); m.update(more); auto digest = m.finish();
//
// RFC 1321.

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace instar::data {

/// Running digest. finish() once, then the object is used up.
class md5 {
public:
    void update(std::string_view bytes) {
        n_bytes_ += bytes.size();
        while (!bytes.empty()) {
            const std::size_t n = std::min(bytes.size(), block_.size() - n_held_);
            std::memcpy(block_.data() + n_held_, bytes.data(), n);
            n_held_ += n;
            bytes.remove_prefix(n);
            if (n_held_ == block_.size()) {
                mix();
                n_held_ = 0;
            }
        }
    }
    std::array<unsigned char, 16> finish() {
        const std::uint64_t n_bits = n_bytes_ * 8;
        char tail[72] = {'\x80'};
        const std::size_t n_padding = 1 + (119 - n_bytes_ % 64) % 64;
        for (std::size_t i = 0; i < 8; ++i) tail[n_padding + i] = static_cast<char>((n_bits >> (8 * i)) & 0xff);
        update(std::string_view(tail, n_padding + 8));
        std::array<unsigned char, 16> digest{};
        for (std::size_t i = 0; i < 16; ++i) digest[i] = static_cast<unsigned char>((state_[i / 4] >> (8 * (i % 4))) & 0xff);
        return digest;
    }

private:
    void mix() {
        // Per round: four rotations; per step: ⌊2³² · |sin(step + 1)|⌋.
        static constexpr int k_rotation[16] = {7, 12, 17, 22, 5, 9, 14, 20, 4, 11, 16, 23, 6, 10, 15, 21};
        static constexpr std::uint32_t k_sine[64] = {
            0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501, 0x698098d8, 0x8b44f7af, 0xffff5bb1,
            0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821, 0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453,
            0xd8a1e681, 0xe7d3fbc8, 0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a, 0xfffa3942,
            0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70, 0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05,
            0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665, 0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d,
            0x85845dd1, 0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391};
        std::uint32_t word[16];
        for (std::size_t i = 0; i < 16; ++i) {
            word[i] = 0;
            for (std::size_t j = 0; j < 4; ++j) word[i] |= std::uint32_t{static_cast<unsigned char>(block_[4 * i + j])} << (8 * j);
        }
        auto [a, b, c, d] = state_;
        for (std::uint32_t i = 0; i < 64; ++i) {
            std::uint32_t f = 0, g = 0;
            switch (i / 16) {
            case 0: f = (b & c) | (~b & d), g = i; break;
            case 1: f = (d & b) | (~d & c), g = (5 * i + 1) % 16; break;
            case 2: f = b ^ c ^ d, g = (3 * i + 5) % 16; break;
            default: f = c ^ (b | ~d), g = (7 * i) % 16; break;
            }
            f += a + k_sine[i] + word[g];
            a = d, d = c, c = b;
            b += std::rotl(f, k_rotation[i / 16 * 4 + i % 4]);
        }
        state_[0] += a, state_[1] += b, state_[2] += c, state_[3] += d;
    }

    std::array<std::uint32_t, 4> state_{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
    std::array<char, 64> block_{};
    std::size_t n_held_ = 0;
    std::uint64_t n_bytes_ = 0;
};

/// The digest of a text as 32 hexadecimal digits, lower case.
inline std::string md5_hex(std::string_view bytes) {
    md5 m;
    m.update(bytes);
    std::string hex;
    for (unsigned char byte : m.finish()) {
        hex += "0123456789abcdef"[byte >> 4];
        hex += "0123456789abcdef"[byte & 15];
    }
    return hex;
}

}  // namespace instar::data

#endif
