// UMAP of n points of d coordinates to n_components: exact neighbours, graph, spectral start, stochastic gradient descent.
//
//     bench_umap                                        # umap/n/d/n_components
//
// Points are Gaussian clouds that overlap, 10.8 points a cloud. 30 neighbours, min_dist 0 as in benchmark 2. Before the clock starts, a small
// run's embedding is checked to keep points of a cloud together.

#include <benchmark/benchmark.h>

#include "data.hpp"
#include "instar/cluster/knn.hpp"
#include "instar/cluster/umap.hpp"
#include "peak_memory.hpp"
#include "roofline.hpp"

namespace {

using namespace instar;

tensor<float, 2> clouds(index_t n, index_t d, index_t n_centres) {
    tensor<float, 2> centres({n_centres, d}), x({n, d});
    const philox rng{.seed = 7};
    std::uint64_t at = 0;
    for (float& c : centres) c = rng.normal(at++);
    for (index_t i = 0; i < n; ++i) {
        for (index_t c = 0; c < d; ++c) x(i, c) = 0.5f * rng.normal(at++) + centres(i % n_centres, c);
    }
    return x;
}

bool is_right(cpu_context& ctx) {
    const auto x = clouds(600, 16, 20);
    const auto y = cluster::umap(ctx, x.view(), {.n_components = 3, .n_neighbors = 15, .seed = 1}).embedding;
    const auto near = cluster::knn(ctx, y.view(), y.view(), {.k = 2});
    index_t together = 0;
    for (index_t i = 0; i < 600; ++i) together += near.index(i, 1) % 20 == i % 20 || near.index(i, 0) % 20 == i % 20;
    return together >= 590;
}

void run(benchmark::State& state, index_t n, index_t d, index_t n_components) {
    cpu_context ctx;
    const auto x = clouds(n, d, std::max<index_t>(1, n * 4363 / 47260));
    if (!is_right(ctx)) return state.SkipWithError("wrong result");
    bench::peak_memory::reset();
    for (auto _ : state) benchmark::DoNotOptimize(cluster::umap(ctx, x.view(), {.n_components = n_components, .n_neighbors = 30, .min_dist = 0.0f, .seed = 1}).embedding.data());
    state.counters["peak_rss_MB"] = bench::peak_memory::megabytes();
    state.counters["samples/s"] = benchmark::Counter(static_cast<double>(n * state.iterations()), benchmark::Counter::kIsRate);
}

const bool registered = [] {
    for (const auto& [n, d, c] : {std::array<index_t, 3>{20'000, 128, 50}, {20'000, 128, 2}}) {
        benchmark::RegisterBenchmark(("umap/" + std::to_string(n) + "/" + std::to_string(d) + "/" + std::to_string(c)).c_str(), run, n, d, c)->UseRealTime()->Unit(benchmark::kMillisecond);
    }
    return true;
}();

}  // namespace
