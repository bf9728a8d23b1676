#ifndef INSTAR_NN_VIT_IO_HPP
#define INSTAR_NN_VIT_IO_HPP

// Vision transformers from and to folders (config.json, model.safetensors).
//
//     auto model = nn::load_vit<float>("vit_base_patch16_224/");      // names of timm, DINO, MAE, MoCo-v3 or torchvision
//     auto large = nn::load_vit<float>("mae_base/", {.image_size = 384, .pooling = nn::vit_pooling::patch_mean});
//     nn::save_vit(model, "mine/");                                   // timm.create_model("local-dir:mine") loads it
//
// Sizes come from the tensors themselves; the number of heads, which no tensor shows, from config.json ("num_heads", also in
// "model_args"), else from the architecture's name, else 64 elements a head.

#include <optional>
#include <string_view>

#include "instar/core/resample.hpp"
#include "instar/nn/bert_io.hpp"
#include "instar/nn/vit.hpp"

namespace instar::nn {

/// Whose names a file spells.
enum class vit_naming { timm, torchvision };

namespace detail {

/// torchvision's spelling (VisionTransformer since 0.12) of one of timm's names.
inline std::string torchvision_vit_name(const std::string& name) {
    static constexpr std::pair<const char*, const char*> k_whole[] = {
        {"cls_token", "class_token"}, {"pos_embed", "encoder.pos_embedding"}, {"patch_embed.proj.", "conv_proj."}, {"norm.", "encoder.ln."}, {"head.", "heads.head."}};
    static constexpr std::pair<const char*, const char*> k_in_block[] = {{"norm1.", "ln_1."},
                                                                         {"norm2.", "ln_2."},
                                                                         {"attn.qkv.", "self_attention.in_proj_"},
                                                                         {"attn.proj.", "self_attention.out_proj."},
                                                                         {"mlp.fc1.", "mlp.0."},
                                                                         {"mlp.fc2.", "mlp.3."}};
    for (const auto& [from, to] : k_whole) {
        if (name.starts_with(from)) return to + name.substr(std::string_view(from).size());
    }
    const std::size_t dot = name.find('.', 7);  // blocks.<i>.
    const std::string layer = name.substr(7, dot - 7), rest = name.substr(dot + 1);
    for (const auto& [from, to] : k_in_block) {
        if (rest.starts_with(from)) return "encoder.layers.encoder_layer_" + layer + "." + to + rest.substr(std::string_view(from).size());
    }
    return name;
}

inline index_t vit_heads(const io::json_view& c, index_t d_model) {
    if (c.has("num_heads")) return c.get<index_t>("num_heads");
    if (c.has("model_args") && c.child("model_args").has("num_heads")) return c.child("model_args").get<index_t>("num_heads");
    // The names whose heads are not 64 wide.
    const std::string architecture = c.get_or<std::string>("architecture", "");
    if (architecture.starts_with("vit_huge") || architecture.starts_with("vit_giant")) return 16;
    if (d_model % 64 != 0) {
        throw parse_error(c.file(), "\"num_heads\" is missing, and d_model " + std::to_string(d_model) + " is not a multiple of the usual 64 a head");
    }
    return d_model / 64;
}

/// A grid of positions, [old², d], at another size, [new², d]: bicubic with antialias in float, timm's resample_abs_pos_embed.
template <class T>
void resample_grid(tensor_view<T, 2> y, tensor_view<const T, 2> x, index_t side_out, index_t side_in) {
    const instar::detail::resize_weights w(side_in, side_out, resample::bicubic);
    const index_t d = x.extent(1);
    std::vector<double> rows(static_cast<std::size_t>(side_in * side_out * d));  // columns resampled, rows not yet
    for (index_t i = 0; i < side_in; ++i) {
        for (index_t j = 0; j < side_out; ++j) {
            double* const to = &rows[static_cast<std::size_t>((i * side_out + j) * d)];
            for (index_t t = 0; t < w.count[static_cast<std::size_t>(j)]; ++t) {
                const double k = w.weight[static_cast<std::size_t>(j * w.width + t)];
                const T* const from = &x(i * side_in + w.first[static_cast<std::size_t>(j)] + t, 0);
                for (index_t c = 0; c < d; ++c) to[c] += k * static_cast<double>(from[c]);
            }
        }
    }
    std::vector<double> sum(static_cast<std::size_t>(d));
    for (index_t i = 0; i < side_out; ++i) {
        for (index_t j = 0; j < side_out; ++j) {
            std::fill(sum.begin(), sum.end(), 0.0);
            for (index_t t = 0; t < w.count[static_cast<std::size_t>(i)]; ++t) {
                const double k = w.weight[static_cast<std::size_t>(i * w.width + t)];
                const double* const from = &rows[static_cast<std::size_t>(((w.first[static_cast<std::size_t>(i)] + t) * side_out + j) * d)];
                for (index_t c = 0; c < d; ++c) sum[static_cast<std::size_t>(c)] += k * from[c];
            }
            for (index_t c = 0; c < d; ++c) y(i * side_out + j, c) = static_cast<T>(sum[static_cast<std::size_t>(c)]);
        }
    }
}

}  // namespace detail

struct vit_load_options {
    index_t image_size = 0;  ///< another one than the file's: positions are resampled to its grid, bicubic with antialias, as timm does it; 0: the file's
    std::optional<vit_pooling> pooling{};  ///< another one than the file's: MAE's encoders are pooled both ways. Averaged patches then pass a fresh fc_norm (weight 1, bias 0), as MAE has it
};

/// Loads a folder. A classifier is read when the file has one ("head" or "heads.head"). Throws io_error and parse_error (file and
/// key or tensor named), shape_error listing every parameter that disagrees, and value_error for an image size that patches do not divide.
/// Tensors that the model has no place for (MAE's decoder, DINO's projection head) are left alone.
template <class T = float>
vit<T> load_vit(const std::string& folder, const vit_load_options& options = {}) {
    const io::hf_folder files(folder);
    const io::json_view c = files.config_view();
    // MoCo-v3 keeps its encoder under module.base_encoder.; "module." is understood by the folder itself.
    const std::string base = files.contains("base_encoder.cls_token") ? "base_encoder." : "";
    const vit_naming naming = files.contains("class_token") ? vit_naming::torchvision : vit_naming::timm;
    const auto spelled = [&](const std::string& name) { return naming == vit_naming::torchvision ? detail::torchvision_vit_name(name) : base + name; };
    const auto shape = [&](const std::string& name, std::size_t rank) -> const std::vector<index_t>& {
        const std::string own = spelled(name);
        if (!files.contains(own)) throw parse_error(folder, "tensor " + own + " is missing: not a vision transformer");
        const auto& s = files.info(own).shape;
        if (s.size() != rank) throw shape_error(folder + ": tensor " + own + " has shape " + io::shape_string(s) + ", expected " + std::to_string(rank) + " dimensions");
        return s;
    };
    vit_config config;
    const auto& patch = shape("patch_embed.proj.weight", 4);
    const index_t n_tokens = shape("pos_embed", 3)[1];
    config.d_model = patch[0];
    config.n_channels = patch[1];
    config.patch_size = patch[2];
    index_t side = 0;
    while ((side + 1) * (side + 1) <= n_tokens - 1) ++side;
    if (patch[2] != patch[3] || side < 1 || side * side + 1 != n_tokens) {
        throw parse_error(folder, std::to_string(n_tokens) + " positions and patches of " + std::to_string(patch[2]) + " × " + std::to_string(patch[3]) +
                                      " are not a class token and a square grid of square patches");
    }
    config.image_size = side * config.patch_size;
    config.n_layers = 0;
    while (files.contains(spelled("blocks." + std::to_string(config.n_layers) + ".norm1.weight"))) ++config.n_layers;
    if (config.n_layers > 0) config.d_ff = shape("blocks.0.mlp.fc1.weight", 2)[0];
    config.n_heads = detail::vit_heads(c, config.d_model);
    config.n_labels = files.contains(spelled("head.weight")) ? shape("head.weight", 2)[0] : 0;
    config.pooling = files.contains("fc_norm.weight") ? vit_pooling::patch_mean : vit_pooling::class_token;
    const vit_pooling stored = config.pooling;
    if (options.pooling) config.pooling = *options.pooling;
    if (options.image_size != 0) config.image_size = options.image_size;
    vit<T> model(config);
    auto names = named_parameters(model.layout(), model.parameters());
    tensor<T, 3> positions({1, n_tokens, config.d_model});
    for (auto& p : names) {
        if (p.name == "fc_norm.weight" && config.pooling != stored) std::fill_n(static_cast<T*>(p.data), config.d_model, T(1));
        if (p.name == "pos_embed") {
            p.shape = {1, n_tokens, config.d_model};
            p.data = positions.data();
        }
    }
    if (config.pooling != stored) {
        if (config.pooling == vit_pooling::patch_mean) std::erase_if(names, [](const io::named_tensor& p) { return p.name.starts_with("fc_norm."); });
        else if (!files.contains(spelled("norm.weight"))) throw parse_error(folder, "tensor norm.weight is missing: the model was trained with averaged patches and has no norm for its class token");
    }
    for (auto& p : names) p.name = spelled(p.name);
    io::load_parameters(files, names);
    const auto to = model.network().position(model.parameters());
    std::copy_n(positions.data(), config.d_model, to.data());  // the class token's
    const index_t new_side = config.image_size / config.patch_size;
    if (new_side == side) std::copy_n(positions.data() + config.d_model, side * side * config.d_model, to.data() + config.d_model);
    else detail::resample_grid<T>(to.rows(1, 1 + new_side * new_side), tensor_view<const T, 2>(positions.data() + config.d_model, {side * side, config.d_model}), new_side, side);
    return model;
}

/// What timm needs to build the same model: an architecture it knows, and every size as an argument of it.
inline io::json vit_config_json(const vit_config& v, const io::json& extra = io::json::object()) {
    io::json j = {
        {"architecture", "vit_base_patch16_224"},
        {"num_classes", v.n_labels},
        {"num_features", v.d_model},
        {"global_pool", v.pooling == vit_pooling::class_token ? "token" : "avg"},
        {"model_args",
         {{"img_size", v.image_size},
          {"patch_size", v.patch_size},
          {"in_chans", v.n_channels},
          {"embed_dim", v.d_model},
          {"depth", v.n_layers},
          {"num_heads", v.n_heads},
          {"mlp_ratio", static_cast<double>(v.d_ff) / static_cast<double>(v.d_model)}}},
        {"pretrained_cfg",
         {{"num_classes", v.n_labels}, {"input_size", {v.n_channels, v.image_size, v.image_size}}, {"first_conv", "patch_embed.proj"}, {"classifier", "head"}}},
    };
    j.update(extra);
    return j;
}

/// Writes config.json and model.safetensors with timm's names, each aside and renamed. The folder is made when it is missing.
template <class T>
void save_vit(vit<T>& model, const std::string& folder, const io::json& extra_config = io::json::object()) {
    const auto names = named_parameters(model.layout(), model.parameters());
    io::save_parameters(folder, vit_config_json(model.config(), extra_config), names);
}

}  // namespace instar::nn

#endif
