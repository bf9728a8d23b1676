#ifndef INSTAR_TOKENIZE_TEXT_TOKENIZER_HPP
#define INSTAR_TOKENIZE_TEXT_TOKENIZER_HPP

// What every text tokenizer does: special tokens, truncation, padding, batches, decoding. The tokenizers themselves are
// tokenize/wordpiece.hpp (BERT), tokenize/byte_bpe.hpp (GPT-2, CLIP) and tokenize/character.hpp; tokenize/tokenizer_json.hpp reads
// Hugging Face's tokenizer.json and returns whichever it describes.
//
//     auto batch = tokenizer.encode(ctx, texts, {.max_length = 20, .padding = tokenize::padding::max_length});  // batch.ids [n, 20]
//     auto one = tokenizer.encode_one("Diptera Sciaridae", {});                   // one.ids, one.offsets: bytes of the text
//     std::string text = tokenizer.decode(one.ids);
//
// Ids, type ids, masks and offsets are those of Hugging Face's tokenizers (Rust); an offset counts bytes.

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "instar/core/parallel_for.hpp"
#include "instar/core/tensor.hpp"
#include "instar/tokenize/unicode.hpp"

namespace instar::tokenize {

/// Which text loses tokens when a pair is too long: the longer one, or always the same. A single text is cut at its end by each.
enum class truncation { longest_first, only_first, only_second };

/// Rows of a batch: as long as the longest of it, or max_length long.
enum class padding { longest, max_length };

struct text_encode_options {
    int max_length = 0;              ///< tokens, special ones included; 0 = no limit
    bool add_special_tokens = true;  ///< [CLS] … [SEP] and their like
    tokenize::truncation truncation = tokenize::truncation::longest_first;
    tokenize::padding padding = tokenize::padding::longest;
};

/// Bytes [begin, end) of a text; of a token added by the template: empty.
struct text_span {
    std::uint32_t begin = 0, end = 0;
    bool operator==(const text_span&) const = default;
};

/// One text or pair, without padding.
struct text_encoding {
    std::vector<std::int32_t> ids;
    std::vector<std::int32_t> type_ids;  ///< 0 or 1: which text of a pair, as the template says
    std::vector<text_span> offsets;      ///< in the text that the token comes from
    std::vector<std::uint8_t> special;   ///< 1 = added by the template
};

/// n texts, each tensor [n, length]; mask 1 = token, 0 = padding.
struct text_batch {
    tensor<std::int32_t, 2> ids, type_ids;
    tensor<std::uint8_t, 2> mask;
};

struct text_decode_options {
    bool skip_special_tokens = false;
    bool clean_up = true;  ///< no space before . , ? ! and in contractions, as transformers does; not GPT-2
};

/// A token that is cut out of the text before anything else looks at it.
struct added_token {
    std::string text;
    std::int32_t id = 0;
    bool special = true;     ///< left out by skip_special_tokens
    bool normalized = false;  ///< looked for in the normalised text
    bool lstrip = false;      ///< takes white space on its left with it
    bool rstrip = false;
};

/// What stands around the tokens of a text or a pair: [CLS] A [SEP] B [SEP].
struct text_template {
    struct piece {
        int text;  ///< 0 or 1: the tokens of that text; −1: the token `id`
        std::int32_t id;
        std::int32_t type_id;
    };
    std::vector<piece> single{{0, 0, 0}};
    std::vector<piece> pair{{0, 0, 0}, {1, 0, 1}};
};

/// Texts of ids, and ids of texts.
class vocabulary {
public:
    vocabulary() = default;
    /// Token i has id i. Throws value_error, with both ids, for a token that comes twice.
    explicit vocabulary(std::vector<std::string> tokens) : tokens_(std::move(tokens)) {
        ids_.reserve(tokens_.size());
        for (std::size_t i = 0; i < tokens_.size(); ++i) {
            const auto [at, fresh] = ids_.try_emplace(tokens_[i], static_cast<std::int32_t>(i));
            if (!fresh) throw value_error("the token \"" + tokens_[i] + "\" has two ids, " + std::to_string(at->second) + " and " + std::to_string(i));
        }
    }
    // The map's keys are its own strings, so a copy or a move needs no care.
    int size() const noexcept { return static_cast<int>(tokens_.size()); }
    const std::vector<std::string>& tokens() const noexcept { return tokens_; }
    /// −1 for a text that is no token.
    std::int32_t find(std::string_view text) const {
        const auto at = ids_.find(text);
        return at == ids_.end() ? -1 : at->second;
    }
    const std::string& token(std::int32_t id) const {
        if (id < 0 || id >= size()) throw value_error("token id " + std::to_string(id) + " is outside [0, " + std::to_string(size()) + ")");
        return tokens_[static_cast<std::size_t>(id)];
    }

private:
    struct hash {
        using is_transparent = void;
        std::size_t operator()(std::string_view s) const noexcept { return std::hash<std::string_view>{}(s); }
    };
    std::vector<std::string> tokens_;
    std::unordered_map<std::string, std::int32_t, hash, std::equal_to<>> ids_;
};

namespace detail {

struct text_token {
    std::int32_t id;
    std::uint32_t begin, end;
};

/// Leftmost, then longest, of a few strings.
class token_matcher {
public:
    void add(const added_token& token) {
        tokens_.push_back(token);
        std::sort(tokens_.begin(), tokens_.end(), [](const auto& a, const auto& b) { return a.text.size() != b.text.size() ? a.text.size() > b.text.size() : a.text < b.text; });
        starts_[static_cast<unsigned char>(token.text[0])] = true;
    }
    bool empty() const noexcept { return tokens_.empty(); }
    /// Index of the first token in text[from:] and where it begins; nullptr when there is none.
    const added_token* find(std::string_view text, std::size_t from, std::size_t& at) const {
        if (tokens_.empty()) return nullptr;
        for (at = from; at < text.size(); ++at) {
            if (!starts_[static_cast<unsigned char>(text[at])]) continue;
            for (const added_token& t : tokens_) {
                if (text.substr(at).starts_with(t.text)) return &t;
            }
        }
        return nullptr;
    }
    /// Calls segment(begin, end) for text between tokens and token(t, begin, end) for tokens, in order; empty segments are left out.
    template <class Segment, class Token>
    void split(std::string_view text, Segment segment, Token token) const {
        std::size_t from = 0, at = 0;
        while (const added_token* t = find(text, from, at)) {
            std::size_t begin = at, end = at + t->text.size();
            if (t->lstrip) {
                // Back over whole code points that are white space.
                for (std::size_t p = begin; p > from;) {
                    do --p;
                    while (p > from && (static_cast<unsigned char>(text[p]) & 0xC0) == 0x80);
                    if ((unicode::flags(unicode::decode_at(text, p).code) & unicode::space) == 0) break;
                    begin = p;
                }
            }
            if (t->rstrip) {
                while (end < text.size()) {
                    const auto [code, length] = unicode::decode_at(text, end);
                    if (length == 0 || (unicode::flags(code) & unicode::space) == 0) break;
                    end += length;
                }
            }
            if (begin > from) segment(from, begin);
            token(*t, begin, end);
            from = end;
        }
        if (from < text.size()) segment(from, text.size());
    }

private:
    std::vector<added_token> tokens_;
    std::array<bool, 256> starts_{};
};

}  // namespace detail

/// Base of the text tokenizers. Immutable once made; any number of threads may use one.
class text_tokenizer {
public:
    virtual ~text_tokenizer() = default;

