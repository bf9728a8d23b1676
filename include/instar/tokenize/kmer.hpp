#ifndef INSTAR_TOKENIZE_KMER_HPP
#define INSTAR_TOKENIZE_KMER_HPP

// The k-mer tokenizer of BarcodeBERT: a barcode is read as consecutive words of k bases.
//
//     const tokenize::kmer tokenizer{{.k = 4, .max_length = 660}};
//     auto tokens = tokenizer.encode(ctx, barcodes);            // tokens.ids, tokens.mask: [n, 165]
//     tokenizer.encode_into(ctx, barcodes, offsets, ids, mask); // into memory of yours, nothing is allocated
//     tokenizer.token(2);                                       // "AAAA"
//
// The same with a cuda_context: encode takes barcodes of the host and leaves tokens on the device; encode_into takes letters that are
// there already.
//
// Vocabulary: 0 = [MASK], 1 = [UNK], then every word over ACGT in lexicographic order (A first), 4^k + 2 ids. There is no
// [CLS], [SEP] or [PAD]: the end of a short barcode is filled with [UNK] under mask 0.
// Dense k-mer counts, for baselines, are in tokenize/kmer_counts.hpp.

#include <algorithm>
#include <array>
#include <bit>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "instar/core/parallel_for.hpp"
#include "instar/core/tensor.hpp"

namespace instar {
class cuda_context;
}

namespace instar::tokenize {

struct kmer_options {
    int k = 4;                ///< bases a token, 1–12
    int stride = 0;           ///< bases from one token to the next; 0 = k, and nothing else is supported
    int max_length = 660;     ///< bases that are read; longer barcodes are cut, shorter ones padded
    bool tokenize_n = false;  ///< words with N get ids of their own, behind those without: 5^k + 2 ids
};

/// What differs from call to call.
struct kmer_encode_options {
    int max_length = 0;                ///< 0 = the tokenizer's
    std::span<const int> offsets = {};  ///< bases to skip at the start of each barcode; empty = none
};

/// Token ids and attention mask of n barcodes, both [n, seq_len]; mask 1 = attended.
template <class Memory>
struct basic_encoded_batch {
    tensor<std::int32_t, 2, Memory> ids;
    tensor<std::uint8_t, 2, Memory> mask;
};
using encoded_batch = basic_encoded_batch<host_memory>;

namespace detail {

using bytes16 = unsigned char __attribute__((vector_size(16)));
using words4 = std::uint32_t __attribute__((vector_size(16)));
inline constexpr bool k_little_endian = std::endian::native == std::endian::little;
inline constexpr unsigned char k_not_a_base = 0x80;

/// Sixteen letters as 0, 1, 2, 3 for A, C, G, T and 0x80 or more for anything else, lower case included.
inline bytes16 base_codes(bytes16 c) {
    // (c >> 1) & 3 is 0, 1, 3, 2 for A, C, G, T; x ^ (x >> 1) puts G before T.
    const bytes16 x = (c >> 1) & 3;
    const auto base = (c == 'A') | (c == 'C') | (c == 'G') | (c == 'T');
    return (x ^ (x >> 1)) | (~std::bit_cast<bytes16>(base) & k_not_a_base);
}

/// The same for n letters. Writes up to 15 bytes past n.
inline void base_codes(const char* text, std::size_t n, unsigned char* codes) {
    for (std::size_t i = 0; i < n; i += 16) {
        bytes16 c = {};
        if (i + 16 <= n) std::memcpy(&c, text + i, 16);
        else std::memcpy(&c, text + i, n - i);
        c = base_codes(c);
        std::memcpy(codes + i, &c, 16);
    }
}

/// n words of four letters: the reference's default k, four words a step.
inline void encode_words_of_4(const char* text, std::size_t n, std::int32_t* ids, std::int32_t unknown, std::int32_t first) {
    for (std::size_t t = 0; t < n; t += 4) {
        const std::size_t n_now = std::min<std::size_t>(4, n - t);
        bytes16 c = {};
        if (n_now == 4) std::memcpy(&c, text + 4 * t, 16);
        else std::memcpy(&c, text + 4 * t, 4 * n_now);
        const auto w = std::bit_cast<words4>(base_codes(c));
        const words4 value = k_little_endian ? (w << 6 | w >> 4 | w >> 14 | w >> 24) & 0xffu : (w >> 18 | w >> 12 | w >> 6 | w) & 0xffu;
        const auto bad = std::bit_cast<words4>((w & 0x80808080u) != 0u);
        const words4 id = ((value + static_cast<std::uint32_t>(first)) & ~bad) | (static_cast<std::uint32_t>(unknown) & bad);
        if (n_now == 4) std::memcpy(ids + t, &id, 16);
        else std::memcpy(ids + t, &id, 4 * n_now);
    }
}

/// Four codes as one number in base 4, first code first; `word` gets them as they are, with the marks of non-bases.
inline std::uint32_t base4_quad(const unsigned char* codes, std::uint32_t& word) {
    std::uint32_t w;
    std::memcpy(&w, codes, 4);
    if constexpr (!k_little_endian) w = (w >> 24) | ((w >> 8) & 0xff00u) | ((w << 8) & 0xff0000u) | (w << 24);
    word = w;
    // The top byte of the product is c0·64 + c1·16 + c2·4 + c3; the bytes below stay under 64, so nothing carries.
    return ((w & 0x03030303u) * 0x40100401u) >> 24;
}

/// How words get their ids: what host and device need to know of a tokenizer.
struct kmer_words {
    static constexpr std::int32_t k_unknown = 1, k_n_special = 2;
    std::int32_t k = 4;
    bool tokenize_n = false;
    std::int32_t n_words = 256;  // 4^k

