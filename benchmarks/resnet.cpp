// A residual network's forward in evaluation and one training step: forward, cross-entropy, backward, SGD with momentum. All cores.
// FLOP: convolutions; a training step counts three forwards.
//
//     bench_resnet --benchmark_filter=resnet_forward
//
// Names: resnet_forward/layers_batch_pixels, resnet_step/layers_batch_pixels. The features of the first image are checked against the same
// model in double before the forward is timed, the step's loss must fall. peers/pytorch_resnet.py times the same shapes with torchvision.

#include <cmath>

#include <benchmark/benchmark.h>

#include "data.hpp"
#include "instar/core/cpu_context.hpp"
#include "instar/nn/resnet.hpp"
#include "instar/ops/cross_entropy.hpp"
#include "instar/optim/sgd.hpp"
#include "peak_memory.hpp"
#include "roofline.hpp"

namespace {

using namespace instar;

struct resnet_shape {
    const char* name;
    nn::resnet_config config;
    index_t n_batch, size;
};

tensor<float, 4> random_images(index_t n, index_t size) {
    tensor<float, 4> images({n, 3, size, size});
    const philox rng{.seed = 5};
    for (index_t i = 0; i < images.size(); ++i) images.data()[i] = rng.normal(static_cast<std::uint64_t>(i));
    return images;
}

void resnet_forward(benchmark::State& state, const resnet_shape& shape) {
    cpu_context ctx;
    nn::resnet<float> model(shape.config, philox{.seed = 1});
    const auto images = random_images(shape.n_batch, shape.size);
    nn::resnet_activations<float> memory;
    const auto run = [&] { return model.forward(ctx, memory, images.view()); };
    {
        nn::resnet<double> exact(model.config());
        for (index_t i = 0; i < model.layout().size(); ++i) exact.parameters()(i) = static_cast<double>(model.parameters()(i));
        tensor<double, 4> first({1, images.extent(1), images.extent(2), images.extent(3)});
        for (index_t i = 0; i < first.size(); ++i) first.data()[i] = static_cast<double>(images.data()[i]);
        nn::resnet_activations<double> exact_memory;
        if (!bench::close(run().rows(0, 1), exact.forward(ctx, exact_memory, first.view()))) return state.SkipWithError("wrong result");
    }
    bench::peak_memory::reset();
    for (auto _ : state) benchmark::DoNotOptimize(run().data());
    state.counters["peak_rss_MB"] = bench::peak_memory::megabytes();
    state.counters["samples/s"] = benchmark::Counter(static_cast<double>(shape.n_batch * state.iterations()), benchmark::Counter::kIsRate);
    bench::report(state, ctx, {.flop = model.forward_flop(shape.n_batch, shape.size, shape.size)});
}

void resnet_step(benchmark::State& state, const resnet_shape& shape) {
    cpu_context ctx;
    nn::resnet_config config = shape.config;
    config.n_labels = 1000;
    nn::resnet<float> model(config, philox{.seed = 1});
    const index_t n = shape.n_batch;
    const auto images = random_images(n, shape.size);
    tensor<std::int32_t, 1> targets({n});
    for (index_t i = 0; i < n; ++i) targets(i) = static_cast<std::int32_t>(37 * i % 1000);
    auto gradients = model.make_gradients();
    optim::sgd<float> optimiser(model.layout().size(), {.momentum = 0.9});
    nn::resnet_activations<float> memory;
    tensor<float, 1> loss({n});
    tensor<float, 2> d_features({n, config.d_features()});
    const auto run = [&] {
        model.forward(ctx, memory, images.view(), true);
        auto logits = model.classify(ctx, memory);
        ops::softmax_cross_entropy<float>(ctx, loss.view(), logits, logits, targets.view(), {}, {.denominator = static_cast<double>(n)});
        model.network().head().backward(ctx, std::as_const(model).parameters(), gradients.view(), d_features.view(), logits, memory.features);
        model.backward(ctx, gradients.view(), memory, d_features.view());
        optimiser.step(ctx, model.parameters(), gradients.view(), 1e-3);
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
    bench::report(state, ctx, {.flop = 3.0 * model.forward_flop(n, shape.size, shape.size)});
}

const bool registered = [] {
    for (const resnet_shape& s : {resnet_shape{"50_b8_224", nn::resnet_config::resnet50(), 8, 224}, {"18_b32_96", nn::resnet_config::resnet18(), 32, 96}}) {
        benchmark::RegisterBenchmark((std::string("resnet_forward/") + s.name).c_str(), resnet_forward, s)->UseRealTime()->Unit(benchmark::kMillisecond);
        benchmark::RegisterBenchmark((std::string("resnet_step/") + s.name).c_str(), resnet_step, s)->UseRealTime()->Unit(benchmark::kMillisecond);
    }
    return true;
}();

}  // namespace
