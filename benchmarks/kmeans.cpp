// k-means of n points of d coordinates about k overlapping clouds: whole runs, seeding alone, ten iterations alone, mini-batches.
//
//     bench_kmeans                                      # work/n/d/k
//     bench_kmeans --benchmark_filter=seeding
//
// kmeans: to convergence (tol 1e-4) from greedy k-means++; inertia is a counter, to be compared with the peer's. lloyd: ten iterations from
// random rows. "GFLOP/s" of lloyd counts 2·n·k·d an iteration, whatever filtering leaves out. Before the clock starts, labels of 2,000
// points are compared with the nearest centres by distances in double.

#include <benchmark/benchmark.h>

#include "data.hpp"
#include "instar/cluster/kmeans.hpp"
#include "instar/cluster/mini_batch_kmeans.hpp"
#include "peak_memory.hpp"
#include "roofline.hpp"

namespace {

using namespace instar;

/// n / 10.8 centres as in the clustering benchmark of BIOSCAN-5M, and points about them.
tensor<float, 2> clouds(index_t n, index_t d, index_t n_centres) {
    tensor<float, 2> centres({n_centres, d}), x({n, d});
    const philox rng{.seed = 7}, choice{.seed = 8};
    std::uint64_t at = 0;
    const auto bell = [&] {
        float sum = 0.0f;
        for (int t = 0; t < 4; ++t) sum += 2.0f * rng.uniform(at++) - 1.0f;
        return sum;
    };
    for (float& c : centres) c = bell();
    for (index_t i = 0; i < n; ++i) {
        const auto k = static_cast<index_t>(choice.bits(static_cast<std::uint64_t>(i)) % static_cast<std::uint64_t>(n_centres));
        for (index_t c = 0; c < d; ++c) x(i, c) = bell() + centres(k, c);
    }
    return x;
}

bool is_right(cpu_context& ctx, tensor_view<const float, 2> x, index_t k) {
    const auto part = x.rows(0, std::min<index_t>(2000, x.extent(0)));
    const auto r = cluster::kmeans(ctx, part, {.n_clusters = std::min<index_t>(k, 50), .max_iter = 3});
    for (index_t i = 0; i < part.extent(0); ++i) {
        double mine = 0.0, least = std::numeric_limits<double>::infinity();
        for (index_t c = 0; c < r.centers.extent(0); ++c) {
            double s = 0.0;
            for (index_t p = 0; p < part.extent(1); ++p) s += std::pow(static_cast<double>(part(i, p)) - static_cast<double>(r.centers(c, p)), 2);
            least = std::min(least, s);
            if (c == r.labels(i)) mine = s;
        }
        if (mine > least * (1.0 + 1e-5) + 1e-6) return false;
    }
    return true;
}

void run(benchmark::State& state, const std::string& work, index_t n, index_t d, index_t k) {
    cpu_context ctx;
    const auto x = clouds(n, d, k);
    if (!is_right(ctx, x.view(), k)) return state.SkipWithError("wrong result");
    cluster::kmeans_result r;
    const cluster::detail::kmeans_points points(ctx, x.view(), false);
    bench::peak_memory::reset();
    for (auto _ : state) {
        if (work == "kmeans") r = cluster::kmeans(ctx, x.view(), {.n_clusters = k, .seed = 1});
        else if (work == "lloyd") r = cluster::kmeans(ctx, x.view(), {.n_clusters = k, .init = cluster::kmeans_init::random, .max_iter = 10, .tol = 0.0, .seed = 1});
        else if (work == "seeding") benchmark::DoNotOptimize(cluster::detail::kmeans_seeding(ctx, points).choose(ctx, k, philox{.seed = 1}).data());
        else r = cluster::mini_batch_kmeans(ctx, x.view(), {.n_clusters = k, .batch_size = 4096, .seed = 1});
    }
    state.counters["peak_rss_MB"] = bench::peak_memory::megabytes();
    if (work != "seeding") {
        state.counters["inertia"] = r.inertia;
        state.counters["iterations"] = static_cast<double>(r.n_iter);
    }
    const double trials = work == "seeding" ? 2.0 + std::floor(std::log(static_cast<double>(k))) : work == "lloyd" ? 10.0 : 1.0;
    bench::report(state, ctx, {.flop = 2.0 * trials * static_cast<double>(n) * static_cast<double>(k) * static_cast<double>(d)});
}

const bool registered = [] {
    const auto add = [](const std::string& work, index_t n, index_t d, index_t k) {
        benchmark::RegisterBenchmark((work + "/" + std::to_string(n) + "/" + std::to_string(d) + "/" + std::to_string(k)).c_str(), run, work, n, d, k)->UseRealTime()->Unit(benchmark::kMillisecond);
    };
    add("kmeans", 47'260, 50, 4'363);
    add("seeding", 100'000, 128, 1'000);
    add("lloyd", 100'000, 128, 1'000);
    add("mini_batch", 100'000, 128, 1'000);
    return true;
}();

}  // namespace
