#ifndef INSTAR_NN_BERT_HPP
#define INSTAR_NN_BERT_HPP

// The BERT encoder, as BarcodeBERT uses it: token + position + type embeddings, post-LN blocks, an optional classifier.
//
//     nn::bert<float> model({.vocab_size = 258, .n_layers = 4, .n_heads = 4, .n_labels = 256}, philox{.seed = 1});
//     nn::bert_activations<float> memory;
//     auto h = model.forward(ctx, memory, ids, mask);                         // [n_batch, seq_len, d_model]
//     auto x = model.embed(ctx, ids, mask, ops::pooling::masked_mean);        // [n, d_model], any number of samples
//
// Files: nn/bert_io.hpp (load_bert, save_bert) reads and writes Hugging Face folders. Parameter names are those of
// transformers' BertForTokenClassification. Devlin et al. 2019 (arXiv:1810.04805); Millan Arias et al. 2023
// (arXiv:2311.02401).

#include "instar/nn/heads.hpp"
#include "instar/nn/transformer_block.hpp"
#include "instar/ops/embedding.hpp"
#include "instar/ops/pooling.hpp"

namespace instar::nn {

/// Defaults are BERT-base's, the names of DESIGN; Hugging Face's names stand behind each.
struct bert_config {
    index_t vocab_size = 258;       // vocab_size
    index_t d_model = 768;          // hidden_size
    index_t n_layers = 12;          // num_hidden_layers
    index_t n_heads = 12;           // num_attention_heads
    index_t d_ff = 3072;            // intermediate_size
    index_t max_positions = 512;    // max_position_embeddings
    index_t n_types = 2;            // type_vocab_size; only type 0 is used
    index_t n_labels = 0;           // num_labels; 0 = no classifier
    double eps = 1e-12;             // layer_norm_eps
    double init_std = 0.02;         // initializer_range
    float dropout = 0.1f;           // hidden_dropout_prob; also before the classifier
    float attention_dropout = 0.1f; // attention_probs_dropout_prob
    std::int32_t padding_idx = 0;   // pad_token_id: this word-embedding row is zero and never trained
};

/// Training or evaluation, and the random numbers of this step. Default: evaluation.
struct run_mode {
    bool training = false;
    philox rng{};
};

/// The modules of a BERT and the layout of its parameters. Holds no values: float, double, CPU and GPU share it.
class bert_network {
public:
    explicit bert_network(const bert_config& config) : config_(config) {
        check(config);
        const index_t d = config.d_model;
        linear_config init{.weight_scale = config.init_std};
        word_ = layout_.add<2>("bert.embeddings.word_embeddings.weight", {config.vocab_size, d}, init::normal, config.init_std, config.padding_idx);
        position_ = layout_.add<2>("bert.embeddings.position_embeddings.weight", {config.max_positions, d}, init::normal, config.init_std);
        type_ = layout_.add<2>("bert.embeddings.token_type_embeddings.weight", {config.n_types, d}, init::normal, config.init_std);
        norm_ = layer_norm(layout_, "bert.embeddings.LayerNorm", d, config.eps);
        for (index_t i = 0; i < config.n_layers; ++i) {
            const std::string p = "bert.encoder.layer." + std::to_string(i) + ".";
            blocks_.emplace_back(layout_,
                                 transformer_block_names{.attention = {p + "attention.self.query", p + "attention.self.key",
                                                                       p + "attention.self.value", p + "attention.output.dense"},
                                                         .norm1 = p + "attention.output.LayerNorm",
                                                         .mlp1 = p + "intermediate.dense",
                                                         .mlp2 = p + "output.dense",
                                                         .norm2 = p + "output.LayerNorm"},
                                 transformer_block_config{.d_model = d, .n_heads = config.n_heads, .d_ff = config.d_ff, .eps = config.eps, .init = init});
        }
        if (config.n_labels > 0) {
            init.d_in = d;
            init.d_out = config.n_labels;
            classifier_ = linear(layout_, "classifier", init);
        }
    }

    const bert_config& config() const noexcept { return config_; }
    const parameter_layout& layout() const noexcept { return layout_; }
    const linear& classifier() const noexcept { return classifier_; }
    const std::vector<transformer_block>& blocks() const noexcept { return blocks_; }
    const layer_norm& embedding_norm() const noexcept { return norm_; }

