// Exact nearest neighbours: n queries among n references of d coordinates, the k nearest.
//
//     bench_knn                                     # knn/n/d/k, knn_self/n/d/k
//     bench_knn --benchmark_filter=20000/768
//
// knn: two sets of rows. knn_self: rows among themselves, where a product serves both rows; its FLOP are counted as if it did not,
// so it may pass 100 % of peak. Rows are random around n / 20 centres. Eight queries are checked before the clock starts.

#include <algorithm>
#include <string>

#include "data.hpp"
#include "instar/cluster/knn.hpp"
#include "roofline.hpp"

namespace {

using namespace instar;

tensor<float, 2> clouds(index_t n, index_t d, std::uint64_t seed) {
    const index_t n_centres = n / 20;
    const auto centres = bench::random_tensor<2>({n_centres, d}, 1);
    auto x = bench::random_tensor<2>({n, d}, seed);
    for (index_t i = 0; i < n; ++i) {
        for (index_t c = 0; c < d; ++c) x(i, c) = 0.5f * x(i, c) + centres(i % n_centres, c);
    }
    return x;
}

bool is_right(const cluster::knn_result& found, const tensor<float, 2>& q, const tensor<float, 2>& r, index_t k) {
    for (index_t i = 0; i < q.extent(0); i += q.extent(0) / 8) {
        std::vector<std::pair<double, std::int32_t>> all;
        for (index_t j = 0; j < r.extent(0); ++j) {
            double s = 0.0;
            for (index_t c = 0; c < q.extent(1); ++c) {
                const double d = static_cast<double>(q(i, c)) - static_cast<double>(r(j, c));
                s += d * d;
            }
            all.emplace_back(s, static_cast<std::int32_t>(j));
        }
        std::partial_sort(all.begin(), all.begin() + k, all.end());
        for (index_t j = 0; j < k; ++j) {
            if (found.index(i, j) != all[static_cast<std::size_t>(j)].second) return false;
        }
    }
    return true;
}

void run(benchmark::State& state, index_t n, index_t d, index_t k, bool self) {
    cpu_context ctx;
    const auto references = clouds(n, d, 2), queries = clouds(self ? 20 : n, d, 3);
    const auto& q = self ? references : queries;
    if (!is_right(cluster::knn(ctx, q, references, {.k = k}), q, references, k))
        return state.SkipWithError("wrong result");
    for (auto _ : state) benchmark::DoNotOptimize(cluster::knn(ctx, q, references, {.k = k}).index.data());
    bench::report(state, ctx, {.flop = 2.0 * static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(d)});
}

const bool registered = [] {
    const index_t shapes[][3] = {{20000, 768, 1}, {20000, 768, 30}, {20000, 128, 30},
                                 {5000, 768, 1},  {5000, 768, 30},  {5000, 128, 30}};
    for (const auto& [n, d, k] : shapes) {
        const std::string name = std::to_string(n) + "/" + std::to_string(d) + "/" + std::to_string(k);
        benchmark::RegisterBenchmark(("knn/" + name).c_str(), run, n, d, k, false)
            ->UseRealTime()
            ->Unit(benchmark::kMillisecond);
        benchmark::RegisterBenchmark(("knn_self/" + name).c_str(), run, n, d, k, true)
            ->UseRealTime()
            ->Unit(benchmark::kMillisecond);
    }
    return true;
}();

}  // namespace
