#ifndef INSTAR_TOKENIZE_WORDPIECE_HPP
#define INSTAR_TOKENIZE_WORDPIECE_HPP

// BERT's tokenizer: text is cleaned, lower-cased, split into words and punctuation, and each word into the longest pieces that the
// vocabulary knows.
//
//     const auto tokenizer = tokenize::wordpiece::from_file("bert-base-uncased/vocab.txt");
//     auto batch = tokenizer.encode(ctx, texts, {.max_length = 20, .padding = tokenize::padding::max_length});
//     tokenizer.encode_one("Sciaridae").ids;      // 101, 16596, 8486, 6858, 102
//
// Equal to Hugging Face's BertTokenizerFast: ids, type ids, masks and offsets.

#include <array>
#include <optional>

#include "instar/io/gzip.hpp"
#include "instar/tokenize/detail/byte_trie.hpp"
#include "instar/tokenize/text_tokenizer.hpp"

namespace instar::tokenize {

struct wordpiece_options {
    bool lowercase = true;
    std::optional<bool> strip_accents{};     ///< empty = as lowercase
    bool split_chinese = true;              ///< every CJK ideograph is a word
    bool clean_text = true;                 ///< drops control characters, U+0000 and U+FFFD; every white space becomes a space
    std::string unknown = "[UNK]";
    std::string continuation = "##";        ///< begins pieces that do not begin a word
    int max_word_length = 100;              ///< code points; a longer word is unknown
    bool bert_tokens = true;                ///< [PAD] [UNK] [CLS] [SEP] [MASK] in a text are those tokens; rows are [CLS] A [SEP] B [SEP]
};

/// The steps, for a text between special tokens:
///   1. clean_text; split_chinese; NFD and accents (Mn) dropped; lower case, code point by code point
///   2. words: split at white space; each punctuation mark (ASCII symbols included, so $ and _ too) is a word
///   3. pieces: the longest prefix of the word that is in the vocabulary, then the longest `continuation` + prefix of the rest, …;
///      a word with a rest that nothing matches is `unknown` as a whole.
/// Throws value_error for invalid UTF-8. Deterministic. Cost: linear in the text for all but odd vocabularies; about 0.5 µs for a
/// taxonomy string. Source: Devlin et al. 2019 (arXiv:1810.04805); Wu et al. 2016.
class wordpiece final : public text_tokenizer {
public:
    /// Token i of the list has id i. Throws value_error when a token comes twice, or `unknown` or (with bert_tokens) another special one is missing.
    explicit wordpiece(std::vector<std::string> tokens, wordpiece_options options = {}) : options_(std::move(options)) {
        if (options_.max_word_length < 1) throw value_error("wordpiece: max_word_length must be at least 1, is " + std::to_string(options_.max_word_length));
        set_vocabulary(tokenize::vocabulary(std::move(tokens)));
        unknown_id_ = required(options_.unknown);
        std::vector<std::pair<std::string, std::int32_t>> keys;
        const auto& all = vocabulary().tokens();
        for (std::size_t i = 0; i < all.size(); ++i) {
            unicode::decode(all[i]);  // pieces are compared byte by byte; that is right for UTF-8 alone
            if (!all[i].empty()) keys.emplace_back(all[i], static_cast<std::int32_t>(i));
        }
        trie_ = detail::byte_trie(std::move(keys));
        continuation_root_ = trie_.walk(options_.continuation);
        strip_accents_ = options_.strip_accents.value_or(options_.lowercase);
        if (options_.bert_tokens) {
            const std::int32_t cls = required("[CLS]"), sep = required("[SEP]");
            for (const char* name : {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}) add_token({.text = name, .id = required(name)});
            set_template({.single = {{-1, cls, 0}, {0, 0, 0}, {-1, sep, 0}}, .pair = {{-1, cls, 0}, {0, 0, 0}, {-1, sep, 0}, {1, 0, 1}, {-1, sep, 1}}});
            set_pad_id(required("[PAD]"));
        }
        for (unsigned c = 0; c < 128; ++c) {
            const std::uint8_t f = unicode::flags(c);
            const bool symbol = (c >= 33 && c < 48) || (c >= 58 && c < 65) || (c >= 91 && c < 97) || (c >= 123 && c < 127);
            const bool white = c == '\t' || c == '\n' || c == '\r' || c == ' ';
            ascii_[c] = white ? kind::space : (f & unicode::control) != 0 ? kind::general : symbol ? kind::punctuation : kind::word;
            ascii_lower_[c] = static_cast<unsigned char>(options_.lowercase && c >= 'A' && c <= 'Z' ? c + 32 : c);
        }
        for (unsigned c = 128; c < 256; ++c) ascii_[c] = kind::general;
    }

