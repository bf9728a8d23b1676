#ifndef INSTAR_NN_CLIP_HPP
#define INSTAR_NN_CLIP_HPP

// Contrastive alignment of images, DNA barcodes and text: a tower each, one space of unit vectors, one learned temperature.
//
//     nn::clip<float> model({.vit = nn::vit_config::small(), .dna = dna_bert, .text = text_bert}, philox{.seed = 1});
//     nn::clip_embeddings<float> e = model.embed(ctx, {.images = x, .dna = ids, .text = words});        // e.image [n, 768], unit rows
//     double loss = model.accumulate(ctx, batch, {.chunk = 250}, rng);                                  // gradients add up
//     for (auto& part : model.parts()) optimiser_of(part).step(ctx, part.parameters, part.gradients, rates);
//
// Any subset of the three towers. The image tower is a vision transformer (CLIBD) or a ResNet. Forward and defaults are CLIBD's (Gong et
// al. 2024, arXiv:2405.17537), its odd DNA head included; nn/clip_io.hpp reads its checkpoints.
//
// On a GPU: a clip<float, device_memory> filled by copy_parameters from a model on the host, and a cuda_context.

#include <array>
#include <memory>

#include "instar/core/transfer.hpp"
#include "instar/nn/clip_towers.hpp"
#include "instar/ops/contrastive.hpp"
#include "instar/ops/elementwise.hpp"
#include "instar/ops/l2_normalize.hpp"
#include "instar/ops/siglip.hpp"

namespace instar::nn {

/// n samples, in host memory whatever the model's; an empty view is a modality that the batch lacks. Masks: 1 = a token.
template <class T>
struct clip_batch {
    tensor_view<const T, 4> images{};                 ///< [n, n_channels, height, width]
    tensor_view<const std::int32_t, 2> dna{}, text{};  ///< [n, length]
    tensor_view<const std::uint8_t, 2> dna_mask{}, text_mask{};

    index_t size() const { return images.data() != nullptr ? images.extent(0) : dna.data() != nullptr ? dna.extent(0) : text.extent(0); }
    clip_batch rows(index_t begin, index_t end) const {
        const auto cut = [&](const auto& v) { return v.data() != nullptr ? v.rows(begin, end) : v; };
        clip_batch b{.images = images, .dna = cut(dna), .text = cut(text), .dna_mask = cut(dna_mask), .text_mask = cut(text_mask)};
        if (images.data() != nullptr) {
            b.images = tensor_view<const T, 4>(images.data() + begin * images.stride(0), {end - begin, images.extent(1), images.extent(2), images.extent(3)});
        }
        return b;
    }
};

/// Unit rows on the host, [n, d_embedding] each; empty for a modality that is missing.
template <class T>
struct clip_embeddings {
    tensor<T, 2> image, dna, text;
};

enum class clip_loss { info_nce, siglip };

struct clip_loss_options {
    index_t chunk = 0;  ///< samples that go through the towers at once; 0 = all. The gradient is the same: see accumulate
    // As the batch, these are host memory.
    tensor_view<const std::int32_t, 1> labels{};                                       ///< [n]: equal labels are partners; empty: sample i with itself
    tensor_view<const std::uint8_t, 1> image_there{}, dna_there{}, text_there{};  ///< [n]: 0 where a sample lacks the modality; empty: all have it
    ops::contrastive_options contrastive{};  ///< modalities 0 image, 1 DNA, 2 text
    clip_loss loss = clip_loss::info_nce;    ///< siglip: the mean over pairs of modalities of SigLIP's loss; the model needs a bias
};

/// One flat range of parameters with its gradients: what an optimiser steps through.
template <class T>
struct clip_part {
    std::string name;  ///< image, dna, dna_head, text, text_head, logit_scale, logit_bias
    const parameter_layout* layout;
    tensor_view<T, 1> parameters, gradients;
};

/// The model. T: float or double; Memory: host_memory, or the CUDA context's.
template <class T, class Memory = host_memory>
class clip {
public:
    using memory = Memory;

