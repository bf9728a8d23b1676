#ifndef INSTAR_CORE_ELEMENT_HPP
#define INSTAR_CORE_ELEMENT_HPP

// Element types of tensors: float, double (CPU only, for gradient checks) and bf16 (on the CPU what transformers need).
//
//     instar::bf16 h{1.5f};                 // rounds to nearest, ties to even
//     float x = static_cast<float>(h);      // exact
//     instar::element_name<float>();        // "float32"

#include <concepts>
#include <cstdint>

#include "instar/core/version.hpp"

namespace instar {

/// Sizes, indices and strides. Signed, so that differences are safe; 64 bits, so that no product of extents overflows.
using index_t = std::int64_t;

/// Brain floating point: the upper half of a float. Storage only; arithmetic happens in float.
struct bf16 {
    std::uint16_t bits = 0;

    bf16() = default;
    INSTAR_HOST_DEVICE explicit bf16(float value) noexcept {
        // The builtin instead of std::bit_cast: nvcc does not let device code call a constexpr function of the host's library.
        const auto u = __builtin_bit_cast(std::uint32_t, value);
        // A NaN must stay one: rounding its mantissa up could carry into the exponent.
        if ((u & 0x7fffffffu) > 0x7f800000u) {
            bits = static_cast<std::uint16_t>((u >> 16) | 0x0040u);
        } else {
            bits = static_cast<std::uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
        }
    }
    INSTAR_HOST_DEVICE explicit operator float() const noexcept {
        return __builtin_bit_cast(float, static_cast<std::uint32_t>(bits) << 16);
    }
    friend bool operator==(const bf16&, const bf16&) = default;
};

/// Element types that all operators accept on the CPU. bf16: those that a transformer's training step is made of.
template <class T>
concept real = std::same_as<T, float> || std::same_as<T, double>;

/// The type sums are kept in: float for float and bf16, double for double.
template <class T>
struct accumulator {
    using type = float;
};
template <>
struct accumulator<double> {
    using type = double;
};
template <class T>
using accumulator_t = typename accumulator<T>::type;

/// The field's name of an element type, as numpy and safetensors users know it.
template <class T>
constexpr const char* element_name() {
    if constexpr (std::same_as<T, float>) return "float32";
    else if constexpr (std::same_as<T, double>) return "float64";
    else if constexpr (std::same_as<T, bf16>) return "bfloat16";
    else if constexpr (std::same_as<T, std::int32_t>) return "int32";
    else if constexpr (std::same_as<T, std::int64_t>) return "int64";
    else if constexpr (std::same_as<T, std::uint8_t>) return "uint8";
    else if constexpr (std::same_as<T, bool>) return "bool";
    else return "unknown";
}

}  // namespace instar

#endif
