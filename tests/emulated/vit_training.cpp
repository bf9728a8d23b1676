// Ten optimiser steps of a vision transformer: the emulated device gives the CPU's losses, dropout and stochastic depth on.

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/nn/vit.hpp"
#include "instar/ops/cross_entropy.hpp"
#include "instar/ops/focal_loss.hpp"
#include "instar/optim/adamw.hpp"
#include "support/training.hpp"

using namespace instar;

namespace {

constexpr index_t k_batch = 4, k_side = 12, k_classes = 3;

template <class Context>
test::training_curve ten_steps(Context& ctx, bool focal, nn::vit_pooling pooling) {
    using memory = typename Context::memory;
    const nn::vit<float> start({.image_size = k_side, .patch_size = 4, .d_model = 16, .n_layers = 2, .n_heads = 2, .d_ff = 24, .n_labels = k_classes, .pooling = pooling,
                                .dropout = 0.1f, .drop_path = 0.2f}, philox{.seed = 2});
    nn::vit<float, memory> model(start.config());
    nn::copy_parameters(ctx, model, start);
    auto gradients = model.make_gradients();
    optim::adamw<float, memory> optimiser(model.layout().size(), {.weight_decay = 0.05});
    nn::vit_activations<float, memory> activations;
    device_input<float, 4, memory> images;
    device_input<std::int32_t, 1, memory> targets;
    device_input<float, 1, memory> weights;
    host_output<float, 1, memory> loss_here;
    tensor<float, 1, memory> loss({k_batch});
    tensor<float, 2, memory> d_features({k_batch, 16});
    const auto accumulate = [&](index_t step, philox rng) {
        const auto x = test::random_tensor<float, 4>({k_batch, 3, k_side, k_side}, static_cast<std::uint64_t>(10 + step));
        tensor<std::int32_t, 1> classes({k_batch});
        tensor<float, 1> weight({k_batch});
        for (index_t i = 0; i < k_batch; ++i) {
            classes(i) = static_cast<std::int32_t>((i + step) % k_classes);
            weight(i) = 0.5f + 0.25f * static_cast<float>(i);
        }
        const auto features = model.forward(ctx, activations, images(ctx, x.view()), {.training = true, .rng = rng});
        const auto logits = model.classify(ctx, activations);
        if (focal) ops::focal_loss<float>(ctx, loss, logits, logits, targets(ctx, classes.view()), weights(ctx, weight.view()), {.denominator = 3.5, .gamma = 2.0});
        else ops::softmax_cross_entropy<float>(ctx, loss, logits, logits, targets(ctx, classes.view()), weights(ctx, weight.view()), {.denominator = 3.5, .label_smoothing = 0.1});
        const tensor_view<const float, 1> values = model.parameters();
        model.network().head().template backward<Context, float>(ctx, values, gradients.view(), d_features.view(), logits, features);
        model.backward(ctx, gradients.view(), activations, d_features.view());
        const auto here = loss_here(ctx, loss.view());
        double total = 0.0;
        for (index_t i = 0; i < k_batch; ++i) total += static_cast<double>(here(i));
        return total;
    };
    return test::train_ten_steps(ctx, {model.parameters()}, accumulate, [&](const optim::rates& r) {
        optimiser.step(ctx, model.parameters(), gradients.view(), r);
        ops::fill<float>(ctx, gradients.view(), 0.0f);
    });
}

}  // namespace

TEST_CASE("vit_training: cross-entropy, smoothed and weighted, on the emulated device as on the CPU") {
    test::check_same_training([](auto& ctx) { return ten_steps(ctx, false, nn::vit_pooling::class_token); });
}
TEST_CASE("vit_training: focal loss, mean over the patches") {
    test::check_same_training([](auto& ctx) { return ten_steps(ctx, true, nn::vit_pooling::patch_mean); });
}
