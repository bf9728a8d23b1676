// Silhouette, Calinski-Harabasz and Davies-Bouldin of n points of d coordinates in k clusters.
//
//     bench_silhouette                              # silhouette/n/d/k, silhouette_manhattan/…, calinski_harabasz/…, davies_bouldin/…
//
// Float points, all arithmetic in double. FLOP are counted as 3 for a coordinate of a pair (difference, square, sum), and compared
// with half of the float peak, which is the peak of double. Eight points are checked against the definition before the clock.

#include <array>
#include <cmath>
#include <string>

#include "data.hpp"
#include "instar/cluster/silhouette.hpp"
#include "roofline.hpp"

namespace {

using namespace instar;

struct data_set {
    tensor<float, 2> x;
    std::vector<std::int32_t> labels;

    data_set(index_t n, index_t d, index_t k)
        : x(bench::random_tensor<2>({n, d}, 1)),
          labels(static_cast<std::size_t>(n)) {
        const auto centres = bench::random_tensor<2>({k, d}, 2);
        for (index_t i = 0; i < n; ++i) {
            labels[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(i * 7919 % k);
            for (index_t c = 0; c < d; ++c) x(i, c) = 0.5f * x(i, c) + centres(labels[static_cast<std::size_t>(i)], c);
        }
    }
};

bool is_right(const data_set& s, const std::vector<double>& each, bool manhattan, index_t k) {
    const index_t n = s.x.extent(0);
    for (index_t i = 0; i < n; i += n / 8) {
        std::vector<double> sums(static_cast<std::size_t>(k), 0.0), counts(static_cast<std::size_t>(k), 0.0);
        for (index_t j = 0; j < n; ++j) {
            double distance = 0.0;
            for (index_t c = 0; c < s.x.extent(1); ++c) {
                const double d = static_cast<double>(s.x(i, c)) - static_cast<double>(s.x(j, c));
                distance += manhattan ? std::fabs(d) : d * d;
            }
            sums[static_cast<std::size_t>(s.labels[static_cast<std::size_t>(j)])] +=
                manhattan ? distance : std::sqrt(distance);
            counts[static_cast<std::size_t>(s.labels[static_cast<std::size_t>(j)])] += 1.0;
        }
        const auto own = static_cast<std::size_t>(s.labels[static_cast<std::size_t>(i)]);
        double other = 1e300;
        for (std::size_t c = 0; c < sums.size(); ++c) other = c == own ? other : std::min(other, sums[c] / counts[c]);
        const double mine = sums[own] / (counts[own] - 1.0);
        if (!(std::fabs(each[static_cast<std::size_t>(i)] - (other - mine) / std::max(other, mine)) < 1e-12))
            return false;
    }
    return true;
}

void silhouette(benchmark::State& state, index_t n, index_t d, index_t k, cluster::silhouette_metric metric) {
    cpu_context ctx;
    const data_set s(n, d, k);
    if (!is_right(s, cluster::silhouette_samples(ctx, s.x, s.labels, metric),
                  metric == cluster::silhouette_metric::manhattan, k))
        return state.SkipWithError("wrong result");
    for (auto _ : state) benchmark::DoNotOptimize(cluster::silhouette_score(ctx, s.x, s.labels, metric));
    bench::report(state, ctx, {.flop = 3.0 * static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(d)});
}

template <double Score(cpu_context&, tensor_view<const float, 2>, std::span<const std::int32_t>)>
void score(benchmark::State& state, index_t n, index_t d, index_t k) {
    cpu_context ctx;
    const data_set s(n, d, k);
    const double expected = Score(ctx, s.x, s.labels);
    if (!(expected > 0.0 && std::isfinite(expected))) return state.SkipWithError("wrong result");
    for (auto _ : state) benchmark::DoNotOptimize(Score(ctx, s.x, s.labels));
    bench::report(state, ctx, {.bytes = 4.0 * static_cast<double>(n) * static_cast<double>(d)});
}

const bool registered = [] {
    for (const auto& [n, d, k] : {std::array<index_t, 3>{47260, 50, 4363}, {10000, 50, 500}, {5000, 768, 100}}) {
        const std::string name = std::to_string(n) + "/" + std::to_string(d) + "/" + std::to_string(k);
        benchmark::RegisterBenchmark(("silhouette/" + name).c_str(), silhouette, n, d, k,
                                     cluster::silhouette_metric::euclidean)
            ->UseRealTime()
            ->Unit(benchmark::kMillisecond);
        benchmark::RegisterBenchmark(("silhouette_manhattan/" + name).c_str(), silhouette, n, d, k,
                                     cluster::silhouette_metric::manhattan)
            ->UseRealTime()
            ->Unit(benchmark::kMillisecond);
        benchmark::RegisterBenchmark(("calinski_harabasz/" + name).c_str(), score<cluster::calinski_harabasz>, n, d, k)
            ->UseRealTime()
            ->Unit(benchmark::kMillisecond);
        benchmark::RegisterBenchmark(("davies_bouldin/" + name).c_str(), score<cluster::davies_bouldin>, n, d, k)
            ->UseRealTime()
            ->Unit(benchmark::kMillisecond);
    }
    return true;
}();

}  // namespace