    /// Parameters as PyTorch, transformers and timm initialise them. Throws value_error when fewer than one tower is given, or two image towers.
    clip(const clip_config& config, philox rng) requires is_host_memory<Memory> : clip(config) {
        if (image_) {
            initialise(image_->layout(), image_->parameters(), rng.fork(1));
            if (image_->resnet) initialise(image_->resnet->network().buffers(), image_->resnet->buffers(), rng);
        }
        std::uint64_t stream = 2;
        for (auto* tower : {dna_.get(), text_.get()}) {
            if (tower == nullptr) continue;
            initialise(tower->encoder.layout(), tower->encoder.parameters(), rng.fork(stream));
            initialise(tower->head_layout, tower->head.view(), rng.fork(stream));
            ++stream;
        }
    }
    /// Parameters zero, on the host but for the temperature; to be filled by the caller.
    explicit clip(const clip_config& config) : config_(config), logit_scale_({scalar_size()}), d_logit_scale_({scalar_size()}), logit_bias_({scalar_size()}), d_logit_bias_({scalar_size()}), d_scalars_({2}) {
        if (config.vit && config.resnet) throw value_error("clip_config: vit and resnet are both given; one image tower is the limit");
        if (!config.has_image() && !config.dna && !config.text) throw value_error("clip_config: no tower is given");
        if (config.d_embedding < 1) throw value_error("clip_config: d_embedding must be at least 1, is " + std::to_string(config.d_embedding));
        if (config.has_image()) image_ = std::make_unique<detail::clip_image_tower<T, Memory>>(config);
        if (config.dna) dna_ = std::make_unique<detail::clip_sequence_tower<T, Memory>>(*config.dna, config.dna_pooling, config.d_embedding);
        if (config.text) text_ = std::make_unique<detail::clip_sequence_tower<T, Memory>>(*config.text, config.text_pooling, config.d_embedding);
        if constexpr (is_host_memory<Memory>) {
            logit_scale_(0) = static_cast<T>(config.initial_logit_scale);
            logit_bias_(0) = static_cast<T>(config.initial_logit_bias.value_or(0.0));
        }
    }

    const clip_config& config() const noexcept { return config_; }
    /// Every flat range of parameters, in a fixed order. The views stay valid as long as the model.
    std::vector<clip_part<T>> parts() {
        std::vector<clip_part<T>> all;
        if (image_) all.push_back({"image", &image_->layout(), image_->parameters(), image_->gradients.view()});
        const auto sequence = [&](const std::string& name, detail::clip_sequence_tower<T, Memory>& t) {
            all.push_back({name, &t.encoder.layout(), t.encoder.parameters(), t.d_encoder.view()});
            all.push_back({name + "_head", &t.head_layout, t.head.view(), t.d_head.view()});
        };
        if (dna_) sequence("dna", *dna_);
        if (text_) sequence("text", *text_);
        all.push_back({"logit_scale", &scalar_layout<0>(), logit_scale_.view(), d_logit_scale_.view()});
        if (config_.initial_logit_bias) all.push_back({"logit_bias", &scalar_layout<1>(), logit_bias_.view(), d_logit_bias_.view()});
        return all;
    }
    /// Running statistics of a ResNet; empty views for other image towers.
    std::pair<const parameter_layout*, tensor_view<T, 1>> buffers() {
        if (!image_ || !image_->resnet) return {nullptr, {}};
        return {&image_->resnet->network().buffers(), image_->resnet->buffers()};
    }
    T logit_scale() const requires is_host_memory<Memory> { return logit_scale_(0); }
    void set_logit_scale(T value) requires is_host_memory<Memory> { logit_scale_(0) = value; }
    template <class Context>
    void zero_gradients(Context& ctx) {
        for (auto& p : parts()) ops::fill<T>(ctx, p.gradients, T(0));
    }

