// The k-mer tokenizer on any text: every id lies in the vocabulary and equals the plain definition's, the mask is a prefix.
#include <cstdint>
#include <string_view>
#include <vector>

#include "instar/tokenize/kmer.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace instar;
    if (size < 3) return 0;
    const int k = 1 + data[0] % 12, offset = data[1] % k, max_length = k + data[2];
    const tokenize::kmer tokenizer({.k = k, .max_length = max_length, .tokenize_n = k <= 8 && data[0] >= 128});
    const std::string_view text(reinterpret_cast<const char*>(data) + 3, size - 3);
    // Exactly as long as they may be, so that a write past the end is seen.
    std::vector<std::int32_t> ids(static_cast<std::size_t>(tokenizer.seq_len()));
    std::vector<std::uint8_t> mask(ids.size());
    tokenizer.encode_one(text, offset, ids.data(), mask.data());
    const std::string_view read = text.substr(std::min(text.size(), static_cast<std::size_t>(offset))).substr(0, static_cast<std::size_t>(max_length));
    for (std::size_t t = 0; t < ids.size(); ++t) {
        if (ids[t] < 1 || ids[t] >= tokenizer.vocab_size()) __builtin_trap();
        const bool whole = (t + 1) * static_cast<std::size_t>(k) <= read.size();
        if (mask[t] != (whole ? 1 : 0)) __builtin_trap();
        if (whole && ids[t] != tokenizer.id(read.substr(t * static_cast<std::size_t>(k), static_cast<std::size_t>(k)))) __builtin_trap();
    }
    return 0;
}
