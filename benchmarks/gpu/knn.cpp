// Exact nearest neighbours of n queries among n references of d coordinates, the k nearest; indices and distances lie on the host when a
// call ends. FLOP: 2 · n² · d, chains of floats; the share is of cuBLASLt's product of floats.
//
//     bench_gpu_knn
//
// Names: knn/n/d/k. Eight queries are compared with all references in double.

#include "instar/cluster/knn.hpp"

#include "clouds.hpp"

namespace {

using namespace instar;
namespace gpu = bench::gpu;

bool is_right(const cluster::knn_result& found, tensor_view<const float, 2> q, tensor_view<const float, 2> references, index_t k) {
    for (index_t i = 0; i < q.extent(0); i += q.extent(0) / 8) {
        std::vector<std::pair<double, std::int32_t>> all;
        for (index_t j = 0; j < references.extent(0); ++j) {
            double s = 0.0;
            for (index_t c = 0; c < q.extent(1); ++c) s += std::pow(static_cast<double>(q(i, c)) - static_cast<double>(references(j, c)), 2);
            all.emplace_back(s, static_cast<std::int32_t>(j));
        }
        std::partial_sort(all.begin(), all.begin() + k, all.end());
        for (index_t j = 0; j < k; ++j) {
            const auto& [squared, index] = all[static_cast<std::size_t>(j)];
            if (found.index(i, j) != index || !(std::fabs(static_cast<double>(found.distance(i, j)) - std::sqrt(squared)) <= 1e-6 * std::sqrt(squared))) return false;
        }
    }
    return true;
}

void knn(gpu::run& r, index_t points, index_t width, index_t k) {
    const index_t n = gpu::sized(points, 300), d = gpu::sized(width, 20);
    const gpu::cloud_points x(r.ctx, 2 * n, d, n / 10);  // both sets about the same centres
    const auto queries = x.device.view().rows(0, n), references = x.device.view().rows(n, 2 * n);
    cluster::knn_result found;
    const auto work = [&] { found = cluster::knn(r.ctx, queries, references, {.k = k}); };
    work();
    if (!r.require(is_right(found, x.host.view().rows(0, n), x.host.view().rows(n, 2 * n), k), "wrong result")) return;
    r.time(work, {.flop = 2.0 * static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(d), .samples = static_cast<double>(n)});
}

const bool registered = [] {
    const index_t shapes[][3] = {{20'000, 768, 1}, {20'000, 768, 30}, {20'000, 128, 30}};
    for (const auto& [n, d, k] : shapes) {
        gpu::add("knn", gpu::slashed(n, d, k), gpu::k_fp32_only, [n = n, d = d, k = k]<class T>(gpu::run& r) { knn(r, n, d, k); });
    }
    return true;
}();

}  // namespace