    const tokenize::vocabulary& vocabulary() const noexcept { return vocabulary_; }
    /// Ids are below this. Added tokens that the vocabulary lacks count.
    int vocab_size() const noexcept { return vocab_size_; }
    /// Text of an id as the vocabulary spells it ("##ly"). Throws value_error for an id that has none.
    const std::string& token(std::int32_t id) const {
        for (const added_token& t : added_) {
            if (t.id == id) return t.text;
        }
        return vocabulary_.token(id);
    }
    /// Id of a token's text, −1 when it is none.
    std::int32_t id(std::string_view token) const {
        for (const added_token& t : added_) {
            if (t.text == token) return t.id;
        }
        return vocabulary_.find(token);
    }
    std::int32_t pad_id() const noexcept { return pad_id_; }
    const std::vector<added_token>& added_tokens() const noexcept { return added_; }

    /// One text. Throws value_error for invalid UTF-8 (with the byte) and a max_length that cannot hold the special tokens.
    text_encoding encode_one(std::string_view text, const text_encode_options& options = {}) const {
        std::vector<detail::text_token> tokens;
        append_text(text, tokens);
        return assemble(tokens, nullptr, options);
    }
    /// A pair of texts: [CLS] a [SEP] b [SEP].
    text_encoding encode_pair(std::string_view a, std::string_view b, const text_encode_options& options = {}) const {
        std::vector<detail::text_token> first, second;
        append_text(a, first);
        append_text(b, second);
        return assemble(first, &second, options);
    }

    /// Many texts on the context's threads. Throws what encode_one throws, with the text's number in front.
    text_batch encode(cpu_context& ctx, std::span<const std::string_view> texts, const text_encode_options& options = {}) const {
        return encode_any(ctx, texts, options);
    }
    text_batch encode(cpu_context& ctx, std::span<const std::string> texts, const text_encode_options& options = {}) const {
        return encode_any(ctx, texts, options);
    }

