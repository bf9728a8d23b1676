// Vision transformers as folders: what is saved loads again, also under torchvision's and MoCo-v3's names; errors name the tensor.
#include <filesystem>

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
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

TEST_CASE("vit_io: DINO's and MAE's extra tensors are left alone; other pooling and another image size") {
    const test::temp_folder dir;
    nn::vit_config config = k_config;
    config.n_labels = 0;
    nn::vit<float> model(config, philox{3, 1});
    auto names = nn::named_parameters(model.layout(), model.parameters());
    tensor<float, 2> other({4, 5});
    for (const char* name : {"decoder_embed.weight", "mask_token", "projection_head.0.weight"}) names.push_back({name, {4, 5}, other.data()});
    io::save_parameters(dir.path() + "/mae", nn::vit_config_json(config), names);
    CHECK(test::same_bits(nn::load_vit<float>(dir.path() + "/mae").parameters(), std::as_const(model).parameters()));

    // MAE (avg): the class token's norm is not used, a fresh one takes its place.
    auto averaged = nn::load_vit<float>(dir.path() + "/mae", {.pooling = nn::vit_pooling::patch_mean});
    CHECK(averaged.config().pooling == nn::vit_pooling::patch_mean);
    for (const auto& i : averaged.layout().infos()) {
        if (i.name == "fc_norm.weight" || i.name == "fc_norm.bias") {
            for (index_t k = 0; k < i.size; ++k) CHECK(averaged.parameters()(i.offset + k) == (i.name == "fc_norm.weight" ? 1.0f : 0.0f));
        } else {
            bool found = false;
            for (const auto& j : model.layout().infos()) {
                if (j.name == i.name) found = std::equal(model.parameters().data() + j.offset, model.parameters().data() + j.offset + j.size, averaged.parameters().data() + i.offset);
            }
            CAPTURE(i.name);
            CHECK(found);
        }
    }
    // Another size: only the positions change, the class token's does not; and back to the grid's own size nothing does.
    auto larger = nn::load_vit<float>(dir.path() + "/mae", {.image_size = 20});
    CHECK(larger.config().n_tokens() == 26);
    CHECK(std::equal(larger.network().position(larger.parameters()).data(), larger.network().position(larger.parameters()).data() + 24, model.network().position(model.parameters()).data()));
    cpu_context ctx;
    nn::vit_activations<float> memory;
    const tensor<float, 4> images({2, 2, 20, 20});
    CHECK(larger.forward(ctx, memory, images.view()).extent(0) == 2);
    CHECK(test::same_bits(nn::load_vit<float>(dir.path() + "/mae", {.image_size = 12}).parameters(), std::as_const(model).parameters()));
    CHECK_THROWS_AS(nn::load_vit<float>(dir.path() + "/mae", {.image_size = 13}), value_error);
    nn::save_vit(averaged, dir.path() + "/avg");
    CHECK_THROWS_WITH_AS(nn::load_vit<float>(dir.path() + "/avg", {.pooling = nn::vit_pooling::class_token}), doctest::Contains("no norm for its class token"), parse_error);
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
