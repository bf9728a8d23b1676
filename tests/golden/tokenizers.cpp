// Text tokenizers against Hugging Face's: the sample that tests/reference/hf_tokenizers.py keeps of 100,000 random strings, and published
// cases. The vocabularies are not the project's to ship: they are read from the folder INSTAR_DATA.

#include <cstdlib>
#include <string>

#include <doctest/doctest.h>

#include "instar/tokenize/tokenizer_json.hpp"

using namespace instar;

namespace {

std::unique_ptr<tokenize::text_tokenizer> load(const std::string& name, const std::string& data) {
    const std::string folder = data + "/tokenizers/";
    if (name == "bert") return tokenize::load_tokenizer(folder + "bert-base-uncased-vocab.txt");
    if (name == "clip") return std::make_unique<tokenize::byte_bpe>(tokenize::load_byte_bpe(folder + "clip-hf-vocab.json", folder + "clip-hf-merges.txt"));
    return std::make_unique<tokenize::byte_bpe>(tokenize::load_byte_bpe(folder + "gpt2-encoder.json", folder + "gpt2-merges-vocab.bpe"));
}

using ids = std::vector<std::int32_t>;

}  // namespace

TEST_CASE("Hugging Face's ids, offsets, pairs and texts") {
    const char* data = std::getenv("INSTAR_DATA");
    if (data == nullptr) {
        MESSAGE("skipped: INSTAR_DATA is not set");
        return;
    }
    const io::json golden = io::read_json("tests/golden/data/tokenizers.json");
    cpu_context ctx;
    for (const std::string name : {"bert", "clip", "gpt2"}) {
        CAPTURE(name);
        const auto t = load(name, data);
        std::vector<std::string> texts;
        for (const auto& c : golden[name]["single"]) {
            const auto text = c["text"].get<std::string>();
            CAPTURE(text);
            const auto e = t->encode_one(text);
            CHECK(e.ids == c["ids"].get<ids>());
            ids offsets;
            for (const auto& o : e.offsets) offsets.insert(offsets.end(), {static_cast<std::int32_t>(o.begin), static_cast<std::int32_t>(o.end)});
            CHECK(offsets == c["offsets"].get<ids>());
            texts.push_back(text);
        }
        for (const auto& c : golden[name]["pairs"]) {
            const auto e = t->encode_pair(c["a"].get<std::string>(), c["b"].get<std::string>(), {.max_length = c["max_length"].get<int>()});
            CHECK(e.ids == c["ids"].get<ids>());
            CHECK(e.type_ids == c["type_ids"].get<ids>());
        }
        for (const auto& c : golden[name]["decoded"]) CHECK(t->decode(c["ids"].get<ids>(), {.clean_up = name == "bert"}) == c["text"].get<std::string>());
        // A batch holds the same rows, cut and padded.
        const auto batch = t->encode(ctx, texts, {.max_length = 24, .padding = tokenize::padding::max_length});
        for (std::size_t i = 0; i < texts.size(); ++i) {
            const auto e = t->encode_one(texts[i], {.max_length = 24});
            for (std::size_t k = 0; k < 24; ++k) {
                const auto row = static_cast<index_t>(i), column = static_cast<index_t>(k);
                CHECK(batch.ids(row, column) == (k < e.ids.size() ? e.ids[k] : t->pad_id()));
                CHECK(batch.mask(row, column) == (k < e.ids.size() ? 1 : 0));
            }
        }
    }
}

TEST_CASE("published cases, text to ids to text") {
    const char* data = std::getenv("INSTAR_DATA");
    if (data == nullptr) {
        MESSAGE("skipped: INSTAR_DATA is not set");
        return;
    }
    const io::json cases = io::read_json(std::string(data) + "/tokenizers/cases.json");
    for (const auto& [key, name] : {std::pair{"Xenova/bert-base-uncased", "bert"}, std::pair{"Xenova/clip-vit-base-patch16", "clip"}, std::pair{"Xenova/gpt2", "gpt2"}}) {
        const auto t = load(name, data);
        REQUIRE(cases.contains(key));
        CHECK(cases[key].size() >= 13);
        for (const auto& [label, c] : cases[key].items()) {
            CAPTURE(name);
            CAPTURE(label);
            const auto text = c["text"].get<std::string>();
            const auto e = c.contains("text_pair") ? t->encode_pair(text, c["text_pair"].get<std::string>()) : t->encode_one(text);
            CHECK(e.ids == c["ids"].get<ids>());
            CHECK(t->decode(e.ids) == c["decoded"].get<std::string>());
        }
    }
}

TEST_CASE("OpenAI's own file of merges gives the ids of Hugging Face's") {
    const char* data = std::getenv("INSTAR_DATA");
    if (data == nullptr) {
        MESSAGE("skipped: INSTAR_DATA is not set");
        return;
    }
    const auto a = tokenize::byte_bpe::clip_from_merges(std::string(data) + "/tokenizers/bpe_simple_vocab_16e6.txt.gz");
    const auto b = load("clip", data);
    CHECK(a.vocabulary().tokens() == b->vocabulary().tokens());
    CHECK(a.encode_one("a photo of Danaus plexippus").ids == b->encode_one("a photo of Danaus plexippus").ids);
}
