#ifndef INSTAR_IO_HF_HPP
#define INSTAR_IO_HF_HPP

// Hugging Face model folders, for any model: config.json beside model.safetensors, or beside several shards and their index.
//
//     io::hf_folder folder("BarcodeBERT/");
//     auto d_model = folder.config_view().get<index_t>("hidden_size");
//     std::vector<io::named_tensor> parameters{{"bert.embeddings.LayerNorm.weight", {768}, pointer}, …};
//     io::load_report report = io::load_parameters(folder, parameters, {.base_prefix = "bert.", .may_be_missing = {"classifier."}});
//     io::save_parameters("out/", config, parameters);            // loads in transformers
//
// Names are looked up as transformers spells them. Files may spell them with "module." (DataParallel), "base_model."
// (fine-tuned BarcodeBERT) or "_orig_mod." (torch.compile) in front, with LayerNorm.gamma/.beta for .weight/.bias (old BERT
// files), or without `base_prefix` (a bare encoder). The integer buffers "…position_ids" of older files are ignored.

#include <algorithm>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "instar/io/json.hpp"
#include "instar/io/safetensors.hpp"

namespace instar::io {

namespace detail {

/// "module.base_model.bert.x.LayerNorm.gamma" → "bert.x.LayerNorm.weight"
inline std::string canonical_parameter_name(std::string_view name) {
    for (bool found = true; found;) {
        found = false;
        for (const std::string_view prefix : {"module.", "base_model.", "_orig_mod."}) {
            if (name.starts_with(prefix) && name.size() > prefix.size()) {
                name.remove_prefix(prefix.size());
                found = true;
            }
        }
    }
    std::string result(name);
    const auto rename_end = [&](std::string_view from, std::string_view to) {
        if (result.ends_with(from)) result.replace(result.size() - from.size(), from.size(), to);
    };
    rename_end("LayerNorm.gamma", "LayerNorm.weight");
    rename_end("LayerNorm.beta", "LayerNorm.bias");
    return result;
}

inline std::string join_path(const std::string& folder, const std::string& name) {
    return folder.empty() || folder.back() == '/' ? folder + name : folder + "/" + name;
}

/// Lines of a long list: the first twenty, and how many more.
inline std::string problem_list(const std::vector<std::string>& problems) {
    constexpr std::size_t k_shown = 20;
    std::string text;
    for (std::size_t i = 0; i < problems.size() && i < k_shown; ++i) text += "\n  " + problems[i];
    if (problems.size() > k_shown) text += "\n  and " + std::to_string(problems.size() - k_shown) + " more";
    return text;
}

}  // namespace detail

/// A model folder: its configuration, and its tensors under their canonical names. Move only.
class hf_folder {
public:
    /// Reads config.json and the headers of the weights. Throws io_error (a file is missing) or parse_error (a file is not
    /// valid; the index names a tensor that its shard lacks; two spellings of one name).
    explicit hf_folder(std::string path)
        : path_(std::move(path)), config_path_(detail::join_path(path_, "config.json")), config_(read_json(config_path_)) {
        if (!config_.is_object()) throw parse_error(config_path_, "is no object");
        const std::string single = detail::join_path(path_, "model.safetensors");
        const std::string index = detail::join_path(path_, "model.safetensors.index.json");
        if (exists(single)) {
            files_.emplace_back(single);
            for (const tensor_info& t : files_.back().tensors()) add(t, 0);
        } else if (exists(index)) {
            open_shards(index);
        } else if (exists(detail::join_path(path_, "pytorch_model.bin")) || exists(detail::join_path(path_, "pytorch_model.bin.index.json"))) {
            throw io_error(path_ + ": the weights are in pytorch_model.bin, a Python pickle, which instar does not read. Convert them once in "
                                   "Python: transformers.AutoModelForTokenClassification.from_pretrained(folder).save_pretrained(folder, "
                                   "safe_serialization=True), or with the model class that config.json names");
        } else {
            throw io_error(path_ + ": holds neither model.safetensors nor model.safetensors.index.json");
        }
    }

    const std::string& path() const noexcept { return path_; }
    const json& config() const noexcept { return config_; }
    /// Typed access; errors name config.json and the key.
    json_view config_view() const { return json_view(config_, config_path_); }

    /// Canonical names, sorted.
    std::vector<std::string> names() const {
        std::vector<std::string> result;
        for (const auto& [name, place] : places_) result.push_back(name);
        return result;
    }
    bool contains(const std::string& name) const { return places_.contains(name); }
    /// Type and shape; info.name is the spelling in the file. Throws parse_error when there is none.
    const tensor_info& info(const std::string& name) const { return *place(name).info; }
    template <class T>
    std::vector<T> read(const std::string& name) const {
        const auto& p = place(name);
        return files_[p.file].template read<T>(p.info->name);
    }
    void read_into(const std::string& name, const named_tensor& to) const {
        const auto& p = place(name);
        files_[p.file].read_into(p.info->name, to);
    }

private:
    struct tensor_place {
        std::size_t file;
        const tensor_info* info;
    };

