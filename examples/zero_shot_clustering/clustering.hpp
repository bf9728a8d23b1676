#ifndef INSTAR_EXAMPLES_ZERO_SHOT_CLUSTERING_CLUSTERING_HPP
#define INSTAR_EXAMPLES_ZERO_SHOT_CLUSTERING_CLUSTERING_HPP

// The steps of benchmark 2: embeddings with their labels, pre-normalisation, reduction, clustering, scores.
//
//     auto inputs = load_inputs(device, settings, truths);        // one an encoder
//     auto reduced = reduce(device, settings, inputs[0].x, "umap");
//     auto labels = cluster_items(device, settings, reduced->view(), n_clusters, inputs[0].tree);
//     score(metrics, truths[0], labels);

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "instar/cluster/agglomerative.hpp"
#include "instar/cluster/kmeans.hpp"
#include "instar/cluster/knn.hpp"
#include "instar/cluster/pca.hpp"
#include "instar/cluster/umap.hpp"
#include "instar/core/build_info.hpp"
#include "instar/core/transfer.hpp"
#include "instar/io/gzip.hpp"
#include "instar/io/npy.hpp"
#include "instar/io/safetensors.hpp"
#include "instar/metrics/clustering.hpp"
#include "instar/tokenize/kmer_counts.hpp"

#include "common/html_report.hpp"
#include "common/table.hpp"
#include "dna_barcode/evaluate.hpp"
#include "dna_barcode/load_specimens.hpp"

namespace zero_shot {

using namespace instar;

/// Every flag; the defaults are those of the paper's setting (--preset bioscan5m).
struct settings {
    std::vector<std::string> embeddings, models, partitions{"test", "test_unseen"}, reduce;
    std::string metadata, labels, preset = "bioscan5m", prenorm = "none", metric = "euclidean", linkage = "ward", labels_out, reduced_out, out;
    int kmer = 0;
    bool dedup = false, quiet = false;
    index_t n_components = 50, n_neighbors = 30, n_clusters = 0;
    float min_dist = 0.0f;
    std::uint64_t seed = 0;
    int threads = 0;
    std::string device = "cpu";  // where encoders, reductions and clusterings run
    bool bf16 = false;           // encoders on the CPU, with products of bf16
};

/// One rank of the truth: a class an item, −1 where it has none.
struct labelling {
    std::string rank;
    std::vector<std::string> names;
    std::vector<std::int32_t> of;

