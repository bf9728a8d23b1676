// io/npy.hpp: round trips, the three format versions, Fortran order, and bad files.
#include <doctest/doctest.h>

#include <limits>

#include "instar/io/npy.hpp"
#include "support/compare.hpp"
#include "support/temp_folder.hpp"

using namespace instar;
using test::error_text;

namespace {

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

std::string raw_file(int version, const std::string& header, const std::string& data) {
    std::string bytes = "\x93NUMPY";
    bytes += static_cast<char>(version);
    bytes += '\0';
    const std::size_t n = header.size();
    for (int i = 0; i < (version == 1 ? 2 : 4); ++i) bytes += static_cast<char>(n >> (8 * i) & 255);
    return bytes + header + data;
}

template <class T>
std::string bytes_of(const std::vector<T>& values) {
    return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

struct fixture {
    test::temp_folder folder;
    std::string path = folder / "x.npy";

    template <class T = float>
    std::string failure(const std::string& bytes) const {
        io::write_file(path, bytes);
        return error_text<parse_error>([&] { io::read_npy<T>(path); });
    }
    std::string header_failure(const std::string& header, const std::string& data = "") const { return failure(raw_file(1, header, data)); }
};

template <class T>
void round_trip(const std::string& path, std::initializer_list<T> values) {
    const std::vector<T> v(values);
    const tensor_view<const T, 2> view(v.data(), {static_cast<index_t>(v.size()) / 2, 2});
    io::write_npy(path, view);
    const auto back = io::read_npy<T>(path);
    CHECK(back.values == v);
    CHECK(back.shape == std::vector<index_t>{static_cast<index_t>(v.size()) / 2, 2});
    CHECK(io::read_npy_info(path).type == io::dtype_of<T>());
    CHECK(io::read_npy_info(path).data_begin % 64 == 0);
}

}  // namespace

TEST_CASE_FIXTURE(fixture, "npy: what is written is read") {
    round_trip<float>(path, {1.5f, -0.0f, std::numeric_limits<float>::infinity(), 3e-42f});
    round_trip<double>(path, {1.0 / 3.0, 1e300});
    round_trip<std::int8_t>(path, {-128, 127});
    round_trip<std::int16_t>(path, {-32768, 3});
    round_trip<std::int32_t>(path, {std::numeric_limits<std::int32_t>::min(), 3});
    round_trip<std::int64_t>(path, {std::numeric_limits<std::int64_t>::max(), 3});
    round_trip<std::uint8_t>(path, {255, 0});
    round_trip<std::uint64_t>(path, {~0ull, 0});
    round_trip<float>(path, {});
    const auto x = test::random_tensor<float, 4>({2, 3, 4, 5}, 1);
    io::write_npy(path, x.view());
    const auto back = io::read_npy<double>(path);
    CHECK(back.shape == std::vector<index_t>{2, 3, 4, 5});
    CHECK(std::equal(back.values.begin(), back.values.end(), x.begin()));
    const auto strided = test::strided_rows<float>({4, 3}, 9, 2);
    io::write_npy(path, strided.view);
    const auto rows = io::read_npy<float>(path);
    CHECK(rows.values[5] == strided.view(1, 2));
    CHECK(rows.values[11] == strided.view(3, 2));
    const bool flags[3] = {true, false, true};
    io::write_npy(path, tensor_view<const bool, 1>(flags, {3}));
    CHECK(io::read_npy<std::uint8_t>(path).values == std::vector<std::uint8_t>{1, 0, 1});
    CHECK(io::read_npy_info(path).shape == std::vector<index_t>{3});
}

TEST_CASE_FIXTURE(fixture, "npy: written in pieces, or not at all") {
    const std::vector<float> v(30'000, 2.0f);
    {
        io::npy_writer<float> out(path, {3, 10'000});
        for (int i = 0; i < 3; ++i) out.append(v.data(), 10'000);
        CHECK(contains(error_text<shape_error>([&] { out.append(v.data(), 1); }), "shape [3, 10000] has 0 elements left, 1 appended"));
        out.commit();
    }
    CHECK(io::read_npy<float>(path).values == v);
    {
        io::npy_writer<float> out(path, {5});
        out.append(v.data(), 4);
        CHECK(contains(error_text<shape_error>([&] { out.commit(); }), "1 of the elements of shape [5] are missing"));
    }
    CHECK(io::read_npy<float>(path).values.size() == 30'000);
    {
        io::npy_writer<double> out(path, {});
        const double scalar = 0.25;
        out.append(&scalar, 1);
        out.commit();
    }
    CHECK(io::read_npy<double>(path).shape.empty());
    CHECK(io::read_npy<double>(path).values == std::vector<double>{0.25});
    CHECK(contains(error_text<value_error>([&] { io::npy_writer<float>(path, {-1}); }), "impossible shape [-1]"));
    CHECK(contains(error_text<io_error>([&] { io::write_npy(folder / "no/x.npy", tensor_view<const float, 1>(v.data(), {3})); }), "no/x.npy: cannot create"));
    CHECK(folder.names() == std::vector<std::string>{"x.npy"});
}

TEST_CASE_FIXTURE(fixture, "npy: the three versions, spellings of the header, Fortran order") {
    const std::string data = bytes_of<float>({0, 1, 2, 3, 4, 5});
    for (int version : {1, 2, 3}) {
        io::write_file(path, raw_file(version, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }   \n", data));
        CHECK(io::read_npy<float>(path).values == std::vector<float>{0, 1, 2, 3, 4, 5});
    }
    for (const char* header : {"{\"shape\":(6,),\"descr\":\"<f4\",\"fortran_order\":False}", "{'descr':'=f4','fortran_order':True,'shape':(6L,)}\n",
                               "{ 'fortran_order' : False , 'descr' : '<f4' , 'shape' : ( 6 , ) , }"}) {
        CAPTURE(header);
        CHECK(failure(raw_file(1, header, data)).empty());
        CHECK(io::read_npy<float>(path).values == std::vector<float>{0, 1, 2, 3, 4, 5});
    }
    io::write_file(path, raw_file(1, "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3)}", data));
    CHECK(io::read_npy<float>(path).values == std::vector<float>{0, 2, 4, 1, 3, 5});
    // Three dimensions against the definition: element (i, j, k) lies at i + 2·(j + 3·k).
    std::vector<std::int32_t> f(24);
    for (int i = 0; i < 24; ++i) f[static_cast<std::size_t>(i)] = i;
    io::write_file(path, raw_file(1, "{'descr': '<i4', 'fortran_order': True, 'shape': (2, 3, 4)}", bytes_of(f)));
    const auto a = io::read_npy<std::int64_t>(path);
    for (int i = 0, at = 0; i < 2; ++i) {
        for (int j = 0; j < 3; ++j) {
            for (int k = 0; k < 4; ++k, ++at) CHECK(a.values[static_cast<std::size_t>(at)] == i + 2 * (j + 3 * k));
        }
    }
    io::write_file(path, raw_file(1, "{'descr': '<f4', 'fortran_order': True, 'shape': (3, 0, 2)}", ""));
    CHECK(io::read_npy<float>(path).values.empty());
    io::write_file(path, raw_file(1, "{'descr': '<f2', 'fortran_order': False, 'shape': (2,)}", bytes_of<std::uint16_t>({0x3c00, 0xc000})));
    CHECK(io::read_npy<float>(path).values == std::vector<float>{1.0f, -2.0f});
    io::write_file(path, raw_file(1, "{'descr': '|b1', 'fortran_order': False, 'shape': (2,)}", "\1\2"));
    CHECK(contains(error_text<parse_error>([&] { io::read_npy<std::uint8_t>(path); }), "element 1 does not fit uint8"));
}

TEST_CASE_FIXTURE(fixture, "npy: truncated files and bad headers") {
    const auto x = test::random_tensor<float, 2>({3, 4}, 1);
    io::write_npy(path, x.view());
    const std::string whole = io::read_text(path);
    for (std::size_t n = 0; n < whole.size(); ++n) REQUIRE(contains(failure(whole.substr(0, n)), "x.npy"));
    CHECK(contains(failure(whole.substr(0, whole.size() - 4)), "shape [3, 4] of F32 takes 12 × 4 bytes, 44 follow the header"));
    CHECK(contains(failure(whole + "x"), "49 follow the header"));
    CHECK(contains(failure("\x93NUMPX\1\0\0\0\0\0"), "truncated"));
    CHECK(contains(failure("PK\3\4 a zip archive"), "does not begin with"));
    CHECK(contains(failure(raw_file(4, "{}", "")), "npy format 4.0 is not supported"));
    CHECK(contains(failure(raw_file(2, "{}", "").substr(0, 11)), "truncated inside the header's length"));
    CHECK(contains(failure(std::string("\x93NUMPY\2\0\xff\xff\xff\xff", 12)), "the header claims 4294967295 bytes, 0 follow"));

    const auto dict = [](const std::string& descr, const std::string& order, const std::string& shape) {
        return "{'descr': " + descr + ", 'fortran_order': " + order + ", 'shape': " + shape + "}";
    };
    const std::string four = bytes_of<float>({1});
    CHECK(header_failure(dict("'<f4'", "False", "()"), four).empty());
    CHECK(contains(header_failure(dict("'>f4'", "False", "()"), four), "byte order '>' of '>f4' is not supported"));
    CHECK(contains(header_failure(dict("'<c8'", "False", "()"), four), "element type '<c8' is not supported"));
    CHECK(contains(header_failure(dict("'|O'", "False", "()"), four), "element type '|O' is not supported"));
    CHECK(contains(header_failure(dict("'<U3'", "False", "()"), four), "element type '<U3' is not supported"));
    CHECK(contains(header_failure(dict("''", "False", "()"), four), "element type '' is not supported"));
    CHECK(contains(header_failure(dict("[('a', '<f4')]", "False", "()"), four), "structured arrays are not supported"));
    CHECK(contains(header_failure(dict("'<f4'", "0", "()"), four), "neither True nor False"));
    CHECK(contains(header_failure(dict("'<f4'", "False", "(-1,)"), four), "expected an extent"));
    CHECK(contains(header_failure(dict("'<f4'", "False", "(1"), four), "expected ')'"));
    CHECK(contains(header_failure(dict("'<f4'", "False", "1"), four), "expected '('"));
    CHECK(contains(header_failure(dict("'<f4'", "False", "(99999999999999999999,)"), four), "an extent is too large"));
    CHECK(contains(header_failure(dict("'<f4'", "False", "(4294967296, 4294967296)"), ""), "takes more than 2^62 × 4 bytes"));
    CHECK(contains(header_failure(dict("'<f4'", "False", "(288230376151711744, 16)"), ""), "0 follow the header"));
    CHECK(contains(header_failure("{'descr': '<f4', 'shape': ()}", four), "is missing"));
    CHECK(contains(header_failure("{'descr': '<f4', 'descr': '<f4'}", four), "the key 'descr' comes twice"));
    CHECK(contains(header_failure("{'other': 1}", four), "unknown key 'other'"));
    CHECK(contains(header_failure("{'descr: 1", four), "a string is not closed"));
    CHECK(contains(header_failure("", four), "expected '{'"));
    CHECK(contains(header_failure(dict("'<f4'", "False", "()") + " 1", four), "text behind the dictionary"));
    CHECK(contains(failure<std::int32_t>(raw_file(1, dict("'<f4'", "False", "()"), four)), "holds F32, which does not read as int32"));
    CHECK(contains(failure<std::int32_t>(raw_file(1, dict("'<i8'", "False", "(1,)"), bytes_of<std::int64_t>({1ll << 40}))), "element 0 does not fit int32"));
    CHECK(contains(error_text<io_error>([&] { io::read_npy<float>(folder / "none.npy"); }), "none.npy: cannot open"));
}
