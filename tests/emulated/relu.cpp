// Sum with rectifier on the emulated device against the reference: whole and broken packs, in place, NaN, bad shapes.

#include <limits>

#include <doctest/doctest.h>

#include "instar/ops/ref/relu.hpp"
#include "instar/ops/relu.hpp"
#include "support/emulated.hpp"

using namespace instar;

namespace {

template <class T>
void check_relu() {
    cuda_context ctx;
    for (const index_t n : {0, 1, 7, 1024, 1027, 2500}) {
        for (const index_t offset : {0, 1}) {
            CAPTURE(n);
            CAPTURE(offset);
            auto a = test::random_tensor<T, 1>({n + offset}, 1), b = test::random_tensor<T, 1>({n + offset}, 2), dy = test::random_tensor<T, 1>({n + offset}, 3);
            tensor<T, 1> y({n + offset}), e({n + offset}), dx({n + offset}), edx({n + offset});
            ops::add_relu<T>(ctx, test::tail(y, offset), test::tail(a, offset), test::tail(b, offset));
            ops::ref::add_relu<T>(test::tail(e, offset), test::tail(a, offset), test::tail(b, offset));
            CHECK(test::close<T>(y.view(), e.view()));
            ops::relu_backward<T>(ctx, test::tail(dx, offset), test::tail(dy, offset), test::tail(y, offset));
            ops::ref::relu_backward<T>(test::tail(edx, offset), test::tail(dy, offset), test::tail(y, offset));
            CHECK(test::same_bits(dx.view(), edx.view()));
            ops::add_relu<T>(ctx, test::tail(a, offset), test::tail(a, offset), test::tail(b, offset));
            CHECK(test::same_bits(test::tail(a, offset), test::tail(y, offset)));
            ops::relu_backward<T>(ctx, test::tail(dy, offset), test::tail(dy, offset), test::tail(y, offset));
            CHECK(test::same_bits(test::tail(dy, offset), test::tail(dx, offset)));
        }
    }
}

}  // namespace

TEST_CASE("relu on the emulated device agrees with the reference, also in place") {
    check_relu<float>();
    check_relu<bf16>();
}
TEST_CASE("relu on the emulated device keeps NaN, and names what does not fit") {
    cuda_context ctx;
    tensor<float, 1> a({3}), b({3}), y({3}), two({2});
    a(1) = std::numeric_limits<float>::quiet_NaN();
    a(2) = -1.0f;
    ops::add_relu<float>(ctx, y, a, b);
    CHECK(y(0) == 0.0f);
    CHECK(std::isnan(y(1)));
    CHECK(y(2) == 0.0f);
    CHECK(test::error_text<shape_error>([&] { ops::add_relu<float>(ctx, y, a, two); }) == "add_relu: b has shape [2], expected [3]");
    CHECK(test::error_text<shape_error>([&] { ops::relu_backward<float>(ctx, y, two, a); }) == "relu_backward: dy has shape [2], expected [3]");
}
