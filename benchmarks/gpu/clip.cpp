// CLIBD's contrastive model of three modalities, one training step: ViT-B/16 on images of 224², a BERT-base on barcodes of 133 tokens, a small
// BERT on names of 20 tokens, each to 768 numbers of unit length; InfoNCE of all three pairs, backward, AdamW on all parameters.
//
//     bench_gpu_clip --benchmark_filter=clip_step_bf16
//
// clip_step/base16_bN: the towers of nn/clip_towers.hpp with the batch on the device; nn::clip is made of them, but keeps parameters in float or
// double, and this runs in bf16 too. clip_trainer_step/base16_bN: nn::clip itself as examples/clip_trimodal calls it, with the batch uploaded
// and the loss fetched in every step. FLOP: matrix products and attention of the towers, three forwards, and 8 · n² · 768 a pair of modalities.
// Embeddings of two samples are checked against the CPU in float; the loss must start near that of guessing and fall on the same batch.

#include "instar/nn/clip.hpp"

#include "instar/core/cpu_context.hpp"
#include "instar/optim/adamw.hpp"
#include "models.hpp"

namespace {

using namespace instar;
namespace gpu = bench::gpu;

constexpr index_t k_dna_tokens = gpu::sized(133, 6), k_text_tokens = gpu::sized(20, 4);
constexpr double k_lr = 1e-5;

nn::clip_config config_of() {
    if (gpu::k_emulated) {
        const nn::bert_config bert{.vocab_size = 18, .d_model = 16, .n_layers = 1, .n_heads = 2, .d_ff = 24, .max_positions = 8};
        return {.vit = nn::vit_config{.image_size = 16, .patch_size = 4, .d_model = 16, .n_layers = 1, .n_heads = 2, .d_ff = 24}, .dna = bert, .text = bert,
                .d_embedding = 12, .initial_logit_scale = 0.0};
    }
    return {.vit = nn::vit_config::base(), .dna = nn::bert_config{.vocab_size = 1027},
            .text = nn::bert_config{.vocab_size = 30522, .d_model = 512, .n_layers = 4, .n_heads = 8, .d_ff = 2048}};
}

/// A batch on both sides. Barcodes fill all their tokens and have no mask, as in CLIBD; names end at different places.
template <class T>
struct trimodal_batch {
    index_t n;
    gpu::both<T, 4> images;
    gpu::both<std::int32_t, 2> dna, text;
    gpu::both<std::uint8_t, 2> text_mask;

    trimodal_batch(cuda_context& ctx, const nn::clip_config& c, index_t n_samples)
        : n(n_samples), images(ctx, {n, c.vit->n_channels, c.vit->image_size, c.vit->image_size}, 5, -2.0f, 2.0f), dna(ctx, {n, k_dna_tokens}, 0),
          text(ctx, {n, k_text_tokens}, 0), text_mask(ctx, {n, k_text_tokens}, 0) {
        const philox rng{.seed = 6};
        const auto fill = [&](gpu::both<std::int32_t, 2>& ids, philox from, index_t vocabulary) {
            for (index_t i = 0; i < ids.host.size(); ++i) {
                ids.host.data()[i] = static_cast<std::int32_t>(2 + from.below(static_cast<std::uint64_t>(i), static_cast<std::uint32_t>(vocabulary - 2)));
            }
            ids.upload();
        };
        fill(dna, rng.fork(1), c.dna->vocab_size);
        fill(text, rng.fork(2), c.text->vocab_size);
        for (index_t i = 0; i < n; ++i) {
            for (index_t t = 0; t < k_text_tokens; ++t) text_mask.host(i, t) = t < k_text_tokens - i % (k_text_tokens / 2);
        }
        text_mask.upload();
    }
};

/// Three towers and the temperature, with an optimiser for each flat range of parameters; elements of T, the temperature float.
template <class T>
class trimodal_step {
public:
    trimodal_step(cuda_context& ctx, nn::clip<float>& start, const trimodal_batch<T>& batch)
        : ctx_(ctx), batch_(batch), image_(start.config()), dna_(*start.config().dna, start.config().dna_pooling, start.config().d_embedding),
          text_(*start.config().text, start.config().text_pooling, start.config().d_embedding), loss_({6, batch.n}), logit_scale_({1}), d_logit_scale_({1}),
          scale_optimiser_(1), scratch_({ops::info_nce_saved<float>::size(batch.n, batch.n)}) {
        const auto from = start.parts();
        const auto add = [&](tensor_view<T, 1> parameters, tensor_view<T, 1> gradients) {
            gpu::put(ctx, parameters, tensor_view<const float, 1>(from[parts_.size()].parameters));
            parts_.push_back({parameters, gradients, optim::adamw<T, device_memory>(parameters.size(), {.weight_decay = 0.01})});
        };
        add(image_.parameters(), image_.gradients.view());
        for (auto* tower : {&dna_, &text_}) {
            add(tower->encoder.parameters(), tower->d_encoder.view());
            add(tower->head.view(), tower->d_head.view());
        }
        gpu::put(ctx, logit_scale_.view(), tensor_view<const float, 1>(from.back().parameters.rows(0, 1)));
        for (std::size_t m = 0; m < 3; ++m) {
            features_[m] = tensor<T, 2, device_memory>({batch.n, start.config().d_embedding});
            d_features_[m] = tensor<T, 2, device_memory>({batch.n, start.config().d_embedding});
            inv_norm_[m] = tensor<float, 1, device_memory>({batch.n});
        }
    }

