// What the command line calls: read, run, save, print.
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "instar/data/bioscan.hpp"
#include "instar/data/csv_writer.hpp"
#include "instar/data/fasta.hpp"
#include "instar/io/json.hpp"
#include "instar/io/npy.hpp"

#include "common/table.hpp"
#include "load_specimens.hpp"
#include "tasks.hpp"

namespace dna_barcode {

using namespace instar;

namespace {

void print_metrics(const metrics_map& metrics) {
    for (const auto& [name, value] : metrics) {
        if (name.ends_with(".accuracy")) std::printf("%-52s %6.2f %%\n", name.c_str(), 100.0 * value);
    }
}

int finish_training(const settings& s, const specimens& all, examples::device& device, model_folder& folder, const training_summary& summary) {
    folder.save(s.out);
    examples::drop_checkpoint(s.out, s.checkpoint);
    metrics_map metrics;
    metrics["train.loss"] = summary.final_loss;
    if (folder.task == "finetune") score_classifier(device, all, folder, "", metrics);
    print_metrics(metrics);
    write_results(s.out, folder.task, summary.seconds, summary.samples_per_second, metrics);
    std::printf("%s: %.1f s, %.1f samples/s, saved in %s\n", folder.task.c_str(), summary.seconds, summary.samples_per_second, s.out.c_str());
    return 0;
}

/// Barcodes of a FASTA file or of metadata, with the name each goes by.
struct named_barcodes {
    std::vector<std::string> names, barcodes;
};

named_barcodes read_input(const std::string& path, const std::string& split) {
    named_barcodes input;
    std::string stem = path.ends_with(".gz") ? path.substr(0, path.size() - 3) : path;
    if (stem.ends_with(".csv") || stem.ends_with(".tsv")) {
        const specimens all = load_specimens(path);
        for (std::size_t i = 0; i < all.size(); ++i) {
            if (!split.empty() && all.split[i] != split) continue;
            input.names.push_back(all.processid[i]);
            input.barcodes.push_back(all.barcode[i]);
        }
        if (input.names.empty()) throw value_error(path + ": no row" + (split.empty() ? "" : " of split '" + split + "'"));
        return input;
    }
    if (!split.empty()) throw value_error("--split needs a metadata table, " + path + " is read as FASTA");
    for (auto& record : data::read_fasta(path)) {
        input.names.push_back(record.id);
        input.barcodes.push_back(std::move(record.sequence));
    }
    if (input.names.empty()) throw value_error(path + ": holds no sequence");
    return input;
}

/// Upper case, U as T, other IUPAC codes and gaps as N: what BarcodeBERT's check_sequence does for FASTA input.
/// Throws value_error naming the record for anything else and for sequences shorter than one token.
void clean_fasta(named_barcodes& input, int k) {
    for (std::size_t i = 0; i < input.barcodes.size(); ++i) {
        std::string& s = input.barcodes[i];
        for (std::size_t p = 0; p < s.size(); ++p) {
            const char c = static_cast<char>(s[p] >= 'a' && s[p] <= 'z' ? s[p] - 'a' + 'A' : s[p]);
            if (c == 'A' || c == 'C' || c == 'G' || c == 'T' || c == 'N') s[p] = c;
            else if (c == 'U') s[p] = 'T';
            else if (std::string_view("RYSWKMBDHV-.").find(c) != std::string_view::npos) s[p] = 'N';
            else throw value_error("record '" + input.names[i] + "': character '" + std::string(1, s[p]) + "' at position " + std::to_string(p + 1) + " is no nucleotide code");
        }
        if (static_cast<int>(s.size()) < k) {
            throw value_error("record '" + input.names[i] + "': " + std::to_string(s.size()) + " bases are fewer than one token of " + std::to_string(k));
        }
    }
}

}  // namespace

examples::device make_device(const settings& s) {
    return {{s.device, s.cpu_workers, s.bf16}, "dna_barcode", "tokens, nearest neighbours, linear probes, fitting projections"};
}

void apply_preset(settings& s, const std::string& preset) {
    s.preset = preset;
    if (preset == "paper") {
        s.k_mer = 4;
        s.n_layers = 12;
        s.n_heads = 12;
        s.d_model = 768;
        s.dropout = 0.1;
        s.epochs = 35;
        s.batch_size = 16;
        s.lr = 1e-4;
        s.anchor = false;
        s.head_init = "random";
        s.word_init = "random";
        s.substitution = 0.0;
        s.crop = 0;
        return;
    }
    if (preset != "small" && preset != "demo") throw value_error("--preset " + preset + ": one of small, paper, demo");
}

/// What "the preset's" means for the task at hand.
static settings with_task_defaults(settings s, const std::string& task) {
    struct defaults {
        int epochs, batch_size;
        double lr, substitution;
        int crop;
    };
    defaults d = s.preset == "paper" ? defaults{35, 16, 1e-4, 0.0, 0}
                 : task == "pretrain" ? defaults{5, 64, 1e-3, 0.0, 30}
                 : task == "finetune" ? defaults{6, 64, 3e-4, 0.01, 30}
                                      : defaults{40, 256, 7.5e-4, 0.01, 30};
    if (s.preset == "demo") d.epochs = task == "metric" ? 4 : task == "finetune" ? 3 : 1;
    if (s.epochs == 0) s.epochs = d.epochs;
    if (s.batch_size == 0) s.batch_size = d.batch_size;
    if (s.lr == 0.0) s.lr = d.lr;
    if (s.substitution < 0.0) s.substitution = d.substitution;
    if (s.crop < 0) s.crop = d.crop;
    const auto positive = [](const char* flag, double value) {
        if (!(value > 0)) throw value_error(std::string(flag) + " must be positive");
    };
    positive("--epochs", s.epochs);
    positive("--batch-size", s.batch_size);
    positive("--accumulate", s.accumulate);
    positive("--log-interval", s.log_interval);
    positive("--lr", s.lr);
    positive("--temperature", s.temperature);
    return s;
}

settings task_settings(const settings& s, const std::string& task) { return with_task_defaults(s, task); }

int run_pretrain(const settings& given) {
    const settings s = with_task_defaults(given, "pretrain");
    examples::device device = make_device(s);
    const specimens all = load_specimens(s.metadata);
    model_folder folder = new_model(device.cpu(), s, all);
    const auto summary = pretrain(device, s, all, folder, s.out);
    return finish_training(s, all, device, folder, summary);
}

int run_finetune(const settings& given) {
    const settings s = with_task_defaults(given, "finetune");
    examples::device device = make_device(s);
    model_folder folder = model_folder::load(s.model);
    const specimens all = load_specimens(s.metadata);
    const auto summary = finetune(device, s, all, folder, s.out);
    return finish_training(s, all, device, folder, summary);
}

int run_metric(const settings& given) {
    const settings s = with_task_defaults(given, "metric");
    examples::device device = make_device(s);
    model_folder folder = model_folder::load(s.model);
    const specimens all = load_specimens(s.metadata);
    const auto summary = metric_learn(device, s, all, folder, s.out);
    return finish_training(s, all, device, folder, summary);
}

int run_project(const settings& s) {
    const auto start = std::chrono::steady_clock::now();
    if (s.components < 1) throw value_error("--components must be positive, is " + std::to_string(s.components));
    if (!(s.shrinkage > 0)) throw value_error("--shrinkage must be positive");
    examples::device device = make_device(s);
    model_folder folder = model_folder::load(s.model);
    const specimens all = load_specimens(s.metadata);
    fit_projection(device, s, all, folder);
    folder.save(s.out);
    metrics_map metrics;
    probe_nearest(device, s, all, folder, "", metrics);
    print_metrics(metrics);
    const double seconds = seconds_since(start);
    write_results(s.out, "project", seconds, static_cast<double>(all.size()) / seconds, metrics);
    std::printf("project: %.1f s, %lld numbers a barcode, saved in %s\n", seconds, static_cast<long long>(folder.projection.d_out()), s.out.c_str());
    return 0;
}

int run_probe(const settings& s) {
    const auto start = std::chrono::steady_clock::now();
    examples::device device = make_device(s);
    const model_folder folder = model_folder::load(s.model);
    const specimens all = load_specimens(s.metadata);
    metrics_map metrics;
    probe_nearest(device, s, all, folder, "", metrics);
    if (s.linear) probe_linear(device, s, all, folder, "", metrics);
    if (folder.task == "finetune") score_classifier(device, all, folder, "classifier.", metrics);
    if (s.baselines) probe_kmer_baseline(device.cpu(), all, metrics);
    print_metrics(metrics);
    const double seconds = seconds_since(start);
    write_results(s.out, "probe", seconds, static_cast<double>(all.size()) / seconds, metrics);
    return 0;
}

int run_embed(const settings& s) {
    examples::device device = make_device(s);
    const model_folder folder = model_folder::load(s.model);
    const named_barcodes input = read_input(s.input, s.split);
    const auto start = std::chrono::steady_clock::now();
    const auto x = embed_barcodes(device, folder, input.barcodes, s.pooling.empty() ? readout_of(folder) : s.pooling);
    if (s.out.ends_with(".safetensors")) {
        const std::vector<io::named_const_tensor> tensors{{"embeddings", {x.extent(0), x.extent(1)}, x.data()}};
        io::write_safetensors(s.out, tensors);
    } else if (s.out.ends_with(".npy")) {
        io::write_npy(s.out, x.view());
    } else {
        throw value_error("--out " + s.out + ": must end in .npy or .safetensors");
    }
    std::printf("%lld embeddings of %lld values in %s, %.1f barcodes/s\n", static_cast<long long>(x.extent(0)), static_cast<long long>(x.extent(1)), s.out.c_str(),
                static_cast<double>(x.extent(0)) / std::max(seconds_since(start), 1e-9));
    return 0;
}

int run_predict(const settings& s) {
    examples::device device = make_device(s);
    const model_folder folder = model_folder::load(s.model);
    if (folder.classes.names.empty()) throw value_error(s.model + ": has no labels.json; predict needs a folder that finetune wrote");
    named_barcodes input = read_input(s.input, "");
    clean_fasta(input, folder.encoder.options().k);
    const auto pooled = embed_barcodes(device, folder, input.barcodes, folder.pooling);
    const auto p = class_probabilities(device, folder.model, pooled);
    // The score of a genus is the probability of all its species together, and so on upwards.
    std::vector<std::string> header{"name"};
    for (const auto& rank : folder.classes.ranks) {
        header.push_back(rank);
        header.push_back(rank + "_score");
    }
    data::csv_writer writer(s.out, header, s.out.ends_with(".csv") ? ',' : '\t');
    for (std::size_t i = 0; i < input.names.size(); ++i) {
        std::vector<std::string> row{input.names[i]};
        for (std::size_t r = 0; r < folder.classes.ranks.size(); ++r) {
            std::map<std::string, double> score;
            for (std::size_t c = 0; c < folder.classes.names.size(); ++c) {
                score[folder.classes.names[c][r]] += static_cast<double>(p(static_cast<index_t>(i), static_cast<index_t>(c)));
            }
            const auto best = std::max_element(score.begin(), score.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
            char text[32];
            std::snprintf(text, sizeof text, "%.4f", std::min(1.0, best->second));
            row.push_back(best->first);
            row.push_back(text);
        }
        const std::vector<std::string_view> fields(row.begin(), row.end());
        writer.row(fields);
    }
    writer.commit();
    std::printf("%zu predictions in %s\n", input.names.size(), s.out.c_str());
    return 0;
}

}  // namespace dna_barcode
