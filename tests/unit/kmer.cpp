#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "instar/core/philox.hpp"
#include "instar/tokenize/kmer.hpp"
#include "instar/tokenize/kmer_counts.hpp"
#include "support/compare.hpp"

using namespace instar;
using tokenize::kmer;
using tokenize::kmer_options;

namespace {

std::string random_text(philox rng, std::size_t n, std::string_view alphabet) {
    std::string s;
    for (std::size_t i = 0; i < n; ++i) s += alphabet[rng.below(i, static_cast<std::uint32_t>(alphabet.size()))];
    return s;
}

/// The rule as the reference writes it: pad with N, look each word up in the list of all words.
struct reference {
    std::vector<std::string> vocabulary{"[MASK]", "[UNK]"};
    kmer_options o;

    explicit reference(kmer_options options) : o(options) {
        std::vector<std::string> pure, with_n;
        const std::string letters = o.tokenize_n ? "ACGTN" : "ACGT";
        std::size_t n = 1;
        for (int i = 0; i < o.k; ++i) n *= letters.size();
        for (std::size_t w = 0; w < n; ++w) {
            std::string word(static_cast<std::size_t>(o.k), ' ');
            std::size_t rest = w;
            for (std::size_t i = word.size(); i-- > 0; rest /= letters.size()) word[i] = letters[rest % letters.size()];
            (word.find('N') == std::string::npos ? pure : with_n).push_back(word);
        }
        vocabulary.insert(vocabulary.end(), pure.begin(), pure.end());
        vocabulary.insert(vocabulary.end(), with_n.begin(), with_n.end());
    }
    void encode(const std::string& sequence, int offset, std::vector<int>& ids, std::vector<int>& mask) const {
        const auto k = static_cast<std::size_t>(o.k), length = static_cast<std::size_t>(o.max_length);
        std::string x = static_cast<std::size_t>(offset) < sequence.size() ? sequence.substr(static_cast<std::size_t>(offset)) : "";
        mask.assign(length / k, 1);
        if (x.size() > length) {
            x.resize(length);
        } else {
            for (std::size_t i = x.size() / k; i < mask.size(); ++i) mask[i] = 0;
            x.append(length - x.size(), 'N');
        }
        ids.clear();
        for (std::size_t i = 0; i + k <= length; i += k) {
            int id = 1;
            for (std::size_t v = 2; v < vocabulary.size(); ++v) {
                if (vocabulary[v] == x.substr(i, k)) id = static_cast<int>(v);
            }
            ids.push_back(id);
        }
    }
};

void compare(const kmer& tokenizer, const reference& expected, const std::string& sequence, int offset) {
    std::vector<std::int32_t> ids(static_cast<std::size_t>(tokenizer.seq_len()), -7);
    std::vector<std::uint8_t> mask(ids.size(), 9);
    const int n = tokenizer.encode_one(sequence, offset, ids.data(), mask.data());
    std::vector<int> want_ids, want_mask;
    expected.encode(sequence, offset, want_ids, want_mask);
    int attended = 0;
    for (int m : want_mask) attended += m;
    CHECK(n == attended);
    CHECK(std::vector<int>(ids.begin(), ids.end()) == want_ids);
    CHECK(std::vector<int>(mask.begin(), mask.end()) == want_mask);
}

}  // namespace

TEST_CASE("kmer: the reference's rule, for every small k, length, offset and alphabet") {
    for (bool with_n : {false, true}) {
        for (int k = 1; k <= 4; ++k) {
            for (int max_length : {k, 9, 21, 34}) {
                if (max_length < k) continue;
                const kmer_options o{.k = k, .max_length = max_length, .tokenize_n = with_n};
                const kmer tokenizer(o);
                const reference expected(o);
                CHECK(tokenizer.vocab_size() == static_cast<int>(expected.vocabulary.size()));
                for (std::size_t length : {0u, 1u, 3u, 4u, 8u, 9u, 10u, 20u, 21u, 22u, 40u}) {
                    for (int offset : {0, 1, 3, 50}) {
                        compare(tokenizer, expected, random_text({.seed = 1, .stream = length}, length, "ACGT"), offset);
                        compare(tokenizer, expected, random_text({.seed = 2, .stream = length}, length, "ACGTNACGTNacgtnR-"), offset);
                    }
                }
            }
        }
    }
}

