// The whole tri-modal model in double: gradients of every part against central differences, for each pooling and image tower, with labels,
// missing modalities and dropout; pieces of a batch (GradCache) against the whole.
#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/nn/clip.hpp"
#include "support/gradient_check.hpp"

using namespace instar;

namespace {

struct samples {
    tensor<double, 4> images{{5, 3, 8, 8}};
    tensor<std::int32_t, 2> dna{{5, 6}}, text{{5, 4}};
    tensor<std::uint8_t, 2> text_mask{{5, 4}};
    samples() {
        const philox rng{.seed = 11};
        for (index_t i = 0; i < images.size(); ++i) images.data()[i] = static_cast<double>(rng.normal(static_cast<std::uint64_t>(i)));
        for (index_t i = 0; i < dna.size(); ++i) dna.data()[i] = static_cast<std::int32_t>(rng.fork(1).below(static_cast<std::uint64_t>(i), 9));
        for (index_t i = 0; i < text.size(); ++i) text.data()[i] = static_cast<std::int32_t>(rng.fork(2).below(static_cast<std::uint64_t>(i), 7));
        for (index_t i = 0; i < 5; ++i) {
            for (index_t t = 0; t < 4; ++t) text_mask(i, t) = t < 4 - i % 3;
        }
    }
    nn::clip_batch<double> batch() const { return {.images = images.view(), .dna = dna.view(), .text = text.view(), .text_mask = text_mask.view()}; }
};

nn::bert_config small_bert(index_t vocab, float dropout) {
    return {.vocab_size = vocab, .d_model = 8, .n_layers = 1, .n_heads = 2, .d_ff = 12, .max_positions = 6, .init_std = 0.4, .dropout = dropout, .attention_dropout = dropout, .padding_idx = -1};
}

nn::clip_config config(bool resnet, nn::clip_pooling dna, nn::clip_pooling text, float dropout) {
    nn::clip_config c{.dna = small_bert(9, dropout), .text = small_bert(7, dropout), .dna_pooling = dna, .text_pooling = text, .d_embedding = 7, .initial_logit_scale = 1.0};
    if (resnet) c.resnet = nn::resnet_config{.n_blocks = {1, 1, 1, 1}, .bottleneck = false, .width = 2, .stem = nn::resnet_stem::small_image};
    else c.vit = nn::vit_config{.image_size = 8, .patch_size = 4, .d_model = 8, .n_layers = 1, .n_heads = 2, .d_ff = 12, .init_std = 0.4, .dropout = dropout};
    return c;
}

/// Parameters off their defaults, so that no gradient is trivially right.
void shake(nn::clip<double>& model) {
    std::uint64_t stream = 0;
    for (auto& p : model.parts()) {
        const philox rng = philox{.seed = 5}.fork(++stream);
        for (index_t i = 0; i < p.parameters.size(); ++i) p.parameters(i) += 0.2 * static_cast<double>(rng.normal(static_cast<std::uint64_t>(i)));
    }
}

void check_parts(nn::clip<double>& model, const nn::clip_batch<double>& batch, const nn::clip_loss_options& o, double bound) {
    cpu_context ctx;
    model.zero_gradients(ctx);
    const philox rng{.seed = 3};
    model.accumulate(ctx, batch, o, rng);
    std::vector<tensor<double, 1>> analytic;
    for (auto& p : model.parts()) {
        analytic.emplace_back(tensor<double, 1>({p.gradients.size()}));
        std::copy_n(p.gradients.data(), p.gradients.size(), analytic.back().data());
    }
    std::size_t i = 0;
    for (auto& p : model.parts()) {
        CAPTURE(p.name);
        const auto& g = analytic[i++];
        double largest = 0.0;
        for (const double x : g) largest = std::max(largest, std::abs(x));
        const bool used = !((p.name.starts_with("text") && batch.text.data() == nullptr));
        CHECK((largest > 1e-6) == used);
        const auto f = [&] { return model.accumulate(ctx, batch, o, rng); };
        CHECK(test::gradient_error(p.parameters, g.view(), f, 1e-5, std::max<index_t>(1, p.parameters.size() / 60)) < bound);
    }
}

}  // namespace

TEST_CASE("clip: gradients of every part") {
    const samples s;
    using enum nn::clip_pooling;
    for (const auto& [dna, text] : {std::pair{softmax_mean, mean}, std::pair{masked_mean, first}}) {
        nn::clip<double> model(config(false, dna, text, 0.0f), philox{.seed = 1});
        shake(model);
        check_parts(model, s.batch(), {}, 1e-6);
    }
}

TEST_CASE("clip: labels, a missing modality, samples without one, dropout, ResNet") {
    const samples s;
    tensor<std::int32_t, 1> labels({5});
    tensor<std::uint8_t, 1> there({5});
    for (index_t i = 0; i < 5; ++i) labels(i) = static_cast<std::int32_t>(i % 3), there(i) = i != 2;
    nn::clip<double> model(config(false, nn::clip_pooling::softmax_mean, nn::clip_pooling::mean, 0.2f), philox{.seed = 1});
    shake(model);
    check_parts(model, s.batch(), {.labels = labels.view(), .dna_there = there.view()}, 1e-6);
    auto two = s.batch();
    two.text = {};
    two.text_mask = {};
    check_parts(model, two, {}, 1e-6);
    nn::clip<double> resnet(config(true, nn::clip_pooling::mean, nn::clip_pooling::mean, 0.0f), philox{.seed = 1});
    shake(resnet);
    check_parts(resnet, s.batch(), {}, 1e-5);
}

