// zero_shot_clustering: benchmark 2 of BIOSCAN-5M. Embeddings, reduced by UMAP, clustered by Ward, scored against every rank by AMI.
//
//     zero_shot_clustering --metadata metadata.csv.gz --model pretrained=run/pretrained --model tuned=run/finetuned --kmer 5 --dedup --out out
//     zero_shot_clustering --embeddings X.npy --reduce none --linkage ward --n-clusters 20 --labels-out y.npy --out results.json
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>

#include <CLI/CLI.hpp>

#include "common/device_option.hpp"
#include "clustering.hpp"

namespace {

using namespace zero_shot;
using namespace instar;

using examples::seconds_since;

std::string percent(const std::map<std::string, double>& m, const std::string& key) {
    const auto it = m.find(key);
    if (it == m.end()) return "–";
    char text[32];
    std::snprintf(text, sizeof text, "%.2f", 100.0 * it->second);
    return text;
}

struct row {
    std::string encoder, reduction;
    std::vector<std::int32_t> labels;
    std::map<std::string, double> scores;  // "ami.species", …
};

std::vector<std::string> table_row(const row& r, const std::vector<labelling>& truths) {
    std::vector<std::string> cells{r.encoder, r.reduction};
    for (const labelling& t : truths) cells.push_back(percent(r.scores, "ami." + t.rank));
    return cells;
}

void write_report(const std::string& path, cpu_context& ctx, const settings& s, const std::vector<encoder_input>& inputs, const std::vector<row>& rows, const std::vector<labelling>& truths,
                  index_t n_clusters, double seconds) {
    const std::string source = s.metadata.empty() ? s.embeddings.front() : s.metadata;
    examples::html_report report("Benchmark 2: zero-shot clustering", std::filesystem::path(source).filename().string());
    report.card("items", std::to_string(inputs.front().x.extent(0)));
    report.card("clusters", std::to_string(n_clusters));
    char text[64];
    std::snprintf(text, sizeof text, "%.1f s", seconds);
    report.card("time", text);
    if (!truths.empty()) {
        report.section("Adjusted mutual information by rank, percent");
        std::vector<std::string> header{"encoder", "reduced by"};
        for (const labelling& t : truths) header.push_back(t.rank);
        std::vector<std::vector<std::string>> cells;
        for (const row& r : rows) cells.push_back(table_row(r, truths));
        report.table(header, cells);
        report.paragraph("Arithmetic normaliser; results.json holds the other three, and more scores. One clustering for all ranks; items without a label of a rank are a class of their own.");
    }
    const encoder_input& shown = inputs.back();
    const index_t n = shown.x.extent(0);
    if (n >= 10) {
        report.section("In two dimensions");
        const auto flat = cluster::umap(ctx, shown.x.view(), {.n_components = 2, .n_neighbors = std::min<index_t>(30, n - 1), .min_dist = 0.1f, .n_epochs = 200, .seed = s.seed}).embedding;
        std::vector<double> px, py;
        for (index_t i = 0; i < n; ++i) {
            px.push_back(static_cast<double>(flat(i, 0)));
            py.push_back(static_cast<double>(flat(i, 1)));
        }
        std::vector<examples::scatter_grouping> groupings;
        for (const labelling& t : truths) {
            if (t.n_classes() > 1) groupings.push_back({t.rank, t.names_of_items()});
        }
        report.scatter("UMAP of " + shown.name, px, py, groupings);
    }
    report.section("Clusters");
    std::map<std::int32_t, double> sizes;
    for (const std::int32_t l : rows.back().labels) sizes[l] += 1.0;
    std::vector<double> size;
    for (const auto& [l, count] : sizes) size.push_back(count);
    report.histogram("Items in a cluster, " + rows.back().encoder + ", " + rows.back().reduction, size, "items");
    if (shown.tree.n_points() > 1) {
        const auto by = [&](const std::string& rank) {
            for (const labelling& t : truths) {
                if (t.rank == rank || truths.size() == 1) return examples::point_classes{t.of, t.names};
            }
            return examples::point_classes{};
        };
        report.dendrogram(truths.empty() ? "The top of the tree" : truths.size() == 1 ? "The top of the tree, by " + truths[0].rank : "The top of the tree, " + shown.name + ": families, coloured by order", shown.tree, 30, by("family"), by("order"));
    }
    for (const labelling& t : truths) {
        if (t.rank != "order" || t.names.size() > 24) continue;
        // Each cluster is of the order that most of its items have; what the others are shows beside.
        std::map<std::int32_t, std::map<std::int32_t, index_t>> count;
        for (std::size_t i = 0; i < t.of.size(); ++i) ++count[rows.back().labels[i]][t.of[i]];
        std::vector<std::string> names = t.names;
        if (t.n_classes() > static_cast<index_t>(names.size())) names.push_back("unlabelled");
        const std::size_t k = names.size();
        std::vector<double> cells(k * k, 0.0);
        const auto place = [&](std::int32_t l) { return l < 0 ? k - 1 : static_cast<std::size_t>(l); };
        for (const auto& [c, of] : count) {
            const auto most = std::max_element(of.begin(), of.end(), [](const auto& a, const auto& b) { return a.second < b.second; })->first;
            for (const auto& [l, many] : of) cells[place(l) * k + place(most)] += static_cast<double>(many);
        }
        report.heat_map("Orders: items by their own and by their cluster's", names, names, cells, "order", "the cluster's");
    }
    report.paragraph("Seed " + std::to_string(s.seed) + ". " + build_info().text());
    report.write(path);
}

int run(const settings& s) {
    const auto start = std::chrono::steady_clock::now();
    examples::device device({s.device, s.threads, s.bf16}, "zero_shot_clustering", "tokens, PCA's decomposition, UMAP's graph and start, the report, scores");
    cpu_context& ctx = device.cpu();
    std::map<std::string, double> metrics;
    std::vector<labelling> truths;
    std::vector<encoder_input> inputs = load_inputs(device, s, truths);
    metrics["seconds.embed"] = seconds_since(start);
    const index_t n = inputs.front().x.extent(0);
    index_t n_clusters = s.n_clusters;
    if (n_clusters == 0) {
        for (const labelling& t : truths) {
            if (t.rank == "species" || truths.size() == 1) n_clusters = t.n_classes();
        }
        if (n_clusters == 0) throw value_error("--n-clusters is needed: there is no species to count");
    }
    if (n_clusters < 1 || n_clusters > n) throw value_error("--n-clusters is " + std::to_string(n_clusters) + ", must be between 1 and the " + std::to_string(n) + " items");

    std::vector<row> rows;
    for (encoder_input& input : inputs) {
        for (const std::string& reduction : s.reduce) {
            row r{input.name, reduction, {}, {}};
            const std::string key = (inputs.size() * s.reduce.size() > 1 ? input.name + "." + reduction + "." : std::string());
            auto begin = std::chrono::steady_clock::now();
            const auto reduced = reduce(device, s, input.x.view(), reduction);
            metrics[key + "seconds.reduce"] = seconds_since(begin);
            if (reduced && !s.reduced_out.empty()) io::write_npy(s.reduced_out, tensor_view<const float, 2>(reduced->view()));
            begin = std::chrono::steady_clock::now();
            r.labels = cluster_items(device, s, reduced ? reduced->view() : tensor_view<const float, 2>(input.x.view()), n_clusters, input.tree);
            metrics[key + "seconds.cluster"] = seconds_since(begin);
            for (const labelling& t : truths) score(r.scores, t, r.labels);
            for (const auto& [name, value] : r.scores) metrics[key + name] = value;
            if (!s.quiet) std::fprintf(stderr, "%s, %s: %.1f s\n", input.name.c_str(), reduction.c_str(), metrics[key + "seconds.reduce"] + metrics[key + "seconds.cluster"]);
            rows.push_back(std::move(r));
        }
    }
    metrics["n_items"] = static_cast<double>(n);
    metrics["n_clusters"] = static_cast<double>(n_clusters);
    if (!truths.empty()) {
        std::vector<std::string> header{"encoder", "reduced by"};
        for (const labelling& t : truths) header.push_back(t.rank);
        examples::text_table table(header);
        for (const row& r : rows) table.add_row(table_row(r, truths));
        std::cout << "AMI in percent, " << n << " items, " << n_clusters << " clusters\n\n" << table.text() << '\n';
    }
    if (!s.labels_out.empty()) io::write_npy(s.labels_out, tensor_view<const std::int32_t, 1>(rows.back().labels.data(), {n}));
    const double seconds = seconds_since(start);
    if (!s.out.empty()) {
        examples::write_results(s.out, "zero_shot_clustering", seconds, static_cast<double>(n) / seconds, metrics);
        const std::string report = s.out.ends_with(".json") ? s.out.substr(0, s.out.size() - 5) + ".html" : s.out + "/report.html";
        write_report(report, ctx, s, inputs, rows, truths, n_clusters, seconds);
        std::cout << "report: " << report << '\n';
    }
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    settings s;
    CLI::App app{"Benchmark 2 of BIOSCAN-5M: zero-shot clustering of embeddings.\n\nExample:\n"
                 "  zero_shot_clustering --metadata metadata.csv.gz --model tuned=run/finetuned --kmer 5 --dedup --reduce none --reduce umap --out out\n"};
    app.add_option("--embeddings", s.embeddings, ".npy or .safetensors, [n, d]; several are modalities of the same items, side by side");
    app.add_option("--metadata", s.metadata, "BIOSCAN metadata; barcodes are embedded by each --model and --kmer");
    app.add_option("--model", s.models, "folder of dna_barcode, or NAME=FOLDER");
    app.add_option("--kmer", s.kmer, "also count vectors of k-mers of this length");
    app.add_option("--partitions,--partition", s.partitions, "in this order")->capture_default_str();
    app.add_flag("--dedup", s.dedup, "one item a barcode and partition, the first");
    app.add_option("--labels", s.labels, "true labels of --embeddings: .npy of integers, or text, one a line");
    app.add_option("--preset", s.preset, "bioscan5m: UMAP to 50, 30 neighbours, min_dist 0, euclidean, ward, as many clusters as species")->capture_default_str()->check(CLI::IsMember({"bioscan5m"}));
    app.add_option("--prenorm", s.prenorm, "of each modality within each partition")->capture_default_str()->check(CLI::IsMember({"none", "l2", "l2_corrected", "elementwise_zscore", "average_zscore"}));
    app.add_option("--reduce", s.reduce, "umap, pca or none; several: one clustering each")->check(CLI::IsMember({"umap", "pca", "none"}));
    app.add_option("--n-components", s.n_components)->capture_default_str();
    app.add_option("--n-neighbors", s.n_neighbors)->capture_default_str();
    app.add_option("--min-dist", s.min_dist)->capture_default_str();
    app.add_option("--metric", s.metric, "of UMAP")->capture_default_str()->check(CLI::IsMember({"euclidean", "cosine"}));
    app.add_option("--linkage", s.linkage, "of agglomerative clustering, or kmeans")->capture_default_str()->check(CLI::IsMember({"ward", "average", "complete", "single", "kmeans"}));
    app.add_option("--n-clusters", s.n_clusters, "0 = distinct species");
    app.add_option("--labels-out", s.labels_out, ".npy of the clusters' numbers");
    app.add_option("--reduced-out", s.reduced_out, ".npy of the items after the last reduction");
    app.add_option("--out", s.out, "folder, or results.json");
    app.add_option("--seed", s.seed)->capture_default_str();
    app.add_option("--threads", s.threads, "0 = all cores")->capture_default_str();
    examples::add_device_options(app, s.device, s.bf16);
    app.footer("--device: the encoders of --model, reductions and clusterings run there; PCA's decomposition, UMAP's graph and start, the report and scores are the CPU's.");
    app.add_flag("--quiet", s.quiet, "no progress");
    CLI11_PARSE(app, argc, argv);
    if (s.reduce.empty()) s.reduce = {"umap"};
    try {
        return run(s);
    } catch (const std::exception& e) {
        std::fprintf(stderr, "zero_shot_clustering: %s\n", e.what());
        return 1;
    }
}
