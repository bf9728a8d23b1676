// Gradients of whole modules in double against central differences: both block kinds, the BERT with its heads, and the
// contrastive objective through pooling and normalisation.
#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <vector>

#include "instar/core/cpu_context.hpp"
#include "instar/nn/bert.hpp"
#include "instar/nn/transformer_block.hpp"
#include "instar/train/bert_trainer.hpp"

using namespace instar;

namespace {

/// Checks `analytic` against central differences of `loss` at every `stride`-th element of `x`.
void check_gradient(const std::function<double()>& loss, tensor_view<double, 1> x, tensor_view<const double, 1> analytic, index_t stride) {
    constexpr double k_h = 1e-5;
    double largest = 0;
    for (index_t i = 0; i < analytic.extent(0); ++i) largest = std::max(largest, std::abs(analytic(i)));
    REQUIRE(largest > 0);
    index_t checked = 0;
    for (index_t i = 0; i < x.extent(0); i += stride, ++checked) {
        const double old = x(i);
        x(i) = old + k_h;
        const double up = loss();
        x(i) = old - k_h;
        const double down = loss();
        x(i) = old;
        const double numeric = (up - down) / (2 * k_h);
        INFO("element " << i << " analytic " << analytic(i) << " numeric " << numeric);
        CHECK(std::abs(analytic(i) - numeric) <= 1e-6 * largest + 1e-9);
    }
    CHECK(checked > 8);
}

tensor<double, 1> random_values(index_t n, std::uint64_t stream, double scale = 1.0) {
    tensor<double, 1> x({n});
    for (index_t i = 0; i < n; ++i) x(i) = scale * static_cast<double>(philox{5, stream}.normal(static_cast<std::uint64_t>(i)));
    return x;
}

/// A tiny BERT whose LayerNorm weights and biases are off their defaults, so that no gradient is trivially right.
nn::bert<double> tiny_bert(index_t n_labels, float dropout) {
    nn::bert<double> model({.vocab_size = 11, .d_model = 12, .n_layers = 2, .n_heads = 3, .d_ff = 20, .max_positions = 9, .n_labels = n_labels,
                            .init_std = 0.4, .dropout = dropout, .attention_dropout = dropout},
                           philox{.seed = 3});
    auto noise = random_values(model.layout().size(), 77, 0.2);
    for (const auto& info : model.layout().infos()) {
        for (index_t i = 0; i < info.size; ++i) {
            if (info.zero_row >= 0 && i / (info.size / info.shape[0]) == info.zero_row) continue;
            model.parameters()(info.offset + i) += noise(info.offset + i);
        }
    }
    return model;
}

struct token_batch {
    tensor<std::int32_t, 2> ids{{3, 7}};
    tensor<std::uint8_t, 2> mask{{3, 7}};
    token_batch() {
        for (index_t b = 0; b < 3; ++b) {
            for (index_t t = 0; t < 7; ++t) {
                ids(b, t) = static_cast<std::int32_t>((b * 5 + t * 3) % 11);
                mask(b, t) = t < 7 - 2 * b ? 1 : 0;
            }
        }
    }
};

}  // namespace

TEST_CASE("transformer_block: post-LN and pre-LN gradients, ragged masks, with and without dropout") {
    cpu_context ctx{2};
    for (auto placement : {nn::norm_placement::post, nn::norm_placement::pre}) {
        for (float p : {0.0f, 0.3f}) {
            CAPTURE(static_cast<int>(placement));
            CAPTURE(p);
            nn::parameter_layout layout;
            nn::transformer_block block(layout, {{"q", "k", "v", "o"}, "n1", "m1", "m2", "n2"},
                                        {.d_model = 10, .n_heads = 2, .d_ff = 14, .norm = placement});
            auto values = random_values(layout.size(), 1, 0.5);
            auto x = random_values(2 * 5 * 10, 2), weight = random_values(2 * 5 * 10, 3);
            tensor<std::uint8_t, 2> mask({2, 5});
            for (index_t t = 0; t < 5; ++t) mask(0, t) = 1, mask(1, t) = t < 3;
            const nn::block_mode mode{p, p, philox{9, 4}};
            arena<> memory, scratch;
            memory.measure();
            block.take<double>(memory, 2, 5);
            memory.commit();
            auto saved = block.take<double>(memory, 2, 5);
            tensor<double, 2> y({10, 10});
            const auto loss = [&] {
                block.forward<cpu_context, double>(ctx, std::as_const(values).view(), y, saved, x.view().reshape<2>({10, 10}), mask, mode);
                double s = 0;
                for (index_t i = 0; i < 100; ++i) s += y.data()[i] * weight(i);
                return s;
            };
            loss();
            tensor<double, 1> gradients({layout.size()});
            tensor<double, 2> dx({10, 10});
            const auto backward = [&] {
                block.backward<cpu_context, double>(ctx, std::as_const(values).view(), gradients, dx, weight.view().reshape<2>({10, 10}), saved,
                                                    x.view().reshape<2>({10, 10}), mask, mode, scratch);
            };
            scratch.measure();
            backward();
            scratch.commit();
            backward();
            check_gradient(loss, values.view(), gradients.view(), 7);
            check_gradient(loss, x.view(), dx.view().reshape<1>({100}), 3);
        }
    }
}

