// Mini-batch k-means of n points of d coordinates about k overlapping clouds: batches of 4,096, at most three times as many rows as there
// are, then a label for each. Results lie on the host when a call ends.
//
//     bench_gpu_mini_batch_kmeans
//
// Names: mini_batch/n/d/k. The CPU draws other starts (cluster/mini_batch_kmeans.hpp), so its inertia alone is compared; its time on the
// same points is cpu_ms: all cores, once. No count of FLOP: both stop when the smoothed inertia does, not after the same number of batches.

#include "instar/cluster/mini_batch_kmeans.hpp"

#include "clouds.hpp"
#include "instar/core/cpu_context.hpp"

namespace {

using namespace instar;
namespace gpu = bench::gpu;

void mini_batch(gpu::run& r, index_t points, index_t width, index_t clusters) {
    const index_t n = gpu::sized(points, 700), d = gpu::sized(width, 9), k = gpu::sized(clusters, 12);
    const gpu::cloud_points x(r.ctx, n, d, k);
    const cluster::mini_batch_kmeans_options options{.n_clusters = k, .max_iter = 3, .batch_size = gpu::sized(4'096, 200), .seed = 1};
    cluster::kmeans_result found, expected;
    const auto work = [&] { found = cluster::mini_batch_kmeans(r.ctx, x.device.view(), options); };
    work();
    cpu_context cpu;
    const double cpu_seconds = gpu::host_seconds([&] { expected = cluster::mini_batch_kmeans(cpu, x.host.view(), options); });
    if (!r.require(std::fabs(found.inertia / expected.inertia - 1.0) < 0.05, "the inertia is far from the CPU's")) return;
    r.time(work, {.samples = static_cast<double>(n), .cpu_seconds = cpu_seconds});
}

const bool registered = [] {
    const index_t shapes[][3] = {{100'000, 128, 1'000}, {1'000'000, 128, 1'000}};
    for (const auto& [n, d, k] : shapes) {
        gpu::add("mini_batch", gpu::slashed(n, d, k), gpu::k_fp32_only, [n = n, d = d, k = k]<class T>(gpu::run& r) { mini_batch(r, n, d, k); }, 5);
    }
    return true;
}();

}  // namespace
