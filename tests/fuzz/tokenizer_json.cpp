// Any text is a tokenizer.json or a parse_error; any bytes are a text that a tokenizer reads, or invalid UTF-8. A tokenizer that was
// accepted encodes without a crash, and offsets stay inside the text.
#include <cstdlib>
#include <string_view>

#include "instar/tokenize/tokenizer_json.hpp"

using namespace instar;

namespace {

void encode(const tokenize::text_tokenizer& t, std::string_view text) {
    try {
        const auto e = t.encode_one(text);
        std::uint32_t last = 0;
        for (std::size_t i = 0; i < e.ids.size(); ++i) {
            if (e.ids[i] < 0 || e.ids[i] >= t.vocab_size()) std::abort();
            if (e.special[i] != 0) continue;
            if (e.offsets[i].begin > e.offsets[i].end || e.offsets[i].end > text.size() || e.offsets[i].end < last) std::abort();
            last = e.offsets[i].begin;
        }
        (void)t.decode(e.ids);
    } catch (const value_error&) {
    }
}

const tokenize::wordpiece& words() {
    static const tokenize::wordpiece t({"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##a", "##b", "ab", "e", "##é", "생", "生"});
    return t;
}

const tokenize::byte_bpe& pairs(tokenize::bpe_words words, const std::string& end) {
    std::vector<std::string> tokens;
    for (std::size_t b = 0; b < 256; ++b) tokenize::unicode::append(tokens.emplace_back(), tokenize::detail::byte_characters()[b]);
    if (!end.empty()) {
        for (std::size_t b = 0; b < 256; ++b) tokens.push_back(tokens[b] + end);
    }
    const std::vector<std::pair<std::string, std::string>> merges{{"a", "b"}, {"ab", "ab"}, {"a", "a"}, {"aa", "aa"}};
    for (const auto& [a, b] : merges) tokens.push_back(a + b);
    return *new tokenize::byte_bpe(tokens, merges, {.words = words, .word_end = end});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const tokenize::byte_bpe& gpt2 = pairs(tokenize::bpe_words::gpt2, "");
    static const tokenize::byte_bpe& clip = pairs(tokenize::bpe_words::clip, "</w>");
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    try {
        const auto t = tokenize::parse_tokenizer(text, "tokenizer.json");
        encode(*t, "Ants don't [MASK] 12  ÀÉ生\n<|endoftext|>");
        encode(*t, text);
    } catch (const parse_error&) {
    }
    encode(words(), text);
    encode(gpt2, text);
    encode(clip, text);
    return 0;
}
