// InfoNCE of a pair of modalities: forward with loss, backward, and both in one call ("step"), as a training step does; "trimodal"
// is the three pairs of ops::contrastive_loss. All cores. FLOP by the formula, 2, 6 and 8 · n² · d a pair, also where a batch
// is small enough for its logits to be used twice (n ≤ 2048: 6 instead of 8).
//
//     bench_info_nce --benchmark_filter=step/4096
//
// Names: work/n/d; extra_MB of info_nce_memory is what a step takes beside features and gradients. peak_rss_MB is what the process held at most while the work ran, features and gradients included.

#include <cmath>
#include <vector>

#include <benchmark/benchmark.h>

#include "data.hpp"
#include "instar/ops/contrastive.hpp"
#include "instar/ops/l2_normalize.hpp"
#include "peak_memory.hpp"
#include "roofline.hpp"

namespace {

using namespace instar;

struct problem {
    index_t n, d;
    tensor<float, 2> a, b, da, db;
    tensor<float, 1> logit_scale, d_logit_scale, memory, row_loss, column_loss;

    explicit problem(const benchmark::State& state)
        : n(state.range(0)),
          d(state.range(1)),
          a(bench::random_tensor<2>({n, d}, 1)),
          b(bench::random_tensor<2>({n, d}, 2)),
          da({n, d}),
          db({n, d}),
          logit_scale({1}),
          d_logit_scale({1}),
          memory({ops::info_nce_saved<float>::size(n, n)}),
          row_loss({n}),
          column_loss({n}) {
        logit_scale(0) = 2.6592600f;
        cpu_context ctx;
        for (index_t i = 0; i < a.size(); ++i) b.data()[i] += 0.2f * a.data()[i];
        tensor<float, 1> norm({n});
        ops::l2_normalize_forward<float>(ctx, a, norm, a);
        ops::l2_normalize_forward<float>(ctx, b, norm, b);
    }
    ops::info_nce_saved<float> saved() { return {memory.view(), n, n}; }
    void forward(cpu_context& ctx) {
        ops::info_nce_forward<float>(ctx, saved(), a, b, logit_scale, {});
        ops::info_nce_loss<float>(ctx, row_loss, column_loss, saved(), {});
    }
    void backward(cpu_context& ctx) {
        ops::info_nce_backward<float>(ctx, da, db, d_logit_scale, saved(), a, b, logit_scale, {}, {});
    }
    void step(cpu_context& ctx) {
        ops::info_nce<float>(ctx, row_loss, column_loss, da, db, d_logit_scale, saved(), a, b, logit_scale, {}, {});
    }