TEST_CASE("clip: SigLIP, two and three modalities, labels") {
    const samples s;
    cpu_context ctx;
    tensor<std::int32_t, 1> labels({5});
    for (index_t i = 0; i < 5; ++i) labels(i) = static_cast<std::int32_t>(i % 3);
    auto c = config(false, nn::clip_pooling::softmax_mean, nn::clip_pooling::mean, 0.0f);
    CHECK_THROWS_AS(nn::clip<double>(c, philox{.seed = 1}).accumulate(ctx, s.batch(), {.loss = nn::clip_loss::siglip}, philox{}), value_error);
    c.initial_logit_bias = -1.5;
    nn::clip<double> model(c, philox{.seed = 1});
    shake(model);
    check_parts(model, s.batch(), {.labels = labels.view(), .loss = nn::clip_loss::siglip}, 1e-6);
    auto two = s.batch();
    two.text = {};
    two.text_mask = {};
    check_parts(model, two, {.loss = nn::clip_loss::siglip}, 1e-6);
    // The formula itself, from the embeddings.
    const auto e = model.embed(ctx, two);
    const double scale = std::exp(model.logit_scale()), bias = model.parts().back().parameters(0);
    double expected = 0.0;
    for (index_t i = 0; i < 5; ++i) {
        for (index_t j = 0; j < 5; ++j) {
            double z = bias;
            for (index_t k = 0; k < 7; ++k) z += scale * e.image(i, k) * e.dna(j, k);
            expected += std::log1p(std::exp(i == j ? -z : z)) / 5.0;
        }
    }
    CHECK(model.accumulate(ctx, two, {.loss = nn::clip_loss::siglip}, philox{}) == doctest::Approx(expected).epsilon(1e-10));
}

TEST_CASE("clip: a batch in pieces has the gradient of the whole") {
    const samples s;
    cpu_context ctx;
    const philox rng{.seed = 3};
    nn::clip<double> model(config(false, nn::clip_pooling::softmax_mean, nn::clip_pooling::mean, 0.0f), philox{.seed = 1});
    shake(model);
    const double whole = model.accumulate(ctx, s.batch(), {}, rng);
    std::vector<std::vector<double>> expected;
    for (auto& p : model.parts()) expected.emplace_back(p.gradients.data(), p.gradients.data() + p.gradients.size());
    for (const index_t chunk : {1, 2, 5, 9}) {
        model.zero_gradients(ctx);
        CHECK(model.accumulate(ctx, s.batch(), {.chunk = chunk}, rng) == doctest::Approx(whole).epsilon(1e-12));
        std::size_t k = 0;
        for (auto& p : model.parts()) {
            for (index_t i = 0; i < p.gradients.size(); ++i) CHECK(std::abs(p.gradients(i) - expected[k][static_cast<std::size_t>(i)]) < 1e-12);
            ++k;
        }
    }
    // Embeddings are those of the forward, whatever the pieces; unit rows.
    const auto a = model.embed(ctx, s.batch(), 2), b = model.embed(ctx, s.batch(), 64);
    for (index_t i = 0; i < 5; ++i) {
        double length = 0.0;
        for (index_t k = 0; k < 7; ++k) {
            CHECK(a.dna(i, k) == doctest::Approx(b.dna(i, k)).epsilon(1e-12));
            length += a.image(i, k) * a.image(i, k);
        }
        CHECK(length == doctest::Approx(1.0));
    }
}

TEST_CASE("clip: what cannot be is refused") {
    const samples s;
    cpu_context ctx;
    CHECK_THROWS_AS(nn::clip<double>(nn::clip_config{}), value_error);
    nn::clip_config two = config(false, nn::clip_pooling::mean, nn::clip_pooling::mean, 0.0f);
    two.resnet = nn::resnet_config{};
    CHECK_THROWS_AS(nn::clip<double>{two}, value_error);
    nn::clip_config no_text = config(false, nn::clip_pooling::mean, nn::clip_pooling::mean, 0.0f);
    no_text.text.reset();
    nn::clip<double> model(no_text, philox{.seed = 1});
    CHECK_THROWS_AS(model.accumulate(ctx, s.batch(), {}, {}), value_error);  // text without a tower
    auto dna_only = s.batch();
    dna_only.images = {};
    dna_only.text = {};
    CHECK_THROWS_AS(model.accumulate(ctx, dna_only, {}, {}), value_error);
    CHECK(model.embed(ctx, dna_only).dna.extent(0) == 5);
    auto uneven = s.batch();
    uneven.text = {};
    uneven.dna = s.dna.view().rows(0, 3);
    CHECK_THROWS_AS(model.embed(ctx, uneven), shape_error);
    model.set_logit_scale(std::nan(""));
    auto pair = s.batch();
    pair.text = {};
    CHECK_THROWS_AS(model.accumulate(ctx, pair, {}, {}), value_error);
}
