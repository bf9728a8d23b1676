// The k-mer tokenizer on barcodes of 658 letters that lie on the device: ids and mask stay there. Bytes: a letter read, five written a token.
// Names: kmer_encode/k/barcodes. The first 4,096 barcodes, which the others repeat, are compared with the CPU's tokens, id for id.

#include "instar/tokenize/kmer.hpp"

#include "harness.hpp"
#include "instar/core/cpu_context.hpp"

namespace {

using namespace instar;
namespace gpu = bench::gpu;

constexpr index_t k_barcodes = 262144, k_letters = 658;

/// Random bases, one in 400 an N.
std::vector<std::string> random_barcodes(index_t n) {
    std::vector<std::string> all(static_cast<std::size_t>(n));
    for (std::size_t i = 0; i < all.size(); ++i) {
        const philox rng{.seed = 3, .stream = i};
        for (std::uint64_t j = 0; j < k_letters; ++j) {
            const std::uint32_t bits = rng.bits(j);
            all[i] += (bits >> 2) % 400 == 0 ? 'N' : "ACGT"[bits % 4];
        }
    }
    return all;
}

void kmer_encode(gpu::run& r, int k) {
    const index_t n = gpu::sized(k_barcodes, 20), n_distinct = gpu::sized(4096, 10);
    const tokenize::kmer tokenizer{{.k = k}};
    const auto barcodes = random_barcodes(n_distinct);
    tensor<char, 1> letters({n * k_letters});
    tensor<index_t, 1> begins({n + 1});
    for (index_t i = 0; i < n; ++i) {
        std::copy_n(barcodes[static_cast<std::size_t>(i % n_distinct)].data(), k_letters, letters.data() + i * k_letters);
        begins(i + 1) = (i + 1) * k_letters;
    }
    tensor<char, 1, device_memory> letters_there({n * k_letters});
    tensor<index_t, 1, device_memory> begins_there({n + 1});
    r.ctx.upload(letters_there.view(), std::as_const(letters).view());
    r.ctx.upload(begins_there.view(), std::as_const(begins).view());
    gpu::both<std::int32_t, 2> ids(r.ctx, {n, tokenizer.seq_len()}, 0);
    gpu::both<std::uint8_t, 2> mask(r.ctx, {n, tokenizer.seq_len()}, 0);
    const auto work = [&] { tokenizer.encode_into(r.ctx, letters_there, begins_there, {}, ids.device.view(), mask.device.view()); };
    work();
    cpu_context cpu;
    const auto expected = tokenizer.encode(cpu, barcodes);
    const auto found_ids = ids.fetch();
    const auto found_mask = mask.fetch();
    if (!r.check_equal(found_ids.view().rows(0, n_distinct), expected.ids.view()) || !r.check_equal(found_mask.view().rows(0, n_distinct), expected.mask.view())) return;
    r.time(work, {.bytes = static_cast<double>(n) * static_cast<double>(k_letters + 5 * tokenizer.seq_len()), .samples = static_cast<double>(n)});
}

const bool registered = [] {
    for (const int k : {4, 8}) gpu::add("kmer_encode", gpu::slashed(k, k_barcodes), gpu::k_fp32_only, [k]<class T>(gpu::run& r) { kmer_encode(r, k); });
    return true;
}();

}  // namespace
