#ifndef INSTAR_NN_MLP_HPP
#define INSTAR_NN_MLP_HPP

// The two-layer perceptron of a transformer block: y = W₂ · gelu(W₁ · x + b₁) + b₂.
//
//     mlp ffn(layout, "intermediate.dense", "output.dense", 768, 3072);
//     auto saved = ffn.take<float>(memory, n_rows);
//     ffn.forward(ctx, values, y, saved, x);

#include "instar/nn/linear.hpp"
#include "instar/ops/gelu.hpp"

namespace instar::nn {

template <class T>
struct mlp_saved {
    tensor_view<T, 2> pre;     // [n_rows, d_ff], before GELU; the same memory as hidden where no backward follows
    tensor_view<T, 2> hidden;  // [n_rows, d_ff], after
};

class mlp {
public:
    mlp() = default;
    mlp(parameter_layout& layout, const std::string& first, const std::string& second, index_t d_model, index_t d_ff, linear_config init = {})
        : d_ff_(d_ff) {
        init.d_in = d_model;
        init.d_out = d_ff;
        first_ = linear(layout, first, init);
        init.d_in = d_ff;
        init.d_out = d_model;
        second_ = linear(layout, second, init);
    }

    /// training: a backward will follow.
    template <class T, class Memory>
    mlp_saved<T> take(arena<Memory>& memory, index_t n_rows, bool training = true) const {
        const auto hidden = memory.template take<T>({n_rows, d_ff_});
        return {training ? memory.template take<T>({n_rows, d_ff_}) : hidden, hidden};
    }

    template <class Context, class T>
    void forward(Context& ctx, tensor_view<const T, 1> values, out_view<T, 2> y, const mlp_saved<T>& saved, in_view<T, 2> x) const {
        first_.forward_gelu(ctx, values, saved.hidden, saved.pre, x);
        second_.forward(ctx, values, y, saved.hidden);
    }

    /// dx is overwritten. Takes n_rows · d_ff elements from `scratch` and gives them back.
    template <class Context, class T, class Memory>
    void backward(Context& ctx, tensor_view<const T, 1> values, out_view<T, 1> gradients, out_view<T, 2> dx, in_view<T, 2> dy,
                  const mlp_saved<T>& saved, in_view<T, 2> x, arena<Memory>& scratch) const {
        const index_t n_rows = x.extent(0);
        const std::size_t mark = scratch.mark();
        auto d_hidden = scratch.template take<T>({n_rows, d_ff_});
        if (!scratch.measuring()) {
            second_.backward(ctx, values, gradients, d_hidden, dy, saved.hidden);
            auto flat = d_hidden.template reshape<1>({n_rows * d_ff_});
            ops::gelu_backward<T>(ctx, flat, flat, saved.pre.template reshape<1>({n_rows * d_ff_}));
            first_.backward(ctx, values, gradients, dx, d_hidden, x);
        }
        scratch.rewind(mark);
    }

private:
    index_t d_ff_ = 0;
    linear first_;
    linear second_;
};

}  // namespace instar::nn

#endif
