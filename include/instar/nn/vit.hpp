#ifndef INSTAR_NN_VIT_HPP
#define INSTAR_NN_VIT_HPP

// The vision transformer: patches, a class token, learned positions, pre-LN blocks, one vector an image.
//
//     nn::vit<float> model(nn::vit_config::tiny(), philox{.seed = 1});         // or load_vit<float>("folder/"), nn/vit_io.hpp
//     nn::vit_activations<float> memory;
//     auto features = model.forward(ctx, memory, images);                      // images [n, 3, 224, 224] → [n, 192]
//     auto logits = model.classify(ctx, memory);                               // [n, n_labels]
//
// Parameter names and layout are timm's (VisionTransformer). Dosovitskiy et al. 2021 (arXiv:2010.11929).

#include "instar/nn/bert.hpp"
#include "instar/ops/patch_embedding.hpp"

namespace instar::nn {

/// Which vector of the last block's tokens is an image's: the class token's, or the mean of the patches'. The final LayerNorm
/// follows it, as timm's `norm` or `fc_norm`.
enum class vit_pooling { class_token, patch_mean };

/// Defaults are ViT-B/16's.
struct vit_config {
    index_t image_size = 224;
    index_t patch_size = 16;
    index_t n_channels = 3;
    index_t d_model = 768;
    index_t n_layers = 12;
    index_t n_heads = 12;
    index_t d_ff = 3072;
    index_t n_labels = 0;  ///< 0 = no classifier
    vit_pooling pooling = vit_pooling::class_token;
    double eps = 1e-6;
    double init_std = 0.02;
    float dropout = 0.0f;  ///< after positions, attention's output and MLP
    float drop_path = 0.0f;  ///< stochastic depth: the share of images that skip a branch of the last block; from 0 at the first block linearly up to it

    static vit_config tiny(index_t n_labels = 0) { return {.d_model = 192, .n_heads = 3, .d_ff = 768, .n_labels = n_labels}; }
    static vit_config small(index_t n_labels = 0) { return {.d_model = 384, .n_heads = 6, .d_ff = 1536, .n_labels = n_labels}; }
    static vit_config base(index_t n_labels = 0) { return {.n_labels = n_labels}; }
    static vit_config large(index_t n_labels = 0) { return {.d_model = 1024, .n_layers = 24, .n_heads = 16, .d_ff = 4096, .n_labels = n_labels}; }

    index_t n_patches() const { return image_size / patch_size * (image_size / patch_size); }
    index_t n_tokens() const { return n_patches() + 1; }
};

/// The modules of a ViT and the layout of its parameters. Holds no values.
class vit_network {
public:
    explicit vit_network(const vit_config& config) : config_(config) {
        check(config);
        const index_t d = config.d_model, p = config.patch_size;
        linear_config init{.weight_scale = config.init_std};
        class_token_ = layout_.add<3>("cls_token", {1, 1, d}, init::normal, 1e-6);
        position_ = layout_.add<3>("pos_embed", {1, config.n_tokens(), d}, init::normal, config.init_std);
        // The uniform bound of PyTorch's convolution: 1/√(inputs of one output).
        const double bound = 1.0 / std::sqrt(static_cast<double>(config.n_channels * p * p));
        patch_weight_ = layout_.add<4>("patch_embed.proj.weight", {d, config.n_channels, p, p}, init::uniform, bound);
        patch_bias_ = layout_.add<1>("patch_embed.proj.bias", {d}, init::uniform, bound);
        for (index_t i = 0; i < config.n_layers; ++i) {
            const std::string b = "blocks." + std::to_string(i) + ".";
            blocks_.emplace_back(layout_,
                                 transformer_block_names{.attention = {b + "attn.qkv", "", "", b + "attn.proj"},
                                                         .norm1 = b + "norm1",
                                                         .mlp1 = b + "mlp.fc1",
                                                         .mlp2 = b + "mlp.fc2",
                                                         .norm2 = b + "norm2"},
                                 transformer_block_config{.d_model = d, .n_heads = config.n_heads, .d_ff = config.d_ff, .eps = config.eps,
                                                          .norm = norm_placement::pre, .init = init});
        }
        norm_ = layer_norm(layout_, config.pooling == vit_pooling::class_token ? "norm" : "fc_norm", d, config.eps);
        if (config.n_labels > 0) {
            init.d_in = d;
            init.d_out = config.n_labels;
            head_ = linear(layout_, "head", init);
        }
    }

    const vit_config& config() const noexcept { return config_; }
    const parameter_layout& layout() const noexcept { return layout_; }
    const std::vector<transformer_block>& blocks() const noexcept { return blocks_; }
    const layer_norm& norm() const noexcept { return norm_; }
    const linear& head() const noexcept { return head_; }

