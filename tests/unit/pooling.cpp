// Sequence pooling on the CPU against the reference.

#include <cmath>
#include <limits>

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/ops/ref/pooling.hpp"
#include "support/compare.hpp"
#include "support/levels.hpp"

using namespace instar;

namespace {

template <class T>
void check_pooling(double tolerance) {
    cpu_context one{1}, two{2};
    struct shape { index_t n_batch, seq_len, d; };
    for (const shape s : {shape{0, 3, 4}, {1, 1, 1}, {2, 3, 5}, {9, 7, 17}, {5, 83, 100}, {3, 2, 768}}) {
        for (const auto kind : {ops::pooling::mean, ops::pooling::masked_mean, ops::pooling::first}) {
            for (const bool with_mask : {false, true}) {
                CAPTURE(s.n_batch);
                CAPTURE(s.d);
                CAPTURE(static_cast<int>(kind));
                CAPTURE(with_mask);
                tensor<std::uint8_t, 2> mask({with_mask ? s.n_batch : 0, s.seq_len});
                index_t i = 0;
                for (auto& m : mask) m = static_cast<std::uint8_t>(i++ % 3 != 1 ? 5 : 0);
                if (with_mask && s.n_batch > 1) {
                    for (index_t t = 0; t < s.seq_len; ++t) mask(1, t) = 0;
                }
                const auto x = test::random_tensor<T, 3>({s.n_batch, s.seq_len, s.d}, 1);
                const auto dy = test::random_tensor<T, 2>({s.n_batch, s.d}, 2);
                tensor<T, 2> y({s.n_batch, s.d}), y_two({s.n_batch, s.d}), expected({s.n_batch, s.d});
                tensor<T, 3> dx({s.n_batch, s.seq_len, s.d}), dx_two({s.n_batch, s.seq_len, s.d}), dx_expected({s.n_batch, s.seq_len, s.d});
                ops::sequence_pool_forward<T>(one, y, x, mask.view(), kind);
                ops::sequence_pool_forward<T>(two, y_two, x, mask.view(), kind);
                ops::ref::sequence_pool_forward<T>(expected, x, mask.view(), kind);
                CHECK(test::nmse(y.view(), expected.view()) <= tolerance);
                CHECK(test::same_bits(y.view(), y_two.view()));
                ops::sequence_pool_backward<T>(one, dx, dy, mask.view(), kind);
                ops::sequence_pool_backward<T>(two, dx_two, dy, mask.view(), kind);
                ops::ref::sequence_pool_backward<T>(dx_expected, dy, mask.view(), kind);
                CHECK(test::nmse(dx.view(), dx_expected.view()) <= tolerance);
                CHECK(test::same_bits(dx.view(), dx_two.view()));
            }
        }
    }
}

}  // namespace

TEST_CASE("pooling agrees with the reference in float") {
    test::for_each_level([] { check_pooling<float>(1e-12); });
}
TEST_CASE("pooling agrees with the reference in double") { check_pooling<double>(1e-28); }

TEST_CASE("pooling of a sample without a position gives zeros, and masked NaNs stay out") {
    cpu_context ctx;
    tensor<float, 3> x({2, 3, 4});
    tensor<float, 2> y({2, 4});
    tensor<std::uint8_t, 2> mask({2, 3});
    mask(1, 0) = mask(1, 2) = 1;
    for (index_t j = 0; j < 4; ++j) {
        x(1, 0, j) = 1.0f;
        x(1, 1, j) = std::numeric_limits<float>::quiet_NaN();
        x(1, 2, j) = 3.0f;
    }
    ops::sequence_pool_forward<float>(ctx, y, x, mask.view(), ops::pooling::masked_mean);
    for (index_t j = 0; j < 4; ++j) {
        CHECK(y(0, j) == 0.0f);
        CHECK(y(1, j) == 2.0f);
    }
    ops::sequence_pool_forward<float>(ctx, y, x, mask.view(), ops::pooling::mean);
    CHECK(std::isnan(y(1, 0)));
}

TEST_CASE("pooling takes a slice of wider rows") {
    cpu_context ctx;
    const auto wide = test::random_tensor<float, 3>({2, 3, 8}, 1);
    const tensor_view<const float, 3> slice(wide.data() + 2, {2, 3, 4}, {24, 8, 1});
    tensor<float, 2> y({2, 4}), expected({2, 4});
    ops::sequence_pool_forward<float>(ctx, y, slice, {}, ops::pooling::mean);
    ops::ref::sequence_pool_forward<float>(expected, slice, {}, ops::pooling::mean);
    CHECK(test::nmse(y.view(), expected.view()) <= 1e-12);
}

TEST_CASE("pooling names what is wrong") {
    cpu_context ctx;
    tensor<float, 3> x({2, 3, 4});
    tensor<float, 2> y({2, 4}), wrong({2, 3});
    tensor<std::uint8_t, 2> mask({2, 3}), wrong_mask({3, 2});
    CHECK(test::error_text<shape_error>([&] { ops::sequence_pool_forward<float>(ctx, wrong, x, mask.view(), ops::pooling::mean); }) ==
          "sequence_pool_forward: y has shape [2, 3], expected [2, 4]");
    CHECK(test::error_text<shape_error>([&] { ops::sequence_pool_forward<float>(ctx, y, x, wrong_mask.view(), ops::pooling::mean); }) ==
          "sequence_pool_forward: mask has shape [3, 2], expected [2, 3]");
    CHECK(test::error_text<shape_error>([&] { ops::sequence_pool_backward<float>(ctx, x, wrong, mask.view(), ops::pooling::mean); }) ==
          "sequence_pool_backward: dy has shape [2, 3], expected [2, 4]");
    CHECK(test::error_text<shape_error>([&] { ops::sequence_pool_backward<float>(ctx, x, y, wrong_mask.view(), ops::pooling::mean); }) ==
          "sequence_pool_backward: mask has shape [3, 2], expected [2, 3]");
}
