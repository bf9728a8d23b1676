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
// al. 2024, arXiv:2405.17537), its odd DNA head included; nn/clip_io.hpp reads its checkpoints. On the CPU.

#include <array>
#include <memory>
#include <optional>

#include "instar/nn/bert.hpp"
#include "instar/nn/resnet.hpp"
#include "instar/nn/vit.hpp"
#include "instar/ops/contrastive.hpp"
#include "instar/ops/gelu.hpp"
#include "instar/ops/l2_normalize.hpp"
#include "instar/ops/siglip.hpp"
#include "instar/ops/softmax.hpp"

namespace instar::nn {

/// From a sequence's tokens to one vector. mean: all positions, padding included. softmax_mean, CLIBD's DNA head: each token through
/// Linear, GELU, LayerNorm, Linear and a softmax over the outputs; then the mean over all positions. The others are projected after pooling.
enum class clip_pooling { mean, masked_mean, first, softmax_mean };

struct clip_config {
    std::optional<vit_config> vit{};        ///< the image tower: this …
    std::optional<resnet_config> resnet{};  ///< … or this, or neither
    std::optional<bert_config> dna{}, text{};
    clip_pooling dna_pooling = clip_pooling::softmax_mean;
    clip_pooling text_pooling = clip_pooling::mean;
    index_t d_embedding = 768;
    double initial_logit_scale = 2.659260036932778;  ///< ln(1 / 0.07); SigLIP starts at ln 10
    std::optional<double> initial_logit_bias{};      ///< given: the model has a bias, and can be trained with SigLIP (which starts at −10)

    bool has_image() const { return vit.has_value() || resnet.has_value(); }
};

/// n samples; an empty view is a modality that the batch lacks. Masks: 1 = a token.
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

/// Unit rows, [n, d_embedding] each; empty for a modality that is missing.
template <class T>
struct clip_embeddings {
    tensor<T, 2> image, dna, text;
};

enum class clip_loss { info_nce, siglip };

struct clip_loss_options {
    index_t chunk = 0;  ///< samples that go through the towers at once; 0 = all. The gradient is the same: see accumulate
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

namespace detail {

/// A BERT and what makes one vector of its tokens.
template <class T>
class clip_sequence_tower {
public:
    clip_sequence_tower(const bert_config& config, clip_pooling pooling, index_t d_out) : encoder(config), pooling_(pooling), d_out_(d_out) {
        const index_t d = config.d_model;
        if (pooling == clip_pooling::softmax_mean) {
            transform_ = linear(head_layout, "cls.predictions.transform.dense", {.d_in = d, .d_out = d, .weight_scale = config.init_std});
            norm_ = layer_norm(head_layout, "cls.predictions.transform.LayerNorm", d, config.eps);
            projection_ = linear(head_layout, "cls.predictions.decoder", linear_config::torch_default(d, d_out));
        } else {
            projection_ = linear(head_layout, "proj", linear_config::torch_default(d, d_out));
        }
        head = tensor<T, 1>({head_layout.size()});
        d_head = tensor<T, 1>({head_layout.size()});
        d_encoder = encoder.make_gradients();
    }

