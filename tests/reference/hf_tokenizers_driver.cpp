// Encodes texts from standard input; see hf_tokenizers.py.
//
//     hf_tokenizers_driver TOKENIZER [--rate] < texts > tokens
//
// In: pairs of (length: uint32, bytes), a text each. Out: for each text n: uint32, then n times id, begin, end (int32). With --rate
// instead: texts a second of one thread, batches of 1,000, rows of at most 20.
#include <chrono>
#include <cstdio>
#include <iterator>
#include <string>

#include "instar/tokenize/tokenizer_json.hpp"

using namespace instar;

namespace {

std::vector<std::string> read_texts() {
    std::vector<std::string> texts;
    std::uint32_t n = 0;
    while (std::fread(&n, sizeof n, 1, stdin) == 1) {
        std::string& s = texts.emplace_back(n, '\0');
        if (n > 0 && std::fread(s.data(), 1, n, stdin) != n) throw io_error("standard input ends in a text");
    }
    return texts;
}

double rate(const tokenize::text_tokenizer& t, std::span<const std::string> texts) {
    cpu_context ctx(1);
    const auto begin = std::chrono::steady_clock::now();
    std::size_t n = 0;
    double seconds = 0.0;
    while (seconds < 2.0) {
        for (std::size_t i = 0; i < texts.size(); i += 1000) {
            const auto part = texts.subspan(i, std::min<std::size_t>(1000, texts.size() - i));
            t.encode(ctx, part, {.max_length = 20, .padding = tokenize::padding::max_length});
            n += part.size();
        }
        seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    }
    return static_cast<double>(n) / seconds;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 2) return 2;
    try {
        const auto tokenizer = tokenize::load_tokenizer(argv[1]);
        const auto texts = read_texts();
        if (argc > 2) {
            std::printf("%.0f\n", rate(*tokenizer, texts));
            return 0;
        }
        for (const std::string& text : texts) {
            const auto e = tokenizer->encode_one(text, {});
            const auto n = static_cast<std::uint32_t>(e.ids.size());
            std::fwrite(&n, sizeof n, 1, stdout);
            for (std::size_t i = 0; i < n; ++i) {
                const std::int32_t row[3] = {e.ids[i], static_cast<std::int32_t>(e.offsets[i].begin), static_cast<std::int32_t>(e.offsets[i].end)};
                std::fwrite(row, sizeof row, 1, stdout);
            }
        }
    } catch (const std::exception& e) {
        std::fprintf(stderr, "%s\n", e.what());
        return 1;
    }
    return 0;
}
