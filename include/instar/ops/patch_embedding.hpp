#ifndef INSTAR_OPS_PATCH_EMBEDDING_HPP
#define INSTAR_OPS_PATCH_EMBEDDING_HPP

// From images to the token sequence of a vision transformer, around the linear map between the two:
//
//     ops::extract_patches(ctx, rows, images, 16);                         // [n, 3, 224, 224] → [n · 196, 768]
//     ops::linear_forward(ctx, patches, rows, weight, bias);               // weight [d, 3 · 16 · 16], as Conv2d stores it
//     ops::prepend_class_token(ctx, tokens, patches, cls, position);       // [n, 197, d]
//
// A convolution whose stride is its kernel is exactly this product. Dosovitskiy et al. 2021 (arXiv:2010.11929).

#include "instar/core/tensor_view.hpp"

namespace instar {
class cpu_context;
class cuda_context;
}  // namespace instar

namespace instar::ops {

/// y[(b·gh + i)·gw + j, (c·P + r)·P + s] = x[b, c, i·P + r, j·P + s],   gh = height / P, gw = width / P
///
/// | argument | shape                                   | element |
/// |----------|-----------------------------------------|---------|
/// | x        | [n_batch, n_channels, height, width]     | T       |
/// | y        | [n_batch · gh · gw, n_channels · P · P]  | T       |
///
/// A copy: exact. Cost: 2·x.size()·sizeof(T) bytes. Throws shape_error when height or width is not a multiple of P.
template <class T>
void extract_patches(cpu_context& ctx, tensor_view<T, 2> y, in_view<T, 4> x, index_t patch_size);
template <class T>
void extract_patches(cuda_context& ctx, tensor_view<T, 2> y, in_view<T, 4> x, index_t patch_size);

/// The inverse: dx from dy, overwritten.
template <class T>
void extract_patches_backward(cpu_context& ctx, tensor_view<T, 4> dx, in_view<T, 2> dy, index_t patch_size);
template <class T>
void extract_patches_backward(cuda_context& ctx, tensor_view<T, 4> dx, in_view<T, 2> dy, index_t patch_size);

/// y[b, 0] = class_token + position[0];   y[b, 1 + i] = patches[b·n_patches + i] + position[1 + i]
///
/// | argument    | shape                            | element |
/// |-------------|----------------------------------|---------|
/// | y           | [n_batch, 1 + n_patches, d]      | T       |
/// | patches     | [n_batch · n_patches, d]         | T       |
/// | class_token | [d], or empty: no class token, and n_patches tokens | T |
/// | position    | [tokens, d]                      | T       |
template <class T>
void prepend_class_token(cpu_context& ctx, tensor_view<T, 3> y, in_view<T, 2> patches, in_view<T, 1> class_token, in_view<T, 2> position);
template <class T>
void prepend_class_token(cuda_context& ctx, tensor_view<T, 3> y, in_view<T, 2> patches, in_view<T, 1> class_token, in_view<T, 2> position);

/// d_patches is overwritten; d_class_token (may be empty, as class_token) and d_position accumulate, samples added in order,
/// those of bf16 on the CPU in float and rounded once.
template <class T>
void prepend_class_token_backward(cpu_context& ctx, tensor_view<T, 2> d_patches, tensor_view<T, 1> d_class_token, tensor_view<T, 2> d_position,
                                  in_view<T, 3> dy);
template <class T>
void prepend_class_token_backward(cuda_context& ctx, tensor_view<T, 2> d_patches, tensor_view<T, 1> d_class_token, tensor_view<T, 2> d_position,
                                  in_view<T, 3> dy);

namespace detail {

/// The grid of patches, after the shapes have been compared.
struct patch_grid {
    index_t n_batch, n_channels, height, width, patch;
    index_t rows() const { return height / patch; }
    index_t columns() const { return width / patch; }
};

template <class T, class U>
patch_grid check_patches(const char* op, const tensor_view<T, 4>& image, const tensor_view<U, 2>& patches, index_t patch) {
    const patch_grid g{image.extent(0), image.extent(1), image.extent(2), image.extent(3), patch};
    if (patch < 1 || g.height % patch != 0 || g.width % patch != 0) {
        throw shape_error(std::string(op) + ": an image of " + std::to_string(g.height) + " × " + std::to_string(g.width) + " is not a whole number of patches of " +
                          std::to_string(patch));
    }
    instar::detail::check_shape(op, "patches", patches, {g.n_batch * g.rows() * g.columns(), g.n_channels * patch * patch});
    instar::detail::check_unit_stride(op, "patches", patches);
    instar::detail::check_unit_stride(op, "image", image);
    return g;
}

template <class A, class B, class C, class D>
void check_tokens(const char* op, const tensor_view<A, 3>& tokens, const tensor_view<B, 2>& patches, const tensor_view<C, 1>& class_token,
                  const tensor_view<D, 2>& position) {
    const index_t n_batch = tokens.extent(0), n_tokens = tokens.extent(1), d = tokens.extent(2), first = class_token.empty() ? 0 : 1;
    instar::detail::check_shape(op, "patches", patches, {n_batch * (n_tokens - first), d});
    if (first == 1) instar::detail::check_shape(op, "class_token", class_token, {d});
    instar::detail::check_shape(op, "position", position, {n_tokens, d});
    instar::detail::check_unit_stride(op, "tokens", tokens);
    instar::detail::check_unit_stride(op, "patches", patches);
    instar::detail::check_unit_stride(op, "position", position);
}

}  // namespace detail

}  // namespace instar::ops

#if !defined(INSTAR_COMPILED)
#if !defined(__CUDACC__)
#include "instar/ops/cpu/patch_embedding.hpp"
#endif
#if defined(__CUDACC__) || defined(INSTAR_CUDA_EMULATED)
#include "instar/ops/cuda/patch_embedding.cuh"
#endif
#endif

#endif