    /// Unit vectors in evaluation, `batch_size` samples at a time. Throws value_error for a modality without a tower.
    template <class Context>
    clip_embeddings<T> embed(Context& ctx, const clip_batch<T>& batch, index_t batch_size = 64) {
        if (batch_size < 1) throw value_error("clip.embed: batch_size must be at least 1, is " + std::to_string(batch_size));
        check(batch);
        clip_embeddings<T> e;
        const index_t n = batch.size();
        for (std::size_t m = 0; m < 3; ++m) {
            if (there(batch, m)) at(e, m) = tensor<T, 2>({n, config_.d_embedding});
        }
        tensor<accumulator_t<T>, 1, Memory> inv_norm({std::min(n, batch_size)});
        [[maybe_unused]] const auto hold = hold_weights(ctx);
        tensor<T, 2, Memory> unit({is_host_memory<Memory> ? 0 : std::min(n, batch_size), config_.d_embedding});
        for (index_t begin = 0; begin < n; begin += batch_size) {
            const index_t end = std::min(n, begin + batch_size), rows = end - begin;
            const auto part = batch.rows(begin, end);
            for (std::size_t m = 0; m < 3; ++m) {
                if (!there(batch, m)) continue;
                const auto to = at(e, m).view().rows(begin, end);
                if constexpr (is_host_memory<Memory>) {
                    ops::l2_normalize_forward<T>(ctx, to, inv_norm.view().rows(0, rows), tower(ctx, part, m, {}));
                } else {
                    ops::l2_normalize_forward<T>(ctx, unit.view().rows(0, rows), inv_norm.view().rows(0, rows), tower(ctx, part, m, {}));
                    ctx.download(to, unit.view().rows(0, rows));
                }
            }
        }
        return e;
    }

    /// The contrastive loss of a batch (ops/contrastive.hpp: the mean of InfoNCE over all directions between modalities that are there) and,
    /// added up, the gradients of all parameters.
    ///
    /// With a chunk, the batch goes through the towers in pieces: forward, loss over the whole batch, then each piece's forward again with the
    /// same random numbers and its backward (GradCache, Gao et al. 2021). The result is that of the whole batch, but for rounding and for
    /// batch normalisation, which sees one piece at a time; memory is a piece's, time a forward more.
    /// Throws value_error for fewer than two modalities, when temperature or bias are not finite, and for SigLIP without a bias.
    template <class Context>
    double accumulate(Context& ctx, const clip_batch<T>& batch, const clip_loss_options& o, philox rng) {
        check(batch);
        const index_t n = batch.size(), e = config_.d_embedding, chunk = o.chunk > 0 ? std::min(o.chunk, n) : n;
        if (o.chunk < 0) throw value_error("clip.accumulate: chunk must not be negative, is " + std::to_string(o.chunk));
        if (features_[0].extent(0) != n) {
            for (auto* set : {&features_, &d_features_}) {
                for (auto& f : *set) f = tensor<T, 2, Memory>({n, e});
            }
            for (auto& v : inv_norm_) v = tensor<accumulator_t<T>, 1, Memory>({n});
            scratch_ = tensor<accumulator_t<T>, 1, Memory>({ops::info_nce_saved<accumulator_t<T>>::size(n, n)});
        }
        const auto forward = [&](index_t begin, index_t end) {
            const auto part = batch.rows(begin, end);
            for (std::size_t m = 0; m < 3; ++m) {
                if (!there(batch, m)) continue;
                const run_mode mode{.training = true, .rng = rng.fork(1 + static_cast<std::uint64_t>(begin) * 4 + m)};
                ops::l2_normalize_forward<T>(ctx, features_[m].view().rows(begin, end), inv_norm_[m].view().rows(begin, end), tower(ctx, part, m, mode));
            }
        };
        for (index_t begin = 0; begin < n; begin += chunk) forward(begin, std::min(n, begin + chunk));
        // The second forward must not move the running statistics again.
        tensor<T, 1, Memory> kept;
        if (chunk < n && buffers().first != nullptr) {
            kept = tensor<T, 1, Memory>({buffers().second.size()});
            ops::copy<T>(ctx, kept.view(), buffers().second);
        }
        ops::contrastive_modality<T> modalities[3];
        const tensor_view<const std::uint8_t, 1> masks[3] = {there_[0](ctx, o.image_there), there_[1](ctx, o.dna_there), there_[2](ctx, o.text_there)};
        const tensor_view<const std::int32_t, 1> labels = labels_(ctx, o.labels);
        for (std::size_t m = 0; m < 3; ++m) {
            if (!there(batch, m)) continue;
            ops::fill<T>(ctx, d_features_[m].view().template reshape<1>({n * e}), T(0));
            modalities[m] = {features_[m].view(), d_features_[m].view(), masks[m]};
        }
        const auto n_directions = static_cast<index_t>(2 * ops::contrastive_pairs<T>(modalities, o.contrastive).size());
        if (n_directions == 0) throw value_error("clip.accumulate: no pair of modalities is there");
        if (loss_.extent(0) != n_directions || loss_.extent(1) != n) loss_ = tensor<accumulator_t<T>, 2, Memory>({n_directions, n});
        // Several calls add up: each one's sum first, then into the gradient.
        ops::fill<T>(ctx, d_scalars_.view(), T(0));
        const auto d_scale = d_scalars_.view().rows(0, 1), d_bias = d_scalars_.view().rows(1, 2);
        if (o.loss == clip_loss::siglip) {
            siglip(ctx, modalities, o.contrastive, labels, d_scale, d_bias);
            add_to(ctx, d_logit_bias_, d_bias);
        } else {
            ops::contrastive_loss<T>(ctx, loss_.view(), d_scale, scalar(logit_scale_), modalities, labels, scratch_.view(), o.contrastive);
        }
        add_to(ctx, d_logit_scale_, d_scale);
        for (index_t begin = 0; begin < n; begin += chunk) {
            const index_t end = std::min(n, begin + chunk);
            if (chunk < n) forward(begin, end);
            for (std::size_t m = 0; m < 3; ++m) {
                if (!there(batch, m)) continue;
                const auto dy = d_features_[m].view().rows(begin, end);
                ops::l2_normalize_backward<T>(ctx, dy, dy, features_[m].view().rows(begin, end), inv_norm_[m].view().rows(begin, end));
                if (m == 0) image_->backward(ctx, dy);
                else (m == 1 ? dna_ : text_)->backward(ctx, dy);
            }
        }
        if (kept.size() > 0) ops::copy<T>(ctx, buffers().second, kept.view());
        const auto losses = loss_here_(ctx, loss_.view().template reshape<1>({loss_.size()}));
        double total = 0.0;
        for (index_t i = 0; i < losses.extent(0); ++i) total += static_cast<double>(losses(i));
        return total;
    }

