// Row operators on the emulated device against the reference: softmax, l2_normalize, cross_entropy, focal_loss.

#include <limits>

#include <doctest/doctest.h>

#include "instar/ops/cross_entropy.hpp"
#include "instar/ops/focal_loss.hpp"
#include "instar/ops/l2_normalize.hpp"
#include "instar/ops/ref/cross_entropy.hpp"
#include "instar/ops/ref/focal_loss.hpp"
#include "instar/ops/ref/l2_normalize.hpp"
#include "instar/ops/ref/softmax.hpp"
#include "instar/ops/softmax.hpp"
#include "support/emulated.hpp"

using namespace instar;

namespace {

constexpr float k_infinity = std::numeric_limits<float>::infinity();
constexpr float k_nan = std::numeric_limits<float>::quiet_NaN();
// Below and above the length from which a block shares a row; multiples of a pack and others.
constexpr index_t k_shapes[][2] = {{0, 4}, {1, 1}, {9, 7}, {82, 64}, {3, 1024}, {2, 1029}, {2, 3000}};

template <class T>
void check_softmax() {
    for (const auto& s : k_shapes) {
        const index_t n = s[0], d = s[1];
        CAPTURE(n);
        CAPTURE(d);
        const auto x = test::random_tensor<T, 2>({n, d}, 1, -8.0, 8.0), dy = test::random_tensor<T, 2>({n, d}, 2);
        tensor<T, 2> y({n, d}), e({n, d}), dx({n, d}), e_dx({n, d}), shuffled({n, d});
        ops::ref::softmax_forward<T>(e, x);
        ops::ref::softmax_backward<T>(e_dx, dy, e);
        test::for_each_order([&](cuda_context& ctx, int run) {
            ops::softmax_forward<T>(ctx, run == 0 ? y : shuffled, x);
            ops::softmax_backward<T>(ctx, dx, dy, e);
        });
        CHECK(test::close<T>(y.view(), e.view()));
        CHECK(test::same_bits(y.view(), shuffled.view()));
        if (d > 1) CHECK(test::close<T>(dx.view(), e_dx.view()));
    }
}

template <class T>
void check_l2_normalize() {
    cuda_context ctx;
    for (const auto& s : k_shapes) {
        const index_t n = s[0], d = s[1];
        CAPTURE(n);
        CAPTURE(d);
        const auto x = test::random_tensor<T, 2>({n, d}, 1), dy = test::random_tensor<T, 2>({n, d}, 2);
        tensor<T, 2> y({n, d}), e({n, d}), dx({n, d}), e_dx({n, d});
        tensor<float, 1> inv({n}), e_inv({n});
        ops::l2_normalize_forward<T>(ctx, y, inv, x);
        ops::ref::l2_normalize_forward<T>(e, e_inv, x);
        CHECK(test::close<T>(y.view(), e.view()));
        CHECK(test::close<float>(inv.view(), e_inv.view()));
        ops::l2_normalize_backward<T>(ctx, dx, dy, e, e_inv);
        ops::ref::l2_normalize_backward<T>(e_dx, dy, e, e_inv);
        if (d > 1) CHECK(test::close<T>(dx.view(), e_dx.view()));
    }
}

/// A loss over class indices beside its reference: with and without weights, without a gradient, and in the logits' place.
template <class T, class Ours, class Reference>
void check_class_loss(Ours ours, Reference reference) {
    for (const auto& s : k_shapes) {
        for (const bool weighted : {false, true}) {
            const index_t n = s[0], d = s[1];
            CAPTURE(n);
            CAPTURE(d);
            CAPTURE(weighted);
            auto x = test::random_tensor<T, 2>({n, d}, 1, -4.0, 4.0);
            const auto weights = test::random_tensor<float, 1>({weighted ? n : 0}, 2, 0.0, 2.0);
            tensor<std::int32_t, 1> targets({n});
            for (index_t r = 0; r < n; ++r) targets(r) = static_cast<std::int32_t>(r % 4 == 2 ? -1 : r * 31 % d);
            tensor<T, 2> dx({n, d}), e_dx({n, d});
            tensor<float, 1> loss({n}), e_loss({n}), loss_only({n});
            ours(loss.view(), dx.view(), std::as_const(x).view(), targets.view(), weights.view());
            reference(e_loss.view(), e_dx.view(), std::as_const(x).view(), targets.view(), weights.view());
            if (d > 1) {
                CHECK(test::close<float>(loss.view(), e_loss.view()));
                CHECK(test::close<T>(dx.view(), e_dx.view()));
            }
            ours(loss_only.view(), tensor_view<T, 2>{}, std::as_const(x).view(), targets.view(), weights.view());
            CHECK(test::same_bits(loss_only.view(), loss.view()));
            ours(loss_only.view(), x.view(), std::as_const(x).view(), targets.view(), weights.view());
            CHECK(test::same_bits(x.view(), dx.view()));
        }
    }
}

template <class T>
void check_cross_entropy() {
    cuda_context ctx;
    for (const double smoothing : {0.0, 0.1}) {
        CAPTURE(smoothing);
        const ops::cross_entropy_options o{.denominator = 3.0, .label_smoothing = smoothing};
        check_class_loss<T>([&](auto loss, auto dx, auto x, auto targets, auto weights) { ops::softmax_cross_entropy<T>(ctx, loss, dx, x, targets, weights, o); },
                            [&](auto loss, auto dx, auto x, auto targets, auto weights) { ops::ref::softmax_cross_entropy<T>(loss, dx, x, targets, weights, o); });
    }
}

template <class T>
void check_focal_loss() {
    cuda_context ctx;
    for (const double gamma : {0.0, 0.5, 2.0}) {
        CAPTURE(gamma);
        const ops::focal_loss_options o{.denominator = 3.0, .gamma = gamma};
        check_class_loss<T>([&](auto loss, auto dx, auto x, auto targets, auto weights) { ops::focal_loss<T>(ctx, loss, dx, x, targets, weights, o); },
                            [&](auto loss, auto dx, auto x, auto targets, auto weights) { ops::ref::focal_loss<T>(loss, dx, x, targets, weights, o); });
    }
}

}  // namespace

