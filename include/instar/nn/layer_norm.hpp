#ifndef INSTAR_NN_LAYER_NORM_HPP
#define INSTAR_NN_LAYER_NORM_HPP

// Layer normalisation with learned scale and shift: <prefix>.weight and <prefix>.bias, [d_model].
//
//     layer_norm norm(layout, "bert.embeddings.LayerNorm", 768, 1e-12);
//     norm.forward(ctx, values, y, saved, x);
//     norm.backward(ctx, values, gradients, dx, dy, saved, x);

#include "instar/nn/parameters.hpp"
#include "instar/ops/layer_norm.hpp"

namespace instar::nn {

class layer_norm {
public:
    layer_norm() = default;
    layer_norm(parameter_layout& layout, const std::string& prefix, index_t d_model, double eps)
        : weight_(layout.add<1>(prefix + ".weight", {d_model}, init::ones)),
          bias_(layout.add<1>(prefix + ".bias", {d_model}, init::zeros)),
          eps_(eps) {}

    template <class Context, class T>
    void forward(Context& ctx, tensor_view<const T, 1> values, out_view<T, 2> y, std::type_identity_t<ops::layer_norm_saved<T>> saved,
                 in_view<T, 2> x) const {
        ops::layer_norm_forward<T>(ctx, y, saved, x, weight_(values), bias_(values), eps_);
    }
    /// dx may alias dy.
    template <class Context, class T>
    void backward(Context& ctx, tensor_view<const T, 1> values, out_view<T, 1> gradients, out_view<T, 2> dx, in_view<T, 2> dy,
                  std::type_identity_t<ops::layer_norm_saved<T>> saved, in_view<T, 2> x) const {
        ops::layer_norm_backward<T>(ctx, dx, weight_(gradients), bias_(gradients), dy, saved, x, weight_(values));
    }

private:
    parameter<1> weight_;
    parameter<1> bias_;
    double eps_ = 1e-5;
};

/// Memory for the statistics of n_rows rows.
template <class T, class Memory>
ops::layer_norm_saved<T> take_layer_norm_saved(arena<Memory>& memory, index_t n_rows) {
    return {memory.template take<accumulator_t<T>>({n_rows}), memory.template take<accumulator_t<T>>({n_rows})};
}

}  // namespace instar::nn

#endif
