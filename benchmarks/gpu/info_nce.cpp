// InfoNCE of a pair of modalities, loss and all gradients in one call, as a training step does. FLOP: 8 · n² · d.
//
//     bench_gpu_info_nce --benchmark_filter=bf16/32768
//
// Names: info_nce_step/n/d. The losses of three rows and the gradients of their features are checked against the formulas in double.

#include "instar/ops/info_nce.hpp"

#include "harness.hpp"
#include "instar/ops/l2_normalize.hpp"

namespace {

using namespace instar;
namespace gpu = bench::gpu;

template <class T>
struct problem {
    index_t n, d;
    gpu::both<T, 2> a, b, da, db;
    gpu::both<float, 1> logit_scale, d_logit_scale, memory, row_loss, column_loss;

    problem(cuda_context& ctx, index_t n, index_t d)
        : n(n), d(d), a(ctx, {n, d}, 1), b(ctx, {n, d}, 2), da(ctx, {n, d}, 0, 0.0f, 0.0f), db(ctx, {n, d}, 0, 0.0f, 0.0f),
          logit_scale(ctx, {1}, 0, 2.6592600f, 2.6592600f), d_logit_scale(ctx, {1}, 0, 0.0f, 0.0f),
          memory(ctx, {ops::info_nce_saved<float>::size(n, n)}, 0), row_loss(ctx, {n}, 0), column_loss(ctx, {n}, 0) {
        tensor<float, 1, device_memory> norm({n});
        for (auto* x : {&a, &b}) {
            ops::l2_normalize_forward<T>(ctx, x->device, norm, x->device);
            x->host = x->fetch();
        }
    }
    void step(cuda_context& ctx) {
        ops::info_nce<T>(ctx, row_loss, column_loss, da, db, d_logit_scale, {memory.device.view(), n, n}, a, b, logit_scale, {}, {});
    }
};

/// The column statistics are the operator's own: computing them again would take n² · d on the host. Each of the rows checked
/// adds up its own logits.
template <class T>
bool right(gpu::run& r, problem<T>& x) {
    x.memory.host = x.memory.fetch();
    const ops::info_nce_saved<float> saved(x.memory.host.view(), x.n, x.n);
    const auto losses = x.row_loss.fetch();
    const auto gradients = x.da.fetch();
    const double scale = std::exp(2.6592600), weight = 0.5 / static_cast<double>(x.n);
    const index_t rows[] = {0, x.n / 3, x.n - 1};
    tensor<double, 2> expected({3, x.d}), actual({3, x.d});
    tensor<double, 1> expected_loss({3}), actual_loss({3});
    for (index_t s = 0; s < 3; ++s) {
        const index_t i = rows[s];
        std::vector<double> z(static_cast<std::size_t>(x.n));
        double sum = 0.0;
        for (index_t j = 0; j < x.n; ++j) {
            double dot = 0.0;
            for (index_t k = 0; k < x.d; ++k) dot += gpu::value(x.a.host(i, k)) * gpu::value(x.b.host(j, k));
            z[static_cast<std::size_t>(j)] = scale * dot;
            sum += std::exp(scale * dot);
        }
        const double lse = std::log(sum);
        expected_loss(s) = (lse - z[static_cast<std::size_t>(i)]) * weight;
        actual_loss(s) = static_cast<double>(losses(i));
        for (index_t j = 0; j < x.n; ++j) {
            const double v = z[static_cast<std::size_t>(j)];
            const double column_lse = static_cast<double>(saved.column.max(j)) + std::log(static_cast<double>(saved.column.sum(j)));
            const double g = scale * weight * (std::exp(v - lse) + std::exp(v - column_lse) - (i == j ? 2.0 : 0.0));
            for (index_t k = 0; k < x.d; ++k) expected(s, k) += g * gpu::value(x.b.host(j, k));
        }
        for (index_t k = 0; k < x.d; ++k) actual(s, k) = gpu::value(gradients(i, k));
    }
    return r.check(actual_loss.view(), expected_loss.view()) && r.check(actual.view(), expected.view());
}

template <class T>
void info_nce_step(gpu::run& r, index_t n, index_t d) {
    problem<T> x(r.ctx, gpu::sized(n, 70), gpu::sized(d, 16));
    const auto work = [&] { x.step(r.ctx); };
    work();
    if (!right(r, x)) return;
    r.time(work, {.flop = 8.0 * static_cast<double>(x.n) * static_cast<double>(x.n) * static_cast<double>(x.d)});
}

const bool registered = [] {
    for (const index_t n : {4096, 8192, 16384, 32768, 65536, 131072}) {
        // Without bf16 the largest take minutes.
        const auto body = [n]<class T>(gpu::run& r) { info_nce_step<T>(r, n, 768); };
        if (n <= 32768) gpu::add("info_nce_step", gpu::slashed(n, 768), gpu::k_all, body, n <= 16384 ? 15 : 5);
        else gpu::add("info_nce_step", gpu::slashed(n, 768), gpu::k_bf16_only, body, 5);
    }
    return true;
}();

}  // namespace
