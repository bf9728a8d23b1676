#ifndef INSTAR_NN_LORA_HPP
#define INSTAR_NN_LORA_HPP

// LoRA: a model's weight matrices stay as they are, and what is learned is a product of two thin ones beside each.
//
//     nn::lora<float> adapters(ctx, model.layout(), model.parameters(), {.rank = 4, .whole = {"head."}}, philox{.seed = 1});
//     … model.backward(ctx, gradients, …);                                     // of the whole model
//     adapters.pull(ctx, gradients);                                           // ∂A, ∂B, and those of what is trained whole
//     optimiser.step(ctx, adapters.parameters(), adapters.gradients(), rates); // the optimiser holds these few only
//     adapters.merge(ctx);                                                     // W = W₀ + s·B·A, in the model's own memory
//
// It works on the flat range of any model (nn/parameters.hpp) and needs no module to know of it: the model always computes with merged
// weights, so that its forward costs what it did without adapters, and saving it saves the merged model.

#include "instar/core/transfer.hpp"
#include "instar/nn/parameters.hpp"
#include "instar/ops/elementwise.hpp"
#include "instar/ops/gemm.hpp"

namespace instar::nn {

/// Rows [first, first + n) of a matrix that get an adapter; `name`: what stands before ".weight" of its A and B in files.
struct lora_rows {
    index_t first = 0, n = 0;
    std::string a, b;
};

/// Query and value of attention, as the paper and CLIBD have it: rows of timm's fused "attn.qkv.weight" (…attn.qkv.linear_a_q, linear_b_q,
/// linear_a_v, linear_b_v) and BERT's "query.weight" and "value.weight" (….query.w_a, w_b). Names of A and B are CLIBD's.
inline std::vector<lora_rows> lora_query_value(const parameter_info& info) {
    const auto layer = [&](std::string_view end) { return info.name.substr(0, info.name.size() - end.size()); };
    if (info.name.ends_with("attn.qkv.weight")) {
        const index_t d = info.shape[0] / 3;
        const std::string l = layer("weight");
        return {{0, d, l + "linear_a_q.weight", l + "linear_b_q.weight"}, {2 * d, d, l + "linear_a_v.weight", l + "linear_b_v.weight"}};
    }
    if (info.name.ends_with("query.weight") || info.name.ends_with("value.weight")) {
        return {{0, info.shape[0], layer("weight") + "w_a.weight", layer("weight") + "w_b.weight"}};
    }
    return {};
}

struct lora_config {
    index_t rank = 4;
    double alpha = 0.0;                ///< s = alpha / rank; 0: s = 1, as CLIBD has it
    std::vector<std::string> whole{};  ///< parameters whose name starts with one of these are trained themselves
    std::vector<lora_rows> (*targets)(const parameter_info&) = lora_query_value;
};

/// Low-rank adapters of one flat range of parameters (Hu et al. 2022, arXiv:2106.09685):
///
///     W = W₀ + s · B · A,   A [rank, d_in] ~ U(±1/√d_in),   B [d_out, rank] = 0
///
/// All else stays as it is, but for what is trained whole. T: float or double; Memory: that of the model. Same bits for any number of threads.
/// The gradient is that of LoRA exactly: ∂A = s·Bᵀ·∂W, ∂B = s·∂W·Aᵀ. Memory of the optimiser is that of A and B; the backward pass
/// computes ∂W of every weight all the same, as full training does.
/// `values` must outlive the adapters. Throws value_error when rank < 1 or alpha < 0, when a name of `whole` fits nothing, and when nothing gets an adapter.
template <class T, class Memory = host_memory>
class lora {
public:
    /// values: the model's, in the memory of ctx. The adapters start with the same numbers on every device.
    template <class Context>
    lora(Context& ctx, const parameter_layout& layout, tensor_view<T, 1> values, const lora_config& config, philox rng) : values_(values) {
        const index_t n_frozen = lay_out(layout, config);
        parameters_ = tensor<T, 1, Memory>({layout_.size()});
        gradients_ = tensor<T, 1, Memory>({layout_.size()});
        frozen_ = tensor<T, 1, Memory>({n_frozen});
        tensor<T, 1> start({layout_.size()});
        initialise(layout_, start.view(), rng);
        transfer<Memory, host_memory>(ctx, parameters_.view(), start.view());
        for (const whole_parameter& w : whole_) ops::copy<T>(ctx, w.own(parameters_.view()), w.of(values));
        for (const pair& p : pairs_) ops::copy<T>(ctx, p.kept(frozen_.view()), p.of(values));
    }

    /// A and B under their names, and what is trained whole under its own.
    const parameter_layout& layout() const noexcept { return layout_; }
    tensor_view<T, 1> parameters() noexcept { return parameters_.view(); }
    tensor_view<T, 1> gradients() noexcept { return gradients_.view(); }