    template <class T>
    tensor_view<T, 1> class_token(tensor_view<T, 1> flat) const { return class_token_(flat).template reshape<1>({config_.d_model}); }
    template <class T>
    tensor_view<T, 2> position(tensor_view<T, 1> flat) const { return position_(flat).template reshape<2>({config_.n_tokens(), config_.d_model}); }
    template <class T>
    tensor_view<T, 2> patch_weight(tensor_view<T, 1> flat) const {
        return patch_weight_(flat).template reshape<2>({config_.d_model, config_.n_channels * config_.patch_size * config_.patch_size});
    }
    template <class T>
    tensor_view<T, 1> patch_bias(tensor_view<T, 1> flat) const { return patch_bias_(flat); }

private:
    static void check(const vit_config& c) {
        const auto positive = [](const char* name, index_t value) {
            if (value < 1) throw value_error(std::string("vit_config: ") + name + " must be at least 1, is " + std::to_string(value));
        };
        positive("image_size", c.image_size);
        positive("patch_size", c.patch_size);
        positive("n_channels", c.n_channels);
        positive("d_model", c.d_model);
        positive("n_heads", c.n_heads);
        positive("d_ff", c.d_ff);
        if (c.n_layers < 0 || c.n_labels < 0) throw value_error("vit_config: n_layers and n_labels must not be negative");
        if (c.image_size % c.patch_size != 0) {
            throw value_error("vit_config: image_size " + std::to_string(c.image_size) + " is not a multiple of patch_size " + std::to_string(c.patch_size));
        }
        if (!(c.dropout >= 0.0f && c.dropout < 1.0f)) throw value_error("vit_config: dropout must be in [0, 1), is " + std::to_string(c.dropout));
        if (!(c.drop_path >= 0.0f && c.drop_path < 1.0f)) throw value_error("vit_config: drop_path must be in [0, 1), is " + std::to_string(c.drop_path));
    }

    vit_config config_;
    parameter_layout layout_;
    parameter<3> class_token_, position_;
    parameter<4> patch_weight_;
    parameter<1> patch_bias_;
    std::vector<transformer_block> blocks_;
    layer_norm norm_;
    linear head_;
};

/// Memory of a forward (and of its backward): sized once for a batch, nothing is allocated in a step after that.
template <class T, class Memory = host_memory>
class vit_activations {
public:
    /// Room for n_batch images; views for exactly that many. In evaluation the blocks share one set of buffers.
    template <class Context>
    void reserve(Context& ctx, const vit_network& net, index_t n_batch, bool training) {
        if (n_batch == n_batch_ && training == training_) return;
        n_batch_ = -1;  // stays so when an allocation throws
        memory_.measure();
        take(net, n_batch, training);
        memory_.commit();
        take(net, n_batch, training);
        if (training) {
            scratch_.measure();
            // A measuring arena makes backward take its temporaries and do nothing else.
            if (!blocks.empty()) net.blocks().front().backward(ctx, tensor_view<const T, 1>{}, {}, {}, {}, blocks.front(), {}, {}, {}, scratch_);
            scratch_.commit();
        }
        n_batch_ = n_batch;
        training_ = training;
    }
    std::size_t bytes() const noexcept { return memory_.committed_bytes() + scratch_.committed_bytes(); }
    arena<Memory>& scratch() noexcept { return scratch_; }
    bool training() const noexcept { return training_; }

    // What one forward keeps; public to the model, not part of the interface.
    tensor_view<T, 2> patches;                        // [n · n_patches, n_channels · patch²]
    tensor_view<T, 2> embedded;                       // their embedding, and its gradient
    std::vector<tensor_view<T, 2>> hidden;            // input of each block, then the output of the last
    std::vector<transformer_block_saved<T>> blocks;
    tensor_view<T, 2> d_hidden[2];                    // gradients, alternating
    tensor_view<T, 2> pooled, features, logits, d_pooled;
    ops::layer_norm_saved<T> norm;
    run_mode mode;

private:
    void take(const vit_network& net, index_t n_batch, bool training) {
        const vit_config& c = net.config();
        const index_t n_rows = n_batch * c.n_tokens(), n_patches = n_batch * c.n_patches(), d = c.d_model;
        patches = memory_.template take<T>({n_patches, c.n_channels * c.patch_size * c.patch_size});
        embedded = memory_.template take<T>({n_patches, d});
        hidden.clear();
        blocks.clear();
        hidden.push_back(memory_.template take<T>({n_rows, d}));
        for (index_t i = 0; i < c.n_layers; ++i) {
            if (training || i == 0) {
                blocks.push_back(net.blocks()[static_cast<std::size_t>(i)].template take<T>(memory_, n_batch, c.n_tokens(), training));
                hidden.push_back(memory_.template take<T>({n_rows, d}));
            } else {
                // Two buffers alternate: a block's output may not alias its input.
                blocks.push_back(blocks.front());
                hidden.push_back(hidden[static_cast<std::size_t>((i + 1) % 2)]);
            }
        }
        pooled = memory_.template take<T>({n_batch, d});
        features = memory_.template take<T>({n_batch, d});
        logits = memory_.template take<T>({n_batch, c.n_labels});
        norm = take_layer_norm_saved<T>(memory_, n_batch);
        if (training) {
            for (auto& g : d_hidden) g = memory_.template take<T>({n_rows, d});
            d_pooled = memory_.template take<T>({n_batch, d});
        }
    }

