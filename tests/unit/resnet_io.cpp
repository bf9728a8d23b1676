// Residual networks as folders: what is saved loads again with its statistics; errors name the tensor.
#include <doctest/doctest.h>

#include "instar/nn/resnet_io.hpp"
#include "support/compare.hpp"
#include "support/temp_folder.hpp"

using namespace instar;

TEST_CASE("resnet_io: a saved network loads again, bit for bit") {
    const test::temp_folder dir;
    for (const auto& config : {nn::resnet_config{.n_blocks = {1, 2, 1, 1}, .bottleneck = false, .width = 8, .n_labels = 3},
                               nn::resnet_config{.n_blocks = {2, 1, 1, 1}, .width = 4, .n_channels = 1, .stem = nn::resnet_stem::small_image}}) {
        nn::resnet<float> model(config, philox{3, 1});
        for (const auto& info : model.network().buffers().infos()) {
            for (index_t i = 0; i < info.size; ++i) model.buffers()(info.offset + i) = 0.5f + 0.01f * static_cast<float>((info.offset + i) % 90);
        }
        nn::save_resnet(model, dir.path() + "/m");
        auto loaded = nn::load_resnet<float>(dir.path() + "/m");
        CHECK(loaded.config().n_blocks == config.n_blocks);
        CHECK(loaded.config().bottleneck == config.bottleneck);
        CHECK(loaded.config().width == config.width);
        CHECK(loaded.config().n_channels == config.n_channels);
        CHECK(loaded.config().n_labels == config.n_labels);
        CHECK(loaded.config().stem == config.stem);
        CHECK(test::same_bits(loaded.parameters(), model.parameters()));
        CHECK(test::same_bits(loaded.buffers(), model.buffers()));
        CHECK(io::read_json(dir.path() + "/m/config.json")["architecture"] == "resnet");
    }
    CHECK(nn::resnet_config_json(nn::resnet_config::resnet34())["architecture"] == "resnet34");
}

TEST_CASE("resnet_io names what does not fit") {
    const test::temp_folder dir;
    nn::resnet<float> model({.n_blocks = {1, 1, 1, 1}, .bottleneck = false, .width = 4, .n_labels = 2}, philox{3, 1});
    const auto save_without = [&](const std::string& lacking, const std::string& folder) {
        auto names = nn::named_parameters(model.layout(), model.parameters());
        for (auto& b : nn::named_parameters(model.network().buffers(), model.buffers())) names.push_back(std::move(b));
        std::erase_if(names, [&](const io::named_tensor& t) { return t.name == lacking; });
        io::save_parameters(folder, nn::resnet_config_json(model.config()), names);
    };
    for (const char* name : {"conv1.weight", "layer3.0.conv1.weight", "layer2.0.bn2.running_var", "fc.bias"}) {
        CAPTURE(name);
        save_without(name, dir.path() + "/a");
        CHECK_THROWS_WITH_AS(nn::load_resnet<float>(dir.path() + "/a"), doctest::Contains(name), parse_error);
    }
    save_without("fc.weight", dir.path() + "/headless");
    CHECK(nn::load_resnet<float>(dir.path() + "/headless").config().n_labels == 0);
    CHECK_THROWS_AS(nn::load_resnet<float>(dir.path() + "/nowhere"), io_error);
}
