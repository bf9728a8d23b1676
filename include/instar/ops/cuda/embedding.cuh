#ifndef INSTAR_OPS_CUDA_EMBEDDING_CUH
#define INSTAR_OPS_CUDA_EMBEDDING_CUH

// Embedding look-up on a GPU, and its gradient without atomics: of all places with the same id, the block of the first one
// adds the rows of all, in their order.
//
//     ops::embedding_forward(ctx, y, ids, word, position, type_row);
//
// Ids cannot be checked before a kernel runs: a place whose id is outside the vocabulary gives NaN, and no gradient.

#include "instar/cuda/column_sums.cuh"
#include "instar/cuda/launch.cuh"
#include "instar/cuda/vector.cuh"
#include "instar/ops/embedding.hpp"

namespace instar::ops {

namespace cuda {

inline constexpr int k_embedding_warps = 4;

/// A warp a place.
template <class T, int W>
__global__ void embedding_forward_kernel(tensor_view<T, 3> y, tensor_view<const std::int32_t, 2> ids, tensor_view<const T, 2> word,
                                         tensor_view<const T, 2> position, const T* type_row) {
    const index_t place = block_x() * k_embedding_warps + warp_id();
    const index_t seq_len = y.extent(1), d = y.extent(2);
    if (place >= y.extent(0) * seq_len) return;
    const index_t b = place / seq_len, t = place % seq_len;
    const index_t id = ids(b, t);
    const bool exists = id >= 0 && id < word.extent(0);
    T* const to = y.data() + b * y.stride(0) + t * y.stride(1);
    float v[W], other[W];
    for (index_t j = lane_id() * W; j < d; j += k_warp_size * W) {
        if (exists) {
            load<W>(v, word.data() + id * word.stride(0) + j);
        } else {
            INSTAR_UNROLL
            for (int i = 0; i < W; ++i) v[i] = NAN;
        }
        if (position.data() != nullptr) {
            load<W>(other, position.data() + t * position.stride(0) + j);
            INSTAR_UNROLL
            for (int i = 0; i < W; ++i) v[i] += other[i];
        }
        if (type_row != nullptr) {
            load<W>(other, type_row + j);
            INSTAR_UNROLL
            for (int i = 0; i < W; ++i) v[i] += other[i];
        }
        store<W>(to + j, v);
    }
}

/// A warp a place and 32 columns: looks for the same id before (then that place's warp does the work), adds the rows of the
/// same id from here on. Ids are compared 32 at a time.
template <class T>
__global__ void embedding_word_gradient_kernel(tensor_view<T, 2> dword, tensor_view<const T, 3> dy, tensor_view<const std::int32_t, 2> ids,
                                               std::int32_t padding_idx) {
    const index_t seq_len = ids.extent(1), n_places = ids.extent(0) * seq_len;
    const index_t place = block_x() * k_embedding_warps + warp_id();
    if (place >= n_places) return;
    const auto id_at = [&](index_t p) { return ids(p / seq_len, p % seq_len); };
    const std::int32_t id = id_at(place);
    if (id == padding_idx || id < 0 || id >= dword.extent(0)) return;
    for (index_t begin = 0; begin < place; begin += k_warp_size) {
        const index_t p = begin + lane_id();
        if (__any_sync(k_full_warp, p < place && id_at(p) == id)) return;
    }
    const index_t column = block_y() * k_warp_size + lane_id();
    const bool inside = column < dword.extent(1);
    float sum = 0.0f;
    for (index_t begin = place; begin < n_places; begin += k_warp_size) {
        const index_t p = begin + lane_id();
        unsigned same = __ballot_sync(k_full_warp, p < n_places && id_at(p) == id);
        while (same != 0) {
            const index_t from = begin + __ffs(static_cast<int>(same)) - 1;
            same &= same - 1;
            if (inside) sum += to_float(dy.data()[from / seq_len * dy.stride(0) + from % seq_len * dy.stride(1) + column]);
        }
    }
    if (inside) {
        T& to = dword.data()[id * dword.stride(0) + column];
        to = from_float<T>(to_float(to) + sum);
    }
}

/// dposition[t] += Σ_b dy[b, t], a thread an element.
template <class T>
__global__ void embedding_position_gradient_kernel(tensor_view<T, 2> dposition, tensor_view<const T, 3> dy) {
    const index_t i = grid_thread(), seq_len = dy.extent(1), d = dy.extent(2);
    if (i >= seq_len * d) return;
    const index_t t = i / d, c = i % d;
    float sum = 0.0f;
    for (index_t b = 0; b < dy.extent(0); ++b) sum += to_float(dy.data()[b * dy.stride(0) + t * dy.stride(1) + c]);
    T& to = dposition.data()[t * dposition.stride(0) + c];
    to = from_float<T>(to_float(to) + sum);
}

/// Σ_t dy[b, t] for each sample: the first half of dtype_row's sum when samples are not adjacent.
template <class T>
__global__ void embedding_sample_sums_kernel(float* sums, tensor_view<const T, 3> dy) {
    const index_t i = grid_thread(), d = dy.extent(2);
    if (i >= dy.extent(0) * d) return;
    const index_t b = i / d, c = i % d;
    float sum = 0.0f;
    for (index_t t = 0; t < dy.extent(1); ++t) sum += to_float(dy.data()[b * dy.stride(0) + t * dy.stride(1) + c]);
    sums[i] = sum;
}

template <class T>
void check_position(const char* op, const char* argument, const tensor_view<T, 2>& position, index_t seq_len, index_t d) {
    if (position.extent(0) < seq_len || position.extent(1) != d) {
        throw shape_error(std::string(op) + ": " + argument + " has shape " + shape_string(position) + ", expected [>= " +
                          std::to_string(seq_len) + ", " + std::to_string(d) + "]");
    }
}

}  // namespace cuda

template <class T>
void embedding_forward(cuda_context& ctx, tensor_view<T, 3> y, tensor_view<const std::int32_t, 2> ids, in_view<T, 2> word,
                       in_view<T, 2> position, in_view<T, 1> type_row) {
    static constexpr const char* k_op = "embedding_forward";
    const index_t n_batch = y.extent(0), seq_len = y.extent(1), d = y.extent(2), n_vocab = word.extent(0);
    const bool with_position = !position.empty(), with_type = !type_row.empty();
    instar::detail::check_shape(k_op, "ids", ids, {n_batch, seq_len});
    instar::detail::check_shape(k_op, "word", word, {n_vocab, d});
    if (with_position) cuda::check_position(k_op, "position", position, seq_len, d);
    if (with_type) instar::detail::check_shape(k_op, "type_row", type_row, {d});
    instar::detail::check_unit_stride(k_op, "y", y);
    instar::detail::check_unit_stride(k_op, "word", word);
    instar::detail::check_unit_stride(k_op, "position", position);
    instar::detail::check_unit_stride(k_op, "type_row", type_row);
    const bool wide = cuda::packable(y, word) && (!with_position || cuda::packable(position)) && (!with_type || cuda::packable(type_row));
    const auto run = [&]<int W>(std::integral_constant<int, W>) {
        cuda::launch(ctx, k_op, cuda::embedding_forward_kernel<T, W>, {cuda::blocks_for(n_batch * seq_len, cuda::k_embedding_warps)},
                     {cuda::k_embedding_warps * cuda::k_warp_size}, 0, y, ids, word, with_position ? position : tensor_view<const T, 2>{},
                     with_type ? type_row.data() : nullptr);
    };
    cuda::with_pack<T>(wide, run);
}

template <class T>
void embedding_backward(cuda_context& ctx, tensor_view<T, 2> dword, out_view<T, 2> dposition, out_view<T, 1> dtype_row, in_view<T, 3> dy,
                        tensor_view<const std::int32_t, 2> ids, embedding_options options) {
    static constexpr const char* k_op = "embedding_backward";
    const index_t n_batch = dy.extent(0), seq_len = dy.extent(1), d = dy.extent(2), n_vocab = dword.extent(0);
    const bool with_position = !dposition.empty(), with_type = !dtype_row.empty();
    instar::detail::check_shape(k_op, "dword", dword, {n_vocab, d});
    if (with_position) cuda::check_position(k_op, "dposition", dposition, seq_len, d);
    if (with_type) instar::detail::check_shape(k_op, "dtype_row", dtype_row, {d});
    instar::detail::check_shape(k_op, "ids", ids, {n_batch, seq_len});
    instar::detail::check_unit_stride(k_op, "dword", dword);
    instar::detail::check_unit_stride(k_op, "dposition", dposition);
    instar::detail::check_unit_stride(k_op, "dtype_row", dtype_row);
    instar::detail::check_unit_stride(k_op, "dy", dy);
    if (dy.empty()) return;
    const unsigned strips = cuda::blocks_for(d, cuda::k_warp_size);
    cuda::launch(ctx, k_op, cuda::embedding_word_gradient_kernel<T>, {cuda::blocks_for(n_batch * seq_len, cuda::k_embedding_warps), strips},
                 {cuda::k_embedding_warps * cuda::k_warp_size}, 0, dword, dy, ids, options.padding_idx);
    if (with_position) {
        cuda::launch(ctx, k_op, cuda::embedding_position_gradient_kernel<T>, {cuda::blocks_for(seq_len * d, 256)}, {256}, 0, dposition, dy);
    }
    if (!with_type) return;
    if (dy.stride(0) == seq_len * dy.stride(1) || n_batch == 1) {
        const index_t strides[2] = {dy.stride(1), 1};
        cuda::add_column_sums(ctx, k_op, dtype_row, tensor_view<const T, 2>(dy.data(), {n_batch * seq_len, d}, strides));
    } else {
        const cuda::scratch<float> sums(ctx, n_batch * d, k_op);
        cuda::launch(ctx, k_op, cuda::embedding_sample_sums_kernel<T>, {cuda::blocks_for(n_batch * d, 256)}, {256}, 0, sums.data(), dy);
        cuda::add_column_sums(ctx, k_op, dtype_row, tensor_view<const float, 2>(sums.data(), {n_batch, d}));
    }
}

}  // namespace instar::ops

#endif
