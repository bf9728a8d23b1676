// SigLIP of a pair of modalities, loss and all gradients in one call. FLOP: 6 · n² · d.
//
//     bench_gpu_siglip --benchmark_filter=bf16/32768
//
// Names: siglip_step/n/d. The losses of three rows and the gradients of their features are checked against the formulas in double.

#include "instar/ops/siglip.hpp"

#include "harness.hpp"
#include "instar/ops/l2_normalize.hpp"

namespace {

using namespace instar;
namespace gpu = bench::gpu;

template <class T>
struct problem {
    index_t n, d;
    gpu::both<T, 2> a, b, da, db;
    gpu::both<float, 1> logit_scale, logit_bias, d_logit_scale, d_logit_bias, loss;

    problem(cuda_context& ctx, index_t n, index_t d)
        : n(n), d(d), a(ctx, {n, d}, 1), b(ctx, {n, d}, 2), da(ctx, {n, d}, 0, 0.0f, 0.0f), db(ctx, {n, d}, 0, 0.0f, 0.0f),
          logit_scale(ctx, {1}, 0, 2.3025851f, 2.3025851f), logit_bias(ctx, {1}, 0, -10.0f, -10.0f), d_logit_scale(ctx, {1}, 0, 0.0f, 0.0f),
          d_logit_bias(ctx, {1}, 0, 0.0f, 0.0f), loss(ctx, {n}, 0) {
        tensor<float, 1, device_memory> norm({n});
        for (auto* x : {&a, &b}) {
            ops::l2_normalize_forward<T>(ctx, x->device, norm, x->device);
            x->host = x->fetch();
        }
    }
    void step(cuda_context& ctx) { ops::siglip<T>(ctx, loss, da, db, d_logit_scale, d_logit_bias, a, b, logit_scale, logit_bias, {}, {}); }
};

template <class T>
bool right(gpu::run& r, const problem<T>& x) {
    const auto losses = x.loss.fetch();
    const auto gradients = x.da.fetch();
    const double scale = std::exp(gpu::value(x.logit_scale.host(0))), bias = gpu::value(x.logit_bias.host(0)), weight = 1.0 / static_cast<double>(x.n);
    const index_t rows[] = {0, x.n / 3, x.n - 1};
    tensor<double, 2> expected({3, x.d}), actual({3, x.d});
    tensor<double, 1> expected_loss({3}), actual_loss({3});
    for (index_t s = 0; s < 3; ++s) {
        const index_t i = rows[s];
        for (index_t j = 0; j < x.n; ++j) {
            double dot = 0.0;
            for (index_t k = 0; k < x.d; ++k) dot += gpu::value(x.a.host(i, k)) * gpu::value(x.b.host(j, k));
            const double t = i == j ? 1.0 : -1.0, z = t * (scale * dot + bias);
            expected_loss(s) += weight * (std::fmax(-z, 0.0) + std::log1p(std::exp(-std::fabs(z))));
            const double g = -t * weight * scale / (1.0 + std::exp(z));
            for (index_t k = 0; k < x.d; ++k) expected(s, k) += g * gpu::value(x.b.host(j, k));
        }
        actual_loss(s) = static_cast<double>(losses(i));
        for (index_t k = 0; k < x.d; ++k) actual(s, k) = gpu::value(gradients(i, k));
    }
    return r.check(actual_loss.view(), expected_loss.view()) && r.check(actual.view(), expected.view());
}

const bool registered = [] {
    for (const index_t n : {4096, 16384, 32768}) {
        gpu::add("siglip_step", gpu::slashed(n, 768), gpu::k_all, [n]<class T>(gpu::run& r) {
            problem<T> x(r.ctx, gpu::sized(n, 70), gpu::sized(768, 16));
            const auto work = [&] { x.step(r.ctx); };
            work();
            if (right(r, x)) r.time(work, {.flop = 6.0 * static_cast<double>(x.n) * static_cast<double>(x.n) * static_cast<double>(x.d)});
        }, n <= 16384 ? 15 : 5);
    }
    return true;
}();

}  // namespace
