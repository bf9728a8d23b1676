#include <doctest/doctest.h>

#include <string>

#include "instar/data/bioscan_format.hpp"
#include "instar/data/md5.hpp"

using instar::data::md5;
using instar::data::md5_hex;

TEST_CASE("md5: RFC 1321's vectors") {
    CHECK(md5_hex("") == "d41d8cd98f00b204e9800998ecf8427e");
    CHECK(md5_hex("a") == "0cc175b9c0f1b6a831c399e269772661");
    CHECK(md5_hex("abc") == "900150983cd24fb0d6963f7d28e17f72");
    CHECK(md5_hex("message digest") == "f96b697d7cb7938d525a2f31aaf161d0");
    CHECK(md5_hex("abcdefghijklmnopqrstuvwxyz") == "c3fcd3d76192e4007dfb496cca67e13b");
    CHECK(md5_hex("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789") == "d174ab98d277d9f5a5611c2c9f419d9f");
    CHECK(md5_hex("12345678901234567890123456789012345678901234567890123456789012345678901234567890") == "57edf4a22be3c955ac49da2e2107b67a");
}

TEST_CASE("md5: pieces of any size give the digest of the whole") {
    std::string text;
    for (int i = 0; i < 300; ++i) text += static_cast<char>('A' + i % 61);
    for (std::size_t length : {54u, 55u, 56u, 57u, 63u, 64u, 65u, 119u, 120u, 128u, 300u}) {
        const std::string part = text.substr(0, length);
        for (std::size_t step : {1u, 7u, 63u, 64u, 65u}) {
            md5 m;
            for (std::size_t i = 0; i < length; i += step) m.update(std::string_view(part).substr(i, step));
            const auto digest = m.finish();
            std::string hex;
            for (unsigned char b : digest) {
                hex += "0123456789abcdef"[b >> 4];
                hex += "0123456789abcdef"[b & 15];
            }
            CHECK(hex == md5_hex(part));
        }
    }
}

TEST_CASE("md5: chunk folders of BIOSCAN-5M") {
    using instar::data::bioscan_chunk;
    const std::string hex = md5_hex("AACTA1809-20");
    CHECK(bioscan_chunk("pretrain", "AACTA1809-20") == hex.substr(0, 2));
    CHECK(bioscan_chunk("train", "AACTA1809-20") == hex.substr(0, 1));
    CHECK(bioscan_chunk("other_heldout", "AACTA1809-20") == hex.substr(0, 1));
    for (const char* split : {"val", "test", "key_unseen", "val_unseen", "test_unseen"}) CHECK(bioscan_chunk(split, "AACTA1809-20").empty());
}
