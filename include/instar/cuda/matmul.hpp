#ifndef INSTAR_CUDA_MATMUL_HPP
#define INSTAR_CUDA_MATMUL_HPP

// Runs a matrix product on a context: cuBLASLt on a device, plain loops in the emulator.
//
//     cuda::run_matmul(ctx, "linear_forward", problem);         // of float, bf16 or double

#include <type_traits>
#include <vector>

#include "instar/cuda/cuda_context.hpp"
#include "instar/cuda/matmul_problem.hpp"

namespace instar::cuda {

#if defined(INSTAR_CUDA_EMULATED) || defined(INSTAR_CUDA_HEADERS)
template <class T>
void check_argument(const cuda_context& ctx, const char* op, const matmul_problem<T>& p) {
    if (p.m == 0 || p.n == 0) return;
    if (p.k != 0) {
        check_argument(ctx, op, p.a);
        check_argument(ctx, op, p.b);
    }
    check_argument(ctx, op, p.d);
    check_argument(ctx, op, p.bias);
}
#endif

#if defined(INSTAR_CUDA_EMULATED)

/// The product as cuBLASLt is asked for it, column-major, sums in double. It also checks the exchange of factors that
/// row_major_product does, because it takes the problem in the same form.
template <class T>
void run_matmul(cuda_context& ctx, const char* op, const matmul_problem<T>& p) {
    check_argument(ctx, op, p);
    try {
        ctx.emulator().begin_call();
    } catch (const device_error& e) {
        throw device_error(std::string(op) + ": " + e.what());
    }
    using number = std::conditional_t<std::is_same_v<T, double>, double, float>;  // what T converts to and from
    const auto value = [](T x) { return static_cast<double>(static_cast<number>(x)); };
    std::vector<double> column(static_cast<std::size_t>(p.k)), sum(static_cast<std::size_t>(p.m));
    for (index_t j = 0; j < p.n; ++j) {
        for (index_t l = 0; l < p.k; ++l) {
            column[static_cast<std::size_t>(l)] = value(p.transpose_b ? p.b[j + l * p.ldb] : p.b[l + j * p.ldb]);
        }
        for (index_t i = 0; i < p.m; ++i) {
            double s = p.bias != nullptr ? value(p.bias[i]) : 0.0;
            if (p.transpose_a) {
                for (index_t l = 0; l < p.k; ++l) s += value(p.a[l + i * p.lda]) * column[static_cast<std::size_t>(l)];
            }
            sum[static_cast<std::size_t>(i)] = s;
        }
        if (!p.transpose_a) {
            for (index_t l = 0; l < p.k; ++l) {
                const double b = column[static_cast<std::size_t>(l)];
                const T* const a = p.a + l * p.lda;
                for (index_t i = 0; i < p.m; ++i) sum[static_cast<std::size_t>(i)] += value(a[i]) * b;
            }
        }
        T* const d = p.d + j * p.ldd;
        for (index_t i = 0; i < p.m; ++i) {
            d[i] = static_cast<T>(static_cast<number>(sum[static_cast<std::size_t>(i)] + (p.accumulate ? value(d[i]) : 0.0)));
        }
    }
}

#elif defined(INSTAR_CUDA_HEADERS)

template <class T>
void run_matmul(cuda_context& ctx, const char* op, const matmul_problem<T>& p) {
    ctx.activate();
    check_argument(ctx, op, p);
    ctx.blas().run(op, ctx.stream(), p);
}

#endif

}  // namespace instar::cuda

#endif