    template <class T>
    tensor_view<T, 2> word(tensor_view<T, 1> flat) const { return word_(flat); }
    template <class T>
    tensor_view<T, 2> position(tensor_view<T, 1> flat) const { return position_(flat); }
    template <class T>
    tensor_view<T, 1> type_row(tensor_view<T, 1> flat) const { return type_(flat)[0]; }

private:
    static void check(const bert_config& c) {
        const auto positive = [](const char* name, index_t value) {
            if (value < 1) throw value_error(std::string("bert_config: ") + name + " must be at least 1, is " + std::to_string(value));
        };
        positive("vocab_size", c.vocab_size);
        positive("d_model", c.d_model);
        positive("n_heads", c.n_heads);
        positive("d_ff", c.d_ff);
        positive("max_positions", c.max_positions);
        positive("n_types", c.n_types);
        if (c.n_layers < 0 || c.n_labels < 0) throw value_error("bert_config: n_layers and n_labels must not be negative");
        if (c.padding_idx >= c.vocab_size) {
            throw value_error("bert_config: padding_idx " + std::to_string(c.padding_idx) + " is outside the vocabulary of " + std::to_string(c.vocab_size));
        }
        const auto probability = [](const char* name, float p) {
            if (!(p >= 0.0f && p < 1.0f)) throw value_error(std::string("bert_config: ") + name + " must be in [0, 1), is " + std::to_string(p));
        };
        probability("dropout", c.dropout);
        probability("attention_dropout", c.attention_dropout);
    }

    bert_config config_;
    parameter_layout layout_;
    parameter<2> word_, position_, type_;
    layer_norm norm_;
    std::vector<transformer_block> blocks_;
    linear classifier_;
};

/// Memory of a forward (and of its backward): sized once by `reserve`, nothing is allocated in a step after that.
template <class T, class Memory = host_memory>
class bert_activations {
public:
    /// Makes room for n_batch samples of seq_len tokens, and hands out the views for exactly that shape. Keeps memory that
    /// suffices. In evaluation the blocks share one set of buffers.
    template <class Context>
    void reserve(Context& ctx, const bert_network& net, index_t n_batch, index_t seq_len, bool training) {
        if (n_batch == n_batch_ && seq_len == seq_len_ && training == training_) return;
        n_batch_ = -1;  // stays so when an allocation throws
        memory_.measure();
        take(net, n_batch, seq_len, training);
        memory_.commit();
        take(net, n_batch, seq_len, training);
        if (training) {
            scratch_.measure();
            measure_scratch(ctx, net, n_batch, seq_len);
            scratch_.commit();
        }
        n_batch_ = n_batch;
        seq_len_ = seq_len;
        training_ = training;
    }
    std::size_t bytes() const noexcept { return memory_.committed_bytes() + scratch_.committed_bytes(); }

    // What one forward keeps; public to the model, not part of the interface.
    tensor_view<T, 2> embedded;                       // before the embeddings' LayerNorm
    ops::layer_norm_saved<T> embedded_norm;
    std::vector<tensor_view<T, 2>> hidden;            // input of each block, then the output of the last
    std::vector<transformer_block_saved<T>> blocks;
    tensor_view<T, 2> d_hidden[2];                    // gradients, alternating
    tensor_view<const std::int32_t, 2> ids;           // of the last forward
    tensor_view<const std::uint8_t, 2> mask;
    run_mode mode;

    arena<Memory>& scratch() noexcept { return scratch_; }
    bool training() const noexcept { return training_; }

private:
    void take(const bert_network& net, index_t n_batch, index_t seq_len, bool training) {
        const index_t n_rows = n_batch * seq_len;
        const index_t d = net.config().d_model;
        const index_t n_layers = net.config().n_layers;
        embedded = memory_.template take<T>({n_rows, d});
        embedded_norm = take_layer_norm_saved<T>(memory_, n_rows);
        hidden.clear();
        blocks.clear();
        hidden.push_back(memory_.template take<T>({n_rows, d}));
        for (index_t i = 0; i < n_layers; ++i) {
            const auto& block = net.blocks()[static_cast<std::size_t>(i)];
            if (training || i == 0) {
                blocks.push_back(block.template take<T>(memory_, n_batch, seq_len, training));
            } else {
                blocks.push_back(blocks.front());
            }
            // In evaluation two buffers alternate: a block's output may not alias its input.
            if (training || i == 0) hidden.push_back(memory_.template take<T>({n_rows, d}));
            else hidden.push_back(hidden[static_cast<std::size_t>((i + 1) % 2)]);
        }
        if (training) {
            for (auto& g : d_hidden) g = memory_.template take<T>({n_rows, d});
        }
    }
    template <class Context>
    void measure_scratch(Context& ctx, const bert_network& net, index_t n_batch, index_t seq_len) {
        if (!net.blocks().empty()) {
            // A measuring arena makes backward take its temporaries and do nothing else.
            net.blocks().front().backward(ctx, tensor_view<const T, 1>{}, {}, {}, {}, blocks.front(), {}, {}, {}, scratch_);
        }
        if (net.config().n_labels > 0) {
            const index_t rows = logits_rows(n_batch * seq_len, net.config().n_labels);
            const std::size_t mark = scratch_.mark();
            scratch_.template take<T>({rows, net.config().n_labels});
            scratch_.rewind(mark);
        }
    }

