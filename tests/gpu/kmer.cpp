// The k-mer tokenizer on a real GPU, against the CPU's.

#include "support/kmer_checks.hpp"

using namespace instar;

TEST_CASE("gpu kmer gives the CPU's tokens for every option") {
    cuda_context ctx;
    for (const int k : {1, 2, 4, 5, 8, 12}) {
        for (const bool tokenize_n : {false, true})
            test::check_device_kmer(ctx, {.k = k, .tokenize_n = tokenize_n}, 1000);
    }
}
