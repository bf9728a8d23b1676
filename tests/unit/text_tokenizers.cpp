#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "instar/core/philox.hpp"
#include "instar/tokenize/byte_bpe.hpp"
#include "instar/tokenize/character.hpp"
#include "instar/tokenize/text_tokenizer.hpp"
#include "instar/tokenize/tokenizer_json.hpp"
#include "instar/tokenize/unicode.hpp"
#include "instar/tokenize/wordpiece.hpp"
#include "support/temp_folder.hpp"

using namespace instar;
using namespace instar::tokenize;

namespace {

using ids = std::vector<std::int32_t>;

/// 0 [PAD] 1 [UNK] 2 [CLS] 3 [SEP] 4 [MASK], then:
wordpiece small_wordpiece(wordpiece_options options = {}) {
    return wordpiece({"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un", "##want", "##ed", "unwanted", "runn", "##ing", ",", "cafe", "生", "_", "i", "##i"}, std::move(options));
}

/// 256 bytes, then merges in their order.
byte_bpe small_bpe(byte_bpe_options options, const std::vector<std::pair<std::string, std::string>>& merges) {
    std::vector<std::string> tokens;
    for (std::size_t b = 0; b < 256; ++b) unicode::append(tokens.emplace_back(), tokenize::detail::byte_characters()[b]);
    if (!options.word_end.empty()) {
        for (std::size_t b = 0; b < 256; ++b) tokens.push_back(tokens[b] + options.word_end);
    }
    for (const auto& [a, b] : merges) tokens.push_back(a + b);
    return byte_bpe(std::move(tokens), merges, std::move(options));
}

std::string what(const auto& f) {
    try {
        f();
    } catch (const error& e) {
        return e.what();
    }
    return "";
}

}  // namespace

TEST_CASE("unicode: UTF-8, case, normal forms") {
    CHECK(unicode::encode(unicode::decode("aé生🦋")) == "aé生🦋");
    CHECK(what([] { unicode::decode("ab\xC3"); }) == "invalid UTF-8 at byte 2");
    for (const std::string bad : {"\x80", "\xC0\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE2\x82", "\xFF"}) CHECK_THROWS_AS(unicode::decode(bad), value_error);
    const auto lower = [](const char* s) {
        auto t = unicode::decode(s);
        unicode::to_lower(t);
        return unicode::encode(t);
    };
    CHECK(lower("ÀÉΣ") == "àéσ");
    CHECK(lower("İ") == "i̇");
    const auto nfd = [](const char* s) {
        auto t = unicode::decode(s);
        unicode::decompose(t);
        return unicode::encode(t);
    };
    const auto nfc = [](const char* s) {
        auto t = unicode::decode(s);
        unicode::compose(t);
        return unicode::encode(t);
    };
    CHECK(nfd("ộ") == "o\u0323\u0302");
    CHECK(nfd("o\u0302\u0323") == "o\u0323\u0302");
    CHECK(nfc("o\u0302\u0323") == "ộ");
    CHECK(nfd("각") == "\u1100\u1161\u11A8");
    CHECK(nfc("\u1100\u1161\u11A8") == "각");
    CHECK(nfc("\u212B") == "Å");
    CHECK(nfc("\u0958") == "\u0915\u093C");  // excluded from composition
    CHECK(nfc("\u0344") == "\u0308\u0301");  // marks without a starter
    // Composition of what was decomposed gives it back, for every code point that is not excluded.
    for (char32_t c = 0; c < 0x110000; ++c) {
        if ((unicode::flags(c) & unicode::normalised) == 0) continue;
        unicode::traced_text t{{{c, 0, 1}}};
        unicode::decompose(t);
        auto once = unicode::encode(t);
        unicode::decompose(t);
        CHECK(unicode::encode(t) == once);
        unicode::compose(t);
        const auto composed = unicode::encode(t);
        unicode::compose(t);
        CHECK(unicode::encode(t) == composed);
    }
    CHECK((unicode::flags(U'_') & unicode::punctuation) != 0);
    CHECK((unicode::flags(U'$') & unicode::punctuation) == 0);
    CHECK((unicode::flags(0x3000) & unicode::space) != 0);
    CHECK(unicode::flags(0x10FFFFF) == 0);
}

