// GELU forward and backward. All cores; GB/s count each argument once.
//
//     bench_gelu --benchmark_filter=forward
//
// Names: work/n. 83 tokens × 32 sequences × 3072 is the inner layer of BarcodeBERT, out of cache.

#include <benchmark/benchmark.h>

#include "data.hpp"
#include "instar/ops/ref/gelu.hpp"
#include "roofline.hpp"

namespace {

using namespace instar;

void gelu_forward(benchmark::State& state) {
    cpu_context ctx;
    const index_t n = state.range(0), sample = std::min<index_t>(n, 100'003);
    const auto x = bench::random_tensor<1>({n}, 1, -4.0f, 4.0f);
    tensor<float, 1> y({n}), expected({sample});
    ops::gelu_forward<float>(ctx, y, x);
    ops::ref::gelu_forward<float>(expected, x.view().rows(0, sample));
    if (!bench::close(y.view().rows(0, sample), expected.view())) return state.SkipWithError("wrong result");
    for (auto _ : state) ops::gelu_forward<float>(ctx, y, x);
    bench::report(state, ctx, {.bytes = 8.0 * static_cast<double>(n)});
}

void gelu_backward(benchmark::State& state) {
    cpu_context ctx;
    const index_t n = state.range(0), sample = std::min<index_t>(n, 100'003);
    const auto x = bench::random_tensor<1>({n}, 1, -4.0f, 4.0f);
    const auto dy = bench::random_tensor<1>({n}, 2);
    tensor<float, 1> dx({n}), expected({sample});
    ops::gelu_backward<float>(ctx, dx, dy, x);
    ops::ref::gelu_backward<float>(expected, dy.view().rows(0, sample), x.view().rows(0, sample));
    if (!bench::close(dx.view().rows(0, sample), expected.view())) return state.SkipWithError("wrong result");
    for (auto _ : state) ops::gelu_backward<float>(ctx, dx, dy, x);
    bench::report(state, ctx, {.bytes = 12.0 * static_cast<double>(n)});
}

BENCHMARK(gelu_forward)->Arg(1 << 16)->Arg(83 * 32 * 3072)->Arg(1 << 25)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(gelu_backward)->Arg(1 << 16)->Arg(83 * 32 * 3072)->Arg(1 << 25)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
