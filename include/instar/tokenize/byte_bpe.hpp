#ifndef INSTAR_TOKENIZE_BYTE_BPE_HPP
#define INSTAR_TOKENIZE_BYTE_BPE_HPP

// Byte-level byte-pair encoding: GPT-2's tokenizer and CLIP's.
//
//     const auto clip = tokenize::byte_bpe::clip_from_merges("bpe_simple_vocab_16e6.txt.gz");   // OpenAI's own file
//     const auto gpt2 = tokenize::load_tokenizer("gpt2/");                                       // tokenize/tokenizer_json.hpp
//     auto batch = clip.encode(ctx, texts, {.max_length = 77, .padding = tokenize::padding::max_length});
//
// Equal to Hugging Face's GPT2TokenizerFast and CLIPTokenizerFast. CLIP's own Python also runs ftfy and html.unescape; that is not done
// here, nor by CLIPTokenizerFast.

#include <array>
#include <bit>
#include <queue>

#include "instar/io/gzip.hpp"
#include "instar/tokenize/text_tokenizer.hpp"

namespace instar::tokenize {

/// Whose rules cut a text into words.
///   gpt2:  's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+           nothing is lost
///   clip:  's|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+, after NFC, white space to one space, lower case
enum class bpe_words { gpt2, clip };

struct byte_bpe_options {
    bpe_words words = bpe_words::gpt2;
    bool add_prefix_space = false;  ///< a text that does not begin with a space gets one in front (gpt2)
    bool trim_offsets = false;      ///< offsets leave out the spaces that a token begins or ends with (RoBERTa)
    std::string word_end{};         ///< belongs to a word's last symbol: "</w>" for CLIP
};

namespace detail {

/// The 256 printable characters that stand for bytes: most for themselves, the others from U+0100 on. Radford et al. 2019.
inline const std::array<char32_t, 256>& byte_characters() {
    static const std::array<char32_t, 256> table = [] {
        std::array<char32_t, 256> t{};
        char32_t next = 0x100;
        for (char32_t b = 0; b < 256; ++b) t[b] = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174 ? b : next++;
        return t;
    }();
    return table;
}

/// Two adjacent symbols → what they become, and how early. Open addressing; at most half full.
class merge_table {
public:
    struct entry {
        std::uint64_t pair = ~std::uint64_t{0};
        std::uint32_t rank = 0, merged = 0;
    };
    explicit merge_table(std::size_t n = 0) : entries_(std::bit_ceil(2 * n + 2)) {}
    static std::uint64_t key(std::int32_t a, std::int32_t b) { return static_cast<std::uint64_t>(static_cast<std::uint32_t>(a)) << 32 | static_cast<std::uint32_t>(b); }
    /// False when the pair is there already.
    bool add(entry e) {
        std::size_t i = slot(e.pair);
        for (; entries_[i].pair != ~std::uint64_t{0}; i = (i + 1) & (entries_.size() - 1)) {
            if (entries_[i].pair == e.pair) return false;
        }
        entries_[i] = e;
        return true;
    }
    const entry* find(std::int32_t a, std::int32_t b) const {
        const std::uint64_t pair = key(a, b);
        for (std::size_t i = slot(pair);; i = (i + 1) & (entries_.size() - 1)) {
            if (entries_[i].pair == pair) return &entries_[i];
            if (entries_[i].pair == ~std::uint64_t{0}) return nullptr;
        }
    }

private:
    std::size_t slot(std::uint64_t pair) const { return static_cast<std::size_t>((pair * 0x9E3779B97F4A7C15u) >> 32) & (entries_.size() - 1); }
    std::vector<entry> entries_;
};

}  // namespace detail

/// A word's bytes are its first symbols; the adjacent pair with the lowest rank, leftmost first, becomes one symbol until no pair has
/// a rank. Throws value_error for invalid UTF-8. Deterministic. Cost: O(n log n) for a word of n bytes.
/// Source: Sennrich et al. 2016 (arXiv:1508.07909); Radford et al. 2019; Radford et al. 2021 (arXiv:2103.00020).
class byte_bpe final : public text_tokenizer {
public:
    /// Tokens by id, merges in the order of their ranks. Throws value_error naming the merge (counted from 1) whose parts or product are no
    /// tokens or that comes twice, the byte that has no token, or the token that comes twice.
    byte_bpe(std::vector<std::string> tokens, std::span<const std::pair<std::string, std::string>> merges, byte_bpe_options options)
        : options_(std::move(options)), merges_(merges.size()) {
        set_vocabulary(tokenize::vocabulary(std::move(tokens)));
        const auto id = [this](const std::string& token) { return vocabulary().find(token); };
        for (std::size_t b = 0; b < 256; ++b) {
            std::string c;
            unicode::append(c, detail::byte_characters()[b]);
            inside_[b] = id(c);
            last_[b] = id(c + options_.word_end);
            if (inside_[b] < 0 || last_[b] < 0) throw value_error("the vocabulary has no token \"" + c + (inside_[b] < 0 ? "" : options_.word_end) + "\" for the byte " + std::to_string(b));
        }
        for (std::size_t i = 0; i < merges.size(); ++i) {
            const auto& [a, b] = merges[i];
            const auto fail = [&](const std::string& what) { throw value_error("merge " + std::to_string(i + 1) + ", \"" + a + " " + b + "\": " + what); };
            const std::int32_t ia = id(a), ib = id(b), ic = id(a + b);
            if (ia < 0) fail("\"" + a + "\" is no token");
            if (ib < 0) fail("\"" + b + "\" is no token");
            if (ic < 0) fail("\"" + a + b + "\" is no token");
            if (!merges_.add({detail::merge_table::key(ia, ib), static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(ic)})) fail("stands there twice");
        }
    }

