// Centred tokens on the emulated device against the reference, and the position projection made of them against the CPU's.

#include "instar/ops/centre_tokens.hpp"

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/nn/position_projection.hpp"
#include "instar/ops/ref/centre_tokens.hpp"
#include "support/emulated.hpp"

using namespace instar;

namespace {

tensor<std::uint8_t, 2> some_mask(index_t n, index_t seq_len) {
    tensor<std::uint8_t, 2> mask({n, seq_len});
    for (index_t i = 0; i < mask.size(); ++i) mask.data()[i] = i % 3 != 1 ? 1 : 0;
    return mask;
}

/// gap: elements between rows; not a multiple of sixteen bytes, it takes the scalar path.
template <class T>
void check_centre_tokens(index_t n, index_t seq_len, index_t d, index_t gap) {
    CAPTURE(n);
    CAPTURE(d);
    CAPTURE(gap);
    cuda_context ctx;
    auto memory = test::random_tensor<T, 3>({n, seq_len, d + gap}, 1), y_memory = test::random_tensor<T, 3>({n, seq_len, d + gap}, 2),
         e_memory = test::random_tensor<T, 3>({n, seq_len, d + gap}, 2);
    const auto centre = test::random_tensor<T, 2>({seq_len, d}, 3);
    const auto mask = some_mask(n, seq_len);
    const auto part = [&](tensor<T, 3>& t) { return tensor_view<T, 3>(t.data(), {n, seq_len, d}, {seq_len * (d + gap), d + gap, 1}); };
    for (const bool masked : {true, false}) {
        const auto kept = masked ? mask.view() : tensor_view<const std::uint8_t, 2>{};
        ops::centre_tokens_forward<T>(ctx, part(y_memory), part(memory), centre, kept);
        ops::ref::centre_tokens_forward<T>(part(e_memory), part(memory), centre, kept);
        CHECK(test::close<T>(y_memory.view(), e_memory.view()));
        ops::centre_tokens_backward<T>(ctx, part(y_memory), part(memory), kept);
        ops::ref::centre_tokens_backward<T>(part(e_memory), part(memory), kept);
        CHECK(test::same_bits(y_memory.view(), e_memory.view()));
    }
    auto in_place = memory.clone();
    ops::centre_tokens_forward<T>(ctx, part(in_place), part(in_place), centre, mask.view());
    ops::centre_tokens_forward<T>(ctx, part(y_memory), part(memory), centre, mask.view());
    bool same = true;
    for (index_t b = 0; b < n; ++b) same = same && test::same_bits(part(in_place)[b], part(y_memory)[b]);
    CHECK(same);
}

}  // namespace

TEST_CASE("centre_tokens on the emulated device agrees with the reference") {
    for (const index_t gap : {0, 3, 8}) {
        for (const index_t d : {1, 6, 16, 40}) {
            check_centre_tokens<float>(3, 5, d, gap);
            check_centre_tokens<bf16>(3, 5, d, gap);
        }
    }
    check_centre_tokens<float>(0, 5, 8, 0);
    check_centre_tokens<float>(40, 9, 8, 0);
}

TEST_CASE("centre_tokens on the emulated device names what does not fit") {
    cuda_context ctx;
    tensor<float, 3> y({2, 3, 4});
    const tensor<float, 2> centre({2, 4});
    CHECK(test::error_text<shape_error>([&] { ops::centre_tokens_forward<float>(ctx, y, y, centre, {}); }) ==
          "centre_tokens_forward: centre has shape [2, 4], expected [3, 4]");
    CHECK(test::error_text<shape_error>([&] { ops::centre_tokens_backward<float>(ctx, y, tensor<float, 3>({2, 3, 5}), {}); }) ==
          "centre_tokens_backward: dx has shape [2, 3, 4], expected [2, 3, 5]");
}

TEST_CASE("position_projection on the emulated device is the CPU's, forward and backward") {
    cuda_context ctx(0, {.check_memory = true});
    cpu_context cpu;
    const index_t n = 6, seq_len = 5, d = 8, d_out = 7, width = seq_len * d;
    const nn::position_projection<float> here(test::random_tensor<float, 2>({seq_len, d}, 1), test::random_tensor<float, 2>({d_out, width}, 2));
    const auto there = here.copy_to(ctx);
    const auto h = test::random_tensor<float, 3>({n, seq_len, d}, 3);
    const auto dy = test::random_tensor<float, 2>({n, d_out}, 4);
    const auto mask = some_mask(n, seq_len);
    tensor<float, 2> y({n, d_out}), flat({n, width}), d_weight({d_out, width});
    tensor<float, 3> dh({n, seq_len, d});
    here.forward(cpu, y, h, mask.view(), flat.view());
    here.backward(cpu, d_weight.view(), dh.view(), dy, flat.view(), mask.view());

    device_input<float, 3, device_memory> h_there;
    device_input<float, 2, device_memory> dy_there;
    device_input<std::uint8_t, 2, device_memory> mask_there;
    tensor<float, 2, device_memory> y_there({n, d_out}), flat_there({n, width}), d_weight_there({d_out, width});
    tensor<float, 3, device_memory> dh_there({n, seq_len, d});
    const auto kept = mask_there(ctx, mask.view());
    const auto dy_on_device = dy_there(ctx, dy.view());
    there.forward(ctx, y_there, h_there(ctx, h.view()), kept, flat_there.view());
    there.backward(ctx, d_weight_there.view(), dh_there.view(), dy_on_device, flat_there.view(), kept);
    host_output<float, 2, device_memory> two;
    host_output<float, 3, device_memory> three;
    CHECK(test::close<float>(two(ctx, y_there.view()), y.view()));
    CHECK(test::close<float>(two(ctx, d_weight_there.view()), d_weight.view()));
    CHECK(test::same_bits(two(ctx, flat_there.view()), flat.view()));
    CHECK(test::close<float>(three(ctx, dh_there.view()), dh.view()));
    // The weight's gradient alone, added to what is there.
    there.backward(ctx, d_weight_there.view(), {}, dy_on_device, flat_there.view(), kept);
    here.backward(cpu, d_weight.view(), {}, dy, flat.view(), mask.view());
    CHECK(test::close<float>(two(ctx, d_weight_there.view()), d_weight.view()));
    CHECK(test::error_text<shape_error>([&] { there.forward(ctx, y_there, h_there(ctx, h.view()), kept, dh_there.view().reshape<2>({width, n})); }) ==
          "position_projection: flat has shape [40, 6], expected [6, 40]");
    CHECK(nn::position_projection<float>().copy_to(ctx).empty());
    CHECK(test::same_bits(here.copy_to(cpu).weight().view(), here.weight().view()));
}