TEST_CASE("wordpiece: words, pieces, unknowns, offsets") {
    const auto t = small_wordpiece();
    CHECK(t.encode_one("UNwantéd,running").ids == ids{2, 8, 11, 9, 10, 3});
    CHECK(t.encode_one("unwanting").ids == ids{2, 5, 6, 10, 3});
    CHECK(t.encode_one("unwantex").ids == ids{2, 1, 3});  // a rest that nothing matches
    CHECK(t.encode_one("").ids == ids{2, 3});
    CHECK(t.encode_one(" \t\n").ids == ids{2, 3});
    CHECK(t.encode_one("生生").ids == ids{2, 13, 13, 3});
    CHECK(t.encode_one("[MASK]unwanted[mask]").ids == ids{2, 4, 8, 1, 1, 1, 3});
    CHECK(t.encode_one("un\x01wanted\u0000").ids == ids{2, 8, 3});
    const auto e = t.encode_one("Café unwanting");
    CHECK(e.ids == ids{2, 12, 5, 6, 10, 3});
    CHECK(e.offsets == std::vector<text_span>{{0, 0}, {0, 5}, {6, 8}, {8, 12}, {12, 15}, {0, 0}});
    CHECK(e.special == std::vector<std::uint8_t>{1, 0, 0, 0, 0, 1});
    // The limit counts characters: a hundred are a word, a hundred and one are not.
    CHECK(t.encode_one(std::string(100, 'i')).ids.size() == 102);
    CHECK(t.encode_one(std::string(101, 'i')).ids == ids{2, 1, 3});
    CHECK(t.encode_one(std::string(1 << 20, 'i')).ids == ids{2, 1, 3});
    CHECK(t.token(6) == "##want");
    CHECK(t.id("##want") == 6);
    CHECK(t.id("want") == -1);
    CHECK(t.decode(ids{2, 5, 6, 10, 11, 9, 3}) == "[CLS] unwanting, runn [SEP]");
    CHECK(t.decode(ids{2, 5, 6, 10, 11, 9, 3}, {.skip_special_tokens = true, .clean_up = false}) == "unwanting , runn");
    const auto cased = small_wordpiece({.lowercase = false});
    CHECK(cased.encode_one("UNwanted").ids == ids{2, 1, 3});
    CHECK(cased.encode_one("café").ids == ids{2, 1, 3});
}

