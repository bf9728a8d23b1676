// Max pooling on the emulated device against the reference: maxima and places bit for bit, equals, NaN, odd sizes, bad shapes.

#include <limits>

#include <doctest/doctest.h>

#include "instar/ops/ref/max_pool2d.hpp"
#include "support/emulated.hpp"

using namespace instar;

namespace {

struct pool_case {
    index_t n, height, width, d;
    ops::max_pool2d_options o;
};

constexpr pool_case k_cases[] = {
    {1, 1, 1, 1, {.kernel = 1, .stride = 1, .padding = 0}},
    {1, 1, 1, 8, {.kernel = 3, .stride = 2, .padding = 1}},
    {2, 7, 6, 5, {}},
    {2, 7, 6, 16, {}},
    {3, 9, 11, 4, {.kernel = 2, .stride = 2, .padding = 0}},
    {2, 8, 5, 3, {.kernel = 3, .stride = 1, .padding = 1}},
    {1, 13, 10, 24, {.kernel = 5, .stride = 3, .padding = 2}},
    {1, 9, 9, 8, {.kernel = 2, .stride = 5, .padding = 1}},  // pixels that no window covers
    {0, 7, 6, 8, {}},
};

template <class T>
void check_max_pool2d(const pool_case& p) {
    CAPTURE(p.height);
    CAPTURE(p.d);
    CAPTURE(p.o.kernel);
    const index_t h = p.o.out(p.height), w = p.o.out(p.width);
    // Few different values, so that many are equal; and some that are no numbers.
    auto x = test::random_tensor<T, 4>({p.n, p.height, p.width, p.d}, 1);
    for (index_t i = 0; i < x.size(); ++i) {
        x.data()[i] = T(static_cast<float>(static_cast<int>(4.0f * static_cast<float>(x.data()[i]))));
        if (i % 41 == 7) x.data()[i] = T(std::numeric_limits<float>::quiet_NaN());
        if (i % 29 == 3) x.data()[i] = T(-std::numeric_limits<float>::infinity());
    }
    const auto dy = test::random_tensor<T, 4>({p.n, h, w, p.d}, 2);
    tensor<T, 4> e({p.n, h, w, p.d}), e_dx({p.n, p.height, p.width, p.d});
    tensor<std::int32_t, 4> e_place({p.n, h, w, p.d});
    ops::ref::max_pool2d_forward<T>(e.view(), e_place.view(), x, p.o);
    ops::ref::max_pool2d_backward<T>(e_dx.view(), dy, e_place.view());
    tensor<T, 4> first;
    test::for_each_order([&](cuda_context& ctx, int run) {
        auto y = test::random_tensor<T, 4>({p.n, h, w, p.d}, 3), dx = test::random_tensor<T, 4>({p.n, p.height, p.width, p.d}, 4);
        tensor<std::int32_t, 4> place({p.n, h, w, p.d});
        ops::max_pool2d_forward<T>(ctx, y.view(), place.view(), x, p.o);
        CHECK(test::same_bits(y.view(), e.view()));
        CHECK(test::same_bits(place.view(), e_place.view()));
        ops::max_pool2d_backward<T>(ctx, dx.view(), dy, place.view(), p.o);
        CHECK(test::close<T>(dx.view(), e_dx.view()));
        if (run == 0) first = std::move(dx);
        else CHECK(test::same_bits(dx.view(), first.view()));
    });
}

}  // namespace

TEST_CASE("max_pool2d on the emulated device agrees with the reference") {
    for (const auto& p : k_cases) {
        check_max_pool2d<float>(p);
        check_max_pool2d<bf16>(p);
    }
}
TEST_CASE("max_pool2d on the emulated device names what does not fit") {
    cuda_context ctx;
    tensor<float, 4> x({1, 4, 4, 2}), y({1, 2, 2, 2}), wide({1, 2, 3, 2});
    tensor<std::int32_t, 4> place({1, 2, 2, 2});
    const auto forward = [&](tensor<float, 4>& to, ops::max_pool2d_options o) {
        return test::error_text([&] { ops::max_pool2d_forward<float>(ctx, to.view(), place.view(), x, o); });
    };
    CHECK(forward(wide, {}) == "max_pool2d_forward: y has shape [1, 2, 3, 2], expected [1, 2, 2, 2]");
    CHECK(forward(y, {.kernel = 7, .stride = 1, .padding = 0}) == "max_pool2d_forward: a window of 7 does not fit an image of 4 × 4");
    CHECK(forward(y, {.kernel = 3, .stride = 1, .padding = 2}).find("padding at most half the kernel") != std::string::npos);
    CHECK(test::error_text<shape_error>([&] { ops::max_pool2d_backward<float>(ctx, x.view(), y, place.view(), {.kernel = 2, .stride = 1, .padding = 0}); }) ==
          "max_pool2d_backward: dy has shape [1, 2, 2, 2], expected [1, 3, 3, 2]");
}
