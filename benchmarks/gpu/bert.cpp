// BarcodeBERT: the encoder's forward in evaluation, and one training step of the masked-token objective: forward and backward with dropout
// 0.1, the classifier over all 4^k words on every token, AdamW without clipping. FLOP: matrix products and attention; a step counts three
// forwards.
//
//     bench_gpu_bert --benchmark_filter=mlm_step_bf16
//
// Names: encoder_forward/k_layers×width_batch_tokens, mlm_step/…; mlm_step_graph_bf16/… queues a step captured as a CUDA graph. In bf16 the parameters and
// their gradients are bf16, AdamW's state is float. The forward's first sample is checked against the CPU in float; a step's loss must start near that
// of guessing and fall on the same batch.

#include "../bert_shapes.hpp"
#include "instar/core/cpu_context.hpp"
#include "instar/cuda/graph.hpp"
#include "instar/optim/adamw.hpp"
#include "models.hpp"

namespace {

using namespace instar;
namespace gpu = bench::gpu;

constexpr bench::bert_shape k_shapes[] = {
    {"k4_4x768_b32_t165", 4, 4, 768, 4, 32, 165},
    {"k4_4x768_b512_t165", 4, 4, 768, 4, 512, 165},
    {"k8_4x768_b32_t82", 8, 4, 768, 4, 32, 82},
    {"k8_4x768_b512_t82", 8, 4, 768, 4, 512, 82},
};
constexpr bench::bert_shape k_small{"emulated", 2, 1, 16, 2, 2, 11};

/// A batch on the device. The words of every real token are the targets.
struct device_batch {
    tensor<std::int32_t, 2, device_memory> ids;
    tensor<std::uint8_t, 2, device_memory> mask;
    tensor<std::int32_t, 1, device_memory> targets;
    double n_targets = 0.0;

    device_batch(cuda_context& ctx, const bench::bert_batch& batch)
        : ids(batch.ids.view().extents_), mask(batch.mask.view().extents_), targets({batch.ids.size()}) {
        tensor<std::int32_t, 1> words({batch.ids.size()});
        for (index_t i = 0; i < words.size(); ++i) {
            words(i) = batch.mask.data()[i] != 0 ? batch.ids.data()[i] - 2 : -1;
            n_targets += words(i) >= 0;
        }
        ctx.upload(ids.view(), batch.ids.view());
        ctx.upload(mask.view(), batch.mask.view());
        ctx.upload(targets.view(), std::as_const(words).view());
    }
};

template <class T>
void encoder_forward(gpu::run& r, const bench::bert_shape& s) {
    nn::bert_config config = s.config();
    config.n_labels = 0;
    const auto& host = gpu::initial<nn::bert<float>>(std::string("encoder ") + s.name, config);
    const bench::bert_batch batch(s);
    nn::bert<T, device_memory> model(config);
    gpu::put(r.ctx, model.parameters(), host.parameters());
    const device_batch there(r.ctx, batch);
    nn::bert_activations<T, device_memory> memory;
    const auto work = [&] { return model.forward(r.ctx, memory, there.ids.view(), there.mask.view()); };

    const auto hidden = work().rows(0, 1);
    tensor<T, 3> actual({1, s.seq_len, s.d_model});
    r.ctx.download(actual.view(), tensor_view<const T, 3>(hidden));
    cpu_context cpu;
    nn::bert_activations<float> cpu_memory;
    const auto expected = host.forward(cpu, cpu_memory, batch.ids.view().rows(0, 1), batch.mask.view().rows(0, 1));
    if (!r.check(actual.view(), expected, gpu::model_slack(r.kind))) return;
    r.time(work, {.flop = host.forward_flop(s.n_batch, s.seq_len), .samples = static_cast<double>(s.n_batch)});
}

template <class T>
void mlm_step(gpu::run& r, const bench::bert_shape& s, bool as_graph) {
    const nn::bert_config config = s.config();
    const index_t rows[2] = {s.n_batch * s.seq_len, s.d_model};
    const auto& host = gpu::initial<nn::bert<float>>(s.name, config);
    const device_batch batch(r.ctx, bench::bert_batch(s));
    nn::bert<T, device_memory> model(config);
    gpu::put(r.ctx, model.parameters(), host.parameters());
    auto gradients = model.make_gradients();
    nn::bert_activations<T, device_memory> memory;
    optim::adamw<T, device_memory> optimiser(model.layout().size(), {.weight_decay = 0.01});
    tensor<float, 1, device_memory> loss({rows[0]});
    std::uint64_t n_steps = 0;
    const auto step = [&] {
        ops::fill<T>(r.ctx, gradients.view(), T(0.0f));
        auto hidden = model.forward(r.ctx, memory, batch.ids.view(), batch.mask.view(), {.training = true, .rng = {.seed = 7, .stream = n_steps++}});
        auto d_hidden = nn::bert<T, device_memory>::d_hidden_buffer(memory);
        nn::linear_cross_entropy(r.ctx, model.network().classifier(), std::as_const(model).parameters(), gradients.view(), loss.view(),
                                 d_hidden.template reshape<2>(rows), hidden.template reshape<2>(rows), batch.targets.view(), {},
                                 {.denominator = batch.n_targets}, memory.scratch());
        model.backward(r.ctx, gradients.view(), memory, d_hidden);
        optimiser.step(r.ctx, model.parameters(), gradients.view(), {.lr = 1e-3, .beta1 = 0.9});
    };
    if (!gpu::learns(r, step, std::as_const(loss).view(), std::log(static_cast<double>(config.n_labels)))) return;
    const gpu::work w{.flop = 3.0 * (host.forward_flop(s.n_batch, s.seq_len) + s.classifier_flop()), .samples = static_cast<double>(s.n_batch)};
    if (!as_graph) return r.time(step, w);
    cuda::graph graph;
    graph.capture(r.ctx, step);
    r.time([&] { graph.launch(r.ctx); }, w);
}

const bool registered = [] {
    for (const bench::bert_shape& real : k_shapes) {
        const bench::bert_shape s = gpu::k_emulated ? k_small : real;
        gpu::add("encoder_forward", real.name, gpu::k_all, [s]<class T>(gpu::run& r) { encoder_forward<T>(r, s); });
        gpu::add("mlm_step", real.name, gpu::k_all, [s]<class T>(gpu::run& r) { mlm_step<T>(r, s, false); });
        gpu::add("mlm_step_graph", real.name, gpu::k_bf16_only, [s]<class T>(gpu::run& r) { mlm_step<T>(r, s, true); });
    }
    return true;
}();

}  // namespace
