// fill, copy, add and scale on the CPU against the reference.

#include <limits>

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/ops/ref/elementwise.hpp"
#include "support/compare.hpp"
#include "support/levels.hpp"

using namespace instar;

namespace {

template <class T>
void check_elementwise() {
    cpu_context one{1}, two{2};
    for (const index_t n : {0, 1, 3, 16, 17, 64, 65, 1000, 50001}) {
        CAPTURE(n);
        const auto a = test::random_tensor<T, 1>({n}, 1);
        const auto b = test::random_tensor<T, 1>({n}, 2);
        tensor<T, 1> y({n}), expected({n});
        for (cpu_context* ctx : {&one, &two}) {
            ops::fill<T>(*ctx, y, T(3));
            ops::ref::fill<T>(expected, T(3));
            CHECK(test::same_bits(y.view(), expected.view()));
            ops::copy<T>(*ctx, y, a);
            ops::ref::copy<T>(expected, a);
            CHECK(test::same_bits(y.view(), expected.view()));
            ops::copy<T>(*ctx, y, y);
            CHECK(test::same_bits(y.view(), expected.view()));
            ops::add<T>(*ctx, y, a, b);
            ops::ref::add<T>(expected, a, b);
            CHECK(test::same_bits(y.view(), expected.view()));
            ops::scale<T>(*ctx, y, T(-0.7));
            ops::ref::scale<T>(expected, T(-0.7));
            CHECK(test::nmse(y.view(), expected.view()) <= 1e-14);
        }
    }
}

}  // namespace

TEST_CASE("elementwise agrees with the reference in float") {
    test::for_each_level([] { check_elementwise<float>(); });
}
TEST_CASE("elementwise agrees with the reference in double") { check_elementwise<double>(); }

TEST_CASE("elementwise add works in place") {
    cpu_context ctx;
    const auto a = test::random_tensor<float, 1>({77}, 1);
    const auto b = test::random_tensor<float, 1>({77}, 2);
    tensor<float, 1> apart({77});
    ops::add<float>(ctx, apart, a, b);
    auto over_a = a.clone(), over_b = b.clone();
    ops::add<float>(ctx, over_a, over_a, b);
    ops::add<float>(ctx, over_b, a, over_b);
    CHECK(test::same_bits(apart.view(), over_a.view()));
    CHECK(test::same_bits(apart.view(), over_b.view()));
}

TEST_CASE("elementwise passes on what is not finite") {
    cpu_context ctx;
    constexpr float k_infinity = std::numeric_limits<float>::infinity();
    tensor<float, 1> a({2}), b({2}), y({2});
    a(0) = k_infinity;
    b(0) = -k_infinity;
    a(1) = k_infinity;
    ops::add<float>(ctx, y, a, b);
    CHECK(y(0) != y(0));
    CHECK(y(1) == k_infinity);
    ops::scale<float>(ctx, y, 0.0f);
    CHECK(y(1) != y(1));
}

TEST_CASE("elementwise names the argument whose shape is wrong") {
    cpu_context ctx;
    tensor<float, 1> three({3}), four({4});
    CHECK(test::error_text<shape_error>([&] { ops::add<float>(ctx, three, four, three); }) == "add: a has shape [4], expected [3]");
    CHECK(test::error_text<shape_error>([&] { ops::add<float>(ctx, three, three, four); }) == "add: b has shape [4], expected [3]");
    CHECK(test::error_text<shape_error>([&] { ops::copy<float>(ctx, three, four); }) == "copy: x has shape [4], expected [3]");
    const tensor_view<float, 1> every_other(four.data(), {2}, {2});
    CHECK(test::error_text<shape_error>([&] { ops::fill<float>(ctx, every_other, 1.0f); }) == "fill: y must be contiguous");
    CHECK(test::error_text<shape_error>([&] { ops::scale<float>(ctx, every_other, 1.0f); }) == "scale: y must be contiguous");
}