    /// [n, d_out], before the normalisation; valid until the next call of the same mode.
    tensor_view<T, 2> forward(cpu_context& ctx, tensor_view<const std::int32_t, 2> ids, tensor_view<const std::uint8_t, 2> mask, run_mode mode) {
        const index_t n = ids.extent(0), t = ids.extent(1), d = encoder.config().d_model;
        saved& s = mode.training ? train_ : eval_;
        const auto h = encoder.forward(ctx, s.encoder, ids, mask, mode);
        const tensor_view<const T, 1> values = head.view();
        s.reserve(pooling_, n, t, d, d_out_);
        s.n = n;
        const auto y = s.y.view().rows(0, n);
        if (pooling_ != clip_pooling::softmax_mean) {
            const auto pooled = s.pooled.view().rows(0, n);
            ops::sequence_pool_forward<T>(ctx, pooled, h, mask, kind());
            projection_.forward(ctx, values, y, pooled);
            return y;
        }
        const index_t rows = n * t;
        const tensor_view<const T, 2> hidden = h.template reshape<2>({rows, d});
        const auto act = s.act.view().rows(0, rows), normed = s.normed.view().rows(0, rows), p = s.probability.view().rows(0, rows);
        transform_.forward_gelu(ctx, values, act, s.pre.view().rows(0, rows), hidden);
        norm_.forward(ctx, values, normed, s.norm(rows), act);
        projection_.forward(ctx, values, p, normed);
        ops::softmax_forward<T>(ctx, p, p);
        ops::sequence_pool_forward<T>(ctx, y, p.template reshape<3>({n, t, d_out_}), {}, ops::pooling::mean);
        return y;
    }

    /// dy: gradient at the last training forward's result. Accumulates.
    void backward(cpu_context& ctx, tensor_view<const T, 2> dy) {
        saved& s = train_;
        const index_t n = s.n, t = s.encoder.ids.extent(1), rows = n * t;
        const tensor_view<const T, 1> values = head.view();
        const auto dh = bert<T>::d_hidden_buffer(s.encoder);
        if (pooling_ != clip_pooling::softmax_mean) {
            const auto d_pooled = s.d_pooled.view().rows(0, n);
            projection_.backward(ctx, values, d_head.view(), d_pooled, dy, s.pooled.view().rows(0, n));
            ops::sequence_pool_backward<T>(ctx, dh, d_pooled, s.encoder.mask, kind());
        } else {
            const index_t d = encoder.config().d_model;
            const auto dp = s.d_probability.view().rows(0, rows), p = s.probability.view().rows(0, rows);
            const auto act = s.act.view().rows(0, rows), pre = s.pre.view().rows(0, rows), normed = s.normed.view().rows(0, rows);
            const auto dh2 = dh.template reshape<2>({rows, d});
            const auto d_act = s.d_act.view().rows(0, rows);
            ops::sequence_pool_backward<T>(ctx, dp.template reshape<3>({n, t, d_out_}), dy, {}, ops::pooling::mean);
            ops::softmax_backward<T>(ctx, dp, dp, p);
            projection_.backward(ctx, values, d_head.view(), d_act, dp, normed);
            norm_.backward(ctx, values, d_head.view(), d_act, d_act, s.norm(rows), act);
            const auto flat = d_act.template reshape<1>({rows * d});
            ops::gelu_backward<T>(ctx, flat, flat, pre.template reshape<1>({rows * d}));
            transform_.backward(ctx, values, d_head.view(), dh2, d_act, s.encoder.hidden.back());
        }
        encoder.backward(ctx, d_encoder.view(), s.encoder, dh);
    }

    bert<T> encoder;
    parameter_layout head_layout;
    tensor<T, 1> head, d_head, d_encoder;

private:
    struct saved {
        bert_activations<T> encoder;
        tensor<T, 2> pre, act, normed, probability, d_probability, d_act, pooled, d_pooled, y;
        tensor<accumulator_t<T>, 1> mean, rstd;
        index_t n = 0, n_rows = -1, n_samples = -1;

        void reserve(clip_pooling pooling, index_t samples, index_t length, index_t d, index_t d_out) {
            if (samples > n_samples) {
                y = tensor<T, 2>({samples, d_out});
                pooled = tensor<T, 2>({samples, d});
                d_pooled = tensor<T, 2>({samples, d});
                n_samples = samples;
            }
            if (pooling != clip_pooling::softmax_mean || samples * length <= n_rows) return;
            n_rows = samples * length;
            for (auto* m : {&pre, &act, &normed, &d_act}) *m = tensor<T, 2>({n_rows, d});
            for (auto* m : {&probability, &d_probability}) *m = tensor<T, 2>({n_rows, d_out});
            mean = tensor<accumulator_t<T>, 1>({n_rows});
            rstd = tensor<accumulator_t<T>, 1>({n_rows});
        }
        ops::layer_norm_saved<T> norm(index_t rows) { return {mean.view().rows(0, rows), rstd.view().rows(0, rows)}; }
    };

