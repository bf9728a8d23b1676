#ifndef INSTAR_BENCHMARKS_BERT_SHAPES_HPP
#define INSTAR_BENCHMARKS_BERT_SHAPES_HPP

// The BERT models and batches that bert.cpp and mlm_step.cpp time; peers/pytorch_bert.py times the same.
//
//     for (const bench::bert_shape& s : bench::k_bert_shapes) …
//     const bench::bert_batch batch(s);              // random k-mers; barcodes fill 90 to 100 % of the positions
//     nn::bert<float> model(s.config(), philox{.seed = 1});

#include <string>

#include "instar/core/philox.hpp"
#include "instar/nn/bert.hpp"

namespace instar::bench {

/// k-mers of k bases; the classifier of the masked-token loss has 4^k outputs.
struct bert_shape {
    const char* name;
    int k;
    index_t n_layers, d_model, n_heads, n_batch, seq_len;

    nn::bert_config config() const {
        const index_t words = index_t{1} << (2 * k);
        return {.vocab_size = words + 2, .d_model = d_model, .n_layers = n_layers, .n_heads = n_heads, .d_ff = 4 * d_model, .n_labels = words};
    }
    /// Matrix products and attention of one forward with the classifier on every token.
    double classifier_flop() const {
        return 2.0 * static_cast<double>(n_batch * seq_len) * static_cast<double>(d_model) * static_cast<double>(index_t{1} << (2 * k));
    }
};

/// The paper's model on barcodes of 660 bases at k = 4 and 8, and the small ones that a laptop trains.
inline constexpr bert_shape k_bert_shapes[] = {
    {"k4_4x768_b32_t165", 4, 4, 768, 4, 32, 165},
    {"k8_4x768_b32_t82", 8, 4, 768, 4, 32, 82},
    {"k4_4x256_b64_t165", 4, 4, 256, 4, 64, 165},
    {"k4_2x128_b64_t165", 4, 2, 128, 4, 64, 165},
};

struct bert_batch {
    tensor<std::int32_t, 2> ids;
    tensor<std::uint8_t, 2> mask;

    explicit bert_batch(const bert_shape& s) : ids({s.n_batch, s.seq_len}), mask({s.n_batch, s.seq_len}) {
        const philox rng{.seed = 5};
        const auto words = static_cast<std::uint32_t>(1u << (2 * s.k));
        for (index_t b = 0; b < s.n_batch; ++b) {
            const index_t shortest = s.seq_len * 9 / 10;
            const index_t length = shortest + rng.fork(1).below(static_cast<std::uint64_t>(b), static_cast<std::uint32_t>(s.seq_len - shortest + 1));
            for (index_t t = 0; t < s.seq_len; ++t) {
                const auto i = static_cast<std::uint64_t>(b * s.seq_len + t);
                mask(b, t) = t < length;
                ids(b, t) = t < length ? 2 + static_cast<std::int32_t>(rng.below(i, words)) : 1;
            }
        }
    }
};

}  // namespace instar::bench

#endif
