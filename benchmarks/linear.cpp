// The affine map of transformers: forward, forward with GELU, backward, at the sizes of BERT and ViT. All cores.
//
//     bench_linear --benchmark_filter=4096/768/3072
//
// Names: work/n_rows/d_in/d_out. FLOP are those of the products (2 or 4 · n_rows · d_in · d_out). Sampled outputs are checked
// against sums in double before anything is timed.

#include <array>
#include <cmath>

#include <benchmark/benchmark.h>

#include "instar/core/philox.hpp"
#include "instar/core/tensor.hpp"
#include "instar/ops/linear.hpp"
#include "roofline.hpp"

namespace {

using namespace instar;

template <int Rank>
tensor<float, Rank> random_tensor(const index_t (&extents)[Rank], std::uint64_t seed) {
    tensor<float, Rank> x(extents);
    const philox rng{.seed = seed};
    for (index_t i = 0; i < x.size(); ++i) x.data()[i] = 2.0f * rng.uniform(static_cast<std::uint64_t>(i)) - 1.0f;
    return x;
}

struct layer {
    cpu_context ctx;
    index_t n_rows, d_in, d_out;
    tensor<float, 2> x, weight, y, pre, dy, dx, dweight;
    tensor<float, 1> bias, dbias;

    explicit layer(const benchmark::State& state)
        : n_rows(state.range(0)), d_in(state.range(1)), d_out(state.range(2)),
          x(random_tensor<2>({n_rows, d_in}, 1)), weight(random_tensor<2>({d_out, d_in}, 2)), y({n_rows, d_out}), pre({n_rows, d_out}),
          dy(random_tensor<2>({n_rows, d_out}, 3)), dx({n_rows, d_in}), dweight({d_out, d_in}), bias(random_tensor<1>({d_out}, 4)), dbias({d_out}) {}

    double products() const { return static_cast<double>(n_rows) * static_cast<double>(d_in) * static_cast<double>(d_out); }
    bool near(double actual, double expected, index_t terms) const {
        return std::fabs(actual - expected) < 1e-5 * std::sqrt(static_cast<double>(terms));
    }
    /// Element t of 64 spread over the output of a forward.
    template <class F>
    bool forward_is_right(F&& activation) const {
        for (index_t t = 0; t < 64; ++t) {
            const index_t r = t * 7919 % n_rows, o = t * 104729 % d_out;
            double sum = static_cast<double>(bias(o));
            for (index_t i = 0; i < d_in; ++i) sum += static_cast<double>(x(r, i)) * static_cast<double>(weight(o, i));
            if (!near(static_cast<double>(y(r, o)), activation(sum), d_in)) return false;
        }
        return true;
    }
    bool backward_is_right() const {
        for (index_t t = 0; t < 64; ++t) {
            const index_t r = t * 7919 % n_rows, o = t * 104729 % d_out, i = t * 1299709 % d_in;
            double x_sum = 0.0, weight_sum = 0.0, bias_sum = 0.0;
            for (index_t q = 0; q < d_out; ++q) x_sum += static_cast<double>(dy(r, q)) * static_cast<double>(weight(q, i));
            for (index_t q = 0; q < n_rows; ++q) {
                weight_sum += static_cast<double>(dy(q, o)) * static_cast<double>(x(q, i));
                bias_sum += static_cast<double>(dy(q, o));
            }
            if (!near(static_cast<double>(dx(r, i)), x_sum, d_out) || !near(static_cast<double>(dweight(o, i)), weight_sum, n_rows) ||
                !near(static_cast<double>(dbias(o)), bias_sum, n_rows)) {
                return false;
            }
        }
        return true;
    }
};

void forward(benchmark::State& state) {
    layer l(state);
    const auto run = [&] { ops::linear_forward<float>(l.ctx, l.y, l.x, l.weight, l.bias); };
    run();
    if (!l.forward_is_right([](double v) { return v; })) return state.SkipWithError("wrong result");
    for (auto _ : state) run();
    bench::report(state, l.ctx, {.flop = 2.0 * l.products()});
}

void forward_gelu(benchmark::State& state) {
    layer l(state);
    const auto run = [&] { ops::linear_gelu_forward<float>(l.ctx, l.y, l.pre, l.x, l.weight, l.bias); };
    run();
    if (!l.forward_is_right([](double v) { return 0.5 * v * std::erfc(-v * 0.70710678118654752440); })) return state.SkipWithError("wrong result");
    for (auto _ : state) run();
    bench::report(state, l.ctx, {.flop = 2.0 * l.products()});
}

void backward(benchmark::State& state) {
    layer l(state);
    const auto run = [&] { ops::linear_backward<float>(l.ctx, l.dx, l.dweight, l.dbias, l.dy, l.x, l.weight); };
    run();
    if (!l.backward_is_right()) return state.SkipWithError("wrong result");
    for (auto _ : state) run();
    bench::report(state, l.ctx, {.flop = 4.0 * l.products()});
}

void sizes(benchmark::internal::Benchmark* b) {
    b->UseRealTime()->ArgNames({"n_rows", "d_in", "d_out"});
    // BERT at batch 32 (T 83 and 165), ViT-B/16 at batch 8, a small encoder.
    for (const auto& [n_rows, d_in, d_out] : {std::array<std::int64_t, 3>{2656, 768, 768}, {2656, 768, 3072}, {2656, 3072, 768}, {5280, 768, 3072}, {1576, 768, 2304}, {2656, 128, 512}}) {
        b->Args({n_rows, d_in, d_out});
    }
}

BENCHMARK(forward)->Apply(sizes);
BENCHMARK(forward_gelu)->Apply(sizes);
BENCHMARK(backward)->Apply(sizes);

}  // namespace