    ops::pooling kind() const {
        return pooling_ == clip_pooling::mean ? ops::pooling::mean : pooling_ == clip_pooling::first ? ops::pooling::first : ops::pooling::masked_mean;
    }

    clip_pooling pooling_;
    index_t d_out_;
    linear transform_, projection_;
    layer_norm norm_;
    saved train_, eval_;
};

/// A vision transformer or a ResNet; its classifier is the projection.
template <class T>
class clip_image_tower {
public:
    explicit clip_image_tower(const clip_config& c) {
        if (c.vit) {
            vit_config v = *c.vit;
            v.n_labels = c.d_embedding;
            vit.emplace(v);
        } else {
            resnet_config r = *c.resnet;
            r.n_labels = c.d_embedding;
            resnet.emplace(r);
        }
        gradients = tensor<T, 1>({layout().size()});
    }
    const parameter_layout& layout() const { return vit ? vit->layout() : resnet->layout(); }
    tensor_view<T, 1> parameters() { return vit ? vit->parameters() : resnet->parameters(); }

    tensor_view<T, 2> forward(cpu_context& ctx, tensor_view<const T, 4> images, run_mode mode) {
        if (vit) {
            auto& s = mode.training ? vit_train_ : vit_eval_;
            vit->forward(ctx, s, images, mode);
            return vit->classify(ctx, s);
        }
        auto& s = mode.training ? resnet_train_ : resnet_eval_;
        resnet->forward(ctx, s, images, mode.training);
        return resnet->classify(ctx, s);
    }
    void backward(cpu_context& ctx, tensor_view<const T, 2> dy) {
        const tensor_view<const T, 1> values = parameters();
        const index_t d = vit ? vit->config().d_model : resnet->config().d_features();
        if (d_features_.extent(0) != dy.extent(0)) d_features_ = tensor<T, 2>({dy.extent(0), d});
        const linear& head = vit ? vit->network().head() : resnet->network().head();
        head.backward(ctx, values, gradients.view(), d_features_.view(), dy, vit ? vit_train_.features : resnet_train_.features);
        if (vit) vit->backward(ctx, gradients.view(), vit_train_, d_features_.view());
        else resnet->backward(ctx, gradients.view(), resnet_train_, d_features_.view());
    }

