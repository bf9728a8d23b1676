// Gradients of the position projection against central differences in double; forward against its formula.

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/nn/position_projection.hpp"
#include "support/compare.hpp"
#include "support/gradient_check.hpp"

using namespace instar;

namespace {

constexpr index_t k_n = 3, k_seq_len = 4, k_d = 5, k_out = 6;

tensor<std::uint8_t, 2> some_mask() {
    tensor<std::uint8_t, 2> mask({k_n, k_seq_len});
    for (auto& m : mask) m = 1;
    mask(0, 3) = mask(1, 0) = 0;
    for (index_t t = 0; t < k_seq_len; ++t) mask(2, t) = 0;  // a sample without any token
    return mask;
}

}  // namespace

TEST_CASE("position_projection forward is its formula") {
    cpu_context one{1}, two{2};
    const auto h = test::random_tensor<double, 3>({k_n, k_seq_len, k_d}, 1);
    const auto mask = some_mask();
    const nn::position_projection<double> p(test::random_tensor<double, 2>({k_seq_len, k_d}, 2), test::random_tensor<double, 2>({k_out, k_seq_len * k_d}, 3));
    tensor<double, 2> y({k_n, k_out}), y_two({k_n, k_out}), flat({k_n, k_seq_len * k_d});
    p.forward(one, y, h, mask.view(), flat.view());
    p.forward(two, y_two, h, mask.view(), flat.view());
    CHECK(test::same_bits(y.view(), y_two.view()));
    for (index_t i = 0; i < k_n; ++i) {
        for (index_t o = 0; o < k_out; ++o) {
            double sum = 0.0;
            for (index_t t = 0; t < k_seq_len; ++t) {
                for (index_t c = 0; c < k_d; ++c) sum += mask(i, t) ? p.weight()(o, t * k_d + c) * (h(i, t, c) - p.centre()(t, c)) : 0.0;
            }
            CHECK(y(i, o) == doctest::Approx(sum).epsilon(1e-12));
        }
    }
}

TEST_CASE("position_projection backward is the gradient of the forward") {
    cpu_context ctx;
    auto h = test::random_tensor<double, 3>({k_n, k_seq_len, k_d}, 1);
    const auto dy = test::random_tensor<double, 2>({k_n, k_out}, 4);
    const auto mask = some_mask();
    nn::position_projection<double> p(test::random_tensor<double, 2>({k_seq_len, k_d}, 2), test::random_tensor<double, 2>({k_out, k_seq_len * k_d}, 3));
    tensor<double, 2> y({k_n, k_out}), flat({k_n, k_seq_len * k_d}), d_weight({k_out, k_seq_len * k_d});
    tensor<double, 3> dh({k_n, k_seq_len, k_d});
    const auto f = [&] {
        p.forward(ctx, y, h, mask.view(), flat.view());
        return test::dot(y.view(), dy.view());
    };
    (void)f();
    p.backward(ctx, d_weight.view(), dh.view(), dy, flat.view(), mask.view());
    CHECK(test::gradient_error(h.view(), dh.view(), f) < 1e-8);
    CHECK(test::gradient_error(p.weight().view(), d_weight.view(), f) < 1e-8);
}

TEST_CASE("position_projection names what does not fit") {
    cpu_context ctx;
    CHECK_THROWS_AS((nn::position_projection<float>(tensor<float, 2>({4, 5}), tensor<float, 2>({6, 21}))), shape_error);
    const nn::position_projection<float> p(tensor<float, 2>({4, 5}), tensor<float, 2>({6, 20}));
    const tensor<float, 3> h({2, 3, 5});
    const tensor<std::uint8_t, 2> mask({2, 3});
    tensor<float, 2> y({2, 6}), flat({2, 20});
    CHECK_THROWS_WITH_AS(p.forward(ctx, y, h, mask.view(), flat.view()), doctest::Contains("h"), shape_error);
}