TEST_CASE("pairs, truncation, padding, batches") {
    const auto t = small_wordpiece();
    const auto pair = t.encode_pair("un un", "i i i i");
    CHECK(pair.ids == ids{2, 5, 5, 3, 15, 15, 15, 15, 3});
    CHECK(pair.type_ids == ids{0, 0, 0, 0, 1, 1, 1, 1, 1});
    CHECK(t.encode_pair("un un", "i i i i", {.max_length = 7}).ids == ids{2, 5, 5, 3, 15, 15, 3});
    CHECK(t.encode_pair("un un un un", "i i i i", {.max_length = 8}).ids == ids{2, 5, 5, 3, 15, 15, 15, 3});
    CHECK(t.encode_pair("un un", "i i i i", {.max_length = 8, .truncation = truncation::only_first}).ids == ids{2, 5, 3, 15, 15, 15, 15, 3});
    CHECK(what([&] { t.encode_pair("un", "i i i i", {.max_length = 5, .truncation = truncation::only_first}); }) ==
          "max_length 5 cannot be reached by cutting the first text alone");
    CHECK(what([&] { t.encode_one("un", {.max_length = 1}); }) == "max_length 1 has no room for 2 special tokens");
    cpu_context ctx;
    const std::vector<std::string> texts{"un", "unwanting i", ""};
    const auto batch = t.encode(ctx, texts);
    CHECK(batch.ids.extent(1) == 6);
    CHECK(std::vector<std::int32_t>(batch.ids.begin(), batch.ids.end()) == ids{2, 5, 3, 0, 0, 0, 2, 5, 6, 10, 15, 3, 2, 3, 0, 0, 0, 0});
    CHECK(std::vector<int>(batch.mask.begin(), batch.mask.end()) == std::vector<int>{1, 1, 1, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0});
    CHECK(t.encode(ctx, std::span<const std::string>{}).ids.extent(0) == 0);
    CHECK(what([&] { t.encode(ctx, texts, {.padding = padding::max_length}); }) == "padding to max_length needs a max_length");
    const std::vector<std::string> broken{"un", "u\xFFn"};
    CHECK(what([&] { t.encode(ctx, broken); }) == "text 1: invalid UTF-8 at byte 1");
    // Any number of threads: the same rows.
    std::vector<std::string> many;
    philox rng{.seed = 3};
    for (std::uint64_t i = 0; i < 1000; ++i) many.push_back(std::string(1 + rng.below(i, 30), 'i') + " unwanted");
    cpu_context one(1), two(2);
    const auto a = t.encode(one, many, {.max_length = 20}), b = t.encode(two, many, {.max_length = 20});
    CHECK(std::vector<std::int32_t>(a.ids.begin(), a.ids.end()) == std::vector<std::int32_t>(b.ids.begin(), b.ids.end()));
}

TEST_CASE("wordpiece: files that are wrong") {
    test::temp_folder folder;
    io::write_file(folder / "vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nant\r\n##s\n");
    CHECK(load_tokenizer(folder.path())->encode_one("Ants").ids == ids{2, 5, 6, 3});
    io::write_file(folder / "tokenizer_config.json", R"({"do_lower_case": false})");
    CHECK(load_tokenizer(folder.path())->encode_one("Ants").ids == ids{2, 1, 3});
    io::write_file(folder / "twice.txt", "[PAD]\n[UNK]\nant\nant\n");
    CHECK(what([&] { wordpiece::from_file(folder / "twice.txt"); }) == (folder / "twice.txt") + ":4: the token \"ant\" stands in line 3 already");
    io::write_file(folder / "lacks.txt", "[PAD]\n[UNK]\n[CLS]\nant\n");
    CHECK(what([&] { wordpiece::from_file(folder / "lacks.txt"); }) == (folder / "lacks.txt") + ": the vocabulary lacks [SEP]");
    CHECK_THROWS_AS(wordpiece::from_file(folder / "none.txt"), io_error);
    CHECK_THROWS_AS(load_tokenizer("/nowhere"), io_error);
    CHECK_THROWS_AS(small_wordpiece({.max_word_length = 0}), value_error);
    CHECK_THROWS_AS(small_wordpiece().decode(ids{99}), value_error);
    CHECK_THROWS_AS(small_wordpiece().token(-1), value_error);
}

