// k-means of n points of d coordinates about k overlapping clouds.
//
//     bench_gpu_kmeans --benchmark_filter=lloyd
//
// Names: kmeans_lloyd/n/d/k, ten iterations from the first k points; kmeans/n/d/k, greedy k-means++ and iterations to convergence (tol 1e-4).
// kmeans_transform/n/d/k, distances of all points to k centres, in double from differences, which stay on the device: 3 FLOP for a coordinate
// of a pair, no share; eight rows are checked against the definition.
// Results of the others lie on the host when a call ends. FLOP of kmeans_lloyd: 2 · n · k · d for each assignment, the last one included, by chains of
// floats; the share is of cuBLASLt's product. Labels and inertia are compared with the CPU's, whose time on the same points is cpu_ms: all
// cores, once. The whole run draws other random numbers there (cluster/kmeans.hpp), so there inertia alone is compared.

#include "instar/cluster/kmeans.hpp"

#include "clouds.hpp"
#include "instar/core/cpu_context.hpp"

namespace {

using namespace instar;
namespace gpu = bench::gpu;

void lloyd(gpu::run& r, index_t points, index_t width, index_t clusters) {
    const index_t n = gpu::sized(points, 700), d = gpu::sized(width, 9), k = gpu::sized(clusters, 12);
    const gpu::cloud_points x(r.ctx, n, d, k);
    const auto start = x.device.view().rows(0, k);
    const cluster::kmeans_options options{.n_clusters = k, .max_iter = 10, .tol = 0.0};
    cluster::kmeans_result found, expected;
    const auto work = [&] { found = cluster::kmeans(r.ctx, x.device.view(), start, options); };
    work();
    cpu_context cpu;
    const double cpu_seconds = gpu::host_seconds([&] { expected = cluster::kmeans(cpu, x.host.view(), x.host.view().rows(0, k), options); });
    // A point halfway between two centres may go either way, and the centres then differ by a little.
    index_t n_other = 0;
    for (index_t i = 0; i < n; ++i) n_other += found.labels(i) != expected.labels(i);
    if (!r.require(found.n_iter == expected.n_iter, "not the CPU's number of iterations") || !r.require(100 * n_other <= n, "labels are not the CPU's") ||
        !r.require(std::fabs(found.inertia / expected.inertia - 1.0) < 1e-4, "the inertia is not the CPU's")) {
        return;
    }
    const double product = static_cast<double>(n) * static_cast<double>(k) * static_cast<double>(d);
    r.time(work, {.flop = 2.0 * static_cast<double>(found.n_iter + 1) * product, .cpu_seconds = cpu_seconds});
}

void whole(gpu::run& r, index_t points, index_t width, index_t clusters) {
    const index_t n = gpu::sized(points, 700), d = gpu::sized(width, 9), k = gpu::sized(clusters, 12);
    const gpu::cloud_points x(r.ctx, n, d, k);
    const cluster::kmeans_options options{.n_clusters = k, .seed = 1};
    cluster::kmeans_result found, expected;
    const auto work = [&] { found = cluster::kmeans(r.ctx, x.device.view(), options); };
    work();
    cpu_context cpu;
    const double cpu_seconds = gpu::host_seconds([&] { expected = cluster::kmeans(cpu, x.host.view(), options); });
    if (!r.require(std::fabs(found.inertia / expected.inertia - 1.0) < 0.05, "the inertia is far from the CPU's")) return;
    r.time(work, {.samples = static_cast<double>(n), .cpu_seconds = cpu_seconds});
}

void transform(gpu::run& r, index_t points, index_t width, index_t clusters) {
    const index_t n = gpu::sized(points, 150), d = gpu::sized(width, 9), k = gpu::sized(clusters, 70);
    const gpu::cloud_points x(r.ctx, n, d, k);
    tensor<float, 2, device_memory> there({n, k});
    const tensor_view<float, 2> y = there.view();
    const auto work = [&] { cluster::kmeans_transform(r.ctx, y, x.device.view(), x.device.view().rows(0, k)); };
    work();
    for (index_t i = 0; i < n; i += n / 8) {
        tensor<float, 2> row({1, k});
        r.ctx.download(row.view(), tensor_view<const float, 2>(y.rows(i, i + 1)));
        for (index_t c = 0; c < k; ++c) {
            double s = 0.0;
            for (index_t p = 0; p < d; ++p) s += std::pow(static_cast<double>(x.host(i, p)) - static_cast<double>(x.host(c, p)), 2);
            if (!r.require(std::fabs(static_cast<double>(row(0, c)) - std::sqrt(s)) <= 2e-7 * std::sqrt(s), "wrong distance")) return;
        }
    }
    const double pairs = static_cast<double>(n) * static_cast<double>(k);
    r.time(work, {.flop = 3.0 * pairs * static_cast<double>(d), .samples = static_cast<double>(n), .in_double = true});
}

const bool registered = [] {
    const auto body = [](auto f, index_t n, index_t d, index_t k) { return [=]<class T>(gpu::run& r) { f(r, n, d, k); }; };
    gpu::add("kmeans_lloyd", "100000/128/1000", gpu::k_fp32_only, body(lloyd, 100'000, 128, 1'000));
    gpu::add("kmeans_lloyd", "47260/50/4363", gpu::k_fp32_only, body(lloyd, 47'260, 50, 4'363));
    gpu::add("kmeans", "47260/50/4363", gpu::k_fp32_only, body(whole, 47'260, 50, 4'363), 5);
    gpu::add("kmeans_transform", "100000/128/1000", gpu::k_fp32_only, body(transform, 100'000, 128, 1'000));
    return true;
}();

}  // namespace
