#ifndef INSTAR_OPS_CUDA_CONV2D_CUH
#define INSTAR_OPS_CUDA_CONV2D_CUH

// Convolution on a GPU: patches are unfolded into panels of bounded size, and a product of the panel with the weight by cuBLASLt does the
// arithmetic. A 1 × 1 convolution of stride 1 is a product of the pixels as they lie.
//
//     ops::conv2d_forward(ctx, y, x, weight, bias, shape, scratch);
//
// Why not cuDNN: it is one more library to find and to ship for a single operator, and the emulator could not run it, so that what is
// tested without a GPU would not be what runs on one; cuBLASLt is here already. The price is that patches, kernel² times the bytes of the
// pixels at stride 1, are written and read once.
//
// A patch's elements are ordered [r, s, c], so that sixteen bytes of a pixel's channels stay together; zeros follow up to a multiple of eight
// (the 147 elements of a 7 × 7 patch of three colours would else keep cuBLASLt from loads of sixteen bytes). Backward: dweight is the sum of the
// panels' products; dx is a gather ("fold"): a pixel adds the patches it was in, in a fixed order, without atomics.

#include <algorithm>

#include "instar/cuda/column_sums.cuh"
#include "instar/cuda/launch.cuh"
#include "instar/cuda/pixels.cuh"
#include "instar/cuda/vector.cuh"
#include "instar/ops/conv2d.hpp"
#include "instar/ops/cuda/linear.cuh"

namespace instar::ops {

namespace cuda {

/// Places of a scratch of conv2d_scratch(shape) elements: the panel's patches, then the weight and its gradient in the order of a patch, all in
/// rows of s.pitch() elements.
template <class T>
struct conv2d_room {
    index_t n_images;  ///< of a panel. The patches and their gradient take turns, so a panel has twice the images of a chunk.
    T *patches, *weight, *dweight;