TEST_CASE("byte_bpe: merges in the order of their ranks, leftmost first") {
    const auto t = small_bpe({}, {{"a", "b"}, {"ab", "c"}, {"b", "c"}, {"Ġ", "x"}, {"a", "a"}});
    const auto tokens = [&](std::string_view s) {
        std::string text;
        for (const auto i : t.encode_one(s).ids) text += t.token(i) + "|";
        return text;
    };
    CHECK(tokens("abc") == "abc|");
    CHECK(tokens("bc") == "bc|");
    CHECK(tokens("aaa") == "aa|a|");
    CHECK(tokens("aaab") == "aa|ab|");
    CHECK(tokens(" x  x") == "Ġx|Ġ|Ġx|");
    CHECK(tokens("a's 12b!?\n\n c") == "a|'|s|Ġ|1|2|b|!|?|Ċ|Ċ|Ġ|c|");
    CHECK(t.decode(t.encode_one("héllo  wörld\n").ids) == "héllo  wörld\n");
    CHECK(t.decode(ids{t.encode_one("é").ids[0]}) == "\uFFFD");
    CHECK(t.encode_one(" x").offsets == std::vector<text_span>{{0, 2}});
    CHECK(small_bpe({.trim_offsets = true}, {{"Ġ", "x"}}).encode_one(" x").offsets == std::vector<text_span>{{1, 2}});
    CHECK(small_bpe({.add_prefix_space = true}, {{"Ġ", "x"}}).encode_one("x").ids == ids{256});
    // The heap of long words and the scan of short ones agree; a megabyte takes no quadratic time.
    philox rng{.seed = 5};
    for (std::uint64_t round = 0; round < 200; ++round) {
        std::string word;
        for (std::uint64_t i = 0; i < 30 + round; ++i) word += "abc"[rng.below(1000 * round + i, 3)];
        // Merges never cross a digit: words of at most 32 characters joined by digits against each alone.
        ids alone;
        for (std::size_t at = 0; at < word.size(); at += 25) {
            for (const auto i : t.encode_one(word.substr(at, 25)).ids) alone.push_back(i);
            alone.push_back(t.encode_one("1").ids[0]);
        }
        std::string text;
        for (std::size_t at = 0; at < word.size(); at += 25) text += word.substr(at, 25) + "1";
        CHECK(t.encode_one(text).ids == alone);
        // A whole long word: no pair that is left has a merge, and the text comes back.
        const auto whole = t.encode_one(word);
        CHECK(t.decode(whole.ids) == word);
        for (std::size_t i = 0; i + 1 < whole.ids.size(); ++i) CHECK(t.id(t.token(whole.ids[i]) + t.token(whole.ids[i + 1])) < 256);
    }
    CHECK(t.encode_one(std::string(1 << 20, 'a')).ids == ids(1 << 19, t.id("aa")));
    CHECK(t.encode_one("").ids.empty());
}

TEST_CASE("byte_bpe: CLIP's words") {
    auto t = small_bpe({.words = bpe_words::clip, .word_end = "</w>"}, {{"a", "b</w>"}});
    const auto tokens = [&](std::string_view s) {
        std::string text;
        for (const auto i : t.encode_one(s).ids) text += t.token(i) + "|";
        return text;
    };
    CHECK(tokens("AB  12'S") == "ab</w>|1</w>|2</w>|'|s</w>|");
    CHECK(tokens("  \n ").empty());
    CHECK(t.decode(t.encode_one("AB, 12").ids) == "ab, 1 2");
}

TEST_CASE("byte_bpe: vocabularies and merges that do not fit") {
    CHECK(what([] { small_bpe({}, {{"a", "b"}, {"a", "b"}}); }).find("has two ids") != std::string::npos);
    std::vector<std::string> tokens;
    for (std::size_t b = 0; b < 256; ++b) unicode::append(tokens.emplace_back(), tokenize::detail::byte_characters()[b]);
    const std::vector<std::pair<std::string, std::string>> merges{{"a", "b"}};
    CHECK(what([&] { byte_bpe(tokens, merges, {}); }) == "merge 1, \"a b\": \"ab\" is no token");
    tokens.erase(tokens.begin() + 10);
    CHECK(what([&] { byte_bpe(tokens, {}, {}); }).find("for the byte 10") != std::string::npos);
    CHECK(what([] { byte_bpe::merges_from_text("#version: 0.2\na b\nab\n", "merges.txt"); }) ==
          "merges.txt:3: expected two symbols with a space between, found \"ab\"");
    CHECK(byte_bpe::merges_from_text("#version: 0.2\na b\r\n\n# c\n", "merges.txt").size() == 2);
}

