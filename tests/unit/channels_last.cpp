// Planes to pixels on the CPU against the reference.

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/ops/channels_last.hpp"
#include "instar/ops/ref/channels_last.hpp"
#include "support/compare.hpp"

using namespace instar;

TEST_CASE("channels_last copies every pixel's channels together, also from a view into larger images") {
    cpu_context one{1}, two{2};
    for (const index_t channels : {1, 3, 5}) {
        for (const index_t n : {0, 1, 9}) {
            CAPTURE(channels);
            CAPTURE(n);
            const index_t height = 70, width = 65;
            const auto x = test::random_tensor<float, 4>({n, channels, height + 2, width + 3}, 1);
            const tensor_view<const float, 4> cut(x.data() + x.view().stride(2) + 1, {n, channels, height, width},
                                                  {x.view().stride(0), x.view().stride(1), x.view().stride(2), x.view().stride(3)});
            tensor<float, 4> y({n, height, width, channels}), e({n, height, width, channels});
            ops::ref::channels_last<float>(e.view(), cut);
            for (cpu_context* ctx : {&one, &two}) {
                std::fill(y.begin(), y.end(), 0.0f);
                ops::channels_last<float>(*ctx, y.view(), cut);
                CHECK(test::same_bits(y.view(), e.view()));
            }
        }
    }
    tensor<double, 4> x({1, 3, 4, 5}), y({1, 4, 5, 2});
    CHECK(test::error_text<shape_error>([&] { ops::channels_last<double>(one, y.view(), x); }) == "channels_last: y has shape [1, 4, 5, 2], expected [1, 4, 5, 3]");
}
