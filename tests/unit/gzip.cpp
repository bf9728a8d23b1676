#include <doctest/doctest.h>

#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <string>

#include "instar/core/philox.hpp"
#include "instar/data/csv.hpp"
#include "instar/data/fasta.hpp"
#include "instar/io/gzip.hpp"
#include "support/compare.hpp"

using namespace instar;

namespace {

struct temporary_file {
    std::string path;
    explicit temporary_file(std::string_view content)
        : path((std::filesystem::temp_directory_path() / ("instar_gzip_" + std::to_string(::getpid()))).string()) {
        io::write_file(path, content);
    }
    ~temporary_file() { std::filesystem::remove(path); }
};

std::string random_text(std::size_t n) {
    std::string s;
    for (std::size_t i = 0; i < n; ++i) s += "ACGTN\n,x"[philox{.seed = 8}.below(i, 8)];
    return s;
}

bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("gzip: plain files of any size") {
    for (std::size_t n : {0u, 1u, 2u, 3u, 65535u, 65536u, 65537u, 1000000u}) {
        const std::string text = random_text(n);
        CHECK(io::read_all(io::input_file::from_memory("m", text)) == text);
        const temporary_file file(text);
        CHECK(io::read_all(file.path) == text);
        CHECK_FALSE(io::input_file(file.path).compressed());
    }
    CHECK_THROWS_AS(io::read_all("/no/such/file"), io_error);
    CHECK(has(test::error_text<io_error>([] { io::read_all("/tmp"); }), "/tmp: cannot read"));
    CHECK(has(test::error_text<io_error>([] { io::read_all(io::input_file::from_memory("m", "12345"), 4); }), "m: longer than the 4 bytes"));
}

#if defined(INSTAR_HAVE_ZLIB) && INSTAR_HAVE_ZLIB
namespace {

std::string gzip(std::string_view text, int level = 6) {
    z_stream z{};
    REQUIRE(deflateInit2(&z, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    std::string out(deflateBound(&z, static_cast<uLong>(text.size())) + 64, '\0');
    z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
    z.avail_in = static_cast<uInt>(text.size());
    z.next_out = reinterpret_cast<Bytef*>(out.data());
    z.avail_out = static_cast<uInt>(out.size());
    REQUIRE(deflate(&z, Z_FINISH) == Z_STREAM_END);
    out.resize(out.size() - z.avail_out);
    deflateEnd(&z);
    return out;
}

std::string gunzip(std::string_view bytes) { return io::read_all(io::input_file::from_memory("data.gz", bytes)); }

}  // namespace

TEST_CASE("gzip: compressed files, one member or many") {
    for (std::size_t n : {0u, 1u, 1000u, 65536u, 3000000u}) {
        const std::string text = random_text(n);
        for (int level : {0, 1, 9}) CHECK(gunzip(gzip(text, level)) == text);
    }
    const std::string a = random_text(100000), b = "tail";
    CHECK(gunzip(gzip(a) + gzip("") + gzip(b)) == a + b);
    CHECK(gunzip(gzip(a) + std::string(1000, '\0')) == a);
    CHECK(gunzip(gzip(a) + std::string(70000, '\0') + gzip(b)) == a + b);
    const temporary_file file(gzip(a));  // the name does not end in .gz: the content tells
    io::input_file in(file.path);
    CHECK(in.compressed());
    char byte = 0;
    std::string slowly;
    while (in.read(&byte, 1) == 1) slowly += byte;
    CHECK(slowly == a);
    CHECK(in.read(&byte, 1) == 0);
}

TEST_CASE("gzip: cut off, corrupt, followed by something else") {
    const std::string text = random_text(50000), whole = gzip(text);
    for (std::size_t n = 2; n < whole.size(); n += n < 30 || n + 30 > whole.size() ? 1 : 997) {
        const std::string message = test::error_text<io_error>([&] { gunzip(std::string_view(whole).substr(0, n)); });
        CHECK(has(message, "data.gz: the gzip data is cut off"));
    }
    for (std::size_t at : {2u, 3u, 20u, 1000u}) {
        std::string broken = whole;
        broken[at] = static_cast<char>(broken[at] ^ 0x5a);
        CHECK(has(test::error_text<io_error>([&] { gunzip(broken); }), "data.gz: the gzip data is"));
    }
    for (std::size_t from_end : {1u, 5u, 8u}) {  // length and checksum
        std::string broken = whole;
        broken[broken.size() - from_end] = static_cast<char>(broken[broken.size() - from_end] ^ 1);
        CHECK(has(test::error_text<io_error>([&] { gunzip(broken); }), "is corrupt after 50000 decompressed bytes"));
    }
    CHECK(has(test::error_text<io_error>([&] { gunzip(whole + "and more"); }), "followed by something else"));
    CHECK(has(test::error_text<io_error>([&] { gunzip(whole + "\x1f"); }), "cut off"));
}

TEST_CASE("gzip: readers say which file is broken") {
    std::string table = "id,barcode\n";
    for (int i = 0; i < 20000; ++i) table += std::to_string(i) + ",ACGTACGTTTACG\n";
    const std::string whole = gzip(table);
    const auto count = [](std::string_view bytes) {
        data::csv_reader in(io::input_file::from_memory("cut.csv.gz", bytes));
        int n = 0;
        while (in.next()) ++n;
        return n;
    };
    CHECK(count(whole) == 20000);
    CHECK(has(test::error_text<io_error>([&] { count(std::string_view(whole).substr(0, whole.size() / 2)); }), "cut.csv.gz: the gzip data is cut off"));
    std::string fasta;
    for (int i = 0; i < 20000; ++i) fasta += ">r" + std::to_string(i) + "\nACGT\n";
    const std::string packed = gzip(fasta);
    CHECK(data::read_fasta(io::input_file::from_memory("f.gz", packed)).size() == 20000);
    CHECK(has(test::error_text<io_error>([&] { data::read_fasta(io::input_file::from_memory("f.gz", std::string_view(packed).substr(0, packed.size() - 9))); }),
              "f.gz: the gzip data is cut off"));
}
#else
TEST_CASE("gzip: a build without zlib says so") {
    CHECK(has(test::error_text<io_error>([] { io::read_all(io::input_file::from_memory("x.gz", "\x1f\x8b\x08")); }), "x.gz: is gzip-compressed, and this build has no zlib"));
}
#endif
