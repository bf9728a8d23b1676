#ifndef INSTAR_IO_DTYPE_HPP
#define INSTAR_IO_DTYPE_HPP

// Element types of files, and the conversions that reading and writing do.
//
//     io::dtype_of<float>();                              // io::dtype::f32
//     io::dtype_size(io::dtype::bf16);                     // 2
//     io::dtype_name(io::dtype::i64);                      // "I64", as safetensors spells it
//     io::named_tensor{"classifier.bias", {256}, pointer}; // where a named tensor is read to
//
// Floating point converts to floating point (round to nearest even), integers and BOOL convert to integers that hold the
// value; nothing converts between the two kinds. Files are little-endian, and so must the host be.

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "instar/core/element.hpp"
#include "instar/core/error.hpp"

namespace instar::io {

static_assert(std::endian::native == std::endian::little, "instar reads and writes files on little-endian hosts");

enum class dtype : std::uint8_t { f64, f32, f16, bf16, i64, i32, i16, i8, u64, u32, u16, u8, boolean, f8_e4m3, f8_e5m2 };

namespace detail {
struct dtype_row {
    dtype type;
    std::string_view name;  // of safetensors
    std::size_t size;
};
inline constexpr dtype_row k_dtypes[] = {
    {dtype::f64, "F64", 8}, {dtype::f32, "F32", 4}, {dtype::f16, "F16", 2},      {dtype::bf16, "BF16", 2},       {dtype::i64, "I64", 8},
    {dtype::i32, "I32", 4}, {dtype::i16, "I16", 2}, {dtype::i8, "I8", 1},        {dtype::u64, "U64", 8},         {dtype::u32, "U32", 4},
    {dtype::u16, "U16", 2}, {dtype::u8, "U8", 1},   {dtype::boolean, "BOOL", 1}, {dtype::f8_e4m3, "F8_E4M3", 1}, {dtype::f8_e5m2, "F8_E5M2", 1},
};
}  // namespace detail

constexpr std::string_view dtype_name(dtype t) { return detail::k_dtypes[static_cast<std::size_t>(t)].name; }
constexpr std::size_t dtype_size(dtype t) { return detail::k_dtypes[static_cast<std::size_t>(t)].size; }

/// The element type of a C++ type. float16 has none: it exists in files only.
template <class T>
constexpr dtype dtype_of() {
    if constexpr (std::same_as<T, double>) return dtype::f64;
    else if constexpr (std::same_as<T, float>) return dtype::f32;
    else if constexpr (std::same_as<T, instar::bf16>) return dtype::bf16;
    else if constexpr (std::same_as<T, bool>) return dtype::boolean;
    else if constexpr (std::signed_integral<T> && sizeof(T) == 8) return dtype::i64;
    else if constexpr (std::signed_integral<T> && sizeof(T) == 4) return dtype::i32;
    else if constexpr (std::signed_integral<T> && sizeof(T) == 2) return dtype::i16;
    else if constexpr (std::signed_integral<T> && sizeof(T) == 1) return dtype::i8;
    else if constexpr (std::unsigned_integral<T> && sizeof(T) == 8) return dtype::u64;
    else if constexpr (std::unsigned_integral<T> && sizeof(T) == 4) return dtype::u32;
    else if constexpr (std::unsigned_integral<T> && sizeof(T) == 2) return dtype::u16;
    else if constexpr (std::unsigned_integral<T> && sizeof(T) == 1) return dtype::u8;
    else static_assert(sizeof(T) == 0, "no file format holds this element type");
}

/// "[258, 768]"; "[]" is a scalar.
inline std::string shape_string(const std::vector<index_t>& shape) {
    std::string s = "[";
    for (std::size_t d = 0; d < shape.size(); ++d) s += (d ? ", " : "") + std::to_string(shape[d]);
    return s + "]";
}

/// Product of the extents; −1 when one is negative or the product does not fit 62 bits.
inline index_t element_count(const std::vector<index_t>& shape) {
    index_t n = 1;
    bool empty = false;
    for (const index_t e : shape) {
        if (e < 0) return -1;
        empty = empty || e == 0;
    }
    if (empty) return 0;
    for (const index_t e : shape) {
        if (n > (index_t{1} << 62) / e) return -1;
        n *= e;
    }
    return n;
}

/// Where one tensor of a file goes to: contiguous, row-major memory of the caller's.
struct named_tensor {
    std::string name;
    std::vector<index_t> shape;
    dtype type;
    void* data;