    void add(const tensor_info& t, std::size_t file) {
        const auto [it, is_new] = places_.emplace(detail::canonical_parameter_name(t.name), tensor_place{file, &t});
        if (!is_new) {
            throw parse_error(path_, "'" + it->second.info->name + "' and '" + t.name + "' both spell the parameter '" + it->first + "'");
        }
    }
    void open_shards(const std::string& index) {
        const json root = read_json(index);
        const json_view map = json_view(root, index).child("weight_map");
        std::map<std::string, std::size_t> opened;
        std::vector<std::pair<std::string, std::string>> entries;
        if (!map.value().is_object()) throw parse_error(index, "weight_map is no object");
        for (const auto& [name, unused] : map.value().items()) {
            const auto shard = map.get<std::string>(name);
            // A name with a slash could lead out of the folder.
            if (shard.empty() || shard.find('/') != std::string::npos || shard == "..") {
                throw parse_error(index, "'" + name + "' lies in \"" + shard + "\", which is no file name");
            }
            if (opened.emplace(shard, files_.size()).second) files_.emplace_back(detail::join_path(path_, shard));
            entries.emplace_back(name, shard);
        }
        for (const auto& [name, shard] : entries) {
            const std::size_t file = opened[shard];
            if (!files_[file].contains(name)) throw parse_error(index, "'" + name + "' is not in " + shard);
            add(files_[file].info(name), file);
        }
    }
    const tensor_place& place(const std::string& name) const {
        const auto it = places_.find(name);
        if (it == places_.end()) throw parse_error(path_, "there is no parameter '" + name + "'");
        return it->second;
    }

    std::string path_;
    std::string config_path_;
    json config_;
    std::vector<safetensors_file> files_;
    std::map<std::string, tensor_place> places_;  // the infos live in the files' own vectors, which moves leave where they are
};

struct load_options {
    std::string base_prefix{};                   ///< "bert.": a file may lack it, or have it where the parameter's name does not
    std::vector<std::string> may_be_missing{};   ///< names, or beginnings of names that end in '.': "classifier."
    bool allow_unknown = true;                   ///< false: a tensor of the file that no parameter takes is an error
};

struct load_report {
    std::vector<std::string> missing;  ///< parameters that the file lacks and may lack; their memory is untouched
    std::vector<std::string> unknown;  ///< tensors of the file that nothing took, position_ids aside
};

/// Reads every parameter from a folder. Types convert (BF16, F16, F32, F64 to the memory's). All names, shapes and types are
/// checked before anything is written; one error lists every problem: shape_error when all names are there, else parse_error.
inline load_report load_parameters(const hf_folder& folder, std::span<const named_tensor> parameters, const load_options& options = {}) {
    load_report report;
    std::vector<std::string> problems;
    std::vector<std::string> sources;
    std::map<std::string, const named_tensor*> taken;
    bool names_fit = true;
    for (const named_tensor& p : parameters) {
        std::string source = p.name;
        const std::string& prefix = options.base_prefix;
        if (!folder.contains(source) && !prefix.empty()) {
            if (p.name.starts_with(prefix) && folder.contains(p.name.substr(prefix.size()))) source = p.name.substr(prefix.size());
            else if (folder.contains(prefix + p.name)) source = prefix + p.name;
        }
        if (!folder.contains(source)) {
            const bool may_lack = std::any_of(options.may_be_missing.begin(), options.may_be_missing.end(), [&](const std::string& m) {
                return m == p.name || (m.ends_with('.') && p.name.starts_with(m));
            });
            sources.emplace_back();
            if (may_lack) {
                report.missing.push_back(p.name);
            } else {
                problems.push_back(p.name + ": missing in the file");
                names_fit = false;
            }
            continue;
        }
        const tensor_info& info = folder.info(source);
        if (!taken.emplace(source, &p).second) problems.push_back(p.name + ": asked for twice");
        if (info.shape != p.shape) {
            problems.push_back(p.name + ": shape " + shape_string(info.shape) + " in the file, expected " + shape_string(p.shape));
        } else if (!with_element_type(p.type, [&](auto* t) { return convertible<std::remove_pointer_t<decltype(t)>>(info.type); })) {
            problems.push_back(p.name + ": type " + std::string(dtype_name(info.type)) + " in the file, which does not read as " +
                               std::string(dtype_name(p.type)));
            names_fit = false;
        }
        sources.push_back(std::move(source));
    }
    for (const std::string& name : folder.names()) {
        if (taken.contains(name) || name.ends_with("position_ids")) continue;
        if (!options.allow_unknown) {
            problems.push_back(name + ": in the file, but no parameter of the model");
            names_fit = false;
        }
        report.unknown.push_back(name);
    }
    if (!problems.empty()) {
        const std::string text = std::to_string(problems.size()) + " parameters do not fit the model:" + detail::problem_list(problems);
        if (names_fit) throw shape_error(folder.path() + ": " + text);
        throw parse_error(folder.path(), text);
    }
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        if (!sources[i].empty()) folder.read_into(sources[i], parameters[i]);
    }
    return report;
}

/// Writes model.safetensors (metadata {"format": "pt"}) and then config.json, each atomically; creates the folder.
inline void save_parameters(const std::string& folder, const json& config, std::span<const named_const_tensor> parameters) {
    create_folders(folder);
    write_safetensors(detail::join_path(folder, "model.safetensors"), parameters, {{"format", "pt"}});
    write_json(detail::join_path(folder, "config.json"), config);
}
inline void save_parameters(const std::string& folder, const json& config, std::span<const named_tensor> parameters) {
    const std::vector<named_const_tensor> views(parameters.begin(), parameters.end());
    save_parameters(folder, config, std::span<const named_const_tensor>(views));
}

}  // namespace instar::io

#endif
