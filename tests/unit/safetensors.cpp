// io/safetensors.hpp, io/safetensors_writer.hpp, io/dtype.hpp: round trips, conversions, and every way to be a bad file.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "instar/io/safetensors.hpp"
#include "support/compare.hpp"
#include "support/temp_folder.hpp"

using namespace instar;
using test::error_text;

namespace {

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// A file of any header and data, valid or not.
std::string raw_file(const std::string& header, std::size_t n_data, std::uint64_t length = ~0ull) {
    if (length == ~0ull) length = header.size();
    std::string bytes(8, '\0');
    std::memcpy(bytes.data(), &length, 8);
    return bytes + header + std::string(n_data, '\1');
}

struct fixture {
    test::temp_folder folder;
    std::string path = folder / "x.safetensors";

    void write(const std::string& bytes) const { io::write_file(path, bytes); }
    template <class E = parse_error>
    std::string open_error() const {
        return error_text<E>([&] { io::safetensors_file f(path); });
    }
    template <class E = parse_error>
    std::string header_error(const std::string& header, std::size_t n_data) const {
        write(raw_file(header, n_data));
        return open_error<E>();
    }
};

}  // namespace

TEST_CASE_FIXTURE(fixture, "safetensors: what is written is read, sorted, aligned, with its metadata") {
    const auto a = test::random_tensor<float, 2>({3, 5}, 1);
    const auto b = test::random_tensor<double, 1>({7}, 2);
    const std::vector<std::int64_t> c{1, -2, std::numeric_limits<std::int64_t>::min()};
    const std::vector<std::uint8_t> d{0, 255, 7};
    const bool flags[3] = {true, false, true};
    const float scalar = 4.5f;
    const std::vector<io::named_const_tensor> tensors{{"d", {3}, d.data()},       {"a", {3, 5}, a.data()}, {"c", {3, 1}, c.data()},
                                                      {"b", {7}, b.data()},       {"flags", {3}, flags},   {"scalar", {}, &scalar},
                                                      {"empty", {0, 4}, a.data()}, {"ä\n\"\\", {1}, &scalar}};
    io::write_safetensors(path, tensors, {{"format", "pt"}, {"quote", "\"\\\n\t\x01ü"}});
    const io::safetensors_file f(path);
    CHECK(f.names() == std::vector<std::string>{"a", "b", "c", "d", "empty", "flags", "scalar", "ä\n\"\\"});
    CHECK(f.metadata().at("format") == "pt");
    CHECK(f.metadata().at("quote") == "\"\\\n\t\x01ü");
    CHECK(f.read<float>("a") == std::vector<float>(a.begin(), a.end()));
    CHECK(f.read<double>("b") == std::vector<double>(b.begin(), b.end()));
    CHECK(f.read<std::int64_t>("c") == c);
    CHECK(f.read<std::uint8_t>("d") == d);
    CHECK(f.read<std::uint8_t>("flags") == std::vector<std::uint8_t>{1, 0, 1});
    CHECK(f.read<float>("scalar") == std::vector<float>{4.5f});
    CHECK(f.read<float>("empty").empty());
    CHECK(f.info("a").type == io::dtype::f32);
    CHECK(f.info("c").shape == std::vector<index_t>{3, 1});
    CHECK(f.contains("a"));
    CHECK_FALSE(f.contains("e"));
    const std::string bytes = io::read_text(path);
    std::uint64_t length = 0;
    std::memcpy(&length, bytes.data(), 8);
    CHECK((8 + length) % 64 == 0);
    for (const io::tensor_info& t : f.tensors()) CHECK(t.begin % io::dtype_size(t.type) == 0);
    CHECK(f.info("b").begin == 0);  // the largest elements first, then by name
    CHECK(f.info("c").begin == 56);

    bool back[3] = {};
    f.read_into("flags", io::named_tensor("flags", {3}, back));
    CHECK(std::equal(back, back + 3, flags));
    tensor<float, 2> into({3, 5});
    f.read_into("a", into);
    CHECK(test::same_bits(into.view(), a.view()));
    auto wide = test::strided_rows<float>({3, 5}, 8, 9);
    f.read_into("a", wide.view);
    CHECK(test::same_bits(wide.view, a.view()));
    CHECK(wide.gaps_intact());
    std::vector<float> part(4);
    f.read_range("a", 6, 4, part.data());
    CHECK(std::equal(part.begin(), part.end(), a.begin() + 6));
}

