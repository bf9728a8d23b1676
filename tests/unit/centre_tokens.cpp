// Centred tokens: forward and backward against the reference, in place and strided, threads, bad shapes.

#include "instar/core/cpu_context.hpp"
#include "instar/ops/centre_tokens.hpp"

#include <doctest/doctest.h>

#include "instar/ops/ref/centre_tokens.hpp"
#include "support/compare.hpp"

using namespace instar;

namespace {

tensor<std::uint8_t, 2> some_mask(index_t n, index_t seq_len) {
    tensor<std::uint8_t, 2> mask({n, seq_len});
    for (index_t i = 0; i < mask.size(); ++i) mask.data()[i] = i % 3 != 1 ? 1 : 0;
    return mask;
}

template <class T>
void check_centre_tokens(index_t n, index_t seq_len, index_t d) {
    CAPTURE(n);
    CAPTURE(seq_len);
    CAPTURE(d);
    cpu_context one{1}, two{2};
    const auto x = test::random_tensor<T, 3>({n, seq_len, d}, 1);
    const auto centre = test::random_tensor<T, 2>({seq_len, d}, 2);
    const auto mask = some_mask(n, seq_len);
    tensor<T, 3> y({n, seq_len, d}), e({n, seq_len, d});
    for (const bool masked : {true, false}) {
        const auto kept = masked ? mask.view() : tensor_view<const std::uint8_t, 2>{};
        ops::centre_tokens_forward<T>(one, y, x, centre, kept);
        ops::ref::centre_tokens_forward<T>(e, x, centre, kept);
        CHECK(test::nmse(y.view(), e.view()) <= 1e-14);
        auto z = x.clone();
        ops::centre_tokens_forward<T>(two, z, z, centre, kept);
        CHECK(test::same_bits(z.view(), y.view()));
        ops::centre_tokens_backward<T>(one, y, x, kept);
        ops::ref::centre_tokens_backward<T>(e, x, kept);
        CHECK(test::same_bits(y.view(), e.view()));
        z = x.clone();
        ops::centre_tokens_backward<T>(two, z, z, kept);
        CHECK(test::same_bits(z.view(), e.view()));
    }
}

}  // namespace

TEST_CASE("centre_tokens agrees with the reference, also in place") {
    for (const index_t n : {0, 1, 5}) {
        check_centre_tokens<float>(n, 7, 33);
        check_centre_tokens<double>(n, 4, 6);
        check_centre_tokens<float>(n, 3, 1);
    }
    check_centre_tokens<float>(700, 9, 16);
}

TEST_CASE("centre_tokens writes zeros where the mask is 0, whatever lies there, and leaves gaps alone") {
    cpu_context ctx;
    tensor<float, 2> memory({3, 12});
    for (float& v : memory) v = std::numeric_limits<float>::quiet_NaN();
    const tensor_view<float, 3> x(memory.data(), {3, 2, 4}, {12, 5, 1});
    const tensor<float, 2> centre({2, 4});
    const tensor<std::uint8_t, 2> mask({3, 2});
    ops::centre_tokens_forward<float>(ctx, x, x, centre, mask.view());
    index_t n_zero = 0, n_nan = 0;
    for (const float v : memory) {
        n_zero += v == 0.0f;
        n_nan += std::isnan(v);
    }
    CHECK(n_zero == 24);
    CHECK(n_nan == 12);
}

TEST_CASE("centre_tokens names what does not fit") {
    cpu_context ctx;
    tensor<float, 3> y({2, 3, 4});
    const tensor<float, 3> x({2, 3, 4}), wide({2, 3, 5});
    const tensor<float, 2> centre({3, 4}), short_centre({2, 4});
    const tensor<std::uint8_t, 2> mask({2, 4});
    CHECK(test::error_text<shape_error>([&] { ops::centre_tokens_forward<float>(ctx, y, wide, centre, {}); }) ==
          "centre_tokens_forward: y has shape [2, 3, 4], expected [2, 3, 5]");
    CHECK(test::error_text<shape_error>([&] { ops::centre_tokens_forward<float>(ctx, y, x, short_centre, {}); }) ==
          "centre_tokens_forward: centre has shape [2, 4], expected [3, 4]");
    CHECK(test::error_text<shape_error>([&] { ops::centre_tokens_forward<float>(ctx, y, x, centre, mask.view()); }) ==
          "centre_tokens_forward: mask has shape [2, 4], expected [2, 3]");
    CHECK(test::error_text<shape_error>([&] { ops::centre_tokens_backward<float>(ctx, y, wide, {}); }) ==
          "centre_tokens_backward: dx has shape [2, 3, 4], expected [2, 3, 5]");
    const tensor_view<const float, 3> apart(x.data(), {2, 3, 2}, {12, 4, 2});
    CHECK(test::error_text<shape_error>([&] { ops::centre_tokens_backward<float>(ctx, tensor<float, 3>({2, 3, 2}).view(), apart, {}); }) ==
          "centre_tokens_backward: dy must have stride 1 in its last dimension, has 2");
}
