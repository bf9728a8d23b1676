// Agglomerative clustering of n points of d coordinates, 10.8 of them about a centre: the whole tree, on the host when a call ends.
//
//     bench_gpu_agglomerative --benchmark_filter=ward/47260
//
// Names: ward/n/d, average_cosine/n/d. FLOP: 2 · n² · d, one product of all pairs, whatever is computed; the share is of cuBLASLt's product of
// floats. Up to 100,000 points the tree is compared with the CPU's, whose time is cpu_ms: all cores, once. A million would keep the CPU
// busy for too long: there Ward's heights must add up to the sum of squares about the mean, and the tree of the first 10,000 points be the CPU's.

#include "instar/cluster/agglomerative.hpp"

#include "clouds.hpp"
#include "instar/core/cpu_context.hpp"

namespace {

using namespace instar;
namespace gpu = bench::gpu;

/// The same merges at the same heights; sums in double round apart.
bool same_tree(const cluster::dendrogram& found, const cluster::dendrogram& expected) {
    if (found.n_merges() != expected.n_merges()) return false;
    for (index_t m = 0; m < found.n_merges(); ++m) {
        if (found.children(m) != expected.children(m) || !(std::fabs(found.height(m) - expected.height(m)) <= 1e-9 * expected.height(m))) return false;
    }
    return true;
}

/// A merge adds height² / 2 to the squares within clusters; all merges together make the squares about the mean.
bool adds_up(const cluster::dendrogram& tree, const tensor<float, 2>& x) {
    double squares = 0.0, merged = 0.0;
    for (index_t c = 0; c < x.extent(1); ++c) {
        double mean = 0.0;
        for (index_t i = 0; i < x.extent(0); ++i) mean += static_cast<double>(x(i, c));
        mean /= static_cast<double>(x.extent(0));
        for (index_t i = 0; i < x.extent(0); ++i) squares += (static_cast<double>(x(i, c)) - mean) * (static_cast<double>(x(i, c)) - mean);
    }
    for (index_t m = 0; m < tree.n_merges(); ++m) {
        merged += 0.5 * tree.height(m) * tree.height(m);
        if (m > 0 && tree.height(m) < tree.height(m - 1)) return false;
    }
    return std::fabs(merged - squares) <= 1e-9 * squares;
}

void agglomerative(gpu::run& r, index_t points, index_t width, const cluster::agglomerative_options& options) {
    const index_t n = gpu::sized(points, points > 100'000 ? 300 : 200), d = gpu::sized(width, 7), n_compared = points > 100'000 ? gpu::sized(10'000, 150) : n;
    const gpu::cloud_points x(r.ctx, n, d, std::max<index_t>(1, n * 4363 / 47260));
    cluster::dendrogram found, expected;
    const auto work = [&] { found = cluster::agglomerative(r.ctx, x.device.view(), options); };
    work();
    cpu_context cpu;
    const double cpu_seconds = gpu::host_seconds([&] { expected = cluster::agglomerative(cpu, x.host.view().rows(0, n_compared), options); });
    if (n_compared == n) {
        if (!r.require(same_tree(found, expected), "the tree is not the CPU's")) return;
    } else if (!r.require(same_tree(cluster::agglomerative(r.ctx, x.device.view().rows(0, n_compared), options), expected), "the tree of the first points is not the CPU's") ||
               !r.require(adds_up(found, x.host), "the heights do not add up")) {
        return;
    }
    r.time(work, {.flop = 2.0 * static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(d), .samples = static_cast<double>(n),
                  .cpu_seconds = n_compared == n ? cpu_seconds : 0.0});
}

const bool registered = [] {
    using cluster::linkage;
    using cluster::linkage_metric;
    const auto add = [](const std::string& name, index_t n, index_t d, cluster::agglomerative_options options, int n_samples) {
        gpu::add(name, gpu::slashed(n, d), gpu::k_fp32_only, [=]<class T>(gpu::run& r) { agglomerative(r, n, d, options); }, n_samples);
    };
    add("ward", 47'260, 50, {}, 5);
    add("average_cosine", 20'000, 50, {.linkage = linkage::average, .metric = linkage_metric::cosine}, 5);
    add("ward", 1'000'000, 50, {}, 1);
    return true;
}();

}  // namespace