    conv2d_room(const conv2d_shape& s, T* scratch)
        : n_images(std::min(2 * s.chunk(), s.n_batch)), patches(scratch), weight(scratch + 2 * s.chunk() * s.height_out() * s.width_out() * s.pitch()),
          dweight(weight + s.d_out * s.pitch()) {}
};

// --- the weight's order ------------------------------------------------------------------------------------------------------

/// weight [o, c, r, s] → rows [o] of [r, s, c], zeros up to the pitch.
template <class T>
__global__ void conv2d_permute_kernel(T* to, const T* weight, index_t n, index_t d_in, index_t area, index_t pitch) {
    const index_t i = grid_thread();
    if (i >= n) return;
    const index_t o = i / pitch, element = i - o * pitch, tap = element / d_in, c = element - tap * d_in;
    to[i] = tap < area ? weight[(o * d_in + c) * area + tap] : from_float<T>(0.0f);
}

/// dweight [o, c, r, s] += gradient, rows [o] of [r, s, c].
template <class T, class From>
__global__ void conv2d_add_gradient_kernel(T* dweight, const From* gradient, index_t n, index_t d_in, index_t area, index_t pitch) {
    const index_t i = grid_thread();
    if (i >= n) return;
    const index_t row = i / area, tap = i - row * area, o = row / d_in, c = row - o * d_in;
    dweight[i] = from_float<T>(to_float(dweight[i]) + to_float(gradient[o * pitch + tap * d_in + c]));
}

/// sum = part, or += part.
template <class T>
__global__ void conv2d_add_panel_kernel(float* sum, const T* part, index_t n, bool first) {
    const index_t i = grid_thread();
    if (i < n) sum[i] = (first ? 0.0f : sum[i]) + to_float(part[i]);
}

// --- patches -----------------------------------------------------------------------------------------------------------------

/// Consecutive patches of one thread: what it must divide to know where it is, it divides once for all of them.
inline constexpr int k_conv2d_patches = 8;

/// Rows [b, i, j] of patches [r, s, c], zeros outside the images and up to the pitch. Unit: what is moved at once, d of them a pixel.
template <class Unit>
__global__ void conv2d_unfold_kernel(Unit* patches, const Unit* images, conv2d_shape s, index_t d, index_t pitch, index_t n_patches, index_t height_out,
                                     index_t width_out) {
    const index_t thread = grid_thread(), group = thread / pitch, element = thread - group * pitch;
    index_t patch = group * k_conv2d_patches;
    if (patch >= n_patches) return;
    const index_t tap = element / d, c = element - tap * d;
    const bool exists = tap < s.kernel * s.kernel;
    const index_t row_in_patch = tap / s.kernel - s.padding, column_in_patch = tap % s.kernel - s.padding;
    const index_t line = patch / width_out;
    index_t b = line / height_out, i = line - b * height_out, j = patch - line * width_out;
    const index_t end = patch + k_conv2d_patches < n_patches ? patch + k_conv2d_patches : n_patches;
    for (; patch < end; ++patch) {
        const index_t row = i * s.stride + row_in_patch, column = j * s.stride + column_in_patch;
        Unit value{};
        if (exists && row >= 0 && row < s.height && column >= 0 && column < s.width) value = images[((b * s.height + row) * s.width + column) * d + c];
        patches[patch * pitch + element] = value;
        if (++j < width_out) continue;
        j = 0;
        if (++i < height_out) continue;
        i = 0;
        ++b;
    }
}

/// The transpose: a pixel adds the gradients of all patches it was in, W channels a thread.
template <class T, int W>
__global__ void conv2d_fold_kernel(T* images, const T* d_patches, conv2d_shape s, index_t pitch, index_t n_elements, index_t height_out, index_t width_out) {
    if (grid_thread() * W >= n_elements) return;
    const pixel_pack at(grid_thread(), s.height, s.width, s.d_in, W);
    const window_range rows(at.row, height_out, s.kernel, s.stride, s.padding), columns(at.column, width_out, s.kernel, s.stride, s.padding);
    float sum[W] = {}, g[W];
    for (index_t i = rows.begin; i < rows.end; ++i) {
        const index_t r = at.row + s.padding - i * s.stride;
        for (index_t j = columns.begin; j < columns.end; ++j) {
            const index_t q = at.column + s.padding - j * s.stride, patch = (at.image * height_out + i) * width_out + j;
            load<W>(g, d_patches + patch * pitch + (r * s.kernel + q) * s.d_in + at.channel);
            INSTAR_UNROLL
            for (int k = 0; k < W; ++k) sum[k] += g[k];
        }
    }
    store<W>(images + at.offset, sum);
}

/// Whether a pixel's channels are whole packs of sixteen bytes in both.
template <class T>
bool conv2d_packs(const T* images, const T* patches, const conv2d_shape& s) {
    return packable(tensor_view<const T, 2>(images, {1, s.d_in}), tensor_view<const T, 2>(patches, {1, s.d_in}));
}

template <class T>
void conv2d_unfold(cuda_context& ctx, const char* op, T* patches, const T* images, index_t n_images, const conv2d_shape& s) {
    const index_t height_out = s.height_out(), width_out = s.width_out(), n_patches = n_images * height_out * width_out;
    const auto run = [&]<class Unit>(Unit* to, const Unit* from, index_t in_unit) {
        const index_t pitch = s.pitch() / in_unit, threads = ceil_div(n_patches, k_conv2d_patches) * pitch;
        launch(ctx, op, conv2d_unfold_kernel<Unit>, {blocks_for(threads, 256)}, {256}, 0, to, from, s, s.d_in / in_unit, pitch, n_patches, height_out, width_out);
    };
    if (conv2d_packs<T>(images, patches, s)) run(reinterpret_cast<pack16*>(patches), reinterpret_cast<const pack16*>(images), k_pack<T>);
    else run(patches, images, 1);
}

template <class T>
void conv2d_fold(cuda_context& ctx, const char* op, T* images, const T* d_patches, index_t n_images, const conv2d_shape& s) {
    const index_t n = n_images * s.height * s.width * s.d_in;
    const auto run = [&]<int W>(std::integral_constant<int, W>) {
        launch(ctx, op, conv2d_fold_kernel<T, W>, flat_grid<W>(n), {k_flat_threads}, 0, images, d_patches, s, s.pitch(), n, s.height_out(), s.width_out());
    };
    with_pack<T>(conv2d_packs<T>(images, d_patches, s), run);
}

/// Weight into the order of a patch.
template <class T>
void conv2d_permute(cuda_context& ctx, const char* op, T* to, const T* weight, const conv2d_shape& s) {
    const index_t n = s.d_out * s.pitch();
    launch(ctx, op, conv2d_permute_kernel<T>, {blocks_for(n, 256)}, {256}, 0, to, weight, n, s.d_in, s.kernel * s.kernel, s.pitch());
}

// --- dweight -----------------------------------------------------------------------------------------------------------------

/// Adds up the panels' products dyᵀ · patches in float, whatever T is, and gives the sum to dweight.
template <class T>
class conv2d_weight_gradient {
public:
    conv2d_weight_gradient(cuda_context& ctx, const char* op, const conv2d_shape& s, const conv2d_room<T>& room)
        : ctx_(ctx), op_(op), s_(s), product_(room.dweight), apart_(!std::is_same_v<T, float> && room.n_images < s.n_batch),
          sum_(ctx, apart_ ? s.d_out * s.pitch() : 0, op) {}

    void add(const tensor_view<const T, 2>& dy, const tensor_view<const T, 2>& patches) {
        matmul<T>(ctx_, op_, tensor_view<T, 2>(product_, {s_.d_out, s_.pitch()}), dy, patches, {.transpose_a = true, .accumulate = !first_ && !apart_});
        if (apart_) each(s_.d_out * s_.pitch(), conv2d_add_panel_kernel<T>, sum_.data(), product_, s_.d_out * s_.pitch(), first_);
        first_ = false;
    }
    void finish(T* dweight) {
        const index_t n = s_.d_out * s_.depth(), area = s_.kernel * s_.kernel;
        if (apart_) each(n, conv2d_add_gradient_kernel<T, float>, dweight, sum_.data(), n, s_.d_in, area, s_.pitch());
        else each(n, conv2d_add_gradient_kernel<T, T>, dweight, product_, n, s_.d_in, area, s_.pitch());
    }

private:
    template <class... Parameters>
    void each(index_t n, void (*kernel)(Parameters...), std::type_identity_t<Parameters>... arguments) {
        launch(ctx_, op_, kernel, {blocks_for(n, 256)}, {256}, 0, arguments...);
    }

