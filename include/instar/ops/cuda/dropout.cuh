#ifndef INSTAR_OPS_CUDA_DROPOUT_CUH
#define INSTAR_OPS_CUDA_DROPOUT_CUH

// Dropout on a GPU: Philox drawn again in every pass, nothing stored. The same elements fall as on the CPU.
//
//     ops::residual_dropout_forward(ctx, y, residual, x, {.p = 0.1f, .rng = {seed, stream}});

#include "instar/cuda/launch.cuh"
#include "instar/cuda/vector.cuh"
#include "instar/ops/dropout.hpp"

namespace instar::ops {

namespace cuda {

/// What a kernel needs of dropout_options, computed once on the host.
struct dropout_draw {
    philox rng;
    std::uint32_t drop_below = 0;  ///< 0: nothing is dropped and nothing drawn
    float scale = 1.0f;
    index_t group = 1;

    dropout_draw(const char* op, const dropout_options& options) : rng(options.rng), drop_below(options.drop_below()), scale(options.scale()), group(options.group) {
        if (!(options.p >= 0.0f && options.p < 1.0f)) {
            throw value_error(std::string(op) + ": options.p must be in [0, 1), is " + std::to_string(options.p));
        }
        if (options.group < 1) throw value_error(std::string(op) + ": options.group must be at least 1, is " + std::to_string(options.group));
    }
};

/// y = residual + x · keep · scale. A null residual counts as zero.
template <class T, int W>
__global__ void dropout_kernel(T* y, const T* residual, const T* x, dropout_draw draw, index_t n) {
    const index_t i = flat_begin<W>();
    if (i >= n) return;
    float v[W];
    load<W>(v, x + i, n - i);
    if (draw.drop_below > 0) {
        if (draw.group > 1) {
            INSTAR_UNROLL
            for (int j = 0; j < W; ++j) v[j] = draw.rng.bits(static_cast<std::uint64_t>((i + j) / draw.group)) >= draw.drop_below ? __fmul_rn(v[j], draw.scale) : 0.0f;
        } else if constexpr (W == 1) {
            v[0] = draw.rng.bits(static_cast<std::uint64_t>(i)) >= draw.drop_below ? __fmul_rn(v[0], draw.scale) : 0.0f;
        } else {
            static_assert(W % 4 == 0, "four elements share a Philox block");
            INSTAR_UNROLL
            for (int b = 0; b < W; b += 4) {
                const auto bits = draw.rng.block(static_cast<std::uint64_t>((i + b) / 4));
                INSTAR_UNROLL
                for (int j = 0; j < 4; ++j) v[b + j] = bits.v[j] >= draw.drop_below ? __fmul_rn(v[b + j], draw.scale) : 0.0f;
            }
        }
    }
    if (residual != nullptr) {
        float r[W];
        load<W>(r, residual + i, n - i);
        // Not contracted to a fused multiply-add: the product is rounded, as on the CPU.
        INSTAR_UNROLL
        for (int j = 0; j < W; ++j) v[j] = __fadd_rn(r[j], v[j]);
    }
    store<W>(y + i, v, n - i);
}

template <class T>
void dropout(cuda_context& ctx, const char* op, const tensor_view<T, 1>& y, const tensor_view<const T, 1>& residual,
             const tensor_view<const T, 1>& x, const dropout_options& options) {
    const dropout_draw draw(op, options);
    const index_t n = y.extent(0);
    const auto run = [&]<int W>(std::integral_constant<int, W>) {
        launch(ctx, op, dropout_kernel<T, W>, flat_grid<W>(n), {k_flat_threads}, 0, y.data(), residual.data(), x.data(), draw, n);
    };
    with_pack<T>(packable(y, x) && (residual.data() == nullptr || packable(residual)), run);
}

}  // namespace cuda

template <class T>
void dropout_forward(cuda_context& ctx, tensor_view<T, 1> y, in_view<T, 1> x, dropout_options options) {
    instar::detail::check_shape("dropout_forward", "x", x, {y.extent(0)});
    instar::detail::check_contiguous("dropout_forward", "y", y);
    instar::detail::check_contiguous("dropout_forward", "x", x);
    cuda::dropout<T>(ctx, "dropout_forward", y, {}, x, options);
}

template <class T>
void residual_dropout_forward(cuda_context& ctx, tensor_view<T, 1> y, in_view<T, 1> residual, in_view<T, 1> x, dropout_options options) {
    instar::detail::check_shape("residual_dropout_forward", "residual", residual, {y.extent(0)});
    instar::detail::check_shape("residual_dropout_forward", "x", x, {y.extent(0)});
    instar::detail::check_contiguous("residual_dropout_forward", "y", y);
    instar::detail::check_contiguous("residual_dropout_forward", "residual", residual);
    instar::detail::check_contiguous("residual_dropout_forward", "x", x);
    cuda::dropout<T>(ctx, "residual_dropout_forward", y, residual, x, options);
}

template <class T>
void dropout_backward(cuda_context& ctx, tensor_view<T, 1> dx, in_view<T, 1> dy, dropout_options options) {
    instar::detail::check_shape("dropout_backward", "dy", dy, {dx.extent(0)});
    instar::detail::check_contiguous("dropout_backward", "dx", dx);
    instar::detail::check_contiguous("dropout_backward", "dy", dy);
    cuda::dropout<T>(ctx, "dropout_backward", dx, {}, dy, options);
}

}  // namespace instar::ops

#endif
