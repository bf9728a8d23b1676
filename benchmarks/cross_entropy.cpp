// Softmax cross-entropy with its gradient, and the loss alone. All cores; GB/s count each argument once.
//
//     bench_cross_entropy --benchmark_filter=65540
//
// Names: work/n_rows/n_classes. 2656 × 65,540 is BarcodeBERT's masked-token loss at k = 8, batch 32.

#include <benchmark/benchmark.h>

#include "data.hpp"
#include "instar/ops/ref/cross_entropy.hpp"
#include "roofline.hpp"

namespace {

using namespace instar;

void run(benchmark::State& state, bool with_gradient) {
    cpu_context ctx;
    const index_t n_rows = state.range(0), n_classes = state.range(1);
    const auto x = bench::random_tensor<2>({n_rows, n_classes}, 1, -4.0f, 4.0f);
    tensor<float, 2> dx({with_gradient ? n_rows : 0, n_classes}), dx_expected({2, n_classes});
    tensor<float, 1> loss({n_rows}), expected({2});
    tensor<std::int32_t, 1> targets({n_rows});
    const philox rng{.seed = 3};
    for (index_t r = 0; r < n_rows; ++r) {
        targets(r) = static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(r), static_cast<std::uint32_t>(n_classes)));
    }
    const ops::cross_entropy_options options{.denominator = static_cast<double>(n_rows)};
    const auto work = [&] { ops::softmax_cross_entropy<float>(ctx, loss, dx, x, targets.view(), {}, options); };
    work();
    ops::ref::softmax_cross_entropy<float>(expected, dx_expected, x.view().rows(0, 2), targets.view().rows(0, 2), {}, options);
    const bool right = bench::close(loss.view().rows(0, 2), expected.view()) &&
                       (!with_gradient || bench::close(dx.view().rows(0, 2), dx_expected.view()));
    if (!right) return state.SkipWithError("wrong result");
    for (auto _ : state) work();
    bench::report(state, ctx, {.bytes = (with_gradient ? 8.0 : 4.0) * static_cast<double>(x.size())});
}

void cross_entropy(benchmark::State& state) { run(state, true); }
void cross_entropy_loss_only(benchmark::State& state) { run(state, false); }

void shapes(benchmark::internal::Benchmark* b) {
    b->Args({5280, 260})->Args({16'384, 1024})->Args({2656, 65'540});
    b->UseRealTime()->Unit(benchmark::kMillisecond);
}

BENCHMARK(cross_entropy)->Apply(shapes);
BENCHMARK(cross_entropy_loss_only)->Apply(shapes);

}  // namespace
