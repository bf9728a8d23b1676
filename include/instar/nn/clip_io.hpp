#ifndef INSTAR_NN_CLIP_IO_HPP
#define INSTAR_NN_CLIP_IO_HPP

// Contrastive models from and to folders (config.json, model.safetensors), with the names of CLIBD's code.
//
//     auto model = nn::load_clip<float>("clibd/");        // CLIBD's checkpoint as safetensors (tests/reference/clibd_golden.py converts)
//     nn::save_clip(model, "mine/");
//
// Names: image_encoder.base_image_encoder.<timm's>, dna_encoder.base_dna_encoder.<BertForMaskedLM's>, language_encoder.base_language_encoder.
// <BertModel's>, language_encoder.proj.*, logit_scale, logit_bias; the older lora_vit, lora_barcode_bert and lora_bert are understood. LoRA matrices
// in a file (CLIBD's image tower has them in every block, also after full fine-tuning) are added to the weights they belong to.
// Sizes come from the tensors, numbers of heads from config.json ("clip": {"image_heads": …}), else 64 elements a head.

#include "instar/nn/clip.hpp"
#include "instar/nn/vit_io.hpp"

namespace instar::nn {

namespace detail {

struct clip_prefixes {
    std::string image = "image_encoder.base_image_encoder.", dna = "dna_encoder.base_dna_encoder.", text = "language_encoder.base_language_encoder.",
                text_projection = "language_encoder.proj.", dna_projection = "dna_encoder.proj.";
};

/// Every parameter and running statistic of a model by its name in a file.
template <class T>
std::vector<io::named_tensor> clip_parameters(clip<T>& model, const clip_prefixes& names) {
    std::vector<io::named_tensor> all;
    for (auto& part : model.parts()) {
        for (auto& p : named_parameters(*part.layout, part.parameters)) {
            if (part.name == "image") p.name = names.image + p.name;
            else if (part.name == "dna") p.name = names.dna + p.name;
            else if (part.name == "dna_head") p.name = p.name.starts_with("proj.") ? names.dna_projection + p.name.substr(5) : names.dna + p.name;
            else if (part.name == "text") p.name = names.text + p.name.substr(std::string_view("bert.").size());
            else if (part.name == "text_head") p.name = p.name.starts_with("proj.") ? names.text_projection + p.name.substr(5) : names.text + p.name;
            if (part.name == "logit_scale" || part.name == "logit_bias") p.shape = {};
            all.push_back(std::move(p));
        }
    }
    if (const auto [layout, values] = model.buffers(); layout != nullptr) {
        for (auto& p : named_parameters(*layout, values)) {
            p.name = names.image + p.name;
            all.push_back(std::move(p));
        }
    }
    return all;
}

/// Where a LoRA layer keeps the weight itself: "attn.qkv.weight" is then "attn.qkv.qkv.weight", "query.weight" is "query.w.weight".
inline std::string lora_name(const std::string& name) {
    for (const auto& [end, to] : {std::pair{"attn.qkv.weight", "attn.qkv.qkv.weight"}, std::pair{"attn.qkv.bias", "attn.qkv.qkv.bias"}, std::pair{"query.weight", "query.w.weight"},
                                  std::pair{"query.bias", "query.w.bias"}, std::pair{"value.weight", "value.w.weight"}, std::pair{"value.bias", "value.w.bias"}}) {
        if (name.ends_with(end)) return name.substr(0, name.size() - std::string_view(end).size()) + to;
    }
    return name;
}

/// weight += b · a, for rows [first, first + rows of b).
template <class T>
void add_low_rank(const io::hf_folder& files, const io::named_tensor& weight, index_t first, const std::string& a_name, const std::string& b_name) {
    const auto &a_shape = files.info(a_name).shape, &b_shape = files.info(b_name).shape;
    if (a_shape.size() != 2 || b_shape.size() != 2 || b_shape[1] != a_shape[0] || a_shape[1] != weight.shape[1] || first + b_shape[0] > weight.shape[0]) {
        throw shape_error(files.path() + ": " + a_name + " " + io::shape_string(a_shape) + " and " + b_name + " " + io::shape_string(b_shape) + " do not fit " + weight.name);
    }
    const auto a = files.read<T>(a_name), b = files.read<T>(b_name);
    T* w = static_cast<T*>(weight.data) + first * a_shape[1];
    for (index_t i = 0; i < b_shape[0]; ++i) {
        for (index_t r = 0; r < a_shape[0]; ++r) {
            const T factor = b[static_cast<std::size_t>(i * a_shape[0] + r)];
            for (index_t j = 0; j < a_shape[1]; ++j) w[i * a_shape[1] + j] += factor * a[static_cast<std::size_t>(r * a_shape[1] + j)];
        }
    }
}

inline index_t count_layers(const io::hf_folder& files, const std::string& before, const std::string& after) {
    index_t n = 0;
    while (files.contains(before + std::to_string(n) + after)) ++n;
    return n;
}

/// Sizes of a BERT from its tensors. `inner`: what stands between prefix and "embeddings."
inline bert_config clip_bert_config(const io::hf_folder& files, const std::string& prefix, index_t heads, double eps) {
    const auto shape = [&](const std::string& name) -> const std::vector<index_t>& {
        if (!files.contains(prefix + name)) throw parse_error(files.path(), "tensor " + prefix + name + " is missing");
        const auto& s = files.info(prefix + name).shape;
        if (s.size() != 2) throw shape_error(files.path() + ": tensor " + prefix + name + " has shape " + io::shape_string(s) + ", expected 2 dimensions");
        return s;
    };
    bert_config b;
    b.vocab_size = shape("embeddings.word_embeddings.weight")[0];
    b.d_model = shape("embeddings.word_embeddings.weight")[1];
    b.max_positions = shape("embeddings.position_embeddings.weight")[0];
    b.n_types = shape("embeddings.token_type_embeddings.weight")[0];
    b.n_layers = count_layers(files, prefix + "encoder.layer.", ".output.dense.weight");
    if (b.n_layers > 0) b.d_ff = shape("encoder.layer.0.intermediate.dense.weight")[0];
    b.n_heads = heads > 0 ? heads : std::max<index_t>(1, b.d_model / 64);
    b.eps = eps;
    return b;
}

}  // namespace detail

/// Loads a folder. Throws io_error and parse_error (file and key or tensor named), and shape_error listing every tensor that disagrees.
template <class T = float>
clip<T> load_clip(const std::string& folder) {
    const io::hf_folder files(folder);
    const io::json none = io::json::object();
    const io::json_view config = files.config_view();
    const io::json_view own = config.has("clip") ? config.child("clip") : io::json_view(none, config.file());
    detail::clip_prefixes names;
    for (const std::string& n : files.names()) {
        if (n.starts_with("image_encoder.lora_vit.")) names.image = "image_encoder.lora_vit.";
        if (n.starts_with("dna_encoder.lora_barcode_bert.")) names.dna = "dna_encoder.lora_barcode_bert.";
        if (n.starts_with("language_encoder.lora_bert.")) names.text = "language_encoder.lora_bert.";
    }
    clip_config c;
    const auto d_out = [&](const std::string& weight) { return files.info(weight).shape.at(0); };
    if (files.contains(names.image + "patch_embed.proj.weight")) {
        const auto &patch = files.info(names.image + "patch_embed.proj.weight").shape, &position = files.info(names.image + "pos_embed").shape;
        if (patch.size() != 4 || position.size() != 3) throw shape_error(folder + ": the image tower's patch_embed or pos_embed has a shape that is none of a vision transformer's");
        vit_config v;
        v.d_model = patch[0];
        v.n_channels = patch[1];
        v.patch_size = patch[2];
        index_t side = 0;
        while ((side + 1) * (side + 1) < position[1]) ++side;
        v.image_size = side * v.patch_size;
        v.n_layers = detail::count_layers(files, names.image + "blocks.", ".norm1.weight");
        if (v.n_layers > 0) v.d_ff = d_out(names.image + "blocks.0.mlp.fc1.weight");
        v.n_heads = own.get_or<index_t>("image_heads", std::max<index_t>(1, v.d_model / 64));
        c.vit = v;
        c.d_embedding = d_out(names.image + "head.weight");
    } else if (files.contains(names.image + "conv1.weight")) {
        resnet_config r;
        r.width = d_out(names.image + "conv1.weight");
        r.n_channels = files.info(names.image + "conv1.weight").shape.at(1);
        r.stem = files.info(names.image + "conv1.weight").shape.at(2) == 3 ? resnet_stem::small_image : resnet_stem::imagenet;
        r.bottleneck = files.contains(names.image + "layer1.0.conv3.weight");
        for (std::size_t i = 0; i < 4; ++i) r.n_blocks[i] = detail::count_layers(files, names.image + "layer" + std::to_string(i + 1) + ".", ".conv1.weight");
        c.resnet = r;
        c.d_embedding = d_out(names.image + "fc.weight");
    }
    if (files.contains(names.dna + "bert.embeddings.word_embeddings.weight")) {
        c.dna = detail::clip_bert_config(files, names.dna + "bert.", own.get_or<index_t>("dna_heads", 0), own.get_or<double>("dna_eps", 1e-12));
        const bool projected = files.contains(names.dna_projection + "weight");
        c.dna_pooling = projected ? clip_pooling::masked_mean : clip_pooling::softmax_mean;
        c.d_embedding = d_out(projected ? names.dna_projection + "weight" : names.dna + "cls.predictions.decoder.weight");
    }
    if (files.contains(names.text + "embeddings.word_embeddings.weight")) {
        c.text = detail::clip_bert_config(files, names.text, own.get_or<index_t>("text_heads", 0), own.get_or<double>("text_eps", 1e-12));
        const bool projected = files.contains(names.text_projection + "weight");
        c.text_pooling = projected ? clip_pooling::mean : clip_pooling::softmax_mean;
        c.d_embedding = d_out(projected ? names.text_projection + "weight" : names.text + "cls.predictions.decoder.weight");
    }
    if (!c.has_image() && !c.dna && !c.text) throw parse_error(folder, "no tensors of an image, DNA or language encoder");
    for (auto* bert : {&c.dna, &c.text}) {
        if (!*bert) continue;
        const std::string key = bert == &c.dna ? "dna_" : "text_";
        (*bert)->dropout = own.get_or<float>(key + "dropout", 0.1f);
        (*bert)->attention_dropout = own.get_or<float>(key + "dropout", 0.1f);
        (*bert)->padding_idx = own.get_or<std::int32_t>(key + "padding_idx", 0);
    }
    const auto pooling = [&](const std::string& key, clip_pooling usual) {
        static constexpr std::pair<const char*, clip_pooling> k_all[] = {
            {"mean", clip_pooling::mean}, {"masked_mean", clip_pooling::masked_mean}, {"first", clip_pooling::first}, {"softmax_mean", clip_pooling::softmax_mean}};
        const auto name = own.get_or<std::string>(key, "");
        if (name.empty()) return usual;
        for (const auto& [text, value] : k_all) {
            if (name == text) return value;
        }
        throw parse_error(config.file(), "\"clip." + key + "\" is \"" + name + "\"; supported: mean, masked_mean, first, softmax_mean");
    };
    c.dna_pooling = pooling("dna_pooling", c.dna_pooling);
    c.text_pooling = pooling("text_pooling", c.text_pooling);
    if (files.contains("logit_bias")) c.initial_logit_bias = 0.0;
    clip<T> model(c);
    auto parameters = detail::clip_parameters(model, names);
    std::vector<std::string> plain;
    for (auto& p : parameters) {
        plain.push_back(p.name);
        if (!files.contains(p.name) && files.contains(detail::lora_name(p.name))) p.name = detail::lora_name(p.name);
    }
    io::load_parameters(files, parameters);
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        const std::string& name = parameters[i].name;
        if (name == plain[i] || !name.ends_with("weight")) continue;
        if (name.ends_with("qkv.qkv.weight")) {
            const std::string layer = name.substr(0, name.size() - std::string_view("qkv.weight").size());
            const index_t d = parameters[i].shape[1];
            detail::add_low_rank<T>(files, parameters[i], 0, layer + "linear_a_q.weight", layer + "linear_b_q.weight");
            detail::add_low_rank<T>(files, parameters[i], 2 * d, layer + "linear_a_v.weight", layer + "linear_b_v.weight");
        } else {
            const std::string layer = name.substr(0, name.size() - std::string_view("w.weight").size());
            detail::add_low_rank<T>(files, parameters[i], 0, layer + "w_a.weight", layer + "w_b.weight");
        }
    }
    return model;
}

