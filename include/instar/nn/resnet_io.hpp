#ifndef INSTAR_NN_RESNET_IO_HPP
#define INSTAR_NN_RESNET_IO_HPP

// Residual networks from and to folders (config.json, model.safetensors).
//
//     auto model = nn::load_resnet<float>("resnet50/");       // torchvision's names, which are timm's too
//     nn::save_resnet(model, "mine/");                         // torchvision's resnet50().load_state_dict(load_file("mine/model.safetensors"))
//
// Sizes come from the tensors themselves: blocks a stage, plain or bottleneck, width, channels, classes, the stem. PyTorch's
// counters num_batches_tracked are ignored; it fills them in where a file lacks them.

#include "instar/nn/bert_io.hpp"
#include "instar/nn/resnet.hpp"

namespace instar::nn {

/// Loads a folder; the classifier ("fc") when the file has one. Throws io_error and parse_error (file and tensor named), and shape_error
/// listing every tensor that disagrees.
template <class T = float>
resnet<T> load_resnet(const std::string& folder) {
    const io::hf_folder files(folder);
    const auto shape = [&](const std::string& name, std::size_t rank) -> const std::vector<index_t>& {
        if (!files.contains(name)) throw parse_error(folder, "tensor " + name + " is missing: not a residual network");
        const auto& s = files.info(name).shape;
        if (s.size() != rank) throw shape_error(folder + ": tensor " + name + " has shape " + io::shape_string(s) + ", expected " + std::to_string(rank) + " dimensions");
        return s;
    };
    const auto& stem = shape("conv1.weight", 4);
    if (stem[2] != stem[3] || (stem[2] != 7 && stem[2] != 3)) throw parse_error(folder, "tensor conv1.weight has shape " + io::shape_string(stem) + "; known stems have a kernel of 7 or 3");
    resnet_config config{.bottleneck = files.contains("layer1.0.conv3.weight"), .width = stem[0], .n_channels = stem[1],
                         .stem = stem[2] == 7 ? resnet_stem::imagenet : resnet_stem::small_image};
    for (std::size_t stage = 0; stage < 4; ++stage) {
        config.n_blocks[stage] = 0;
        while (files.contains("layer" + std::to_string(stage + 1) + "." + std::to_string(config.n_blocks[stage]) + ".conv1.weight")) ++config.n_blocks[stage];
        if (config.n_blocks[stage] == 0) throw parse_error(folder, "tensor layer" + std::to_string(stage + 1) + ".0.conv1.weight is missing: not a residual network of four stages");
    }
    config.n_labels = files.contains("fc.weight") ? shape("fc.weight", 2)[0] : 0;
    resnet<T> model(config);
    auto names = named_parameters(model.layout(), model.parameters());
    for (auto& buffer : named_parameters(model.network().buffers(), model.buffers())) names.push_back(std::move(buffer));
    io::load_parameters(files, names);
    return model;
}

/// What is needed to build the same model. `extra` is merged in: the program's own keys.
inline io::json resnet_config_json(const resnet_config& r, const io::json& extra = io::json::object()) {
    const auto is = [&](const std::array<index_t, 4>& blocks, bool bottleneck) { return r.n_blocks == blocks && r.bottleneck == bottleneck && r.width == 64; };
    io::json j = {{"model_type", "resnet"},
                  {"architecture", is({2, 2, 2, 2}, false) ? "resnet18" : is({3, 4, 6, 3}, false) ? "resnet34" : is({3, 4, 6, 3}, true) ? "resnet50" : "resnet"},
                  {"n_blocks", r.n_blocks},
                  {"bottleneck", r.bottleneck},
                  {"width", r.width},
                  {"in_chans", r.n_channels},
                  {"num_classes", r.n_labels},
                  {"small_image_stem", r.stem == resnet_stem::small_image}};
    j.update(extra);
    return j;
}

/// Writes config.json and model.safetensors with torchvision's names, each aside and renamed. The folder is made when it is missing.
template <class T>
void save_resnet(resnet<T>& model, const std::string& folder, const io::json& extra_config = io::json::object()) {
    auto names = named_parameters(model.layout(), model.parameters());
    for (auto& buffer : named_parameters(model.network().buffers(), model.buffers())) names.push_back(std::move(buffer));
    io::save_parameters(folder, resnet_config_json(model.config(), extra_config), names);
}

}  // namespace instar::nn

#endif
