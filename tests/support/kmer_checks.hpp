#ifndef INSTAR_TESTS_SUPPORT_KMER_CHECKS_HPP
#define INSTAR_TESTS_SUPPORT_KMER_CHECKS_HPP

// The k-mer tokenizer on a device against the CPU's: in the emulator (tests/emulated/kmer.cpp) and on a real GPU (tests/gpu/kmer.cpp).
//
//     test::check_device_kmer(ctx, {.k = 5, .tokenize_n = true}, 40);

#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/cuda/cuda_context.hpp"
#include "instar/tokenize/kmer.hpp"
#include "support/compare.hpp"

namespace instar::test {

/// Barcodes of all lengths, mostly of plain bases; some empty, some with anything in them.
inline std::vector<std::string> random_barcodes(index_t n, std::uint32_t longest, std::uint64_t seed) {
    const philox rng{.seed = seed};
    std::vector<std::string> all(static_cast<std::size_t>(n));
    for (std::size_t i = 0; i < all.size(); ++i) {
        const philox own = rng.fork(i);
        const std::string letters = i % 4 == 3 ? "ACGTNacgRY-\xff" : i % 4 == 2 ? "ACGTN" : "ACGT";
        const std::uint32_t length = i % 7 == 5 ? 0 : own.below(0, longest + 1);
        for (std::uint32_t j = 0; j < length; ++j)
            all[i] += letters[own.below(j + 1, static_cast<std::uint32_t>(letters.size()))];
    }
    return all;
}

template <class T>
tensor<T, 2> fetched(cuda_context& ctx, const tensor<T, 2, device_memory>& from) {
    tensor<T, 2> to({from.extent(0), from.extent(1)});
    ctx.download(to.view(), from.view());
    return to;
}

inline void check_same_tokens(cuda_context& ctx, const tokenize::basic_encoded_batch<device_memory>& found,
                              const tokenize::encoded_batch& expected) {
    CHECK(found.ids.extent(1) == expected.ids.extent(1));
    CHECK(same_bits(fetched(ctx, found.ids).view(), expected.ids.view()));
    CHECK(same_bits(fetched(ctx, found.mask).view(), expected.mask.view()));
}

inline void check_device_kmer(cuda_context& ctx, const tokenize::kmer_options& options, index_t n) {
    CAPTURE(options.k);
    CAPTURE(options.max_length);
    CAPTURE(options.tokenize_n);
    cpu_context cpu;
    const tokenize::kmer tokenizer{options};
    const auto barcodes =
        random_barcodes(n, static_cast<std::uint32_t>(options.max_length) + 20, static_cast<std::uint64_t>(options.k));
    const std::vector<std::string_view> views(barcodes.begin(), barcodes.end());
    std::vector<int> offsets;
    for (index_t i = 0; i < n; ++i) offsets.push_back(static_cast<int>(i * 5 % 17));
    check_same_tokens(ctx, tokenizer.encode(ctx, barcodes), tokenizer.encode(cpu, barcodes));
    check_same_tokens(ctx, tokenizer.encode(ctx, views, {.max_length = options.k * 3 + 1, .offsets = offsets}),
                      tokenizer.encode(cpu, views, {.max_length = options.k * 3 + 1, .offsets = offsets}));

    // Letters, offsets and results on the device; results with gaps.
    std::string letters;
    std::vector<index_t> begins{0};
    for (const std::string& s : barcodes) {
        letters += s;
        begins.push_back(static_cast<index_t>(letters.size()));
    }
    const auto n_letters = static_cast<index_t>(letters.size());
    const index_t length = tokenizer.seq_len();
    tensor<char, 1, device_memory> on_device({n_letters});
    tensor<index_t, 1, device_memory> device_begins({n + 1});
    tensor<std::int32_t, 1, device_memory> device_offsets({n});
    ctx.upload(on_device.view(), tensor_view<const char, 1>(letters.data(), {n_letters}));
    ctx.upload(device_begins.view(), tensor_view<const index_t, 1>(begins.data(), {n + 1}));
    ctx.upload(device_offsets.view(), tensor_view<const std::int32_t, 1>(offsets.data(), {n}));
    tensor<std::int32_t, 2, device_memory> ids({n, length + 3});
    tensor<std::uint8_t, 2, device_memory> mask({n, length + 1});
    const tensor_view<std::int32_t, 2> ids_view(ids.data(), {n, length}, {length + 3, 1});
    const tensor_view<std::uint8_t, 2> mask_view(mask.data(), {n, length}, {length + 1, 1});
    tokenizer.encode_into(ctx, on_device, device_begins, device_offsets, ids_view, mask_view);
    const auto expected = tokenizer.encode(cpu, barcodes, {.offsets = offsets});
    tensor<std::int32_t, 2> found_ids({n, length});
    tensor<std::uint8_t, 2> found_mask({n, length});
    ctx.download(found_ids.view(), ids_view);
    ctx.download(found_mask.view(), mask_view);
    CHECK(same_bits(found_ids.view(), expected.ids.view()));
    CHECK(same_bits(found_mask.view(), expected.mask.view()));
    const tensor<std::int32_t, 2> all = fetched(ctx, ids);
    for (index_t i = 0; i < n; ++i) CHECK(all(i, length + 1) == 0);  // the gap
}

}  // namespace instar::test

#endif
