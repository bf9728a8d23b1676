#ifndef INSTAR_NN_TRANSFORMER_BLOCK_HPP
#define INSTAR_NN_TRANSFORMER_BLOCK_HPP

// One encoder block, post-LN (BERT) or pre-LN (ViT):
//
//     post:  h = LN₁(x + drop(attention(x)));      y = LN₂(h + drop(mlp(h)))
//     pre:   h = x + drop(attention(LN₁(x)));      y = h + drop(mlp(LN₂(h)))
//
//     transformer_block block(layout, names, {.d_model = 768, .n_heads = 12, .d_ff = 3072});
//     auto saved = block.take<float>(memory, n_batch, seq_len);
//     block.forward(ctx, values, y, saved, x, key_mask, mode);
//     block.backward(ctx, values, gradients, dx, dy, saved, x, key_mask, mode, scratch);
//
// Vaswani et al. 2017 (arXiv:1706.03762); pre-LN: Xiong et al. 2020 (arXiv:2002.04745).

#include "instar/nn/layer_norm.hpp"
#include "instar/nn/mlp.hpp"
#include "instar/nn/self_attention.hpp"
#include "instar/ops/dropout.hpp"
#include "instar/ops/elementwise.hpp"

namespace instar::nn {

enum class norm_placement { post, pre };

struct transformer_block_config {
    index_t d_model = 768;
    index_t n_heads = 12;
    index_t d_ff = 3072;
    double eps = 1e-12;
    norm_placement norm = norm_placement::post;
    linear_config init{};
};

struct transformer_block_names {
    self_attention_names attention;
    std::string norm1, mlp1, mlp2, norm2;
};

/// Dropout of one block in one step. Default: none, for evaluation.
struct block_mode {
    float dropout = 0.0f;            ///< after the attention's output and after the MLP
    float attention_dropout = 0.0f;  ///< on attention probabilities
    philox rng{};
    float drop_path = 0.0f;          ///< stochastic depth: the share of samples that skip a branch
    index_t sample_size = 1;         ///< elements of one sample, for drop_path

    ops::dropout_options attention_probs() const { return {attention_dropout, rng.fork(1)}; }
    ops::dropout_options after_attention() const { return {dropout, rng.fork(2)}; }
    ops::dropout_options after_mlp() const { return {dropout, rng.fork(3)}; }
    ops::dropout_options attention_path() const { return {drop_path, rng.fork(4), sample_size}; }
    ops::dropout_options mlp_path() const { return {drop_path, rng.fork(5), sample_size}; }
};

template <class T>
struct transformer_block_saved {
    self_attention_saved<T> attention;
    tensor_view<T, 2> sum1;     // x + drop(attention(·))
    ops::layer_norm_saved<T> norm1;
    tensor_view<T, 2> normed1;  // post: LN₁(sum1), the MLP's input; pre: LN₁(x), the attention's input
    mlp_saved<T> mlp;
    tensor_view<T, 2> sum2;     // post: h + drop(mlp(h)), LN₂'s input; pre: LN₂(sum1), the MLP's input
    ops::layer_norm_saved<T> norm2;
};

class transformer_block {
public:
    transformer_block() = default;
    transformer_block(parameter_layout& layout, const transformer_block_names& names, const transformer_block_config& config)
        : config_(config),
          attention_(layout, names.attention, config.d_model, config.n_heads, config.init),
          norm1_(layout, names.norm1, config.d_model, config.eps),
          mlp_(layout, names.mlp1, names.mlp2, config.d_model, config.d_ff, config.init),
          norm2_(layout, names.norm2, config.d_model, config.eps) {}

    /// training: a backward will follow.
    template <class T, class Memory>
    transformer_block_saved<T> take(arena<Memory>& memory, index_t n_batch, index_t seq_len, bool training = true) const {
        const index_t n_rows = n_batch * seq_len;
        const index_t d = config_.d_model;
        transformer_block_saved<T> s;
        s.attention = attention_.take<T>(memory, n_batch, seq_len);
        s.sum1 = memory.template take<T>({n_rows, d});
        s.norm1 = take_layer_norm_saved<T>(memory, n_rows);
        s.normed1 = memory.template take<T>({n_rows, d});
        s.mlp = mlp_.take<T>(memory, n_rows, training);
        s.sum2 = memory.template take<T>({n_rows, d});
        s.norm2 = take_layer_norm_saved<T>(memory, n_rows);
        return s;
    }

    /// x, y: [n_batch · seq_len, d_model]; y may not alias x.
    template <class Context, class T>
    void forward(Context& ctx, tensor_view<const T, 1> values, out_view<T, 2> y, const transformer_block_saved<T>& s, in_view<T, 2> x,
                 tensor_view<const std::uint8_t, 2> key_mask, const block_mode& mode) const {
        if (config_.norm == norm_placement::post) {
            attention_.forward(ctx, values, s.sum1, s.attention, x, key_mask, mode.attention_probs());
            residual<T>(ctx, s.sum1, x, s.sum1, mode.after_attention(), mode.attention_path());
            norm1_.forward(ctx, values, s.normed1, s.norm1, s.sum1);
            mlp_.forward(ctx, values, s.sum2, s.mlp, s.normed1);
            residual<T>(ctx, s.sum2, s.normed1, s.sum2, mode.after_mlp(), mode.mlp_path());
            norm2_.forward(ctx, values, y, s.norm2, s.sum2);
        } else {
            norm1_.forward(ctx, values, s.normed1, s.norm1, x);
            attention_.forward(ctx, values, s.sum1, s.attention, s.normed1, key_mask, mode.attention_probs());
            residual<T>(ctx, s.sum1, x, s.sum1, mode.after_attention(), mode.attention_path());
            norm2_.forward(ctx, values, s.sum2, s.norm2, s.sum1);
            mlp_.forward(ctx, values, y, s.mlp, s.sum2);
            residual<T>(ctx, y, s.sum1, y, mode.after_mlp(), mode.mlp_path());
        }
    }