/// Writes config.json and model.safetensors, each aside and renamed. The folder is made when it is missing. `extra` is merged into the
/// configuration: the program's own keys.
template <class T>
void save_clip(clip<T>& model, const std::string& folder, const io::json& extra = io::json::object()) {
    const clip_config& c = model.config();
    static constexpr const char* k_pooling[] = {"mean", "masked_mean", "first", "softmax_mean"};
    io::json own = {{"d_embedding", c.d_embedding}};
    if (c.vit) own["image_heads"] = c.vit->n_heads;
    const auto sequence = [&](const std::string& key, const bert_config& b, clip_pooling p) {
        own[key + "_heads"] = b.n_heads;
        own[key + "_eps"] = b.eps;
        own[key + "_dropout"] = b.dropout;
        own[key + "_padding_idx"] = b.padding_idx;
        own[key + "_pooling"] = k_pooling[static_cast<int>(p)];
    };
    if (c.dna) sequence("dna", *c.dna, c.dna_pooling);
    if (c.text) sequence("text", *c.text, c.text_pooling);
    io::json config = {{"model_type", "clibd"}, {"clip", own}};
    config.update(extra);
    const auto parameters = detail::clip_parameters(model, detail::clip_prefixes{});
    io::save_parameters(folder, config, parameters);
}

}  // namespace instar::nn

#endif
