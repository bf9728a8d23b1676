// The vision transformer against timm: features, logits, loss and every parameter's gradient; equal under instar's names.
#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/nn/vit_io.hpp"
#include "instar/ops/cross_entropy.hpp"
#include "support/golden_fill.hpp"

using namespace instar;

namespace {

/// timm calls its LayerNorms norm, norm1, norm2 and fc_norm; golden_fill knows BERT's names alone.
template <class T>
void fill(nn::vit<T>& model) {
    for (const auto& info : model.layout().infos()) {
        const bool norm_weight = info.name.find("norm") != std::string::npos && info.name.ends_with("weight");
        const std::uint64_t hash = test::golden_hash(info.name);
        for (index_t i = 0; i < info.size; ++i) {
            const double u = 0.25 * test::golden_unit(hash, static_cast<std::uint64_t>(i));
            model.parameters()(info.offset + i) = static_cast<T>(norm_weight ? 1.0 + u : u);
        }
    }
}

template <class T>
void check_vit(const std::string& name, double tolerance) {
    CAPTURE(name);
    const test::golden_file golden(name);
    const auto c = golden.read<std::int64_t>("config");
    const nn::vit_config config{.image_size = c.at(0), .patch_size = c.at(1), .n_channels = c.at(2), .d_model = c.at(3), .n_layers = c.at(4), .n_heads = c.at(5),
                                .d_ff = c.at(6), .n_labels = c.at(7), .pooling = c.at(8) == 1 ? nn::vit_pooling::patch_mean : nn::vit_pooling::class_token};
    nn::vit<T> model(config);
    fill(model);
    const auto targets = golden.read<std::int32_t>("targets");
    const auto n = static_cast<index_t>(targets.size());
    tensor<T, 4> images({n, config.n_channels, config.image_size, config.image_size});
    const std::uint64_t hash = test::golden_hash(name + ".images");
    for (index_t i = 0; i < images.size(); ++i) images.data()[i] = static_cast<T>(test::golden_unit(hash, static_cast<std::uint64_t>(i)));

    cpu_context ctx{2};
    nn::vit_activations<T> evaluation, memory;
    const auto features = model.forward(ctx, evaluation, images.view());
    CHECK(golden.max_error("features", features.data(), features.size()) <= tolerance);
    const auto logits = model.classify(ctx, evaluation);
    CHECK(golden.max_error("logits", logits.data(), logits.size()) <= tolerance);

    const auto trained = model.forward(ctx, memory, images.view(), {.training = true});
    CHECK(golden.max_error("features", trained.data(), trained.size()) <= tolerance);
    auto d_logits = model.classify(ctx, memory);
    tensor<accumulator_t<T>, 1> loss({n});
    const tensor_view<const std::int32_t, 1> labels(targets.data(), {n});
    ops::softmax_cross_entropy<T>(ctx, loss.view(), d_logits, d_logits, labels, {}, {.denominator = static_cast<double>(n)});
    double total = 0.0;
    for (const auto l : loss) total += static_cast<double>(l);
    CHECK(std::fabs(total / golden.scalar("loss") - 1.0) <= tolerance);
    auto gradients = model.make_gradients();
    tensor<T, 2> d_features({n, config.d_model});
    model.network().head().backward(ctx, std::as_const(model).parameters(), gradients.view(), d_features.view(), d_logits, memory.features);
    model.backward(ctx, gradients.view(), memory, d_features.view());
    const auto worst = golden.worst_parameter("gradient", model.layout(), gradients.view());
    INFO("worst parameter: " << worst.name << ", off by " << worst.error);
    CHECK(worst.error <= tolerance);
    CHECK(worst.n_compared == 4 + 12 * config.n_layers + 4);
}

}  // namespace

TEST_CASE("vit equals timm: features, logits, gradients") {
    for (const char* name : {"vit_class_token", "vit_patch_mean"}) {
        check_vit<double>(name, 1e-11);
        check_vit<float>(name, 1e-5);
    }
}

TEST_CASE("positions at another size, as timm resamples them") {
    const test::golden_file golden("vit_positions");
    const std::uint64_t hash = test::golden_hash("vit_positions");
    tensor<float, 2> grid({25, 3});
    for (index_t i = 0; i < 75; ++i) grid.data()[i] = static_cast<float>(test::golden_unit(hash, static_cast<std::uint64_t>(i + 3)));
    for (const index_t side : {3, 5, 8, 14}) {
        CAPTURE(side);
        tensor<float, 2> y({side * side, 3});
        nn::detail::resample_grid<float>(y.view(), tensor_view<const float, 2>(grid.view()), side, 5);
        const auto expected = golden.read<float>("grid_" + std::to_string(side));
        double worst = 0.0;
        for (index_t i = 0; i < y.size(); ++i) worst = std::max(worst, std::abs(static_cast<double>(y.data()[i] - expected[static_cast<std::size_t>(i + 3)])));
        CHECK(worst < 1e-6);
    }
}
