// The work that both halves do, each compiled with its own flags.

#include <cstdint>

#include "instar/core/cpu_context.hpp"
#include "instar/core/philox.hpp"
#include "instar/core/tensor.hpp"
#include "instar/ops/gelu.hpp"
#include "instar/ops/gemm.hpp"
#include "instar/ops/layer_norm.hpp"

/// c = gelu(layer_norm(a · b)) on random numbers.
static instar::tensor<float, 2> work(instar::cpu_context& ctx) {
    using instar::index_t;
    const index_t m = 37, n = 64, k = 53;
    const instar::philox rng{.seed = 5};
    instar::tensor<float, 2> a({m, k}), b({k, n}), c({m, n});
    instar::tensor<float, 1> weight({n}), bias({n}), mean({m}), rstd({m});
    for (index_t i = 0; i < m * k; ++i) a.data()[i] = rng.uniform(static_cast<std::uint64_t>(i)) - 0.5f;
    for (index_t i = 0; i < k * n; ++i) b.data()[i] = rng.uniform(static_cast<std::uint64_t>(m * k + i)) - 0.5f;
    for (index_t j = 0; j < n; ++j) weight.data()[j] = 1.0f;
    instar::ops::gemm(ctx, c.view(), a.view(), b.view());
    instar::ops::layer_norm_forward(ctx, c.view(), {mean.view(), rstd.view()}, c.view(), weight.view(), bias.view(), 1e-5);
    const auto flat = c.view().reshape<1>({m * n});
    instar::ops::gelu_forward(ctx, flat, flat);
    return c;
}
