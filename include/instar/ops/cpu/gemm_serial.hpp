#ifndef INSTAR_OPS_CPU_GEMM_SERIAL_HPP
#define INSTAR_OPS_CPU_GEMM_SERIAL_HPP

// The matrix product of floats on one thread, for use inside parallel loops. The arithmetic is simd/gemm.inl; with all threads:
// gemm_packed.hpp, the same bits.
//
//     cpu::gemm_serial({.m = 64, .n = 64, .k = 64, .a = q, .lda = 64, .b = keys, .ldb = 64, .transpose_b = true, .c = s, .ldc = 64});

#include "instar/core/flush_denormals.hpp"
#include "instar/core/memory.hpp"
#include "instar/ops/cpu/gemm_problem.hpp"
#include "instar/ops/cpu/simd/gemm_amx.hpp"

namespace instar::ops::cpu {

namespace detail {

/// The scratch of one thread. Its user must not wait for other tasks: a wait may run a task that takes it again.
class gemm_thread_scratch {
public:
    float* a(const gemm_geometry& cut) { return ensure(a_, cut.scratch_a()); }
    float* b(const gemm_geometry& cut) { return ensure(b_, cut.scratch_b()); }
    static gemm_thread_scratch& mine() {
        static thread_local gemm_thread_scratch scratch;
        return scratch;
    }

private:
    static float* ensure(memory_block<>& block, index_t n) {
        const auto bytes = static_cast<std::size_t>(n) * sizeof(float);
        if (block.bytes() < bytes) block = memory_block<>(bytes);
        return static_cast<float*>(block.data());
    }
    memory_block<> a_, b_;
};

constexpr index_t ceil_div(index_t a, index_t b) { return (a + b - 1) / b; }

}  // namespace detail

namespace detail {

template <class T>
void gemm_on_this_thread(const basic_gemm_problem<T>& problem, const basic_gemm_kernels<T>& kernels) {
    auto& scratch = gemm_thread_scratch::mine();
    float* const a = scratch.a(kernels.cut);
    float* const b = scratch.b(kernels.cut);
    const index_t n_blocks = ceil_div(problem.m, kernels.cut.block_rows);
    for (index_t block = 0; block < n_blocks; ++block) {
        kernels.compute(problem, {problem.m * block / n_blocks, problem.m * (block + 1) / n_blocks, 0, problem.n, 0, problem.k}, a, b);
    }
}

}  // namespace detail

/// The product on this thread, without waiting for others: safe inside parallel loops.
inline void gemm_serial(const gemm_problem& problem) {
    if (problem.m <= 0 || problem.n <= 0) return;
    const flush_denormals zero;
    detail::gemm_on_this_thread(problem, INSTAR_SIMD_PICK(gemm_kernels_for)(problem.bf16));
}

}  // namespace instar::ops::cpu

#endif
