// Matrix product: instar's packed kernel beside Eigen's, at the shapes of transformers, their gradients, and small ones.
//
//     bench_gemm                                    # packed/…, bf16/…, eigen/…
//     bench_gemm --benchmark_filter=packed/4096
//
// Names: backend/m/n/k/form; form nt = a · bᵀ (a linear layer), nn = a · b (its input gradient), tn = aᵀ · b (its weight
// gradient, accumulating). All cores. Every product is checked on 256 elements before it is timed.

#include <cmath>
#include <string>

#include <benchmark/benchmark.h>

#include "instar/core/philox.hpp"
#include "instar/core/tensor.hpp"
#include "instar/ops/cpu/gemm_eigen.hpp"
#include "instar/ops/cpu/gemm_packed.hpp"
#include "roofline.hpp"

namespace {

using namespace instar;

using backend = void (*)(cpu_context&, ops::cpu::gemm_problem);

struct shape {
    index_t m, n, k;
    const char* form;
};

tensor<float, 1> random_numbers(index_t n, std::uint64_t seed) {
    tensor<float, 1> x({n});
    const philox rng{.seed = seed};
    for (index_t i = 0; i < n; ++i) x(i) = 2.0f * rng.uniform(static_cast<std::uint64_t>(i)) - 1.0f;
    return x;
}

/// The packed product with inputs rounded to bf16. Its share is of the peak of float multiply-adds all the same.
void gemm_bf16(cpu_context& ctx, ops::cpu::gemm_problem g) {
    g.bf16 = true;
    ops::cpu::gemm_packed(ctx, g);
}
void gemm_eigen(cpu_context& ctx, ops::cpu::gemm_problem g) { ops::cpu::gemm_eigen(ctx, g); }

bool is_right(const ops::cpu::gemm_problem& g, double allowed) {
    const philox rng{.seed = 3};
    for (std::uint64_t t = 0; t < 256; ++t) {
        const index_t i = rng.below(2 * t, static_cast<std::uint32_t>(g.m)), j = rng.below(2 * t + 1, static_cast<std::uint32_t>(g.n));
        double sum = 0.0;
        for (index_t p = 0; p < g.k; ++p) {
            sum += static_cast<double>(g.transpose_a ? g.a[p * g.lda + i] : g.a[i * g.lda + p]) *
                   static_cast<double>(g.transpose_b ? g.b[j * g.ldb + p] : g.b[p * g.ldb + j]);
        }
        if (!(std::fabs(static_cast<double>(g.c[i * g.ldc + j]) - sum) < allowed * std::sqrt(static_cast<double>(g.k)))) return false;
    }
    return true;
}

void run(benchmark::State& state, backend multiply, shape s) {
    cpu_context ctx;
    const auto a = random_numbers(s.m * s.k, 1), b = random_numbers(s.k * s.n, 2);
    tensor<float, 2> c({s.m, s.n});
    ops::cpu::gemm_problem g{.m = s.m, .n = s.n, .k = s.k, .a = a.data(), .b = b.data(), .c = c.data(), .ldc = s.n};
    g.transpose_a = s.form[0] == 't';
    g.transpose_b = s.form[1] == 't';
    g.lda = g.transpose_a ? s.m : s.k;
    g.ldb = g.transpose_b ? s.k : s.n;
    multiply(ctx, g);
    if (!is_right(g, multiply == &gemm_bf16 ? 1e-2 : 1e-5)) return state.SkipWithError("wrong result");
    g.accumulate = g.transpose_a;
    for (auto _ : state) multiply(ctx, g);
    bench::report(state, ctx, {.flop = 2.0 * static_cast<double>(s.m) * static_cast<double>(s.n) * static_cast<double>(s.k)});
}

const bool registered = [] {
    const shape shapes[] = {
        {4096, 768, 768, "nt"}, {4096, 3072, 768, "nt"}, {4096, 768, 3072, "nt"}, {4096, 3072, 3072, "nt"}, {1056, 768, 768, "nt"},
        {4096, 768, 3072, "nn"}, {3072, 768, 4096, "tn"}, {768, 768, 1056, "tn"},
        {32, 3072, 768, "nt"}, {32, 768, 3072, "nt"}, {128, 768, 768, "nt"}, {256, 128, 128, "nt"}, {4096, 128, 128, "nt"}, {197, 768, 768, "nt"},
        {8, 8, 8, "nn"}, {16, 16, 16, "nn"}, {32, 32, 32, "nn"}, {64, 64, 64, "nn"}, {64, 64, 64, "nt"}, {83, 83, 64, "nt"},
    };
    for (const shape& s : shapes) {
        const std::string name = std::to_string(s.m) + "/" + std::to_string(s.n) + "/" + std::to_string(s.k) + "/" + s.form;
        benchmark::RegisterBenchmark(("packed/" + name).c_str(), run, &ops::cpu::gemm_packed, s)->UseRealTime();
        benchmark::RegisterBenchmark(("bf16/" + name).c_str(), run, &gemm_bf16, s)->UseRealTime();
        benchmark::RegisterBenchmark(("eigen/" + name).c_str(), run, &gemm_eigen, s)->UseRealTime();
    }
    return true;
}();

}  // namespace
