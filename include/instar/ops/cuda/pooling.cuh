#ifndef INSTAR_OPS_CUDA_POOLING_CUH
#define INSTAR_OPS_CUDA_POOLING_CUH

// Pooling over a sequence on a GPU: a thread an element of the result, positions added in order.
//
//     ops::sequence_pool_forward(ctx, y, x, mask, ops::pooling::masked_mean);

#include "instar/cuda/launch.cuh"
#include "instar/ops/pooling.hpp"

namespace instar::ops {

namespace cuda {

/// Which positions of a sample count: all, those with mask ≠ 0, or the first.
struct pooled_positions {
    tensor_view<const std::uint8_t, 2> mask;  ///< empty: all count
    bool first_only = false;

    __device__ bool counts(index_t b, index_t t) const {
        return first_only ? t == 0 : mask.data() == nullptr || mask.data()[b * mask.stride(0) + t * mask.stride(1)] != 0;
    }
};

template <class T>
__global__ void sequence_pool_forward_kernel(tensor_view<T, 2> y, tensor_view<const T, 3> x, pooled_positions positions) {
    const index_t i = grid_thread(), d = y.extent(1);
    if (i >= y.size()) return;
    const index_t b = i / d, c = i % d;
    float sum = 0.0f;
    index_t n = 0;
    for (index_t t = 0; t < x.extent(1); ++t) {
        if (!positions.counts(b, t)) continue;
        sum += to_float(x.data()[b * x.stride(0) + t * x.stride(1) + c]);
        ++n;
    }
    y.data()[b * y.stride(0) + c] = from_float<T>(n > 0 ? sum / static_cast<float>(n) : 0.0f);
}

template <class T>
__global__ void sequence_pool_backward_kernel(tensor_view<T, 3> dx, tensor_view<const T, 2> dy, pooled_positions positions) {
    const index_t i = grid_thread(), d = dx.extent(2);
    if (i >= dx.extent(0) * d) return;
    const index_t b = i / d, c = i % d;
    index_t n = 0;
    for (index_t t = 0; t < dx.extent(1); ++t) n += positions.counts(b, t) ? 1 : 0;
    const float share = n > 0 ? to_float(dy.data()[b * dy.stride(0) + c]) / static_cast<float>(n) : 0.0f;
    for (index_t t = 0; t < dx.extent(1); ++t) {
        dx.data()[b * dx.stride(0) + t * dx.stride(1) + c] = from_float<T>(positions.counts(b, t) ? share : 0.0f);
    }
}

inline pooled_positions positions_of(const char* op, tensor_view<const std::uint8_t, 2> mask, pooling kind, index_t n_batch, index_t seq_len) {
    if (!mask.empty()) instar::detail::check_shape(op, "mask", mask, {n_batch, seq_len});
    const bool masked = kind == pooling::masked_mean && !mask.empty();
    return {masked ? mask : tensor_view<const std::uint8_t, 2>{}, kind == pooling::first};
}

}  // namespace cuda

template <class T>
void sequence_pool_forward(cuda_context& ctx, tensor_view<T, 2> y, in_view<T, 3> x, tensor_view<const std::uint8_t, 2> mask, pooling kind) {
    static constexpr const char* k_op = "sequence_pool_forward";
    const index_t n_batch = x.extent(0), seq_len = x.extent(1), d = x.extent(2);
    instar::detail::check_shape(k_op, "y", y, {n_batch, d});
    instar::detail::check_unit_stride(k_op, "y", y);
    instar::detail::check_unit_stride(k_op, "x", x);
    const auto positions = cuda::positions_of(k_op, mask, kind, n_batch, seq_len);
    cuda::launch(ctx, k_op, cuda::sequence_pool_forward_kernel<T>, {cuda::blocks_for(n_batch * d, 128)}, {128}, 0, y, x, positions);
}

template <class T>
void sequence_pool_backward(cuda_context& ctx, tensor_view<T, 3> dx, in_view<T, 2> dy, tensor_view<const std::uint8_t, 2> mask, pooling kind) {
    static constexpr const char* k_op = "sequence_pool_backward";
    const index_t n_batch = dx.extent(0), seq_len = dx.extent(1), d = dx.extent(2);
    instar::detail::check_shape(k_op, "dy", dy, {n_batch, d});
    instar::detail::check_unit_stride(k_op, "dx", dx);
    instar::detail::check_unit_stride(k_op, "dy", dy);
    const auto positions = cuda::positions_of(k_op, mask, kind, n_batch, seq_len);
    cuda::launch(ctx, k_op, cuda::sequence_pool_backward_kernel<T>, {cuda::blocks_for(n_batch * d, 128)}, {128}, 0, dx, dy, positions);
}

}  // namespace instar::ops

#endif
