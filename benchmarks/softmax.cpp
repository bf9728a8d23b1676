// Softmax forward and backward, rows of attention scores and of logits. All cores; GB/s count each argument once.
//
//     bench_softmax --benchmark_filter=forward
//
// Names: work/n_rows/n_classes.

#include <benchmark/benchmark.h>

#include "data.hpp"
#include "instar/ops/ref/softmax.hpp"
#include "roofline.hpp"

namespace {

using namespace instar;

void softmax_forward(benchmark::State& state) {
    cpu_context ctx;
    const index_t n_rows = state.range(0), n_classes = state.range(1);
    const auto x = bench::random_tensor<2>({n_rows, n_classes}, 1, -4.0f, 4.0f);
    tensor<float, 2> y({n_rows, n_classes}), expected({2, n_classes});
    ops::softmax_forward<float>(ctx, y, x);
    ops::ref::softmax_forward<float>(expected, x.view().rows(0, 2));
    if (!bench::close(y.view().rows(0, 2), expected.view())) return state.SkipWithError("wrong result");
    for (auto _ : state) ops::softmax_forward<float>(ctx, y, x);
    bench::report(state, ctx, {.bytes = 8.0 * static_cast<double>(x.size())});
}

void softmax_backward(benchmark::State& state) {
    cpu_context ctx;
    const index_t n_rows = state.range(0), n_classes = state.range(1);
    auto y = bench::random_tensor<2>({n_rows, n_classes}, 1, -4.0f, 4.0f);
    ops::softmax_forward<float>(ctx, y, y);
    const auto dy = bench::random_tensor<2>({n_rows, n_classes}, 2);
    tensor<float, 2> dx({n_rows, n_classes}), expected({2, n_classes});
    ops::softmax_backward<float>(ctx, dx, dy, y);
    ops::ref::softmax_backward<float>(expected, dy.view().rows(0, 2), y.view().rows(0, 2));
    if (!bench::close(dx.view().rows(0, 2), expected.view())) return state.SkipWithError("wrong result");
    for (auto _ : state) ops::softmax_backward<float>(ctx, dx, dy, y);
    bench::report(state, ctx, {.bytes = 12.0 * static_cast<double>(y.size())});
}

void shapes(benchmark::internal::Benchmark* b) {
    b->Args({128, 165})->Args({63'360, 165})->Args({10'624, 1024})->Args({256, 65'540});
    b->UseRealTime()->Unit(benchmark::kMillisecond);
}

BENCHMARK(softmax_forward)->Apply(shapes);
BENCHMARK(softmax_backward)->Apply(shapes);

}  // namespace
