#ifndef INSTAR_TOKENIZE_CUDA_KMER_CUH
#define INSTAR_TOKENIZE_CUDA_KMER_CUH

// The k-mer tokenizer on a GPU: a warp a barcode, a lane a token. A word is k byte loads and a few integer operations, next to five
// bytes written: the lanes of a warp read neighbouring words, so memory sees each line once, and the kernel is bound by what it
// writes. Letters need no alignment.

#include <algorithm>
#include <string>
#include <vector>

#include "instar/cuda/launch.cuh"
#include "instar/tokenize/kmer.hpp"

namespace instar::tokenize {

namespace cuda {

inline constexpr int k_kmer_warps = 8;  ///< barcodes of a block

template <class Id>
__global__ void kmer_encode_kernel(tensor_view<Id, 2> ids, tensor_view<std::uint8_t, 2> mask, const char* letters,
                                   const index_t* begins, const std::int32_t* offsets, detail::kmer_words words,
                                   index_t max_length) {
    const index_t i = instar::cuda::block_x() * k_kmer_warps + instar::cuda::warp_id();
    if (i >= ids.extent(0)) return;
    const index_t size = begins[i + 1] - begins[i], offset = offsets != nullptr ? offsets[i] : 0;
    const index_t skip = offset < 0 ? 0 : offset < size ? offset : size;
    const index_t length = size - skip < max_length ? size - skip : max_length, n_attended = length / words.k;
    const char* const text = letters + begins[i] + skip;
    for (index_t t = instar::cuda::lane_id(); t < ids.extent(1); t += instar::cuda::k_warp_size) {
        const bool attended = t < n_attended;
        const index_t begin = t * words.k < length ? t * words.k : length;
        // With N in the vocabulary padding is a word of N, and a word that the end cuts is padded.
        ids.data()[i * ids.stride(0) + t] = attended || words.tokenize_n
                                                ? static_cast<Id>(words.id(text + begin, length - begin))
                                                : Id{detail::kmer_words::k_unknown};
        mask.data()[i * mask.stride(0) + t] = attended ? 1 : 0;
    }
}

}  // namespace cuda

template <class Id>
void kmer::encode_into(cuda_context& ctx, in_view<char, 1> letters, in_view<index_t, 1> begins,
                       in_view<std::int32_t, 1> offsets, out_view<Id, 2> ids, out_view<std::uint8_t, 2> mask) const {
    const char* const op = "kmer::encode_into";
    const index_t n = ids.extent(0);
    instar::detail::check_shape(op, "ids", ids, {n, seq_len()});
    instar::detail::check_shape(op, "mask", mask, {n, seq_len()});
    instar::detail::check_shape(op, "begins", begins, {n + 1});
    if (offsets.extent(0) != 0) instar::detail::check_shape(op, "offsets", offsets, {n});
    instar::detail::check_unit_stride(op, "ids", ids);
    instar::detail::check_unit_stride(op, "mask", mask);
    instar::detail::check_contiguous(op, "letters", letters);
    instar::detail::check_contiguous(op, "begins", begins);
    instar::detail::check_contiguous(op, "offsets", offsets);
    instar::cuda::launch(ctx, op, cuda::kmer_encode_kernel<Id>, {instar::cuda::blocks_for(n, cuda::k_kmer_warps)},
                         {cuda::k_kmer_warps * instar::cuda::k_warp_size}, 0, ids, mask, letters.data(), begins.data(),
                         offsets.extent(0) != 0 ? offsets.data() : nullptr, words(), options_.max_length);
}

template <class Context, class Text>
basic_encoded_batch<typename Context::memory> kmer::encode_on_device(Context& ctx, std::span<const Text> sequences,
                                                                     const kmer_encode_options& options) const {
    if (options.max_length != 0 && options.max_length != options_.max_length) {
        kmer_options changed = options_;
        changed.max_length = options.max_length;
        return kmer(changed).encode_on_device(ctx, sequences, {.offsets = options.offsets});
    }
    const char* const op = "kmer::encode";
    check_offsets(options.offsets, sequences.size());
    const auto n = static_cast<index_t>(sequences.size());
    // Letters that no token sees, offsets among them, stay here.
    std::vector<index_t> begins(1, 0);
    std::string letters;
    for (std::size_t i = 0; i < sequences.size(); ++i) {
        const std::string_view s = sequences[i];
        const std::size_t skip = options.offsets.empty() ? 0 : static_cast<std::size_t>(options.offsets[i]);
        letters.append(s.substr(std::min(skip, s.size()), static_cast<std::size_t>(options_.max_length)));
        begins.push_back(static_cast<index_t>(letters.size()));
    }
    const auto n_letters = static_cast<index_t>(letters.size());
    const instar::cuda::scratch<char> device_letters(ctx, n_letters, op);
    const instar::cuda::scratch<index_t> device_begins(ctx, n + 1, op);
    const tensor_view<char, 1> letters_view(device_letters.data(), {n_letters});
    const tensor_view<index_t, 1> begins_view(device_begins.data(), {n + 1});
    ctx.upload(letters_view, tensor_view<const char, 1>(letters.data(), {n_letters}));
    ctx.upload(begins_view, tensor_view<const index_t, 1>(begins.data(), {n + 1}));
    basic_encoded_batch<typename Context::memory> batch{
        tensor<std::int32_t, 2, typename Context::memory>({n, seq_len()}),
        tensor<std::uint8_t, 2, typename Context::memory>({n, seq_len()})};
    encode_into<std::int32_t>(ctx, letters_view, begins_view, {}, batch.ids, batch.mask);
    return batch;
}

template <std::same_as<cuda_context> Context>
basic_encoded_batch<typename Context::memory> kmer::encode(Context& ctx, std::span<const std::string_view> sequences,
                                                           kmer_encode_options options) const {
    return encode_on_device(ctx, sequences, options);
}
template <std::same_as<cuda_context> Context>
basic_encoded_batch<typename Context::memory> kmer::encode(Context& ctx, std::span<const std::string> sequences,
                                                           kmer_encode_options options) const {
    return encode_on_device(ctx, sequences, options);
}

}  // namespace instar::tokenize

#endif
