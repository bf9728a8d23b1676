// Embedding look-up and its gradient, at BERT's sizes, and pooling of the sequence. All cores.
//
//     bench_embedding --benchmark_filter=backward
//
// Names: work/n_batch/seq_len/n_vocab, d_model 768. GB/s count y (or dy) once and each looked-up row of the table once for a
// read, twice for an update; the position table stays in the cache.

#include <benchmark/benchmark.h>

#include "data.hpp"
#include "instar/ops/ref/embedding.hpp"
#include "instar/ops/ref/pooling.hpp"
#include "roofline.hpp"

namespace {

using namespace instar;

constexpr index_t k_d = 768;

struct layer {
    cpu_context ctx;
    index_t n_batch, seq_len, n_vocab;
    tensor<std::int32_t, 2> ids;
    tensor<float, 2> word, position, dword, dposition;
    tensor<float, 1> type, dtype;
    tensor<float, 3> y;
    explicit layer(const benchmark::State& state)
        : n_batch(state.range(0)), seq_len(state.range(1)), n_vocab(state.range(2)), ids({n_batch, seq_len}),
          word(bench::random_tensor<2>({n_vocab, k_d}, 1)), position(bench::random_tensor<2>({seq_len, k_d}, 2)), dword({n_vocab, k_d}),
          dposition({seq_len, k_d}), type(bench::random_tensor<1>({k_d}, 3)), dtype({k_d}),
          y(bench::random_tensor<3>({n_batch, seq_len, k_d}, 4)) {
        const philox rng{.seed = 5};
        std::uint64_t i = 0;
        for (auto& id : ids) id = static_cast<std::int32_t>(rng.below(i++, static_cast<std::uint32_t>(n_vocab)));
    }
    void forward() { ops::embedding_forward<float>(ctx, y, ids.view(), word, position, type); }
    void backward() { ops::embedding_backward<float>(ctx, dword, dposition, dtype, y, ids.view()); }
};

void embedding_forward(benchmark::State& state) {
    layer l(state);
    tensor<float, 3> expected({1, l.seq_len, k_d});
    l.forward();
    ops::ref::embedding_forward<float>(expected, l.ids.view().rows(0, 1), l.word, l.position, l.type);
    if (!bench::close(l.y.view().rows(0, 1), expected.view())) return state.SkipWithError("wrong result");
    for (auto _ : state) l.forward();
    bench::report(state, l.ctx, {.bytes = 8.0 * static_cast<double>(l.y.size())});
}

void embedding_backward(benchmark::State& state) {
    layer l(state);
    tensor<float, 2> dword({l.n_vocab, k_d}), dposition({l.seq_len, k_d});
    tensor<float, 1> dtype({k_d});
    l.backward();
    ops::ref::embedding_backward<float>(dword, dposition, dtype, l.y, l.ids.view());
    const bool right = bench::close(l.dword.view(), dword.view()) && bench::close(l.dposition.view(), dposition.view()) &&
                       bench::close(l.dtype.view(), dtype.view());
    if (!right) return state.SkipWithError("wrong result");
    for (auto _ : state) l.backward();
    bench::report(state, l.ctx, {.bytes = 12.0 * static_cast<double>(l.y.size())});
}

void pool_masked_mean(benchmark::State& state) {
    layer l(state);
    tensor<std::uint8_t, 2> mask({l.n_batch, l.seq_len});
    for (auto& m : mask) m = 1;
    tensor<float, 2> pooled({l.n_batch, k_d}), expected({1, k_d});
    ops::sequence_pool_forward<float>(l.ctx, pooled, l.y, mask.view(), ops::pooling::masked_mean);
    ops::ref::sequence_pool_forward<float>(expected, l.y.view().rows(0, 1), mask.view().rows(0, 1), ops::pooling::masked_mean);
    if (!bench::close(pooled.view().rows(0, 1), expected.view())) return state.SkipWithError("wrong result");
    for (auto _ : state) ops::sequence_pool_forward<float>(l.ctx, pooled, l.y, mask.view(), ops::pooling::masked_mean);
    bench::report(state, l.ctx, {.bytes = 4.0 * static_cast<double>(l.y.size())});
}

void shapes(benchmark::internal::Benchmark* b) {
    b->Args({32, 165, 260})->Args({256, 165, 260})->Args({256, 83, 65'540})->UseRealTime()->Unit(benchmark::kMillisecond);
}

BENCHMARK(embedding_forward)->Apply(shapes);
BENCHMARK(embedding_backward)->Apply(shapes);
BENCHMARK(pool_masked_mean)->Args({256, 165, 260})->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