    template <class T>
    named_tensor(std::string name_, std::vector<index_t> shape_, T* data_)
        : name(std::move(name_)), shape(std::move(shape_)), type(dtype_of<T>()), data(data_) {}
};

/// What is written to a file under a name.
struct named_const_tensor {
    std::string name;
    std::vector<index_t> shape;
    dtype type;
    const void* data;

    template <class T>
    named_const_tensor(std::string name_, std::vector<index_t> shape_, const T* data_)
        : name(std::move(name_)), shape(std::move(shape_)), type(dtype_of<T>()), data(data_) {}
    named_const_tensor(const named_tensor& t) : name(t.name), shape(t.shape), type(t.type), data(t.data) {}
};

namespace detail {

/// IEEE half to float; exact, subnormals, infinities and NaN included. No subnormal float appears on the way, so a process
/// that flushes them to zero reads the same values.
inline float half_to_float(std::uint16_t h) noexcept {
    const std::uint32_t sign = (h & 0x8000u) << 16;
    const std::uint32_t magnitude = h & 0x7fffu;
    std::uint32_t bits = (magnitude << 13) + 0x38000000u;              // exponent bias 15 to 127
    if (magnitude >= 0x7c00u) bits = 0x7f800000u | (magnitude & 0x3ffu) << 13;
    if (magnitude < 0x0400u) bits = std::bit_cast<std::uint32_t>(static_cast<float>(magnitude) * 0x1p-24f);
    return std::bit_cast<float>(bits | sign);
}

/// Float to IEEE half, nearest even; overflow gives infinity.
inline std::uint16_t float_to_half(float value) noexcept {
    const auto u = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t sign = (u >> 16) & 0x8000u, magnitude = u & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return static_cast<std::uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
    if (magnitude >= 0x477ff000u) return static_cast<std::uint16_t>(sign | 0x7c00u);  // 65520 and above round to infinity
    if (magnitude < 0x38800000u) {
        // Subnormal half: adding 0.5 puts its unit, 2^-24, at the float's last place, so the addition itself rounds.
        const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
        return static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(shifted) - 0x3f000000u));
    }
    const std::uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u) - 0x38000000u;
    return static_cast<std::uint16_t>(sign | (rounded >> 13));
}

template <class T>
constexpr bool is_float_element = std::same_as<T, float> || std::same_as<T, double> || std::same_as<T, instar::bf16>;

template <class To>
To from_float(double v) {
    if constexpr (std::same_as<To, instar::bf16>) return instar::bf16(static_cast<float>(v));
    else return static_cast<To>(v);
}

/// A bool read from a file may hold any byte; only 0 and 1 may become a C++ bool.
template <class To, class From>
index_t convert_integers(To* to, const From* from, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) {
        if constexpr (std::same_as<To, bool>) {
            if (from[i] != From{0} && from[i] != From{1}) return static_cast<index_t>(i);
            to[i] = from[i] != From{0};
        } else {
            if (!std::in_range<To>(from[i])) return static_cast<index_t>(i);
            to[i] = static_cast<To>(from[i]);
        }
    }
    return -1;
}

}  // namespace detail

/// Whether elements of type `from` can be read as To.
template <class To>
constexpr bool convertible(dtype from) {
    const bool is_float = from == dtype::f64 || from == dtype::f32 || from == dtype::f16 || from == dtype::bf16;
    const bool is_integer = from >= dtype::i64 && from <= dtype::u8;
    if constexpr (detail::is_float_element<To>) return is_float;
    else if constexpr (std::same_as<To, bool>) return from == dtype::boolean;
    else return is_integer || from == dtype::boolean;
}