    /// Adds, to gradients(), what the gradients of the model's own parameters say. Cost: 4·rank FLOP an element of each adapted weight.
    template <class Context>
    void pull(Context& ctx, tensor_view<const T, 1> d_values) {
        instar::detail::check_shape("lora.pull", "d_values", d_values, {values_.extent(0)});
        const auto g = gradients_.view();
        for (const whole_parameter& w : whole_) ops::add<T>(ctx, w.own(g), w.own(g), w.of(d_values));
        for (const pair& p : pairs_) {
            const tensor_view<const T, 2> dw(d_values.data() + p.offset, {p.d_out, p.d_in});
            ops::gemm<T>(ctx, p.a(g), scaled(ctx, p.b), dw, {.transpose_a = true, .accumulate = true});
            ops::gemm<T>(ctx, p.b(g), dw, scaled(ctx, p.a), {.transpose_b = true, .accumulate = true});
        }
    }

    /// Writes the merged weights, and what is trained whole, into the model. To be called after every step, and after loading a checkpoint.
    template <class Context>
    void merge(Context& ctx) {
        for (const whole_parameter& w : whole_) ops::copy<T>(ctx, w.of(values_), w.own(parameters_.view()));
        for (const pair& p : pairs_) {
            const tensor_view<T, 2> w(values_.data() + p.offset, {p.d_out, p.d_in});
            ops::copy<T>(ctx, p.of(values_), p.kept(frozen_.view()));
            ops::gemm<T>(ctx, w, scaled(ctx, p.b), p.a(parameters_.view()), {.accumulate = true});
        }
    }

private:
    struct pair {
        index_t offset, d_out, d_in, frozen;
        parameter<2> a{}, b{};

        template <class U>
        tensor_view<U, 1> of(tensor_view<U, 1> values) const { return values.rows(offset, offset + d_out * d_in); }
        tensor_view<T, 1> kept(tensor_view<T, 1> all) const { return all.rows(frozen, frozen + d_out * d_in); }
    };
    struct whole_parameter {
        index_t offset;
        parameter<1> own;

        template <class U>
        tensor_view<U, 1> of(tensor_view<U, 1> values) const { return values.rows(offset, offset + own.extents[0]); }
    };

    /// Which weights get an adapter, which parameters are trained whole; returns the elements of the former.
    index_t lay_out(const parameter_layout& layout, const lora_config& config) {
        instar::detail::check_shape("lora", "values", values_, {layout.size()});
        if (config.rank < 1) throw value_error("lora: rank must be at least 1, is " + std::to_string(config.rank));
        if (!(config.alpha >= 0.0) || !std::isfinite(config.alpha)) throw value_error("lora: alpha must be finite and not negative, is " + std::to_string(config.alpha));
        scale_ = config.alpha > 0.0 ? static_cast<T>(config.alpha / static_cast<double>(config.rank)) : T(1);
        std::vector<bool> used(config.whole.size());
        index_t n_frozen = 0;
        for (const parameter_info& info : layout.infos()) {
            bool whole = false;
            for (std::size_t i = 0; i < config.whole.size(); ++i) {
                if (info.name.starts_with(config.whole[i])) used[i] = whole = true;
            }
            if (whole) {
                const index_t extents[1] = {info.size};
                whole_.push_back({info.offset, layout_.add<1>(info.name, extents, init::zeros)});
                continue;
            }
            if (info.shape.size() != 2) continue;
            for (const lora_rows& r : config.targets(info)) {
                const index_t d_in = info.shape[1];
                pair p{.offset = info.offset + r.first * d_in, .d_out = r.n, .d_in = d_in, .frozen = n_frozen};
                p.a = layout_.add<2>(r.a, {config.rank, d_in}, init::uniform, 1.0 / std::sqrt(static_cast<double>(d_in)));
                p.b = layout_.add<2>(r.b, {r.n, config.rank}, init::zeros);
                pairs_.push_back(p);
                n_frozen += r.n * d_in;
            }
        }
        for (std::size_t i = 0; i < used.size(); ++i) {
            if (!used[i]) throw value_error("lora: no parameter's name starts with " + config.whole[i]);
        }
        if (pairs_.empty()) throw value_error("lora: the model has no weight that would get an adapter");
        return n_frozen;
    }

    /// s times A or B; valid until the next call.
    template <class Context>
    tensor_view<const T, 2> scaled(Context& ctx, const parameter<2>& p) {
        const auto from = p(parameters_.view());
        const index_t n = from.size();
        if (scaled_.size() < n) scaled_ = tensor<T, 1, Memory>({n});
        const auto to = scaled_.view().rows(0, n);
        ops::copy<T>(ctx, to, from.template reshape<1>({n}));
        ops::scale<T>(ctx, to, scale_);
        return {scaled_.data(), {from.extent(0), from.extent(1)}};
    }

    tensor_view<T, 1> values_;
    parameter_layout layout_;
    std::vector<pair> pairs_;
    std::vector<whole_parameter> whole_;
    tensor<T, 1, Memory> parameters_, gradients_, frozen_, scaled_;
    T scale_;
};

}  // namespace instar::nn

#endif