TEST_CASE_FIXTURE(fixture, "safetensors: an empty file of tensors") {
    io::write_safetensors(path, std::vector<io::named_const_tensor>{});
    CHECK(io::safetensors_file(path).tensors().empty());
    io::write_safetensors(path, std::vector<io::named_const_tensor>{}, {{"a", "b"}});
    CHECK(io::safetensors_file(path).metadata().at("a") == "b");
}

TEST_CASE_FIXTURE(fixture, "safetensors: the writer takes pieces, converts, and refuses too few and too many") {
    const auto values = test::random_tensor<float, 1>({10'000}, 3);
    {
        io::safetensors_writer out(path, {{"half", io::dtype::f16, {10'000}, 0, 0},
                                          {"brain", io::dtype::bf16, {10'000}, 0, 0},
                                          {"double", io::dtype::f64, {100, 100}, 0, 0},
                                          {"nothing", io::dtype::f32, {0}, 0, 0}});
        CHECK(out.tensors()[0].name == "double");
        CHECK(out.tensors()[2].name == "brain");
        for (int t = 0; t < 3; ++t) {
            for (index_t i = 0; i < 10'000; i += 2'500) out.append(values.data() + i, 2'500);
        }
        const std::uint64_t too_much = 1;
        CHECK(contains(error_text<value_error>([&] { out.append(values.data(), 1); }), "all tensors are written, 1 elements more"));
        CHECK(contains(error_text<value_error>([&] { out.append(&too_much, 1); }), "all tensors are written"));
        out.commit();
    }
    const io::safetensors_file f(path);
    const auto d = f.read<float>("double");
    CHECK(std::equal(d.begin(), d.end(), values.begin()));
    const auto b = f.read<bf16>("brain");
    const auto bf = f.read<float>("brain");
    const auto h = f.read<double>("half");
    for (std::size_t i = 0; i < b.size(); ++i) {
        const float v = values(static_cast<index_t>(i));
        REQUIRE(b[i] == bf16(v));
        REQUIRE(bf[i] == static_cast<float>(bf16(v)));
        REQUIRE(std::abs(h[i] - static_cast<double>(v)) <= std::max(std::abs(static_cast<double>(v)) * 0x1p-11, 0x1p-25));
    }
    const std::string before = io::read_text(path);
    io::safetensors_writer out(path, {{"a", io::dtype::f32, {4}, 0, 0}, {"b", io::dtype::f32, {2}, 0, 0}});
    out.append(values.data(), 3);
    CHECK(contains(error_text<shape_error>([&] { out.append(values.data(), 2); }),
                   "tensor 'a' of shape [4] has 1 elements left, 2 appended"));
    const std::int32_t integer = 0;
    CHECK(contains(error_text<value_error>([&] { out.append(&integer, 1); }), "tensor 'a' has type F32, int32 appended"));
    out.append(values.data(), 1);
    CHECK(contains(error_text<shape_error>([&] { out.commit(); }), "tensor 'b' is not complete: 8 bytes"));
    CHECK(io::read_text(path) == before);
}

TEST_CASE_FIXTURE(fixture, "safetensors: the writer refuses what no reader would take") {
    const float x = 0;
    const auto failure = [&](std::vector<io::named_const_tensor> t, io::safetensors_metadata m = {}) {
        return error_text<value_error>([&] { io::write_safetensors(path, t, m); });
    };
    CHECK(contains(failure({{"a", {1}, &x}, {"a", {1}, &x}}), "tensor 'a' is given twice"));
    CHECK(contains(failure({{"a", {-1}, &x}}), "tensor 'a' has the impossible shape [-1]"));
    CHECK(contains(failure({{"a", {1ll << 40, 1ll << 40}, &x}}), "tensor 'a' has the impossible shape"));
    CHECK(contains(failure({{"__metadata__", {1}, &x}}), "cannot name a tensor"));
    CHECK(contains(failure({{"\xff", {1}, &x}}), "cannot name a tensor"));
    CHECK(contains(failure({{"a", {1}, &x}}, {{"k", "\xc3"}}), "the metadata \"k\" is not UTF-8"));
    CHECK(folder.names().empty());
}

TEST_CASE("safetensors: every half reads as its value, and floats round to the nearest half") {
    for (std::uint32_t h = 0; h < 65'536; ++h) {
        const float f = io::detail::half_to_float(static_cast<std::uint16_t>(h));
        const std::uint32_t exponent = h >> 10 & 31, fraction = h & 1023;
        double expected = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, static_cast<int>(exponent) - 25);
        if (exponent == 31) expected = fraction ? std::nan("") : std::numeric_limits<double>::infinity();
        if (h >> 15) expected = -expected;
        if (std::isnan(expected)) {
            REQUIRE(std::isnan(f));
            REQUIRE(std::isnan(io::detail::half_to_float(io::detail::float_to_half(f))));
            continue;
        }
        REQUIRE(static_cast<double>(f) == expected);
        REQUIRE(io::detail::float_to_half(f) == h);
        if (exponent == 31 || (h & 0x7fff) == 0x7bff) continue;
        // Half way to the next one the even neighbour wins; a little further the next one.
        const float next = io::detail::half_to_float(static_cast<std::uint16_t>(h + 1));
        const float middle = f + (next - f) / 2;
        REQUIRE(io::detail::float_to_half(middle) == (h % 2 ? h + 1 : h));
        REQUIRE(io::detail::float_to_half(std::nextafter(middle, next)) == h + 1);
        REQUIRE(io::detail::float_to_half(std::nextafter(middle, f)) == h);
    }
    CHECK(io::detail::float_to_half(65519.996f) == 0x7bff);
    CHECK(io::detail::float_to_half(65520.0f) == 0x7c00);
    CHECK(io::detail::float_to_half(-1e30f) == 0xfc00);
    CHECK(io::detail::float_to_half(1e-30f) == 0);
}

TEST_CASE_FIXTURE(fixture, "safetensors: truncated files and impossible header lengths") {
    for (std::size_t n = 0; n < 8; ++n) {
        write(std::string(n, '\0'));
        CHECK(contains(open_error(), "x.safetensors: truncated: " + std::to_string(n) + " bytes"));
    }
    write(raw_file("{}", 0, 3));
    CHECK(contains(open_error(), "truncated: the header claims 3 bytes, 2 follow"));
    write(raw_file("{}", 0, 99'000'000));
    CHECK(contains(open_error(), "truncated: the header claims 99000000 bytes"));
    write(raw_file("{}", 0, ~1ull));
    CHECK(contains(open_error(), "at most 100000000 are allowed"));
    const float values[6] = {};
    const std::vector<io::named_const_tensor> tensors{{"w", {2, 3}, values}};
    io::write_safetensors(path, tensors);
    const std::string whole = io::read_text(path);
    for (std::size_t n = 0; n < whole.size(); ++n) {
        write(whole.substr(0, n));
        REQUIRE(contains(open_error(), "x.safetensors"));
    }
    write(whole.substr(0, whole.size() - 4));
    CHECK(contains(open_error(), "tensor 'w': data_offsets end at byte 24, the file holds 20 bytes of data"));
    write(whole + "x");
    CHECK(contains(open_error(), "1 bytes behind the last tensor belong to none"));
    CHECK(contains(error_text<io_error>([&] { io::safetensors_file(folder / "none"); }), "none: cannot open for reading"));
}

TEST_CASE_FIXTURE(fixture, "safetensors: headers that are no header") {
    CHECK(contains(header_error("", 0), "does not begin with '{'"));
    CHECK(contains(header_error("[1]", 0), "does not begin with '{'"));
    CHECK(contains(header_error(" {}", 0), "does not begin with '{'"));
    CHECK(contains(header_error("{\"a\":", 0), "x.safetensors (header):1:6: syntax error"));
    CHECK(contains(header_error("{} x", 0), "x.safetensors (header):1:4"));
    CHECK(contains(header_error("{\"\xff\":1}", 0), "UTF-8"));
    CHECK(contains(header_error(std::string("{}\0 ", 4), 0), "x.safetensors (header):1:3: a NUL byte"));
    CHECK(contains(header_error("{\"a\":" + std::string(5'000, '['), 0), "nested deeper"));
    CHECK(contains(header_error("{\"a\":1}", 0), "tensor 'a': the value is an integer, expected an object"));
    CHECK(contains(header_error("{\"__metadata__\":[]}", 0), "__metadata__ is not an object"));
    CHECK(contains(header_error("{\"__metadata__\":{\"k\":1}}", 0), "__metadata__ 'k'"));
    const std::string good = "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}";
    CHECK(contains(header_error("{" + good + "," + good + "}", 4), "the key \"a\" comes twice"));
    CHECK(header_error("{" + good + "}  \n ", 4).empty());
    CHECK(header_error("{}", 0).empty());
    CHECK(contains(header_error("{}", 3), "3 bytes behind the last tensor"));
}

TEST_CASE_FIXTURE(fixture, "safetensors: bad types, shapes and offsets name the tensor") {
    const auto one = [&](const std::string& dtype, const std::string& shape, const std::string& offsets, std::size_t n_data) {
        return header_error("{\"w\":{\"dtype\":" + dtype + ",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}}", n_data);
    };
    CHECK(one("\"F32\"", "[2,3]", "[0,24]", 24).empty());
    CHECK(one("\"F32\"", "[]", "[0,4]", 4).empty());
    CHECK(contains(one("\"F33\"", "[1]", "[0,4]", 4), "tensor 'w': unknown dtype \"F33\""));
    CHECK(contains(one("4", "[1]", "[0,4]", 4), "tensor 'w': \"dtype\" is an integer, expected a string"));
    CHECK(contains(one("\"F32\"", "[2,3]", "[0,20]", 20), "tensor 'w': shape [2, 3] of F32 takes 6 × 4 bytes, data_offsets span 20"));
    CHECK(contains(one("\"F64\"", "[2,3]", "[0,24]", 24), "takes 6 × 8 bytes"));
    CHECK(contains(one("\"F32\"", "[2,3]", "[0,23]", 23), "takes 6 × 4 bytes"));
    CHECK(contains(one("\"F32\"", "[-1]", "[0,4]", 4), "impossible shape [-1]"));
    CHECK(contains(one("\"F32\"", "[1.5]", "[0,4]", 4), "\"shape[0]\" is a number, expected an integer"));
    CHECK(contains(one("\"F32\"", "3", "[0,4]", 4), "\"shape\" is an integer, expected an array"));
    CHECK(contains(one("\"F32\"", "[9223372036854775808]", "[0,4]", 4), "out of the range"));
    // 2^32 · 2^32 elements wrap to 0 in 64 bits; 2^62 elements of 4 bytes do too.
    CHECK(contains(one("\"F32\"", "[4294967296,4294967296]", "[0,0]", 0), "impossible shape"));
    CHECK(contains(one("\"F32\"", "[4611686018427387904]", "[0,0]", 0), "data_offsets span 0"));
    CHECK(one("\"F32\"", "[4294967296,4294967296,0]", "[0,0]", 0).empty());
    CHECK(contains(one("\"F32\"", "[1]", "[0,4,8]", 4), "data_offsets has 3 elements, expected 2"));
    CHECK(contains(one("\"F32\"", "[1]", "[4,0]", 4), "data_offsets [4, 0] end before they begin"));
    CHECK(contains(one("\"F32\"", "[1]", "[-4,0]", 4), "out of the range"));
    CHECK(contains(one("\"F32\"", "[1]", "[4,8]", 4), "data_offsets end at byte 8, the file holds 4 bytes"));
    CHECK(contains(one("\"F32\"", "[1]", "[18446744073709551612,18446744073709551616]", 4), "expected an integer"));
    CHECK(contains(one("\"F32\"", "[1]", "[0,18446744073709551615]", 4), "the file holds 4 bytes"));
    CHECK(contains(one("\"F32\"", "[1]", "[4,8]", 8), "tensor 'w' begins at byte 4 of the data, expected 0: a gap after the header"));
    CHECK(contains(header_error("{\"w\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4), "tensor 'w': the key \"dtype\" is missing"));
    const auto two = [&](const std::string& a, const std::string& b, std::size_t n_data) {
        return header_error("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" + a +
                                "},\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" + b + "}}", n_data);
    };
    CHECK(two("[0,4]", "[4,8]", 8).empty());
    CHECK(two("[4,8]", "[0,4]", 8).empty());
    CHECK(contains(two("[0,4]", "[3,7]", 7), "tensor 'b' begins at byte 3 of the data, expected 4: it overlaps tensor 'a'"));
    CHECK(contains(two("[0,4]", "[0,4]", 4), "it overlaps tensor"));
    CHECK(contains(two("[6,10]", "[0,4]", 10), "tensor 'a' begins at byte 6 of the data, expected 4: a gap after tensor 'b'"));
}

TEST_CASE_FIXTURE(fixture, "safetensors: reading another shape, type or name than the file has") {
    const float w[6] = {0, 1, 2, 3, 4, 1e30f};
    const std::int64_t ids[2] = {3, 300};
    const std::uint8_t flags[2] = {1, 2};
    const std::vector<io::named_const_tensor> tensors{{"w", {2, 3}, w}, {"ids", {2}, ids}, {"b", {2}, flags}};
    io::write_safetensors(path, tensors);
    const io::safetensors_file f(path);
    tensor<float, 2> wrong({3, 2});
    CHECK(error_text<shape_error>([&] { f.read_into("w", wrong); }) == path + ": tensor 'w' has shape [2, 3], expected [3, 2]");
    tensor<float, 1> flat({6});
    CHECK(contains(error_text<shape_error>([&] { f.read_into("w", flat); }), "expected [6]"));
    CHECK(contains(error_text<shape_error>([&] { f.read_into("w", io::named_tensor("v", {6}, flat.data())); }), "tensor 'w' has shape"));
    CHECK(contains(error_text<shape_error>([&] { f.read_range("w", 4, 3, flat.data()); }), "has 6 elements, 3 from 4 on asked for"));
    CHECK(contains(error_text<shape_error>([&] { f.read_range("w", -1, 2, flat.data()); }), "2 from -1 on"));
    CHECK(contains(error_text<shape_error>([&] { f.read_range("w", std::numeric_limits<index_t>::max(), 1, flat.data()); }), "asked for"));
    CHECK(error_text<parse_error>([&] { f.read<float>("v"); }) == path + ": there is no tensor 'v'");
    CHECK(contains(error_text<parse_error>([&] { f.read<std::int32_t>("w"); }), "tensor 'w' has type F32, which does not read as int32"));
    CHECK(contains(error_text<parse_error>([&] { f.read<float>("ids"); }), "tensor 'ids' has type I64, which does not read as float32"));
    CHECK(f.read<std::int32_t>("ids") == std::vector<std::int32_t>{3, 300});
    CHECK(contains(error_text<parse_error>([&] { f.read<std::uint8_t>("ids"); }), "tensor 'ids': element 1 does not fit uint8"));
    bool bools[2];
    CHECK(contains(error_text<parse_error>([&] { f.read_into("b", io::named_tensor("b", {2}, bools)); }), "U8, which does not read as bool"));
    write(raw_file("{\"b\":{\"dtype\":\"BOOL\",\"shape\":[2],\"data_offsets\":[0,2]}}", 1) + "\2");
    const io::safetensors_file g(path);
    CHECK(contains(error_text<parse_error>([&] { g.read_into("b", io::named_tensor("b", {2}, bools)); }), "element 1 does not fit bool"));
}

TEST_CASE_FIXTURE(fixture, "safetensors: a full disk or a kill leaves the previous file") {
    const std::vector<float> values(50'000, 1.0f);
    const float one = 1;
    const std::vector<io::named_const_tensor> small{{"a", {1}, &one}}, large{{"a", {50'000}, values.data()}};
    io::write_safetensors(path, small);
    const std::string before = io::read_text(path);
    {
        const test::file_size_limit limit(100'000);
        CHECK(contains(error_text<io_error>([&] { io::write_safetensors(path, large); }), "x.safetensors: cannot write"));
    }
    CHECK(io::read_text(path) == before);
    const int status = test::run_in_child([&] {
        const test::file_size_limit limit(100'000, true);
        io::write_safetensors(path, large);
    });
    CHECK(WIFSIGNALED(status));
    CHECK(io::safetensors_file(path).info("a").shape == std::vector<index_t>{1});
}
