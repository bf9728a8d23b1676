// Layer normalisation forward and backward, and rows to unit length. All cores; GB/s count x, y, dx and dy once.
//
//     bench_layer_norm --benchmark_filter=backward
//
// Names: work/n_rows/d_model.

#include <benchmark/benchmark.h>

#include "data.hpp"
#include "instar/ops/ref/l2_normalize.hpp"
#include "instar/ops/ref/layer_norm.hpp"
#include "roofline.hpp"

namespace {

using namespace instar;

struct layer {
    cpu_context ctx;
    index_t n_rows, d;
    tensor<float, 2> x, y, dy, dx;
    tensor<float, 1> weight, bias, mean, rstd, dweight, dbias;
    explicit layer(const benchmark::State& state)
        : n_rows(state.range(0)), d(state.range(1)), x(bench::random_tensor<2>({n_rows, d}, 1)), y({n_rows, d}),
          dy(bench::random_tensor<2>({n_rows, d}, 2)), dx({n_rows, d}), weight(bench::random_tensor<1>({d}, 3)),
          bias(bench::random_tensor<1>({d}, 4)), mean({n_rows}), rstd({n_rows}), dweight({d}), dbias({d}) {}
    void forward() { ops::layer_norm_forward<float>(ctx, y, {mean, rstd}, x, weight, bias, 1e-12); }
    void backward() { ops::layer_norm_backward<float>(ctx, dx, dweight, dbias, dy, {mean, rstd}, x, weight); }
};

void layer_norm_forward(benchmark::State& state) {
    layer l(state);
    const index_t sample = std::min<index_t>(l.n_rows, 64);
    tensor<float, 2> y({sample, l.d});
    tensor<float, 1> mean({sample}), rstd({sample});
    l.forward();
    ops::ref::layer_norm_forward<float>(y, {mean, rstd}, l.x.view().rows(0, sample), l.weight, l.bias, 1e-12);
    if (!bench::close(l.y.view().rows(0, sample), y.view())) return state.SkipWithError("wrong result");
    for (auto _ : state) l.forward();
    bench::report(state, l.ctx, {.bytes = 8.0 * static_cast<double>(l.x.size())});
}

void layer_norm_backward(benchmark::State& state) {
    layer l(state);
    tensor<float, 2> dx({l.n_rows, l.d});
    tensor<float, 1> dweight({l.d}), dbias({l.d});
    l.forward();
    l.backward();
    ops::ref::layer_norm_backward<float>(dx, dweight, dbias, l.dy, {l.mean, l.rstd}, l.x, l.weight);
    const bool right = bench::close(l.dx.view(), dx.view()) && bench::close(l.dweight.view(), dweight.view()) &&
                       bench::close(l.dbias.view(), dbias.view());
    if (!right) return state.SkipWithError("wrong result");
    for (auto _ : state) l.backward();
    bench::report(state, l.ctx, {.bytes = 12.0 * static_cast<double>(l.x.size())});
}

void l2_normalize_forward(benchmark::State& state) {
    layer l(state);
    const index_t sample = std::min<index_t>(l.n_rows, 64);
    tensor<float, 2> y({sample, l.d});
    tensor<float, 1> inv({sample});
    ops::l2_normalize_forward<float>(l.ctx, l.y, l.rstd, l.x);
    ops::ref::l2_normalize_forward<float>(y, inv, l.x.view().rows(0, sample));
    if (!bench::close(l.y.view().rows(0, sample), y.view())) return state.SkipWithError("wrong result");
    for (auto _ : state) ops::l2_normalize_forward<float>(l.ctx, l.y, l.rstd, l.x);
    bench::report(state, l.ctx, {.bytes = 8.0 * static_cast<double>(l.x.size())});
}

void shapes(benchmark::internal::Benchmark* b) {
    b->Args({64, 768})->Args({5280, 768})->Args({42'240, 768})->UseRealTime()->Unit(benchmark::kMillisecond);
}

BENCHMARK(layer_norm_forward)->Apply(shapes);
BENCHMARK(layer_norm_backward)->Apply(shapes);
BENCHMARK(l2_normalize_forward)->Apply(shapes);

}  // namespace