    /// Id of the k letters at `text`, of which those from n_letters on count as N.
    INSTAR_HOST_DEVICE std::int32_t id(const char* text, index_t n_letters) const {
        std::int32_t in4 = 0, in5 = 0, pure_before = 0, below = n_words;
        for (std::int32_t i = 0; i < k; ++i) {
            std::int32_t digit = 4;
            if (i < n_letters) {
                const char c = text[i];
                digit = c == 'A' ? 0 : c == 'C' ? 1 : c == 'G' ? 2 : c == 'T' ? 3 : c == 'N' ? 4 : -1;
            }
            if (digit < 0) return k_unknown;
            below /= 4;
            in5 = in5 * 5 + digit;
            // At the first N: every word without N whose beginning is not greater comes before.
            if (digit == 4 && pure_before == 0) pure_before = (in4 + 1) * below * 4;
            in4 = in4 * 4 + digit;
        }
        if (pure_before == 0) return k_n_special + in4;
        return tokenize_n ? k_n_special + n_words + in5 - pure_before : k_unknown;
    }
};

}  // namespace detail

/// Tokenizer of non-overlapping k-mers. Immutable; any number of threads may use one.
///
/// For a barcode s and an offset o:  x = s[o:], cut to max_length;  n = ⌊len(x) / k⌋ tokens are attended;
/// ids[t] = id(x[t·k : t·k + k]) for t < n; the rest of the ⌊max_length / k⌋ positions holds [UNK] under mask 0. A word with
/// anything but A, C, G, T (N, lower case, IUPAC codes, gaps) is [UNK] but attended. The last max_length mod k bases and a
/// trailing part of a word are never seen. With tokenize_n, words over ACGTN that hold an N come after those without, in
/// lexicographic order with N last, and the padding is N: a padded position's id is that of its padded word.
/// A barcode shorter than k has an all-zero mask: encode_one returns 0, and pooling over it is the caller's to decide.
///
/// Throws value_error for k outside 1–12, a stride other than k (masks of other strides have the wrong length in the
/// reference, spec: "the only supported mode"), max_length < k, a negative offset, or a number of offsets that is not n.
/// Deterministic. Cost: about 1 cycle a base. Source: Millan Arias et al., BarcodeBERT, arXiv:2311.02401.
class kmer {
public:
    static constexpr std::int32_t k_mask_id = 0;
    static constexpr std::int32_t k_unk_id = detail::kmer_words::k_unknown;
    static constexpr std::int32_t k_n_special = detail::kmer_words::k_n_special;