TEST_CASE("kmer: every id has a text and every text its id") {
    for (bool with_n : {false, true}) {
        for (int k : {1, 2, 3, 5}) {
            const kmer tokenizer{{.k = k, .tokenize_n = with_n}};
            const reference expected({.k = k, .tokenize_n = with_n});
            for (int id = 0; id < tokenizer.vocab_size(); ++id) {
                REQUIRE(tokenizer.token(id) == expected.vocabulary[static_cast<std::size_t>(id)]);
                if (id >= 2) REQUIRE(tokenizer.id(tokenizer.token(id)) == id);
            }
        }
    }
    const kmer large{{.k = 12, .max_length = 660, .tokenize_n = true}};
    CHECK(large.vocab_size() == 244140627);
    for (int id : {2, 3, 16777217, 16777218, 16777219, 100000000, 244140626}) CHECK(large.id(large.token(id)) == id);
    CHECK(large.token(16777217) == "TTTTTTTTTTTT");
    CHECK(large.token(16777218) == "AAAAAAAAAAAN");
    CHECK(large.token(244140626) == "NNNNNNNNNNNN");
}

TEST_CASE("kmer: ids of larger k equal the arithmetic of base 4") {
    for (int k = 1; k <= 12; ++k) {
        const kmer tokenizer{{.k = k}};
        CHECK(tokenizer.seq_len() == 660 / k);
        const std::string s = random_text({.seed = 3, .stream = static_cast<std::uint64_t>(k)}, 700, "ACGTACGTACGTACGTACGTACGTN");
        std::vector<std::int32_t> ids(static_cast<std::size_t>(tokenizer.seq_len()));
        std::vector<std::uint8_t> mask(ids.size());
        for (std::size_t length : {700u, 659u, 333u, 17u, 12u, 5u}) {
            tokenizer.encode_one(std::string_view(s).substr(0, length), 0, ids.data(), mask.data());
            for (std::size_t t = 0; t < ids.size(); ++t) {
                const auto word = t * static_cast<std::size_t>(k) + static_cast<std::size_t>(k) <= std::min<std::size_t>(length, 660)
                                      ? std::string_view(s).substr(t * static_cast<std::size_t>(k), static_cast<std::size_t>(k))
                                      : std::string_view{};
                REQUIRE(ids[t] == tokenizer.id(word));
                REQUIRE(mask[t] == (word.empty() ? 0 : 1));
            }
        }
    }
}

TEST_CASE("kmer: what the benchmark's documents say") {
    CHECK(kmer{{.k = 4}}.seq_len() == 165);
    CHECK(kmer{{.k = 5}}.seq_len() == 132);
    CHECK(kmer{{.k = 6}}.seq_len() == 110);
    CHECK(kmer{{.k = 8}}.seq_len() == 82);
    CHECK(kmer{{.k = 8}}.vocab_size() == 65538);
    // N inside: unknown but attended. The trailing part of a word: unknown and masked.
    const kmer tokenizer{{.k = 4, .max_length = 20}};
    std::int32_t ids[5];
    std::uint8_t mask[5];
    CHECK(tokenizer.encode_one("AAAAACGNTTTTAC", 0, ids, mask) == 3);
    CHECK(ids[0] == 2);
    CHECK(ids[1] == 1);
    CHECK(ids[2] == 257);
    CHECK(ids[3] == 1);
    CHECK(mask[1] == 1);
    CHECK(mask[3] == 0);
    // Shorter than k: nothing is attended, and the caller can see it.
    CHECK(tokenizer.encode_one("ACG", 0, ids, mask) == 0);
    CHECK(tokenizer.encode_one("ACGT", 1, ids, mask) == 0);
    CHECK(tokenizer.encode_one("acgt", 0, ids, mask) == 1);
    CHECK(ids[0] == 1);
}

