// Host data for operators and results for the host: copies on a device, the views themselves on the CPU.

#include "instar/core/transfer.hpp"

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "support/emulated.hpp"

using namespace instar;

TEST_CASE("transfer: on the CPU the views pass through") {
    cpu_context ctx{1};
    const auto x = test::random_tensor<float, 2>({3, 4}, 1);
    device_input<float, 2> in;
    host_output<float, 2> out;
    CHECK(in(ctx, x.view()).data() == x.data());
    CHECK(out(ctx, x.view()).data() == x.data());
    CHECK(in.bytes() == 0);
}

TEST_CASE("transfer: on a device they are copies that keep their memory") {
    cuda_context ctx;
    const auto x = test::random_tensor<float, 2>({6, 5}, 1);
    device_input<float, 2, device_memory> in;
    host_output<float, 2, device_memory> out;
    const auto there = in(ctx, x.view());
    CHECK(there.data() != x.data());
    CHECK(in.bytes() == 6 * 5 * sizeof(float));
    const auto here = out(ctx, there);
    CHECK(here.data() != there.data());
    CHECK(test::same_bits(here, x.view()));
    // Fewer rows, and rows with gaps between them, into the same memory.
    const auto fewer = in(ctx, x.view().rows(2, 4));
    CHECK(fewer.data() == there.data());
    CHECK(test::same_bits(out(ctx, fewer), x.view().rows(2, 4)));
    const tensor_view<const float, 2> columns(x.data() + 1, {6, 2}, {5, 1});
    const auto narrow = out(ctx, in(ctx, columns));
    for (index_t r = 0; r < 6; ++r) {
        for (index_t c = 0; c < 2; ++c) CHECK(narrow(r, c) == x(r, c + 1));
    }
    CHECK(in.bytes() == 6 * 5 * sizeof(float));
}

TEST_CASE("transfer: what is empty stays so") {
    cuda_context ctx;
    device_input<std::uint8_t, 2, device_memory> mask;
    CHECK(mask(ctx, {}).data() == nullptr);
    device_input<float, 1, device_memory> weights;
    CHECK(weights(ctx, tensor_view<const float, 1>(nullptr, {0})).extent(0) == 0);
    CHECK(mask.bytes() + weights.bytes() == 0);
}

TEST_CASE("transfer: flat ranges there, back and on the host") {
    cuda_context ctx;
    const auto x = test::random_tensor<double, 1>({9}, 1);
    tensor<double, 1, device_memory> there({9});
    tensor<double, 1> back({9}), twice({9});
    transfer<device_memory, host_memory>(ctx, there.view(), x.view());
    transfer<host_memory, device_memory>(ctx, back.view(), there.view());
    transfer<host_memory, host_memory>(ctx, twice.view(), back.view());
    CHECK(test::same_bits(twice.view(), x.view()));
    tensor<double, 1> shorter({8});
    CHECK(test::error_text<shape_error>([&] { transfer<host_memory, host_memory>(ctx, shorter.view(), x.view()); }) == "transfer: from has shape [9], expected [8]");
    CHECK(test::error_text<shape_error>([&] { transfer<device_memory, host_memory>(ctx, shorter.view(), x.view()); }).find("[9], expected [8]") != std::string::npos);
}