/// Converts n elements; both ends aligned for their type, not overlapping. Returns −1, or the index of the first element
/// whose value To cannot hold (or that is no 0 or 1 in a BOOL). The caller has checked convertible<To>(type).
template <class To>
index_t convert_elements(To* to, dtype type, const void* from, std::size_t n) {
    if (n == 0) return -1;
    if constexpr (detail::is_float_element<To>) {
        switch (type) {
        case dtype::f64:
            for (std::size_t i = 0; i < n; ++i) to[i] = detail::from_float<To>(static_cast<const double*>(from)[i]);
            return -1;
        case dtype::f32:
            for (std::size_t i = 0; i < n; ++i) to[i] = detail::from_float<To>(static_cast<double>(static_cast<const float*>(from)[i]));
            return -1;
        case dtype::f16:
            for (std::size_t i = 0; i < n; ++i) {
                to[i] = detail::from_float<To>(static_cast<double>(detail::half_to_float(static_cast<const std::uint16_t*>(from)[i])));
            }
            return -1;
        case dtype::bf16:
            for (std::size_t i = 0; i < n; ++i) {
                to[i] = detail::from_float<To>(static_cast<double>(static_cast<float>(static_cast<const instar::bf16*>(from)[i])));
            }
            return -1;
        default: break;
        }
    } else {
        switch (type) {
        case dtype::i64: return detail::convert_integers(to, static_cast<const std::int64_t*>(from), n);
        case dtype::i32: return detail::convert_integers(to, static_cast<const std::int32_t*>(from), n);
        case dtype::i16: return detail::convert_integers(to, static_cast<const std::int16_t*>(from), n);
        case dtype::i8: return detail::convert_integers(to, static_cast<const std::int8_t*>(from), n);
        case dtype::u64: return detail::convert_integers(to, static_cast<const std::uint64_t*>(from), n);
        case dtype::u32: return detail::convert_integers(to, static_cast<const std::uint32_t*>(from), n);
        case dtype::u16: return detail::convert_integers(to, static_cast<const std::uint16_t*>(from), n);
        case dtype::u8: return detail::convert_integers(to, static_cast<const std::uint8_t*>(from), n);
        case dtype::boolean: {
            const auto* bytes = static_cast<const std::uint8_t*>(from);
            for (std::size_t i = 0; i < n; ++i) {
                if (bytes[i] > 1) return static_cast<index_t>(i);
                to[i] = static_cast<To>(bytes[i]);
            }
            return -1;
        }
        default: break;
        }
    }
    throw value_error("convert_elements: " + std::string(dtype_name(type)) + " does not convert to " + element_name<To>());
}

/// Calls f with a null pointer of the C++ type that memory of this dtype holds; value_error for types without one.
template <class F>
decltype(auto) with_element_type(dtype type, F&& f) {
    switch (type) {
    case dtype::f64: return f(static_cast<double*>(nullptr));
    case dtype::f32: return f(static_cast<float*>(nullptr));
    case dtype::bf16: return f(static_cast<instar::bf16*>(nullptr));
    case dtype::i64: return f(static_cast<std::int64_t*>(nullptr));
    case dtype::i32: return f(static_cast<std::int32_t*>(nullptr));
    case dtype::i16: return f(static_cast<std::int16_t*>(nullptr));
    case dtype::i8: return f(static_cast<std::int8_t*>(nullptr));
    case dtype::u64: return f(static_cast<std::uint64_t*>(nullptr));
    case dtype::u32: return f(static_cast<std::uint32_t*>(nullptr));
    case dtype::u16: return f(static_cast<std::uint16_t*>(nullptr));
    case dtype::u8: return f(static_cast<std::uint8_t*>(nullptr));
    case dtype::boolean: return f(static_cast<bool*>(nullptr));
    default: throw value_error("memory holds no elements of type " + std::string(dtype_name(type)));
    }
}

}  // namespace instar::io

#endif
