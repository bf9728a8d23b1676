#ifndef INSTAR_TESTS_GOLDEN_BERT_CASE_HPP
#define INSTAR_TESTS_GOLDEN_BERT_CASE_HPP

// One BERT of the golden files: its configuration, batches and filled model.
//
//     const test::bert_case c("bert_k3");
//     auto model = c.token_model<float>();
//     train::bert_trainer<float> trainer(model);
//     trainer.accumulate_mlm(ctx, c.masked_batch(0), c.mask.view(), c.n_targets(0), {});

#include "instar/train/bert_trainer.hpp"
#include "support/golden_fill.hpp"

namespace instar::test {

struct bert_case {
    golden_file golden;
    nn::bert_config config;
    index_t n_batch, seq_len, n_steps;
    std::vector<std::int32_t> ids, inputs, targets;  // [n_steps, n_batch, seq_len]
    tensor<std::uint8_t, 2> mask;                    // [n_batch, seq_len], of every step

    explicit bert_case(const std::string& name) : golden(name) {
        const auto c = golden.read<std::int64_t>("config");
        config = {.vocab_size = c.at(0), .d_model = c.at(1), .n_layers = c.at(2), .n_heads = c.at(3), .d_ff = c.at(4), .max_positions = c.at(5),
                  .n_labels = c.at(6), .dropout = 0.0f, .attention_dropout = 0.0f};
        const auto& shape = golden.file().info("inputs").shape;
        n_steps = shape.at(0);
        n_batch = shape.at(1);
        seq_len = shape.at(2);
        ids = golden.read<std::int32_t>("ids");
        inputs = golden.read<std::int32_t>("inputs");
        targets = golden.read<std::int32_t>("targets");
        mask = tensor<std::uint8_t, 2>({n_batch, seq_len});
        golden.file().read_into("mask", mask.view());
    }

    index_t n_tokens() const { return n_batch * seq_len; }
    template <class T>
    nn::bert<T> token_model() const {
        nn::bert<T> model(config);
        golden_fill(model.layout(), model.parameters());
        return model;
    }
    /// The same encoder under a classifier of whole sequences.
    template <class T>
    nn::bert<T> sequence_model(index_t n_classes) const {
        nn::bert_config other = config;
        other.n_labels = n_classes;
        nn::bert<T> model(other);
        golden_fill(model.layout(), model.parameters());
        return model;
    }
    tensor<std::int32_t, 2> step_of(const std::vector<std::int32_t>& all, index_t step) const {
        tensor<std::int32_t, 2> x({n_batch, seq_len});
        std::copy_n(all.begin() + step * n_tokens(), n_tokens(), x.begin());
        return x;
    }
    train::masked_batch masked_batch(index_t step) const {
        train::masked_batch batch;
        batch.ids = step_of(inputs, step);
        batch.targets = tensor<std::int32_t, 1>({n_tokens()});
        std::copy_n(targets.begin() + step * n_tokens(), n_tokens(), batch.targets.begin());
        for (index_t i = 0; i < n_tokens(); ++i) {
            batch.n_targets += batch.targets(i) >= 0;
            batch.n_masked += batch.ids.data()[i] == 0;
        }
        batch.denominator = static_cast<double>(batch.n_targets);
        return batch;
    }
};

inline constexpr const char* k_bert_cases[] = {"bert_k3", "bert_k2"};

}  // namespace instar::test

#endif
