// The sigmoid loss on the CPU against the reference.

#include <cmath>
#include <limits>

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/ops/cpu/info_nce_tiles.hpp"
#include "instar/ops/ref/siglip.hpp"
#include "support/info_nce.hpp"
#include "support/levels.hpp"

using namespace instar;

namespace {

using test::info_nce_case;

template <class T>
struct results : test::info_nce_results<T> {
    tensor<T, 1> bias, d_bias;
    explicit results(const info_nce_case& c, double start = 0x1.0p-7)
        : test::info_nce_results<T>(c, start),
          bias({1}),
          d_bias({1}) {
        bias(0) = T(-4.5);
        d_bias(0) = static_cast<T>(start);
    }
};

template <class T>
void run(cpu_context& ctx, const test::info_nce_problem<T>& p, results<T>& r, const ops::siglip_options& options) {
    ops::siglip<T>(ctx, r.row_loss, r.da, r.db, r.d_logit_scale, r.d_bias, p.a, p.b, p.logit_scale, r.bias, p.targets(),
                   options);
}

template <class T>
void check_siglip(const info_nce_case& c, const ops::siglip_options& options, double tolerance) {
    const std::string problem = c.text();
    CAPTURE(problem);
    cpu_context one{1}, two{2};
    const test::info_nce_problem<T> p(c);
    results<T> r(c), r_two(c);
    run(one, p, r, options);
    run(two, p, r_two, options);
    const test::info_nce_problem<double> q = p.in_double();
    results<double> e(c);
    ops::ref::siglip<double>(e.row_loss, e.da, e.db, e.d_logit_scale, e.d_bias, q.a, q.b, q.logit_scale, e.bias,
                             q.targets(), options);
    CHECK(test::nmse(r.row_loss.view(), e.row_loss.view()) <= tolerance);
    CHECK(test::nmse(r.da.view(), e.da.view()) <= tolerance);
    CHECK(test::nmse(r.db.view(), e.db.view()) <= tolerance);
    CHECK(std::fabs(static_cast<double>(r.d_logit_scale(0)) - e.d_logit_scale(0)) <=
          std::sqrt(tolerance) * std::fmax(1.0, std::fabs(e.d_logit_scale(0))));
    CHECK(std::fabs(static_cast<double>(r.d_bias(0)) - e.d_bias(0)) <=
          std::sqrt(tolerance) * std::fmax(1.0, std::fabs(e.d_bias(0))));
    CHECK(test::same_bits(r.row_loss.view(), r_two.row_loss.view()));
    CHECK(test::same_bits(r.da.view(), r_two.da.view()));
    CHECK(test::same_bits(r.db.view(), r_two.db.view()));
    CHECK(test::same_bits(r.d_logit_scale.view(), r_two.d_logit_scale.view()));
    CHECK(test::same_bits(r.d_bias.view(), r_two.d_bias.view()));
    // The loss alone.
    results<T> loss_only(c);
    ops::siglip<T>(one, loss_only.row_loss, {}, {}, {}, {}, p.a, p.b, p.logit_scale, r.bias, p.targets(), options);
    CHECK(test::same_bits(loss_only.row_loss.view(), r.row_loss.view()));
}

template <class T>
void check_all(double tolerance) {
    for (const info_nce_case& c : {info_nce_case{.n = 0, .m = 0, .d = 4},
                                   {.n = 1, .m = 1, .d = 1},
                                   {.n = 7, .m = 7, .d = 5},
                                   {.n = 61, .m = 61, .d = 24},
                                   {.n = 12, .m = 50, .d = 9, .diagonal = 20},
                                   {.n = 40, .m = 40, .d = 8, .logit_scale = std::log(100.0)}}) {
        check_siglip<T>(c, {}, tolerance);
    }
    for (const bool masked : {true, false}) {
        check_siglip<T>({.n = 45, .m = 71, .d = 12, .labelled = true, .masked = masked}, {.weight = 0.3, .mean = false},
                        tolerance);
        check_siglip<T>({.n = 52, .m = 52, .d = 12, .masked = masked}, {}, tolerance);
    }
}

}  // namespace

TEST_CASE("siglip agrees with the reference in float") {
    test::for_each_level([] { check_all<float>(1e-10); });
}
TEST_CASE("siglip agrees with the reference in double") { check_all<double>(1e-24); }
TEST_CASE("siglip agrees with the reference over several tiles") {
    check_siglip<float>({.n = ops::cpu::k_info_nce_tile + 5, .m = ops::cpu::k_info_nce_tile + 60, .d = 3}, {}, 1e-10);
}

TEST_CASE("siglip keeps the digits of many small losses") {
    // All negatives, far away: a sum of n·m terms of 4.5e-5, which log(1 + e) in float would round to multiples of 1.2e-7.
    cpu_context ctx;
    const index_t n = 50;
    tensor<float, 2> a({n, 2});
    tensor<float, 1> scale({1}), bias({1}), loss({n});
    bias(0) = -10.0f;
    ops::siglip<float>(ctx, loss, {}, {}, {}, {}, a, a, scale, bias, {.diagonal = n}, {.mean = false});
    CHECK(static_cast<double>(loss(3)) == doctest::Approx(50.0 * std::log1p(std::exp(-10.0))).epsilon(1e-6));
}

TEST_CASE("siglip names what is wrong before it writes") {
    cpu_context ctx;
    const info_nce_case c{.n = 4, .m = 5, .d = 3};
    test::info_nce_problem<float> p(c);
    results<float> r(c);
    const auto text = [&](auto& da, auto& d_bias) {
        return test::error_text<error>([&] {
            ops::siglip<float>(ctx, r.row_loss, da, r.db, {}, d_bias, p.a, p.b, p.logit_scale, r.bias, {}, {});
        });
    };
    CHECK(text(r.db, r.d_bias) == "siglip: da has shape [5, 3], expected [4, 3]");
    CHECK(text(r.da, r.row_loss) == "siglip: d_logit_bias has shape [4], expected [1]");
    r.bias(0) = std::numeric_limits<float>::infinity();
    CHECK(text(r.da, r.d_bias) == "siglip: logit_bias is inf, must be finite");
    p.logit_scale(0) = std::numeric_limits<float>::quiet_NaN();
    CHECK(text(r.da, r.d_bias) == "siglip: logit_scale is nan, it and its exponential must be finite");
}
