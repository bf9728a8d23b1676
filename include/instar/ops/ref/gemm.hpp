#ifndef INSTAR_OPS_REF_GEMM_HPP
#define INSTAR_OPS_REF_GEMM_HPP

// Reference matrix product: the formula of ops/gemm.hpp, sums in double, one element at a time.
//
//     ops::ref::gemm(c, a, b, {.transpose_b = true});

#include "instar/ops/gemm.hpp"
#include "instar/ops/ref/convert.hpp"

namespace instar::ops::ref {

/// c_ij = Σ_p op(a)_ip · op(b)_pj, or c_ij += ….
template <class T>
void gemm(tensor_view<T, 2> c, in_view<T, 2> a, in_view<T, 2> b, gemm_options options = {}) {
    const index_t k = a.extent(options.transpose_a ? 0 : 1);
    for (index_t i = 0; i < c.extent(0); ++i) {
        for (index_t j = 0; j < c.extent(1); ++j) {
            double sum = options.accumulate ? as_double(c(i, j)) : 0.0;
            for (index_t p = 0; p < k; ++p) {
                sum += as_double(options.transpose_a ? a(p, i) : a(i, p)) * as_double(options.transpose_b ? b(j, p) : b(p, j));
            }
            c(i, j) = from_double<T>(sum);
        }
    }
}

}  // namespace instar::ops::ref

#endif
