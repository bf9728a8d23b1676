// The supervised contrastive loss on the CPU against the reference.

#include <cmath>
#include <limits>

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/ops/l2_normalize.hpp"
#include "instar/ops/ref/sup_con.hpp"
#include "support/compare.hpp"
#include "support/levels.hpp"

using namespace instar;

namespace {

tensor<std::int32_t, 1> random_labels(index_t n, std::uint32_t n_labels, std::uint64_t seed) {
    tensor<std::int32_t, 1> labels({n});
    const philox rng{.seed = seed};
    for (index_t i = 0; i < n; ++i) labels(i) = static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(i), n_labels + 1)) - 1;
    return labels;
}

template <class T>
void check_sup_con(double tolerance) {
    cpu_context one{1}, two{2};
    struct shape { index_t n, d; std::uint32_t n_labels; };
    for (const shape s : {shape{0, 4, 1}, {1, 4, 1}, {2, 3, 1}, {17, 5, 3}, {40, 33, 40}, {300, 16, 20}}) {
        CAPTURE(s.n);
        CAPTURE(s.d);
        auto z = test::random_tensor<T, 2>({s.n, s.d}, 1);
        const auto labels = random_labels(s.n, s.n_labels, 2);
        const ops::sup_con_options options{.temperature = 0.2, .denominator = 7.0};
        tensor<T, 1> loss({s.n}), loss_two({s.n}), expected({s.n});
        {
            cpu_context ctx;
            ops::l2_normalize_forward<T>(ctx, z, loss, z);
        }
        // dz accumulates: start from something.
        auto dz = test::random_tensor<T, 2>({s.n, s.d}, 3, -0.01, 0.01), dz_two = dz.clone(), dz_expected = dz.clone();
        ops::sup_con<T>(one, loss, dz, z, labels.view(), options);
        ops::sup_con<T>(two, loss_two, dz_two, z, labels.view(), options);
        ops::ref::sup_con<T>(expected, dz_expected, z, labels.view(), options);
        CHECK(test::nmse(loss.view(), expected.view()) <= tolerance);
        CHECK(test::nmse(dz.view(), dz_expected.view()) <= tolerance);
        CHECK(test::same_bits(loss.view(), loss_two.view()));
        CHECK(test::same_bits(dz.view(), dz_two.view()));
    }
}

}  // namespace

TEST_CASE("sup_con agrees with the reference in float") {
    test::for_each_level([] { check_sup_con<float>(1e-10); });
}
TEST_CASE("sup_con agrees with the reference in double") { check_sup_con<double>(1e-24); }

TEST_CASE("sup_con has no loss and no gradient without positives") {
    cpu_context ctx;
    const auto z = test::random_tensor<float, 2>({5, 8}, 1);
    tensor<std::int32_t, 1> labels({5});
    for (index_t i = 0; i < 5; ++i) labels(i) = static_cast<std::int32_t>(i < 3 ? i : -1);
    tensor<float, 1> loss({5});
    tensor<float, 2> dz({5, 8});
    ops::sup_con<float>(ctx, loss, dz, z, labels.view(), {});
    for (const float v : loss) CHECK(v == 0.0f);
    for (const float v : dz) CHECK(v == 0.0f);
}

TEST_CASE("sup_con of two equal pairs has a closed form") {
    cpu_context ctx;
    // Two unit vectors at a right angle, each twice: s = 1/τ with the partner, 0 with the two others.
    tensor<double, 2> z({4, 2}), dz({4, 2});
    z(0, 0) = z(1, 0) = z(2, 1) = z(3, 1) = 1.0;
    tensor<std::int32_t, 1> labels({4});
    labels(2) = labels(3) = 1;
    tensor<double, 1> loss({4});
    ops::sup_con<double>(ctx, loss, dz, z, labels.view(), {.temperature = 0.5});
    for (index_t i = 0; i < 4; ++i) CHECK(loss(i) == doctest::Approx(std::log(1.0 + 2.0 * std::exp(-2.0))).epsilon(1e-12));
}

TEST_CASE("sup_con passes on NaN") {
    cpu_context ctx;
    auto z = test::random_tensor<float, 2>({4, 8}, 1);
    z(2, 3) = std::numeric_limits<float>::quiet_NaN();
    tensor<std::int32_t, 1> labels({4});
    tensor<float, 1> loss({4});
    tensor<float, 2> dz({4, 8});
    ops::sup_con<float>(ctx, loss, dz, z, labels.view(), {});
    for (const float v : loss) CHECK(std::isnan(v));
}

TEST_CASE("sup_con names what is wrong before it writes") {
    cpu_context ctx;
    tensor<float, 2> z({3, 2}), wrong({2, 2});
    tensor<float, 1> loss({3}), two({2});
    tensor<std::int32_t, 1> labels({3}), wrong_labels({4});
    CHECK(test::error_text<shape_error>([&] { ops::sup_con<float>(ctx, two, z, z, labels.view(), {}); }) ==
          "sup_con: loss has shape [2], expected [3]");
    CHECK(test::error_text<shape_error>([&] { ops::sup_con<float>(ctx, loss, wrong, z, labels.view(), {}); }) ==
          "sup_con: dz has shape [2, 2], expected [3, 2]");
    CHECK(test::error_text<shape_error>([&] { ops::sup_con<float>(ctx, loss, z, z, wrong_labels.view(), {}); }) ==
          "sup_con: labels has shape [4], expected [3]");
    CHECK(test::error_text<value_error>([&] { ops::sup_con<float>(ctx, loss, z, z, labels.view(), {.temperature = 0.0}); }) ==
          "sup_con: options.temperature must be positive, is 0.000000");
    CHECK(test::error_text<value_error>([&] { ops::sup_con<float>(ctx, loss, z, z, labels.view(), {.denominator = 0.0}); }) ==
          "sup_con: options.denominator must not be zero");
}
