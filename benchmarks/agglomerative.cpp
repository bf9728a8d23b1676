// Agglomerative clustering of n points of d coordinates: the tree and one cut.
//
//     bench_agglomerative                                        # linkage_metric/n/d
//     bench_agglomerative --benchmark_filter=ward                # scaling with n
//
// Points are Gaussian clouds that overlap, 10.8 points a cloud as in the clustering benchmark of BIOSCAN-5M; birch/n/2 lies in the
// plane. "GFLOP/s" counts 2·n²·d, one product of all pairs, whatever is computed. peak_rss_MB is the process's highest
// resident size while the work ran, the points included. Before the clock starts the tree of the first 600 points is
// compared with the one that the stored-matrix path makes of their distances.

#include <algorithm>
#include <cmath>
#include <string>

#include "data.hpp"
#include "instar/cluster/agglomerative.hpp"
#include "peak_memory.hpp"
#include "roofline.hpp"

namespace {

using namespace instar;

/// n / 10.8 centres and points about them, each coordinate of both a sum of four uniform values.
tensor<float, 2> clouds(index_t n, index_t d) {
    const index_t n_centres = std::max<index_t>(1, n * 4363 / 47260);
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

bool is_right(cpu_context& ctx, tensor_view<const float, 2> x, const cluster::agglomerative_options& options) {
    const index_t n = x.extent(0);
    tensor<double, 2> distances({n, n});
    for (index_t i = 0; i < n; ++i) {
        for (index_t j = 0; j < n; ++j) {
            double squares = 0.0, dot = 0.0, a = 0.0, b = 0.0;
            for (index_t c = 0; c < x.extent(1); ++c) {
                const auto p = static_cast<double>(x(i, c)), q = static_cast<double>(x(j, c));
                squares += (p - q) * (p - q);
                dot += p * q;
                a += p * p;
                b += q * q;
            }
            using cluster::linkage_metric;
            distances(i, j) = options.metric == linkage_metric::euclidean ? std::sqrt(squares) : options.metric == linkage_metric::sqeuclidean ? squares : 1.0 - dot / std::sqrt(a * b);
            if (i == j) distances(i, j) = 0.0;
        }
    }
    const auto found = cluster::agglomerative(ctx, x, options).linkage_matrix(), expected = cluster::agglomerative_precomputed(ctx, distances, options).linkage_matrix();
    for (index_t k = 0; k < n - 1; ++k) {
        if (found(k, 0) != expected(k, 0) || found(k, 1) != expected(k, 1) || std::fabs(found(k, 2) - expected(k, 2)) > 1e-9 * expected(n - 2, 2)) return false;
    }
    return true;
}

void run(benchmark::State& state, index_t n, index_t d, cluster::agglomerative_options options) {
    cpu_context ctx;
    const auto x = clouds(n, d);
    if (!is_right(ctx, x.view().rows(0, std::min<index_t>(n, 600)), options)) return state.SkipWithError("wrong result");
    const index_t k = std::max<index_t>(1, n * 4363 / 47260);
    bench::peak_memory::reset();
    for (auto _ : state) benchmark::DoNotOptimize(cluster::agglomerative(ctx, x, options).cut({.n_clusters = k}).data());
    state.counters["peak_rss_MB"] = bench::peak_memory::megabytes();
    bench::report(state, ctx, {.flop = 2.0 * static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(d)});
}

const bool registered = [] {
    using cluster::linkage;
    using cluster::linkage_metric;
    const auto add = [](const std::string& name, index_t n, index_t d, cluster::agglomerative_options options) {
        benchmark::RegisterBenchmark((name + "/" + std::to_string(n) + "/" + std::to_string(d)).c_str(), run, n, d, options)->UseRealTime()->Unit(benchmark::kMillisecond);
    };
    for (const index_t n : {5'000, 10'000, 20'000, 47'260, 100'000}) add("ward", n, 50, {});
    add("ward", 20'000, 768, {});
    add("ward", 100'000, 2, {});
    add("average_cosine", 20'000, 50, {.linkage = linkage::average, .metric = linkage_metric::cosine});
    add("average", 10'000, 50, {.linkage = linkage::average});
    add("complete", 10'000, 50, {.linkage = linkage::complete});
    add("complete_float32", 10'000, 50, {.linkage = linkage::complete, .precision = cluster::matrix_precision::float32});
    add("single", 20'000, 50, {.linkage = linkage::single});
    add("centroid", 5'000, 50, {.linkage = linkage::centroid});
    return true;
}();

}  // namespace
