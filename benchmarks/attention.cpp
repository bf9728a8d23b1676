// The attention core, forward and backward. All cores; FLOP by the formula, 4 and 10 · n_batch · n_heads · seq_len² ·
// d_head, also where a mask lets the kernel skip keys.
//
//     bench_attention --benchmark_filter=forward/64/12/83/64
//
// Names: work/n_batch/n_heads/seq_len/d_head/dropout in percent/kept keys in percent. q, k and v are slices of one
// buffer, as in nn::self_attention.

#include <cmath>

#include <benchmark/benchmark.h>

#include "data.hpp"
#include "instar/ops/ref/attention.hpp"
#include "roofline.hpp"

namespace {

using namespace instar;

struct problem {
    index_t n_batch, n_heads, seq_len, d_head;
    tensor<float, 5> qkv, d_qkv;
    tensor<float, 4> o, d_o;
    tensor<float, 3> lse;
    tensor<std::uint8_t, 2> mask;
    ops::attention_options options;

    explicit problem(const benchmark::State& state)
        : n_batch(state.range(0)),
          n_heads(state.range(1)),
          seq_len(state.range(2)),
          d_head(state.range(3)),
          qkv(bench::random_tensor<5>({n_batch, seq_len, 3, n_heads, d_head}, 1, -2.0f, 2.0f)),
          d_qkv({n_batch, seq_len, 3, n_heads, d_head}),
          o({n_batch, seq_len, n_heads, d_head}),
          d_o(bench::random_tensor<4>({n_batch, seq_len, n_heads, d_head}, 2)),
          lse({n_batch, n_heads, seq_len}),
          options{.scale = 1.0 / std::sqrt(static_cast<double>(d_head)),
                  .dropout = {static_cast<float>(state.range(4)) / 100.0f, {7, 8}}} {
        if (state.range(5) == 100) return;
        mask = tensor<std::uint8_t, 2>({n_batch, seq_len});
        for (index_t b = 0; b < n_batch; ++b) {
            for (index_t j = 0; j < seq_len; ++j) mask(b, j) = j * 100 < seq_len * state.range(5);
        }
    }
    tensor_view<float, 4> part(const tensor_view<float, 5>& x, index_t which) const {
        return {x.data() + which * x.stride(2),
                {x.extent(0), seq_len, n_heads, d_head},
                {x.stride(0), x.stride(1), x.stride(3), x.stride(4)}};
    }
    void forward(cpu_context& ctx) {
        const auto x = qkv.view();
        ops::attention_forward<float>(ctx, o, {lse}, part(x, 0), part(x, 1), part(x, 2), mask, options);
    }
    void backward(cpu_context& ctx) {
        const auto x = qkv.view(), d = d_qkv.view();
        ops::attention_backward<float>(ctx, part(d, 0), part(d, 1), part(d, 2), d_o, o, {lse}, part(x, 0), part(x, 1),
                                       part(x, 2), mask, options);
    }
    /// The first sample of both against the reference.
    bool right() {
        tensor<float, 5> d({1, seq_len, 3, n_heads, d_head}), d_actual({1, seq_len, 3, n_heads, d_head});
        tensor<float, 4> y({1, seq_len, n_heads, d_head});
        tensor<float, 3> l({1, n_heads, seq_len});
        const auto x = qkv.view().rows(0, 1);
        const tensor_view<const std::uint8_t, 2> m = mask.empty() ? mask.view() : mask.view().rows(0, 1);
        ops::ref::attention_forward<float>(y, {l}, part(x, 0), part(x, 1), part(x, 2), m, options);
        const auto g = d.view();
        ops::ref::attention_backward<float>(part(g, 0), part(g, 1), part(g, 2), d_o.view().rows(0, 1), y, {l},
                                            part(x, 0), part(x, 1), part(x, 2), m, options);
        return bench::close(o.view().rows(0, 1), y.view()) && bench::close(d_qkv.view().rows(0, 1), d.view());
    }
    double scores() const { return static_cast<double>(n_batch * n_heads * seq_len * seq_len * d_head); }
};

void attention_forward(benchmark::State& state) {
    cpu_context ctx;
    problem x(state);
    x.forward(ctx);
    x.backward(ctx);
    if (!x.right()) return state.SkipWithError("wrong result");
    for (auto _ : state) x.forward(ctx);
    bench::report(state, ctx, {.flop = 4.0 * x.scores()});
}

void attention_backward(benchmark::State& state) {
    cpu_context ctx;
    problem x(state);
    x.forward(ctx);
    x.backward(ctx);
    if (!x.right()) return state.SkipWithError("wrong result");
    for (auto _ : state) x.backward(ctx);
    bench::report(state, ctx, {.flop = 10.0 * x.scores()});
}

void shapes(benchmark::internal::Benchmark* b) {
    // BERT on barcodes with k = 8 and 4 (768 = 12 × 64 = 4 × 192), ViT-B/16, and small models.
    b->Args({64, 12, 83, 64, 0, 100})->Args({32, 4, 165, 192, 0, 100})->Args({8, 12, 197, 64, 0, 100});
    b->Args({64, 12, 83, 64, 10, 100})->Args({64, 12, 83, 64, 0, 70});
    b->Args({64, 4, 165, 16, 0, 100})->Args({64, 8, 165, 32, 0, 100})->Args({64, 4, 165, 64, 0, 100});
    b->Args({1, 12, 1025, 64, 0, 100});
    b->UseRealTime()->Unit(benchmark::kMillisecond);
}

BENCHMARK(attention_forward)->Apply(shapes);
BENCHMARK(attention_backward)->Apply(shapes);

}  // namespace
