// The vector functions of simd/math.inl against the C library in double, over the range of float: every 7,919th float of
// each sign, all special values, and the stretches where results leave float's range.

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include "instar/ops/cpu/simd/math.hpp"
#include "support/levels.hpp"

using namespace instar;
namespace simd = instar::ops::cpu::simd;

namespace {

constexpr float k_infinity = std::numeric_limits<float>::infinity();

/// The distance of neighbouring floats at a value.
double ulp_of(double value) {
    const double magnitude = std::fabs(value);
    if (magnitude < 0x1p-126) return 0x1p-149;
    int exponent = 0;
    std::frexp(magnitude, &exponent);
    return std::ldexp(1.0, exponent - 24);
}

std::vector<float> floats_of_both_signs(std::uint32_t first, std::uint32_t last, std::uint32_t step) {
    std::vector<float> x;
    for (std::uint64_t u = first; u <= last; u += step) {
        const float f = std::bit_cast<float>(static_cast<std::uint32_t>(u));
        x.push_back(f);
        x.push_back(-f);
    }
    return x;
}

std::vector<float> sample() {
    std::vector<float> x = floats_of_both_signs(0, 0x7f800000u, 7919);
    const auto append = [&](const std::vector<float>& more) { x.insert(x.end(), more.begin(), more.end()); };
    append(floats_of_both_signs(0x3f000000u, 0x40c00000u, 997));                       // 0.5 … 6
    append(floats_of_both_signs(std::bit_cast<std::uint32_t>(86.0f), std::bit_cast<std::uint32_t>(105.0f), 97));
    append({0.0f, -0.0f, 1.0f, -1.0f, std::numeric_limits<float>::denorm_min(), std::numeric_limits<float>::min(),
            std::numeric_limits<float>::max(), -std::numeric_limits<float>::max(), k_infinity, -k_infinity,
            std::numeric_limits<float>::quiet_NaN()});
    return x;
}

struct worst {
    double ulp = 0.0;
    double absolute = 0.0;
    float at = 0.0f;
    int special = 0;  ///< where one result is NaN or infinite and the other is not the same
};

template <class Kernel, class Reference>
worst measure(Kernel&& kernel, Reference&& reference, const std::vector<float>& x) {
    std::vector<float> y(x.size());
    kernel(y.data(), x.data(), static_cast<index_t>(x.size()));
    worst w;
    for (std::size_t i = 0; i < x.size(); ++i) {
        const double expected = reference(static_cast<double>(x[i]));
        const double rounded = static_cast<double>(static_cast<float>(expected));
        const double actual = static_cast<double>(y[i]);
        if (!std::isfinite(rounded) || !std::isfinite(actual)) {
            const bool same = std::isnan(rounded) ? std::isnan(actual) : actual == rounded;
            if (!same) ++w.special;
            continue;
        }
        const double error = std::fabs(actual - expected);
        w.absolute = std::fmax(w.absolute, error);
        if (error / ulp_of(expected) > w.ulp) {
            w.ulp = error / ulp_of(expected);
            w.at = x[i];
        }
    }
    return w;
}

double exact_gelu(double v) { return v * 0.5 * std::erfc(-v * 0.70710678118654752440); }
double exact_gelu_gradient(double v) {
    return 0.5 * std::erfc(-v * 0.70710678118654752440) + v * 0.39894228040143267794 * std::exp(-0.5 * v * v);
}

}  // namespace

TEST_CASE("vec_math exp, log and erf are within their bounds over the range of float") {
    const std::vector<float> x = sample();
    test::for_each_level([&] {
        const bool has_fma = simd::active_level() != simd::level::base;
        const worst e = measure(INSTAR_SIMD_PICK(exp_range), [](double v) { return std::exp(v); }, x);
        CAPTURE(e.at);
        CHECK(e.ulp <= (has_fma ? 1.1 : 1.4));
        CHECK(e.special == 0);
        const worst l = measure(INSTAR_SIMD_PICK(log_range), [](double v) { return std::log(v); }, x);
        CAPTURE(l.at);
        CHECK(l.ulp <= 0.9);
        CHECK(l.special == 0);
        const worst r = measure(INSTAR_SIMD_PICK(erf_range), [](double v) { return std::erf(v); }, x);
        CAPTURE(r.at);
        CHECK(r.ulp <= (has_fma ? 1.3 : 1.5));
        CHECK(r.special == 0);
    });
}

TEST_CASE("vec_math gelu and its gradient are within their bounds over the range of float") {
    const std::vector<float> x = sample();
    std::vector<float> centre;
    for (const float v : x) {
        if (std::fabs(v) <= 5.0f) centre.push_back(v);
    }
    test::for_each_level([&] {
        const bool has_fma = simd::active_level() != simd::level::base;
        const worst all = measure(INSTAR_SIMD_PICK(gelu_range), exact_gelu, x);
        CAPTURE(all.at);
        CHECK(all.ulp <= 11.0);
        CHECK(all.special == 0);
        const worst c = measure(INSTAR_SIMD_PICK(gelu_range), exact_gelu, centre);
        CAPTURE(c.at);
        CHECK(c.ulp <= (has_fma ? 5.0 : 7.0));
        std::vector<float> one(x.size(), 1.0f);
        const auto gradient = [&](float* y, const float* from, index_t n) { INSTAR_SIMD_PICK(gelu_gradient_range)(y, one.data(), from, n); };
        const worst g = measure(gradient, exact_gelu_gradient, x);
        CHECK(g.absolute <= 1.4e-7);
        CHECK(g.special == 0);
    });
}

TEST_CASE("vec_math kernels handle every length, write nothing past it, and work in place") {
    test::for_each_level([] {
        for (index_t n = 0; n <= 70; ++n) {
            std::vector<float> x(static_cast<std::size_t>(n) + 1), y(static_cast<std::size_t>(n) + 1, 77.0f);
            for (std::size_t i = 0; i < x.size(); ++i) x[i] = 0.1f * static_cast<float>(i) - 3.0f;
            const auto last = static_cast<std::size_t>(n);
            x[last] = 5.0f;
            INSTAR_SIMD_PICK(exp_range)(y.data(), x.data(), n);
            CHECK(y[last] == 77.0f);
            for (std::size_t i = 0; i < last; ++i) CHECK(std::fabs(y[i] - std::exp(x[i])) <= 2e-7f * y[i]);
            INSTAR_SIMD_PICK(exp_range)(x.data(), x.data(), n);
            CHECK(x[last] == 5.0f);
            for (std::size_t i = 0; i < last; ++i) CHECK(x[i] == y[i]);
        }
    });
}
