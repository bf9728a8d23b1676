#ifndef INSTAR_EXAMPLES_KERNELS_GROUPED_POINTS_HPP
#define INSTAR_EXAMPLES_KERNELS_GROUPED_POINTS_HPP

// Points as embeddings of specimens lie: 20 groups of 25 groups, as species are in genera, in random order.

#include "ladder.hpp"

namespace kernels {

/// [n, d], about their mean.
inline std::vector<float> grouped_points(instar::index_t n, instar::index_t d) {
    using instar::index_t;
    constexpr index_t k_outer = 20, k_inner = 25;
    const auto genus = random_values(k_outer * d, 1), species = random_values(k_outer * k_inner * d, 2), noise = random_values(n * d, 3);
    std::vector<float> x(noise.size());
    std::vector<double> mean(static_cast<std::size_t>(d), 0.0);
    const instar::philox rng{4, 0};
    for (index_t i = 0; i < n; ++i) {
        const auto s = static_cast<index_t>(rng.below(static_cast<std::uint64_t>(i), k_outer * k_inner));
        for (index_t p = 0; p < d; ++p) {
            const float v = 4.0f * genus[static_cast<std::size_t>(s / k_inner * d + p)] + species[static_cast<std::size_t>(s * d + p)] + 0.5f * noise[static_cast<std::size_t>(i * d + p)];
            x[static_cast<std::size_t>(i * d + p)] = v;
            mean[static_cast<std::size_t>(p)] += static_cast<double>(v) / static_cast<double>(n);
        }
    }
    for (index_t i = 0; i < n; ++i) {
        for (index_t p = 0; p < d; ++p) x[static_cast<std::size_t>(i * d + p)] -= static_cast<float>(mean[static_cast<std::size_t>(p)]);
    }
    return x;
}

}  // namespace kernels

#endif
