// Residual networks against torchvision: features, logits, loss, running statistics and every parameter's gradient.
#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/nn/resnet.hpp"
#include "instar/ops/cross_entropy.hpp"
#include "support/golden_fill.hpp"

using namespace instar;

namespace {

template <class T>
void check_resnet(const std::string& name, double tolerance, int threads) {
    CAPTURE(name);
    const test::golden_file golden(name);
    const auto c = golden.read<std::int64_t>("config");
    nn::resnet<T> model({.n_blocks = {c.at(0), c.at(1), c.at(2), c.at(3)}, .bottleneck = c.at(4) == 1, .n_labels = c.at(5),
                         .stem = c.at(9) == 1 ? nn::resnet_stem::small_image : nn::resnet_stem::imagenet});
    for (const auto& info : model.layout().infos()) {
        const bool norm_weight = info.shape.size() == 1 && info.name.ends_with("weight");
        const std::uint64_t hash = test::golden_hash(info.name);
        for (index_t i = 0; i < info.size; ++i) {
            const double u = test::golden_unit(hash, static_cast<std::uint64_t>(i));
            model.parameters()(info.offset + i) = static_cast<T>(norm_weight ? 1.0 + 0.25 * u : 0.125 * u);
        }
    }
    const auto targets = golden.read<std::int32_t>("targets");
    const index_t n = c.at(6);
    tensor<T, 4> images({n, 3, c.at(7), c.at(8)});
    const std::uint64_t hash = test::golden_hash(name + ".images");
    for (index_t i = 0; i < images.size(); ++i) images.data()[i] = static_cast<T>(test::golden_unit(hash, static_cast<std::uint64_t>(i)));

    cpu_context ctx{threads};
    nn::resnet_activations<T> memory, evaluation;
    const auto features = model.forward(ctx, memory, images.view(), true);
    CHECK(golden.max_error("train.features", features.data(), features.size()) <= tolerance);
    auto d_logits = model.classify(ctx, memory);
    CHECK(golden.max_error("train.logits", d_logits.data(), d_logits.size()) <= tolerance);
    tensor<accumulator_t<T>, 1> loss({n});
    ops::softmax_cross_entropy<T>(ctx, loss.view(), d_logits, d_logits, tensor_view<const std::int32_t, 1>(targets.data(), {n}), {}, {.denominator = static_cast<double>(n)});
    double total = 0.0;
    for (const auto l : loss) total += static_cast<double>(l);
    CHECK(std::fabs(total / golden.scalar("loss") - 1.0) <= tolerance);
    auto gradients = model.make_gradients();
    tensor<T, 2> d_features({n, model.config().d_features()});
    model.network().head().backward(ctx, std::as_const(model).parameters(), gradients.view(), d_features.view(), d_logits, memory.features);
    model.backward(ctx, gradients.view(), memory, d_features.view());
    const auto worst = golden.worst_parameter("gradient", model.layout(), gradients.view());
    INFO("worst parameter: " << worst.name << ", off by " << worst.error);
    CHECK(worst.error <= 10 * tolerance);
    CHECK(worst.n_compared == static_cast<index_t>(model.layout().infos().size()));
    const auto running = golden.worst_parameter("buffer", model.network().buffers(), model.buffers());
    INFO("worst buffer: " << running.name << ", off by " << running.error);
    CHECK(running.error <= tolerance);

    const auto evaluated = model.forward(ctx, evaluation, images.view());
    CHECK(golden.max_error("eval.features", evaluated.data(), evaluated.size()) <= tolerance);
    const auto logits = model.classify(ctx, evaluation);
    CHECK(golden.max_error("eval.logits", logits.data(), logits.size()) <= tolerance);
    CHECK(evaluation.bytes() < memory.bytes());  // blocks share their insides
}

}  // namespace

TEST_CASE("resnet equals torchvision: features, gradients, running statistics") {
    check_resnet<double>("resnet_basic", 1e-11, 2);
    check_resnet<float>("resnet_basic", 2e-5, 2);
    check_resnet<double>("resnet_bottleneck", 1e-11, 1);
    check_resnet<float>("resnet_bottleneck", 2e-5, 1);
    check_resnet<double>("resnet_small_image", 1e-11, 2);
    check_resnet<float>("resnet_small_image", 2e-5, 2);
}
