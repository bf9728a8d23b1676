// The AdamW update on the CPU against the reference, over several steps.

#include <cmath>
#include <limits>

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/ops/ref/adamw.hpp"
#include "support/compare.hpp"
#include "support/levels.hpp"

using namespace instar;

namespace {

template <class T>
struct state {
    tensor<T, 1> p, m, v;
    explicit state(index_t n) : p(test::random_tensor<T, 1>({n}, 1)), m({n}), v({n}) {}
};

template <class T>
void check_adamw(double tolerance) {
    cpu_context one{1}, two{2};
    for (const index_t n : {0, 1, 3, 16, 17, 65, 1000, 50003}) {
        CAPTURE(n);
        state<T> a(n), b(n), e(n);
        for (index_t step = 1; step <= 5; ++step) {
            const auto g = test::random_tensor<T, 1>({n}, 10 + static_cast<std::uint64_t>(step));
            const ops::adamw_options options{.lr = 1e-2, .beta2 = 0.98, .weight_decay = 0.05, .step = step, .grad_scale = 0.7};
            ops::adamw_update<T>(one, a.p, a.m, a.v, g, options);
            ops::adamw_update<T>(two, b.p, b.m, b.v, g, options);
            ops::ref::adamw_update<T>(e.p, e.m, e.v, g, options);
            CHECK(test::same_bits(a.p.view(), b.p.view()));
            CHECK(test::same_bits(a.m.view(), b.m.view()));
            CHECK(test::same_bits(a.v.view(), b.v.view()));
        }
        CHECK(test::nmse(a.p.view(), e.p.view()) <= tolerance);
        CHECK(test::nmse(a.m.view(), e.m.view()) <= tolerance);
        CHECK(test::nmse(a.v.view(), e.v.view()) <= tolerance);
        const auto g = test::random_tensor<T, 1>({n}, 99);
        const double norm = ops::squared_norm<T>(one, g);
        CHECK(norm == ops::squared_norm<T>(two, g));
        CHECK(norm == doctest::Approx(ops::ref::squared_norm<T>(g)).epsilon(1e-12));
    }
}

}  // namespace

TEST_CASE("adamw agrees with the reference in float") {
    test::for_each_level([] { check_adamw<float>(1e-12); });
}
TEST_CASE("adamw agrees with the reference in double") { check_adamw<double>(1e-26); }

TEST_CASE("adamw moves by lr on the first step, whatever the gradient's size") {
    cpu_context ctx;
    tensor<float, 1> p({40}), m({40}), v({40}), g({40});
    for (index_t i = 0; i < 40; ++i) g(i) = (i % 2 ? 1.0f : -1.0f) * std::pow(10.0f, static_cast<float>(i % 8) - 3.0f);
    ops::adamw_update<float>(ctx, p, m, v, g, {.lr = 0.01});
    for (index_t i = 0; i < 40; ++i) CHECK(p(i) == doctest::Approx(i % 2 ? -0.01 : 0.01).epsilon(1e-4));
}

TEST_CASE("adamw with a zero gradient only decays, and a NaN gradient stays in its element") {
    cpu_context ctx;
    tensor<float, 1> p({40}), m({40}), v({40}), g({40});
    for (float& x : p) x = 2.0f;
    g(20) = std::numeric_limits<float>::quiet_NaN();
    ops::adamw_update<float>(ctx, p, m, v, g, {.lr = 0.1, .weight_decay = 0.5});
    for (index_t i = 0; i < 40; ++i) {
        if (i == 20) CHECK(std::isnan(p(i)));
        else CHECK(p(i) == doctest::Approx(1.9));
    }
    CHECK(std::isnan(ops::squared_norm<float>(ctx, g)));
}

TEST_CASE("adamw squared_norm does not overflow where float would") {
    cpu_context ctx;
    tensor<float, 1> g({100});
    for (float& x : g) x = 1e30f;
    CHECK(ops::squared_norm<float>(ctx, g) == doctest::Approx(1e62));
}

TEST_CASE("adamw names what is wrong") {
    cpu_context ctx;
    tensor<float, 1> three({3}), four({4});
    CHECK(test::error_text<shape_error>([&] { ops::adamw_update<float>(ctx, three, four, three, three, {}); }) ==
          "adamw_update: m has shape [4], expected [3]");
    CHECK(test::error_text<shape_error>([&] { ops::adamw_update<float>(ctx, three, three, four, three, {}); }) ==
          "adamw_update: v has shape [4], expected [3]");
    CHECK(test::error_text<shape_error>([&] { ops::adamw_update<float>(ctx, three, three, three, four, {}); }) ==
          "adamw_update: gradients has shape [4], expected [3]");
    const auto options = [&](ops::adamw_options o) {
        return test::error_text<value_error>([&] { ops::adamw_update<float>(ctx, three, three, three, three, o); });
    };
    CHECK(options({.lr = std::numeric_limits<double>::quiet_NaN()}) == "adamw_update: options.lr must be finite and at least 0, is nan");
    CHECK(options({.beta1 = 1.0}) == "adamw_update: options.beta1 must be in [0, 1), is 1.000000");
    CHECK(options({.beta2 = -0.1}) == "adamw_update: options.beta2 must be in [0, 1), is -0.100000");
    CHECK(options({.step = 0}) == "adamw_update: options.step must be at least 1, is 0");
}
