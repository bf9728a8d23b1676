// Files that Python's safetensors and numpy wrote (tests/reference/file_interop.py --golden): element j is 7 j - 11, a quarter
// of it for floating point, modulo the type.
#include <doctest/doctest.h>

#include "instar/io/npy.hpp"
#include "instar/io/safetensors.hpp"

using namespace instar;

namespace {

const std::string k_folder = "tests/golden/data/";

template <class T>
T formula(std::size_t j) {
    const int v = 7 * static_cast<int>(j) - 11;
    if constexpr (std::is_floating_point_v<T>) return static_cast<T>(v) / 4;
    else return static_cast<T>(v);
}

template <class T>
void check(const std::vector<T>& values) {
    REQUIRE(values.size() == 60);
    for (std::size_t j = 0; j < values.size(); ++j) REQUIRE(values[j] == formula<T>(j));
}

}  // namespace

TEST_CASE("files: safetensors of every type, written by Python") {
    const io::safetensors_file f(k_folder + "io_types.safetensors");
    CHECK(f.metadata() == io::safetensors_metadata{{"format", "np"}, {"text", "ünïcode \"quoted\""}});
    CHECK(f.info("i4").shape == std::vector<index_t>{3, 4, 5});
    check(f.read<float>("f2"));
    check(f.read<float>("f4"));
    check(f.read<float>("f8"));
    check(f.read<double>("f8"));
    check(f.read<std::int16_t>("i2"));
    check(f.read<std::int32_t>("i4"));
    check(f.read<std::int64_t>("i4"));
    check(f.read<std::int64_t>("i8"));
    check(f.read<std::int8_t>("i1"));
    check(f.read<std::uint8_t>("u1"));
    check(f.read<std::uint16_t>("u2"));
    check(f.read<std::uint32_t>("u4"));
    check(f.read<std::uint64_t>("u8"));
    const auto flags = f.read<std::uint8_t>("b1");
    for (std::size_t j = 0; j < 60; ++j) CHECK(flags[j] == (j % 3 == 0));
    CHECK(f.read<float>("scalar") == std::vector<float>{-2.75f});
    CHECK(f.info("scalar").shape.empty());
    CHECK(f.info("empty").shape == std::vector<index_t>{0, 3});
    tensor<float, 3> x({3, 4, 5});
    f.read_into("f2", x);
    CHECK(x(2, 3, 4) == formula<float>(59));
    const io::safetensors_file g(k_folder + "io_bf16.safetensors");
    const auto b = g.read<float>("bf16");
    for (std::size_t j = 0; j < 60; ++j) CHECK(b[j] == static_cast<float>(bf16(formula<float>(j))));
}

TEST_CASE("files: npy in C and Fortran order, versions 1 and 3, written by numpy") {
    const auto f4 = io::read_npy<float>(k_folder + "io_f4.npy");
    CHECK(f4.shape == std::vector<index_t>{3, 4, 5});
    check(f4.values);
    check(io::read_npy<std::int64_t>(k_folder + "io_i8_fortran.npy").values);
    CHECK(io::read_npy_info(k_folder + "io_i8_fortran.npy").fortran_order);
    check(io::read_npy<double>(k_folder + "io_f8_version3.npy").values);
}
