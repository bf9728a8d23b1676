#ifndef INSTAR_CUDA_MATMUL_PROBLEM_HPP
#define INSTAR_CUDA_MATMUL_PROBLEM_HPP

// One matrix product as BLAS states it, columns first. Row-major operators become one by exchanging the factors:
//
//     row-major c = op(a) · op(b)   is   column-major cᵀ = op(b)ᵀ · op(a)ᵀ
//
//     auto p = cuda::row_major_product<float>(c, a, b, transpose_a, transpose_b);

#include <algorithm>

#include "instar/core/tensor_view.hpp"

namespace instar::cuda {

/// d = op(a) · op(b) [+ d] [+ bias], column-major: op(a) is m × k, op(b) k × n, d m × n, bias of length m.
template <class T>
struct matmul_problem {
    bool transpose_a = false, transpose_b = false;
    bool accumulate = false;
    index_t m = 0, n = 0, k = 0;
    const T* a = nullptr;
    index_t lda = 0;
    const T* b = nullptr;
    index_t ldb = 0;
    T* d = nullptr;
    index_t ldd = 0;
    const T* bias = nullptr;
};

/// c = op(a) · op(b) over row-major views whose shapes were checked.
template <class T>
matmul_problem<T> row_major_product(const tensor_view<T, 2>& c, const tensor_view<const T, 2>& a, const tensor_view<const T, 2>& b,
                                    bool transpose_a, bool transpose_b, bool accumulate = false) {
    // A single row may carry any stride; BLAS wants one that a row fits in.
    const auto ld = [](const auto& v) { return v.extent(0) > 1 ? v.stride(0) : std::max<index_t>(v.extent(1), 1); };
    matmul_problem<T> p;
    p.transpose_a = transpose_b;
    p.transpose_b = transpose_a;
    p.accumulate = accumulate;
    p.m = c.extent(1);
    p.n = c.extent(0);
    p.k = transpose_a ? a.extent(0) : a.extent(1);
    p.a = b.data();
    p.lda = ld(b);
    p.b = a.data();
    p.ldb = ld(a);
    p.d = c.data();
    p.ldd = ld(c);
    return p;
}

}  // namespace instar::cuda

#endif