    std::optional<nn::vit<T>> vit;
    std::optional<nn::resnet<T>> resnet;
    tensor<T, 1> gradients;

private:
    vit_activations<T> vit_train_, vit_eval_;
    resnet_activations<T> resnet_train_, resnet_eval_;
    tensor<T, 2> d_features_;
};

}  // namespace detail

/// The model. T: float or double.
template <class T>
class clip {
public:
    /// Parameters as PyTorch, transformers and timm initialise them. Throws value_error when fewer than one tower is given, or two image towers.
    clip(const clip_config& config, philox rng) : clip(config) {
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
    /// Parameters zero but for the temperature; to be filled by the caller.
    explicit clip(const clip_config& config) : config_(config), logit_scale_({scalar_size()}), d_logit_scale_({scalar_size()}), logit_bias_({scalar_size()}), d_logit_bias_({scalar_size()}) {
        if (config.vit && config.resnet) throw value_error("clip_config: vit and resnet are both given; one image tower is the limit");
        if (!config.has_image() && !config.dna && !config.text) throw value_error("clip_config: no tower is given");
        if (config.d_embedding < 1) throw value_error("clip_config: d_embedding must be at least 1, is " + std::to_string(config.d_embedding));
        if (config.has_image()) image_ = std::make_unique<detail::clip_image_tower<T>>(config);
        if (config.dna) dna_ = std::make_unique<detail::clip_sequence_tower<T>>(*config.dna, config.dna_pooling, config.d_embedding);
        if (config.text) text_ = std::make_unique<detail::clip_sequence_tower<T>>(*config.text, config.text_pooling, config.d_embedding);
        logit_scale_(0) = static_cast<T>(config.initial_logit_scale);
        logit_bias_(0) = static_cast<T>(config.initial_logit_bias.value_or(0.0));
    }

    const clip_config& config() const noexcept { return config_; }
    /// Every flat range of parameters, in a fixed order. The views stay valid as long as the model.
    std::vector<clip_part<T>> parts() {
        std::vector<clip_part<T>> all;
        if (image_) all.push_back({"image", &image_->layout(), image_->parameters(), image_->gradients.view()});
        const auto sequence = [&](const std::string& name, detail::clip_sequence_tower<T>& t) {
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
    T logit_scale() const { return logit_scale_(0); }
    void set_logit_scale(T value) { logit_scale_(0) = value; }
    void zero_gradients(cpu_context& ctx) {
        for (auto& p : parts()) ops::fill<T>(ctx, p.gradients, T(0));
    }

    /// Unit vectors in evaluation, `batch_size` samples at a time. Throws value_error for a modality without a tower.
    clip_embeddings<T> embed(cpu_context& ctx, const clip_batch<T>& batch, index_t batch_size = 64) {
        if (batch_size < 1) throw value_error("clip.embed: batch_size must be at least 1, is " + std::to_string(batch_size));
        check(batch);
        clip_embeddings<T> e;
        const index_t n = batch.size();
        for (std::size_t m = 0; m < 3; ++m) {
            if (there(batch, m)) at(e, m) = tensor<T, 2>({n, config_.d_embedding});
        }
        tensor<accumulator_t<T>, 1> inv_norm({std::min(n, batch_size)});
        for (index_t begin = 0; begin < n; begin += batch_size) {
            const index_t end = std::min(n, begin + batch_size);
            const auto part = batch.rows(begin, end);
            for (std::size_t m = 0; m < 3; ++m) {
                if (there(batch, m)) ops::l2_normalize_forward<T>(ctx, at(e, m).view().rows(begin, end), inv_norm.view().rows(0, end - begin), tower(ctx, part, m, {}));
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
    double accumulate(cpu_context& ctx, const clip_batch<T>& batch, const clip_loss_options& o, philox rng) {
        check(batch);
        const index_t n = batch.size(), e = config_.d_embedding, chunk = o.chunk > 0 ? std::min(o.chunk, n) : n;
        if (o.chunk < 0) throw value_error("clip.accumulate: chunk must not be negative, is " + std::to_string(o.chunk));
        if (features_[0].extent(0) != n) {
            for (auto* set : {&features_, &d_features_}) {
                for (auto& f : *set) f = tensor<T, 2>({n, e});
            }
            for (auto& v : inv_norm_) v = tensor<accumulator_t<T>, 1>({n});
            scratch_ = tensor<accumulator_t<T>, 1>({ops::info_nce_saved<accumulator_t<T>>::size(n, n)});
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
        tensor<T, 1> kept;
        if (chunk < n && buffers().first != nullptr) {
            kept = tensor<T, 1>({buffers().second.size()});
            std::copy_n(buffers().second.data(), kept.size(), kept.data());
        }
        ops::contrastive_modality<T> modalities[3];
        const tensor_view<const std::uint8_t, 1> masks[3] = {o.image_there, o.dna_there, o.text_there};
        for (std::size_t m = 0; m < 3; ++m) {
            if (!there(batch, m)) continue;
            ops::fill<T>(ctx, d_features_[m].view().template reshape<1>({n * e}), T(0));
            modalities[m] = {features_[m].view(), d_features_[m].view(), masks[m]};
        }
        const auto n_directions = static_cast<index_t>(2 * ops::contrastive_pairs<T>(modalities, o.contrastive).size());
        if (n_directions == 0) throw value_error("clip.accumulate: no pair of modalities is there");
        if (loss_.extent(0) != n_directions || loss_.extent(1) != n) loss_ = tensor<accumulator_t<T>, 2>({n_directions, n});
        const accumulator_t<T> scale = static_cast<accumulator_t<T>>(logit_scale_(0));
        accumulator_t<T> d_scale = 0;
        if (o.loss == clip_loss::siglip) siglip(ctx, modalities, o, scale, d_scale);
        else ops::contrastive_loss<T>(ctx, loss_.view(), tensor_view<accumulator_t<T>, 1>(&d_scale, {1}), tensor_view<const accumulator_t<T>, 1>(&scale, {1}), modalities, o.labels, scratch_.view(),
                                 o.contrastive);
        d_logit_scale_(0) += static_cast<T>(d_scale);
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
        if (kept.size() > 0) std::copy_n(kept.data(), kept.size(), buffers().second.data());
        double total = 0.0;
        for (const accumulator_t<T> l : loss_) total += static_cast<double>(l);
        return total;
    }

    detail::clip_image_tower<T>* image_tower() noexcept { return image_.get(); }
    detail::clip_sequence_tower<T>* dna_tower() noexcept { return dna_.get(); }
    detail::clip_sequence_tower<T>* text_tower() noexcept { return text_.get(); }

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
    /// SigLIP of every pair, averaged; each pair's losses in the first of its two rows.
    void siglip(cpu_context& ctx, std::span<const ops::contrastive_modality<T>> modalities, const clip_loss_options& o, accumulator_t<T> scale, accumulator_t<T>& d_scale) {
        if (!config_.initial_logit_bias) throw value_error("clip.accumulate: SigLIP needs a model with a bias: clip_config.initial_logit_bias");
        const accumulator_t<T> bias = static_cast<accumulator_t<T>>(logit_bias_(0));
        accumulator_t<T> d_bias = 0;
        const auto pairs = ops::contrastive_pairs<T>(modalities, o.contrastive);
        using scalar = tensor_view<accumulator_t<T>, 1>;
        using const_scalar = tensor_view<const accumulator_t<T>, 1>;
        std::fill(loss_.begin(), loss_.end(), accumulator_t<T>(0));
        for (std::size_t k = 0; k < pairs.size(); ++k) {
            const auto &a = modalities[static_cast<std::size_t>(pairs[k][0])], &b = modalities[static_cast<std::size_t>(pairs[k][1])];
            ops::siglip<T>(ctx, loss_.view()[static_cast<index_t>(2 * k)], a.gradient, b.gradient, scalar(&d_scale, {1}), scalar(&d_bias, {1}), a.features, b.features, const_scalar(&scale, {1}),
                           const_scalar(&bias, {1}), {.row_labels = o.labels, .column_labels = o.labels, .row_mask = a.mask, .column_mask = b.mask},
                           {.weight = 1.0 / static_cast<double>(pairs.size())});
        }
        d_logit_bias_(0) += static_cast<T>(d_bias);
    }
    tensor_view<T, 2> tower(cpu_context& ctx, const clip_batch<T>& b, std::size_t m, run_mode mode) {
        if (m == 0) return image_->forward(ctx, b.images, mode);
        return m == 1 ? dna_->forward(ctx, b.dna, b.dna_mask, mode) : text_->forward(ctx, b.text, b.text_mask, mode);
    }

    clip_config config_;
    std::unique_ptr<detail::clip_image_tower<T>> image_;
    std::unique_ptr<detail::clip_sequence_tower<T>> dna_, text_;
    tensor<T, 1> logit_scale_, d_logit_scale_, logit_bias_, d_logit_bias_;
    std::array<tensor<T, 2>, 3> features_, d_features_;
    std::array<tensor<accumulator_t<T>, 1>, 3> inv_norm_;
    tensor<accumulator_t<T>, 1> scratch_;
    tensor<accumulator_t<T>, 2> loss_;
};

}  // namespace instar::nn

#endif
