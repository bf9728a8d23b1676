// io/json.hpp and io/json_text.hpp: errors that name file, line, column and key.
#include <doctest/doctest.h>

#include <cstdint>
#include <limits>

#include "instar/io/json.hpp"
#include "instar/io/json_text.hpp"
#include "support/compare.hpp"
#include "support/temp_folder.hpp"

using namespace instar;
using test::error_text;

namespace {
bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
std::string parse_failure(const std::string& text) {
    return error_text<parse_error>([&] { io::parse_json(text, "c.json"); });
}
}  // namespace

TEST_CASE("json: syntax errors name file, line and column") {
    CHECK(parse_failure("{\"a\": [1, 2.5e3, -7, true, null, \"\\u00e4\\n\"]}").empty());
    CHECK(parse_failure("") == "c.json:1:1: the file is empty");
    CHECK(contains(parse_failure("{\n  \"a\": 1,\n  \"b\": tru\n}"), "c.json:3:11: "));
    CHECK(contains(parse_failure("{\"a\": 1,}"), "c.json:1:9: "));
    CHECK(contains(parse_failure("{\"a\": 1} x"), "c.json:1:10: "));
    CHECK(contains(parse_failure("[1, 2"), "c.json:1:"));
    CHECK(contains(parse_failure("// comment\n1"), "c.json:1:1"));
    CHECK(contains(parse_failure("[1e999]"), "c.json: number overflow"));
    CHECK(contains(parse_failure("[NaN]"), "c.json:1:2: "));
    CHECK(contains(parse_failure("\"\xff\""), "UTF-8"));
    CHECK(parse_failure(std::string("\"a\0b\"", 5)) == "c.json:1:3: a NUL byte");
    CHECK(parse_failure(std::string("{}\n\0 anything", 13)) == "c.json:2:1: a NUL byte");
    CHECK(parse_failure("\xef\xbb\xbf{}").empty());  // a byte order mark
    CHECK(contains(parse_failure("\xef\xbb{}"), "c.json:1:3"));
    try {
        io::parse_json("[\n\n  oops]", "c.json");
        CHECK(false);
    } catch (const parse_error& e) {
        CHECK(e.file() == "c.json");
        CHECK(e.line() == 3);
        CHECK(e.column() == 3);
    }
}

TEST_CASE("json: duplicate keys and deep nesting are refused") {
    CHECK(parse_failure("{\"a\": 1, \"b\": {\"a\": 2}, \"c\": [{\"a\": 1}, {\"a\": 2}]}").empty());
    CHECK(parse_failure("{\"a\": 1, \"b\": {\"c\": 2, \"c\": 3}}") == "c.json: the key \"c\" comes twice in one object");
    CHECK(parse_failure(std::string(255, '[') + std::string(255, ']')).empty());
    CHECK(contains(parse_failure(std::string(1'000'000, '[')), "nested deeper than 256 levels"));
    std::string objects;
    for (int i = 0; i < 1000; ++i) objects += "{\"a\":";
    CHECK(contains(parse_failure(objects), "nested deeper than 256 levels"));
}

