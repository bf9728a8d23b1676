// The k-mer tokenizer on the emulated device against the CPU's.

#include "support/emulated.hpp"
#include "support/kmer_checks.hpp"

using namespace instar;

TEST_CASE("kmer on the emulated device gives the CPU's tokens for every option") {
    cuda_context ctx;
    for (const int k : {1, 2, 4, 5, 8, 12}) {
        for (const bool tokenize_n : {false, true})
            test::check_device_kmer(ctx, {.k = k, .max_length = 61, .tokenize_n = tokenize_n}, 23);
    }
    test::check_device_kmer(ctx, {.k = 4, .max_length = 660}, 9);
}

TEST_CASE("kmer on the emulated device gives the same bits in every thread order, and takes no barcodes") {
    const auto barcodes = test::random_barcodes(50, 90, 3);
    std::vector<tensor<std::int32_t, 2>> ids;
    test::for_each_order([&](cuda_context& ctx, int) {
        const tokenize::kmer tokenizer{{.k = 3, .max_length = 80}};
        ids.push_back(test::fetched(ctx, tokenizer.encode(ctx, barcodes).ids));
        CHECK(tokenizer.encode(ctx, std::vector<std::string>{}).ids.extent(0) == 0);
    });
    CHECK(test::same_bits(ids[0].view(), ids[1].view()));
}

TEST_CASE("kmer on the emulated device: a negative offset counts as 0, and what is wrong is named") {
    cuda_context ctx;
    const tokenize::kmer tokenizer{{.k = 2, .max_length = 4}};
    tensor<char, 1> letters({4});
    for (index_t i = 0; i < 4; ++i) letters(i) = "ACGT"[i];
    tensor<index_t, 1> begins({2});
    begins(1) = 4;
    tensor<std::int32_t, 1> offsets({1});
    tensor<std::int32_t, 2> ids({1, 2}), wrong({1, 3});
    tensor<std::uint8_t, 2> mask({1, 2});
    offsets(0) = -3;
    tokenizer.encode_into(ctx, letters, begins, offsets, ids, mask);
    CHECK(ids(0, 0) == tokenizer.id("AC"));
    CHECK(ids(0, 1) == tokenizer.id("GT"));
    CHECK(test::error_text<shape_error>([&] { tokenizer.encode_into(ctx, letters, begins, {}, wrong, mask); }) ==
          "kmer::encode_into: ids has shape [1, 3], expected [1, 2]");
    CHECK(test::error_text<shape_error>([&] {
              tokenizer.encode_into(ctx, letters, begins.view().rows(0, 1), {}, ids, mask);
          }) == "kmer::encode_into: begins has shape [1], expected [2]");
    const std::vector<std::string> two{"ACGT", "AC"};
    const std::vector<int> one{0}, negative{0, -1};
    CHECK(test::error_text<value_error>([&] { (void)tokenizer.encode(ctx, two, {.offsets = one}); }) ==
          "kmer::encode_into: 1 offsets for 2 barcodes");
    CHECK(test::error_text<value_error>([&] { (void)tokenizer.encode(ctx, two, {.offsets = negative}); }) ==
          "kmer::encode_into: offset 1 is negative: -1");
}
