// Dropout alone and with a residual, and addition for comparison. All cores; GB/s count each argument once.
//
//     bench_dropout --benchmark_filter=residual
//
// Names: work/n. In place where training runs it in place.

#include <cstring>

#include <benchmark/benchmark.h>

#include "data.hpp"
#include "instar/ops/elementwise.hpp"
#include "instar/ops/ref/dropout.hpp"
#include "roofline.hpp"

namespace {

using namespace instar;

constexpr ops::dropout_options k_options{.p = 0.1f, .rng = {7, 8}};

void dropout_in_place(benchmark::State& state) {
    cpu_context ctx;
    const index_t n = state.range(0), sample = std::min<index_t>(n, 100'003);
    auto x = bench::random_tensor<1>({n}, 1);
    tensor<float, 1> expected({sample});
    ops::ref::dropout_forward<float>(expected, x.view().rows(0, sample), k_options);
    ops::dropout_forward<float>(ctx, x, x, k_options);
    // The same elements are kept, bit for bit.
    if (std::memcmp(x.data(), expected.data(), static_cast<std::size_t>(sample) * sizeof(float)) != 0) return state.SkipWithError("wrong result");
    // Dividing by 0.9 over and over would overflow, so p is small here; the work does not depend on it.
    const ops::dropout_options timed{.p = 1e-4f, .rng = k_options.rng};
    for (auto _ : state) ops::dropout_forward<float>(ctx, x, x, timed);
    bench::report(state, ctx, {.bytes = 8.0 * static_cast<double>(n)});
}

void dropout_forward(benchmark::State& state) {
    cpu_context ctx;
    const index_t n = state.range(0);
    const auto x = bench::random_tensor<1>({n}, 1);
    tensor<float, 1> y({n});
    for (auto _ : state) ops::dropout_forward<float>(ctx, y, x, k_options);
    bench::report(state, ctx, {.bytes = 8.0 * static_cast<double>(n)});
}

void residual_dropout_forward(benchmark::State& state) {
    cpu_context ctx;
    const index_t n = state.range(0), sample = std::min<index_t>(n, 100'003);
    const auto x = bench::random_tensor<1>({n}, 1), residual = bench::random_tensor<1>({n}, 2);
    tensor<float, 1> y({n}), expected({sample});
    ops::residual_dropout_forward<float>(ctx, y, residual, x, k_options);
    ops::ref::residual_dropout_forward<float>(expected, residual.view().rows(0, sample), x.view().rows(0, sample), k_options);
    if (!bench::close(y.view().rows(0, sample), expected.view())) return state.SkipWithError("wrong result");
    for (auto _ : state) ops::residual_dropout_forward<float>(ctx, y, residual, x, k_options);
    bench::report(state, ctx, {.bytes = 12.0 * static_cast<double>(n)});
}

void add(benchmark::State& state) {
    cpu_context ctx;
    const index_t n = state.range(0);
    const auto a = bench::random_tensor<1>({n}, 1), b = bench::random_tensor<1>({n}, 2);
    tensor<float, 1> y({n});
    for (auto _ : state) ops::add<float>(ctx, y, a, b);
    bench::report(state, ctx, {.bytes = 12.0 * static_cast<double>(n)});
}

void sizes(benchmark::internal::Benchmark* b) { b->Arg(1 << 16)->Arg(1 << 25)->UseRealTime()->Unit(benchmark::kMillisecond); }

BENCHMARK(dropout_in_place)->Apply(sizes);
BENCHMARK(dropout_forward)->Apply(sizes);
BENCHMARK(residual_dropout_forward)->Apply(sizes);
BENCHMARK(add)->Apply(sizes);

}  // namespace
