// The BERT encoder's forward in evaluation, as embedding and probing run it. All cores. FLOP: matrix products and attention.
//
//     bench_bert --benchmark_filter=k4_4x768
//
// Names: encoder_forward/k-mers_layers×width_batch_tokens, encoder_forward_bf16/… with products of bf16 (their share is of the peak
// of float multiply-adds all the same), encoder_forward_bf16_storage/… with parameters and activations of bf16 too. The first sample is checked against the same model in double
// before anything is timed. peers/pytorch_bert.py times the same shapes.

#include <benchmark/benchmark.h>

#include "bert_shapes.hpp"
#include "data.hpp"
#include "instar/core/cpu_context.hpp"
#include "peak_memory.hpp"
#include "roofline.hpp"

namespace {

using namespace instar;

template <class T>
bool first_sample_is_right(cpu_context& ctx, const nn::bert<T>& model, const bench::bert_batch& batch, tensor_view<T, 3> hidden) {
    nn::bert<double> exact(model.config());
    for (index_t i = 0; i < model.layout().size(); ++i) exact.parameters()(i) = bench::as_double(model.parameters()(i));
    nn::bert_activations<double> memory;
    const auto expected = exact.forward(ctx, memory, batch.ids.view().rows(0, 1), batch.mask.view().rows(0, 1));
    const double allowed = std::same_as<T, bf16> ? bench::k_bf16_storage_error : ctx.bf16_allowed() ? bench::k_bf16_error : 1e-10;
    return bench::close(hidden.rows(0, 1), expected, allowed);
}

template <class T>
void encoder_forward(benchmark::State& state, const bench::bert_shape& shape, bool bf16_products) {
    cpu_context ctx;
    ctx.allow_bf16(bf16_products);
    nn::bert_config config = shape.config();
    config.n_labels = 0;
    const nn::bert<T> model(config, philox{.seed = 1});
    const bench::bert_batch batch(shape);
    nn::bert_activations<T> memory;
    const auto hold = ctx.hold_weights();  // packed once, as for a model that serves
    const auto run = [&] { return model.forward(ctx, memory, batch.ids.view(), batch.mask.view()); };
    if (!first_sample_is_right<T>(ctx, model, batch, run())) return state.SkipWithError("wrong result");
    bench::peak_memory::reset();
    for (auto _ : state) benchmark::DoNotOptimize(run().data());
    state.counters["peak_rss_MB"] = bench::peak_memory::megabytes();
    state.counters["samples/s"] = benchmark::Counter(static_cast<double>(shape.n_batch * state.iterations()), benchmark::Counter::kIsRate);
    bench::report(state, ctx, {.flop = model.forward_flop(shape.n_batch, shape.seq_len)});
}

const bool registered = [] {
    for (const bench::bert_shape& s : bench::k_bert_shapes) {
        benchmark::RegisterBenchmark((std::string("encoder_forward/") + s.name).c_str(), encoder_forward<float>, s, false)->UseRealTime()->Unit(benchmark::kMillisecond);
        benchmark::RegisterBenchmark((std::string("encoder_forward_bf16/") + s.name).c_str(), encoder_forward<float>, s, true)->UseRealTime()->Unit(benchmark::kMillisecond);
        benchmark::RegisterBenchmark((std::string("encoder_forward_bf16_storage/") + s.name).c_str(), encoder_forward<bf16>, s, true)->UseRealTime()->Unit(benchmark::kMillisecond);
    }
    return true;
}();

}  // namespace