    /// OpenAI's bpe_simple_vocab_16e6.txt.gz: 48,894 merges behind a line of header; ids as OpenAI's code gives them: bytes, bytes with
    /// </w>, merges, <|startoftext|>, <|endoftext|>. Throws io_error and parse_error.
    static byte_bpe clip_from_merges(const std::string& path) {
        constexpr std::size_t k_merges = 49152 - 256 - 2;
        auto merges = merges_from_text(io::read_all(path), path);
        if (merges.size() < k_merges) throw parse_error(path, std::to_string(merges.size()) + " merges, expected " + std::to_string(k_merges));
        merges.resize(k_merges);
        std::vector<std::string> tokens;
        // In the order of OpenAI's bytes_to_unicode: bytes that stand for themselves, then the others.
        for (const bool own : {true, false}) {
            for (std::size_t b = 0; b < 256; ++b) {
                const char32_t c = detail::byte_characters()[b];
                if ((c == b) != own) continue;
                unicode::append(tokens.emplace_back(), c);
            }
        }
        for (std::size_t i = 0; i < 256; ++i) tokens.push_back(tokens[i] + "</w>");
        for (const auto& [a, b] : merges) tokens.push_back(a + b);
        tokens.insert(tokens.end(), {"<|startoftext|>", "<|endoftext|>"});
        try {
            byte_bpe t(std::move(tokens), merges, {.words = bpe_words::clip, .word_end = "</w>"});
            t.set_clip_tokens();
            return t;
        } catch (const value_error& e) {
            throw parse_error(path, e.what());
        }
    }

    /// merges.txt: "a b" a line, ranks in order; a first line that begins with #version, or OpenAI's that begins with a quote, is a header.
    static std::vector<std::pair<std::string, std::string>> merges_from_text(std::string_view text, const std::string& file) {
        std::vector<std::pair<std::string, std::string>> merges;
        std::int64_t line_number = 0;
        for (std::size_t at = 0; at < text.size();) {
            const std::size_t end = std::min(text.find('\n', at), text.size());
            std::string_view line = text.substr(at, end - at);
            at = end + 1;
            if (line.ends_with('\r')) line.remove_suffix(1);
            ++line_number;
            if (line.empty() || (line_number == 1 && (line.starts_with("#version") || line.starts_with("\"bpe")))) continue;
            const std::size_t gap = line.find(' ');
            if (gap == 0 || gap == std::string_view::npos || gap + 1 == line.size() || line.find(' ', gap + 1) != std::string_view::npos) {
                throw parse_error(file, line_number, 0, "expected two symbols with a space between, found \"" + std::string(line) + "\"");
            }
            merges.emplace_back(line.substr(0, gap), line.substr(gap + 1));
        }
        return merges;
    }