    /// Of the first n samples, into features(0 … 2).
    void forward(index_t n, bool training) {
        const auto mode = [&](std::uint64_t m) { return nn::run_mode{.training = training, .rng = {.seed = 7, .stream = m}}; };
        const auto normalised = [&](std::size_t m, tensor_view<T, 2> y) {
            ops::l2_normalize_forward<T>(ctx_, features_[m].view().rows(0, n), inv_norm_[m].view().rows(0, n), y);
        };
        normalised(0, image_.forward(ctx_, batch_.images.device.view().rows(0, n), mode(0)));
        normalised(1, dna_.forward(ctx_, batch_.dna.device.view().rows(0, n), {}, mode(1)));
        normalised(2, text_.forward(ctx_, batch_.text.device.view().rows(0, n), batch_.text_mask.device.view().rows(0, n), mode(2)));
    }
    void operator()() {
        for (auto& p : parts_) ops::fill<T>(ctx_, p.gradients, T(0.0f));
        ops::fill<float>(ctx_, d_logit_scale_.view(), 0.0f);
        forward(batch_.n, true);
        ops::contrastive_modality<T> modalities[3];
        for (std::size_t m = 0; m < 3; ++m) {
            ops::fill<T>(ctx_, d_features_[m].view().template reshape<1>({d_features_[m].size()}), T(0.0f));
            modalities[m] = {features_[m].view(), d_features_[m].view(), {}};
        }
        ops::contrastive_loss<T>(ctx_, loss_.view(), d_logit_scale_.view(), logit_scale_.view(), modalities, {}, scratch_.view(), {});
        for (std::size_t m = 0; m < 3; ++m) {
            const auto dy = d_features_[m].view();
            ops::l2_normalize_backward<T>(ctx_, dy, dy, features_[m].view(), inv_norm_[m].view());
            if (m == 0) image_.backward(ctx_, dy);
            else (m == 1 ? dna_ : text_).backward(ctx_, dy);
        }
        const optim::rates rates{.lr = k_lr, .beta1 = 0.9};
        for (auto& p : parts_) p.optimiser.step(ctx_, p.parameters, p.gradients, rates);
        scale_optimiser_.step(ctx_, logit_scale_.view(), d_logit_scale_.view(), rates);
    }

    tensor_view<const T, 2> features(std::size_t modality) const { return features_[modality].view(); }
    /// Of each direction between modalities and each sample; their sum is the loss.
    tensor_view<const float, 1> loss() const { return loss_.view().template reshape<1>({loss_.size()}); }

private:
    struct part {
        tensor_view<T, 1> parameters, gradients;
        optim::adamw<T, device_memory> optimiser;
    };

