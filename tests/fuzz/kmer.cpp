// Fuzzes tokenize::kmer: any bytes are a sequence, and every token must be what looking its word up gives.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "instar/tokenize/kmer.hpp"
#include "instar/tokenize/kmer_counts.hpp"

using namespace instar;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
    if (size < 3) return 0;
    const int k = 1 + bytes[0] % 12;
    const bool with_n = (bytes[1] & 1) != 0;
    const int offset = bytes[1] >> 4;
    const tokenize::kmer tokenizer{{.k = k, .max_length = k + bytes[2] * (1 + (bytes[1] >> 1 & 7)), .tokenize_n = with_n}};
    const std::string_view text(reinterpret_cast<const char*>(bytes) + 3, size - 3);
    std::vector<std::int32_t> ids(static_cast<std::size_t>(tokenizer.seq_len()));
    std::vector<std::uint8_t> mask(ids.size());
    const int n = tokenizer.encode_one(text, offset, ids.data(), mask.data());
    const std::string_view x = text.substr(std::min(text.size(), static_cast<std::size_t>(offset)));
    const auto width = static_cast<std::size_t>(k);
    for (std::size_t t = 0; t < ids.size(); ++t) {
        if (mask[t] != (static_cast<int>(t) < n ? 1 : 0)) std::abort();
        if (ids[t] < 1 || ids[t] >= tokenizer.vocab_size()) std::abort();
        if (mask[t] == 1 && ids[t] != tokenizer.id(x.substr(t * width, width))) std::abort();
        if (ids[t] > 1 && mask[t] == 1 && tokenizer.token(ids[t]) != x.substr(t * width, width)) std::abort();
    }
    std::vector<std::uint32_t> counts(std::size_t{1} << (2 * (1 + k % 6)));
    const index_t total = tokenize::detail::add_kmers(text, 1 + k % 6, counts.data());
    index_t sum = 0;
    for (std::uint32_t c : counts) sum += c;
    if (sum != total) std::abort();
    return 0;
}
