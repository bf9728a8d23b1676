// Ten optimiser steps of a contrastive model with three towers: the emulated device gives the CPU's losses, dropout on.

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/nn/clip.hpp"
#include "instar/nn/lora.hpp"
#include "instar/optim/adamw.hpp"
#include "support/emulated.hpp"
#include "support/training.hpp"

using namespace instar;

namespace {

constexpr index_t k_batch = 5, k_dna = 6, k_text = 4;

nn::clip_config config_of(bool siglip, bool resnet = false) {
    const nn::bert_config bert{.vocab_size = 18, .d_model = 16, .n_layers = 1, .n_heads = 2, .d_ff = 24, .max_positions = 8, .dropout = 0.1f, .attention_dropout = 0.1f};
    nn::clip_config c{.vit = nn::vit_config{.image_size = 8, .patch_size = 4, .d_model = 16, .n_layers = 1, .n_heads = 2, .d_ff = 24, .dropout = 0.1f}, .dna = bert, .text = bert, .d_embedding = 12};
    c.text_pooling = nn::clip_pooling::masked_mean;  // DNA: CLIBD's softmax_mean
    if (resnet) {
        c.vit.reset();
        c.resnet = nn::resnet_config{.n_blocks = {1, 1, 1, 1}, .bottleneck = false, .width = 4, .stem = nn::resnet_stem::small_image};
    }
    if (siglip) {
        c.initial_logit_scale = std::log(10.0);
        c.initial_logit_bias = -10.0;
    }
    return c;
}

/// Five samples; the third has no image, two share a label.
struct samples {
    tensor<float, 4> images;
    tensor<std::int32_t, 2> dna{{k_batch, k_dna}}, text{{k_batch, k_text}};
    tensor<std::uint8_t, 2> dna_mask{{k_batch, k_dna}}, text_mask{{k_batch, k_text}};
    tensor<std::int32_t, 1> labels{{k_batch}};
    tensor<std::uint8_t, 1> image_there{{k_batch}};

    explicit samples(index_t step, index_t side = 8) : images(test::random_tensor<float, 4>({k_batch, 3, side, side}, static_cast<std::uint64_t>(20 + step))) {
        const philox rng{.seed = 5, .stream = static_cast<std::uint64_t>(step)};
        for (index_t i = 0; i < k_batch; ++i) {
            for (index_t t = 0; t < k_dna; ++t) dna(i, t) = static_cast<std::int32_t>(2 + rng.below(static_cast<std::uint64_t>(10 * i + t), 16)), dna_mask(i, t) = t < 6 - i % 2;
            for (index_t t = 0; t < k_text; ++t) text(i, t) = static_cast<std::int32_t>(2 + rng.below(static_cast<std::uint64_t>(100 + 10 * i + t), 16)), text_mask(i, t) = t < 4 - i % 3;
            labels(i) = static_cast<std::int32_t>(i == 4 ? 0 : i);
            image_there(i) = i != 2;
        }
    }
    nn::clip_batch<float> batch() const { return {.images = images.view(), .dna = dna.view(), .text = text.view(), .dna_mask = dna_mask.view(), .text_mask = text_mask.view()}; }
};

template <class Context>
test::training_curve ten_steps(Context& ctx, nn::clip_loss loss, index_t chunk, bool resnet = false) {
    using memory = typename Context::memory;
    nn::clip<float> start(config_of(loss == nn::clip_loss::siglip, resnet), philox{.seed = 4});
    nn::clip<float, memory> model(start.config());
    nn::copy_parameters(ctx, model, start);
    auto parts = model.parts();
    std::vector<optim::adamw<float, memory>> optimisers;
    std::vector<tensor_view<float, 1>> parameters;
    for (const auto& p : parts) {
        optimisers.emplace_back(p.parameters.extent(0), optim::adamw_config{.weight_decay = 0.01});
        parameters.push_back(p.parameters);
    }
    const auto accumulate = [&](index_t step, philox rng) {
        const samples s(step, resnet ? 16 : 8);  // batch normalisation needs some pixels to be well conditioned
        return model.accumulate(ctx, s.batch(), {.chunk = chunk, .labels = s.labels.view(), .image_there = s.image_there.view(), .loss = loss}, rng);
    };
    return test::train_ten_steps(ctx, parameters, accumulate, [&](const optim::rates& r) {
        for (std::size_t i = 0; i < parts.size(); ++i) optimisers[i].step(ctx, parts[i].parameters, parts[i].gradients, r);
        model.zero_gradients(ctx);
    });
}

}  // namespace