    cuda_context& ctx_;
    const trimodal_batch<T>& batch_;
    nn::detail::clip_image_tower<T, device_memory> image_;
    nn::detail::clip_sequence_tower<T, device_memory> dna_, text_;
    std::vector<part> parts_;
    std::array<tensor<T, 2, device_memory>, 3> features_, d_features_;
    std::array<tensor<float, 1, device_memory>, 3> inv_norm_;
    tensor<float, 2, device_memory> loss_;
    tensor<float, 1, device_memory> logit_scale_, d_logit_scale_;
    optim::adamw<float, device_memory> scale_optimiser_;
    tensor<float, 1, device_memory> scratch_;
};

double step_flop(nn::clip<float>& model, index_t n) {
    const nn::clip_config& c = model.config();
    const auto product = [](index_t rows, index_t d_in, index_t d_out) { return 2.0 * static_cast<double>(rows) * static_cast<double>(d_in) * static_cast<double>(d_out); };
    const index_t e = c.d_embedding, d_dna = c.dna->d_model, dna_rows = n * k_dna_tokens;
    const double towers = model.image_tower()->vit->forward_flop(n) + product(n, c.vit->d_model, e) + model.dna_tower()->encoder.forward_flop(n, k_dna_tokens) +
                          product(dna_rows, d_dna, d_dna) + product(dna_rows, d_dna, e) + model.text_tower()->encoder.forward_flop(n, k_text_tokens) +
                          product(n, c.text->d_model, e);
    return 3.0 * towers + 3.0 * 4.0 * product(n, n, e);
}

tensor<float, 4> as_float(const tensor<bf16, 4>& x) {
    tensor<float, 4> y(x.view().extents_);
    for (index_t i = 0; i < x.size(); ++i) y.data()[i] = static_cast<float>(x.data()[i]);
    return y;
}
const tensor<float, 4>& as_float(const tensor<float, 4>& x) { return x; }

template <class T>
void clip_step(gpu::run& r, index_t batch_size) {
    auto& start = gpu::initial<nn::clip<float>>("clip", config_of());
    const trimodal_batch<T> batch(r.ctx, start.config(), gpu::sized(batch_size, 5));
    trimodal_step<T> step(r.ctx, start, batch);
    {
        const index_t n = 2, e = start.config().d_embedding;
        step.forward(n, false);
        cpu_context cpu;
        const auto& images = as_float(batch.images.host);
        const nn::clip_batch<float> all{.images = images.view(), .dna = batch.dna.host.view(), .text = batch.text.host.view(), .text_mask = batch.text_mask.host.view()};
        const auto expected = start.embed(cpu, all.rows(0, n), n);
        const tensor<float, 2>* each[] = {&expected.image, &expected.dna, &expected.text};
        for (std::size_t m = 0; m < 3; ++m) {
            tensor<T, 2> actual({n, e});
            r.ctx.download(actual.view(), step.features(m).rows(0, n));
            if (!r.check(actual.view(), each[m]->view(), gpu::model_slack(r.kind))) return;
        }
    }
    if (!gpu::learns(r, step, step.loss(), std::log(static_cast<double>(batch.n)))) return;
    r.time(step, {.flop = step_flop(start, batch.n), .samples = static_cast<double>(batch.n)});
}

void clip_trainer_step(gpu::run& r, index_t batch_size) {
    auto& start = gpu::initial<nn::clip<float>>("clip", config_of());
    const trimodal_batch<float> inputs(r.ctx, start.config(), gpu::sized(batch_size, 5));
    const nn::clip_batch<float> batch{.images = inputs.images.host.view(), .dna = inputs.dna.host.view(), .text = inputs.text.host.view(),
                                      .text_mask = inputs.text_mask.host.view()};
    nn::clip<float, device_memory> model(start.config());
    nn::copy_parameters(r.ctx, model, start);
    auto parts = model.parts();
    std::vector<optim::adamw<float, device_memory>> optimisers;
    for (const auto& p : parts) optimisers.emplace_back(p.parameters.size(), optim::adamw_config{.weight_decay = 0.01});
    const auto step = [&] {
        model.zero_gradients(r.ctx);
        const double loss = model.accumulate(r.ctx, batch, {}, philox{.seed = 7});
        for (std::size_t i = 0; i < parts.size(); ++i) optimisers[i].step(r.ctx, parts[i].parameters, parts[i].gradients, {.lr = k_lr, .beta1 = 0.9});
        return loss;
    };
    if (!gpu::learns(r, step, std::log(static_cast<double>(inputs.n)))) return;
    r.time(step, {.flop = step_flop(start, inputs.n), .samples = static_cast<double>(inputs.n)});
}

const bool registered = [] {
    constexpr gpu::precision k_of_float[] = {gpu::precision::fp32, gpu::precision::tf32};
    gpu::add("clip_step", "base16_b128", gpu::k_all, []<class T>(gpu::run& r) { clip_step<T>(r, 128); }, 7);
    gpu::add("clip_step", "base16_b256", gpu::k_bf16_only, []<class T>(gpu::run& r) { clip_step<T>(r, 256); }, 7);
    gpu::add("clip_trainer_step", "base16_b128", k_of_float, []<class T>(gpu::run& r) { clip_trainer_step(r, 128); }, 7);
    return true;
}();

}  // namespace
