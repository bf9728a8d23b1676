// Adjusted mutual information of two labelings: n items, k clusters in each.
//
//     bench_ami                                     # ami/n/k: sizes of about n / k; ami_skewed/n/k: some large, many small
//
// Nine tenths of the items agree. Checked before the clock: identical labelings give 1, shuffled ones about 0.

#include <cmath>
#include <string>

#include <benchmark/benchmark.h>

#include "instar/core/philox.hpp"
#include "instar/metrics/clustering.hpp"

namespace {

using namespace instar;

std::vector<std::int32_t> labels(index_t n, index_t k, bool skewed, std::uint64_t seed) {
    std::vector<std::int32_t> l(static_cast<std::size_t>(n));
    const philox rng{.seed = seed};
    for (std::size_t i = 0; i < l.size(); ++i) {
        const double u = static_cast<double>(rng.bits(i)) * 0x1.0p-32;
        l[i] = static_cast<std::int32_t>(static_cast<double>(k) * (skewed ? u * u * u : u));
    }
    return l;
}

void run(benchmark::State& state, index_t n, index_t k, bool skewed) {
    const auto truth = labels(n, k, skewed, 1), noise = labels(n, k, skewed, 2), coin = labels(n, 10, false, 3);
    auto clusters = truth;
    for (std::size_t i = 0; i < clusters.size(); ++i) clusters[i] = coin[i] == 0 ? noise[i] : truth[i];
    const double ami = metrics::adjusted_mutual_info(truth, clusters);
    if (metrics::adjusted_mutual_info(truth, truth) != 1.0 ||
        std::fabs(metrics::adjusted_mutual_info(truth, noise)) > 0.01 || !(ami > 0.6 && ami < 1.0)) {
        return state.SkipWithError("wrong result");
    }
    for (auto _ : state) benchmark::DoNotOptimize(metrics::adjusted_mutual_info(truth, clusters));
    state.counters["items/s"] = benchmark::Counter(static_cast<double>(n) * static_cast<double>(state.iterations()),
                                                   benchmark::Counter::kIsRate);
}

const bool registered = [] {
    for (const auto& [n, k] : {std::pair<index_t, index_t>{100'000, 5'000}, {47'260, 4'363}, {1'000'000, 10'000}}) {
        const std::string name = std::to_string(n) + "/" + std::to_string(k);
        benchmark::RegisterBenchmark(("ami/" + name).c_str(), run, n, k, false)->Unit(benchmark::kMillisecond);
        benchmark::RegisterBenchmark(("ami_skewed/" + name).c_str(), run, n, k, true)->Unit(benchmark::kMillisecond);
    }
    return true;
}();

}  // namespace