    arena<Memory> memory_, scratch_;
    index_t n_batch_ = -1;
    bool training_ = false;
};

/// A ViT with its parameters. T: float, double or bf16 (statistics, sums and what AdamW keeps in float); Memory: host_memory, or the CUDA context's.
template <class T, class Memory = host_memory>
class vit {
public:
    using memory = Memory;

    /// Parameters initialised as timm does: N(0, init_std²) for weights and positions, biases 0.
    vit(const vit_config& config, philox rng) requires std::same_as<Memory, host_memory>
        : net_(config), parameters_({net_.layout().size()}) {
        initialise(net_.layout(), parameters_.view(), rng);
    }
    /// Parameters zero, to be filled by the caller.
    explicit vit(const vit_config& config) : net_(config), parameters_({net_.layout().size()}) {}

    const vit_config& config() const noexcept { return net_.config(); }
    const vit_network& network() const noexcept { return net_; }
    const parameter_layout& layout() const noexcept { return net_.layout(); }
    tensor_view<T, 1> parameters() noexcept { return parameters_.view(); }
    tensor_view<const T, 1> parameters() const noexcept { return parameters_.view(); }
    tensor<T, 1, Memory> make_gradients() const { return tensor<T, 1, Memory>({net_.layout().size()}); }

    /// Features after the final LayerNorm.
    ///
    /// | argument | shape                                            | element | note                                     |
    /// |----------|--------------------------------------------------|---------|------------------------------------------|
    /// | images   | [n_batch, n_channels, image_size, image_size]     | T       | normalised as the weights expect         |
    /// | result   | [n_batch, d_model]                               | T       | lives in `memory` until the next forward |
    ///
    /// Same bits for any number of threads. Throws shape_error for images of another size.
    template <class Context>
    tensor_view<T, 2> forward(Context& ctx, vit_activations<T, Memory>& memory, in_view<T, 4> images, run_mode mode = {}) const {
        const vit_config& c = net_.config();
        const index_t n = images.extent(0), n_tokens = c.n_tokens(), d = c.d_model;
        instar::detail::check_shape("vit.forward", "images", images, {n, c.n_channels, c.image_size, c.image_size});
        memory.reserve(ctx, net_, n, mode.training);
        memory.mode = mode;
        const tensor_view<const T, 1> values = parameters_.view();
        ops::extract_patches<T>(ctx, memory.patches, images, c.patch_size);
        ops::linear_forward<T>(ctx, memory.embedded, memory.patches, net_.patch_weight(values), net_.patch_bias(values));
        ops::prepend_class_token<T>(ctx, tokens(memory.hidden[0], n), memory.embedded, net_.class_token(values), net_.position(values));
        if (mode.training && c.dropout > 0) {
            auto x = memory.hidden[0].template reshape<1>({n * n_tokens * d});
            ops::dropout_forward<T>(ctx, x, x, position_dropout(mode));
        }
        for (std::size_t i = 0; i < net_.blocks().size(); ++i) {
            net_.blocks()[i].forward(ctx, values, memory.hidden[i + 1], memory.blocks[i], memory.hidden[i], {}, block_mode_of(mode, i));
        }
        pool(ctx, memory.pooled, tokens(memory.hidden.back(), n));
        net_.norm().forward(ctx, values, memory.features, memory.norm, memory.pooled);
        return memory.features;
    }

    /// Logits of the last forward's features, [n_batch, n_labels].
    template <class Context>
    tensor_view<T, 2> classify(Context& ctx, vit_activations<T, Memory>& memory) const {
        if (net_.config().n_labels < 1) throw value_error("vit.classify: the model has no classifier (n_labels = 0)");
        net_.head().forward(ctx, parameters(), memory.logits, memory.features);
        return memory.logits;
    }

