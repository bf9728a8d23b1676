#ifndef INSTAR_EXAMPLES_IMAGE_CLASSIFIER_IMAGE_MODEL_HPP
#define INSTAR_EXAMPLES_IMAGE_CLASSIFIER_IMAGE_MODEL_HPP

// A ResNet or a vision transformer behind one face, with what its images must be and what its classes are called. On the host; what computes
// with it, on the device that was chosen, is an image_network.
//
//     image_model model = image_model::create("resnet18", facts, philox{.seed = 1});      // or image_model::load("run/")
//     auto network = place(device, model);                                                 // image_network.hpp
//     model.save("run/");
//
// Architectures: resnet18, resnet34, resnet50, resnet_small (one block a stage, 32 channels, for 28 to 64 pixels), vit_tiny, vit_small,
// vit_base (patches of 16).

#include <filesystem>
#include <optional>

#include "instar/nn/resnet.hpp"
#include "instar/nn/resnet_io.hpp"
#include "instar/nn/vit.hpp"
#include "instar/nn/vit_io.hpp"

namespace image_classifier {

using namespace instar;

/// How images must come, and the names of the classes.
struct image_facts {
    index_t image_size = 256;      // shorter side after the resize
    index_t crop_size = 224;
    index_t n_channels = 3;
    std::vector<double> mean, deviation;  // empty = none
    std::vector<std::string> classes;
    bool crop_to_specimen = false;  // each photograph is first cut to what localize_specimen finds in it, with BIOSCAN's margin
};

class image_model {
public:
    /// Throws value_error for a name that is none.
    static image_model create(const std::string& architecture, image_facts facts, philox rng) {
        const auto n_labels = static_cast<index_t>(facts.classes.size());
        image_model m;
        const auto resnet = [&](nn::resnet_config config) {
            config.n_channels = facts.n_channels;
            m.resnet_.emplace(config, rng);
        };
        const auto vit = [&](nn::vit_config config) {
            config.n_channels = facts.n_channels;
            config.image_size = facts.crop_size;
            m.vit_.emplace(config, rng);
        };
        if (architecture == "resnet18") resnet(nn::resnet_config::resnet18(n_labels));
        else if (architecture == "resnet34") resnet(nn::resnet_config::resnet34(n_labels));
        else if (architecture == "resnet50") resnet(nn::resnet_config::resnet50(n_labels));
        else if (architecture == "resnet_small") resnet({.n_blocks = {1, 1, 1, 1}, .bottleneck = false, .width = 32, .n_labels = n_labels, .stem = nn::resnet_stem::small_image});
        else if (architecture == "vit_tiny") vit(nn::vit_config::tiny(n_labels));
        else if (architecture == "vit_small") vit(nn::vit_config::small(n_labels));
        else if (architecture == "vit_base") vit(nn::vit_config::base(n_labels));
        else throw value_error("--model " + architecture + " is neither a folder nor one of resnet18, resnet34, resnet50, resnet_small, vit_tiny, vit_small, vit_base");
        m.architecture_ = architecture;
        m.facts_ = std::move(facts);
        return m;
    }

    /// A folder that `save` wrote, or one of timm's or torchvision's layout (which has no class names and the usual sizes).
    static image_model load(const std::string& folder) {
        const io::hf_folder files(folder);
        const io::json_view c = files.config_view();
        image_model m;
        if (files.contains("conv1.weight")) m.resnet_ = nn::load_resnet<float>(folder);
        else m.vit_ = nn::load_vit<float>(folder);
        m.architecture_ = c.get_or<std::string>("architecture", "");
        if (c.has("instar")) {
            const io::json_view own = c.child("instar");
            m.architecture_ = own.get<std::string>("architecture");
            m.facts_ = {.image_size = own.get<index_t>("image_size"),
                        .crop_size = own.get<index_t>("crop_size"),
                        .n_channels = own.get<index_t>("n_channels"),
                        .mean = own.get<std::vector<double>>("mean"),
                        .deviation = own.get<std::vector<double>>("deviation"),
                        .classes = own.get<std::vector<std::string>>("classes"),
                        .crop_to_specimen = own.get_or<bool>("crop_to_specimen", false)};
            if (static_cast<index_t>(m.facts_.classes.size()) != m.n_labels()) {
                throw parse_error(c.file(), "\"classes\" has " + std::to_string(m.facts_.classes.size()) + " names, the classifier has " + std::to_string(m.n_labels()) + " outputs");
            }
        }
        return m;
    }

    /// config.json and model.safetensors, loadable by torchvision or timm; "instar" in the config holds the facts.
    void save(const std::string& folder) {
        const io::json own = {{"instar",
                               {{"architecture", architecture_},
                                {"image_size", facts_.image_size},
                                {"crop_size", facts_.crop_size},
                                {"n_channels", facts_.n_channels},
                                {"mean", facts_.mean},
                                {"deviation", facts_.deviation},
                                {"classes", facts_.classes},
                                {"crop_to_specimen", facts_.crop_to_specimen}}}};
        if (resnet_) nn::save_resnet(*resnet_, folder, own);
        else nn::save_vit(*vit_, folder, own);
    }

    const image_facts& facts() const noexcept { return facts_; }
    const std::string& architecture() const noexcept { return architecture_; }
    index_t n_labels() const { return resnet_ ? resnet_->config().n_labels : vit_->config().n_labels; }
    index_t n_parameters() const { return layout().size(); }
    const nn::parameter_layout& layout() const { return resnet_ ? resnet_->layout() : vit_->layout(); }
    tensor_view<float, 1> parameters() { return resnet_ ? resnet_->parameters() : vit_->parameters(); }
    /// Parameters and running statistics by name: what a checkpoint holds of the model.
    std::vector<io::named_tensor> state() {
        auto all = nn::named_parameters(layout(), parameters());
        if (resnet_) {
            for (auto& b : nn::named_parameters(resnet_->network().buffers(), resnet_->buffers())) all.push_back(std::move(b));
        }
        return all;
    }
    /// Every parameter of `from` that has the same name and shape here; the classifier's only if the classes are the same.
    index_t copy_from(image_model& from) {
        index_t n_copied = 0;
        const auto theirs = from.state();
        for (auto& to : state()) {
            for (const auto& source : theirs) {
                if (source.name != to.name || source.shape != to.shape) continue;
                const bool head = to.name.starts_with("fc.") || to.name.starts_with("head.");
                if (head && from.facts_.classes != facts_.classes) continue;
                index_t size = 1;
                for (const index_t e : to.shape) size *= e;
                std::copy_n(static_cast<const float*>(source.data), size, static_cast<float*>(to.data));
                ++n_copied;
            }
        }
        return n_copied;
    }

    index_t d_features() const { return resnet_ ? resnet_->config().d_features() : vit_->config().d_model; }
    /// One of the two; null for the other.
    nn::resnet<float>* resnet() { return resnet_ ? &*resnet_ : nullptr; }
    nn::vit<float>* vit() { return vit_ ? &*vit_ : nullptr; }

private:
    std::optional<nn::resnet<float>> resnet_;  // one of the two
    std::optional<nn::vit<float>> vit_;
    std::string architecture_;
    image_facts facts_;
};

}  // namespace image_classifier

#endif
