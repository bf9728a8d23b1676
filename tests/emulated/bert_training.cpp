// Ten optimiser steps of a BERT under each objective: the emulated device gives the CPU's losses, dropout on.

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/train/bert_trainer.hpp"
#include "support/training.hpp"

using namespace instar;

namespace {

constexpr index_t k_batch = 4, k_length = 9;

nn::bert_config config_of(index_t n_labels) {
    return {.vocab_size = 18, .d_model = 16, .n_layers = 2, .n_heads = 2, .d_ff = 24, .max_positions = 12, .n_labels = n_labels, .dropout = 0.1f, .attention_dropout = 0.1f};
}

/// Losses of ten steps of one objective, and the parameters after them. The model starts the same on either device.
template <class Context, class Accumulate>
test::training_curve ten_steps(Context& ctx, index_t n_labels, const optim::adamw_config& adamw, Accumulate accumulate) {
    using memory = typename Context::memory;
    const nn::bert<float> start(config_of(n_labels), philox{.seed = 3});
    nn::bert<float, memory> model(start.config());
    nn::copy_parameters(ctx, model, start);
    train::bert_trainer<float, memory> trainer(model, adamw);
    return test::train_ten_steps(ctx, {model.parameters()}, [&](index_t step, philox rng) { return accumulate(ctx, trainer, step, rng); },
                                 [&](const optim::rates& r) { trainer.update(ctx, r); });
}

/// Sequences of random tokens, the last of each batch padded.
struct sequences {
    tensor<std::int32_t, 2> ids{{k_batch, k_length}};
    tensor<std::uint8_t, 2> mask{{k_batch, k_length}};

    explicit sequences(index_t step) {
        const philox rng{.seed = 5, .stream = static_cast<std::uint64_t>(step)};
        for (index_t i = 0; i < ids.size(); ++i) {
            const bool there = i < ids.size() - 3;
            ids.data()[i] = there ? static_cast<std::int32_t>(2 + rng.below(static_cast<std::uint64_t>(i), 16)) : 1;
            mask.data()[i] = there;
        }
    }
};

}  // namespace

TEST_CASE("bert_training: masked tokens, all and weighted, on the emulated device as on the CPU") {
    for (const auto loss : {train::mlm_loss::all, train::mlm_loss::weighted}) {
        test::check_same_training([&](auto& ctx) {
            train::masked_batch masked;
            return ten_steps(ctx, 16, {.weight_decay = 0.01}, [&](auto& c, auto& trainer, index_t step, philox rng) {
                const sequences s(step);
                train::mask_tokens(masked, s.ids.view(), {.loss = loss}, rng.fork(1));
                return trainer.accumulate_mlm(c, masked, s.mask.view(), masked.denominator, rng.fork(2));
            });
        });
    }
}

TEST_CASE("bert_training: classes of sequences, two micro-batches a step and a clipped gradient") {
    test::check_same_training([](auto& ctx) {
        return ten_steps(ctx, 3, {.max_grad_norm = 0.5}, [](auto& c, auto& trainer, index_t step, philox rng) {
            tensor<std::int32_t, 1> targets({k_batch});
            double total = 0.0;
            for (index_t part = 0; part < 2; ++part) {
                const sequences s(2 * step + part);
                for (index_t i = 0; i < k_batch; ++i) targets(i) = static_cast<std::int32_t>(i == 1 ? -1 : (i + step) % 3);
                total += trainer.accumulate_classification(c, s.ids.view(), s.mask.view(), targets.view(), ops::pooling::masked_mean,
                                                           {.denominator = 2.0 * (k_batch - 1), .label_smoothing = 0.1}, rng.fork(static_cast<std::uint64_t>(part)));
            }
            return total;
        });
    });
}

TEST_CASE("bert_training: a frozen encoder stays as it is") {
    cuda_context ctx;
    const nn::bert<float> start(config_of(3), philox{.seed = 3});
    nn::bert<float, device_memory> model(start.config());
    nn::copy_parameters(ctx, model, start);
    train::bert_trainer<float, device_memory> trainer(model);
    const sequences s(0);
    const tensor<std::int32_t, 1> targets({k_batch});
    (void)trainer.accumulate_classification(ctx, s.ids.view(), s.mask.view(), targets.view(), ops::pooling::first, {.denominator = k_batch}, {}, true);
    trainer.update(ctx, {.lr = 0.1});
    nn::bert<float> after(start.config());
    nn::copy_parameters(ctx, after, model);
    for (const auto& info : start.layout().infos()) {
        CAPTURE(info.name);
        const bool same = std::equal(start.parameters().data() + info.offset, start.parameters().data() + info.offset + info.size, after.parameters().data() + info.offset);
        CHECK(same != info.name.starts_with("classifier."));
    }
}

TEST_CASE("bert_training: supervised contrast under two ranks") {
    test::check_same_training([](auto& ctx) {
        return ten_steps(ctx, 0, {}, [](auto& c, auto& trainer, index_t step, philox rng) {
            tensor<std::int32_t, 1> genus({k_batch}), species({k_batch});
            for (index_t i = 0; i < k_batch; ++i) {
                genus(i) = static_cast<std::int32_t>(i % 2);
                species(i) = static_cast<std::int32_t>(i == 3 ? -1 : 0);
            }
            const tensor_view<const std::int32_t, 1> ranks[] = {genus.view(), species.view()};
            const double weights[] = {1.0, 0.5};
            const sequences s(step);
            return trainer.accumulate_sup_con(c, s.ids.view(), s.mask.view(), ranks, weights, ops::pooling::masked_mean, 0.1, rng);
        });
    });
}
