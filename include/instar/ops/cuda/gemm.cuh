#ifndef INSTAR_OPS_CUDA_GEMM_CUH
#define INSTAR_OPS_CUDA_GEMM_CUH

// Matrix product on a GPU: cuBLASLt with plans cached by shape (cuda/blas.hpp), float in full precision unless the context
// allows TF32.
//
//     ops::gemm(ctx, c, a, w, {.transpose_b = true});

#include "instar/cuda/matmul.hpp"
#include "instar/ops/elementwise.hpp"
#include "instar/ops/gemm.hpp"

namespace instar::ops {

namespace cuda {

/// BLAS reads whole rows: a stride shorter than a row (a broadcast, overlapping rows) is refused.
template <class T>
void check_rows(const char* op, const char* argument, const tensor_view<T, 2>& v) {
    instar::detail::check_unit_stride(op, argument, v);
    if (v.extent(0) > 1 && v.stride(0) < v.extent(1)) {
        throw shape_error(std::string(op) + ": " + argument + " has rows of " + std::to_string(v.extent(1)) + " elements " +
                          std::to_string(v.stride(0)) + " apart");
    }
}

/// c = 0, row by row when there are gaps.
template <class T>
void clear(cuda_context& ctx, const char* op, const tensor_view<T, 2>& c) {
    if (c.contiguous()) {
        fill_values<T>(ctx, op, tensor_view<T, 1>(c.data(), {c.size()}), T(0.0f));
    } else {
        for (index_t r = 0; r < c.extent(0); ++r) fill_values<T>(ctx, op, c[r], T(0.0f));
    }
}

/// The product of checked, non-empty operands, with an optional bias along c's rows.
template <class T>
void matmul(cuda_context& ctx, const char* op, const tensor_view<T, 2>& c, const tensor_view<const T, 2>& a, const tensor_view<const T, 2>& b,
            gemm_options options, const T* bias = nullptr) {
    auto problem = row_major_product<T>(c, a, b, options.transpose_a, options.transpose_b, options.accumulate);
    problem.bias = bias;
    run_matmul(ctx, op, problem);
}

}  // namespace cuda

template <class T>
void gemm(cuda_context& ctx, tensor_view<T, 2> c, in_view<T, 2> a, in_view<T, 2> b, gemm_options options) {
    static constexpr const char* k_op = "gemm";
    const index_t m = c.extent(0), n = c.extent(1), k = options.transpose_a ? a.extent(0) : a.extent(1);
    const index_t a_shape[2] = {options.transpose_a ? k : m, options.transpose_a ? m : k};
    const index_t b_shape[2] = {options.transpose_b ? n : k, options.transpose_b ? k : n};
    instar::detail::check_shape(k_op, "a", a, a_shape);
    instar::detail::check_shape(k_op, "b", b, b_shape);
    cuda::check_rows(k_op, "c", c);
    cuda::check_rows(k_op, "a", a);
    cuda::check_rows(k_op, "b", b);
    if (m == 0 || n == 0) return;
    if (k == 0) {
        if (!options.accumulate) cuda::clear(ctx, k_op, c);
        return;
    }
    cuda::matmul<T>(ctx, k_op, c, a, b, options);
}

}  // namespace instar::ops

#endif
