// One class for both kinds of network and every device.
#include "image_network.hpp"

#include "instar/ops/cross_entropy.hpp"
#include "instar/ops/focal_loss.hpp"
#include "instar/optim/adamw.hpp"
#include "instar/optim/sgd.hpp"

namespace image_classifier {

namespace {

// What the two kinds of network differ in.

template <class Network>
struct activations_of;
template <class Memory>
struct activations_of<nn::vit<float, Memory>> {
    using type = nn::vit_activations<float, Memory>;
};
template <class Memory>
struct activations_of<nn::resnet<float, Memory>> {
    using type = nn::resnet_activations<float, Memory>;
};

template <class Context, class Memory>
tensor_view<float, 2> forward(Context& ctx, nn::vit<float, Memory>& vit, nn::vit_activations<float, Memory>& memory, tensor_view<const float, 4> images, bool training, philox rng) {
    return vit.forward(ctx, memory, images, training ? nn::run_mode{.training = true, .rng = rng} : nn::run_mode{});
}
template <class Context, class Memory>
tensor_view<float, 2> forward(Context& ctx, nn::resnet<float, Memory>& resnet, nn::resnet_activations<float, Memory>& memory, tensor_view<const float, 4> images, bool training, philox) {
    return resnet.forward(ctx, memory, images, training);
}

/// Running statistics, which change in training without being parameters.
template <class Memory>
tensor_view<float, 1> buffers_of(nn::vit<float, Memory>&) { return {}; }
template <class Memory>
tensor_view<float, 1> buffers_of(nn::resnet<float, Memory>& resnet) { return resnet.buffers(); }

template <class Context, class Host>
class network_on final : public image_network {
    using memory = typename Context::memory;
    using placed = decltype(examples::on_device(std::declval<Context&>(), std::declval<Host&>()));  // a reference to the host's on the CPU
    using activations = typename activations_of<std::remove_reference_t<placed>>::type;

public:
    network_on(Context& ctx, image_model& model, Host& host)
        : ctx_(ctx), model_(model), host_(host), network_(examples::on_device(ctx, host)), gradients_({model.layout().size()}) {}

    tensor_view<const float, 2> logits(tensor_view<const float, 4> images) override {
        forward(ctx_, network_, eval_, images_(ctx_, images), false, {});
        return result_(ctx_, network_.classify(ctx_, eval_));
    }
    tensor_view<const float, 2> features(tensor_view<const float, 4> images) override {
        return result_(ctx_, forward(ctx_, network_, eval_, images_(ctx_, images), false, {}));
    }

    double accumulate(tensor_view<const float, 4> images, tensor_view<const std::int32_t, 1> targets, tensor_view<const float, 1> weights, const loss_options& o, philox rng) override {
        const index_t n = images.extent(0);
        if (loss_.extent(0) < n) loss_ = tensor<float, 1, memory>({n});
        if (d_features_.extent(0) != n) d_features_ = tensor<float, 2, memory>({n, model_.d_features()});
        const auto x = forward(ctx_, network_, train_, images_(ctx_, images), true, rng);
        const auto y = network_.classify(ctx_, train_);
        const auto loss = loss_.view().rows(0, n);
        const auto t = targets_(ctx_, targets);
        const auto w = weights_(ctx_, weights);
        if (o.focal) ops::focal_loss<float>(ctx_, loss, y, y, t, w, {.denominator = o.denominator, .gamma = o.gamma});
        else ops::softmax_cross_entropy<float>(ctx_, loss, y, y, t, w, {.denominator = o.denominator, .label_smoothing = o.label_smoothing});
        const tensor_view<const float, 1> values = network_.parameters();
        network_.network().head().template backward<Context, float>(ctx_, values, gradients_.view(), d_features_.view(), y, x);
        network_.backward(ctx_, gradients_.view(), train_, d_features_.view());
        const auto here = loss_here_(ctx_, loss);
        double total = 0.0;
        for (index_t i = 0; i < n; ++i) total += static_cast<double>(here(i));
        return total;
    }

    examples::trainable trained_by(const settings& s) override {
        const index_t n = model_.n_parameters();
        examples::trainable what{.state = model_.state(), .set_steps = {}, .update = {}};
        copies_.add(network_.parameters(), host_.parameters());
        if (buffers_of(host_).data() != nullptr) copies_.add(buffers_of(network_), buffers_of(host_));
        if (s.optimizer == "SGD") {
            sgd_.emplace(n, optim::sgd_config{.momentum = s.momentum, .weight_decay = s.weight_decay, .nesterov = s.momentum > 0});
            what.state.emplace_back("sgd.momentum", std::vector<index_t>{n}, copies_.add(sgd_->momentum()).data());
            what.update = [this](const optim::rates& r) {
                sgd_->step(ctx_, network_.parameters(), gradients_.view(), r.lr);
                ops::fill<float>(ctx_, gradients_.view(), 0.0f);
            };
        } else {
            adamw_.emplace(n, optim::adamw_config{.weight_decay = s.weight_decay});
            what.state.emplace_back("adamw.m", std::vector<index_t>{n}, copies_.add(adamw_->m()).data());
            what.state.emplace_back("adamw.v", std::vector<index_t>{n}, copies_.add(adamw_->v()).data());
            what.set_steps = [this](index_t steps) { adamw_->set_steps(steps); };
            what.update = [this](const optim::rates& r) {
                adamw_->step(ctx_, network_.parameters(), gradients_.view(), r);
                ops::fill<float>(ctx_, gradients_.view(), 0.0f);
            };
        }
        what.to_host = [this] { copies_.to_host(); };
        what.to_device = [this] { copies_.to_device(); };
        return what;
    }

private:
    Context& ctx_;
    image_model& model_;
    Host& host_;
    placed network_;
    activations train_, eval_;
    tensor<float, 1, memory> gradients_, loss_;
    tensor<float, 2, memory> d_features_;
    device_input<float, 4, memory> images_;
    device_input<std::int32_t, 1, memory> targets_;
    device_input<float, 1, memory> weights_;
    host_output<float, 2, memory> result_;
    host_output<float, 1, memory> loss_here_;
    std::optional<optim::sgd<float, memory>> sgd_;
    std::optional<optim::adamw<float, memory>> adamw_;
    examples::host_copies<Context> copies_{ctx_};
};

}  // namespace

std::unique_ptr<image_network> place(examples::device& device, image_model& model) {
    return device.run([&](auto& ctx) -> std::unique_ptr<image_network> {
        using context = std::remove_reference_t<decltype(ctx)>;
        if (model.vit() != nullptr) return std::make_unique<network_on<context, nn::vit<float>>>(ctx, model, *model.vit());
        return std::make_unique<network_on<context, nn::resnet<float>>>(ctx, model, *model.resnet());
    });
}

}  // namespace image_classifier
