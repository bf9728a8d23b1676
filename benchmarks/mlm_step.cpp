// One training step of BarcodeBERT's masked-token objective: forward and backward with dropout 0.1, the classifier over all
// 4^k words on every token, AdamW. All cores. FLOP: three times the forward's matrix products and attention.
//
//     bench_mlm_step --benchmark_filter=k8
//
// Names: mlm_step/k-mers_layers×width_batch_tokens, mlm_step_bf16/… with products of bf16,
// mlm_step_bf16_storage/… with parameters, gradients and activations of bf16 too and AdamW's copy in float. peak_rss_MB is the process's highest resident size while steps run,
// parameters and optimiser included. The loss must start near that of guessing and fall while the same batch is repeated.
// Correctness of gradients and updates is the golden tests' part. peers/pytorch_bert.py times the same shapes.

#include <cmath>

#include <benchmark/benchmark.h>

#include "bert_shapes.hpp"
#include "instar/core/cpu_context.hpp"
#include "instar/train/bert_trainer.hpp"
#include "peak_memory.hpp"
#include "roofline.hpp"

namespace {

using namespace instar;

template <class T>
void mlm_step(benchmark::State& state, const bench::bert_shape& shape, bool bf16_products) {
    cpu_context ctx;
    ctx.allow_bf16(bf16_products);
    nn::bert<T> model(shape.config(), philox{.seed = 1});
    const bench::bert_batch batch(shape);
    train::bert_trainer<T> trainer(model);
    train::masked_batch masked;
    std::uint64_t step = 0;
    const auto run = [&] {
        const philox rng{7, step++};
        train::mask_tokens(masked, batch.ids.view(), {}, rng.fork(1));
        const double loss = trainer.accumulate_mlm(ctx, masked, batch.mask.view(), masked.denominator, rng.fork(2));
        trainer.update(ctx, {.lr = 1e-4, .beta1 = 0.9});
        return loss;
    };
    const double guessing = std::log(static_cast<double>(model.config().n_labels));
    const double first = run();
    if (!(std::fabs(first - guessing) < 0.1 * guessing)) return state.SkipWithError("the first loss is not that of guessing");
    bench::peak_memory::reset();
    double last = first;
    for (auto _ : state) last = run();
    const double peak = bench::peak_memory::megabytes();
    while (step < 4) last = run();
    if (!(last < first)) return state.SkipWithError("the loss does not fall");
    state.counters["loss"] = last;
    state.counters["peak_rss_MB"] = peak;
    state.counters["samples/s"] = benchmark::Counter(static_cast<double>(shape.n_batch * state.iterations()), benchmark::Counter::kIsRate);
    bench::report(state, ctx, {.flop = 3.0 * (model.forward_flop(shape.n_batch, shape.seq_len) + shape.classifier_flop())});
}

const bool registered = [] {
    for (const bench::bert_shape& s : bench::k_bert_shapes) {
        benchmark::RegisterBenchmark((std::string("mlm_step/") + s.name).c_str(), mlm_step<float>, s, false)->UseRealTime()->Unit(benchmark::kMillisecond);
        benchmark::RegisterBenchmark((std::string("mlm_step_bf16/") + s.name).c_str(), mlm_step<float>, s, true)->UseRealTime()->Unit(benchmark::kMillisecond);
        benchmark::RegisterBenchmark((std::string("mlm_step_bf16_storage/") + s.name).c_str(), mlm_step<bf16>, s, true)->UseRealTime()->Unit(benchmark::kMillisecond);
    }
    return true;
}();

}  // namespace
