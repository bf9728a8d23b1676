#include <doctest/doctest.h>

#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "instar/data/fasta.hpp"
#include "instar/data/sequence.hpp"
#include "support/compare.hpp"

using namespace instar;
using data::fasta_record;

namespace {

std::vector<fasta_record> read(const std::string& text) { return data::read_fasta(io::input_file::from_memory("t.fa", text)); }
std::string error_of(const std::string& text) {
    return test::error_text<parse_error>([&] { read(text); });
}

}  // namespace

TEST_CASE("fasta: records") {
    const auto r = read("\n>one first record \r\nACGT\r\nacgtN\r\n\r\n>two\nAC GT\t\n\nRY-*.\n>three\tx\nA");
    REQUIRE(r.size() == 3);
    CHECK(r[0].id == "one");
    CHECK(r[0].description == "first record");
    CHECK(r[0].sequence == "ACGTacgtN");
    CHECK(r[0].line == 2);
    CHECK(r[1].description.empty());
    CHECK(r[1].sequence == "ACGTRY-*.");
    CHECK(r[1].line == 6);
    CHECK(r[2].id == "three");
    CHECK(r[2].description == "x");
    CHECK(r[2].sequence == "A");
    CHECK(read("\xEF\xBB\xBF>a\nACGT\n").front().id == "a");
}

TEST_CASE("fasta: long records cross the buffer") {
    std::string text, expected;
    for (int i = 0; i < 20000; ++i) {
        const std::string line(static_cast<std::size_t>(1 + i % 97), "ACGT"[i % 4]);
        text += line + "\n";
        expected += line;
    }
    const auto r = read(">long\n" + text + ">next\n" + std::string(600000, 'T') + "\n");
    REQUIRE(r.size() == 2);
    CHECK(r[0].sequence == expected);
    CHECK(r[1].sequence.size() == 600000);
}

TEST_CASE("fasta: every bad input names its place") {
    CHECK(error_of("") == "t.fa: is empty");
    CHECK(error_of("\n \n") == "t.fa: has only blank lines");
    CHECK(error_of("\nACGT\n>a\nA\n") == "t.fa:2:1: sequence before the first header; a header begins with '>'");
    CHECK(error_of(">a\nA\n>b\n>c\nA\n") == "t.fa:3: record 'b' has no sequence");
    CHECK(error_of(">a\nA\n>b x\n\n") == "t.fa:3: record 'b' has no sequence");
    CHECK(error_of(">a\nA\n> b\nA\n") == "t.fa:3:1: a header without an id");
    CHECK(error_of(">\nA\n") == "t.fa:1:1: a header without an id");
    CHECK(error_of(">a\nACGT\nAC1T\n") == "t.fa:3:3: '1' is no part of a sequence");
    CHECK(error_of(">a\nAC\xc3\xa9T\n") == "t.fa:2:3: byte 195 is no part of a sequence");
    CHECK(error_of(std::string(">a\nAC\0T\n", 8)) == "t.fa:2:3: NUL byte; is this a text file?");
    CHECK(error_of(std::string(">a\0b\nACT\n", 9)) == "t.fa:1:3: NUL byte; is this a text file?");
    CHECK(error_of(std::string("A\0\n", 3)) == "t.fa:1:2: NUL byte; is this a text file?");
    CHECK_THROWS_AS(data::read_fasta("/no/such/file.fa"), io_error);
}

TEST_CASE("fasta: what is written reads back") {
    const auto path = (std::filesystem::temp_directory_path() / ("instar_fasta_" + std::to_string(::getpid()) + ".fa")).string();
    const std::vector<fasta_record> records{{"a", "some words", "ACGTACGTAC"}, {"b", "", "acgtn-"}, {"c|1", "x", std::string(200, 'T')}};
    for (std::size_t width : {0u, 1u, 5u, 10u, 80u}) {
        data::write_fasta(path, records, width);
        const auto back = data::read_fasta(path);
        REQUIRE(back.size() == 3);
        for (std::size_t i = 0; i < 3; ++i) {
            CHECK(back[i].id == records[i].id);
            CHECK(back[i].description == records[i].description);
            CHECK(back[i].sequence == records[i].sequence);
        }
    }
    for (const fasta_record& bad : {fasta_record{"", "", "A"}, fasta_record{"a b", "", "A"}, fasta_record{"a", "x\ny", "A"}, fasta_record{"a", "", ""}, fasta_record{"a", "", "A\nC"}}) {
        CHECK_THROWS_AS(data::write_fasta(path, std::vector{bad}), value_error);
    }
    CHECK(data::read_fasta(path).size() == 3);  // a failed writer leaves the old file
    std::filesystem::remove(path);
}

TEST_CASE("fasta: sequences for a barcode model") {
    CHECK(data::clean_barcode("ACGTN") == "ACGTN");
    CHECK(data::clean_barcode("acgu-RYSWKMBDHV .n") == "ACGTNNNNNNNNNNN");
    CHECK(data::clean_barcode("").empty());
    CHECK(test::error_text<value_error>([] { data::clean_barcode("ACG*"); }) == "clean_barcode: '*' at letter 4 is no nucleotide code");
    CHECK(test::error_text<value_error>([] { data::clean_barcode("AXG"); }) == "clean_barcode: 'X' at letter 2 is no nucleotide code");
}
