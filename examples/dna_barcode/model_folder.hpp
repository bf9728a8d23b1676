#ifndef INSTAR_EXAMPLES_DNA_BARCODE_MODEL_FOLDER_HPP
#define INSTAR_EXAMPLES_DNA_BARCODE_MODEL_FOLDER_HPP

// A model as dna_barcode keeps it: a Hugging Face folder, plus how its input was made and what its classes are called.
//
//     config.json        BERT's keys, and "instar": {"task", "k_mer", "stride", "max_len", "tokenize_n", "anchored", "pooling"}
//     model.safetensors  parameters
//     anchor.safetensors the profile that places barcodes (anchored models)
//     projection.safetensors  the readout that `project` fitted
//     labels.json        fine-tuned models: species, and the taxonomy above each

#include <cmath>
#include <filesystem>

#include "instar/io/safetensors.hpp"
#include "instar/nn/bert_io.hpp"
#include "instar/nn/position_projection.hpp"

#include "barcodes.hpp"
#include "settings.hpp"

namespace dna_barcode {

struct class_taxonomy {
    std::vector<std::string> ranks;               // "order", "family", …, "species"
    std::vector<std::vector<std::string>> names;  // [class][rank]
};

struct model_folder {
    instar::nn::bert<float> model;
    barcode_encoder encoder;
    std::string task;     // pretrain, finetune, metric, project; empty for folders that are not ours
    std::string pooling;  // what the task trained with; empty = none
    class_taxonomy classes;
    instar::nn::position_projection<float> projection{};  // what `project` fitted; empty = none

    static model_folder load(const std::string& path) {
        using namespace instar;
        const io::hf_folder files(path);
        const io::json_view config = files.config_view();
        tokenize::kmer_options tokens;
        std::string task, pooling;
        bool anchored = false;
        if (config.has("instar")) {
            const io::json_view own = config.child("instar");
            tokens = {.k = own.get<int>("k_mer"), .stride = own.get<int>("stride"), .max_length = own.get<int>("max_len"), .tokenize_n = own.get<bool>("tokenize_n")};
            anchored = own.get<bool>("anchored");
            task = own.get<std::string>("task");
            pooling = own.get_or<std::string>("pooling", "");
        } else {
            // A folder of the reference: k follows from the vocabulary, 4^k + 2.
            const auto vocab = config.get<std::int64_t>("vocab_size");
            int k = 1;
            while (k < 12 && (std::int64_t{1} << (2 * k)) + 2 != vocab) ++k;
            if ((std::int64_t{1} << (2 * k)) + 2 != vocab) {
                throw parse_error(config.file(), "\"vocab_size\" is " + std::to_string(vocab) + ", not 4^k + 2 for any k from 1 to 12: not a k-mer model");
            }
            tokens.k = k;
        }
        data::barcode_anchor anchor;
        if (anchored) {
            const io::safetensors_file file(path + "/anchor.safetensors");
            const auto& shape = file.info("profile").shape;
            if (shape.size() != 2) throw parse_error(path + "/anchor.safetensors", "tensor profile must have two dimensions");
            tensor<float, 2> profile({shape[0], shape[1]});
            file.read_into("profile", profile);
            anchor = data::barcode_anchor::from_profile(profile);
        }
        model_folder folder{nn::load_bert<float>(path), barcode_encoder(tokens, std::move(anchor)), task, pooling, {}};
        if (folder.encoder.tokenizer().vocab_size() != folder.model.config().vocab_size) {
            throw parse_error(config.file(), "\"vocab_size\" is " + std::to_string(folder.model.config().vocab_size) + ", but k_mer " + std::to_string(tokens.k) +
                                                 " has " + std::to_string(folder.encoder.tokenizer().vocab_size()) + " tokens");
        }
        if (folder.encoder.tokenizer().seq_len() > folder.model.config().max_positions) {
            throw parse_error(config.file(), "\"max_position_embeddings\" is " + std::to_string(folder.model.config().max_positions) + ", fewer than the " +
                                                 std::to_string(folder.encoder.tokenizer().seq_len()) + " tokens of a barcode");
        }
        if (std::filesystem::exists(path + "/projection.safetensors")) folder.projection = load_projection(path + "/projection.safetensors", folder);
        if (std::filesystem::exists(path + "/labels.json")) {
            const io::json labels = io::read_json(path + "/labels.json");
            const io::json_view view(labels, path + "/labels.json");
            folder.classes.ranks = view.get<std::vector<std::string>>("ranks");
            const io::json_view classes = view.child("classes");
            for (std::size_t i = 0; i < classes.size(); ++i) folder.classes.names.push_back(classes[i].as<std::vector<std::string>>());
            if (static_cast<index_t>(folder.classes.names.size()) != folder.model.config().n_labels) {
                throw parse_error(view.file(), std::to_string(folder.classes.names.size()) + " classes, but the classifier has " + std::to_string(folder.model.config().n_labels) + " outputs");
            }
        }
        return folder;
    }

    void save(const std::string& path) {
        using namespace instar;
        const auto& o = encoder.options();
        io::json own = {{"task", task}, {"k_mer", o.k}, {"stride", o.stride == 0 ? o.k : o.stride}, {"max_len", o.max_length}, {"tokenize_n", o.tokenize_n}, {"anchored", encoder.anchored()}};
        if (!pooling.empty()) own["pooling"] = pooling;
        std::filesystem::create_directories(path);
        // What the configuration refers to comes first: a folder with a config.json is complete.
        if (encoder.anchored()) {
            auto profile = encoder.anchor().profile();
            const std::vector<io::named_tensor> tensors{{"profile", {profile.extent(0), profile.extent(1)}, profile.data()}};
            io::write_safetensors(path + "/anchor.safetensors", tensors);
        }
        if (!projection.empty()) {
            const auto& c = projection.centre();
            const auto& w = projection.weight();
            const std::vector<io::named_const_tensor> tensors{{"centre", {c.extent(0), c.extent(1)}, c.data()}, {"weight", {w.extent(0), w.extent(1)}, w.data()}};
            io::write_safetensors(path + "/projection.safetensors", tensors);
        }
        if (!classes.names.empty()) io::write_json(path + "/labels.json", {{"ranks", classes.ranks}, {"classes", classes.names}});
        nn::save_bert(model, path, {{"instar", own}});
    }

private:
    static instar::nn::position_projection<float> load_projection(const std::string& path, const model_folder& folder) {
        using namespace instar;
        const io::safetensors_file file(path);
        const index_t seq_len = folder.encoder.tokenizer().seq_len(), d = folder.model.config().d_model;
        const auto& centre_shape = file.info("centre").shape;
        const auto& weight_shape = file.info("weight").shape;
        if (centre_shape != std::vector<index_t>{seq_len, d}) {
            throw parse_error(path, "tensor centre must have the shape [" + std::to_string(seq_len) + ", " + std::to_string(d) + "] of the model's tokens");
        }
        if (weight_shape.size() != 2 || weight_shape[0] < 1 || weight_shape[1] != seq_len * d) {
            throw parse_error(path, "tensor weight must have the shape [n, " + std::to_string(seq_len * d) + "]");
        }
        tensor<float, 2> centre({seq_len, d}), weight({weight_shape[0], weight_shape[1]});
        file.read_into("centre", centre);
        file.read_into("weight", weight);
        return {std::move(centre), std::move(weight)};
    }
};

}  // namespace dna_barcode

#endif