    /// vocab.txt, a token a line (plain or gz). Throws io_error, and parse_error naming the line of a token that comes twice.
    static wordpiece from_file(const std::string& path, wordpiece_options options = {}) {
        const std::string text = io::read_all(path);
        std::vector<std::string> tokens;
        std::unordered_map<std::string_view, std::size_t> seen;
        for (std::size_t at = 0; at < text.size();) {
            const std::size_t end = std::min(text.find('\n', at), text.size());
            std::string_view line = std::string_view(text).substr(at, end - at);
            if (line.ends_with('\r')) line.remove_suffix(1);
            tokens.emplace_back(line);
            const auto [old, fresh] = seen.try_emplace(line, tokens.size());
            if (!fresh) {
                throw parse_error(path, static_cast<std::int64_t>(tokens.size()), 0, "the token \"" + std::string(line) + "\" stands in line " + std::to_string(old->second) + " already");
            }
            at = end + 1;
        }
        try {
            return wordpiece(std::move(tokens), std::move(options));
        } catch (const value_error& e) {
            throw parse_error(path, e.what());
        }
    }

    const wordpiece_options& options() const noexcept { return options_; }

    // For loaders of files that carry their own: see tokenize/tokenizer_json.hpp.
    using text_tokenizer::add_token;
    using text_tokenizer::set_pad_id;
    using text_tokenizer::set_template;

private:
    enum class kind : std::uint8_t { word, space, punctuation, general };

    std::int32_t required(const std::string& token) const {
        const std::int32_t id = vocabulary().find(token);
        if (id < 0) throw value_error("the vocabulary lacks " + token);
        return id;
    }

    void append_segment(std::string_view text, std::uint32_t offset, std::vector<detail::text_token>& out) const override {
        const bool plain = in_normalized().empty() && std::all_of(text.begin(), text.end(), [this](char c) { return ascii_[static_cast<unsigned char>(c)] != kind::general; });
        if (!plain) return append_general(text, offset, out);
        const auto* s = reinterpret_cast<const unsigned char*>(text.data());
        const auto* end = s + text.size();
        const auto at = [&](const unsigned char* p) { return offset + static_cast<std::uint32_t>(p - reinterpret_cast<const unsigned char*>(text.data())); };
        const auto same = [](std::size_t i) { return static_cast<std::uint32_t>(i); };
        while (s < end) {
            const kind k = ascii_[*s];
            if (k == kind::space) {
                ++s;
                continue;
            }
            const unsigned char* word = s++;
            if (k == kind::word) {
                while (s < end && ascii_[*s] == kind::word) ++s;
            }
            const auto n = static_cast<std::size_t>(s - word);
            match<true>(word, n, n, at(word), same, same, out);
        }
    }

    /// Pieces of one word of n bytes. begin_of and end_of give the place, relative to `offset`, of the code point that begins or ends at a byte.
    template <bool Ascii, class Begin, class End>
    void match(const unsigned char* word, std::size_t n, std::size_t n_code_points, std::uint32_t offset, Begin begin_of, End end_of, std::vector<detail::text_token>& out) const {
        const std::size_t before = out.size();
        bool known = n_code_points <= static_cast<std::size_t>(options_.max_word_length);
        for (std::size_t from = 0; known && from < n;) {
            std::int32_t node = from == 0 ? detail::byte_trie::k_root : continuation_root_;
            std::int32_t id = -1;
            std::size_t end = from;
            for (std::size_t i = from; i < n && node != detail::byte_trie::k_none; ++i) {
                node = trie_.step(node, Ascii ? ascii_lower_[word[i]] : word[i]);
                if (node == detail::byte_trie::k_none) break;
                if (const std::int32_t v = trie_.value(node); v >= 0) {
                    id = v;
                    end = i + 1;
                }
            }
            known = id >= 0;
            out.push_back({id, offset + begin_of(from), offset + end_of(end)});
            from = end;
        }
        if (!known) {
            out.resize(before);
            out.push_back({unknown_id_, offset + begin_of(0), offset + end_of(n)});
        }
    }

    static bool is_white(char32_t c) { return (unicode::flags(c) & unicode::space) != 0; }
    static bool is_control(char32_t c) { return c != '\t' && c != '\n' && c != '\r' && (unicode::flags(c) & unicode::control) != 0; }
    bool is_punctuation(char32_t c) const { return c < 128 ? ascii_[c] == kind::punctuation : (unicode::flags(c) & unicode::punctuation) != 0; }
    /// The blocks that Hugging Face names; U+2B820–2B91F is not among them.
    static bool is_chinese(char32_t c) {
        return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B73F) ||
               (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) || (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
    }

