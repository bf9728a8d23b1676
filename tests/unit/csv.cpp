#include <doctest/doctest.h>

#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "instar/core/philox.hpp"
#include "instar/data/csv.hpp"
#include "instar/data/csv_writer.hpp"
#include "support/compare.hpp"

using namespace instar;
using data::csv_options;
using data::csv_reader;

namespace {

using table = std::vector<std::vector<std::string>>;

csv_reader open(const std::string& text, csv_options options = {}) { return csv_reader(io::input_file::from_memory("t.csv", text), std::move(options)); }

table rows_of(const std::string& text, csv_options options = {}) {
    csv_reader in = open(text, std::move(options));
    table rows;
    while (in.next()) {
        rows.emplace_back();
        for (std::size_t c = 0; c < in.columns().size(); ++c) rows.back().emplace_back(in[c]);
    }
    return rows;
}

std::string error_of(const std::string& text, csv_options options = {}) {
    return test::error_text<parse_error>([&] { rows_of(text, options); });
}

bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("csv: fields, quotes, line ends") {
    CHECK(rows_of("a,b\n1,2\n3,4\n") == table{{"1", "2"}, {"3", "4"}});
    CHECK(rows_of("a,b\r\n1,2\r\n3,4") == table{{"1", "2"}, {"3", "4"}});
    CHECK(rows_of("a,b\n,\n\"\",x\n") == table{{"", ""}, {"", "x"}});
    CHECK(rows_of("a,b\n\"x,y\",\"say \"\"hi\"\"\"\n") == table{{"x,y", "say \"hi\""}});
    CHECK(rows_of("a,b\n\"two\nlines\",\"cr\r\nlf\"\r\n") == table{{"two\nlines", "cr\r\nlf"}});
    CHECK(rows_of("a,b\n\"\"\"\",\"\"\"\"\"\"\n") == table{{"\"", "\"\""}});
    CHECK(rows_of("a,b\nplain \"quote\" inside,5\" tall\n") == table{{"plain \"quote\" inside", "5\" tall"}});
    CHECK(rows_of("\n\r\na,b\n\n1,2\n\n\n3,4\n\n") == table{{"1", "2"}, {"3", "4"}});
    CHECK(rows_of("\xEF\xBB\xBF" "a,b\n1,2\n") == table{{"1", "2"}});
    CHECK(open("\xEF\xBB\xBF" "a,b\n").header() == std::vector<std::string>{"a", "b"});
    CHECK(rows_of("a\n\"\"\nx\n") == table{{""}, {"x"}});
    CHECK(rows_of("a,b\n1,\"2\"") == table{{"1", "2"}});
    CHECK(rows_of("a,b\n1,\"2\"\r") == table{{"1", "2"}});
    CHECK(rows_of("\"a,x\",\"b\"\"\"\n1,2\n", {.columns = {"b\""}}) == table{{"2"}});
    CHECK(rows_of("a,b\n").empty());
    CHECK(rows_of("a,b").empty());
}

TEST_CASE("csv: delimiters") {
    CHECK(open("a\tb\tc\n").delimiter() == '\t');
    CHECK(open("a;b\n").delimiter() == ';');
    CHECK(open("a|b\n").delimiter() == '|');
    CHECK(open("\"a\tx\ty\",b\n").delimiter() == ',');
    CHECK(open("only\n").delimiter() == ',');
    CHECK(rows_of("a\tb\n1,5\t2\n") == table{{"1,5", "2"}});
    CHECK(rows_of("a\tb\n\"x\t2\n3\t4\"\"\n", {.quoting = false}) == table{{"\"x", "2"}, {"3", "4\"\""}});
    CHECK(rows_of("a b\n1 2\n", {.delimiter = ' '}) == table{{"1", "2"}});
    CHECK_THROWS_AS(open("a\n", {.delimiter = '"'}), value_error);
}

TEST_CASE("csv: columns") {
    const std::string text = "a,b,c\n1,2,3\n4,5,6\n";
    CHECK(rows_of(text, {.columns = {"c", "a"}}) == table{{"3", "1"}, {"6", "4"}});
    csv_reader in = open(text, {.columns = {"c", "a"}});
    CHECK(in.column("a") == 1);
    CHECK(in.has("b"));
    CHECK(in.header().size() == 3);
    CHECK_THROWS_AS(in.column("b"), parse_error);
    CHECK(rows_of("1,2\n3,4\n", {.header = false}) == table{{"1", "2"}, {"3", "4"}});
    CHECK(rows_of("x\ny\n", {.columns = {"0"}, .header = false}) == table{{"x"}, {"y"}});
    CHECK(rows_of(",a,\n1,2,3\n") == table{{"1", "2", "3"}});  // pandas writes its index under an empty name
}

TEST_CASE("csv: numbers and missing values") {
    csv_reader in = open("x,i\n1.5, 7\n-2e3,8.0\nNA,\n+4,null\n", {.na_strings = true});
    REQUIRE(in.next());
    CHECK(in.real(0) == 1.5);
    CHECK(in.integer(1) == 7);
    REQUIRE(in.next());
    CHECK(in.real(0) == -2000.0);
    CHECK(in.integer(1) == 8);
    REQUIRE(in.next());
    CHECK(std::isnan(in.real(0)));
    CHECK(in.missing(0));
    CHECK(in.integer(1, -5) == -5);
    REQUIRE(in.next());
    CHECK(in.real(0) == 4.0);
    CHECK(in.missing(1));
    CHECK_FALSE(in.next());
    for (const char* na : {"", "NA", "N/A", "n/a", "nan", "NaN", "NULL", "null", "<NA>", "#N/A", "-nan", "-NaN", "1.#IND", "1.#QNAN", "-1.#IND", "-1.#QNAN", "#NA", "#N/A N/A"}) {
        CHECK(data::is_pandas_na(na));
    }
    for (const char* text : {"None", "na", "N", "NAN", "nul", "NULL ", "Nan", "-1.#IND1"}) CHECK_FALSE(data::is_pandas_na(text));
    csv_reader plain = open("x\nNA\n");
    REQUIRE(plain.next());
    CHECK_FALSE(plain.missing(0));
    CHECK(has(test::error_text<parse_error>([&] { (void)plain.real(0); }), "t.csv:2: column 'x': 'NA' is no number"));
    csv_reader bad = open("x\n1.5.2\n");
    REQUIRE(bad.next());
    CHECK(has(test::error_text<parse_error>([&] { (void)bad.integer(0); }), "'1.5.2' is no integer"));
}

TEST_CASE("csv: every bad input names its place") {
    CHECK(error_of("") == "t.csv: is empty");
    CHECK(has(error_of("\n\n"), "only blank lines"));
    CHECK(error_of("a,b\n1,2\n1\n") == "t.csv:3: has 1 fields, the header has 2");
    CHECK(error_of("a,b\n\n1,2,3\n") == "t.csv:3: has 3 fields, the header has 2");
    CHECK(error_of("a,b\n\"x\ny\",2\n1,2,3") == "t.csv:4: has 3 fields, the header has 2");
    CHECK(error_of("a,b,a\n1,2,3\n") == "t.csv:1: column 'a' appears twice in the header");
    CHECK(error_of("a,b\n1,2\n", {.columns = {"c"}}) == "t.csv: has no column 'c'; its columns are: a, b");
    CHECK(error_of("a,b\n1,2\n3,\"x\n5,6\n") == "t.csv:3: a quote in the row that begins here is never closed");
    CHECK(error_of("a,b\n1,\"x\"y\n") == "t.csv:2:6: text behind a closing quote, in field 2");
    CHECK(error_of("a,b\n\"p\nq\" ,2\n") == "t.csv:3:3: text behind a closing quote, in field 1");
    CHECK(error_of(std::string("a,b\n1,2\n3,x\0y\n", 15)) == "t.csv:3:4: NUL byte; is this a text file?");
    CHECK(error_of(std::string("a,b\n\"1\n\0\",2\n", 13)) == "t.csv:3:1: NUL byte; is this a text file?");
    CHECK(has(error_of("a,b\r1,2\r3,4\r"), "carriage return without a line feed"));
    CHECK(has(error_of(std::string("\xFF\xFE" "a\0,\0", 6)), "UTF-16"));
    CHECK(has(error_of("a,b\n\"" + std::string(1000000, 'x') + "\n", {.max_row_bytes = 1 << 18}), "is a quote never closed?"));
    CHECK_THROWS_AS(open("a,b\n", {.columns = {"a", "a"}}), value_error);
    CHECK_THROWS_AS(csv_reader("/no/such/file.csv"), io_error);
    CHECK(has(test::error_text<io_error>([] { csv_reader("/no/such/file.csv"); }), "/no/such/file.csv: cannot open for reading"));
    csv_reader in = open("a\n1\n");
    REQUIRE(in.next());
    CHECK(std::string(in.error_here("no good").what()) == "t.csv:2: no good");
}

TEST_CASE("csv: rows across buffer ends, and larger than a buffer") {
    // Every length around the buffer's and the scanner's block sizes, with quotes and line ends at the joints.
    philox rng{.seed = 5};
    std::string text = "a,b,c\n";
    table expected;
    std::uint64_t n = 0;
    while (text.size() < 1500000) {
        const std::string x(rng.below(n++, 90), 'x');
        const std::string y(rng.below(n, n % 50 == 0 ? 70000u : 200u), 'y');
        ++n;
        expected.push_back({x, "\"" + y + ",\n", std::to_string(n)});
        text += x + ",\"\"\"" + y + ",\n\"," + std::to_string(n) + (n % 3 == 0 ? "\r\n" : "\n");
    }
    CHECK(rows_of(text) == expected);
    const std::string big(3000000, 'z');
    CHECK(rows_of("a,b\n" + big + ",\"" + big + "\"\n1,2\n") == table{{big, big}, {"1", "2"}});
    // The end of the file at every place of a block, with and without a line end.
    for (std::size_t length = 0; length < 200; ++length) {
        const std::string field(length, 'q');
        CHECK(rows_of("a,b\n1," + field) == table{{"1", field}});
        CHECK(rows_of("a,b\n1,\"" + field + "\"") == table{{"1", field}});
        CHECK(rows_of("a,b\n1,\"" + field + "\"\"\"\r\n") == table{{"1", field + "\""}});
    }
}

TEST_CASE("csv: both scanners mark the same bytes") {
    philox rng{.seed = 6};
    std::string text(64, ' ');
    for (std::uint64_t round = 0; round < 500; ++round) {
        for (std::size_t i = 0; i < 64; ++i) {
            const std::uint32_t r = rng.below(round * 64 + i, 512);
            text[i] = r < 256 ? static_cast<char>(r) : ",\"\n\0\x01;\x80\xac"[r % 8];
        }
        std::uint64_t expected = 0;
        for (std::size_t i = 0; i < 64; ++i) {
            const char c = text[i];
            if (c == ';' || c == '"' || c == '\n' || c == '\0') expected |= std::uint64_t{1} << i;
        }
        CHECK(data::detail::scan_words(';')(text.data()) == expected);
        CHECK(data::csv_scanner(';')(text.data()) == expected);
    }
}

TEST_CASE("csv: what is written reads back") {
    const auto path = (std::filesystem::temp_directory_path() / ("instar_csv_" + std::to_string(::getpid()) + ".csv")).string();
    const table rows{{"1", ""}, {"x,y", "say \"hi\""}, {"two\nlines", "cr\rlf\r\n"}, {"\"", " blanks "}, {"", ""}};
    for (char delimiter : {',', '\t'}) {
        data::csv_writer out(path, {"a \"b\"", "c,d"}, delimiter);
        for (const auto& r : rows) out.row({r[0], r[1]});
        CHECK_THROWS_AS(out.row({"1"}), value_error);
        out.commit();
        csv_reader in(path, {.delimiter = delimiter});
        CHECK(in.header() == std::vector<std::string>{"a \"b\"", "c,d"});
        table back;
        while (in.next()) back.push_back({std::string(in[0]), std::string(in[1])});
        CHECK(back == rows);
    }
    {
        data::csv_writer out(path, {"lost"});
        out.row({"x"});
    }
    CHECK(csv_reader(path, {.delimiter = '\t'}).header().size() == 2);  // not committed: the old file stands
    std::string one;
    data::append_csv_row(one, std::vector<std::string_view>{""});
    CHECK(one == "\"\"\n");
    one.clear();
    data::append_csv_row(one, std::vector<std::string_view>{"\xEF\xBB\xBF" "x"});  // found by the fuzzer: no byte-order mark
    CHECK(rows_of(one + "y\n", {.header = false}) == table{{"\xEF\xBB\xBF" "x"}, {"y"}});
    CHECK_THROWS_AS(data::append_csv_row(one, std::vector<std::string_view>{std::string_view("a\0", 2)}), value_error);
    CHECK_THROWS_AS(data::csv_writer("/no/such/folder/x.csv", {"a"}), io_error);
    std::filesystem::remove(path);
}
