// The BERT model's behaviour that no gradient check sees: determinism, masking, memory, errors.
#include <doctest/doctest.h>

#include <cstring>

#include "instar/core/cpu_context.hpp"
#include "instar/nn/bert.hpp"
#include "instar/train/bert_trainer.hpp"

using namespace instar;

namespace {
const nn::bert_config k_small{.vocab_size = 66, .d_model = 48, .n_layers = 2, .n_heads = 4, .d_ff = 96, .max_positions = 64, .n_labels = 64};

tensor<std::int32_t, 2> some_ids(index_t n_batch, index_t seq_len) {
    tensor<std::int32_t, 2> ids({n_batch, seq_len});
    for (index_t i = 0; i < ids.size(); ++i) ids.data()[i] = static_cast<std::int32_t>(philox{4, 4}.below(static_cast<std::uint64_t>(i), 66));
    return ids;
}
}  // namespace

TEST_CASE("bert: parameter count is transformers'") {
    // BarcodeBERT 8-4-4: 129,478,144 parameters with its classifier (transformers 4.x, counted there).
    nn::bert_network net({.vocab_size = 65538, .n_layers = 4, .n_heads = 4, .n_labels = 65536});
    CHECK(net.layout().count() == 129478144);
    nn::bert_network encoder({.vocab_size = 65538, .n_layers = 4, .n_heads = 4});
    CHECK(encoder.layout().count() == 79080960);
}

TEST_CASE("bert: one and two threads give the same bits over several training steps") {
    std::vector<std::vector<float>> results;
    for (int threads : {1, 2}) {
        cpu_context ctx{threads};
        nn::bert<float> model(k_small, philox{.seed = 1});
        train::bert_trainer<float> trainer(model, {.weight_decay = 0.01, .max_grad_norm = 1.0});
        const auto ids = some_ids(6, 33);
        train::masked_batch masked;
        for (index_t step = 0; step < 4; ++step) {
            const philox rng{7, static_cast<std::uint64_t>(step)};
            train::mask_tokens(masked, ids, {}, rng);
            trainer.accumulate_mlm(ctx, masked, {}, masked.denominator, rng.fork(3));
            trainer.update(ctx, optim::one_cycle{.max_lr = 1e-3, .total_steps = 4}(step));
        }
        results.emplace_back(model.parameters().data(), model.parameters().data() + model.layout().size());
    }
    CHECK(std::memcmp(results[0].data(), results[1].data(), results[0].size() * sizeof(float)) == 0);
}

TEST_CASE("bert: micro-batches sum to the gradient of the whole batch") {
    cpu_context ctx{2};
    nn::bert_config config = k_small;
    config.dropout = config.attention_dropout = 0;
    nn::bert<float> model(config, philox{.seed = 1});
    train::bert_trainer<float> whole(model), parts(model);
    const auto ids = some_ids(4, 16);
    train::masked_batch all, part;
    train::mask_tokens(all, ids, {}, philox{1, 1});
    whole.accumulate_mlm(ctx, all, {}, all.denominator, {});
    for (index_t b = 0; b < 4; ++b) {
        part.ids = tensor<std::int32_t, 2>({1, 16});
        part.targets = tensor<std::int32_t, 1>({16});
        for (index_t t = 0; t < 16; ++t) part.ids(0, t) = all.ids(b, t), part.targets(t) = all.targets(b * 16 + t);
        parts.accumulate_mlm(ctx, part, {}, all.denominator, {});
    }
    double error = 0, norm = 0;
    for (index_t i = 0; i < model.layout().size(); ++i) {
        const double d = static_cast<double>(whole.gradients()(i) - parts.gradients()(i));
        error += d * d;
        norm += static_cast<double>(whole.gradients()(i)) * static_cast<double>(whole.gradients()(i));
    }
    CHECK(norm > 0);
    CHECK(error <= 1e-10 * norm);
}

TEST_CASE("bert: what lies behind a masked key cannot be seen") {
    cpu_context ctx{2};
    nn::bert<float> model(k_small, philox{.seed = 1});
    auto ids = some_ids(2, 20);
    tensor<std::uint8_t, 2> mask({2, 20});
    for (index_t b = 0; b < 2; ++b) {
        for (index_t t = 0; t < 15; ++t) mask(b, t) = 1;
    }
    const auto before = model.embed(ctx, ids, mask, ops::pooling::masked_mean);
    for (index_t t = 15; t < 20; ++t) ids(0, t) = 1 + (ids(0, t) + 7) % 60;
    const auto after = model.embed(ctx, ids, mask, ops::pooling::masked_mean);
    CHECK(std::memcmp(before.data(), after.data(), static_cast<std::size_t>(before.size()) * sizeof(float)) == 0);
    ids(0, 3) = 1 + (ids(0, 3) + 7) % 60;
    const auto changed = model.embed(ctx, ids, mask, ops::pooling::masked_mean);
    CHECK(std::memcmp(before.data(), changed.data(), static_cast<std::size_t>(before.size()) * sizeof(float)) != 0);
}

TEST_CASE("bert: an embedding does not depend on the batch it is computed in") {
    cpu_context ctx{2};
    nn::bert<float> model(k_small, philox{.seed = 1});
    const auto ids = some_ids(7, 20);
    const auto together = model.embed(ctx, ids, {}, ops::pooling::mean, 7);
    const auto alone = model.embed(ctx, ids, {}, ops::pooling::mean, 1);
    for (index_t i = 0; i < together.size(); ++i) CHECK(together.data()[i] == doctest::Approx(alone.data()[i]).epsilon(1e-4));
}

TEST_CASE("bert: errors name what is wrong") {
    cpu_context ctx{1};
    CHECK_THROWS_WITH_AS(nn::bert_network({.d_model = 10, .n_heads = 3}), doctest::Contains("d_model 10 is not a multiple of n_heads 3"), value_error);
    CHECK_THROWS_WITH_AS(nn::bert_network({.vocab_size = 0}), doctest::Contains("vocab_size must be at least 1"), value_error);
    CHECK_THROWS_WITH_AS(nn::bert_network({.dropout = 1.0f}), doctest::Contains("dropout must be in [0, 1)"), value_error);
    nn::bert<float> model(k_small, philox{.seed = 1});
    nn::bert_activations<float> memory;
    const auto too_long = some_ids(1, 65);
    CHECK_THROWS_WITH_AS(model.forward(ctx, memory, too_long, {}), doctest::Contains("65 positions, the model at most 64"), shape_error);
    auto ids = some_ids(1, 8);
    ids(0, 5) = 66;
    CHECK_THROWS_AS(model.forward(ctx, memory, ids, {}), value_error);
    auto gradients = model.make_gradients();
    ids(0, 5) = 1;
    auto h = model.forward(ctx, memory, ids, {});
    CHECK_THROWS_WITH_AS(model.backward(ctx, gradients.view(), memory, h), doctest::Contains("not run in training mode"), value_error);
}
