// Vision transformers as folders: what is saved loads again, also under torchvision's and MoCo-v3's names; errors name the tensor.
#include <filesystem>

#include <doctest/doctest.h>

#include "instar/nn/vit_io.hpp"
#include "support/compare.hpp"
#include "support/temp_folder.hpp"

using namespace instar;

namespace {

const nn::vit_config k_config{.image_size = 12, .patch_size = 4, .n_channels = 2, .d_model = 24, .n_layers = 2, .n_heads = 3, .d_ff = 40, .n_labels = 3};

/// Saves the model's parameters under other names.
void save_as(nn::vit<float>& model, const std::string& folder, const std::function<std::string(const std::string&)>& rename) {
    auto names = nn::named_parameters(model.layout(), model.parameters());
    for (auto& p : names) p.name = rename(p.name);
    io::save_parameters(folder, nn::vit_config_json(model.config()), names);
}

}  // namespace

TEST_CASE("vit_io: a saved model loads again, bit for bit") {
    const test::temp_folder dir;
    for (const auto pooling : {nn::vit_pooling::class_token, nn::vit_pooling::patch_mean}) {
        nn::vit_config config = k_config;
        config.pooling = pooling;
        nn::vit<float> model(config, philox{3, 1});
        nn::save_vit(model, dir.path() + "/m");
        const auto loaded = nn::load_vit<float>(dir.path() + "/m");
        CHECK(loaded.config().image_size == 12);
        CHECK(loaded.config().n_heads == 3);
        CHECK(loaded.config().d_ff == 40);
        CHECK(loaded.config().n_labels == 3);
        CHECK(loaded.config().pooling == pooling);
        CHECK(test::same_bits(loaded.parameters(), std::as_const(model).parameters()));
    }
}

TEST_CASE("vit_io: torchvision's and MoCo-v3's names load") {
    const test::temp_folder dir;
    nn::vit<float> model(k_config, philox{3, 1});
    save_as(model, dir.path() + "/tv", nn::detail::torchvision_vit_name);
    CHECK(test::same_bits(nn::load_vit<float>(dir.path() + "/tv").parameters(), std::as_const(model).parameters()));
    save_as(model, dir.path() + "/moco", [](const std::string& n) { return "module.base_encoder." + n; });
    CHECK(test::same_bits(nn::load_vit<float>(dir.path() + "/moco").parameters(), std::as_const(model).parameters()));
    CHECK(nn::detail::torchvision_vit_name("blocks.11.attn.qkv.weight") == "encoder.layers.encoder_layer_11.self_attention.in_proj_weight");
    CHECK(nn::detail::torchvision_vit_name("blocks.0.mlp.fc2.bias") == "encoder.layers.encoder_layer_0.mlp.3.bias");
}

TEST_CASE("vit_io names what does not fit") {
    const test::temp_folder dir;
    nn::vit<float> model(k_config, philox{3, 1});
    save_as(model, dir.path() + "/a", [](const std::string& n) { return n == "pos_embed" ? "positions" : n; });
    CHECK_THROWS_WITH_AS(nn::load_vit<float>(dir.path() + "/a"), doctest::Contains("pos_embed"), parse_error);
    save_as(model, dir.path() + "/b", [](const std::string& n) { return n == "blocks.1.attn.qkv.bias" ? "x" : n; });
    CHECK_THROWS_WITH_AS(nn::load_vit<float>(dir.path() + "/b"), doctest::Contains("blocks.1.attn.qkv.bias"), parse_error);
    CHECK_THROWS_AS(nn::vit<float>({.image_size = 225}), value_error);
    CHECK_THROWS_AS(nn::vit<float>({.d_model = 100, .n_heads = 3}), value_error);
    cpu_context ctx;
    nn::vit_activations<float> memory;
    const tensor<float, 4> images({1, 2, 16, 12});
    CHECK_THROWS_WITH_AS(model.forward(ctx, memory, images.view()), doctest::Contains("images"), shape_error);
}
