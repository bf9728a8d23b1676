// ViT-B/16 on images of 224²: forward in evaluation, and one training step: forward, cross-entropy over 1000 classes, backward, AdamW. FLOP:
// matrix products and attention; a step counts three forwards.
//
//     bench_gpu_vit --benchmark_filter=vit_step_bf16
//
// Names: vit_forward/size_batch, vit_step/size_batch. The forward's first image is checked against the CPU in float; a step's loss must start
// near that of guessing and fall on the same batch.

#include "instar/nn/vit.hpp"

#include "instar/core/cpu_context.hpp"
#include "instar/ops/cross_entropy.hpp"
#include "instar/ops/elementwise.hpp"
#include "instar/optim/adamw.hpp"
#include "models.hpp"

namespace {

using namespace instar;
namespace gpu = bench::gpu;

nn::vit_config config_of(index_t n_labels) {
    if (gpu::k_emulated) return {.image_size = 32, .d_model = 16, .n_layers = 1, .n_heads = 2, .d_ff = 24, .n_labels = n_labels > 0 ? 7 : 0};
    return nn::vit_config::base(n_labels);
}

/// A model with random weights on the host and on the device, and a batch for it.
template <class T>
struct vit_case {
    nn::vit_config config;
    index_t n;
    const nn::vit<float>& host;
    nn::vit<T, device_memory> model;
    gpu::both<T, 4> images;

    vit_case(cuda_context& ctx, const nn::vit_config& c, index_t n_images)
        : config(c), n(n_images), host(gpu::initial<nn::vit<float>>(std::to_string(c.n_labels), c)), model(c), images(ctx, {n, c.n_channels, c.image_size, c.image_size}, 5, -2.0f, 2.0f) {
        gpu::put(ctx, model.parameters(), host.parameters());
    }
};

template <class T>
void vit_forward(gpu::run& r, index_t batch) {
    const vit_case<T> at(r.ctx, config_of(0), gpu::sized(batch, 2));
    const auto& [c, n, host, model, images] = at;
    nn::vit_activations<T, device_memory> memory;
    const auto work = [&] { return model.forward(r.ctx, memory, images.device.view()); };

    tensor<T, 2> actual({1, c.d_model});
    r.ctx.download(actual.view(), tensor_view<const T, 2>(work().rows(0, 1)));
    tensor<float, 4> first({1, c.n_channels, c.image_size, c.image_size});
    for (index_t i = 0; i < first.size(); ++i) first.data()[i] = static_cast<float>(images.host.data()[i]);
    cpu_context cpu;
    nn::vit_activations<float> cpu_memory;
    const auto expected = host.forward(cpu, cpu_memory, first.view());
    if (!r.check(actual.view(), expected, gpu::model_slack(r.kind))) return;
    r.time(work, {.flop = host.forward_flop(n), .samples = static_cast<double>(n)});
}

template <class T>
void vit_step(gpu::run& r, index_t batch) {
    vit_case<T> at(r.ctx, config_of(1000), gpu::sized(batch, 3));
    auto& [c, n, host, model, images] = at;
    gpu::both<std::int32_t, 1> targets(r.ctx, {n}, 0);
    for (index_t i = 0; i < n; ++i) targets.host(i) = static_cast<std::int32_t>(37 * i % c.n_labels);
    targets.upload();
    auto gradients = model.make_gradients();
    optim::adamw<T, device_memory> optimiser(model.layout().size(), {.weight_decay = 0.01});
    nn::vit_activations<T, device_memory> memory;
    tensor<float, 1, device_memory> loss({n});
    tensor<T, 2, device_memory> d_features({n, c.d_model});
    const auto step = [&] {
        ops::fill<T>(r.ctx, gradients.view(), T(0.0f));
        model.forward(r.ctx, memory, images.device.view(), {.training = true});
        auto logits = model.classify(r.ctx, memory);
        ops::softmax_cross_entropy<T>(r.ctx, loss.view(), logits, logits, std::as_const(targets.device).view(), {},
                                      {.denominator = static_cast<double>(n)});
        model.network().head().backward(r.ctx, std::as_const(model).parameters(), gradients.view(), d_features.view(), logits, memory.features);
        model.backward(r.ctx, gradients.view(), memory, d_features.view());
        optimiser.step(r.ctx, model.parameters(), gradients.view(), {.lr = 1e-4, .beta1 = 0.9});
    };
    if (!gpu::learns(r, step, std::as_const(loss).view(), std::log(static_cast<double>(c.n_labels)))) return;
    r.time(step, {.flop = 3.0 * host.forward_flop(n), .samples = static_cast<double>(n)});
}

const bool registered = [] {
    for (const index_t n : {64, 256}) {
        const std::string name = "base16_b" + std::to_string(n);
        gpu::add("vit_forward", name, gpu::k_all, [n]<class T>(gpu::run& r) { vit_forward<T>(r, n); });
        gpu::add("vit_step", name, gpu::k_all, [n]<class T>(gpu::run& r) { vit_step<T>(r, n); });
    }
    return true;
}();

}  // namespace