    /// Text of ids. Bytes that are no UTF-8 become U+FFFD. Throws value_error for an id outside the vocabulary.
    std::string decode(std::span<const std::int32_t> ids, const text_decode_options& options = {}) const {
        std::vector<std::int32_t> kept;
        for (const std::int32_t i : ids) {
            token(i);
            if (options.skip_special_tokens && std::any_of(added_.begin(), added_.end(), [i](const auto& t) { return t.id == i && t.special; })) continue;
            kept.push_back(i);
        }
        return decode_tokens(kept, options);
    }

protected:
    text_tokenizer() = default;
    text_tokenizer(const text_tokenizer&) = default;
    text_tokenizer(text_tokenizer&&) = default;
    text_tokenizer& operator=(const text_tokenizer&) = default;
    text_tokenizer& operator=(text_tokenizer&&) = default;

    /// Tokens of a text without raw added tokens; offsets count from the original text, in which `text` begins at `offset`.
    virtual void append_segment(std::string_view text, std::uint32_t offset, std::vector<detail::text_token>& out) const = 0;
    virtual std::string decode_tokens(std::span<const std::int32_t> ids, const text_decode_options& options) const = 0;

    void set_vocabulary(tokenize::vocabulary v) {
        vocabulary_ = std::move(v);
        vocab_size_ = vocabulary_.size();
    }
    void add_token(added_token t) {
        if (t.text.empty()) throw value_error("an added token is empty");
        if (t.id < 0) throw value_error("the added token \"" + t.text + "\" has the id " + std::to_string(t.id));
        vocab_size_ = std::max(vocab_size_, t.id + 1);
        (t.normalized ? in_normalized_ : in_raw_).add(t);
        added_.push_back(std::move(t));
    }
    void set_template(text_template t) { template_ = std::move(t); }
    void set_pad_id(std::int32_t id) { pad_id_ = id; }
    bool is_added(std::int32_t id) const {
        return std::any_of(added_.begin(), added_.end(), [id](const auto& t) { return t.id == id; });
    }
    /// What text_decode_options::clean_up says.
    static std::string cleaned_up(std::string text) {
        static constexpr std::pair<std::string_view, std::string_view> k_cleaned[] = {
            {" .", "."}, {" ?", "?"}, {" !", "!"}, {" ,", ","}, {" ' ", "'"}, {" n't", "n't"}, {" 'm", "'m"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
        for (const auto& [from, to] : k_cleaned) {
            std::string out;
            for (std::size_t at = 0; at < text.size();) {
                const bool here = std::string_view(text).substr(at).starts_with(from);
                out += here ? to : std::string_view(text).substr(at, 1);
                at += here ? from.size() : 1;
            }
            text = std::move(out);
        }
        return text;
    }
    const detail::token_matcher& in_normalized() const noexcept { return in_normalized_; }

private:
    void append_text(std::string_view text, std::vector<detail::text_token>& out) const {
        if (text.size() >= (std::size_t{1} << 31)) throw value_error("a text of " + std::to_string(text.size()) + " bytes; 2 GiB is the limit");
        in_raw_.split(
            text, [&](std::size_t begin, std::size_t end) { append_segment(text.substr(begin, end - begin), static_cast<std::uint32_t>(begin), out); },
            [&](const added_token& t, std::size_t begin, std::size_t end) {
                out.push_back({t.id, static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end)});
            });
    }

    const std::vector<text_template::piece>& pieces(bool pair, bool special) const {
        static const text_template plain;
        const text_template& t = special ? template_ : plain;
        return pair ? t.pair : t.single;
    }
    static int n_special(const std::vector<text_template::piece>& pieces) {
        return static_cast<int>(std::count_if(pieces.begin(), pieces.end(), [](const auto& p) { return p.text < 0; }));
    }
    /// Tokens that each text of a row may keep.
    static std::pair<std::size_t, std::size_t> room(std::size_t n_a, std::size_t n_b, int special, bool pair, const text_encode_options& o) {
        if (o.max_length < 0) throw value_error("max_length must not be negative, is " + std::to_string(o.max_length));
        if (o.max_length == 0) return {n_a, n_b};
        if (o.max_length < special) {
            throw value_error("max_length " + std::to_string(o.max_length) + " has no room for " + std::to_string(special) + " special tokens");
        }
        const auto limit = static_cast<std::size_t>(o.max_length - special);
        if (n_a + n_b <= limit) return {n_a, n_b};
        if (!pair) return {limit, 0};
        if (o.truncation != truncation::longest_first) {
            std::size_t& cut = o.truncation == truncation::only_first ? n_a : n_b;
            const std::size_t excess = n_a + n_b - limit;
            if (cut < excess) {
                throw value_error("max_length " + std::to_string(o.max_length) + " cannot be reached by cutting the " +
                                  (o.truncation == truncation::only_first ? "first" : "second") + " text alone");
            }
            cut -= excess;
            return {n_a, n_b};
        }
        // The shorter one keeps what it has as long as the longer one can pay; else half each, the odd one to the longer.
        std::size_t shorter = std::min(n_a, n_b), longer = shorter > limit ? shorter : std::max(shorter, limit - shorter);
        if (shorter + longer > limit) {
            shorter = limit / 2;
            longer = shorter + limit % 2;
        }
        return n_a > n_b ? std::pair{longer, shorter} : std::pair{shorter, longer};
    }

    text_encoding assemble(const std::vector<detail::text_token>& a, const std::vector<detail::text_token>* b, const text_encode_options& o) const {
        const auto& row = pieces(b != nullptr, o.add_special_tokens);
        const auto [n_a, n_b] = room(a.size(), b != nullptr ? b->size() : 0, n_special(row), b != nullptr, o);
        text_encoding e;
        for (const auto& p : row) {
            const auto put = [&](std::int32_t id, text_span span, std::uint8_t special) {
                e.ids.push_back(id);
                e.type_ids.push_back(p.type_id);
                e.offsets.push_back(span);
                e.special.push_back(special);
            };
            if (p.text < 0) put(p.id, {}, 1);
            else for (std::size_t i = 0; i < (p.text == 0 ? n_a : n_b); ++i) {
                const auto& t = p.text == 0 ? a[i] : (*b)[i];
                put(t.id, {t.begin, t.end}, 0);
            }
        }
        return e;
    }

    template <class Text>
    text_batch encode_any(cpu_context& ctx, std::span<const Text> texts, const text_encode_options& o) const {
        constexpr index_t k_grain = 64;
        const auto n = static_cast<index_t>(texts.size());
        const auto& row = pieces(false, o.add_special_tokens);
        const int special = n_special(row);
        room(0, 0, special, false, o);
        if (o.padding == padding::max_length && o.max_length == 0) throw value_error("padding to max_length needs a max_length");
        // Tokens of a chunk of texts, one after another, and where each text's end.
        struct chunk {
            std::vector<detail::text_token> tokens;
            std::vector<std::size_t> ends;
        };
        std::vector<chunk> chunks(static_cast<std::size_t>((n + k_grain - 1) / k_grain));
        parallel_for(ctx, n, k_grain, [&](index_t begin, index_t end) {
            chunk& c = chunks[static_cast<std::size_t>(begin / k_grain)];
            for (index_t i = begin; i < end; ++i) {
                try {
                    append_text(texts[static_cast<std::size_t>(i)], c.tokens);
                } catch (const value_error& e) {
                    throw value_error("text " + std::to_string(i) + ": " + e.what());
                }
                c.ends.push_back(c.tokens.size());
            }
        });
        std::size_t longest = 0;
        for (const chunk& c : chunks) {
            for (std::size_t i = 0; i < c.ends.size(); ++i) {
                longest = std::max(longest, room(c.ends[i] - (i == 0 ? 0 : c.ends[i - 1]), 0, special, false, o).first);
            }
        }
        const index_t length = o.padding == padding::max_length ? o.max_length : static_cast<index_t>(longest) + special;
        text_batch batch{tensor<std::int32_t, 2>({n, length}), tensor<std::int32_t, 2>({n, length}), tensor<std::uint8_t, 2>({n, length})};
        parallel_for(ctx, n, k_grain, [&](index_t begin, index_t end) {
            const chunk& c = chunks[static_cast<std::size_t>(begin / k_grain)];
            for (index_t i = begin; i < end; ++i) {
                const auto local = static_cast<std::size_t>(i - begin);
                const std::size_t first = local == 0 ? 0 : c.ends[local - 1];
                const std::size_t n_tokens = room(c.ends[local] - first, 0, special, false, o).first;
                std::int32_t* ids = batch.ids.data() + i * length;
                std::int32_t* types = batch.type_ids.data() + i * length;
                index_t at = 0;
                for (const auto& p : row) {
                    const index_t from = at;
                    if (p.text < 0) ids[at++] = p.id;
                    else for (std::size_t t = 0; t < n_tokens; ++t) ids[at++] = c.tokens[first + t].id;
                    std::fill(types + from, types + at, p.type_id);
                }
                std::uint8_t* mask = batch.mask.data() + i * length;
                std::fill(mask, mask + at, std::uint8_t{1});
                std::fill(mask + at, mask + length, std::uint8_t{0});
                std::fill(ids + at, ids + length, pad_id_);
                std::fill(types + at, types + length, 0);
            }
        });
        return batch;
    }

    tokenize::vocabulary vocabulary_;
    int vocab_size_ = 0;
    std::vector<added_token> added_;
    detail::token_matcher in_raw_, in_normalized_;
    text_template template_;
    std::int32_t pad_id_ = 0;
};

}  // namespace instar::tokenize

#endif
