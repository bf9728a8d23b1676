// Hello, transformer: two related DNA barcodes and a stranger, through a small encoder with random weights.
//
//     build/release/examples/hello
//
// Even untrained, the encoder keeps the near pair nearer: tokens they share get the same vectors.

#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "instar/core/cpu_context.hpp"
#include "instar/nn/bert.hpp"
#include "instar/tokenize/kmer.hpp"

int main() {
    instar::cpu_context ctx;

    const std::string a = "AACATTATATTTTATTTTTGGTATTTGAGCAGGAATAGTAGGAACTTCTTTAAGTTTATTAATTCGAGCAGAATTAGGAAATCC";
    std::string b = a;
    b[9] = 'C', b[42] = 'A', b[70] = 'T';
    const std::string c = "GGTCCTGGCTCACTTATTGGTAACGATCAAATCTATAATACCATTGTTACAGCACACGCTTTCATTATAATTTTCTTTATGGTA";
    const std::vector<std::string> barcodes{a, b, c};

    const instar::tokenize::kmer tokenizer{{.k = 4}};
    const auto tokens = tokenizer.encode(ctx, barcodes, {.max_length = 660});

    const instar::nn::bert<float> model({.vocab_size = tokenizer.vocab_size(), .d_model = 64, .n_layers = 2, .n_heads = 4, .d_ff = 256},
                                        instar::philox{.seed = 1});
    const auto x = model.embed(ctx, tokens.ids.view(), tokens.mask.view(), instar::ops::pooling::masked_mean);

    const auto cosine = [&](instar::index_t i, instar::index_t j) {
        double dot = 0, ii = 0, jj = 0;
        for (instar::index_t k = 0; k < x.extent(1); ++k) {
            const double xi = static_cast<double>(x(i, k)), xj = static_cast<double>(x(j, k));
            dot += xi * xj, ii += xi * xi, jj += xj * xj;
        }
        return dot / std::sqrt(ii * jj);
    };
    std::printf("cosine(a, b) = %.4f   three substitutions\n", cosine(0, 1));
    std::printf("cosine(a, c) = %.4f   another stretch of the gene\n", cosine(0, 2));
    return cosine(0, 1) > cosine(0, 2) ? 0 : 1;
}