    arena<Memory> memory_;
    arena<Memory> scratch_;
    index_t n_batch_ = -1;
    index_t seq_len_ = -1;
    bool training_ = false;
};

/// A BERT with its parameters. T: float, double or bf16 (statistics, sums and what AdamW keeps in float); Memory: host_memory, or the CUDA context's.
template <class T, class Memory = host_memory>
class bert {
public:
    using memory = Memory;

    /// Parameters initialised as transformers does: N(0, init_std²), LayerNorm 1 and 0, biases 0, padding row 0.
    bert(const bert_config& config, philox rng) requires std::same_as<Memory, host_memory>
        : net_(config), parameters_({net_.layout().size()}) {
        initialise(net_.layout(), parameters_.view(), rng);
    }
    /// Parameters zero, to be filled by the caller (a loader, a copy to a device).
    explicit bert(const bert_config& config) : net_(config), parameters_({net_.layout().size()}) {}

    const bert_config& config() const noexcept { return net_.config(); }
    const bert_network& network() const noexcept { return net_; }
    const parameter_layout& layout() const noexcept { return net_.layout(); }
    tensor_view<T, 1> parameters() noexcept { return parameters_.view(); }
    tensor_view<const T, 1> parameters() const noexcept { return parameters_.view(); }
    /// A zero-filled buffer for gradients.
    tensor<T, 1, Memory> make_gradients() const { return tensor<T, 1, Memory>({net_.layout().size()}); }

    /// Hidden states after the last block.
    ///
    /// | argument | shape                       | element | note                                            |
    /// |----------|-----------------------------|---------|-------------------------------------------------|
    /// | ids      | [n_batch, seq_len]          | int32   | seq_len ≤ max_positions                         |
    /// | mask     | [n_batch, seq_len] or empty | uint8   | keys with 0 are not attended to                 |
    /// | result   | [n_batch, seq_len, d_model] | T       | lives in `memory` until the next forward        |
    ///
    /// In training, ids and mask must live until the backward. Same bits for any number of threads.
    template <class Context>
    tensor_view<T, 3> forward(Context& ctx, bert_activations<T, Memory>& memory, tensor_view<const std::int32_t, 2> ids,
                              tensor_view<const std::uint8_t, 2> mask, run_mode mode = {}) const {
        const bert_config& c = net_.config();
        const index_t n_batch = ids.extent(0), seq_len = ids.extent(1), n_rows = n_batch * seq_len;
        if (seq_len > c.max_positions) {
            throw shape_error("bert.forward: ids have " + std::to_string(seq_len) + " positions, the model at most " + std::to_string(c.max_positions));
        }
        if (mask.data() != nullptr) instar::detail::check_shape("bert.forward", "mask", mask, {n_batch, seq_len});
        memory.reserve(ctx, net_, n_batch, seq_len, mode.training);
        memory.ids = ids;
        memory.mask = mask;
        memory.mode = mode;
        const tensor_view<const T, 1> values = parameters_.view();
        ops::embedding_forward<T>(ctx, memory.embedded.template reshape<3>({n_batch, seq_len, c.d_model}), ids, net_.word(values),
                                  net_.position(values), net_.type_row(values));
        net_.embedding_norm().forward(ctx, values, memory.hidden[0], memory.embedded_norm, memory.embedded);
        if (mode.training && c.dropout > 0) {
            auto x = memory.hidden[0].template reshape<1>({n_rows * c.d_model});
            ops::dropout_forward<T>(ctx, x, x, embedding_dropout(mode));
        }
        for (std::size_t i = 0; i < net_.blocks().size(); ++i) {
            net_.blocks()[i].forward(ctx, values, memory.hidden[i + 1], memory.blocks[i], memory.hidden[i], mask, block_mode_of(mode, i));
        }
        return memory.hidden.back().template reshape<3>({n_batch, seq_len, c.d_model});
    }

