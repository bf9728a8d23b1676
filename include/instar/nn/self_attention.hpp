#ifndef INSTAR_NN_SELF_ATTENTION_HPP
#define INSTAR_NN_SELF_ATTENTION_HPP

// Multi-head self-attention: one product for query, key and value, the attention core, and the output projection.
//
//     self_attention attention(layout, {.query = "a.query", .key = "a.key", .value = "a.value", .output = "a.out"}, 768, 12);
//     auto saved = attention.take<float>(memory, n_batch, seq_len);
//     attention.forward(ctx, values, y, saved, x, key_mask, dropout);
//
// x, y: [n_batch · seq_len, d_model], d_head = d_model / n_heads, scores scaled by 1/√d_head.

#include "instar/nn/linear.hpp"
#include "instar/ops/attention.hpp"

namespace instar::nn {

/// With key and value empty, `query` names one fused parameter [3·d_model, d_model]: timm's attn.qkv.
struct self_attention_names {
    std::string query, key, value, output;
};

/// Activations that the backward needs.
template <class T>
struct self_attention_saved {
    tensor_view<T, 5> qkv;                  // [n_batch, seq_len, 3, n_heads, d_head]
    tensor_view<T, 4> heads;                // [n_batch, seq_len, n_heads, d_head], input of the output projection
    ops::attention_saved<T> attention;      // lse
};

class self_attention {
public:
    self_attention() = default;
    self_attention(parameter_layout& layout, const self_attention_names& names, index_t d_model, index_t n_heads, linear_config init = {})
        : d_model_(d_model), n_heads_(n_heads) {
        if (n_heads < 1 || d_model % n_heads != 0) {
            throw value_error("self_attention: d_model " + std::to_string(d_model) + " is not a multiple of n_heads " + std::to_string(n_heads));
        }
        init.d_in = init.d_out = d_model;
        if (names.key.empty()) {
            linear_config fused = init;
            fused.d_out = 3 * d_model;
            qkv_ = linear(layout, names.query, fused);
        } else {
            qkv_ = linear(layout, std::vector<std::string>{names.query, names.key, names.value}, init);
        }
        output_ = linear(layout, names.output, init);
    }

    template <class T, class Memory>
    self_attention_saved<T> take(arena<Memory>& memory, index_t n_batch, index_t seq_len) const {
        const index_t d_head = d_model_ / n_heads_;
        return {memory.template take<T>({n_batch, seq_len, 3, n_heads_, d_head}),
                memory.template take<T>({n_batch, seq_len, n_heads_, d_head}),
                {memory.template take<accumulator_t<T>>({n_batch, n_heads_, seq_len})}};
    }

    template <class Context, class T>
    void forward(Context& ctx, tensor_view<const T, 1> values, out_view<T, 2> y, const self_attention_saved<T>& saved, in_view<T, 2> x,
                 tensor_view<const std::uint8_t, 2> key_mask, ops::dropout_options dropout) const {
        const index_t n_rows = x.extent(0);
        qkv_.forward(ctx, values, saved.qkv.template reshape<2>({n_rows, 3 * d_model_}), x);
        ops::attention_forward<T>(ctx, saved.heads, saved.attention, slice(saved.qkv, 0), slice(saved.qkv, 1), slice(saved.qkv, 2), key_mask,
                                  options(dropout));
        output_.forward(ctx, values, y, saved.heads.template reshape<2>({n_rows, d_model_}));
    }

    /// dx is overwritten. Takes n_rows · 4·d_model elements from `scratch` and gives them back. dy may be overwritten.
    template <class Context, class T, class Memory>
    void backward(Context& ctx, tensor_view<const T, 1> values, out_view<T, 1> gradients, out_view<T, 2> dx, in_view<T, 2> dy,
                  const self_attention_saved<T>& saved, in_view<T, 2> x, tensor_view<const std::uint8_t, 2> key_mask,
                  ops::dropout_options dropout, arena<Memory>& scratch) const {
        const index_t n_rows = x.extent(0);
        const std::size_t mark = scratch.mark();
        auto d_heads = scratch.template take<T>(saved.heads.extents_);
        auto d_qkv = scratch.template take<T>(saved.qkv.extents_);
        if (!scratch.measuring()) {
            output_.backward(ctx, values, gradients, d_heads.template reshape<2>({n_rows, d_model_}), dy,
                             saved.heads.template reshape<2>({n_rows, d_model_}));
            ops::attention_backward<T>(ctx, slice(d_qkv, 0), slice(d_qkv, 1), slice(d_qkv, 2), d_heads, saved.heads, saved.attention,
                                       slice(saved.qkv, 0), slice(saved.qkv, 1), slice(saved.qkv, 2), key_mask, options(dropout));
            qkv_.backward(ctx, values, gradients, dx, d_qkv.template reshape<2>({n_rows, 3 * d_model_}), x);
        }
        scratch.rewind(mark);
    }

private:
    /// Query (0), key (1) or value (2) of the fused buffer, [n_batch, seq_len, n_heads, d_head] with strides.
    template <class T>
    static tensor_view<T, 4> slice(const tensor_view<T, 5>& qkv, index_t which) {
        return tensor_view<T, 4>(qkv.data() + which * qkv.stride(2), {qkv.extent(0), qkv.extent(1), qkv.extent(3), qkv.extent(4)},
                                 {qkv.stride(0), qkv.stride(1), qkv.stride(3), qkv.stride(4)});
    }
    ops::attention_options options(ops::dropout_options dropout) const {
        return {.scale = 1.0 / std::sqrt(static_cast<double>(d_model_ / n_heads_)), .dropout = dropout};
    }

    index_t d_model_ = 0;
    index_t n_heads_ = 0;
    linear qkv_;
    linear output_;
};

}  // namespace instar::nn

#endif