TEST_CASE("focal_loss on the emulated device agrees with the reference") {
    check_focal_loss<float>();
    check_focal_loss<bf16>();
}
TEST_CASE("focal_loss on the emulated device: sure, a target that does not exist, bad options") {
    cuda_context ctx;
    tensor<float, 2> x({3, 4}), dx({3, 4});
    tensor<float, 1> loss({3});
    tensor<std::int32_t, 1> targets({3});
    x(0, 1) = 300.0f, targets(0) = 1;  // p rounds to 1
    x(1, 1) = 300.0f, targets(1) = 0;  // p underflows
    targets(2) = 4;
    ops::focal_loss<float>(ctx, loss, dx, x, targets.view(), {}, {.gamma = 0.5});
    CHECK(loss(0) == 0.0f);
    for (index_t j = 0; j < 4; ++j) CHECK(dx(0, j) == 0.0f);
    CHECK(loss(1) == doctest::Approx(300.0f));
    CHECK(dx(1, 0) == doctest::Approx(-1.0f));
    CHECK(std::isnan(loss(2)));
    CHECK(test::error_text<value_error>([&] { ops::focal_loss<float>(ctx, loss, dx, x, targets.view(), {}, {.gamma = -1.0}); }).find("options.gamma") != std::string::npos);
}
TEST_CASE("softmax on the emulated device agrees with the reference") {
    check_softmax<float>();
    check_softmax<bf16>();
}
TEST_CASE("softmax on the emulated device keeps what is not finite in its row") {
    cuda_context ctx;
    for (const index_t d : {9, 1500}) {
        tensor<float, 2> x({4, d}), y({4, d}), e({4, d});
        x(0, 3) = -k_infinity;
        for (index_t j = 0; j < d; ++j) x(1, j) = -k_infinity;
        x(2, 5) = k_nan;
        x(3, 8) = 400.0f;
        ops::softmax_forward<float>(ctx, y, x);
        ops::ref::softmax_forward<float>(e, x);
        CHECK(test::close<float>(y.view(), e.view()));
        CHECK(y(0, 3) == 0.0f);
        CHECK(std::isnan(y(1, 0)));
        CHECK(std::isnan(y(2, 0)));
        CHECK(y(3, 8) == 1.0f);
    }
}
TEST_CASE("l2_normalize on the emulated device agrees with the reference") {
    check_l2_normalize<float>();
    check_l2_normalize<bf16>();
    cuda_context ctx;
    tensor<float, 2> zero({1, 5}), y({1, 5});
    tensor<float, 1> inv({1});
    ops::l2_normalize_forward<float>(ctx, y, inv, zero, 1e-6);
    CHECK(y(0, 4) == 0.0f);
    CHECK(inv(0) == doctest::Approx(1e6f));
}
TEST_CASE("cross_entropy on the emulated device agrees with the reference") {
    check_cross_entropy<float>();
    check_cross_entropy<bf16>();
}
TEST_CASE("cross_entropy on the emulated device answers a target that does not exist with NaN, and takes logits of −∞") {
    cuda_context ctx;
    auto x = test::random_tensor<float, 2>({3, 6}, 1);
    x(1, 2) = -k_infinity;
    tensor<float, 2> dx({3, 6}), e_dx({3, 6});
    tensor<float, 1> loss({3}), e_loss({3});
    tensor<std::int32_t, 1> targets({3});
    targets(0) = 6;
    targets(1) = 1;
    ops::softmax_cross_entropy<float>(ctx, loss, dx, x, targets.view(), {}, {});
    CHECK(std::isnan(loss(0)));
    CHECK(std::isnan(dx(0, 5)));
    targets(0) = 5;
    ops::ref::softmax_cross_entropy<float>(e_loss, e_dx, x, targets.view(), {}, {});
    CHECK(loss(1) == doctest::Approx(e_loss(1)));
    CHECK(dx(1, 2) == 0.0f);
    CHECK(test::close<float>(dx[1], e_dx[1]));
}
TEST_CASE("cross_entropy on the emulated device names what is wrong") {
    cuda_context ctx;
    tensor<float, 2> x({2, 3});
    tensor<float, 1> loss({2}), three({3});
    tensor<std::int32_t, 1> targets({2});
    CHECK(test::error_text<shape_error>([&] { ops::softmax_cross_entropy<float>(ctx, three, x, x, targets.view(), {}, {}); }) ==
          "softmax_cross_entropy: loss has shape [3], expected [2]");
    CHECK(test::error_text<value_error>([&] { ops::softmax_cross_entropy<float>(ctx, loss, x, x, targets.view(), {}, {.denominator = 0.0}); }) ==
          "softmax_cross_entropy: options.denominator must not be zero");
}
