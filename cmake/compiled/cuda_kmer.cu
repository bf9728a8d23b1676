// Instantiates the k-mer tokenizer of cuda_context in instar::compiled.

#include "instar/tokenize/kmer.hpp"

namespace instar::tokenize {

template basic_encoded_batch<device_memory> kmer::encode<cuda_context>(cuda_context&, std::span<const std::string_view>,
                                                                       kmer_encode_options) const;
template basic_encoded_batch<device_memory> kmer::encode<cuda_context>(cuda_context&, std::span<const std::string>,
                                                                       kmer_encode_options) const;
template void kmer::encode_into<std::int32_t>(cuda_context&, in_view<char, 1>, in_view<index_t, 1>,
                                              in_view<std::int32_t, 1>, out_view<std::int32_t, 2>,
                                              out_view<std::uint8_t, 2>) const;

}  // namespace instar::tokenize