    const byte_bpe_options& options() const noexcept { return options_; }

    /// <|startoftext|> A <|endoftext|>, padded with the latter: CLIP's rows. Throws value_error when one is missing.
    void set_clip_tokens() {
        const std::int32_t start = vocabulary().find("<|startoftext|>"), end = vocabulary().find("<|endoftext|>");
        if (start < 0 || end < 0) throw value_error("the vocabulary lacks <|startoftext|> or <|endoftext|>");
        add_token({.text = "<|startoftext|>", .id = start});
        add_token({.text = "<|endoftext|>", .id = end});
        set_template({.single = {{-1, start, 0}, {0, 0, 0}, {-1, end, 0}}, .pair = {{-1, start, 0}, {0, 0, 0}, {-1, end, 0}, {-1, end, 0}, {1, 0, 0}, {-1, end, 0}}});
        set_pad_id(end);
    }

    using text_tokenizer::add_token;
    using text_tokenizer::set_pad_id;
    using text_tokenizer::set_template;

private:
    /// Text as the words are cut from it, and for each of its bytes the bytes of the original that its code point came from.
    struct normal_text {
        std::string text;
        std::vector<std::uint32_t> begin, end;
    };

    normal_text normalize(std::string_view text, std::uint32_t offset) const {
        if (std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 128; })) return normalize_ascii(text, offset);
        unicode::traced_text t;
        unicode::decode(text, t, offset);
        if (options_.words == bpe_words::clip) {
            unicode::compose(t);
            std::size_t n = 0;
            for (std::size_t i = 0; i < t.points.size(); ++i) {
                const bool white = (unicode::flags(t.points[i].code) & unicode::space) != 0;
                if (white && n > 0 && t.points[n - 1].code == ' ') continue;
                t.points[n] = t.points[i];
                if (white) t.points[n].code = ' ';
                ++n;
            }
            t.points.resize(n);
            unicode::to_lower(t);
        }
        normal_text out;
        for (const auto& p : t.points) {
            unicode::append(out.text, p.code);
            out.begin.resize(out.text.size(), p.begin);
            out.end.resize(out.text.size(), p.end);
        }
        return out;
    }

    normal_text normalize_ascii(std::string_view text, std::uint32_t offset) const {
        const bool clip = options_.words == bpe_words::clip;
        normal_text out;
        out.text.reserve(text.size());
        out.begin.reserve(text.size());
        out.end.reserve(text.size());
        for (std::size_t i = 0; i < text.size(); ++i) {
            char c = text[i];
            if (clip) {
                if (c >= '\t' && c <= '\r') c = ' ';
                if (c == ' ' && out.text.ends_with(' ')) continue;
                if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
            }
            out.text += c;
            out.begin.push_back(offset + static_cast<std::uint32_t>(i));
            out.end.push_back(offset + static_cast<std::uint32_t>(i) + 1);
        }
        return out;
    }

    void append_segment(std::string_view text, std::uint32_t offset, std::vector<detail::text_token>& out) const override {
        normal_text t = normalize(text, offset);
        if (options_.add_prefix_space && !t.text.empty() && t.text[0] != ' ') {
            t.text.insert(0, 1, ' ');
            t.begin.insert(t.begin.begin(), t.begin[0]);
            t.end.insert(t.end.begin(), t.begin[0]);
        }
        std::vector<symbol> symbols;
        in_normalized().split(
            t.text, [&](std::size_t begin, std::size_t end) { append_words(t, begin, end, symbols, out); },
            [&](const added_token& token, std::size_t begin, std::size_t end) { out.push_back({token.id, t.begin[begin], t.end[end - 1]}); });
    }

    enum class kind { letter, number, space, other, end };
    static kind kind_at(std::string_view s, std::size_t at, std::uint32_t& length) {
        if (at >= s.size()) {
            length = 0;
            return kind::end;
        }
        const auto c = unicode::decode_at(s, at);
        length = c.length;
        const std::uint8_t f = unicode::flags(c.code);
        return (f & unicode::letter) != 0 ? kind::letter : (f & unicode::number) != 0 ? kind::number : (f & unicode::space) != 0 ? kind::space : kind::other;
    }
    static std::size_t contraction(std::string_view s) {
        static constexpr std::string_view k_all[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
        for (const auto c : k_all) {
            if (s.starts_with(c)) return c.size();
        }
        return 0;
    }

    struct symbol {
        std::int32_t id;
        std::uint32_t begin, end;  // bytes of the word
    };

    void append_words(const normal_text& t, std::size_t first, std::size_t last, std::vector<symbol>& symbols, std::vector<detail::text_token>& out) const {
        const std::string_view s = std::string_view(t.text).substr(0, last);
        const bool gpt2 = options_.words == bpe_words::gpt2;
        for (std::size_t at = first; at < last;) {
            std::uint32_t length = 0;
            std::size_t end = at;
            if (s[at] == '\'' && (end = at + contraction(s.substr(at))) > at) {
                append_word(t, at, end, symbols, out);
                at = end;
                continue;
            }
            if (!gpt2 && s[at] == '<' && clip_literal(t, s, at, symbols, out)) continue;
            end = at;
            kind k = kind_at(s, at, length);
            if (k == kind::space) {
                // Where a space stands before a word, GPT-2 takes it along; of a longer run only its last one.
                std::size_t before = at;
                end = at;
                while (k == kind::space) {
                    before = end;
                    end += length;
                    k = kind_at(s, end, length);
                }
                if (!gpt2) {
                    at = end;
                    continue;
                }
                if (k != kind::end && before > at) {
                    append_word(t, at, before, symbols, out);
                    at = before;
                    continue;
                }
                if (k == kind::end || s[before] != ' ') {
                    append_word(t, at, end, symbols, out);
                    at = end;
                    continue;
                }
            }
            const kind run = k;
            do {
                end += length;
                k = kind_at(s, end, length);
            } while (k == run && (gpt2 || run != kind::number));
            append_word(t, at, end, symbols, out);
            at = end;
        }
    }

    /// CLIP's pattern begins with its special tokens; written in capitals they get here, and their last bracket ends a word.
    bool clip_literal(const normal_text& t, std::string_view s, std::size_t& at, std::vector<symbol>& symbols, std::vector<detail::text_token>& out) const {
        for (const std::string_view name : {"startoftext", "endoftext"}) {
            if (!s.substr(at + 1).starts_with('|') || !s.substr(at + 2).starts_with(name) || !s.substr(at + 2 + name.size()).starts_with("|>")) continue;
            append_word(t, at, at + 2, symbols, out);
            append_word(t, at + 2, at + 2 + name.size(), symbols, out);
            append_word(t, at + 2 + name.size(), at + 4 + name.size(), symbols, out);
            at += 4 + name.size();
            return true;
        }
        return false;
    }

    void append_word(const normal_text& t, std::size_t begin, std::size_t end, std::vector<symbol>& symbols, std::vector<detail::text_token>& out) const {
        symbols.clear();
        for (std::size_t i = begin; i < end; ++i) {
            const auto byte = static_cast<unsigned char>(t.text[i]);
            symbols.push_back({i + 1 == end ? last_[byte] : inside_[byte], static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(i + 1)});
        }
        if (symbols.size() <= 32) merge_short(symbols);
        else merge_long(symbols);
        for (symbol x : symbols) {
            if (options_.trim_offsets) {
                while (x.begin + 1 < x.end && t.text[x.begin] == ' ') ++x.begin;
                while (x.begin + 1 < x.end && t.text[x.end - 1] == ' ') --x.end;
            }
            out.push_back({x.id, t.begin[x.begin], t.end[x.end - 1]});
        }
    }

    /// Few symbols: look through all pairs each time.
    void merge_short(std::vector<symbol>& s) const {
        constexpr std::uint32_t k_none = ~0u;
        std::array<std::uint32_t, 32> rank, merged;
        const auto look = [&](std::size_t i) {
            const auto* e = merges_.find(s[i].id, s[i + 1].id);
            rank[i] = e != nullptr ? e->rank : k_none;
            merged[i] = e != nullptr ? e->merged : 0;
        };
        std::size_t n = s.size();
        for (std::size_t i = 0; i + 1 < n; ++i) look(i);
        while (n > 1) {
            std::size_t best = 0;
            for (std::size_t i = 1; i + 1 < n; ++i) {
                if (rank[i] < rank[best]) best = i;
            }
            if (rank[best] == k_none) break;
            s[best].id = static_cast<std::int32_t>(merged[best]);
            s[best].end = s[best + 1].end;
            for (std::size_t i = best + 1; i + 1 < n; ++i) {
                s[i] = s[i + 1];
                rank[i] = rank[i + 1];
                merged[i] = merged[i + 1];
            }
            --n;
            if (best > 0) look(best - 1);
            if (best + 1 < n) look(best);
        }
        s.resize(n);
    }

    /// Many: a heap of candidate pairs over a linked list. Stale candidates are recognised by what they would have merged.
    void merge_long(std::vector<symbol>& s) const {
        struct candidate {
            std::uint32_t rank, at, merged;
            std::int32_t left, right;
            bool operator>(const candidate& o) const { return rank != o.rank ? rank > o.rank : at > o.at; }
        };
        const auto n = static_cast<std::uint32_t>(s.size());
        std::vector<std::uint32_t> next(n), previous(n);
        std::priority_queue<candidate, std::vector<candidate>, std::greater<>> queue;
        const auto push = [&](std::uint32_t i) {
            if (next[i] >= n) return;
            if (const auto* e = merges_.find(s[i].id, s[next[i]].id)) queue.push({e->rank, i, e->merged, s[i].id, s[next[i]].id});
        };
        for (std::uint32_t i = 0; i < n; ++i) {
            next[i] = i + 1;
            previous[i] = i - 1;  // of the first: the largest number, never below n
        }
        for (std::uint32_t i = 0; i < n; ++i) push(i);
        while (!queue.empty()) {
            const candidate c = queue.top();
            queue.pop();
            const std::uint32_t right = next[c.at];
            if (s[c.at].id != c.left || right >= n || s[right].id != c.right) continue;
            s[c.at].id = static_cast<std::int32_t>(c.merged);
            s[c.at].end = s[right].end;
            s[right].id = -1;
            next[c.at] = next[right];
            if (next[c.at] < n) previous[next[c.at]] = c.at;
            if (previous[c.at] < n) push(previous[c.at]);
            push(c.at);
        }
        std::erase_if(s, [](const symbol& x) { return x.id < 0; });
    }

    std::string decode_tokens(std::span<const std::int32_t> ids, const text_decode_options& o) const override {
        static const std::unordered_map<char32_t, char> bytes = [] {
            std::unordered_map<char32_t, char> map;
            for (std::size_t b = 0; b < 256; ++b) map[detail::byte_characters()[b]] = static_cast<char>(static_cast<unsigned char>(b));
            return map;
        }();
        std::string raw;
        for (const std::int32_t i : ids) {
            std::string_view piece = token(i);
            if (is_added(i)) {
                raw += piece;
                continue;
            }
            const bool word_end = !options_.word_end.empty() && piece.ends_with(options_.word_end);
            if (word_end) piece.remove_suffix(options_.word_end.size());
            for (std::size_t at = 0; at < piece.size();) {
                const auto [code, length] = unicode::decode_at(piece, at);
                const auto b = bytes.find(code);
                if (length == 0 || b == bytes.end()) raw += piece.substr(at, std::max(length, 1u));
                else raw += b->second;
                at += std::max(length, 1u);
            }
            if (word_end) raw += ' ';
        }
        if (options_.words == bpe_words::clip && raw.ends_with(' ')) raw.pop_back();
        // Bytes cut in the middle of a character are no text.
        std::string text;
        for (std::size_t at = 0; at < raw.size();) {
            const auto [code, length] = unicode::decode_at(raw, at);
            if (length == 0) unicode::append(text, 0xFFFD);
            else text += raw.substr(at, length);
            at += std::max(length, 1u);
        }
        return o.clean_up && options_.words == bpe_words::clip ? cleaned_up(text) : text;
    }

    byte_bpe_options options_;
    detail::merge_table merges_;
    std::array<std::int32_t, 256> inside_{}, last_{};
};

}  // namespace instar::tokenize

#endif
