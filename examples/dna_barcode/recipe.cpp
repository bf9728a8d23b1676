// recipe: the whole of benchmark 1 in one run, with a table, results.json and report.html.
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <iostream>

#include "instar/core/build_info.hpp"
#include "instar/data/simulate.hpp"
#include "instar/io/json.hpp"

#include "common/html_report.hpp"
#include "common/table.hpp"
#include "load_specimens.hpp"
#include "tasks.hpp"

namespace dna_barcode {

using namespace instar;

settings task_settings(const settings& s, const std::string& task);

namespace {

struct stage {
    std::string key, title;
    training_summary training;
};

std::string percent(const metrics_map& m, const std::string& key) {
    const auto it = m.find(key);
    if (it == m.end()) return "–";
    char text[32];
    std::snprintf(text, sizeof text, "%.2f", 100.0 * it->second);
    return text;
}

/// Rows of the paper's table: fine-tuned species, linear probe, 1-NN genus of unseen species.
std::vector<std::vector<std::string>> result_rows(const metrics_map& m) {
    const auto row = [&](const std::string& title, const std::string& tuned, const std::string& linear, const std::string& prefix) {
        return std::vector<std::string>{title, percent(m, tuned), percent(m, linear), percent(m, prefix + "test.species.accuracy"), percent(m, prefix + "test_unseen.genus.accuracy"),
                                        percent(m, prefix + "test_unseen.family.accuracy")};
    };
    return {row("5-mer counts", "", "", "baseline.5mer."), row("untrained encoder", "", "", "untrained."), row("pre-trained (masked tokens)", "", "pretrained.linear.test.species.accuracy", "pretrained."),
            row("fine-tuned (species)", "test.species.accuracy", "", "finetuned."), row("pre-trained, projected", "", "", "projected."),
            row("untrained, projected (metric-learned)", "", "", "metric.")};
}

const std::vector<std::string> k_header = {"encoder", "species, classifier", "species, linear", "species, 1-NN", "unseen: genus, 1-NN", "unseen: family, 1-NN"};

void write_report(const std::string& out, const settings& s, const specimens& all, const metrics_map& metrics, const std::vector<stage>& stages, double seconds,
                  const std::string& source) {
    examples::html_report report("Benchmark 1: DNA barcodes", "BarcodeBERT on " + std::filesystem::path(source).filename().string());
    report.card("specimens", std::to_string(all.size()));
    report.card("species accuracy (test)", percent(metrics, "test.species.accuracy") + " %");
    report.card("genus of unseen species", percent(metrics, "metric.test_unseen.genus.accuracy") + " %");
    char text[64];
    std::snprintf(text, sizeof text, "%.1f min", seconds / 60.0);
    report.card("time", text);
    report.section("Accuracy by encoder, percent");
    report.table(k_header, result_rows(metrics));
    report.paragraph("Species: specimens of the test partition. Genus and family: test_unseen, species that training never saw. Duplicate barcodes are dropped within "
                     "each partition, unlabelled records do not count; nearest neighbours by cosine among the training barcodes.");
    for (const char* split : {"test", "test_unseen"}) {
        std::vector<std::string> ranks = {"species", "genus", "family"};
        if (std::string(split) == "test_unseen") ranks.erase(ranks.begin());
        std::vector<examples::bar_series> bars;
        for (const auto& [prefix, title] : std::vector<std::pair<std::string, std::string>>{{"baseline.5mer.", "5-mer"}, {"untrained.", "untrained"}, {"pretrained.", "pre-trained"}, {"finetuned.", "fine-tuned"}, {"projected.", "projected"}, {"metric.", "metric"}}) {
            examples::bar_series series{title, {}};
            for (const auto& rank : ranks) {
                const auto it = metrics.find(prefix + split + "." + rank + ".accuracy");
                series.values.push_back(it == metrics.end() ? 0.0 : 100.0 * it->second);
            }
            bars.push_back(series);
        }
        report.section(std::string("1-NN accuracy by rank, ") + split);
        report.bar_chart(ranks, bars, "accuracy, %");
    }
    report.section("Training");
    for (const stage& st : stages) {
        report.line_chart(st.title, {{st.key, st.training.step, st.training.loss}}, "step", "loss");
    }
    std::vector<std::vector<std::string>> rows;
    for (const stage& st : stages) {
        char rate[32], time[32], loss[32];
        std::snprintf(rate, sizeof rate, "%.0f", st.training.samples_per_second);
        std::snprintf(time, sizeof time, "%.0f", st.training.seconds);
        std::snprintf(loss, sizeof loss, "%.3f", st.training.final_loss);
        rows.push_back({st.title, time, rate, loss});
    }
    report.table({"stage", "seconds", "samples/s", "last loss"}, rows, false);
    std::snprintf(text, sizeof text, "%d layers × %d, %d heads, k = %d", s.n_layers, s.d_model, s.n_heads, s.k_mer);
    report.paragraph(std::string("Network: ") + text + (s.anchor ? ", anchored barcodes" : "") + ". Seed " + std::to_string(s.seed) + ". " + build_info().text());
    report.write(out + "/report.html");
}

}  // namespace

int run_simulate(const settings& s) {
    if (s.n_specimens < 100) throw value_error("--n-specimens must be at least 100, is " + std::to_string(s.n_specimens));
    // The shape of the default, scaled: about thirty specimens a species.
    data::simulate_options o{.n_specimens = s.n_specimens, .seed = s.seed};
    const double scale = static_cast<double>(s.n_specimens) / static_cast<double>(data::simulate_options{}.n_specimens);
    const auto scaled = [&](int n, int least) { return std::max(least, static_cast<int>(n * scale)); };
    o.n_species = scaled(o.n_species, 20);
    o.n_genera = scaled(o.n_genera, 8);
    o.n_subfamilies = scaled(o.n_subfamilies, 5);
    o.n_families = scaled(o.n_families, 4);
    o.n_orders = std::min(o.n_families, scaled(o.n_orders, 2));
    data::write_bioscan_csv(s.out, data::simulate_specimens(o));
    std::cout << s.n_specimens << " simulated specimens in " << s.out << '\n';
    return 0;
}

int run_recipe(const settings& given) {
    const auto start = std::chrono::steady_clock::now();
    examples::device device = make_device(given);
    std::filesystem::create_directories(given.out);
    std::string source = given.metadata;
    if (source.empty()) {
        source = given.out + "/simulated.csv";
        std::fprintf(stderr, "no --metadata: simulating specimens into %s\n", source.c_str());
        data::write_bioscan_csv(source, data::simulate_specimens({.seed = given.seed}));
    }
    const specimens all = load_specimens(source);
    metrics_map metrics;
    std::vector<stage> stages;
    const auto run = [&](const std::string& key, const std::string& title, model_folder& folder, auto train) {
        const std::string out = given.out + "/" + key;
        if (std::filesystem::exists(out + "/config.json")) {
            // A finished stage of an interrupted run: its model is as good as trained again.
            folder = model_folder::load(out);
            std::fprintf(stderr, "%s: taken from %s\n", key.c_str(), out.c_str());
        } else {
            const training_summary summary = train(out);
            folder.save(out);
            examples::drop_checkpoint(out, "");
            stages.push_back({key, title, summary});
            metrics["seconds." + key] = summary.seconds;
            metrics["samples_per_second." + key] = summary.samples_per_second;
        }
    };

    probe_kmer_baseline(device.cpu(), all, metrics);
    settings s = given;
    model_folder untrained = new_model(device.cpu(), s, all);
    untrained.save(given.out + "/untrained");
    probe_nearest(device, s, all, untrained, "untrained.", metrics);

    model_folder pretrained = new_model(device.cpu(), s, all);
    run("pretrained", "Pre-training: masked tokens", pretrained, [&](const std::string& out) {
        const settings own = task_settings(s, "pretrain");
        return pretrain(device, own, all, pretrained, out);
    });
    probe_nearest(device, s, all, pretrained, "pretrained.", metrics);
    if (s.linear) probe_linear(device, s, all, pretrained, "pretrained.", metrics);

    model_folder finetuned = model_folder::load(given.out + "/pretrained");
    run("finetuned", "Fine-tuning: species", finetuned, [&](const std::string& out) {
        const settings own = task_settings(s, "finetune");
        return finetune(device, own, all, finetuned, out);
    });
    probe_nearest(device, s, all, finetuned, "finetuned.", metrics);
    score_classifier(device, all, finetuned, "", metrics);

    // The same readout of both encoders: what position and the genera add to each.
    const auto project = [&](model_folder& folder, const std::string& key) {
        fit_projection(device, s, all, folder);
        folder.save(given.out + "/" + key);
        probe_nearest(device, s, all, folder, key + ".", metrics);
    };
    project(pretrained, "projected");
    project(untrained, "metric");

    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    examples::text_table table(k_header);
    for (const auto& row : result_rows(metrics)) table.add_row(row);
    std::cout << '\n' << table.text() << '\n';
    double samples_per_second = 0.0;
    for (const stage& st : stages) samples_per_second = std::max(samples_per_second, st.training.samples_per_second);
    write_results(given.out, "recipe", seconds, samples_per_second, metrics);
    write_report(given.out, s, all, metrics, stages, seconds, source);
    std::cout << "results: " << given.out << "/results.json\nreport:  " << given.out << "/report.html\n";
    return 0;
}

}  // namespace dna_barcode
