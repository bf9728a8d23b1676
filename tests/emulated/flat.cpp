// Element-wise operators on the emulated device against the reference: elementwise, gelu, dropout.

#include <doctest/doctest.h>

#include "instar/ops/dropout.hpp"
#include "instar/ops/elementwise.hpp"
#include "instar/ops/gelu.hpp"
#include "instar/ops/ref/dropout.hpp"
#include "instar/ops/ref/elementwise.hpp"
#include "instar/ops/ref/gelu.hpp"
#include "support/emulated.hpp"

using namespace instar;

namespace {

constexpr index_t k_sizes[] = {0, 1, 7, 82, 1024, 1027, 2500};

template <class T>
void check_elementwise() {
    cuda_context ctx;
    for (const index_t n : k_sizes) {
        for (const index_t offset : {0, 1}) {
            CAPTURE(n);
            CAPTURE(offset);
            auto a = test::random_tensor<T, 1>({n + offset}, 1), b = test::random_tensor<T, 1>({n + offset}, 2);
            tensor<T, 1> y({n + offset}), e({n + offset});
            ops::add<T>(ctx, test::tail(y, offset), test::tail(a, offset), test::tail(b, offset));
            ops::ref::add<T>(test::tail(e, offset), test::tail(a, offset), test::tail(b, offset));
            CHECK(test::close<T>(y.view(), e.view()));
            ops::add<T>(ctx, test::tail(a, offset), test::tail(a, offset), test::tail(b, offset));
            CHECK(test::same_bits(test::tail(a, offset), test::tail(y, offset)));
            ops::scale<T>(ctx, test::tail(y, offset), 0.3f);
            ops::ref::scale<T>(test::tail(e, offset), 0.3f);
            CHECK(test::close<T>(y.view(), e.view()));
            ops::fill<T>(ctx, test::tail(y, offset), T(2.5f));
            ops::ref::fill<T>(test::tail(e, offset), T(2.5f));
            CHECK(test::same_bits(y.view(), e.view()));
            ops::copy<T>(ctx, test::tail(y, offset), test::tail(b, offset));
            ops::ref::copy<T>(test::tail(e, offset), test::tail(b, offset));
            CHECK(test::same_bits(y.view(), e.view()));
        }
    }
}

template <class T>
void check_gelu() {
    cuda_context ctx;
    for (const index_t n : k_sizes) {
        CAPTURE(n);
        const auto x = test::random_tensor<T, 1>({n}, 1, -6.0, 6.0), dy = test::random_tensor<T, 1>({n}, 2);
        tensor<T, 1> y({n}), e({n}), dx({n}), edx({n});
        ops::gelu_forward<T>(ctx, y, x);
        ops::ref::gelu_forward<T>(e, x);
        CHECK(test::close<T>(y.view(), e.view()));
        ops::gelu_backward<T>(ctx, dx, dy, x);
        ops::ref::gelu_backward<T>(edx, dy, x);
        CHECK(test::close<T>(dx.view(), edx.view()));
    }
    auto x = test::random_tensor<T, 1>({100}, 1), in_place = test::random_tensor<T, 1>({100}, 1);
    tensor<T, 1> y({100});
    ops::gelu_forward<T>(ctx, y, x);
    ops::gelu_forward<T>(ctx, in_place, in_place);
    CHECK(test::same_bits(y.view(), in_place.view()));
}

template <class T>
void check_dropout() {
    cuda_context ctx;
    for (const auto& [p, group] : {std::pair<float, index_t>{0.0f, 1}, {0.1f, 1}, {0.9f, 1}, {0.5f, 3}, {0.4f, 64}}) {
        const ops::dropout_options drop{.p = p, .rng = {.seed = 7, .stream = 3}, .group = group};
        for (const index_t n : k_sizes) {
            for (const index_t offset : {0, 1}) {
                CAPTURE(n);
                CAPTURE(p);
                auto x = test::random_tensor<T, 1>({n + offset}, 1), r = test::random_tensor<T, 1>({n + offset}, 2);
                tensor<T, 1> y({n + offset}), e({n + offset});
                ops::dropout_forward<T>(ctx, test::tail(y, offset), test::tail(x, offset), drop);
                ops::ref::dropout_forward<T>(test::tail(e, offset), test::tail(x, offset), drop);
                CHECK(test::same_bits(y.view(), e.view()));  // the same elements, and one multiplication
                ops::dropout_backward<T>(ctx, test::tail(y, offset), test::tail(x, offset), drop);
                ops::ref::dropout_backward<T>(test::tail(e, offset), test::tail(x, offset), drop);
                CHECK(test::same_bits(y.view(), e.view()));
                ops::residual_dropout_forward<T>(ctx, test::tail(y, offset), test::tail(r, offset), test::tail(x, offset), drop);
                ops::ref::residual_dropout_forward<T>(test::tail(e, offset), test::tail(r, offset), test::tail(x, offset), drop);
                CHECK(test::close<T>(y.view(), e.view()));
                ops::residual_dropout_forward<T>(ctx, test::tail(r, offset), test::tail(r, offset), test::tail(x, offset), drop);
                CHECK(test::same_bits(test::tail(r, offset), test::tail(y, offset)));
            }
        }
    }
}

}  // namespace

TEST_CASE("elementwise on the emulated device agrees with the reference") {
    check_elementwise<float>();
    check_elementwise<bf16>();
}
TEST_CASE("gelu on the emulated device agrees with the reference") {
    check_gelu<float>();
    check_gelu<bf16>();
}
TEST_CASE("dropout on the emulated device drops what the reference drops") {
    check_dropout<float>();
    check_dropout<bf16>();
}

TEST_CASE("dropout on the emulated device names what is wrong") {
    cuda_context ctx;
    tensor<float, 1> x({4}), y({5});
    CHECK(test::error_text<shape_error>([&] { ops::dropout_forward<float>(ctx, y, x, {}); }) == "dropout_forward: x has shape [4], expected [5]");
    CHECK(test::error_text<value_error>([&] { ops::dropout_forward<float>(ctx, x, x, {.p = 1.0f}); }) ==
          "dropout_forward: options.p must be in [0, 1), is 1.000000");
    CHECK(test::error_text<shape_error>([&] { ops::add<float>(ctx, y, y, x); }) == "add: b has shape [4], expected [5]");
    CHECK(test::error_text<shape_error>([&] { ops::gelu_backward<float>(ctx, y, y, x); }) == "gelu_backward: x has shape [4], expected [5]");
}
