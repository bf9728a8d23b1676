#ifndef INSTAR_TOKENIZE_KMER_COUNTS_HPP
#define INSTAR_TOKENIZE_KMER_COUNTS_HPP

// Counts of overlapping k-mers as dense vectors: the alignment-free baseline of barcode identification.
//
//     auto x = tokenize::kmer_counts(ctx, barcodes);                       // [n, 1024], k = 5, rows of length 1
//     auto c = tokenize::kmer_counts(ctx, barcodes, {.k = 6, .norm = tokenize::kmer_norm::none});

#include <cmath>
#include <vector>

#include "instar/tokenize/kmer.hpp"

namespace instar::tokenize {

/// none: counts; sum: frequencies, rows add up to 1; euclidean: rows have length 1, so a dot product is the cosine.
enum class kmer_norm { none, sum, euclidean };

struct kmer_counts_options {
    int k = 5;  ///< 1–8; 4^k columns
    kmer_norm norm = kmer_norm::euclidean;
};

namespace detail {

/// Adds the k-mers of one sequence to counts[4^k]; returns how many there are.
inline index_t add_kmers(std::string_view sequence, int k, std::uint32_t* counts) {
    constexpr std::size_t k_block = 1024;
    alignas(16) unsigned char codes[k_block + 16];
    const std::uint32_t mask = (std::uint32_t{1} << (2 * k)) - 1;
    std::uint32_t word = 0;
    index_t n = 0;
    int run = 0;  // bases since the last letter that is none
    for (std::size_t begin = 0; begin < sequence.size(); begin += k_block) {
        const std::size_t n_block = std::min(k_block, sequence.size() - begin);
        base_codes(sequence.data() + begin, n_block, codes);
        for (std::size_t i = 0; i < n_block; ++i) {
            word = ((word << 2) | (codes[i] & 3u)) & mask;
            run = codes[i] >= k_not_a_base ? 0 : run + 1;
            if (run >= k) ++counts[word], ++n;
        }
    }
    return n;
}

template <class Text>
void kmer_counts_any(cpu_context& ctx, std::span<const Text> sequences, const kmer_counts_options& options, tensor_view<float, 2> x) {
    const auto n_words = static_cast<std::size_t>(index_t{1} << (2 * options.k));
    parallel_for(ctx, static_cast<index_t>(sequences.size()), 64, [&](index_t begin, index_t end) {
        std::vector<std::uint32_t> counts(n_words);
        for (index_t i = begin; i < end; ++i) {
            std::fill(counts.begin(), counts.end(), 0u);
            const index_t total = add_kmers(sequences[static_cast<std::size_t>(i)], options.k, counts.data());
            double size = 1.0;
            if (options.norm == kmer_norm::sum) size = static_cast<double>(total);
            if (options.norm == kmer_norm::euclidean) {
                std::uint64_t squares = 0;  // whole numbers: exact in any order
                for (std::uint32_t c : counts) squares += std::uint64_t{c} * c;
                size = std::sqrt(static_cast<double>(squares));
            }
            const float scale = total == 0 ? 0.0f : static_cast<float>(1.0 / size);
            float* INSTAR_RESTRICT row = x.data() + i * x.stride(0);
            for (std::size_t j = 0; j < n_words; ++j) row[j] = static_cast<float>(counts[j]) * scale;
        }
    });
}

inline void check_kmer_counts(const kmer_counts_options& options) {
    if (options.k < 1 || options.k > 8) throw value_error("kmer_counts: k must be 1 to 8, is " + std::to_string(options.k));
}

}  // namespace detail

/// x[i, w] = how often word w occurs in sequence i, at every position (stride 1), then normalised.
///
/// | argument  | shape    | element                       |
/// |-----------|----------|-------------------------------|
/// | sequences | [n]      | std::string, std::string_view |
/// | result    | [n, 4^k] | float                         |
///
/// Column w is word w in lexicographic order over ACGT. A word with anything but A, C, G, T is not counted; a sequence with
/// no word gives a row of zeros. Counts are integers. Same bits for any number of threads. Throws value_error for k outside 1–8.
inline tensor<float, 2> kmer_counts(cpu_context& ctx, std::span<const std::string_view> sequences, kmer_counts_options options = {}) {
    detail::check_kmer_counts(options);
    tensor<float, 2> x({static_cast<index_t>(sequences.size()), index_t{1} << (2 * options.k)});
    detail::kmer_counts_any(ctx, sequences, options, x.view());
    return x;
}
inline tensor<float, 2> kmer_counts(cpu_context& ctx, std::span<const std::string> sequences, kmer_counts_options options = {}) {
    detail::check_kmer_counts(options);
    tensor<float, 2> x({static_cast<index_t>(sequences.size()), index_t{1} << (2 * options.k)});
    detail::kmer_counts_any(ctx, sequences, options, x.view());
    return x;
}

}  // namespace instar::tokenize

#endif
