// Patches and class token on the emulated device against the reference.

#include <doctest/doctest.h>

#include "instar/ops/ref/patch_embedding.hpp"
#include "support/emulated.hpp"

using namespace instar;

namespace {

template <class T>
void check_patch_embedding() {
    cuda_context ctx;
    struct shape { index_t n, channels, height, width, patch; };
    for (const shape s : {shape{1, 1, 1, 1, 1}, {2, 3, 6, 9, 3}, {2, 2, 10, 5, 5}}) {
        CAPTURE(s.patch);
        const index_t grid = (s.height / s.patch) * (s.width / s.patch), width = s.channels * s.patch * s.patch;
        const auto x = test::random_tensor<T, 4>({s.n, s.channels, s.height, s.width}, 1);
        tensor<T, 2> y({s.n * grid, width}), expected({s.n * grid, width});
        ops::extract_patches<T>(ctx, y.view(), x, s.patch);
        ops::ref::extract_patches<T>(expected.view(), x, s.patch);
        CHECK(test::same_bits(y.view(), expected.view()));
        tensor<T, 4> back({s.n, s.channels, s.height, s.width});
        ops::extract_patches_backward<T>(ctx, back.view(), y, s.patch);
        CHECK(test::same_bits(back.view(), x.view()));
        for (const bool with_class : {true, false}) {
            const index_t n_tokens = grid + (with_class ? 1 : 0);
            const auto position = test::random_tensor<T, 2>({n_tokens, width}, 2);
            const auto cls = test::random_tensor<T, 1>({with_class ? width : 0}, 3);
            const auto dy = test::random_tensor<T, 3>({s.n, n_tokens, width}, 4);
            tensor<T, 3> tokens({s.n, n_tokens, width}), tokens_expected({s.n, n_tokens, width});
            ops::prepend_class_token<T>(ctx, tokens.view(), y, cls, position);
            ops::ref::prepend_class_token<T>(tokens_expected.view(), y, cls, position);
            CHECK(test::close<T>(tokens.view(), tokens_expected.view()));
            tensor<T, 2> dp({s.n * grid, width}), dp_expected({s.n * grid, width}), dpos({n_tokens, width}), dpos_expected({n_tokens, width});
            tensor<T, 1> dcls({with_class ? width : 0}), dcls_expected({with_class ? width : 0});
            ops::prepend_class_token_backward<T>(ctx, dp.view(), dcls.view(), dpos.view(), dy);
            ops::ref::prepend_class_token_backward<T>(dp_expected.view(), dcls_expected.view(), dpos_expected.view(), dy);
            CHECK(test::same_bits(dp.view(), dp_expected.view()));
            CHECK(test::close<T>(dpos.view(), dpos_expected.view()));
            CHECK(test::close<T>(dcls.view(), dcls_expected.view()));
        }
    }
}

}  // namespace

TEST_CASE("patch_embedding on the emulated device agrees with the reference") {
    check_patch_embedding<float>();
    check_patch_embedding<bf16>();
}