TEST_CASE("kmer: batches, offsets, strides, threads") {
    std::vector<std::string> texts;
    std::vector<int> offsets;
    for (std::uint64_t i = 0; i < 300; ++i) {
        texts.push_back(random_text({.seed = 4, .stream = i}, 600 + i % 100, "ACGTN"));
        offsets.push_back(static_cast<int>(i % 4));
    }
    const std::vector<std::string_view> views(texts.begin(), texts.end());
    cpu_context one{1}, two{2};
    const kmer tokenizer{{.k = 4}};
    const auto a = tokenizer.encode(one, texts, offsets);
    const auto b = tokenizer.encode(two, views, {.offsets = offsets});
    CHECK(a.ids.extent(0) == 300);
    CHECK(a.ids.extent(1) == 165);
    CHECK(test::same_bits(a.ids.view(), b.ids.view()));
    CHECK(test::same_bits(a.mask.view(), b.mask.view()));
    for (index_t i = 0; i < 300; ++i) {
        std::int32_t ids[165];
        std::uint8_t mask[165];
        tokenizer.encode_one(texts[static_cast<std::size_t>(i)], offsets[static_cast<std::size_t>(i)], ids, mask);
        REQUIRE(std::equal(ids, ids + 165, &a.ids(i, 0)));
        REQUIRE(std::equal(mask, mask + 165, &a.mask(i, 0)));
    }
    CHECK(tokenizer.encode(one, texts, {.max_length = 320}).ids.extent(1) == 80);
    CHECK(tokenizer.encode(one, std::vector<std::string>{}).ids.extent(0) == 0);

    tensor<std::int32_t, 2> wide({300, 170});
    tensor<std::uint8_t, 2> mask({300, 165});
    const tensor_view<std::int32_t, 2> rows(wide.data(), {300, 165}, {170, 1});
    tokenizer.encode_into(one, texts, offsets, rows, mask);
    CHECK(wide(7, 164) == a.ids(7, 164));
    CHECK(wide(7, 165) == 0);
    CHECK_THROWS_AS(tokenizer.encode_into(one, texts, offsets, wide.view(), mask.view()), shape_error);
}

TEST_CASE("kmer: what it refuses") {
    CHECK_THROWS_AS(kmer{{.k = 0}}, value_error);
    CHECK_THROWS_AS(kmer{{.k = 13}}, value_error);
    CHECK_THROWS_AS((kmer{{.k = 8, .max_length = 7}}), value_error);
    CHECK(test::error_text([] { kmer{{.k = 8, .stride = 4}}; }).find("stride must equal k = 8") != std::string::npos);
    cpu_context ctx{1};
    const kmer tokenizer{{.k = 4}};
    const std::vector<std::string> texts{"ACGT", "ACGT"};
    CHECK_THROWS_AS(tokenizer.encode(ctx, texts, std::vector<int>{1}), value_error);
    CHECK_THROWS_AS(tokenizer.encode(ctx, texts, std::vector<int>{1, -1}), value_error);
    CHECK_THROWS_AS(tokenizer.token(258), value_error);
    CHECK_THROWS_AS(tokenizer.token(-1), value_error);
}

TEST_CASE("kmer: counts of overlapping words") {
    cpu_context one{1}, two{2};
    const std::vector<std::string> texts{"ACGTACGT", "AANAAC", "ACG", "", std::string(2500, 'A') + "C" + std::string(30, 'T')};
    const auto x = tokenize::kmer_counts(one, texts, {.k = 2, .norm = tokenize::kmer_norm::none});
    CHECK(x.extent(1) == 16);
    const auto at = [&](index_t row, std::string_view word) { return x(row, kmer{{.k = 2}}.id(word) - 2); };
    CHECK(at(0, "AC") == 2.0f);
    CHECK(at(0, "TA") == 1.0f);
    CHECK(at(1, "AA") == 2.0f);
    CHECK(at(1, "AC") == 1.0f);
    CHECK(at(4, "AA") == 2499.0f);
    CHECK(at(4, "TT") == 29.0f);
    const auto f = tokenize::kmer_counts(one, texts, {.k = 2, .norm = tokenize::kmer_norm::sum});
    const auto e = tokenize::kmer_counts(two, texts, {.k = 2});
    for (index_t i = 0; i < 5; ++i) {
        double sum = 0, squares = 0;
        for (index_t j = 0; j < 16; ++j) sum += static_cast<double>(f(i, j)), squares += static_cast<double>(e(i, j)) * static_cast<double>(e(i, j));
        CHECK(sum == doctest::Approx(i == 3 ? 0.0 : 1.0));
        CHECK(squares == doctest::Approx(i == 3 ? 0.0 : 1.0));
    }
    CHECK(tokenize::kmer_counts(one, texts).extent(1) == 1024);
    CHECK(test::same_bits(tokenize::kmer_counts(one, texts).view(), tokenize::kmer_counts(two, texts).view()));
    CHECK_THROWS_AS(tokenize::kmer_counts(one, texts, {.k = 9}), value_error);
}
