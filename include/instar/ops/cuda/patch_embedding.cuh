#ifndef INSTAR_OPS_CUDA_PATCH_EMBEDDING_CUH
#define INSTAR_OPS_CUDA_PATCH_EMBEDDING_CUH

// Patches and tokens on a GPU: a thread an element of the patches or of a token, samples added in order.
//
//     ops::extract_patches(ctx, rows, images, 16);

#include "instar/cuda/launch.cuh"
#include "instar/ops/patch_embedding.hpp"

namespace instar::ops {

namespace cuda {

/// Offset in an image of element `column` of patch `row`: neighbouring threads read neighbouring pixels of a patch's line.
template <class View>
__device__ index_t pixel_offset(const View& image, index_t patch, index_t grid_rows, index_t grid_columns, index_t row, index_t column) {
    const index_t j = row % grid_columns, i = row / grid_columns % grid_rows, b = row / (grid_columns * grid_rows);
    const index_t s = column % patch, r = column / patch % patch, c = column / (patch * patch);
    return b * image.stride(0) + c * image.stride(1) + (i * patch + r) * image.stride(2) + j * patch + s;
}

template <class T>
__global__ void extract_patches_kernel(tensor_view<T, 2> y, tensor_view<const T, 4> x, index_t patch, index_t grid_rows, index_t grid_columns) {
    const index_t i = grid_thread(), width = y.extent(1);
    if (i >= y.size()) return;
    const index_t row = i / width, column = i % width;
    y.data()[row * y.stride(0) + column] = x.data()[pixel_offset(x, patch, grid_rows, grid_columns, row, column)];
}

template <class T>
__global__ void extract_patches_backward_kernel(tensor_view<T, 4> dx, tensor_view<const T, 2> dy, index_t patch, index_t grid_rows, index_t grid_columns) {
    const index_t i = grid_thread(), width = dy.extent(1);
    if (i >= dy.size()) return;
    const index_t row = i / width, column = i % width;
    dx.data()[pixel_offset(dx, patch, grid_rows, grid_columns, row, column)] = dy.data()[row * dy.stride(0) + column];
}

template <class T>
__global__ void prepend_class_token_kernel(tensor_view<T, 3> y, tensor_view<const T, 2> patches, tensor_view<const T, 1> class_token,
                                           tensor_view<const T, 2> position, index_t first) {
    const index_t i = grid_thread(), d = y.extent(2), n_tokens = y.extent(1);
    if (i >= y.size()) return;
    const index_t c = i % d, t = i / d % n_tokens, b = i / (d * n_tokens);
    const T token = t < first ? class_token.data()[c * class_token.stride(0)] : patches.data()[(b * (n_tokens - first) + t - first) * patches.stride(0) + c];
    y.data()[b * y.stride(0) + t * y.stride(1) + c] = from_float<T>(to_float(token) + to_float(position.data()[t * position.stride(0) + c]));
}

template <class T>
__global__ void prepend_class_token_backward_kernel(tensor_view<T, 2> d_patches, tensor_view<T, 1> d_class_token, tensor_view<T, 2> d_position,
                                                    tensor_view<const T, 3> dy, index_t first) {
    const index_t i = grid_thread(), d = dy.extent(2), n_tokens = dy.extent(1);
    if (i >= n_tokens * d) return;
    const index_t c = i % d, t = i / d;
    float sum = 0.0f;
    for (index_t b = 0; b < dy.extent(0); ++b) {
        const T g = dy.data()[b * dy.stride(0) + t * dy.stride(1) + c];
        sum += to_float(g);
        if (t >= first) d_patches.data()[(b * (n_tokens - first) + t - first) * d_patches.stride(0) + c] = g;
    }
    T& position = d_position.data()[t * d_position.stride(0) + c];
    position = from_float<T>(to_float(position) + sum);
    if (t < first) {
        T& token = d_class_token.data()[c * d_class_token.stride(0)];
        token = from_float<T>(to_float(token) + sum);
    }
}

}  // namespace cuda

template <class T>
void extract_patches(cuda_context& ctx, tensor_view<T, 2> y, in_view<T, 4> x, index_t patch_size) {
    static constexpr const char* k_op = "extract_patches";
    const auto g = detail::check_patches(k_op, x, y, patch_size);
    cuda::launch(ctx, k_op, cuda::extract_patches_kernel<T>, {cuda::blocks_for(y.size(), 256)}, {256}, 0, y, x, patch_size, g.rows(), g.columns());
}

template <class T>
void extract_patches_backward(cuda_context& ctx, tensor_view<T, 4> dx, in_view<T, 2> dy, index_t patch_size) {
    static constexpr const char* k_op = "extract_patches_backward";
    const auto g = detail::check_patches(k_op, dx, dy, patch_size);
    cuda::launch(ctx, k_op, cuda::extract_patches_backward_kernel<T>, {cuda::blocks_for(dy.size(), 256)}, {256}, 0, dx, dy, patch_size, g.rows(), g.columns());
}

template <class T>
void prepend_class_token(cuda_context& ctx, tensor_view<T, 3> y, in_view<T, 2> patches, in_view<T, 1> class_token, in_view<T, 2> position) {
    static constexpr const char* k_op = "prepend_class_token";
    detail::check_tokens(k_op, y, patches, class_token, position);
    const index_t first = class_token.empty() ? 0 : 1;
    cuda::launch(ctx, k_op, cuda::prepend_class_token_kernel<T>, {cuda::blocks_for(y.size(), 256)}, {256}, 0, y, patches, class_token, position, first);
}

template <class T>
void prepend_class_token_backward(cuda_context& ctx, tensor_view<T, 2> d_patches, tensor_view<T, 1> d_class_token, tensor_view<T, 2> d_position,
                                  in_view<T, 3> dy) {
    static constexpr const char* k_op = "prepend_class_token_backward";
    detail::check_tokens(k_op, dy, d_patches, d_class_token, d_position);
    const index_t first = d_class_token.empty() ? 0 : 1, n = dy.extent(1) * dy.extent(2);
    cuda::launch(ctx, k_op, cuda::prepend_class_token_backward_kernel<T>, {cuda::blocks_for(n, 128)}, {128}, 0, d_patches, d_class_token, d_position, dy, first);
}

}  // namespace instar::ops

#endif
