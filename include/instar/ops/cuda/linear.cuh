#ifndef INSTAR_OPS_CUDA_LINEAR_CUH
#define INSTAR_OPS_CUDA_LINEAR_CUH

// Affine map on a GPU: cuBLASLt with the bias in the product's epilogue; the bias gradient by fixed ranges of rows.
//
//     ops::linear_forward(ctx, y, x, weight, bias);
//
// GELU is not taken from cuBLASLt's epilogue, because that is the tanh approximation and this library's GELU is the exact
// one: it follows as a pass of its own over y.

#include "instar/cuda/column_sums.cuh"
#include "instar/ops/cuda/gelu.cuh"
#include "instar/ops/cuda/gemm.cuh"
#include "instar/ops/linear.hpp"

namespace instar::ops {

namespace cuda {

/// y[r] = bias, for a product over no columns.
template <class T>
__global__ void repeat_row_kernel(tensor_view<T, 2> y, const T* bias) {
    const index_t i = grid_thread();
    if (i >= y.size()) return;
    const index_t r = i / y.extent(1), c = i % y.extent(1);
    y.data()[r * y.stride(0) + c] = bias != nullptr ? bias[c] : from_float<T>(0.0f);
}

template <class T>
void linear(cuda_context& ctx, const char* op, const tensor_view<T, 2>& y, const tensor_view<const T, 2>& x,
            const tensor_view<const T, 2>& weight, const tensor_view<const T, 1>& bias) {
    const index_t n_rows = y.extent(0), d_out = y.extent(1), d_in = x.extent(1);
    instar::detail::check_shape(op, "x", x, {n_rows, d_in});
    instar::detail::check_shape(op, "weight", weight, {d_out, d_in});
    const bool with_bias = !bias.empty();
    if (with_bias) instar::detail::check_shape(op, "bias", bias, {d_out});
    check_rows(op, "y", y);
    check_rows(op, "x", x);
    check_rows(op, "weight", weight);
    instar::detail::check_unit_stride(op, "bias", bias);
    if (y.empty()) return;
    const T* const bias_data = with_bias ? bias.data() : nullptr;
    if (d_in == 0) {
        launch(ctx, op, repeat_row_kernel<T>, {blocks_for(y.size(), 256)}, {256}, 0, y, bias_data);
        return;
    }
    matmul<T>(ctx, op, y, x, weight, {.transpose_b = true}, bias_data);
}

/// y = gelu(x) over rows that may be strided.
template <class T>
void gelu_rows(cuda_context& ctx, const char* op, const tensor_view<T, 2>& y, const tensor_view<const T, 2>& x) {
    if (y.contiguous() && x.contiguous()) {
        gelu<T>(ctx, op, tensor_view<T, 1>(y.data(), {y.size()}), tensor_view<const T, 1>(x.data(), {x.size()}));
    } else {
        for (index_t r = 0; r < y.extent(0); ++r) gelu<T>(ctx, op, y[r], x[r]);
    }
}

}  // namespace cuda

template <class T>
void linear_forward(cuda_context& ctx, tensor_view<T, 2> y, in_view<T, 2> x, in_view<T, 2> weight, in_view<T, 1> bias) {
    cuda::linear<T>(ctx, "linear_forward", y, x, weight, bias);
}

template <class T>
void linear_gelu_forward(cuda_context& ctx, tensor_view<T, 2> y, out_view<T, 2> pre, in_view<T, 2> x, in_view<T, 2> weight, in_view<T, 1> bias) {
    static constexpr const char* k_op = "linear_gelu_forward";
    instar::detail::check_shape(k_op, "pre", pre, {y.extent(0), y.extent(1)});
    instar::detail::check_unit_stride(k_op, "y", y);
    cuda::linear<T>(ctx, k_op, pre, x, weight, bias);
    cuda::gelu_rows<T>(ctx, k_op, y, pre);
}

template <class T>
void linear_backward(cuda_context& ctx, tensor_view<T, 2> dx, out_view<T, 2> dweight, out_view<T, 1> dbias, in_view<T, 2> dy,
                     in_view<T, 2> x, in_view<T, 2> weight) {
    static constexpr const char* k_op = "linear_backward";
    const index_t n_rows = dy.extent(0), d_out = dy.extent(1), d_in = x.extent(1);
    instar::detail::check_shape(k_op, "x", x, {n_rows, d_in});
    instar::detail::check_shape(k_op, "weight", weight, {d_out, d_in});
    instar::detail::check_shape(k_op, "dweight", dweight, {d_out, d_in});
    const bool with_dx = !dx.empty(), with_dbias = !dbias.empty();
    if (with_dx) instar::detail::check_shape(k_op, "dx", dx, {n_rows, d_in});
    if (with_dbias) instar::detail::check_shape(k_op, "dbias", dbias, {d_out});
    cuda::check_rows(k_op, "dx", dx);
    cuda::check_rows(k_op, "dweight", dweight);
    cuda::check_rows(k_op, "dy", dy);
    cuda::check_rows(k_op, "x", x);
    cuda::check_rows(k_op, "weight", weight);
    instar::detail::check_unit_stride(k_op, "dbias", dbias);
    if (n_rows > 0 && d_out > 0 && d_in > 0) {
        if (with_dx) cuda::matmul<T>(ctx, k_op, dx, dy, weight, {});
        cuda::matmul<T>(ctx, k_op, dweight, dy, x, {.transpose_a = true, .accumulate = true});
    } else if (with_dx) {
        cuda::clear(ctx, k_op, dx);  // a sum over no outputs
    }
    if (with_dbias && n_rows > 0) cuda::add_column_sums(ctx, k_op, dbias, dy);
}

}  // namespace instar::ops

#endif
