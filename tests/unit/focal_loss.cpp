// Focal loss against the reference, against cross-entropy, by central differences, and at its edges.
#include <cmath>
#include <limits>

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/ops/cross_entropy.hpp"
#include "instar/ops/focal_loss.hpp"
#include "instar/ops/ref/focal_loss.hpp"
#include "support/compare.hpp"
#include "support/levels.hpp"

using namespace instar;

namespace {

tensor<std::int32_t, 1> some_targets(index_t n, index_t n_classes) {
    tensor<std::int32_t, 1> t({n});
    for (index_t i = 0; i < n; ++i) t(i) = i % 5 == 4 ? -1 : static_cast<std::int32_t>(7 * i % n_classes);
    return t;
}

template <class T>
void check_focal(double tolerance) {
    cpu_context one{1}, two{2};
    for (const auto& [n, c] : {std::pair<index_t, index_t>{0, 3}, {1, 2}, {9, 3}, {13, 16}, {6, 17}, {5, 260}}) {
        for (const double gamma : {0.0, 0.5, 1.0, 2.0, 3.5}) {
            for (const bool weighted : {false, true}) {
                CAPTURE(n);
                CAPTURE(c);
                CAPTURE(gamma);
                const auto x = test::random_tensor<T, 2>({n, c}, 1, -6.0, 6.0);
                const auto targets = some_targets(n, c);
                const auto weights = test::random_tensor<float, 1>({weighted ? n : 0}, 3, 0.2, 2.0);
                const ops::focal_loss_options options{.denominator = 2.5, .gamma = gamma};
                tensor<T, 2> dx({n, c}), dx_two({n, c}), expected({n, c});
                tensor<T, 1> loss({n}), loss_two({n}), loss_expected({n}), alone({n});
                ops::focal_loss<T>(one, loss, dx, x, targets.view(), weights.view(), options);
                ops::focal_loss<T>(two, loss_two, dx_two, x, targets.view(), weights.view(), options);
                ops::focal_loss<T>(two, alone, {}, x, targets.view(), weights.view(), options);
                ops::ref::focal_loss<T>(loss_expected, expected, x, targets.view(), weights.view(), options);
                CHECK(test::nmse(loss.view(), loss_expected.view()) <= tolerance);
                CHECK(test::nmse(dx.view(), expected.view()) <= tolerance);
                CHECK(test::same_bits(loss.view(), loss_two.view()));
                CHECK(test::same_bits(dx.view(), dx_two.view()));
                CHECK(test::same_bits(loss.view(), alone.view()));
                auto in_place = test::random_tensor<T, 2>({n, c}, 1, -6.0, 6.0);
                ops::focal_loss<T>(one, loss, in_place, in_place, targets.view(), weights.view(), options);
                CHECK(test::same_bits(in_place.view(), dx.view()));
            }
        }
    }
}

}  // namespace

TEST_CASE("focal_loss agrees with the reference") {
    test::for_each_level([] { check_focal<float>(1e-10); });
    check_focal<double>(1e-26);
}

TEST_CASE("focal_loss with gamma 0 is cross-entropy; central differences give its gradient") {
    cpu_context ctx;
    auto x = test::random_tensor<double, 2>({6, 5}, 4, -3.0, 3.0);
    const auto targets = some_targets(6, 5);
    tensor<double, 1> loss({6}), other({6});
    tensor<double, 2> dx({6, 5}), dy({6, 5});
    ops::focal_loss<double>(ctx, loss, dx, x, targets.view(), {}, {.gamma = 0.0});
    ops::softmax_cross_entropy<double>(ctx, other, dy, x, targets.view(), {}, {});
    CHECK(test::nmse(loss.view(), other.view()) <= 1e-28);
    CHECK(test::nmse(dx.view(), dy.view()) <= 1e-28);
    for (const double gamma : {0.5, 2.0, 5.0}) {
        ops::focal_loss<double>(ctx, loss, dx, x, targets.view(), {}, {.gamma = gamma});
        for (index_t i = 0; i < x.size(); ++i) {
            const double h = 1e-5, old = x.data()[i];
            const auto total = [&](double v) {
                x.data()[i] = v;
                ops::focal_loss<double>(ctx, loss, {}, x, targets.view(), {}, {.gamma = gamma});
                double s = 0.0;
                for (const double l : loss) s += l;
                return s;
            };
            const double slope = (total(old + h) - total(old - h)) / (2 * h);
            x.data()[i] = old;
            CHECK(dx.data()[i] == doctest::Approx(slope).epsilon(1e-6).scale(0.1));
        }
    }
}

TEST_CASE("focal_loss at its edges: sure, hopeless, NaN, bad options") {
    cpu_context ctx;
    tensor<float, 2> x({3, 2}), dx({3, 2});
    tensor<float, 1> loss({3});
    tensor<std::int32_t, 1> targets({3});
    x(0, 0) = 200.0f, x(0, 1) = -200.0f;  // surely right: nothing to learn
    x(1, 0) = -200.0f, x(1, 1) = 200.0f;  // surely wrong: the slope of cross-entropy
    x(2, 0) = std::numeric_limits<float>::quiet_NaN(), x(2, 1) = 0.0f;
    for (const double gamma : {0.5, 2.0}) {
        ops::focal_loss<float>(ctx, loss.view(), dx.view(), x.view(), targets.view(), {}, {.gamma = gamma});
        CHECK(loss(0) == 0.0f);
        CHECK(dx(0, 0) == 0.0f);
        CHECK(dx(0, 1) == 0.0f);
        CHECK(loss(1) == doctest::Approx(400.0));
        CHECK(dx(1, 0) == doctest::Approx(-1.0));
        CHECK(dx(1, 1) == doctest::Approx(1.0));
        CHECK(std::isnan(loss(2)));
    }
    targets(1) = 2;
    CHECK_THROWS_WITH_AS(ops::focal_loss<float>(ctx, loss.view(), dx.view(), x.view(), targets.view(), {}, {}), "focal_loss: targets[1] is 2, expected less than 2", value_error);
    targets(1) = 0;
    CHECK_THROWS_AS(ops::focal_loss<float>(ctx, loss.view(), dx.view(), x.view(), targets.view(), {}, {.gamma = -1.0}), value_error);
    CHECK_THROWS_AS(ops::focal_loss<float>(ctx, loss.view(), dx.view(), x.view(), targets.view(), {}, {.denominator = 0.0}), value_error);
}
