#ifndef INSTAR_NN_CLIP_TOWERS_HPP
#define INSTAR_NN_CLIP_TOWERS_HPP

// What a contrastive model is made of: its configuration, the tower of a sequence (DNA, text) and that of images. The model: nn/clip.hpp.
//
//     nn::clip_config config{.vit = nn::vit_config::small(), .dna = dna_bert, .text = text_bert, .d_embedding = 512};

#include <optional>

#include "instar/nn/bert.hpp"
#include "instar/nn/resnet.hpp"
#include "instar/nn/vit.hpp"
#include "instar/ops/gelu.hpp"
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

namespace detail {

/// A BERT and what makes one vector of its tokens.
template <class T, class Memory>
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
        head = tensor<T, 1, Memory>({head_layout.size()});
        d_head = tensor<T, 1, Memory>({head_layout.size()});
        d_encoder = encoder.make_gradients();
    }

    /// [n, d_out], before the normalisation; valid until the next call of the same mode.
    template <class Context>
    tensor_view<T, 2> forward(Context& ctx, tensor_view<const std::int32_t, 2> ids, tensor_view<const std::uint8_t, 2> mask, run_mode mode) {
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
    template <class Context>
    void backward(Context& ctx, tensor_view<const T, 2> dy) {
        saved& s = train_;
        const index_t n = s.n, t = s.encoder.ids.extent(1), rows = n * t;
        const tensor_view<const T, 1> values = head.view();
        const auto dh = bert<T, Memory>::d_hidden_buffer(s.encoder);
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

    bert<T, Memory> encoder;
    parameter_layout head_layout;
    tensor<T, 1, Memory> head, d_head, d_encoder;

private:
    struct saved {
        bert_activations<T, Memory> encoder;
        tensor<T, 2, Memory> pre, act, normed, probability, d_probability, d_act, pooled, d_pooled, y;
        tensor<accumulator_t<T>, 1, Memory> mean, rstd;
        index_t n = 0, n_rows = -1, n_samples = -1;

        void reserve(clip_pooling pooling, index_t samples, index_t length, index_t d, index_t d_out) {
            if (samples > n_samples) {
                y = tensor<T, 2, Memory>({samples, d_out});
                pooled = tensor<T, 2, Memory>({samples, d});
                d_pooled = tensor<T, 2, Memory>({samples, d});
                n_samples = samples;
            }
            if (pooling != clip_pooling::softmax_mean || samples * length <= n_rows) return;
            n_rows = samples * length;
            for (auto* m : {&pre, &act, &normed, &d_act}) *m = tensor<T, 2, Memory>({n_rows, d});
            for (auto* m : {&probability, &d_probability}) *m = tensor<T, 2, Memory>({n_rows, d_out});
            mean = tensor<accumulator_t<T>, 1, Memory>({n_rows});
            rstd = tensor<accumulator_t<T>, 1, Memory>({n_rows});
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
template <class T, class Memory>
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
        gradients = tensor<T, 1, Memory>({layout().size()});
    }
    const parameter_layout& layout() const { return vit ? vit->layout() : resnet->layout(); }
    tensor_view<T, 1> parameters() { return vit ? vit->parameters() : resnet->parameters(); }

    template <class Context>
    tensor_view<T, 2> forward(Context& ctx, tensor_view<const T, 4> images, run_mode mode) {
        if (resnet) {
            auto& s = mode.training ? resnet_train_ : resnet_eval_;
            resnet->forward(ctx, s, images, mode.training);
            return resnet->classify(ctx, s);
        }
        auto& s = mode.training ? vit_train_ : vit_eval_;
        vit->forward(ctx, s, images, mode);
        return vit->classify(ctx, s);
    }
    template <class Context>
    void backward(Context& ctx, tensor_view<const T, 2> dy) {
        const tensor_view<const T, 1> values = parameters();
        const index_t d = vit ? vit->config().d_model : resnet->config().d_features();
        if (d_features_.extent(0) != dy.extent(0)) d_features_ = tensor<T, 2, Memory>({dy.extent(0), d});
        const linear& head = vit ? vit->network().head() : resnet->network().head();
        head.backward(ctx, values, gradients.view(), d_features_.view(), dy, vit ? vit_train_.features : resnet_train_.features);
        if (resnet) resnet->backward(ctx, gradients.view(), resnet_train_, d_features_.view());
        else vit->backward(ctx, gradients.view(), vit_train_, d_features_.view());
    }

    std::optional<nn::vit<T, Memory>> vit;
    std::optional<nn::resnet<T, Memory>> resnet;
    tensor<T, 1, Memory> gradients;

private:
    vit_activations<T, Memory> vit_train_, vit_eval_;
    resnet_activations<T, Memory> resnet_train_, resnet_eval_;
    tensor<T, 2, Memory> d_features_;
};

}  // namespace detail

}  // namespace instar::nn

#endif