TEST_CASE("json: typed getters name file and key") {
    const io::json value = io::parse_json(R"({"n": 768, "eps": 1e-12, "big": 5000000000, "neg": -1, "s": "gelu", "t": true, "none": null,
        "list": [1, 2, 3], "mixed": [1, "x"], "nested": {"deep": [{"k": 1.5}]}, "huge": 18446744073709551615})", "c.json");
    const io::json_view view(value, "config.json");
    CHECK(view.get<int>("n") == 768);
    CHECK(view.get<index_t>("big") == 5'000'000'000);
    CHECK(view.get<std::uint64_t>("huge") == ~0ull);
    CHECK(view.get<double>("n") == 768.0);
    CHECK(view.get<float>("eps") == 1e-12f);
    CHECK(view.get<std::string>("s") == "gelu");
    CHECK(view.get<bool>("t"));
    CHECK(view.get<std::vector<int>>("list") == std::vector<int>{1, 2, 3});
    CHECK(view.child("nested").child("deep")[0].get<double>("k") == 1.5);
    CHECK(view.child("list").size() == 3);
    CHECK(view.has("n"));
    CHECK_FALSE(view.has("none"));
    CHECK_FALSE(view.has("missing"));
    CHECK(view.get_or<int>("missing", 7) == 7);
    CHECK(view.get_or<int>("none", 7) == 7);
    CHECK(view.get_or<int>("n", 7) == 768);
    const auto failure = [&](auto type, const std::string& key) { return error_text<parse_error>([&] { view.get<decltype(type)>(key); }); };
    CHECK(failure(0, "missing") == "config.json: the key \"missing\" is missing");
    CHECK(failure(0, "s") == "config.json: \"s\" is a string, expected an integer");
    CHECK(failure(0, "eps") == "config.json: \"eps\" is a number, expected an integer");
    CHECK(failure(0, "none") == "config.json: \"none\" is null, expected an integer");
    CHECK(failure(0, "big") == "config.json: \"big\" is 5000000000, out of the range of 32 bits");
    CHECK(failure(std::uint8_t{}, "neg") == "config.json: \"neg\" is -1, out of the range of 8 bits without a sign");
    CHECK(failure(index_t{}, "huge") == "config.json: \"huge\" is 18446744073709551615, out of the range of 64 bits");
    CHECK(failure(false, "n") == "config.json: \"n\" is an integer, expected a boolean");
    CHECK(failure(0.0, "s") == "config.json: \"s\" is a string, expected a number");
    CHECK(failure(std::string(), "n") == "config.json: \"n\" is an integer, expected a string");
    CHECK(failure(std::vector<int>(), "n") == "config.json: \"n\" is an integer, expected an array");
    CHECK(failure(std::vector<int>(), "mixed") == "config.json: \"mixed[1]\" is a string, expected an integer");
    CHECK(error_text([&] { view.child("nested").child("deep")[0].get<int>("k"); }) == "config.json: \"nested.deep[0].k\" is a number, expected an integer");
    CHECK(error_text([&] { view.child("list")[3]; }) == "config.json: \"list[3]\" is beyond the end of an array of 3");
    CHECK(error_text([&] { view.child("n").child("x"); }) == "config.json: \"n\" is an integer, expected an object");
    CHECK(error_text([&] { view.child("n")[0]; }) == "config.json: \"n\" is an integer, expected an array");
    CHECK(error_text([&] { view.child("n").has("x"); }) == "config.json: \"n\" is an integer, expected an object");
    const io::json list = io::json::array();
    CHECK(error_text([&] { io::json_view(list, "config.json").get<int>("a"); }) == "config.json: the value is an array, expected an object");
}

TEST_CASE("json: files") {
    test::temp_folder folder;
    const std::string path = folder / "a.json";
    const io::json value{{"b", 1}, {"a", {1.5, "ü", nullptr}}, {"pi", 0.1}};
    io::write_json(path, value);
    CHECK(io::read_json(path) == value);
    CHECK(io::read_text(path).starts_with("{\n  \"a\": [\n"));  // sorted, indented
    CHECK(io::read_text(path).ends_with("}\n"));
    CHECK(contains(error_text<value_error>([&] { io::write_json(path, {{"a", "\xff"}}); }), "a.json: json_text: "));
    CHECK(io::read_json(path) == value);
    CHECK(contains(error_text<io_error>([&] { io::read_json(folder / "none.json"); }), "none.json: cannot open for reading"));
    io::write_file(path, "{\n\"a\" 1}");
    CHECK(contains(error_text<parse_error>([&] { io::read_json(path); }), "a.json:2:5: "));
}

TEST_CASE("json_text: what is appended reads back") {
    const std::string texts[] = {"", "plain", "quote\" back\\slash\n\r\t\b\x01\x1f\x7f", "äöü 日本 🦋", std::string("nul\0byte", 8)};
    for (const std::string& text : texts) {
        std::string out;
        io::append_json_string(out, text);
        CHECK(io::parse_json(out, "x").get<std::string>() == text);
    }
    // Not UTF-8: a lone continuation, an overlong form, a surrogate, beyond U+10FFFF, cut off.
    for (const std::string text : {"\x80", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82", "\xf5"}) {
        std::string out;
        io::append_json_string(out, "a" + text + "b");
        CHECK_FALSE(io::is_utf8(text));
        CHECK(contains(io::parse_json(out, "x").get<std::string>(), "\xef\xbf\xbd"));
    }
    for (const double v : {0.0, -1.5, 0.1, 1e300, 5e-324, 123456789.0, 1.0 / 3.0}) {
        std::string out;
        io::append_json_number(out, v);
        CHECK(io::parse_json(out, "x").get<double>() == v);
    }
    std::string out;
    io::append_json_number(out, std::numeric_limits<double>::quiet_NaN());
    io::append_json_number(out, -std::numeric_limits<double>::infinity());
    CHECK(out == "nullnull");
}
