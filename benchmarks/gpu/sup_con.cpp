// The supervised contrastive loss with its gradient. FLOP: 6 · n² · d. Losses and gradients are checked against the CPU's in float, of the
// same features. bf16 is computed in float (ops/cuda/sup_con.cuh), so its share is of a peak that it does not aim at.
//
//     bench_gpu_sup_con
//
// Names: sup_con_step/n/d.

#include "instar/ops/sup_con.hpp"

#include "harness.hpp"
#include "instar/core/cpu_context.hpp"
#include "instar/ops/l2_normalize.hpp"

namespace {

using namespace instar;
namespace gpu = bench::gpu;

template <class T>
void sup_con_step(gpu::run& r, index_t rows, index_t width) {
    const index_t n = gpu::sized(rows, 70), d = gpu::sized(width, 16);
    gpu::both<T, 2> z(r.ctx, {n, d}, 1), dz(r.ctx, {n, d}, 0, 0.0f, 0.0f);
    gpu::both<float, 1> loss(r.ctx, {n}, 0);
    gpu::both<std::int32_t, 1> labels(r.ctx, {n}, 0);
    for (index_t i = 0; i < n; ++i) labels.host(i) = static_cast<std::int32_t>(i * 7919 % (n / 8));
    labels.upload();
    tensor<float, 1, device_memory> norm({n});
    ops::l2_normalize_forward<T>(r.ctx, z.device, norm, z.device);
    z.host = z.fetch();
    const ops::sup_con_options options{.temperature = 0.1, .denominator = static_cast<double>(n)};
    const auto work = [&] { ops::sup_con<T>(r.ctx, loss, dz, z, labels, options); };
    work();
    cpu_context cpu;
    tensor<float, 2> features({n, d}), gradient({n, d});
    for (index_t i = 0; i < features.size(); ++i) features.data()[i] = static_cast<float>(z.host.data()[i]);
    ops::sup_con<float>(cpu, loss.host, gradient, features, labels.host, options);
    if (!r.check(loss.fetch().view(), loss.host.view()) || !r.check(dz.fetch().view(), gradient.view())) return;
    r.time(work, {.flop = 6.0 * static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(d)});
}

const bool registered = [] {
    gpu::add("sup_con_step", "8192/768", gpu::k_all, []<class T>(gpu::run& r) { sup_con_step<T>(r, 8192, 768); });
    return true;
}();

}  // namespace
