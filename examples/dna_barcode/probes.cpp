// The scores of a model: nearest neighbours, linear probe, classifier; and the 5-mer baseline.
#include <chrono>

#include "instar/tokenize/kmer_counts.hpp"

#include "tasks.hpp"

namespace dna_barcode {

using namespace instar;

namespace {

/// Queries and reference of benchmark 1: duplicates dropped within each split, labels may be missing.
struct probe_sets {
    partition train, test, unseen;
    explicit probe_sets(const specimens& all)
        : train(take_partition(all, {"train"}, duplicates::drop)),
          test(take_partition(all, {"test"}, duplicates::drop)),
          unseen(take_partition(all, {"test_unseen"}, duplicates::drop)) {
        if (train.rows.empty()) throw value_error("probe: the metadata has no row of split train");
    }
};

std::string probe_readout(const settings& s, const model_folder& folder) { return !s.pooling.empty() ? s.pooling : readout_of(folder); }

void score_both(cpu_context& ctx, metrics_map& metrics, const std::string& prefix, const specimens& all, const probe_sets& sets, tensor_view<const float, 2> train,
                tensor_view<const float, 2> test, tensor_view<const float, 2> unseen, index_t k, cluster::knn_metric metric) {
    score_nearest(ctx, metrics, prefix, all, sets.train, train, sets.test, test, "test", {"species", "genus", "family"}, k, metric);
    score_nearest(ctx, metrics, prefix, all, sets.train, train, sets.unseen, unseen, "test_unseen", {"genus", "family"}, k, metric);
}

}  // namespace

void probe_nearest(examples::device& device, const settings& s, const specimens& all, const model_folder& folder, const std::string& prefix, metrics_map& metrics) {
    const probe_sets sets(all);
    const auto readout = probe_readout(s, folder);
    const auto embed = [&](const partition& p) { return embed_barcodes(device, folder, p.barcodes, readout); };
    const auto train = embed(sets.train), test = embed(sets.test);
    // Queries of unseen species answered a second, embedding and search: what BLAST's time compares with.
    const auto start = std::chrono::steady_clock::now();
    const auto unseen = embed(sets.unseen);
    if (unseen.extent(0) > 0) {
        (void)cluster::knn(device.cpu(), unseen.view(), train.view(), {.k = 1, .metric = cluster::knn_metric::cosine});
        metrics[prefix + "queries_per_second"] = static_cast<double>(unseen.extent(0)) / std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    }
    score_both(device.cpu(), metrics, prefix, all, sets, train, test, unseen, s.n_neighbors, s.metric == "euclidean" ? cluster::knn_metric::euclidean : cluster::knn_metric::cosine);
}

void probe_linear(examples::device& device, const settings& s, const specimens& all, const model_folder& folder, const std::string& prefix, metrics_map& metrics) {
    const probe_sets sets(all);
    const label_table species(all, "species", sets.train.rows);
    const auto labels = species.of(all, sets.train.rows);
    partition labelled;
    std::vector<std::int32_t> y;
    for (std::size_t i = 0; i < labels.size(); ++i) {
        if (labels[i] < 0) continue;
        labelled.rows.push_back(sets.train.rows[i]);
        labelled.barcodes.push_back(sets.train.barcodes[i]);
        y.push_back(labels[i]);
    }
    if (y.empty() || sets.test.rows.empty()) return;
    const auto readout = probe_readout(s, folder);
    const auto x = embed_barcodes(device, folder, labelled.barcodes, readout);
    const auto queries = embed_barcodes(device, folder, sets.test.barcodes, readout);
    const auto probe = train_linear_probe(device.cpu(), x, y, static_cast<index_t>(species.names.size()), {.per_feature = s.preset != "paper", .seed = s.seed});
    const auto predicted = probe.predict(device.cpu(), queries);
    // A species absent from train cannot be predicted: an error, not an exclusion.
    auto truth = species.of(all, sets.test.rows);
    for (std::size_t i = 0; i < truth.size(); ++i) {
        const bool known = !all.label[species.rank][static_cast<std::size_t>(sets.test.rows[i])].empty();
        if (known && truth[i] < 0) truth[i] = static_cast<std::int32_t>(species.names.size());
    }
    const auto scores = metrics::classification_scores(predicted, truth);
    metrics[prefix + "linear.test.species.accuracy"] = scores.accuracy;
    metrics[prefix + "linear.test.species.balanced_accuracy"] = scores.balanced_accuracy;
}

void score_classifier(examples::device& device, const specimens& all, const model_folder& folder, const std::string& prefix, metrics_map& metrics,
                      const std::string& split) {
    const partition test = take_partition(all, {split}, duplicates::drop);
    if (test.rows.empty()) return;
    const auto pooled = embed_barcodes(device, folder, test.barcodes, folder.pooling);
    const auto best = argmax_rows(class_probabilities(device, folder.model, pooled).view());
    for (std::size_t r = 0; r < folder.classes.ranks.size(); ++r) {
        const std::string& rank = folder.classes.ranks[r];
        // One table over the predicted names and the true ones: a name that train lacks is an error.
        std::map<std::string, std::int32_t> index;
        std::vector<std::int32_t> predicted, truth;
        const auto number = [&](const std::string& name) { return name.empty() ? -1 : index.emplace(name, static_cast<std::int32_t>(index.size())).first->second; };
        for (std::size_t i = 0; i < test.rows.size(); ++i) {
            predicted.push_back(number(folder.classes.names[static_cast<std::size_t>(best[i])][r]));
            truth.push_back(number(all.label[rank_index(rank)][static_cast<std::size_t>(test.rows[i])]));
        }
        const auto scores = metrics::classification_scores(predicted, truth);
        if (scores.n_counted == 0) continue;
        const std::string name = prefix + split + "." + rank;
        metrics[name + ".accuracy"] = scores.accuracy;
        metrics[name + ".balanced_accuracy"] = scores.balanced_accuracy;
        metrics[name + ".f1_macro"] = scores.f1_macro;
        metrics[name + ".f1_weighted"] = scores.f1_weighted;
        metrics[name + ".n"] = static_cast<double>(scores.n_counted);
    }
}

double nearest_accuracy(examples::device& device, const settings& s, const specimens& all, const model_folder& folder, const char* split, const char* rank) {
    const partition train = take_partition(all, {"train"}, duplicates::drop), queries = take_partition(all, {split}, duplicates::drop);
    const auto readout = probe_readout(s, folder);
    metrics_map metrics;
    score_nearest(device.cpu(), metrics, "", all, train, embed_barcodes(device, folder, train.barcodes, readout), queries,
                  embed_barcodes(device, folder, queries.barcodes, readout), split, {rank});
    return metrics.empty() ? 0.0 : metrics.begin()->second;
}

void probe_kmer_baseline(cpu_context& ctx, const specimens& all, metrics_map& metrics) {
    const probe_sets sets(all);
    const auto count = [&](const partition& p) {
        const std::vector<std::string_view> views(p.barcodes.begin(), p.barcodes.end());
        return tokenize::kmer_counts(ctx, views, {.k = 5});
    };
    const auto train = count(sets.train), test = count(sets.test), unseen = count(sets.unseen);
    score_both(ctx, metrics, "baseline.5mer.", all, sets, train, test, unseen, 1, cluster::knn_metric::cosine);
}

}  // namespace dna_barcode