    detail::clip_image_tower<T, Memory>* image_tower() noexcept { return image_.get(); }
    detail::clip_sequence_tower<T, Memory>* dna_tower() noexcept { return dna_.get(); }
    detail::clip_sequence_tower<T, Memory>* text_tower() noexcept { return text_.get(); }

private:
    template <int Which>
    static const parameter_layout& scalar_layout() {
        static const parameter_layout layout = [] {
            parameter_layout l;
            l.add<1>(Which == 0 ? "logit_scale" : "logit_bias", {1}, init::zeros);
            return l;
        }();
        return layout;
    }
    static index_t scalar_size() { return scalar_layout<0>().size(); }
    static tensor<T, 2>& at(clip_embeddings<T>& e, std::size_t m) { return m == 0 ? e.image : m == 1 ? e.dna : e.text; }
    static bool there(const clip_batch<T>& b, std::size_t m) { return m == 0 ? b.images.data() != nullptr : (m == 1 ? b.dna : b.text).data() != nullptr; }
    void check(const clip_batch<T>& b) const {
        static constexpr const char* k_names[] = {"images", "dna", "text"};
        const bool towers[] = {image_ != nullptr, dna_ != nullptr, text_ != nullptr};
        const index_t n = b.size();
        for (std::size_t m = 0; m < 3; ++m) {
            if (!there(b, m)) continue;
            if (!towers[m]) throw value_error(std::string("clip: the batch has ") + k_names[m] + ", the model no tower for them");
            const index_t rows = m == 0 ? b.images.extent(0) : (m == 1 ? b.dna : b.text).extent(0);
            if (rows != n) throw shape_error(std::string("clip: ") + k_names[m] + " are " + std::to_string(rows) + " samples, another modality has " + std::to_string(n));
        }
        if (n < 1) throw value_error("clip: the batch is empty");
    }
    static_assert(std::same_as<T, accumulator_t<T>>, "clip: parameters are float or double");
    static tensor_view<const T, 1> scalar(const tensor<T, 1, Memory>& v) { return v.view().rows(0, 1); }
    template <class Context>
    static void add_to(Context& ctx, tensor<T, 1, Memory>& gradient, tensor_view<const T, 1> d) {
        const auto g = gradient.view().rows(0, 1);
        ops::add<T>(ctx, g, g, d);
    }