    explicit kmer(kmer_options options = {}) : options_(options) {
        const int k = options_.k;
        if (k < 1 || k > 12) throw value_error("kmer: k must be 1 to 12, is " + std::to_string(k));
        if (options_.stride == 0) options_.stride = k;
        if (options_.stride != k) {
            throw value_error("kmer: stride must equal k = " + std::to_string(k) + ", is " + std::to_string(options_.stride) +
                              ": with another stride, mask and tokens differ in length");
        }
        if (options_.max_length < k) {
            throw value_error("kmer: max_length must be at least k = " + std::to_string(k) + ", is " + std::to_string(options_.max_length));
        }
        for (int i = 0; i < k; ++i) n_words_ *= 4, n_words_with_n_ *= 5;
    }

    const kmer_options& options() const noexcept { return options_; }
    int k() const noexcept { return options_.k; }
    int max_length() const noexcept { return options_.max_length; }
    /// 4^k + 2, or 5^k + 2 with tokenize_n.
    int vocab_size() const noexcept { return static_cast<int>(k_n_special + (options_.tokenize_n ? n_words_with_n_ : n_words_)); }
    /// Words without N, 4^k: the classes a masked language model predicts; class = id − 2.
    int n_words() const noexcept { return static_cast<int>(n_words_); }
    /// Tokens a barcode, ⌊max_length / k⌋.
    int seq_len() const noexcept { return options_.max_length / options_.k; }

    /// Text of an id. Throws value_error outside [0, vocab_size).
    std::string token(int id) const {
        if (id < 0 || id >= vocab_size()) {
            throw value_error("kmer: id " + std::to_string(id) + " is outside [0, " + std::to_string(vocab_size()) + ")");
        }
        if (id == k_mask_id) return "[MASK]";
        if (id == k_unk_id) return "[UNK]";
        std::string text(static_cast<std::size_t>(options_.k), 'A');
        std::int64_t rest = id - k_n_special;
        if (rest < n_words_) {
            for (std::size_t i = text.size(); i-- > 0; rest /= 4) text[i] = "ACGT"[rest % 4];
            return text;
        }
        // Words with an N, in order: at each place skip the groups of the smaller letters.
        rest -= n_words_;
        std::int64_t pure = n_words_, all = n_words_with_n_;
        bool has_n = false;
        for (char& c : text) {
            pure /= 4, all /= 5;
            const std::int64_t group = has_n ? all : all - pure;  // words that go on from a letter other than N
            const std::int64_t letter = group == 0 ? 4 : std::min<std::int64_t>(rest / group, 4);
            rest -= letter * group;
            c = "ACGTN"[letter];
            has_n = has_n || letter == 4;
        }
        return text;
    }

    /// Id of a word of k letters; [UNK] for anything that has none.
    std::int32_t id(std::string_view word) const {
        if (word.size() != static_cast<std::size_t>(options_.k)) return k_unk_id;
        return words().id(word.data(), options_.k);
    }

    /// One barcode: ids and mask have seq_len() elements. Returns how many tokens are attended.
    int encode_one(std::string_view sequence, int offset, std::int32_t* ids, std::uint8_t* mask) const {
        if (offset < 0) throw value_error("kmer: offset must not be negative, is " + std::to_string(offset));
        const auto max_length = static_cast<std::size_t>(options_.max_length);
        const auto k = static_cast<std::size_t>(options_.k), n_all = static_cast<std::size_t>(seq_len());
        const std::string_view x = sequence.substr(std::min(static_cast<std::size_t>(offset), sequence.size())).substr(0, max_length);
        const std::size_t n = x.size() / k;
        std::memset(mask, 1, n);
        std::memset(mask + n, 0, n_all - n);
        if (options_.tokenize_n) {
            encode_with_n(x, n_all, ids);
            return static_cast<int>(n);
        }
        if (k == 4) detail::encode_words_of_4(x.data(), n, ids, k_unk_id, k_n_special);
        else if (k < 4) encode_words<1>(x.data(), n, ids);
        else if (k <= 8) encode_words<2>(x.data(), n, ids);
        else encode_words<3>(x.data(), n, ids);
        std::fill(ids + n, ids + n_all, k_unk_id);
        return static_cast<int>(n);
    }

