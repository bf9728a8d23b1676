// The vision transformer's forward in evaluation and one training step: forward, cross-entropy, backward, AdamW. All cores.
// FLOP: matrix products and attention; a training step counts three forwards.
//
//     bench_vit --benchmark_filter=vit_forward
//
// Names: vit_forward/size_batch, vit_step/size_batch, and vit_forward_bf16, vit_step_bf16 with products of bf16. The features of the first image are checked against the same model in double
// before the forward is timed, the step's loss must fall. peers/pytorch_vit.py times the same shapes with timm.

#include <cmath>

#include <benchmark/benchmark.h>

#include "data.hpp"
#include "instar/core/cpu_context.hpp"
#include "instar/nn/vit.hpp"
#include "instar/ops/cross_entropy.hpp"
#include "instar/optim/adamw.hpp"
#include "peak_memory.hpp"
#include "roofline.hpp"

namespace {

using namespace instar;

struct vit_shape {
    const char* name;
    nn::vit_config config;
    index_t n_batch;
};

tensor<float, 4> random_images(const nn::vit_config& c, index_t n) {
    tensor<float, 4> images({n, c.n_channels, c.image_size, c.image_size});
    const philox rng{.seed = 5};
    for (index_t i = 0; i < images.size(); ++i) images.data()[i] = rng.normal(static_cast<std::uint64_t>(i));
    return images;
}

void vit_forward(benchmark::State& state, const vit_shape& shape, bool bf16) {
    cpu_context ctx;
    ctx.allow_bf16(bf16);
    const nn::vit<float> model(shape.config, philox{.seed = 1});
    const auto images = random_images(shape.config, shape.n_batch);
    nn::vit_activations<float> memory;
    const auto run = [&] { return model.forward(ctx, memory, images.view()); };
    {
        nn::vit<double> exact(model.config());
        for (index_t i = 0; i < model.layout().size(); ++i) exact.parameters()(i) = static_cast<double>(model.parameters()(i));
        tensor<double, 4> first({1, images.extent(1), images.extent(2), images.extent(3)});
        for (index_t i = 0; i < first.size(); ++i) first.data()[i] = static_cast<double>(images.data()[i]);
        nn::vit_activations<double> exact_memory;
        const auto expected = exact.forward(ctx, exact_memory, first.view());
        if (!bench::close(run().rows(0, 1), expected, bf16 ? bench::k_bf16_error : 1e-10)) return state.SkipWithError("wrong result");
    }
    bench::peak_memory::reset();
    for (auto _ : state) benchmark::DoNotOptimize(run().data());
    state.counters["peak_rss_MB"] = bench::peak_memory::megabytes();
    state.counters["samples/s"] = benchmark::Counter(static_cast<double>(shape.n_batch * state.iterations()), benchmark::Counter::kIsRate);
    bench::report(state, ctx, {.flop = model.forward_flop(shape.n_batch)});
}

void vit_step(benchmark::State& state, const vit_shape& shape, bool bf16) {
    cpu_context ctx;
    ctx.allow_bf16(bf16);
    nn::vit_config config = shape.config;
    config.n_labels = 1000;
    nn::vit<float> model(config, philox{.seed = 1});
    const index_t n = shape.n_batch;
    const auto images = random_images(config, n);
    tensor<std::int32_t, 1> targets({n});
    for (index_t i = 0; i < n; ++i) targets(i) = static_cast<std::int32_t>(37 * i % 1000);
    auto gradients = model.make_gradients();
    optim::adamw<float> optimiser(model.layout().size(), {.weight_decay = 0.0});
    nn::vit_activations<float> memory;
    tensor<float, 1> loss({n});
    tensor<float, 2> d_features({n, config.d_model});
    const auto run = [&] {
        model.forward(ctx, memory, images.view(), {.training = true});
        auto logits = model.classify(ctx, memory);
        ops::softmax_cross_entropy<float>(ctx, loss.view(), logits, logits, targets.view(), {}, {.denominator = static_cast<double>(n)});
        model.network().head().backward(ctx, std::as_const(model).parameters(), gradients.view(), d_features.view(), logits, memory.features);
        model.backward(ctx, gradients.view(), memory, d_features.view());
        optimiser.step(ctx, model.parameters(), gradients.view(), {.lr = 1e-4, .beta1 = 0.9});
        ops::fill<float>(ctx, gradients.view(), 0.0f);
        double sum = 0.0;
        for (const float l : loss) sum += static_cast<double>(l);
        return sum;
    };
    const double first = run();
    if (!(std::fabs(first - std::log(1000.0)) < 1.0)) return state.SkipWithError("the first loss is not that of guessing");
    bench::peak_memory::reset();
    double last = first;
    for (auto _ : state) last = run();
    const double peak = bench::peak_memory::megabytes();
    if (!(last < first)) return state.SkipWithError("the loss does not fall");
    state.counters["peak_rss_MB"] = peak;
    state.counters["samples/s"] = benchmark::Counter(static_cast<double>(n * state.iterations()), benchmark::Counter::kIsRate);
    bench::report(state, ctx, {.flop = 3.0 * model.forward_flop(n)});
}

const bool registered = [] {
    for (const vit_shape& s : {vit_shape{"tiny16_b8", nn::vit_config::tiny(), 8}, {"base16_b8", nn::vit_config::base(), 8}}) {
        benchmark::RegisterBenchmark((std::string("vit_forward/") + s.name).c_str(), vit_forward, s, false)->UseRealTime()->Unit(benchmark::kMillisecond);
        benchmark::RegisterBenchmark((std::string("vit_forward_bf16/") + s.name).c_str(), vit_forward, s, true)->UseRealTime()->Unit(benchmark::kMillisecond);
    }
    for (const vit_shape& s : {vit_shape{"tiny16_b8", nn::vit_config::tiny(), 8}, {"base16_b4", nn::vit_config::base(), 4}}) {
        benchmark::RegisterBenchmark((std::string("vit_step/") + s.name).c_str(), vit_step, s, false)->UseRealTime()->Unit(benchmark::kMillisecond);
        benchmark::RegisterBenchmark((std::string("vit_step_bf16/") + s.name).c_str(), vit_step, s, true)->UseRealTime()->Unit(benchmark::kMillisecond);
    }
    return true;
}();

}  // namespace
