// The AdamW update and the squared gradient norm. All cores; GB/s count 28 and 4 bytes an element.
//
//     bench_adamw
//
// Names: work/n_parameters.

#include <cmath>

#include <benchmark/benchmark.h>

#include "data.hpp"
#include "instar/ops/ref/adamw.hpp"
#include "roofline.hpp"

namespace {

using namespace instar;

constexpr ops::adamw_options k_options{.lr = 1e-4, .weight_decay = 0.01, .step = 10};

void adamw_update(benchmark::State& state) {
    cpu_context ctx;
    const index_t n = state.range(0), sample = std::min<index_t>(n, 100'003);
    auto p = bench::random_tensor<1>({n}, 1), m = bench::random_tensor<1>({n}, 2), v = bench::random_tensor<1>({n}, 3, 0.0f, 1.0f);
    const auto g = bench::random_tensor<1>({n}, 4);
    const auto copy = [&](const tensor<float, 1>& from) {
        tensor<float, 1> to({sample});
        std::copy(from.begin(), from.begin() + sample, to.begin());
        return to;
    };
    auto p_expected = copy(p), m_expected = copy(m), v_expected = copy(v);
    ops::ref::adamw_update<float>(p_expected, m_expected, v_expected, g.view().rows(0, sample), k_options);
    ops::adamw_update<float>(ctx, p, m, v, g, k_options);
    const bool right = bench::close(p.view().rows(0, sample), p_expected.view()) && bench::close(m.view().rows(0, sample), m_expected.view()) &&
                       bench::close(v.view().rows(0, sample), v_expected.view());
    if (!right) return state.SkipWithError("wrong result");
    for (auto _ : state) ops::adamw_update<float>(ctx, p, m, v, g, k_options);
    bench::report(state, ctx, {.bytes = 28.0 * static_cast<double>(n), .footprint = 16.0 * static_cast<double>(n)});
}

void squared_norm(benchmark::State& state) {
    cpu_context ctx;
    const index_t n = state.range(0);
    const auto g = bench::random_tensor<1>({n}, 1);
    // Not ops::ref: a single sum of 2²⁵ squares in double is off by 4e-12.
    long double expected = 0.0L;
    for (const float x : g) expected += static_cast<long double>(x) * static_cast<long double>(x);
    if (std::fabs(ops::squared_norm<float>(ctx, g) / static_cast<double>(expected) - 1.0) > 1e-12) return state.SkipWithError("wrong result");
    for (auto _ : state) benchmark::DoNotOptimize(ops::squared_norm<float>(ctx, g));
    bench::report(state, ctx, {.bytes = 4.0 * static_cast<double>(n)});
}

BENCHMARK(adamw_update)->Arg(1 << 16)->Arg(1 << 24)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(squared_norm)->Arg(1 << 16)->Arg(1 << 25)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
