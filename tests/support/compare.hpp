#ifndef INSTAR_TESTS_SUPPORT_COMPARE_HPP
#define INSTAR_TESTS_SUPPORT_COMPARE_HPP

// Random tensors and comparisons for tests. Nothing here depends on doctest.
//
//     auto x = test::random_tensor<float, 2>({3, 5}, 7);            // uniform in [−1, 1), seed 7
//     auto p = test::random_tensor<double, 1>({9}, 8, 0.0, 1.0);
//     CHECK(test::nmse(y.view(), expected.view()) <= 1e-10);         // normalised mean square error
//     CHECK(test::same_bits(y1.view(), y2.view()));
//     CHECK(test::error_text([&] { ops::add<float>(ctx, y, a, b); }) == "add: a has shape [2], expected [3]");
//     auto wide = test::strided_rows<float>({3, 5}, 8, 9);            // rows 8 elements apart, for stride tests

#include <cmath>
#include <cstring>
#include <exception>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include "instar/core/philox.hpp"
#include "instar/core/tensor.hpp"

namespace instar::test {

/// Calls f with the address of every element, in row-major order.
template <class T, int Rank, class F>
void for_each_element(const tensor_view<T, Rank>& v, F&& f) {
    if constexpr (Rank == 1) {
        for (index_t i = 0; i < v.extent(0); ++i) f(v.data() + i * v.stride(0));
    } else {
        for (index_t i = 0; i < v.extent(0); ++i) for_each_element(v[i], f);
    }
}

template <class T>
double to_double(T value) {
    if constexpr (std::is_same_v<T, bf16>) return static_cast<double>(static_cast<float>(value));
    else return static_cast<double>(value);
}

/// numeric_limits knows nothing of bf16.
template <class T>
T quiet_nan() {
    if constexpr (std::is_same_v<T, bf16>) return bf16(std::numeric_limits<float>::quiet_NaN());
    else return std::numeric_limits<T>::quiet_NaN();
}

/// Uniform values in [low, high), the same on every run.
template <class T, int Rank>
void fill_random(const tensor_view<T, Rank>& v, std::uint64_t seed, double low = -1.0, double high = 1.0) {
    const philox rng{.seed = seed, .stream = 0x7465737473};
    std::uint64_t i = 0;
    for_each_element(v, [&](T* p) {
        const double value = low + (high - low) * static_cast<double>(rng.bits(i++)) * 0x1.0p-32;
        if constexpr (std::is_same_v<T, bf16>) *p = bf16(static_cast<float>(value));
        else *p = static_cast<T>(value);
    });
}

template <class T, int Rank>
tensor<T, Rank> random_tensor(const index_t (&extents)[Rank], std::uint64_t seed, double low = -1.0, double high = 1.0) {
    tensor<T, Rank> t(extents);
    fill_random(t.view(), seed, low, high);
    return t;
}

/// A tensor and a view of it whose rows lie `stride` elements apart. The gaps hold NaN, so that a kernel that reads
/// them shows it; gaps_intact tells whether one wrote there.
template <class T>
struct strided_rows {
    tensor<T, 2> memory;
    tensor_view<T, 2> view;

    strided_rows(const index_t (&extents)[2], index_t stride, std::uint64_t seed)
        : memory({extents[0], stride}), view(memory.data(), extents, {stride, 1}) {
        for (T& e : memory) e = quiet_nan<T>();
        fill_random(view, seed);
    }
    bool gaps_intact() const {
        for (index_t i = 0; i < memory.extent(0); ++i) {
            for (index_t j = view.extent(1); j < memory.extent(1); ++j) {
                if (!std::isnan(to_double(memory(i, j)))) return false;
            }
        }
        return true;
    }
};

/// Σ (actual − expected)² / Σ expected². A NaN must meet a NaN and an infinity the same infinity, else the result is
/// infinite; such pairs are left out of the sums. Views of different shapes give infinity.
template <class A, class E, int Rank>
double nmse(const tensor_view<A, Rank>& actual, const tensor_view<E, Rank>& expected) {
    constexpr double k_infinity = std::numeric_limits<double>::infinity();
    for (int d = 0; d < Rank; ++d) {
        if (actual.extent(d) != expected.extent(d)) return k_infinity;
    }
    std::vector<double> e;
    e.reserve(static_cast<std::size_t>(expected.size()));
    for_each_element(expected, [&](const E* p) { e.push_back(to_double(*p)); });
    double error = 0.0, energy = 0.0;
    std::size_t i = 0;
    bool comparable = true;
    for_each_element(actual, [&](const A* p) {
        const double a = to_double(*p), b = e[i++];
        if (std::isfinite(a) && std::isfinite(b)) {
            error += (a - b) * (a - b);
            energy += b * b;
        } else {
            comparable = comparable && ((std::isnan(a) && std::isnan(b)) || a == b);
        }
    });
    if (!comparable) return k_infinity;
    if (error == 0.0) return 0.0;
    return energy > 0.0 ? error / energy : k_infinity;
}

/// Largest |actual − expected| over the largest |expected|; the rules of nmse for what is not finite.
template <class A, class E, int Rank>
double max_error(const tensor_view<A, Rank>& actual, const tensor_view<E, Rank>& expected) {
    constexpr double k_infinity = std::numeric_limits<double>::infinity();
    if (actual.size() != expected.size()) return k_infinity;
    std::vector<double> e;
    for_each_element(expected, [&](const E* p) { e.push_back(to_double(*p)); });
    double error = 0.0, largest = 0.0;
    std::size_t i = 0;
    for_each_element(actual, [&](const A* p) {
        const double a = to_double(*p), b = e[i++];
        if (std::isfinite(a) && std::isfinite(b)) {
            error = std::fmax(error, std::fabs(a - b));
            largest = std::fmax(largest, std::fabs(b));
        } else if (!((std::isnan(a) && std::isnan(b)) || a == b)) {
            error = k_infinity;
        }
    });
    return error == 0.0 ? 0.0 : error / largest;
}

/// The same bits everywhere (NaN equals itself, −0 differs from 0).
template <class A, class B, int Rank>
bool same_bits(const tensor_view<A, Rank>& a, const tensor_view<B, Rank>& b) {
    using T = std::remove_const_t<A>;
    static_assert(std::is_same_v<T, std::remove_const_t<B>>);
    if (a.size() != b.size()) return false;
    std::vector<T> copy;
    for_each_element(a, [&](const T* p) { copy.push_back(*p); });
    std::size_t i = 0;
    bool same = true;
    for_each_element(b, [&](const T* p) { same = same && std::memcmp(p, &copy[i++], sizeof(T)) == 0; });
    return same;
}

/// what() of the exception that f throws, of type E; "" when nothing is thrown; another type passes through.
template <class E = error, class F>
std::string error_text(F&& f) {
    try {
        f();
    } catch (const E& e) {
        return e.what();
    }
    return "";
}

}  // namespace instar::test

#endif
