// ResNet-50 on images of 224²: forward in evaluation, and one training step: forward, cross-entropy over 1000 classes, backward, AdamW. FLOP:
// convolutions; a step counts three forwards.
//
//     bench_gpu_resnet --benchmark_filter=resnet_step_bf16
//
// Names: resnet_forward/layers_batch, resnet_step/layers_batch. The forward's first image is checked against the CPU in float; a step's loss must
// start near that of guessing and fall on the same batch. AdamW, because it keeps a float copy of parameters in bf16, which SGD does not.

#include "instar/nn/resnet.hpp"

#include "instar/core/cpu_context.hpp"
#include "instar/ops/cross_entropy.hpp"
#include "instar/optim/adamw.hpp"
#include "models.hpp"

namespace {

using namespace instar;
namespace gpu = bench::gpu;

constexpr index_t k_size = gpu::sized(224, 64);

nn::resnet_config config_of(index_t n_labels) {
    if (gpu::k_emulated) return {.n_blocks = {1, 1, 1, 1}, .width = 4, .n_labels = n_labels > 0 ? 7 : 0};
    return nn::resnet_config::resnet50(n_labels);
}

/// A model with random weights on the host and on the device, and a batch for it.
template <class T>
struct resnet_case {
    nn::resnet_config config;
    index_t n;
    nn::resnet<float>& host;
    nn::resnet<T, device_memory> model;
    gpu::both<T, 4> images;

    resnet_case(cuda_context& ctx, const nn::resnet_config& c, index_t n_images)
        : config(c), n(n_images), host(gpu::initial<nn::resnet<float>>(std::to_string(c.n_labels), c)), model(c),
          images(ctx, {n, c.n_channels, k_size, k_size}, 5, -2.0f, 2.0f) {
        gpu::put(ctx, model.parameters(), std::as_const(host).parameters());
        ctx.upload(model.buffers(), std::as_const(host).buffers());
    }
};

template <class T>
void resnet_forward(gpu::run& r, index_t batch) {
    resnet_case<T> at(r.ctx, config_of(0), gpu::sized(batch, 2));
    auto& [c, n, host, model, images] = at;
    nn::resnet_activations<T, device_memory> memory;
    const auto work = [&] { return model.forward(r.ctx, memory, images.device.view()); };

    tensor<T, 2> actual({1, c.d_features()});
    r.ctx.download(actual.view(), tensor_view<const T, 2>(work().rows(0, 1)));
    tensor<float, 4> first({1, c.n_channels, k_size, k_size});
    for (index_t i = 0; i < first.size(); ++i) first.data()[i] = static_cast<float>(images.host.data()[i]);
    cpu_context cpu;
    nn::resnet_activations<float> cpu_memory;
    const auto expected = host.forward(cpu, cpu_memory, first.view());
    if (!r.check(actual.view(), expected, gpu::model_slack(r.kind))) return;
    r.time(work, {.flop = host.forward_flop(n, k_size, k_size), .samples = static_cast<double>(n)});
}

template <class T>
void resnet_step(gpu::run& r, index_t batch) {
    resnet_case<T> at(r.ctx, config_of(1000), gpu::sized(batch, 3));
    auto& [c, n, host, model, images] = at;
    gpu::both<std::int32_t, 1> targets(r.ctx, {n}, 0);
    for (index_t i = 0; i < n; ++i) targets.host(i) = static_cast<std::int32_t>(37 * i % c.n_labels);
    targets.upload();
    auto gradients = model.make_gradients();
    optim::adamw<T, device_memory> optimiser(model.layout().size(), {.weight_decay = 0.01});
    nn::resnet_activations<T, device_memory> memory;
    tensor<float, 1, device_memory> loss({n});
    tensor<T, 2, device_memory> d_features({n, c.d_features()});
    const auto step = [&] {
        ops::fill<T>(r.ctx, gradients.view(), T(0.0f));
        model.forward(r.ctx, memory, images.device.view(), true);
        auto logits = model.classify(r.ctx, memory);
        ops::softmax_cross_entropy<T>(r.ctx, loss.view(), logits, logits, std::as_const(targets.device).view(), {},
                                      {.denominator = static_cast<double>(n)});
        model.network().head().backward(r.ctx, std::as_const(model).parameters(), gradients.view(), d_features.view(), logits, memory.features);
        model.backward(r.ctx, gradients.view(), memory, d_features.view());
        optimiser.step(r.ctx, model.parameters(), gradients.view(), {.lr = 1e-4, .beta1 = 0.9});
    };
    if (!gpu::learns(r, step, std::as_const(loss).view(), std::log(static_cast<double>(c.n_labels)))) return;
    r.time(step, {.flop = 3.0 * host.forward_flop(n, k_size, k_size), .samples = static_cast<double>(n)});
}

const bool registered = [] {
    const index_t n = 128;
    const std::string name = "50_b" + std::to_string(n);
    gpu::add("resnet_forward", name, gpu::k_all, [n]<class T>(gpu::run& r) { resnet_forward<T>(r, n); });
    gpu::add("resnet_step", name, gpu::k_all, [n]<class T>(gpu::run& r) { resnet_step<T>(r, n); });
    return true;
}();

}  // namespace
