// Softmax cross-entropy on the CPU against the reference.

#include <cmath>
#include <limits>

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/ops/ref/cross_entropy.hpp"
#include "support/compare.hpp"
#include "support/levels.hpp"

using namespace instar;

namespace {

tensor<std::int32_t, 1> random_targets(index_t n, index_t n_classes, std::uint64_t seed) {
    tensor<std::int32_t, 1> t({n});
    const philox rng{.seed = seed};
    for (index_t i = 0; i < n; ++i) {
        const auto draw = static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(i), static_cast<std::uint32_t>(n_classes + 1)));
        t(i) = draw == n_classes ? -100 : draw;
    }
    return t;
}

template <class T>
void check_cross_entropy(double tolerance) {
    cpu_context one{1}, two{2};
    const index_t shapes[][2] = {{0, 5}, {1, 1}, {9, 3}, {7, 16}, {6, 17}, {5, 260}, {3, 1003}, {2, 65540}};
    for (const auto& s : shapes) {
        for (const double smoothing : {0.0, 0.1}) {
            for (const bool weighted : {false, true}) {
                CAPTURE(s[0]);
                CAPTURE(s[1]);
                CAPTURE(smoothing);
                CAPTURE(weighted);
                const auto x = test::random_tensor<T, 2>({s[0], s[1]}, 1, -8.0, 8.0);
                const auto targets = random_targets(s[0], s[1], 2);
                const auto weights = test::random_tensor<float, 1>({weighted ? s[0] : 0}, 3, 0.2, 2.0);
                const ops::cross_entropy_options options{.denominator = 3.5, .label_smoothing = smoothing};
                tensor<T, 2> dx({s[0], s[1]}), dx_two({s[0], s[1]}), dx_expected({s[0], s[1]});
                tensor<T, 1> loss({s[0]}), loss_two({s[0]}), loss_expected({s[0]}), loss_only({s[0]});
                ops::softmax_cross_entropy<T>(one, loss, dx, x, targets.view(), weights.view(), options);
                ops::softmax_cross_entropy<T>(two, loss_two, dx_two, x, targets.view(), weights.view(), options);
                ops::softmax_cross_entropy<T>(two, loss_only, {}, x, targets.view(), weights.view(), options);
                ops::ref::softmax_cross_entropy<T>(loss_expected, dx_expected, x, targets.view(), weights.view(), options);
                CHECK(test::nmse(loss.view(), loss_expected.view()) <= tolerance);
                // With one class the gradient is 0 up to rounding: nothing to be relative to.
                if (s[1] > 1) CHECK(test::nmse(dx.view(), dx_expected.view()) <= tolerance);
                CHECK(test::same_bits(loss.view(), loss_two.view()));
                CHECK(test::same_bits(dx.view(), dx_two.view()));
                CHECK(test::same_bits(loss.view(), loss_only.view()));
            }
        }
    }
}

}  // namespace

TEST_CASE("cross_entropy agrees with the reference in float") {
    test::for_each_level([] { check_cross_entropy<float>(1e-11); });
}
TEST_CASE("cross_entropy agrees with the reference in double") { check_cross_entropy<double>(1e-26); }

TEST_CASE("cross_entropy takes strided rows and works in place") {
    cpu_context ctx;
    test::strided_rows<float> x({6, 37}, 48, 1), dx({6, 37}, 41, 2);
    const auto targets = random_targets(6, 37, 5);
    tensor<float, 1> loss({6}), in_place_loss({6});
    ops::softmax_cross_entropy<float>(ctx, loss, dx.view, x.view, targets.view(), {}, {});
    CHECK(dx.gaps_intact());
    ops::softmax_cross_entropy<float>(ctx, in_place_loss, x.view, x.view, targets.view(), {}, {});
    CHECK(test::same_bits(x.view, dx.view));
    CHECK(test::same_bits(loss.view(), in_place_loss.view()));
    CHECK(x.gaps_intact());
}

TEST_CASE("cross_entropy of ignored, extreme and NaN rows") {
    test::for_each_level([] {
        cpu_context ctx;
        constexpr float k_infinity = std::numeric_limits<float>::infinity(), k_nan = std::numeric_limits<float>::quiet_NaN();
        for (const index_t n : {5, 16, 37}) {
            CAPTURE(n);
            tensor<float, 2> x({5, n}), dx({5, n});
            tensor<float, 1> loss({5});
            tensor<std::int32_t, 1> targets({5});
            for (index_t j = 0; j < n; ++j) {
                x(0, j) = k_nan;                                       // ignored: its logits do not matter
                x(1, j) = j == 2 ? 80.0f : -80.0f;                     // certain and right
                x(2, j) = j == n - 1 ? k_nan : 0.0f;                   // NaN shows
                x(3, j) = j == 1 ? -k_infinity : 0.0f;                 // an impossible class that is not the target
                x(4, j) = j == 2 ? -k_infinity : 0.0f;                 // the target is impossible
                dx(0, j) = 7.0f;
            }
            targets(0) = -1;
            for (index_t r = 1; r < 5; ++r) targets(r) = 2;
            ops::softmax_cross_entropy<float>(ctx, loss, dx, x, targets.view(), {}, {});
            CHECK(loss(0) == 0.0f);
            CHECK(loss(1) == 0.0f);
            CHECK(std::isnan(loss(2)));
            CHECK(loss(3) == doctest::Approx(std::log(static_cast<double>(n - 1))).epsilon(1e-6));
            CHECK(loss(4) == k_infinity);
            for (index_t j = 0; j < n; ++j) {
                CHECK(dx(0, j) == 0.0f);
                CHECK(std::fabs(dx(1, j)) < 1e-30f);
                CHECK(std::isnan(dx(2, j)));
            }
            CHECK(dx(3, 1) == 0.0f);
        }
    });
}

TEST_CASE("cross_entropy names what is wrong before it writes") {
    cpu_context ctx;
    tensor<float, 2> x({2, 3}), wrong({2, 4}), dx({2, 3});
    tensor<float, 1> loss({2}), three({3});
    tensor<std::int32_t, 1> targets({2});
    loss(0) = 9.0f;
    const auto text = [&](out_view<float, 1> l, tensor_view<float, 2> d, tensor_view<const float, 1> w, ops::cross_entropy_options o) {
        return test::error_text([&] { ops::softmax_cross_entropy<float>(ctx, l, d, x, targets.view(), w, o); });
    };
    CHECK(text(three, dx, {}, {}) == "softmax_cross_entropy: loss has shape [3], expected [2]");
    CHECK(text(loss, wrong, {}, {}) == "softmax_cross_entropy: dlogits has shape [2, 4], expected [2, 3]");
    CHECK(text(loss, dx, three, {}) == "softmax_cross_entropy: row_weights has shape [3], expected [2]");
    CHECK(text(loss, dx, {}, {.denominator = 0.0}) == "softmax_cross_entropy: options.denominator must not be zero");
    CHECK(text(loss, dx, {}, {.label_smoothing = 1.5}) ==
          "softmax_cross_entropy: options.label_smoothing must be in [0, 1], is 1.500000");
    targets(1) = 3;
    CHECK(text(loss, dx, {}, {}) == "softmax_cross_entropy: targets[1] is 3, expected less than 3");
    CHECK(loss(0) == 9.0f);
}