TEST_CASE("tokenizer.json: read, or refused by name") {
    const auto parse = [](const io::json& j) { return parse_tokenizer(io::json_text(j), "tokenizer.json"); };
    const io::json bert = {
        {"added_tokens", {{{"id", 5}, {"content", "[DNA]"}, {"special", true}, {"normalized", false}}}},
        {"normalizer", {{"type", "BertNormalizer"}, {"lowercase", true}, {"strip_accents", nullptr}}},
        {"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
        {"post_processor", {{"type", "BertProcessing"}, {"sep", {"[SEP]", 2}}, {"cls", {"[CLS]", 1}}}},
        {"model", {{"type", "WordPiece"}, {"unk_token", "[UNK]"}, {"vocab", {{"[UNK]", 0}, {"[CLS]", 1}, {"[SEP]", 2}, {"ant", 3}, {"##s", 4}}}}}};
    CHECK(parse(bert)->encode_one("Ants[DNA]").ids == ids{1, 3, 4, 5, 2});
    CHECK(parse(bert)->vocab_size() == 6);
    const auto refuses = [&](const char* pointer, const io::json& value, const char* message) {
        io::json j = bert;
        j[io::json::json_pointer(pointer)] = value;
        CHECK(what([&] { parse(j); }) == message);
    };
    refuses("/normalizer/type", "NFKC", "tokenizer.json: \"normalizer\": NFKC before WordPiece is not supported");
    refuses("/pre_tokenizer/type", "Metaspace", "tokenizer.json: \"pre_tokenizer\": Metaspace before WordPiece is not supported");
    refuses("/model/type", "Unigram", "tokenizer.json: \"model\": Unigram is not supported");
    refuses("/model/vocab/ant", 9, "tokenizer.json: token \"ant\" has the id 9, but ids of 6 tokens have no gaps");
    refuses("/model/vocab/ant", 4, "tokenizer.json: the tokens \"##s\" and \"ant\" have the same id 4");
    refuses("/model/vocab/ant", "x", "tokenizer.json: the id of token \"ant\" is not a number from 0");
    refuses("/post_processor/cls", 7, "tokenizer.json: \"post_processor.cls\" is not a token and its id");
    refuses("/post_processor/cls/1", 77, "tokenizer.json: \"post_processor\": token id 77 is outside the vocabulary");
    refuses("/model/unk_token", "<unk>", "tokenizer.json: the vocabulary lacks <unk>");
    CHECK(what([] { parse_tokenizer("{", "t.json"); }).starts_with("t.json:1:"));
    CHECK(what([] { parse_tokenizer("{}", "t.json"); }) == "t.json: the key \"model\" is missing");
    // A token of the normalised text, one that eats white space, and a byte-level model.
    io::json vocab = io::json::object();
    for (std::size_t b = 0; b < 256; ++b) {
        std::string c;
        unicode::append(c, tokenize::detail::byte_characters()[b]);
        vocab[c] = b;
    }
    vocab["ab"] = 256;
    io::json gpt2 = {{"added_tokens", {{{"id", 257}, {"content", "<mask>"}, {"special", true}, {"lstrip", true}}, {{"id", 258}, {"content", "<n>"}, {"normalized", true}}}},
                     {"normalizer", nullptr},
                     {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
                     {"post_processor", {{"type", "ByteLevel"}, {"trim_offsets", false}}},
                     {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", {"a b"}}}}};
    CHECK(parse(gpt2)->encode_one("ab <mask><n>").ids == ids{256, 257, 258});
    gpt2["model"]["merges"] = io::json::array({io::json::array({"a", "b"})});
    CHECK(parse(gpt2)->encode_one("ab").ids == ids{256});
    gpt2["model"]["byte_fallback"] = true;
    CHECK(what([&] { parse(gpt2); }) == "tokenizer.json: \"model.byte_fallback\": a value other than the usual is not supported");
}

TEST_CASE("character") {
    const character t("ACGTN");
    CHECK(t.encode_one("ACXa").ids == ids{2, 5, 6, 1, 1, 3});
    CHECK(t.encode_one("AC[MASK]", {.add_special_tokens = false}).ids == ids{5, 6, 4});
    CHECK(t.decode(ids{5, 6, 9}) == "ACN");
    CHECK(t.vocab_size() == 10);
    CHECK_THROWS_AS(character("ACA"), value_error);
}
