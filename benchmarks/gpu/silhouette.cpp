// Silhouettes of n points of d coordinates in k clusters, on the host when a call ends. All arithmetic is in double: 3 FLOP for a coordinate
// of a pair (difference, square, sum); there is no share, the device's peak in double is not measured.
//
//     bench_gpu_silhouette
//
// Names: silhouette/n/d/k. Eight points are checked against the definition.

#include "instar/cluster/silhouette.hpp"

#include "clouds.hpp"

namespace {

using namespace instar;
namespace gpu = bench::gpu;

bool is_right(const tensor<float, 2>& x, const std::vector<std::int32_t>& labels, const std::vector<double>& each, index_t k) {
    const index_t n = x.extent(0);
    for (index_t i = 0; i < n; i += n / 8) {
        std::vector<double> sums(static_cast<std::size_t>(k), 0.0), counts(static_cast<std::size_t>(k), 0.0);
        for (index_t j = 0; j < n; ++j) {
            double squares = 0.0;
            for (index_t c = 0; c < x.extent(1); ++c) squares += std::pow(static_cast<double>(x(i, c)) - static_cast<double>(x(j, c)), 2);
            sums[static_cast<std::size_t>(labels[static_cast<std::size_t>(j)])] += std::sqrt(squares);
            counts[static_cast<std::size_t>(labels[static_cast<std::size_t>(j)])] += 1.0;
        }
        const auto own = static_cast<std::size_t>(labels[static_cast<std::size_t>(i)]);
        double other = 1e300;
        for (std::size_t c = 0; c < sums.size(); ++c) other = c == own ? other : std::min(other, sums[c] / counts[c]);
        const double mine = sums[own] / (counts[own] - 1.0);
        if (!(std::fabs(each[static_cast<std::size_t>(i)] - (other - mine) / std::max(other, mine)) < 1e-10)) return false;
    }
    return true;
}

void silhouette(gpu::run& r, index_t points, index_t width, index_t clusters) {
    const index_t n = gpu::sized(points, 300), d = gpu::sized(width, 7), k = gpu::sized(clusters, 12);
    const gpu::cloud_points x(r.ctx, n, d, k);
    std::vector<std::int32_t> labels;
    for (index_t i = 0; i < n; ++i) labels.push_back(static_cast<std::int32_t>(i * 7919 % k));
    std::vector<double> found;
    const auto work = [&] { found = cluster::silhouette_samples(r.ctx, x.device.view(), labels); };
    work();
    if (!r.require(is_right(x.host, labels, found, k), "wrong result")) return;
    r.time(work, {.flop = 3.0 * static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(d), .samples = static_cast<double>(n), .in_double = true});
}

const bool registered = [] {
    const index_t shapes[][3] = {{10'000, 50, 500}, {47'260, 50, 4'363}};
    for (const auto& [n, d, k] : shapes) {
        gpu::add("silhouette", gpu::slashed(n, d, k), gpu::k_fp32_only, [n = n, d = d, k = k]<class T>(gpu::run& r) { silhouette(r, n, d, k); });
    }
    return true;
}();

}  // namespace
