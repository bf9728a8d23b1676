#ifndef INSTAR_TOKENIZE_CHARACTER_HPP
#define INSTAR_TOKENIZE_CHARACTER_HPP

// A token a character: the tokenizer of DNA language models that read single bases, and of any small alphabet.
//
//     const tokenize::character tokenizer("ACGTN");                  // [PAD] 0, [UNK] 1, [CLS] 2, [SEP] 3, [MASK] 4, A 5, C 6, …
//     auto batch = tokenizer.encode(ctx, barcodes, {.max_length = 660, .add_special_tokens = false});

#include "instar/tokenize/text_tokenizer.hpp"

namespace instar::tokenize {

struct character_options {
    /// Tokens in front of the alphabet; must hold "[UNK]". Rows are [CLS] A [SEP] when both are there; padding is [PAD], else id 0.
    std::vector<std::string> special{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
};

/// A code point's id is its place in the alphabet behind the special tokens; one that is not in it is [UNK]. Texts are taken as they are:
/// lower case is another character. Throws value_error for invalid UTF-8 and for an alphabet with a character twice.
class character final : public text_tokenizer {
public:
    explicit character(std::string_view alphabet, const character_options& options = {}) {
        std::vector<std::string> tokens = options.special;
        for (const auto& p : unicode::decode(alphabet).points) unicode::append(tokens.emplace_back(), p.code);
        set_vocabulary(tokenize::vocabulary(std::move(tokens)));
        unknown_id_ = vocabulary().find("[UNK]");
        if (unknown_id_ < 0) throw value_error("character: the special tokens lack [UNK]");
        for (std::size_t i = 0; i < options.special.size(); ++i) add_token({.text = options.special[i], .id = static_cast<std::int32_t>(i)});
        const std::int32_t cls = vocabulary().find("[CLS]"), sep = vocabulary().find("[SEP]");
        if (cls >= 0 && sep >= 0) {
            set_template({.single = {{-1, cls, 0}, {0, 0, 0}, {-1, sep, 0}}, .pair = {{-1, cls, 0}, {0, 0, 0}, {-1, sep, 0}, {1, 0, 1}, {-1, sep, 1}}});
        }
        set_pad_id(std::max(vocabulary().find("[PAD]"), 0));
    }

private:
    void append_segment(std::string_view text, std::uint32_t offset, std::vector<detail::text_token>& out) const override {
        for (std::size_t i = 0; i < text.size();) {
            const auto [code, length] = unicode::decode_at(text, i);
            if (length == 0) throw value_error("invalid UTF-8 at byte " + std::to_string(offset + i));
            const std::int32_t id = vocabulary().find(text.substr(i, length));
            const auto begin = static_cast<std::uint32_t>(offset + i);
            out.push_back({id < 0 ? unknown_id_ : id, begin, begin + length});
            i += length;
        }
    }
    std::string decode_tokens(std::span<const std::int32_t> ids, const text_decode_options&) const override {
        std::string text;
        for (const std::int32_t i : ids) text += token(i);
        return text;
    }

    std::int32_t unknown_id_ = 0;
};

}  // namespace instar::tokenize

#endif