    /// Accumulates the gradient of every parameter but the classifier's. d_hidden: gradient at the forward's result; it may
    /// be overwritten. Needs `memory` as the training forward left it.
    template <class Context>
    void backward(Context& ctx, tensor_view<T, 1> gradients, bert_activations<T, Memory>& memory, tensor_view<T, 3> d_hidden) const {
        const bert_config& c = net_.config();
        if (!memory.training()) throw value_error("bert.backward: the last forward was not run in training mode");
        const index_t n_batch = d_hidden.extent(0), seq_len = d_hidden.extent(1), n_rows = n_batch * seq_len;
        instar::detail::check_shape("bert.backward", "gradients", gradients, {net_.layout().size()});
        instar::detail::check_shape("bert.backward", "d_hidden", d_hidden, {memory.ids.extent(0), memory.ids.extent(1), c.d_model});
        const tensor_view<const T, 1> values = parameters_.view();
        tensor_view<T, 2> dy = d_hidden.template reshape<2>({n_rows, c.d_model});
        for (std::size_t i = net_.blocks().size(); i-- > 0;) {
            tensor_view<T, 2> dx = memory.d_hidden[dy.data() == memory.d_hidden[0].data() ? 1 : 0];
            net_.blocks()[i].backward(ctx, values, gradients, dx, dy, memory.blocks[i], memory.hidden[i], memory.mask,
                                      block_mode_of(memory.mode, i), memory.scratch());
            dy = dx;
        }
        if (c.dropout > 0 && memory.mode.training) {
            auto flat = dy.template reshape<1>({n_rows * c.d_model});
            ops::dropout_backward<T>(ctx, flat, flat, embedding_dropout(memory.mode));
        }
        net_.embedding_norm().backward(ctx, values, gradients, dy, dy, memory.embedded_norm, memory.embedded);
        ops::embedding_backward<T>(ctx, net_.word(gradients), net_.position(gradients), net_.type_row(gradients),
                                   dy.template reshape<3>({n_batch, seq_len, c.d_model}), memory.ids, {.padding_idx = c.padding_idx});
    }

    /// A buffer of the activations that backward does not touch before it reads d_hidden: where a head may write its
    /// gradient. [n_batch, seq_len, d_model].
    static tensor_view<T, 3> d_hidden_buffer(bert_activations<T, Memory>& memory) {
        const auto& v = memory.d_hidden[0];
        return v.template reshape<3>({memory.ids.extent(0), memory.ids.extent(1), v.extent(1)});
    }

    /// One vector a sample, in evaluation mode, `batch_size` samples at a time.
    template <class Context>
    tensor<T, 2, Memory> embed(Context& ctx, tensor_view<const std::int32_t, 2> ids, tensor_view<const std::uint8_t, 2> mask,
                               ops::pooling pooling, index_t batch_size = 32) const {
        if (batch_size < 1) throw value_error("bert.embed: batch_size must be at least 1, is " + std::to_string(batch_size));
        const index_t n = ids.extent(0);
        tensor<T, 2, Memory> y({n, config().d_model});
        bert_activations<T, Memory> memory;
        [[maybe_unused]] const auto hold = hold_weights(ctx);
        for (index_t begin = 0; begin < n; begin += batch_size) {
            const index_t end = std::min(n, begin + batch_size);
            auto mask_rows = mask.data() ? mask.rows(begin, end) : mask;
            auto h = forward(ctx, memory, ids.rows(begin, end), mask_rows);
            ops::sequence_pool_forward<T>(ctx, y.view().rows(begin, end), h, mask_rows, pooling);
        }
        return y;
    }

    /// FLOP of one forward of n_batch samples of seq_len tokens, matrix products and attention; backward is twice that.
    double forward_flop(index_t n_batch, index_t seq_len) const {
        const auto d = static_cast<double>(config().d_model), f = static_cast<double>(config().d_ff);
        const auto rows = static_cast<double>(n_batch * seq_len), t = static_cast<double>(seq_len);
        return static_cast<double>(config().n_layers) * rows * (8 * d * d + 4 * d * f + 4 * t * d);
    }

private:
    static ops::dropout_options dropout_of(float p, philox rng) { return {.p = p, .rng = rng}; }
    ops::dropout_options embedding_dropout(const run_mode& mode) const { return dropout_of(config().dropout, mode.rng.fork(1000)); }
    block_mode block_mode_of(const run_mode& mode, std::size_t layer) const {
        if (!mode.training) return {};
        return {config().dropout, config().attention_dropout, mode.rng.fork(2000 + layer)};
    }

    bert_network net_;
    tensor<T, 1, Memory> parameters_;
};

}  // namespace instar::nn

#endif