    /// dx is overwritten and may not alias dy. Scratch is taken and given back; call once on a measuring arena to size it.
    template <class Context, class T, class Memory>
    void backward(Context& ctx, tensor_view<const T, 1> values, out_view<T, 1> gradients, out_view<T, 2> dx, in_view<T, 2> dy,
                  const transformer_block_saved<T>& s, in_view<T, 2> x, tensor_view<const std::uint8_t, 2> key_mask, const block_mode& mode,
                  arena<Memory>& scratch) const {
        const std::size_t mark = scratch.mark();
        auto d_sum = scratch.template take<T>(s.sum1.extents_);     // gradient at the second residual sum, then at the first
        auto d_branch = scratch.template take<T>(s.sum1.extents_);  // gradient entering a dropped branch
        auto d_mid = scratch.template take<T>(s.sum1.extents_);
        const bool run = !scratch.measuring();
        if (config_.norm == norm_placement::post) {
            if (run) norm2_.backward(ctx, values, gradients, d_sum, dy, s.norm2, s.sum2);
            auto into_mlp = branch<T>(ctx, run, d_branch, d_sum, mode.after_mlp(), mode.mlp_path());
            mlp_.backward(ctx, values, gradients, d_mid, into_mlp, s.mlp, s.normed1, scratch);
            if (run) {
                add<T>(ctx, d_mid, d_mid, d_sum);
                norm1_.backward(ctx, values, gradients, d_sum, d_mid, s.norm1, s.sum1);
            }
            auto into_attention = branch<T>(ctx, run, d_branch, d_sum, mode.after_attention(), mode.attention_path());
            attention_.backward(ctx, values, gradients, dx, into_attention, s.attention, x, key_mask, mode.attention_probs(), scratch);
            if (run) add<T>(ctx, dx, dx, d_sum);
        } else {
            auto into_mlp = branch<T>(ctx, run, d_branch, dy, mode.after_mlp(), mode.mlp_path());
            mlp_.backward(ctx, values, gradients, d_mid, into_mlp, s.mlp, s.sum2, scratch);
            if (run) {
                norm2_.backward(ctx, values, gradients, d_sum, d_mid, s.norm2, s.sum1);
                add<T>(ctx, d_sum, d_sum, dy);
            }
            auto into_attention = branch<T>(ctx, run, d_branch, d_sum, mode.after_attention(), mode.attention_path());
            attention_.backward(ctx, values, gradients, d_mid, into_attention, s.attention, s.normed1, key_mask, mode.attention_probs(), scratch);
            if (run) {
                norm1_.backward(ctx, values, gradients, dx, d_mid, s.norm1, x);
                add<T>(ctx, dx, dx, d_sum);
            }
        }
        scratch.rewind(mark);
    }

private:
    template <class T>
    static tensor_view<T, 1> flat(const tensor_view<T, 2>& v) { return v.template reshape<1>({v.size()}); }

    template <class T, class Context>
    static void residual(Context& ctx, tensor_view<T, 2> y, in_view<T, 2> skip, tensor_view<T, 2> x, const ops::dropout_options& drop, const ops::dropout_options& path) {
        if (path.p > 0.0f && drop.p > 0.0f) ops::dropout_forward<T>(ctx, flat(x), flat(x), drop);
        ops::residual_dropout_forward<T>(ctx, flat(y), flat(skip), flat(x), path.p > 0.0f ? path : drop);
    }
    template <class T, class Context>
    static void add(Context& ctx, tensor_view<T, 2> y, in_view<T, 2> a, in_view<T, 2> b) {
        ops::add<T>(ctx, flat(y), flat(a), flat(b));
    }
    /// The gradient that enters a dropped branch: d itself without dropout, else a masked copy.
    template <class T, class Context>
    static tensor_view<const T, 2> branch(Context& ctx, bool run, tensor_view<T, 2> copy, in_view<T, 2> d, const ops::dropout_options& drop, const ops::dropout_options& path) {
        if (drop.p == 0.0f && path.p == 0.0f) return d;
        if (!run) return copy;
        ops::dropout_backward<T>(ctx, flat(copy), flat(d), path.p > 0.0f ? path : drop);
        if (path.p > 0.0f && drop.p > 0.0f) ops::dropout_backward<T>(ctx, flat(copy), flat(copy), drop);
        return copy;
    }

    transformer_block_config config_;
    self_attention attention_;
    layer_norm norm1_;
    mlp mlp_;
    layer_norm norm2_;
};

}  // namespace instar::nn

#endif
