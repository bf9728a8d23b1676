#ifndef INSTAR_TOKENIZE_TOKENIZER_JSON_HPP
#define INSTAR_TOKENIZE_TOKENIZER_JSON_HPP

// Text tokenizers from the files that models come with.
//
//     auto tokenizer = tokenize::load_tokenizer("bert-small/");              // a folder, or a tokenizer.json
//     auto batch = tokenizer->encode(ctx, texts, {.max_length = 20});
//
// A folder is read from the first of: tokenizer.json (Hugging Face); vocab.txt (BERT; tokenizer_config.json may say do_lower_case);
// vocab.json and merges.txt, or encoder.json and vocab.bpe (GPT-2; CLIP when <|startoftext|> is in the vocabulary).
//
// Of tokenizer.json, what BERT's, GPT-2's, RoBERTa's and CLIP's say is understood: models WordPiece and BPE (byte-level), their
// normalisers, pre-tokenizers and post-processors. Anything else is a parse_error that names it: never a tokenizer that differs.
// "truncation" and "padding" of the file are not taken over; text_encode_options has them.

#include <memory>

#include "instar/io/json.hpp"
#include "instar/tokenize/byte_bpe.hpp"
#include "instar/tokenize/wordpiece.hpp"

namespace instar::tokenize {

namespace detail {

/// A {"token": id} object, and tokens that stand beside it, by id.
inline std::vector<std::string> tokens_by_id(const io::json_view& vocab, const std::vector<added_token>& beside = {}) {
    if (!vocab.value().is_object()) throw parse_error(vocab.file(), "the vocabulary is not an object of tokens and ids");
    // The ids of n tokens are 0 … n − 1: anything above is a gap.
    std::vector<std::string> tokens(vocab.value().size() + beside.size());
    std::vector<bool> there(tokens.size());
    std::size_t n = 0;
    const auto put = [&](const std::string& token, const io::json& id, bool again) {
        if (!id.is_number_integer() || id.get<std::int64_t>() < 0) throw parse_error(vocab.file(), "the id of token \"" + token + "\" is not a number from 0");
        const auto i = static_cast<std::size_t>(id.get<std::int64_t>());
        if (i >= tokens.size()) throw parse_error(vocab.file(), "token \"" + token + "\" has the id " + std::to_string(i) + ", but ids of " + std::to_string(tokens.size()) + " tokens have no gaps");
        if (there[i] && again && tokens[i] == token) return;
        if (there[i]) throw parse_error(vocab.file(), "the tokens \"" + tokens[i] + "\" and \"" + token + "\" have the same id " + std::to_string(i));
        tokens[i] = token;
        there[i] = true;
        n = std::max(n, i + 1);
    };
    for (const auto& [token, id] : vocab.value().items()) put(token, id, false);
    for (const auto& t : beside) put(t.text, t.id, true);
    for (std::size_t i = 0; i < n; ++i) {
        if (!there[i]) throw parse_error(vocab.file(), "no token has the id " + std::to_string(i) + ", but one has " + std::to_string(n - 1));
    }
    tokens.resize(n);
    return tokens;
}

inline std::string kind_of(const io::json_view& parent, const std::string& key) {
    if (!parent.has(key)) return "";
    const io::json_view part = parent.child(key);
    return part.get<std::string>("type");
}

[[noreturn]] inline void not_supported(const io::json_view& at, const std::string& key, const std::string& what) {
    throw parse_error(at.file(), "\"" + key + "\": " + what + " is not supported");
}

/// A flag or a text that must be absent or have its usual value.
template <class T>
void expect(const io::json_view& part, const std::string& place, const std::string& key, const T& usual) {
    if (part.get_or<T>(key, usual) != usual) not_supported(part, place + "." + key, "a value other than the usual");
}

inline std::vector<added_token> added_tokens(const io::json_view& file) {
    std::vector<added_token> added;
    if (!file.has("added_tokens")) return added;
    const io::json_view list = file.child("added_tokens");
    for (std::size_t i = 0; i < list.size(); ++i) {
        const io::json_view t = list[i];
        if (t.get_or<bool>("single_word", false)) not_supported(t, "added_tokens", "single_word");
        added.push_back({t.get<std::string>("content"), t.get<std::int32_t>("id"), t.get_or<bool>("special", false), t.get_or<bool>("normalized", false),
                         t.get_or<bool>("lstrip", false), t.get_or<bool>("rstrip", false)});
    }
    return added;
}

/// [[token, id]]: BertProcessing and RobertaProcessing.
inline std::int32_t token_pair_id(const io::json_view& part, const std::string& key) {
    const io::json& v = part.child(key).value();
    if (!v.is_array() || v.size() != 2 || !v[1].is_number_integer()) throw parse_error(part.file(), "\"post_processor." + key + "\" is not a token and its id");
    return v[1].get<std::int32_t>();
}

inline std::vector<text_template::piece> template_pieces(const io::json_view& part, const std::string& key) {
    std::vector<text_template::piece> pieces;
    const io::json_view list = part.child(key);
    for (std::size_t i = 0; i < list.size(); ++i) {
        const io::json_view item = list[i];
        if (item.has("Sequence")) {
            const io::json_view s = item.child("Sequence");
            pieces.push_back({s.get<std::string>("id") == "B" ? 1 : 0, 0, s.get<std::int32_t>("type_id")});
            continue;
        }
        const io::json_view s = item.child("SpecialToken");
        const io::json_view ids = part.child("special_tokens").child(s.get<std::string>("id")).child("ids");
        for (std::size_t k = 0; k < ids.size(); ++k) {
            if (!ids.value()[k].is_number_integer()) throw parse_error(part.file(), "an id of special token \"" + s.get<std::string>("id") + "\" is not a number");
            pieces.push_back({-1, ids.value()[k].get<std::int32_t>(), s.get<std::int32_t>("type_id")});
        }
    }
    return pieces;
}

struct post_processing {
    std::optional<text_template> row;
    bool trim_offsets = false;
};

inline void read_post_processor(const io::json_view& part, post_processing& out) {
    const auto type = part.get<std::string>("type");
    if (type == "TemplateProcessing") {
        out.row = text_template{template_pieces(part, "single"), template_pieces(part, "pair")};
    } else if (type == "BertProcessing" || type == "RobertaProcessing") {
        const std::int32_t cls = token_pair_id(part, "cls"), sep = token_pair_id(part, "sep");
        if (type == "BertProcessing") out.row = text_template{{{-1, cls, 0}, {0, 0, 0}, {-1, sep, 0}}, {{-1, cls, 0}, {0, 0, 0}, {-1, sep, 0}, {1, 0, 1}, {-1, sep, 1}}};
        else out.row = text_template{{{-1, cls, 0}, {0, 0, 0}, {-1, sep, 0}}, {{-1, cls, 0}, {0, 0, 0}, {-1, sep, 0}, {-1, sep, 0}, {1, 0, 0}, {-1, sep, 0}}};
        if (type == "RobertaProcessing") out.trim_offsets = part.get_or<bool>("trim_offsets", true);
    } else if (type == "ByteLevel") {
        out.trim_offsets = out.trim_offsets || part.get_or<bool>("trim_offsets", true);
    } else if (type == "Sequence") {
        const io::json_view list = part.child("processors");
        for (std::size_t i = 0; i < list.size(); ++i) read_post_processor(list[i], out);
    } else {
        not_supported(part, "post_processor", type);
    }
}

template <class Tokenizer>
void finish(Tokenizer& t, const std::vector<added_token>& added, const io::json_view& file, const post_processing& post) {
    for (const auto& a : added) t.add_token(a);
    if (post.row) {
        for (const auto* row : {&post.row->single, &post.row->pair}) {
            for (const auto& p : *row) {
                if (p.text < 0 && (p.id < 0 || p.id >= t.vocab_size())) throw parse_error(file.file(), "\"post_processor\": token id " + std::to_string(p.id) + " is outside the vocabulary");
            }
        }
        t.set_template(*post.row);
    }
    if (file.has("padding")) {
        const auto pad = file.child("padding").get<std::int32_t>("pad_id");
        if (pad < 0 || pad >= t.vocab_size()) throw parse_error(file.file(), "\"padding.pad_id\": " + std::to_string(pad) + " is outside the vocabulary");
        t.set_pad_id(pad);
    } else if (const std::int32_t pad = t.id("[PAD]"); pad >= 0) {
        t.set_pad_id(pad);
    } else if (const std::int32_t end = t.id("<|endoftext|>"); end >= 0) {
        t.set_pad_id(end);
    }
}

inline std::unique_ptr<text_tokenizer> read_wordpiece(const io::json_view& file, const io::json_view& model, const post_processing& post) {
    wordpiece_options o;
    o.bert_tokens = false;
    o.unknown = model.get_or<std::string>("unk_token", "[UNK]");
    o.continuation = model.get_or<std::string>("continuing_subword_prefix", "##");
    o.max_word_length = model.get_or<int>("max_input_chars_per_word", 100);
    if (const std::string type = kind_of(file, "normalizer"); type != "BertNormalizer") not_supported(file, "normalizer", type.empty() ? "a WordPiece model without one" : type + " before WordPiece");
    const io::json_view n = file.child("normalizer");
    o.lowercase = n.get_or<bool>("lowercase", true);
    o.clean_text = n.get_or<bool>("clean_text", true);
    o.split_chinese = n.get_or<bool>("handle_chinese_chars", true);
    if (n.has("strip_accents")) o.strip_accents = n.get<bool>("strip_accents");
    if (const std::string type = kind_of(file, "pre_tokenizer"); type != "BertPreTokenizer") not_supported(file, "pre_tokenizer", type.empty() ? "a WordPiece model without one" : type + " before WordPiece");
    const auto added = added_tokens(file);
    auto t = std::make_unique<wordpiece>(tokens_by_id(model.child("vocab"), added), std::move(o));
    finish(*t, added, file, post);
    return t;
}

/// CLIP's normaliser and pre-tokenizer, compared with what the file says; keys that do not change the result may differ.
inline void expect_clip(const io::json_view& file) {
    const auto same = [](const auto& self, const io::json& want, const io::json& have) -> bool {
        if (!want.is_structured()) return want == have;
        if (want.type() != have.type() || (want.is_array() && want.size() != have.size())) return false;
        if (want.is_array()) {
            for (std::size_t i = 0; i < want.size(); ++i) {
                if (!self(self, want[i], have[i])) return false;
            }
            return true;
        }
        return std::all_of(want.items().begin(), want.items().end(), [&](const auto& item) { return have.contains(item.key()) && self(self, item.value(), have[item.key()]); });
    };
    const auto words = [](const char* pattern) -> io::json {
        return {{"type", "Sequence"},
                {"pretokenizers",
                 {{{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Removed"}, {"invert", true}}, {{"type", "ByteLevel"}, {"add_prefix_space", false}}}}};
    };
    const io::json normal = {{"type", "Sequence"},
                             {"normalizers", {{{"type", "NFC"}}, {{"type", "Replace"}, {"pattern", {{"Regex", R"(\s+)"}}}, {"content", " "}}, {{"type", "Lowercase"}}}}};
    if (!same(same, normal, file.child("normalizer").value())) not_supported(file, "normalizer", "another than CLIP's before a BPE with end_of_word_suffix");
    const io::json& own = file.child("pre_tokenizer").value();
    if (!same(same, words(R"('s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+)"), own) &&
        !same(same, words(R"(<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+)"), own)) {
        not_supported(file, "pre_tokenizer", "another than CLIP's before a BPE with end_of_word_suffix");
    }
}

inline std::unique_ptr<text_tokenizer> read_bpe(const io::json_view& file, const io::json_view& model, const post_processing& post) {
    byte_bpe_options o;
    o.word_end = model.get_or<std::string>("end_of_word_suffix", "");
    o.trim_offsets = post.trim_offsets;
    expect<std::string>(model, "model", "continuing_subword_prefix", "");
    expect<bool>(model, "model", "fuse_unk", false);
    expect<bool>(model, "model", "byte_fallback", false);
    expect<bool>(model, "model", "ignore_merges", false);
    expect<double>(model, "model", "dropout", 0.0);
    if (!o.word_end.empty()) {
        o.words = bpe_words::clip;
        expect_clip(file);
    } else {
        if (const std::string type = kind_of(file, "normalizer"); !type.empty()) not_supported(file, "normalizer", type + " before a byte-level BPE");
        if (const std::string type = kind_of(file, "pre_tokenizer"); type != "ByteLevel") not_supported(file, "pre_tokenizer", type.empty() ? "a BPE model without ByteLevel" : type + " before BPE");
        const io::json_view p = file.child("pre_tokenizer");
        expect<bool>(p, "pre_tokenizer", "use_regex", true);
        o.add_prefix_space = p.get_or<bool>("add_prefix_space", true);
    }
    std::vector<std::pair<std::string, std::string>> merges;
    const io::json_view list = model.child("merges");
    for (std::size_t i = 0; i < list.size(); ++i) {
        const io::json& m = list.value()[i];
        if (m.is_array() && m.size() == 2 && m[0].is_string() && m[1].is_string()) {
            merges.emplace_back(m[0].get<std::string>(), m[1].get<std::string>());
            continue;
        }
        const std::string text = m.is_string() ? m.get<std::string>() : "";
        const std::size_t gap = text.find(' ');
        if (gap == 0 || gap == std::string::npos || gap + 1 == text.size()) throw parse_error(file.file(), "\"model.merges\": number " + std::to_string(i + 1) + " is not two symbols");
        merges.emplace_back(text.substr(0, gap), text.substr(gap + 1));
    }
    const auto added = added_tokens(file);
    auto t = std::make_unique<byte_bpe>(tokens_by_id(model.child("vocab"), added), merges, std::move(o));
    finish(*t, added, file, post);
    return t;
}

}  // namespace detail

/// A tokenizer.json's text. Throws parse_error naming `place` and the key.
inline std::unique_ptr<text_tokenizer> parse_tokenizer(std::string_view text, const std::string& place) {
    const io::json json = io::parse_json(text, place);
    const io::json_view file(json, place);
    const io::json_view model = file.child("model");
    detail::post_processing post;
    if (file.has("post_processor")) detail::read_post_processor(file.child("post_processor"), post);
    // Files of before 2020 do not name the model's type.
    const auto type = model.get_or<std::string>("type", model.has("merges") ? "BPE" : "WordPiece");
    try {
        if (type == "WordPiece") return detail::read_wordpiece(file, model, post);
        if (type == "BPE") return detail::read_bpe(file, model, post);
    } catch (const value_error& e) {
        throw parse_error(place, e.what());
    }
    detail::not_supported(file, "model", type);
}

/// GPT-2's or CLIP's pair of files.
inline byte_bpe load_byte_bpe(const std::string& vocab_path, const std::string& merges_path) {
    const io::json json = io::read_json(vocab_path);
    auto tokens = detail::tokens_by_id(io::json_view(json, vocab_path));
    const auto merges = byte_bpe::merges_from_text(io::read_all(merges_path), merges_path);
    const bool clip = json.contains("<|startoftext|>");
    try {
        byte_bpe t(std::move(tokens), merges, clip ? byte_bpe_options{.words = bpe_words::clip, .word_end = "</w>"} : byte_bpe_options{});
        if (clip) {
            t.set_clip_tokens();
        } else if (const std::int32_t end = t.id("<|endoftext|>"); end >= 0) {
            t.add_token({.text = "<|endoftext|>", .id = end});
            t.set_pad_id(end);
        }
        return t;
    } catch (const value_error& e) {
        throw parse_error(vocab_path + " and " + merges_path, e.what());
    }
}

/// A model's folder, or the path of a tokenizer.json or vocab.txt. Throws io_error when there is none, parse_error for its content.
inline std::unique_ptr<text_tokenizer> load_tokenizer(const std::string& path) {
    if (path.ends_with(".json")) return parse_tokenizer(io::read_text(path), path);
    if (path.ends_with(".txt")) return std::make_unique<wordpiece>(wordpiece::from_file(path));
    const std::string folder = path.ends_with('/') ? path : path + "/";
    if (io::exists(folder + "tokenizer.json")) return parse_tokenizer(io::read_text(folder + "tokenizer.json"), folder + "tokenizer.json");
    if (io::exists(folder + "vocab.txt")) {
        wordpiece_options o;
        if (io::exists(folder + "tokenizer_config.json")) {
            const io::json json = io::read_json(folder + "tokenizer_config.json");
            const io::json_view c(json, folder + "tokenizer_config.json");
            o.lowercase = c.get_or<bool>("do_lower_case", true);
            o.split_chinese = c.get_or<bool>("tokenize_chinese_chars", true);
            if (c.has("strip_accents")) o.strip_accents = c.get<bool>("strip_accents");
        }
        return std::make_unique<wordpiece>(wordpiece::from_file(folder + "vocab.txt", o));
    }
    for (const auto& [vocab, merges] : {std::pair{"vocab.json", "merges.txt"}, std::pair{"encoder.json", "vocab.bpe"}}) {
        if (io::exists(folder + vocab) && io::exists(folder + merges)) return std::make_unique<byte_bpe>(load_byte_bpe(folder + vocab, folder + merges));
    }
    throw io_error(path + ": no tokenizer.json, no vocab.txt, no vocab.json with merges.txt");
}

}  // namespace instar::tokenize

#endif