TEST_CASE("bert: gradients of the masked-token loss, every parameter kind, chunks of logits and weights included") {
    cpu_context ctx{2};
    for (float dropout : {0.0f, 0.25f}) {
        auto model = tiny_bert(9, dropout);
        train::bert_trainer<double> trainer(model);
        token_batch batch;
        train::masked_batch masked;
        train::mask_tokens(masked, batch.ids, {.mask_ratio = 0.4f, .loss = train::mlm_loss::weighted, .masked_weight = 0.7f}, philox{1, 2});
        REQUIRE(masked.n_masked > 0);
        const philox rng{8, 1};
        const auto loss = [&] {
            ops::fill<double>(ctx, trainer.gradients(), 0.0);
            return trainer.accumulate_mlm(ctx, masked, batch.mask.view(), masked.denominator, rng);
        };
        loss();
        tensor<double, 1> analytic({model.layout().size()});
        std::copy(trainer.gradients().data(), trainer.gradients().data() + analytic.size(), analytic.data());
        // The padding row takes part in the forward but never receives a gradient: leave it out of the comparison.
        const auto& word = model.layout().infos()[0];
        for (const auto& info : model.layout().infos()) {
            const index_t skip = info.name == word.name ? 12 : 0;
            check_gradient(loss, tensor_view<double, 1>(model.parameters().data() + info.offset + skip, {info.size - skip}),
                           tensor_view<const double, 1>(analytic.data() + info.offset + skip, {info.size - skip}), std::max<index_t>(1, (info.size - skip) / 12));
            if (info.name == word.name) {
                for (index_t i = 0; i < 12; ++i) CHECK(analytic(info.offset + i) == 0.0);
            }
        }
    }
}

TEST_CASE("bert: gradients of classification and of supervised contrast, each pooling") {
    cpu_context ctx{2};
    for (auto pooling : {ops::pooling::mean, ops::pooling::masked_mean, ops::pooling::first}) {
        auto model = tiny_bert(4, 0.0f);
        train::bert_trainer<double> trainer(model);
        token_batch batch;
        tensor<std::int32_t, 1> targets({3});
        targets(0) = 2, targets(1) = -1, targets(2) = 0;
        const philox rng{8, 1};
        const auto check_all = [&](const std::function<double()>& step, index_t first_parameter_stride) {
            const auto loss = [&] {
                ops::fill<double>(ctx, trainer.gradients(), 0.0);
                return step();
            };
            loss();
            tensor<double, 1> analytic({model.layout().size()});
            std::copy(trainer.gradients().data(), trainer.gradients().data() + analytic.size(), analytic.data());
            const index_t skip = model.layout().infos()[0].size;  // word embeddings: checked above
            check_gradient(loss, tensor_view<double, 1>(model.parameters().data() + skip, {model.layout().size() - skip}),
                           tensor_view<const double, 1>(analytic.data() + skip, {model.layout().size() - skip}), first_parameter_stride);
        };
        check_all([&] {
            return trainer.accumulate_classification(ctx, batch.ids.view(), batch.mask.view(), targets.view(), pooling, {.denominator = 2, .label_smoothing = 0.1}, rng);
        }, 41);
        tensor<std::int32_t, 1> genus({3}), species({3});
        genus(0) = genus(1) = genus(2) = 1;
        species(0) = species(2) = 3;
        species(1) = -1;
        const tensor_view<const std::int32_t, 1> ranks[] = {genus.view(), species.view()};
        const double weights[] = {1.0, 0.5};
        check_all([&] { return trainer.accumulate_sup_con(ctx, batch.ids.view(), batch.mask.view(), ranks, weights, pooling, 0.3, rng); }, 41);
    }
}