    /// A few rows and columns against the formulas in double.
    bool right(cpu_context& ctx) {
        for (float& x : da) x = 0.0f;
        for (float& x : db) x = 0.0f;
        forward(ctx);
        backward(ctx);
        const double scale = std::exp(static_cast<double>(logit_scale(0)));
        const auto logits = [&](const tensor<float, 2>& x, const tensor<float, 2>& y, index_t i) {
            std::vector<double> z(static_cast<std::size_t>(n));
            for (index_t j = 0; j < n; ++j) {
                for (index_t k = 0; k < d; ++k)
                    z[static_cast<std::size_t>(j)] +=
                        scale * static_cast<double>(x(i, k)) * static_cast<double>(y(j, k));
            }
            return z;
        };
        const auto lse_of = [](const ops::info_nce_side<float>& side, index_t i) {
            return static_cast<double>(side.max(i)) + std::log(static_cast<double>(side.sum(i)));
        };
        const auto s = saved();
        double error = 0.0, gradient_error = 0.0, energy = 0.0;
        const auto check = [&](const tensor<float, 2>& x, const tensor<float, 2>& y, const tensor<float, 2>& dx,
                               const ops::info_nce_side<float>& own, const ops::info_nce_side<float>& other,
                               const tensor<float, 1>& loss, index_t i) {
            const auto z = logits(x, y, i);
            double sum = 0.0;
            for (const double v : z) sum += std::exp(v);
            const double lse = std::log(sum), weight = 0.5 / static_cast<double>(n);
            error = std::fmax(error, std::fabs(lse - lse_of(own, i)));
            error = std::fmax(
                error,
                std::fabs((lse - z[static_cast<std::size_t>(i)]) * weight - static_cast<double>(loss(i))) / weight);
            std::vector<double> expected(static_cast<std::size_t>(d));
            for (index_t j = 0; j < n; ++j) {
                const double v = z[static_cast<std::size_t>(j)];
                const double g =
                    scale * weight * (std::exp(v - lse) + std::exp(v - lse_of(other, j)) - (i == j ? 2.0 : 0.0));
                for (index_t k = 0; k < d; ++k)
                    expected[static_cast<std::size_t>(k)] += g * static_cast<double>(y(j, k));
            }
            for (index_t k = 0; k < d; ++k) {
                const double e = expected[static_cast<std::size_t>(k)], difference = static_cast<double>(dx(i, k)) - e;
                gradient_error += difference * difference;
                energy += e * e;
            }
        };
        for (const index_t i : {index_t{0}, n / 3, n - 1}) {
            check(a, b, da, s.row, s.column, row_loss, i);
            check(b, a, db, s.column, s.row, column_loss, i);
        }
        return error < 1e-5 && gradient_error <= 1e-10 * energy;
    }
    double products() const { return static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(d); }
};

void info_nce_forward(benchmark::State& state) {
    cpu_context ctx;
    problem x(state);
    if (!x.right(ctx)) return state.SkipWithError("wrong result");
    for (auto _ : state) x.forward(ctx);
    bench::report(state, ctx, {.flop = 2.0 * x.products()});
}

void info_nce_backward(benchmark::State& state) {
    cpu_context ctx;
    problem x(state);
    if (!x.right(ctx)) return state.SkipWithError("wrong result");
    for (auto _ : state) x.backward(ctx);
    bench::report(state, ctx, {.flop = 6.0 * x.products()});
}

void info_nce_step(benchmark::State& state) {
    cpu_context ctx;
    problem x(state);
    if (!x.right(ctx)) return state.SkipWithError("wrong result");
    bench::peak_memory::reset();
    for (auto _ : state) x.step(ctx);
    state.counters["peak_rss_MB"] = bench::peak_memory::megabytes();
    bench::report(state, ctx, {.flop = 8.0 * x.products()});
}

void info_nce_trimodal(benchmark::State& state) {
    cpu_context ctx;
    problem x(state);
    if (!x.right(ctx)) return state.SkipWithError("wrong result");
    const auto third = bench::random_tensor<2>({x.n, x.d}, 3);
    tensor<float, 2> c({x.n, x.d}), dc({x.n, x.d}), loss({6, x.n});
    tensor<float, 1> norm({x.n});
    ops::l2_normalize_forward<float>(ctx, c, norm, third);
    const ops::contrastive_modality<float> modalities[] = {
        {x.a.view(), x.da.view(), {}}, {x.b.view(), x.db.view(), {}}, {c.view(), dc.view(), {}}};
    for (auto _ : state)
        ops::contrastive_loss<float>(ctx, loss, x.d_logit_scale, x.logit_scale, modalities, {}, x.memory, {});
    bench::report(state, ctx, {.flop = 24.0 * x.products()});
}

/// Memory beside features and their gradients. One step; minutes at 65,536. The result is checked by the others. One size a process: what the
/// first gives back to the allocator would be counted for the second.
void info_nce_memory(benchmark::State& state) {
    cpu_context ctx;
    bench::peak_memory::reset();
    const double before = bench::peak_memory::megabytes();
    problem x(state);
    for (auto _ : state) x.step(ctx);
    state.counters["extra_MB"] = bench::peak_memory::megabytes() - before - 16e-6 * static_cast<double>(x.n * x.d);
}

void shapes(benchmark::internal::Benchmark* b) {
    b->Args({512, 256})->Args({2000, 768})->Args({4096, 768})->Args({16384, 768});
    b->UseRealTime()->Unit(benchmark::kMillisecond);
}

BENCHMARK(info_nce_forward)->Apply(shapes);
BENCHMARK(info_nce_backward)->Apply(shapes);
BENCHMARK(info_nce_step)->Apply(shapes);
BENCHMARK(info_nce_memory)->Args({32768, 768})->Args({65536, 768})->Iterations(1)->UseRealTime()->Unit(benchmark::kSecond);
BENCHMARK(info_nce_trimodal)->Args({2000, 768})->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