    unicode::traced_text normalize(std::string_view text, std::uint32_t offset) const {
        unicode::traced_text t;
        unicode::decode(text, t, offset);
        if (options_.clean_text) {
            std::erase_if(t.points, [](const auto& p) { return p.code == 0 || p.code == 0xFFFD || is_control(p.code); });
            for (auto& p : t.points) {
                if (is_white(p.code)) p.code = ' ';
            }
        }
        if (options_.split_chinese && std::any_of(t.points.begin(), t.points.end(), [](const auto& p) { return is_chinese(p.code); })) {
            unicode::traced_text spaced;
            for (const auto& p : t.points) {
                if (!is_chinese(p.code)) {
                    spaced.points.push_back(p);
                    continue;
                }
                spaced.points.push_back({' ', p.begin, p.end});
                spaced.points.push_back(p);
                spaced.points.push_back({' ', p.begin, p.end});
            }
            t = std::move(spaced);
        }
        if (strip_accents_) {
            unicode::decompose(t);
            std::erase_if(t.points, [](const auto& p) { return (unicode::flags(p.code) & unicode::accent) != 0; });
        }
        if (options_.lowercase) unicode::to_lower(t);
        return t;
    }

    void append_general(std::string_view text, std::uint32_t offset, std::vector<detail::text_token>& out) const {
        const unicode::traced_text t = normalize(text, offset);
        if (in_normalized().empty()) return append_words(t, 0, t.points.size(), out);
        // Added tokens of the normalised text: positions in bytes, back to code points.
        const std::string normal = unicode::encode(t);
        std::vector<std::size_t> point_at(normal.size() + 1, t.points.size());
        std::size_t byte = 0;
        for (std::size_t i = 0; i < t.points.size(); ++i) {
            point_at[byte] = i;
            byte += t.points[i].code < 0x80 ? 1 : t.points[i].code < 0x800 ? 2 : t.points[i].code < 0x10000 ? 3 : 4;
        }
        in_normalized().split(
            normal, [&](std::size_t begin, std::size_t end) { append_words(t, point_at[begin], point_at[end], out); },
            [&](const added_token& token, std::size_t begin, std::size_t end) {
                out.push_back({token.id, t.points[point_at[begin]].begin, t.points[point_at[end] - 1].end});
            });
    }

    void append_words(const unicode::traced_text& t, std::size_t first, std::size_t last, std::vector<detail::text_token>& out) const {
        std::string word;
        std::vector<std::uint32_t> begin_of, end_of;  // by byte of the word
        for (std::size_t i = first; i < last;) {
            if (is_white(t.points[i].code)) {
                ++i;
                continue;
            }
            std::size_t end = i + 1;
            if (!is_punctuation(t.points[i].code)) {
                while (end < last && !is_white(t.points[end].code) && !is_punctuation(t.points[end].code)) ++end;
            }
            word.clear();
            begin_of.clear();
            end_of.assign(1, t.points[i].begin);
            for (std::size_t p = i; p < end; ++p) {
                unicode::append(word, t.points[p].code);
                begin_of.resize(word.size(), t.points[p].begin);
                end_of.resize(word.size() + 1, t.points[p].end);
            }
            begin_of.push_back(t.points[end - 1].end);
            match<false>(
                reinterpret_cast<const unsigned char*>(word.data()), word.size(), end - i, 0, [&](std::size_t b) { return begin_of[b]; },
                [&](std::size_t b) { return end_of[b]; }, out);
            i = end;
        }
    }

    std::string decode_tokens(std::span<const std::int32_t> ids, const text_decode_options& o) const override {
        std::string text;
        for (std::size_t i = 0; i < ids.size(); ++i) {
            std::string_view piece = token(ids[i]);
            if (i > 0) {
                if (piece.starts_with(options_.continuation)) piece.remove_prefix(options_.continuation.size());
                else text += ' ';
            }
            text += piece;
        }
        return o.clean_up ? cleaned_up(text) : text;
    }

    wordpiece_options options_;
    detail::byte_trie trie_;
    std::int32_t continuation_root_ = detail::byte_trie::k_none;
    std::int32_t unknown_id_ = 0;
    bool strip_accents_ = true;
    std::array<kind, 256> ascii_{};
    std::array<unsigned char, 128> ascii_lower_{};
};

}  // namespace instar::tokenize

#endif