TEST_CASE("clip_training: InfoNCE of three modalities on the emulated device as on the CPU") {
    test::check_same_training([](auto& ctx) { return ten_steps(ctx, nn::clip_loss::info_nce, 0); });
}
TEST_CASE("clip_training: SigLIP, its bias learned too") {
    test::check_same_training([](auto& ctx) { return ten_steps(ctx, nn::clip_loss::siglip, 0); });
}
TEST_CASE("clip_training: in pieces of two, each forward repeated with the same random numbers") {
    test::check_same_training([](auto& ctx) { return ten_steps(ctx, nn::clip_loss::info_nce, 2); });
}
TEST_CASE("clip_training: a ResNet as image tower, whose running statistics come along") {
    test::check_same_training([](auto& ctx) { return ten_steps(ctx, nn::clip_loss::info_nce, 0, true); });
}

TEST_CASE("clip_training: adapters of the DNA tower alone") {
    test::check_same_training([](auto& ctx) {
        using memory = typename std::remove_reference_t<decltype(ctx)>::memory;
        nn::clip_config c = config_of(false);
        c.vit.reset();
        nn::clip<float> start(c, philox{.seed = 4});
        nn::clip<float, memory> model(c);
        nn::copy_parameters(ctx, model, start);
        auto parts = model.parts();
        REQUIRE(parts[0].name == "dna");
        nn::lora<float, memory> adapters(ctx, *parts[0].layout, parts[0].parameters, {.rank = 2, .alpha = 3.0, .whole = {"bert.embeddings.position"}}, philox{.seed = 6});
        optim::adamw<float, memory> optimiser(adapters.layout().size());
        const auto accumulate = [&](index_t step, philox rng) {
            const samples s(step);
            auto batch = s.batch();
            batch.images = {};
            return model.accumulate(ctx, batch, {}, rng);
        };
        return test::train_ten_steps(ctx, {adapters.parameters(), parts[0].parameters}, accumulate, [&](const optim::rates& r) {
            ops::fill<float>(ctx, adapters.gradients(), 0.0f);
            adapters.pull(ctx, parts[0].gradients);
            optimiser.step(ctx, adapters.parameters(), adapters.gradients(), r);
            adapters.merge(ctx);
            model.zero_gradients(ctx);
        });
    });
}

TEST_CASE("clip_training: embeddings of a model copied to the device, and the model copied back") {
    cpu_context cpu{2};
    cuda_context device;
    nn::clip<float> model(config_of(false), philox{.seed = 4}), back(config_of(false));
    nn::clip<float, device_memory> there(config_of(false));
    nn::copy_parameters(device, there, model);
    const samples s(0);
    const auto expected = model.embed(cpu, s.batch(), 3), actual = there.embed(device, s.batch(), 3);
    CHECK(test::close<float>(actual.image.view(), expected.image.view()));
    CHECK(test::close<float>(actual.dna.view(), expected.dna.view()));
    CHECK(test::close<float>(actual.text.view(), expected.text.view()));
    nn::copy_parameters(device, back, there);
    const auto ours = model.parts(), theirs = back.parts();
    for (std::size_t i = 0; i < ours.size(); ++i) {
        CAPTURE(ours[i].name);
        CHECK(test::same_bits(ours[i].parameters, theirs[i].parameters));
    }
}

TEST_CASE("clip_training: a copy into another configuration is refused") {
    nn::clip<float> host(config_of(false));
    nn::clip_config fewer = config_of(false);
    fewer.text.reset();
    nn::clip<float, device_memory> other(fewer);
    cuda_context ctx;
    CHECK(test::error_text<shape_error>([&] { nn::copy_parameters(ctx, other, host); }).find("different parameters") != std::string::npos);
}