    cuda_context& ctx_;
    const char* op_;
    const conv2d_shape& s_;
    T* product_;
    bool apart_;  ///< products are rounded to bf16; their sum over many panels would be rounded each time
    scratch<float> sum_;
    bool first_ = true;
};

}  // namespace cuda

template <class T>
void conv2d_forward(cuda_context& ctx, tensor_view<T, 4> y, in_view<T, 4> x, in_view<T, 4> weight, in_view<T, 1> bias, const conv2d_shape& s,
                    tensor_view<T, 1> scratch) {
    static constexpr const char* k_op = "conv2d_forward";
    detail::check_conv2d_forward<T>(k_op, y, x, weight, bias, s, scratch.size());
    if (y.empty()) return;
    const index_t pixels = s.height_out() * s.width_out(), image = s.height * s.width * s.d_in;
    const auto product = [&](index_t first, index_t n, const T* patches, const T* w, index_t depth) {
        cuda::linear<T>(ctx, k_op, tensor_view<T, 2>(y.data() + first * pixels * s.d_out, {n * pixels, s.d_out}),
                        tensor_view<const T, 2>(patches, {n * pixels, depth}), tensor_view<const T, 2>(w, {s.d_out, depth}), bias);
    };
    if (s.pointwise()) return product(0, s.n_batch, x.data(), weight.data(), s.d_in);
    const cuda::conv2d_room<T> room(s, scratch.data());
    cuda::conv2d_permute<T>(ctx, k_op, room.weight, weight.data(), s);
    for (index_t b = 0; b < s.n_batch; b += room.n_images) {
        const index_t n = std::min(room.n_images, s.n_batch - b);
        cuda::conv2d_unfold<T>(ctx, k_op, room.patches, x.data() + b * image, n, s);
        product(b, n, room.patches, room.weight, s.pitch());
    }
}

template <class T>
void conv2d_backward(cuda_context& ctx, out_view<T, 4> dx, tensor_view<T, 4> dweight, out_view<T, 1> dbias, in_view<T, 4> dy, in_view<T, 4> x,
                     in_view<T, 4> weight, const conv2d_shape& s, tensor_view<T, 1> scratch) {
    static constexpr const char* k_op = "conv2d_backward";
    detail::check_conv2d_backward<T>(k_op, dx, dweight, dbias, dy, x, weight, s, scratch.size());
    const index_t pixels = s.height_out() * s.width_out(), image = s.height * s.width * s.d_in;
    const tensor_view<const T, 2> all_dy(dy.data(), {s.n_batch * pixels, s.d_out});
    if (!dbias.empty()) cuda::add_column_sums(ctx, k_op, dbias, all_dy);
    if (s.n_batch == 0 || s.d_in == 0) return;
    if (s.d_out == 0) {  // a sum over no outputs
        if (dx.data() != nullptr) fill<T>(ctx, tensor_view<T, 1>(dx.data(), {dx.size()}), T(0.0f));
        return;
    }
    if (s.pointwise()) {
        const tensor_view<const T, 2> w(weight.data(), {s.d_out, s.d_in});
        if (dx.data() != nullptr) cuda::matmul<T>(ctx, k_op, tensor_view<T, 2>(dx.data(), {s.n_batch * pixels, s.d_in}), all_dy, w, {});
        cuda::matmul<T>(ctx, k_op, tensor_view<T, 2>(dweight.data(), {s.d_out, s.d_in}), all_dy,
                        tensor_view<const T, 2>(x.data(), {s.n_batch * pixels, s.d_in}), {.transpose_a = true, .accumulate = true});
        return;
    }
    const cuda::conv2d_room<T> room(s, scratch.data());
    cuda::conv2d_weight_gradient<T> gradient(ctx, k_op, s, room);
    if (dx.data() != nullptr) cuda::conv2d_permute<T>(ctx, k_op, room.weight, weight.data(), s);
    for (index_t b = 0; b < s.n_batch; b += room.n_images) {
        const index_t n = std::min(room.n_images, s.n_batch - b);
        const tensor_view<const T, 2> dy_rows = all_dy.rows(b * pixels, (b + n) * pixels);
        const tensor_view<T, 2> patches(room.patches, {n * pixels, s.pitch()});
        cuda::conv2d_unfold<T>(ctx, k_op, room.patches, x.data() + b * image, n, s);
        gradient.add(dy_rows, patches);
        if (dx.data() == nullptr) continue;
        // The patches have served: their gradient takes their place.
        cuda::matmul<T>(ctx, k_op, patches, dy_rows, tensor_view<const T, 2>(room.weight, {s.d_out, s.pitch()}), {});
        cuda::conv2d_fold<T>(ctx, k_op, dx.data() + b * image, room.patches, n, s);
    }
    gradient.finish(dweight.data());
}

}  // namespace instar::ops

#endif