    /// SigLIP of every pair, averaged; each pair's losses in the first of its two rows.
    template <class Context>
    void siglip(Context& ctx, std::span<const ops::contrastive_modality<T>> modalities, const ops::contrastive_options& options, tensor_view<const std::int32_t, 1> labels, tensor_view<T, 1> d_scale,
                tensor_view<T, 1> d_bias) {
        if (!config_.initial_logit_bias) throw value_error("clip.accumulate: SigLIP needs a model with a bias: clip_config.initial_logit_bias");
        const auto pairs = ops::contrastive_pairs<T>(modalities, options);
        ops::fill<T>(ctx, loss_.view().template reshape<1>({loss_.size()}), T(0));
        for (std::size_t k = 0; k < pairs.size(); ++k) {
            const auto &a = modalities[static_cast<std::size_t>(pairs[k][0])], &b = modalities[static_cast<std::size_t>(pairs[k][1])];
            ops::siglip<T>(ctx, loss_.view()[static_cast<index_t>(2 * k)], a.gradient, b.gradient, d_scale, d_bias, a.features, b.features, scalar(logit_scale_), scalar(logit_bias_),
                           {.row_labels = labels, .column_labels = labels, .row_mask = a.mask, .column_mask = b.mask}, {.weight = 1.0 / static_cast<double>(pairs.size())});
        }
    }
    /// A piece goes to the device when its tower needs it: no more than a piece is there at once.
    template <class Context>
    tensor_view<T, 2> tower(Context& ctx, const clip_batch<T>& b, std::size_t m, run_mode mode) {
        if (m == 0) return image_->forward(ctx, images_(ctx, b.images), mode);
        if (m == 1) return dna_->forward(ctx, ids_[0](ctx, b.dna), token_mask_[0](ctx, b.dna_mask), mode);
        return text_->forward(ctx, ids_[1](ctx, b.text), token_mask_[1](ctx, b.text_mask), mode);
    }

    clip_config config_;
    std::unique_ptr<detail::clip_image_tower<T, Memory>> image_;
    std::unique_ptr<detail::clip_sequence_tower<T, Memory>> dna_, text_;
    tensor<T, 1, Memory> logit_scale_, d_logit_scale_, logit_bias_, d_logit_bias_, d_scalars_;
    std::array<tensor<T, 2, Memory>, 3> features_, d_features_;
    std::array<tensor<accumulator_t<T>, 1, Memory>, 3> inv_norm_;
    tensor<accumulator_t<T>, 1, Memory> scratch_;
    tensor<accumulator_t<T>, 2, Memory> loss_;
    device_input<T, 4, Memory> images_;
    std::array<device_input<std::int32_t, 2, Memory>, 2> ids_;          // DNA, text
    std::array<device_input<std::uint8_t, 2, Memory>, 2> token_mask_;
    std::array<device_input<std::uint8_t, 1, Memory>, 3> there_;
    device_input<std::int32_t, 1, Memory> labels_;
    host_output<accumulator_t<T>, 1, Memory> loss_here_;
};

/// Every parameter and running statistic of one model into another of the same configuration, as nn/parameters.hpp's copy_parameters.
template <class Context, class T, class To, class From>
void copy_parameters(Context& ctx, clip<T, To>& to, clip<T, From>& from) {
    auto theirs = from.parts();
    auto ours = to.parts();
    bool same = ours.size() == theirs.size();
    for (std::size_t i = 0; same && i < ours.size(); ++i) same = ours[i].name == theirs[i].name && ours[i].parameters.extent(0) == theirs[i].parameters.extent(0);
    if (!same) throw shape_error("copy_parameters: the contrastive models have different parameters");
    for (std::size_t i = 0; i < ours.size(); ++i) transfer<To, From>(ctx, ours[i].parameters, theirs[i].parameters);
    if (to.buffers().first != nullptr) transfer<To, From>(ctx, to.buffers().second, from.buffers().second);
}

}  // namespace instar::nn

#endif
