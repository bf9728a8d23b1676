// Approximate nearest neighbours of n rows of d coordinates among themselves, k of each; results lie on the host when a call ends.
//
//     bench_gpu_nn_descent
//
// Names: nn_descent/n/d/k. Of eight hundred rows, nine of ten true neighbours must have been found; exact search on the device, of those
// rows, says which they are. nn_exact/n/d/k is exact search of all rows on the same points: FLOP 2 · n² · d. No count of FLOP for descent.

#include <algorithm>

#include "instar/cluster/knn.hpp"
#include "instar/cluster/nn_descent.hpp"

#include "clouds.hpp"

namespace {

using namespace instar;
namespace gpu = bench::gpu;

void descent(gpu::run& r, index_t points, index_t width, index_t neighbours) {
    const index_t n = gpu::sized(points, 300), d = gpu::sized(width, 9), k = gpu::sized(neighbours, 6), some = std::min<index_t>(n, 800);
    const gpu::cloud_points x(r.ctx, n, d, std::max<index_t>(1, n / 100));
    cluster::knn_result found;
    const auto work = [&] { found = cluster::nn_descent(r.ctx, x.device.view(), {.k = k, .seed = 1}); };
    work();
    const auto exact = cluster::knn(r.ctx, x.device.view().rows(0, some), x.device.view(), {.k = k});
    index_t hits = 0;
    for (index_t i = 0; i < some; ++i) {
        for (index_t j = 0; j < k; ++j) hits += std::count(&found.index(i, 0), &found.index(i, 0) + k, exact.index(i, j)) > 0 ? 1 : 0;
    }
    if (!r.require(10 * hits >= 9 * some * k, "fewer than nine of ten neighbours were found")) return;
    r.time(work, {.samples = static_cast<double>(n)});
}

void exact(gpu::run& r, index_t points, index_t width, index_t neighbours) {
    const index_t n = gpu::sized(points, 300), d = gpu::sized(width, 9), k = gpu::sized(neighbours, 6);
    const gpu::cloud_points x(r.ctx, n, d, std::max<index_t>(1, n / 100));
    cluster::knn_result found;
    const auto work = [&] { found = cluster::knn(r.ctx, x.device.view(), x.device.view(), {.k = k}); };
    work();
    if (!r.require(found.index(n / 2, 0) == n / 2, "a row is not its own nearest")) return;
    r.time(work, {.flop = 2.0 * static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(d), .samples = static_cast<double>(n)});
}

const bool registered = [] {
    const index_t shapes[][3] = {{70'000, 784, 30}, {200'000, 50, 30}, {1'000'000, 50, 15}};
    const auto body = [](auto f, index_t n, index_t d, index_t k) { return [=]<class T>(gpu::run& r) { f(r, n, d, k); }; };
    for (const auto& [n, d, k] : shapes) {
        gpu::add("nn_descent", gpu::slashed(n, d, k), gpu::k_fp32_only, body(descent, n, d, k), 5);
        gpu::add("nn_exact", gpu::slashed(n, d, k), gpu::k_fp32_only, body(exact, n, d, k), 3);
    }
    return true;
}();

}  // namespace
