#ifndef INSTAR_NN_BERT_IO_HPP
#define INSTAR_NN_BERT_IO_HPP

// BERT models from and to Hugging Face folders (config.json, model.safetensors).
//
//     auto model = nn::load_bert<float>("BarcodeBERT/");        // the encoder, and its classifier when the file has one
//     nn::save_bert(model, "mine/");                            // loads in transformers as BertForTokenClassification
//
// Names are those of transformers; the prefixes module. and base_model. are understood, position_ids and a pooler ignored.

#include "instar/io/hf.hpp"
#include "instar/nn/bert.hpp"

namespace instar::nn {

/// The configuration in a config.json. Throws parse_error naming file and key: a missing or mistyped key, an activation
/// other than "gelu", relative positions. num_labels is taken from the classifier's tensor by load_bert, not from here.
inline bert_config read_bert_config(const io::json_view& c) {
    const auto unsupported = [&](const char* key, const std::string& value, const char* supported) {
        throw parse_error(c.file(), std::string("\"") + key + "\" is \"" + value + "\"; supported: " + supported);
    };
    const std::string activation = c.get_or<std::string>("hidden_act", "gelu");
    if (activation != "gelu") unsupported("hidden_act", activation, "gelu");
    const std::string positions = c.get_or<std::string>("position_embedding_type", "absolute");
    if (positions != "absolute") unsupported("position_embedding_type", positions, "absolute");
    const std::string type = c.get_or<std::string>("model_type", "bert");
    if (type != "bert") unsupported("model_type", type, "bert");
    bert_config b;
    b.vocab_size = c.get<index_t>("vocab_size");
    b.d_model = c.get_or<index_t>("hidden_size", 768);
    b.n_layers = c.get_or<index_t>("num_hidden_layers", 12);
    b.n_heads = c.get_or<index_t>("num_attention_heads", 12);
    b.d_ff = c.get_or<index_t>("intermediate_size", 3072);
    b.max_positions = c.get_or<index_t>("max_position_embeddings", 512);
    b.n_types = c.get_or<index_t>("type_vocab_size", 2);
    b.eps = c.get_or<double>("layer_norm_eps", 1e-12);
    b.init_std = c.get_or<double>("initializer_range", 0.02);
    b.dropout = c.get_or<float>("hidden_dropout_prob", 0.1f);
    b.attention_dropout = c.get_or<float>("attention_probs_dropout_prob", 0.1f);
    b.padding_idx = c.get_or<std::int32_t>("pad_token_id", 0);
    return b;
}

/// What transformers needs to build the same model. `extra` is merged in: the program's own keys.
inline io::json bert_config_json(const bert_config& b, const io::json& extra = io::json::object()) {
    io::json j = {
        {"architectures", {b.n_labels > 0 ? "BertForTokenClassification" : "BertModel"}},
        {"model_type", "bert"},
        {"hidden_act", "gelu"},
        {"position_embedding_type", "absolute"},
        {"vocab_size", b.vocab_size},
        {"hidden_size", b.d_model},
        {"num_hidden_layers", b.n_layers},
        {"num_attention_heads", b.n_heads},
        {"intermediate_size", b.d_ff},
        {"max_position_embeddings", b.max_positions},
        {"type_vocab_size", b.n_types},
        {"layer_norm_eps", b.eps},
        {"initializer_range", b.init_std},
        {"hidden_dropout_prob", b.dropout},
        {"attention_probs_dropout_prob", b.attention_dropout},
        {"pad_token_id", b.padding_idx},
    };
    if (b.n_labels > 0) j["num_labels"] = b.n_labels;
    j.update(extra);
    return j;
}

/// The parameters of a layout as named tensors over a flat buffer, for readers and writers.
template <class T>
std::vector<io::named_tensor> named_parameters(const parameter_layout& layout, tensor_view<T, 1> flat) {
    std::vector<io::named_tensor> v;
    v.reserve(layout.infos().size());
    for (const parameter_info& i : layout.infos()) v.emplace_back(i.name, i.shape, flat.data() + i.offset);
    return v;
}

/// Loads a folder. Throws io_error and parse_error (file and key or tensor named) and shape_error when config and tensors
/// disagree; all disagreements are listed at once. float16, bfloat16 and float64 files convert.
template <class T = float>
bert<T> load_bert(const std::string& folder) {
    const io::hf_folder files(folder);
    bert_config config = read_bert_config(files.config_view());
    if (files.contains("classifier.weight")) config.n_labels = files.info("classifier.weight").shape.at(0);
    bert<T> model(config);
    const auto names = named_parameters(model.layout(), model.parameters());
    io::load_parameters(files, names, {.base_prefix = "bert."});
    return model;
}

/// Writes config.json and model.safetensors, each aside and renamed. The folder is made when it is missing.
template <class T>
void save_bert(bert<T>& model, const std::string& folder, const io::json& extra_config = io::json::object()) {
    const auto names = named_parameters(model.layout(), model.parameters());
    io::save_parameters(folder, bert_config_json(model.config(), extra_config), names);
}

}  // namespace instar::nn

#endif