    /// Accumulates the gradient of every parameter but the classifier's. d_features: gradient at the forward's result.
    template <class Context>
    void backward(Context& ctx, tensor_view<T, 1> gradients, vit_activations<T, Memory>& memory, in_view<T, 2> d_features) const {
        const vit_config& c = net_.config();
        if (!memory.training()) throw value_error("vit.backward: the last forward was not run in training mode");
        const index_t n = memory.features.extent(0);
        instar::detail::check_shape("vit.backward", "gradients", gradients, {net_.layout().size()});
        instar::detail::check_shape("vit.backward", "d_features", d_features, {n, c.d_model});
        const tensor_view<const T, 1> values = parameters_.view();
        net_.norm().backward(ctx, values, gradients, memory.d_pooled, d_features, memory.norm, memory.pooled);
        tensor_view<T, 2> dy = memory.d_hidden[0];
        unpool(ctx, tokens(dy, n), memory.d_pooled);
        for (std::size_t i = net_.blocks().size(); i-- > 0;) {
            tensor_view<T, 2> dx = memory.d_hidden[dy.data() == memory.d_hidden[0].data() ? 1 : 0];
            net_.blocks()[i].backward(ctx, values, gradients, dx, dy, memory.blocks[i], memory.hidden[i], {}, block_mode_of(memory.mode, i), memory.scratch());
            dy = dx;
        }
        if (c.dropout > 0 && memory.mode.training) {
            auto flat = dy.template reshape<1>({dy.size()});
            ops::dropout_backward<T>(ctx, flat, flat, position_dropout(memory.mode));
        }
        ops::prepend_class_token_backward<T>(ctx, memory.embedded, net_.class_token(gradients), net_.position(gradients), tokens(dy, n));
        ops::linear_backward<T>(ctx, {}, net_.patch_weight(gradients), net_.patch_bias(gradients), memory.embedded, memory.patches, net_.patch_weight(values));
    }

    /// FLOP of one forward of n images, matrix products and attention; backward is twice that.
    double forward_flop(index_t n) const {
        const vit_config& c = net_.config();
        const auto d = static_cast<double>(c.d_model), f = static_cast<double>(c.d_ff), t = static_cast<double>(c.n_tokens());
        const double patch = 2.0 * static_cast<double>(c.n_patches() * c.n_channels * c.patch_size * c.patch_size) * d;
        return static_cast<double>(n) * (patch + static_cast<double>(c.n_layers) * t * (8 * d * d + 4 * d * f + 4 * t * d));
    }

private:
    tensor_view<T, 3> tokens(tensor_view<T, 2> rows, index_t n) const {
        return rows.template reshape<3>({n, net_.config().n_tokens(), net_.config().d_model});
    }
    /// The tokens that are averaged: all, or all but the class token. A view into `t`.
    tensor_view<T, 3> patch_tokens(tensor_view<T, 3> t) const {
        return tensor_view<T, 3>(t.data() + t.stride(1), {t.extent(0), t.extent(1) - 1, t.extent(2)}, {t.stride(0), t.stride(1), t.stride(2)});
    }
    template <class Context>
    void pool(Context& ctx, tensor_view<T, 2> y, tensor_view<T, 3> t) const {
        if (net_.config().pooling == vit_pooling::class_token) ops::sequence_pool_forward<T>(ctx, y, t, {}, ops::pooling::first);
        else ops::sequence_pool_forward<T>(ctx, y, patch_tokens(t), {}, ops::pooling::mean);
    }
    template <class Context>
    void unpool(Context& ctx, tensor_view<T, 3> dt, tensor_view<T, 2> dy) const {
        if (net_.config().pooling == vit_pooling::class_token) {
            ops::sequence_pool_backward<T>(ctx, dt, dy, {}, ops::pooling::first);
            return;
        }
        // The class token counts for nothing: everything to zero first, its row among it.
        ops::fill<T>(ctx, dt.template reshape<1>({dt.size()}), T(0));
        ops::sequence_pool_backward<T>(ctx, patch_tokens(dt), dy, {}, ops::pooling::mean);
    }
    ops::dropout_options position_dropout(const run_mode& mode) const { return {.p = net_.config().dropout, .rng = mode.rng.fork(1000)}; }
    block_mode block_mode_of(const run_mode& mode, std::size_t layer) const {
        if (!mode.training) return {};
        const vit_config& c = net_.config();
        const float depth = c.n_layers > 1 ? static_cast<float>(layer) / static_cast<float>(c.n_layers - 1) : 1.0f;
        return {c.dropout, 0.0f, mode.rng.fork(2000 + layer), c.drop_path * depth, c.n_tokens() * c.d_model};
    }

    vit_network net_;
    tensor<T, 1, Memory> parameters_;
};

}  // namespace instar::nn

#endif