    /// Many barcodes on the context's threads. Sequences: anything that gives a span of std::string or std::string_view.
    encoded_batch encode(cpu_context& ctx, std::span<const std::string_view> sequences, kmer_encode_options options = {}) const {
        return encode_any(ctx, sequences, options);
    }
    encoded_batch encode(cpu_context& ctx, std::span<const std::string> sequences, kmer_encode_options options = {}) const {
        return encode_any(ctx, sequences, options);
    }
    encoded_batch encode(cpu_context& ctx, std::span<const std::string_view> sequences, std::span<const int> offsets) const {
        return encode_any(ctx, sequences, {.offsets = offsets});
    }
    encoded_batch encode(cpu_context& ctx, std::span<const std::string> sequences, std::span<const int> offsets) const {
        return encode_any(ctx, sequences, {.offsets = offsets});
    }

    /// The same into the caller's memory: ids and mask are [n, seq_len], last stride 1. Allocates nothing.
    void encode_into(cpu_context& ctx, std::span<const std::string_view> sequences, std::span<const int> offsets,
                     tensor_view<std::int32_t, 2> ids, tensor_view<std::uint8_t, 2> mask) const {
        encode_into_any(ctx, sequences, offsets, ids, mask);
    }
    void encode_into(cpu_context& ctx, std::span<const std::string> sequences, std::span<const int> offsets,
                     tensor_view<std::int32_t, 2> ids, tensor_view<std::uint8_t, 2> mask) const {
        encode_into_any(ctx, sequences, offsets, ids, mask);
    }

    /// Many barcodes of the host on a GPU: their letters are copied there, ids and mask stay there. Waits for the copies alone.
    template <std::same_as<cuda_context> Context>
    basic_encoded_batch<typename Context::memory> encode(Context& ctx, std::span<const std::string_view> sequences,
                                                         kmer_encode_options options = {}) const;
    template <std::same_as<cuda_context> Context>
    basic_encoded_batch<typename Context::memory> encode(Context& ctx, std::span<const std::string> sequences,
                                                         kmer_encode_options options = {}) const;

    /// Barcodes on the device, everything there; nothing is allocated and nothing waits.
    ///
    /// | argument  | shape        | element                                                                        |
    /// |-----------|--------------|--------------------------------------------------------------------------------|
    /// | letters   | [n_letters]  | char: the barcodes, one after the other                                        |
    /// | begins    | [n + 1]      | index_t, ascending: barcode i is letters [begins(i), begins(i + 1))             |
    /// | offsets   | [n] or empty | int32, letters to skip; not looked at before, a negative one counts as 0       |
    /// | ids, mask | [n, seq_len] | int32, uint8; last stride 1                                                    |
    ///
    /// The tokens are those of the CPU, for every option. Cost: a letter read, 5 / k bytes written a base.
    /// Throws shape_error when a shape disagrees. A template, so that instar::compiled can hold it.
    template <class Id = std::int32_t>
    void encode_into(cuda_context& ctx, in_view<char, 1> letters, in_view<index_t, 1> begins, in_view<std::int32_t, 1> offsets,
                     out_view<Id, 2> ids, out_view<std::uint8_t, 2> mask) const;

private:
    detail::kmer_words words() const {
        return {options_.k, options_.tokenize_n, static_cast<std::int32_t>(n_words_)};
    }

    template <class Context, class Text>
    basic_encoded_batch<typename Context::memory> encode_on_device(Context& ctx, std::span<const Text> sequences,
                                                                   const kmer_encode_options& options) const;

