// Patches and class token on the CPU against the reference, and their backward as the exact transpose.

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/ops/patch_embedding.hpp"
#include "instar/ops/ref/patch_embedding.hpp"
#include "support/compare.hpp"

using namespace instar;

namespace {

template <class T>
void check_patches() {
    cpu_context one{1}, two{2};
    struct shape { index_t n, channels, height, width, patch; };
    for (const shape s : {shape{0, 3, 8, 8, 4}, {1, 1, 1, 1, 1}, {2, 3, 6, 9, 3}, {3, 2, 10, 5, 5}, {1, 3, 224, 224, 16}, {2, 4, 7, 14, 7}}) {
        CAPTURE(s.n);
        CAPTURE(s.patch);
        const index_t rows = s.n * (s.height / s.patch) * (s.width / s.patch), width = s.channels * s.patch * s.patch;
        const auto x = test::random_tensor<T, 4>({s.n, s.channels, s.height, s.width}, 1);
        tensor<T, 2> y({rows, width}), y_two({rows, width}), expected({rows, width});
        ops::extract_patches<T>(one, y.view(), x, s.patch);
        ops::extract_patches<T>(two, y_two.view(), x, s.patch);
        ops::ref::extract_patches<T>(expected.view(), x, s.patch);
        CHECK(test::same_bits(y.view(), expected.view()));
        CHECK(test::same_bits(y.view(), y_two.view()));
        tensor<T, 4> back({s.n, s.channels, s.height, s.width});
        ops::extract_patches_backward<T>(two, back.view(), y, s.patch);
        CHECK(test::same_bits(back.view(), x.view()));
    }
}

template <class T>
void check_tokens() {
    cpu_context one{1}, two{2};
    for (const bool with_class : {true, false}) {
        for (const index_t d : {1, 5, 48, 100}) {
            CAPTURE(d);
            const index_t n = 3, n_patches = 7, n_tokens = n_patches + (with_class ? 1 : 0);
            const auto patches = test::random_tensor<T, 2>({n * n_patches, d}, 1), position = test::random_tensor<T, 2>({n_tokens, d}, 2);
            const auto cls = test::random_tensor<T, 1>({with_class ? d : 0}, 3);
            const auto dy = test::random_tensor<T, 3>({n, n_tokens, d}, 4);
            tensor<T, 3> y({n, n_tokens, d}), expected({n, n_tokens, d});
            ops::prepend_class_token<T>(two, y.view(), patches, cls, position);
            ops::ref::prepend_class_token<T>(expected.view(), patches, cls, position);
            CHECK(test::nmse(y.view(), expected.view()) <= 1e-14);
            tensor<T, 2> dp({n * n_patches, d}), dp_expected({n * n_patches, d});
            auto dpos = test::random_tensor<T, 2>({n_tokens, d}, 5), dpos_one = test::random_tensor<T, 2>({n_tokens, d}, 5), dpos_expected = test::random_tensor<T, 2>({n_tokens, d}, 5);
            auto dcls = test::random_tensor<T, 1>({with_class ? d : 0}, 6), dcls_expected = test::random_tensor<T, 1>({with_class ? d : 0}, 6);
            auto dcls_one = test::random_tensor<T, 1>({with_class ? d : 0}, 6);
            ops::prepend_class_token_backward<T>(two, dp.view(), dcls.view(), dpos.view(), dy);
            ops::prepend_class_token_backward<T>(one, dp.view(), dcls_one.view(), dpos_one.view(), dy);
            ops::ref::prepend_class_token_backward<T>(dp_expected.view(), dcls_expected.view(), dpos_expected.view(), dy);
            CHECK(test::same_bits(dp.view(), dp_expected.view()));
            CHECK(test::nmse(dpos.view(), dpos_expected.view()) <= 1e-12);
            CHECK(test::same_bits(dpos.view(), dpos_one.view()));
            CHECK(test::nmse(dcls.view(), dcls_expected.view()) <= 1e-12);
            CHECK(test::same_bits(dcls.view(), dcls_one.view()));
        }
    }
}

}  // namespace

TEST_CASE("patch_embedding: patches equal the reference, and backward is the inverse") {
    check_patches<float>();
    check_patches<double>();
}

TEST_CASE("patch_embedding: class token and positions equal the reference") {
    check_tokens<float>();
    check_tokens<double>();
}

TEST_CASE("patch_embedding names what does not fit") {
    cpu_context ctx;
    const tensor<float, 4> x({1, 3, 10, 12});
    tensor<float, 2> y({6, 48});
    CHECK_THROWS_WITH_AS(ops::extract_patches<float>(ctx, y.view(), x, 4), doctest::Contains("10 × 12"), shape_error);
    CHECK_THROWS_WITH_AS(ops::extract_patches<float>(ctx, y.view(), x, 2), doctest::Contains("patches"), shape_error);
    tensor<float, 3> tokens({2, 5, 8});
    const tensor<float, 2> patches({8, 8}), position({4, 8});
    const tensor<float, 1> cls({8});
    CHECK_THROWS_WITH_AS(ops::prepend_class_token<float>(ctx, tokens.view(), patches, cls, position), doctest::Contains("position"), shape_error);
}
