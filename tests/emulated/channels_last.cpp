// Planes to pixels on the emulated device and on the CPU: copies, also from a view into larger images.

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/ops/channels_last.hpp"
#include "instar/ops/ref/channels_last.hpp"
#include "support/emulated.hpp"

using namespace instar;

namespace {

template <class T>
void check_channels_last(index_t n, index_t channels, index_t height, index_t width) {
    CAPTURE(channels);
    CAPTURE(height);
    cuda_context ctx;
    const auto x = test::random_tensor<T, 4>({n, channels, height + 2, width + 3}, 1);
    const tensor_view<const T, 4> cut(x.data() + x.view().stride(2) + 1, {n, channels, height, width},
                                      {x.view().stride(0), x.view().stride(1), x.view().stride(2), x.view().stride(3)});
    tensor<T, 4> y({n, height, width, channels}), e({n, height, width, channels});
    ops::channels_last<T>(ctx, y.view(), cut);
    ops::ref::channels_last<T>(e.view(), cut);
    CHECK(test::same_bits(y.view(), e.view()));
}

}  // namespace

TEST_CASE("channels_last on the emulated device agrees with the reference") {
    check_channels_last<float>(1, 1, 1, 1);
    check_channels_last<float>(3, 3, 17, 9);
    check_channels_last<float>(0, 3, 4, 4);
    check_channels_last<bf16>(2, 5, 3, 40);
    cuda_context ctx;
    tensor<float, 4> x({1, 3, 4, 5}), y({1, 4, 5, 2});
    CHECK(test::error_text<shape_error>([&] { ops::channels_last<float>(ctx, y.view(), x); }) == "channels_last: y has shape [1, 4, 5, 2], expected [1, 4, 5, 3]");
}