    /// n whole words of plain bases. Blocks of codes stay in the first-level cache.
    template <int Quads>
    void encode_words(const char* text, std::size_t n, std::int32_t* ids) const {
        constexpr std::size_t k_block = 1536;
        alignas(16) unsigned char codes[k_block + 32];
        const auto k = static_cast<std::size_t>(options_.k);
        const int shift = 2 * (4 * Quads - options_.k);
        // Marks of the bases that belong to the last quad of a word; the ones behind belong to its neighbour.
        const std::uint32_t last_marks = 0x80808080u >> (8 * (4 * static_cast<unsigned>(Quads) - static_cast<unsigned>(k)));
        for (std::size_t begin = 0; begin < n;) {
            const std::size_t n_block = std::min(n - begin, k_block / k);
            detail::base_codes(text + begin * k, n_block * k, codes);
            std::memset(codes + n_block * k, 0, 16);  // the last word's load reaches past its letters
            const unsigned char* c = codes;
            std::int32_t* out = ids + begin;
            for (std::size_t t = 0; t < n_block; ++t, c += k) {
                std::uint32_t w, value = detail::base4_quad(c, w), bad = 0;
                if constexpr (Quads > 1) {
                    bad = w;
                    value = (value << 8) | detail::base4_quad(c + 4, w);
                }
                if constexpr (Quads > 2) {
                    bad |= w;
                    value = (value << 8) | detail::base4_quad(c + 8, w);
                }
                const bool unknown = ((bad & 0x80808080u) | (w & last_marks)) != 0;
                out[t] = unknown ? k_unk_id : static_cast<std::int32_t>(value >> shift) + k_n_special;
            }
            begin += n_block;
        }
    }

    void encode_with_n(std::string_view x, std::size_t n_all, std::int32_t* ids) const {
        const auto k = static_cast<std::size_t>(options_.k);
        for (std::size_t t = 0; t < n_all; ++t) {
            const std::size_t begin = std::min(t * k, x.size());  // what is missing counts as N
            ids[t] = words().id(x.data() + begin, static_cast<index_t>(x.size() - begin));
        }
    }

    template <class Text>
    encoded_batch encode_any(cpu_context& ctx, std::span<const Text> sequences, const kmer_encode_options& options) const {
        if (options.max_length != 0 && options.max_length != options_.max_length) {
            kmer_options changed = options_;
            changed.max_length = options.max_length;
            return kmer(changed).encode_any(ctx, sequences, {.offsets = options.offsets});
        }
        const auto n = static_cast<index_t>(sequences.size());
        encoded_batch batch{tensor<std::int32_t, 2>({n, seq_len()}), tensor<std::uint8_t, 2>({n, seq_len()})};
        encode_into_any(ctx, sequences, options.offsets, batch.ids.view(), batch.mask.view());
        return batch;
    }

    template <class Text>
    void encode_into_any(cpu_context& ctx, std::span<const Text> sequences, std::span<const int> offsets,
                         tensor_view<std::int32_t, 2> ids, tensor_view<std::uint8_t, 2> mask) const {
        const auto n = static_cast<index_t>(sequences.size());
        instar::detail::check_shape("kmer::encode_into", "ids", ids, {n, seq_len()});
        instar::detail::check_shape("kmer::encode_into", "mask", mask, {n, seq_len()});
        instar::detail::check_unit_stride("kmer::encode_into", "ids", ids);
        instar::detail::check_unit_stride("kmer::encode_into", "mask", mask);
        check_offsets(offsets, sequences.size());
        parallel_for(ctx, n, 64, [&](index_t begin, index_t end) {
            for (index_t i = begin; i < end; ++i) {
                const auto s = static_cast<std::size_t>(i);
                encode_one(sequences[s], offsets.empty() ? 0 : offsets[s], ids.data() + i * ids.stride(0), mask.data() + i * mask.stride(0));
            }
        });
    }

    static void check_offsets(std::span<const int> offsets, std::size_t n) {
        if (!offsets.empty() && offsets.size() != n) {
            throw value_error("kmer::encode_into: " + std::to_string(offsets.size()) + " offsets for " + std::to_string(n) + " barcodes");
        }
        for (std::size_t i = 0; i < offsets.size(); ++i) {
            if (offsets[i] < 0) throw value_error("kmer::encode_into: offset " + std::to_string(i) + " is negative: " + std::to_string(offsets[i]));
        }
    }

    kmer_options options_;
    std::int64_t n_words_ = 1;         // 4^k
    std::int64_t n_words_with_n_ = 1;  // 5^k
};

}  // namespace instar::tokenize

#if !defined(INSTAR_COMPILED) && (defined(__CUDACC__) || defined(INSTAR_CUDA_EMULATED))
#include "instar/tokenize/cuda/kmer.cuh"
#endif

#endif
