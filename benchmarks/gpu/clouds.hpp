#ifndef INSTAR_BENCHMARKS_GPU_CLOUDS_HPP
#define INSTAR_BENCHMARKS_GPU_CLOUDS_HPP

// Points for the benchmarks of clustering, and their copy on the device.
//
//     const gpu::cloud_points x(r.ctx, 47260, 50, 4363);
//     auto tree = cluster::agglomerative(r.ctx, x.device.view());

#include "harness.hpp"

namespace instar::bench::gpu {

/// n points about n_centres overlapping centres, each coordinate a sum of four uniform values: those of benchmarks/kmeans.cpp and
/// benchmarks/agglomerative.cpp.
struct cloud_points {
    tensor<float, 2> host;
    tensor<float, 2, device_memory> device;

    cloud_points(cuda_context& ctx, index_t n, index_t d, index_t n_centres) : host({n, d}), device({n, d}) {
        tensor<float, 2> centres({n_centres, d});
        const philox rng{.seed = 7}, choice{.seed = 8};
        std::uint64_t at = 0;
        const auto bell = [&] {
            float sum = 0.0f;
            for (const std::uint32_t v : rng.block(at++).v) sum += 2.0f * (static_cast<float>(v >> 8) * 0x1.0p-24f) - 1.0f;
            return sum;
        };
        for (float& c : centres) c = bell();
        for (index_t i = 0; i < n; ++i) {
            const auto k = static_cast<index_t>(choice.bits(static_cast<std::uint64_t>(i)) % static_cast<std::uint64_t>(n_centres));
            for (index_t c = 0; c < d; ++c) host(i, c) = bell() + centres(k, c);
        }
        ctx.upload(device.view(), std::as_const(host).view());
    }
};

}  // namespace instar::bench::gpu

#endif
