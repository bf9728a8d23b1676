#ifndef INSTAR_NN_LINEAR_HPP
#define INSTAR_NN_LINEAR_HPP

// Affine layer, y = x · weightᵀ + bias. PyTorch's names and shapes: <prefix>.weight [d_out, d_in], <prefix>.bias [d_out].
//
//     linear head(layout, "classifier", {.d_in = 768, .d_out = 256});
//     head.forward(ctx, values, y, x);
//     head.backward(ctx, values, gradients, dx, dy, x);     // dx overwritten, gradients accumulate

#include "instar/nn/parameters.hpp"
#include "instar/ops/linear.hpp"

namespace instar::nn {

struct linear_config {
    index_t d_in = 0;
    index_t d_out = 0;
    bool bias = true;
    init weight_init = init::normal;
    double weight_scale = 0.02;  ///< standard deviation, or half-width for init::uniform
    init bias_init = init::zeros;
    double bias_scale = 0.0;

    /// PyTorch's nn.Linear default: weight and bias from U(−1/√d_in, 1/√d_in).
    static linear_config torch_default(index_t d_in, index_t d_out) {
        const double bound = 1.0 / std::sqrt(static_cast<double>(d_in));
        return {.d_in = d_in, .d_out = d_out, .weight_init = init::uniform, .weight_scale = bound, .bias_init = init::uniform, .bias_scale = bound};
    }
};

/// While the result lives, the weights of this context's linear layers stay as they are, and what a context can make of that, it does:
/// cpu_context::hold_weights packs each once. Nothing elsewhere.
template <class Context>
[[nodiscard]] auto hold_weights(Context& ctx) {
    if constexpr (requires { ctx.hold_weights(); }) return ctx.hold_weights();
    else return 0;
}

/// See the file's head. Shapes: x [n_rows, d_in], y [n_rows, d_out].
class linear {
public:
    linear() = default;
    linear(parameter_layout& layout, const std::string& prefix, linear_config config)
        : linear(layout, std::vector<std::string>{prefix}, config) {}

    /// Several linears of one input, computed as one: y is [n_rows, n · d_out], in the order of the prefixes.
    linear(parameter_layout& layout, const std::vector<std::string>& prefixes, linear_config config) : config_(config) {
        std::vector<std::string> weights, biases;
        for (const std::string& p : prefixes) {
            weights.push_back(p + ".weight");
            biases.push_back(p + ".bias");
        }
        weight_ = layout.add_fused<2>(weights, {config.d_out, config.d_in}, config.weight_init, config.weight_scale);
        if (config.bias) bias_ = layout.add_fused<1>(biases, {config.d_out}, config.bias_init, config.bias_scale);
    }

    index_t d_in() const { return weight_.extents[1]; }
    index_t d_out() const { return weight_.extents[0]; }

    template <class Context, class T>
    void forward(Context& ctx, tensor_view<const T, 1> values, out_view<T, 2> y, in_view<T, 2> x) const {
        ops::linear_forward<T>(ctx, y, x, weight_(values), bias(values));
    }
    /// y = gelu(pre), pre = the layer's output, kept for the backward.
    template <class Context, class T>
    void forward_gelu(Context& ctx, tensor_view<const T, 1> values, out_view<T, 2> y, out_view<T, 2> pre, in_view<T, 2> x) const {
        ops::linear_gelu_forward<T>(ctx, y, pre, x, weight_(values), bias(values));
    }
    /// dx may be empty: then it is not computed.
    template <class Context, class T>
    void backward(Context& ctx, tensor_view<const T, 1> values, out_view<T, 1> gradients, out_view<T, 2> dx, in_view<T, 2> dy,
                  in_view<T, 2> x) const {
        ops::linear_backward<T>(ctx, dx, weight_(gradients), config_.bias ? bias_(gradients) : tensor_view<T, 1>{}, dy, x, weight_(values));
    }

    template <class T>
    tensor_view<T, 2> weight(tensor_view<T, 1> flat) const { return weight_(flat); }
    template <class T>
    tensor_view<T, 1> bias(tensor_view<T, 1> flat) const { return config_.bias ? bias_(flat) : tensor_view<T, 1>{}; }

private:
    linear_config config_;
    parameter<2> weight_;
    parameter<1> bias_;
};

}  // namespace instar::nn

#endif
