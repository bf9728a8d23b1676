// A transformer block, forward and backward, from the same nn source on both devices.

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/nn/transformer_block.hpp"
#include "support/emulated.hpp"

using namespace instar;

namespace {

template <class T, class Memory>
struct block_run {
    tensor<T, 1, Memory> values, gradients;
    tensor<T, 2, Memory> x, y, dx, dy;
    tensor<std::uint8_t, 2, Memory> mask;
};

template <class T, class Context>
block_run<T, typename Context::memory> run_block(Context& ctx, nn::norm_placement norm, index_t n_batch, index_t seq_len, float dropout) {
    using memory = typename Context::memory;
    const index_t d = 24;
    nn::parameter_layout layout;
    const nn::transformer_block block(layout, {{"q", "k", "v", "o"}, "n1", "m1", "m2", "n2"}, {.d_model = d, .n_heads = 2, .d_ff = 40, .norm = norm});
    block_run<T, memory> r{tensor<T, 1, memory>({layout.size()}), tensor<T, 1, memory>({layout.size()}), tensor<T, 2, memory>({n_batch * seq_len, d}),
                           tensor<T, 2, memory>({n_batch * seq_len, d}), tensor<T, 2, memory>({n_batch * seq_len, d}),
                           tensor<T, 2, memory>({n_batch * seq_len, d}), tensor<std::uint8_t, 2, memory>({n_batch, seq_len})};
    // The emulator's device memory is host memory, so both devices are filled the same way. Float values, exact in double.
    const auto values = test::random_tensor<float, 1>({layout.size()}, 1, -0.4, 0.4), gradients = test::random_tensor<float, 1>({layout.size()}, 2);
    const auto x = test::random_tensor<float, 2>({n_batch * seq_len, d}, 3), dy = test::random_tensor<float, 2>({n_batch * seq_len, d}, 4);
    for (index_t i = 0; i < layout.size(); ++i) {
        r.values(i) = static_cast<T>(values(i));
        r.gradients(i) = static_cast<T>(gradients(i));
    }
    for (index_t i = 0; i < x.size(); ++i) {
        r.x.data()[i] = static_cast<T>(x.data()[i]);
        r.dy.data()[i] = static_cast<T>(dy.data()[i]);
    }
    for (index_t i = 0; i < r.mask.size(); ++i) r.mask.data()[i] = i % seq_len < seq_len - 4 || seq_len < 5;
    const nn::block_mode mode{.dropout = dropout, .attention_dropout = dropout, .rng = {.seed = 9, .stream = 1}};
    arena<memory> activations, scratch;
    activations.measure();
    block.take<T>(activations, n_batch, seq_len);
    activations.commit();
    const auto saved = block.take<T>(activations, n_batch, seq_len);
    const tensor_view<const T, 1> v = r.values.view();
    const tensor_view<const std::uint8_t, 2> mask = r.mask.view();
    block.forward(ctx, v, r.y.view(), saved, r.x.view(), mask, mode);
    const auto backward = [&] { block.backward(ctx, v, r.gradients.view(), r.dx.view(), r.dy.view(), saved, r.x.view(), mask, mode, scratch); };
    scratch.measure();
    backward();
    scratch.commit();
    backward();
    return r;
}

void check_block(nn::norm_placement norm, index_t n_batch, index_t seq_len, float dropout) {
    CAPTURE(seq_len);
    CAPTURE(dropout);
    cpu_context cpu{2};
    cuda_context cuda;
    const auto expected = run_block<double>(cpu, norm, n_batch, seq_len, dropout);
    const auto actual = run_block<float>(cuda, norm, n_batch, seq_len, dropout);
    CHECK(test::close<float>(actual.y.view(), expected.y.view()));
    CHECK(test::close<float>(actual.dx.view(), expected.dx.view()));
    CHECK(test::close<float>(actual.gradients.view(), expected.gradients.view()));
}

}  // namespace

TEST_CASE("block of a transformer on the emulated device agrees with the CPU in double") {
    for (const auto norm : {nn::norm_placement::post, nn::norm_placement::pre}) {
        check_block(norm, 1, 1, 0.0f);
        check_block(norm, 2, 33, 0.0f);
        check_block(norm, 1, 82, 0.1f);
    }
}