    /// The unlabelled are one class more, if there are any.
    index_t n_classes() const { return static_cast<index_t>(names.size()) + (std::find(of.begin(), of.end(), -1) != of.end() ? 1 : 0); }
    std::vector<std::string> names_of_items() const {
        std::vector<std::string> v;
        for (const std::int32_t l : of) v.push_back(l < 0 ? "unlabelled" : names[static_cast<std::size_t>(l)]);
        return v;
    }
};

struct encoder_input {
    std::string name;
    tensor<float, 2> x;
    cluster::dendrogram tree{};  // of the last clustering; empty after k-means
};

inline tensor<float, 2> read_embeddings(const std::string& path) {
    if (path.ends_with(".safetensors")) {
        const io::safetensors_file file(path);
        const auto& shape = file.info("embeddings").shape;
        if (shape.size() != 2) throw parse_error(path, "tensor embeddings must have two dimensions");
        tensor<float, 2> x({shape[0], shape[1]});
        file.read_into("embeddings", x);
        return x;
    }
    if (!path.ends_with(".npy")) throw value_error("--embeddings " + path + ": must end in .npy or .safetensors");
    const auto array = io::read_npy<float>(path);
    if (array.shape.size() != 2) throw parse_error(path, "must have two dimensions, has " + std::to_string(array.shape.size()));
    tensor<float, 2> x({array.shape[0], array.shape[1]});
    std::copy(array.values.begin(), array.values.end(), x.begin());
    return x;
}

/// Pre-normalisation of the rows [begin, end), the reference's (population deviation; a column without any is left at 0).
inline void prenormalise(tensor_view<float, 2> x, const std::string& how, index_t begin, index_t end) {
    const index_t d = x.extent(1), n = end - begin;
    if (how == "none" || n == 0) return;
    if (how == "l2" || how == "l2_corrected") {
        for (index_t r = begin; r < end; ++r) {
            double s = 0.0;
            for (index_t c = 0; c < d; ++c) s += static_cast<double>(x(r, c)) * static_cast<double>(x(r, c));
            if (s == 0.0) throw value_error("--prenorm " + how + ": item " + std::to_string(r) + " is zero");
            const double scale = (how == "l2" ? 1.0 : std::sqrt(static_cast<double>(d))) / std::sqrt(s);
            for (index_t c = 0; c < d; ++c) x(r, c) = static_cast<float>(static_cast<double>(x(r, c)) * scale);
        }
        return;
    }
    std::vector<double> mean(static_cast<std::size_t>(d), 0.0), deviation(mean.size(), 0.0);
    for (index_t r = begin; r < end; ++r) {
        for (index_t c = 0; c < d; ++c) mean[static_cast<std::size_t>(c)] += static_cast<double>(x(r, c)) / static_cast<double>(n);
    }
    for (index_t r = begin; r < end; ++r) {
        for (index_t c = 0; c < d; ++c) deviation[static_cast<std::size_t>(c)] += std::pow(static_cast<double>(x(r, c)) - mean[static_cast<std::size_t>(c)], 2) / static_cast<double>(n);
    }
    double average = 0.0;
    for (double& v : deviation) average += (v = std::sqrt(v)) / static_cast<double>(d);
    for (index_t r = begin; r < end; ++r) {
        for (index_t c = 0; c < d; ++c) {
            const double by = how == "average_zscore" ? average : deviation[static_cast<std::size_t>(c)];
            x(r, c) = by > 0.0 ? static_cast<float>((static_cast<double>(x(r, c)) - mean[static_cast<std::size_t>(c)]) / by) : 0.0f;
        }
    }
}

inline labelling read_label_file(const std::string& path) {
    labelling t{"label", {}, {}};
    std::vector<std::string> text;
    if (path.ends_with(".npy")) {
        for (const std::int64_t v : io::read_npy<std::int64_t>(path).values) text.push_back(v < 0 ? "" : std::to_string(v));
    } else {
        const std::string all = io::read_all(path);
        for (std::size_t at = 0; at < all.size();) {
            const std::size_t end = std::min(all.find('\n', at), all.size());
            text.push_back(all.substr(at, end - at));
            at = end + 1;
        }
    }
    t.names = text;
    std::sort(t.names.begin(), t.names.end());
    t.names.erase(std::unique(t.names.begin(), t.names.end()), t.names.end());
    std::erase(t.names, "");
    for (const std::string& name : text) {
        const auto it = std::lower_bound(t.names.begin(), t.names.end(), name);
        t.of.push_back(name.empty() ? -1 : static_cast<std::int32_t>(it - t.names.begin()));
    }
    return t;
}

inline std::vector<encoder_input> load_inputs(examples::device& device, const settings& s, std::vector<labelling>& truths) {
    std::vector<encoder_input> inputs;
    if (s.metadata.empty() == s.embeddings.empty()) throw value_error("give either --embeddings or --metadata with --model or --kmer");
    if (!s.embeddings.empty()) {
        std::vector<tensor<float, 2>> parts;
        index_t d = 0;
        for (const std::string& path : s.embeddings) {
            parts.push_back(read_embeddings(path));
            if (parts.back().extent(0) != parts.front().extent(0)) {
                throw value_error(path + ": has " + std::to_string(parts.back().extent(0)) + " items, " + s.embeddings.front() + " has " + std::to_string(parts.front().extent(0)));
            }
            prenormalise(parts.back().view(), s.prenorm, 0, parts.back().extent(0));
            d += parts.back().extent(1);
        }
        const index_t n = parts.front().extent(0);
        if (n < 1) throw value_error(s.embeddings.front() + ": holds no item");
        tensor<float, 2> x({n, d});
        index_t at = 0;
        for (const auto& part : parts) {
            for (index_t r = 0; r < n; ++r) std::copy_n(&part(r, 0), part.extent(1), &x(r, at));
            at += part.extent(1);
        }
        inputs.push_back({"embeddings", std::move(x), {}});
        if (!s.labels.empty()) {
            truths.push_back(read_label_file(s.labels));
            if (static_cast<index_t>(truths.back().of.size()) != n) {
                throw value_error(s.labels + ": has " + std::to_string(truths.back().of.size()) + " labels, the embeddings have " + std::to_string(n) + " items");
            }
        }
        return inputs;
    }
    if (s.models.empty() && s.kmer == 0) throw value_error("--metadata needs an encoder: --model FOLDER or --kmer K");
    const auto all = dna_barcode::load_specimens(s.metadata);
    dna_barcode::partition items;
    std::vector<index_t> ends;
    for (const std::string& name : s.partitions) {
        const auto part = dna_barcode::take_partition(all, {name}, s.dedup ? dna_barcode::duplicates::drop : dna_barcode::duplicates::keep);
        if (part.rows.empty()) throw value_error(s.metadata + ": no barcode in partition '" + name + "'");
        items.rows.insert(items.rows.end(), part.rows.begin(), part.rows.end());
        items.barcodes.insert(items.barcodes.end(), part.barcodes.begin(), part.barcodes.end());
        ends.push_back(static_cast<index_t>(items.rows.size()));
    }
    const auto add = [&](const std::string& name, tensor<float, 2> x) {
        for (std::size_t p = 0; p < ends.size(); ++p) prenormalise(x.view(), s.prenorm, p == 0 ? 0 : ends[p - 1], ends[p]);
        inputs.push_back({name, std::move(x), {}});
    };
    if (s.kmer != 0) add(std::to_string(s.kmer) + "-mer counts", tokenize::kmer_counts(device.cpu(), items.barcodes, {.k = s.kmer}));
    for (const std::string& model : s.models) {
        const std::size_t equals = model.find('=');
        const std::string path = equals == std::string::npos ? model : model.substr(equals + 1);
        const auto folder = dna_barcode::model_folder::load(path);
        add(equals == std::string::npos ? std::filesystem::path(path).filename().string() : model.substr(0, equals),
            dna_barcode::embed_barcodes(device, folder, items.barcodes, dna_barcode::readout_of(folder)));
    }
    for (const char* rank : dna_barcode::k_ranks) {
        const dna_barcode::label_table table(all, rank, items.rows);
        if (table.names.empty()) continue;
        truths.push_back({rank, table.names, table.of(all, items.rows)});
    }
    return inputs;
}

/// A copy of host rows where a context computes; on the CPU the rows themselves.
template <class Context>
using rows_of = device_input<float, 2, typename Context::memory>;

/// Empty for "none". Reduced on the device; of UMAP the graph and its start are the CPU's, of PCA the decomposition.
inline std::optional<tensor<float, 2>> reduce(examples::device& device, const settings& s, tensor_view<const float, 2> x, const std::string& how) {
    if (how == "none") return std::nullopt;
    return device.run_in_float([&](auto& there) {
        using context = std::remove_reference_t<decltype(there)>;
        rows_of<context> rows;
        const auto x_there = rows(there, x);
        if (how == "pca") return cluster::pca(there, x_there, {.n_components = std::min({s.n_components, x.extent(0), x.extent(1)})}).transform(there, x_there);
        const cluster::umap_options options{.n_components = s.n_components, .n_neighbors = s.n_neighbors, .min_dist = s.min_dist,
                                            .metric = s.metric == "cosine" ? cluster::umap_metric::cosine : cluster::umap_metric::euclidean, .seed = s.seed};
        if constexpr (std::is_same_v<context, cpu_context>) return cluster::umap(there, x_there, options).embedding;
        else return cluster::umap(there, device.cpu(), x_there, options).embedding;
    });
}

inline std::vector<std::int32_t> cluster_items(examples::device& device, const settings& s, tensor_view<const float, 2> x, index_t n_clusters, cluster::dendrogram& tree) {
    tree = {};
    if (s.linkage == "kmeans") {
        const auto r = device.run_in_float([&](auto& ctx) {
            rows_of<std::remove_reference_t<decltype(ctx)>> rows;
            return cluster::kmeans(ctx, rows(ctx, x), {.n_clusters = n_clusters, .max_iter = 1000, .seed = s.seed});
        });
        return {r.labels.begin(), r.labels.end()};
    }
    const auto linkage = s.linkage == "average" ? cluster::linkage::average : s.linkage == "complete" ? cluster::linkage::complete : s.linkage == "single" ? cluster::linkage::single : cluster::linkage::ward;
    tree = device.run_in_float([&](auto& ctx) {
        rows_of<std::remove_reference_t<decltype(ctx)>> rows;
        return cluster::agglomerative(ctx, rows(ctx, x), {.linkage = linkage});
    });
    const auto labels = tree.cut({.n_clusters = n_clusters});
    return {labels.begin(), labels.end()};
}

/// AMI under each normaliser, ARI, NMI, homogeneity, completeness and Fowlkes–Mallows of one rank.
inline void score(std::map<std::string, double>& m, const labelling& truth, const std::vector<std::int32_t>& labels) {
    using metrics::mutual_information_normalizer;
    const auto all = metrics::clustering_scores(truth.of, labels);
    m["ami." + truth.rank] = all.adjusted_mutual_info;
    m["ami_min." + truth.rank] = metrics::adjusted_mutual_info(truth.of, labels, mutual_information_normalizer::min);
    m["ami_max." + truth.rank] = metrics::adjusted_mutual_info(truth.of, labels, mutual_information_normalizer::max);
    m["ami_geometric." + truth.rank] = metrics::adjusted_mutual_info(truth.of, labels, mutual_information_normalizer::geometric);
    m["ari." + truth.rank] = all.adjusted_rand_index;
    m["nmi." + truth.rank] = all.normalized_mutual_info;
    m["homogeneity." + truth.rank] = all.homogeneity;
    m["completeness." + truth.rank] = all.completeness;
    m["fowlkes_mallows." + truth.rank] = all.fowlkes_mallows;
}

}  // namespace zero_shot

#endif
