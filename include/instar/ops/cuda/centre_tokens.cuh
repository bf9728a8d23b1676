#ifndef INSTAR_OPS_CUDA_CENTRE_TOKENS_CUH
#define INSTAR_OPS_CUDA_CENTRE_TOKENS_CUH

// Centred tokens on a GPU: sixteen bytes a thread.
//
//     ops::centre_tokens_forward(ctx, y, x, centre, mask);

#include "instar/cuda/launch.cuh"
#include "instar/cuda/vector.cuh"
#include "instar/ops/centre_tokens.hpp"

namespace instar::ops {

namespace cuda {

/// to = from − centre where the mask is set, else 0. centre: empty for none.
template <class T, int W>
__global__ void centre_tokens_kernel(tensor_view<T, 3> to, tensor_view<const T, 3> from, tensor_view<const T, 2> centre, tensor_view<const std::uint8_t, 2> mask) {
    const index_t seq_len = to.extent(1), packs = to.extent(2) / W, i = grid_thread();
    if (i >= to.extent(0) * seq_len * packs) return;
    const index_t c = i % packs * W, t = i / packs % seq_len, b = i / packs / seq_len;
    float v[W] = {};
    if (mask.data() == nullptr || mask.data()[b * mask.stride(0) + t * mask.stride(1)] != 0) {
        load<W>(v, from.data() + b * from.stride(0) + t * from.stride(1) + c);
        if (centre.data() != nullptr) {
            float middle[W];
            load<W>(middle, centre.data() + t * centre.stride(0) + c);
            INSTAR_UNROLL
            for (int j = 0; j < W; ++j) v[j] -= middle[j];
        }
    }
    store<W>(to.data() + b * to.stride(0) + t * to.stride(1) + c, v);
}

template <class T>
void centre_tokens(cuda_context& ctx, const char* op, const tensor_view<T, 3>& to, const tensor_view<const T, 3>& from, const tensor_view<const T, 2>& centre,
                   const tensor_view<const std::uint8_t, 2>& mask) {
    if (to.empty()) return;
    const tensor_view<const std::uint8_t, 2> kept = mask.empty() ? tensor_view<const std::uint8_t, 2>{} : mask;
    const auto run = [&]<int W>(std::integral_constant<int, W>) {
        launch(ctx, op, centre_tokens_kernel<T, W>, {blocks_for(to.size() / W, k_flat_threads)}, {k_flat_threads}, 0, to, from, centre, kept);
    };
    with_pack<T>(packable(to, from) && (centre.data() == nullptr || packable(centre)), run);
}

}  // namespace cuda

template <class T>
void centre_tokens_forward(cuda_context& ctx, tensor_view<T, 3> y, in_view<T, 3> x, in_view<T, 2> centre, tensor_view<const std::uint8_t, 2> mask) {
    static constexpr const char* k_op = "centre_tokens_forward";
    detail::check_centre_tokens<T>(k_op, "y", y, "x", x, &centre, mask);
    cuda::centre_tokens<T>(ctx, k_op, y, x, centre, mask);
}

template <class T>
void centre_tokens_backward(cuda_context& ctx, tensor_view<T, 3> dx, in_view<T, 3> dy, tensor_view<const std::uint8_t, 2> mask) {
    static constexpr const char* k_op = "centre_tokens_backward";
    detail::check_centre_tokens<T>(k_op, "dx", dx, "dy", dy, nullptr, mask);
    cuda::centre_tokens<T>(ctx, k_op, dx, dy, {}, mask);
}

}  // namespace instar::ops

#endif
