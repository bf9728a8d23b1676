#ifndef INSTAR_EXAMPLES_DNA_BARCODE_BARCODES_HPP
#define INSTAR_EXAMPLES_DNA_BARCODE_BARCODES_HPP

// From barcode texts to token batches: placing, augmenting, tokenising.
//
//     barcode_encoder encoder({.k = 4, .max_length = 660}, anchor);      // anchor may be empty
//     token_batch batch;
//     encoder.encode(ctx, batch, sequences, shifts, indices, {.offset = true}, rng);

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "instar/core/parallel_for.hpp"
#include "instar/core/tensor.hpp"
#include "instar/data/anchor.hpp"
#include "instar/data/barcode_augment.hpp"
#include "instar/tokenize/kmer.hpp"

namespace dna_barcode {

using instar::cpu_context;
using instar::index_t;
using instar::philox;
using instar::tensor;

struct token_batch {
    tensor<std::int32_t, 2> ids;
    tensor<std::uint8_t, 2> mask;
};

/// What training changes in a barcode before it is tokenised.
struct variant_options {
    bool random_offset = false;            ///< BarcodeBERT's: lose the first 0 … k−1 bases
    int jitter = 0;                        ///< anchored input only: move by −jitter … jitter bases
    instar::data::barcode_augment augment{};
};

/// Tokenises, anchored or not. Tokens that lie in the padding in front of an anchored barcode are masked out.
class barcode_encoder {
public:
    barcode_encoder(instar::tokenize::kmer_options options, instar::data::barcode_anchor anchor)
        : options_(options), tokenizer_(options), anchor_(std::move(anchor)) {}

    const instar::tokenize::kmer& tokenizer() const { return tokenizer_; }
    const instar::tokenize::kmer_options& options() const { return options_; }
    const instar::data::barcode_anchor& anchor() const { return anchor_; }
    bool anchored() const { return !anchor_.empty(); }

    /// First column of each barcode; zeros without an anchor.
    std::vector<int> shifts(cpu_context& ctx, std::span<const std::string> sequences) const {
        std::vector<int> s(sequences.size(), 0);
        if (!anchored()) return s;
        instar::parallel_for(ctx, static_cast<index_t>(s.size()), 16, [&](index_t begin, index_t end) {
            for (index_t i = begin; i < end; ++i) s[static_cast<std::size_t>(i)] = anchor_.shift(sequences[static_cast<std::size_t>(i)]);
        });
        return s;
    }

    /// Fills `batch` with sequences[indices[i]]. Sample i draws from rng.fork(indices[i]), so neither the batch nor the
    /// number of threads matters.
    void encode(cpu_context& ctx, token_batch& batch, std::span<const std::string> sequences, std::span<const int> shifts,
                std::span<const index_t> indices, const variant_options& variant, philox rng) const {
        const index_t n = static_cast<index_t>(indices.size()), seq_len = tokenizer_.seq_len();
        if (batch.ids.empty() || batch.ids.extent(0) != n || batch.ids.extent(1) != seq_len) {
            batch.ids = tensor<std::int32_t, 2>({n, seq_len});
            batch.mask = tensor<std::uint8_t, 2>({n, seq_len});
        }
        instar::parallel_for(ctx, n, 8, [&](index_t begin, index_t end) {
            std::string text, placed;
            for (index_t i = begin; i < end; ++i) {
                const auto sample = static_cast<std::size_t>(indices[static_cast<std::size_t>(i)]);
                const philox own = rng.fork(sample);
                int shift = shifts[sample] + variant.augment.apply(text, sequences[sample], own);
                int offset = 0;
                const int k = options_.k;
                if (variant.random_offset) offset = static_cast<int>(own.fork(11).below(0, static_cast<std::uint32_t>(k)));
                std::int32_t* ids = &batch.ids(i, 0);
                std::uint8_t* mask = &batch.mask(i, 0);
                if (!anchored()) {
                    tokenizer_.encode_one(text, offset, ids, mask);
                    continue;
                }
                if (variant.jitter > 0) shift += static_cast<int>(own.fork(12).below(0, static_cast<std::uint32_t>(2 * variant.jitter + 1))) - variant.jitter;
                placed = instar::data::barcode_anchor::place(text, shift);
                tokenizer_.encode_one(placed, offset, ids, mask);
                const index_t padding = std::max(0, shift - offset);
                for (index_t t = 0; t < std::min(seq_len, (padding + k - 1) / k); ++t) mask[t] = 0;
            }
        });
    }

private:
    instar::tokenize::kmer_options options_;
    instar::tokenize::kmer tokenizer_;
    instar::data::barcode_anchor anchor_;
};

}  // namespace dna_barcode

#endif
