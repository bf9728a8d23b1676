#ifndef INSTAR_METRICS_TOP_K_HPP
#define INSTAR_METRICS_TOP_K_HPP

// Top-k accuracy of a classifier's scores: by sample, by class, and of each class.
//
//     const auto s = metrics::top_k_scores(logits.view(), labels, {{1, 5}});
//     s.micro[0]; s.macro[1]; s.class_accuracy[c];
//
// What is counted is BIOSCAN-1M's evaluation (Gharaee et al. 2023, arXiv:2307.10455).

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "instar/core/error.hpp"
#include "instar/core/tensor_view.hpp"

namespace instar::metrics {

/// Accuracies in [0, 1], one for each k; 0 when nothing was counted.
struct top_k_report {
    index_t n_counted = 0;           ///< samples with a label
    index_t n_classes_present = 0;   ///< classes among them
    std::vector<index_t> k;
    std::vector<double> micro;            ///< share of the samples
    std::vector<double> macro;            ///< mean of the classes' accuracies over the classes that occur
    std::vector<double> macro_all;        ///< the same over all classes, one that does not occur counting 0, as BIOSCAN-1M has it
    std::vector<double> class_accuracy;   ///< [n_classes], at k = 1; 0 for a class that does not occur
    std::vector<index_t> class_count;     ///< [n_classes]
};

/// Rank of each sample's own class among the scores of its row: 0 when no class has more, and none of a smaller number as much.
/// A NaN is less than everything. Samples with a negative label get −1.
/// Throws value_error when the lengths differ or a label is no class. Cost: O(n · n_classes).
inline std::vector<index_t> label_ranks(tensor_view<const float, 2> scores, std::span<const std::int32_t> truth) {
    const index_t n = scores.extent(0), n_classes = scores.extent(1);
    if (static_cast<index_t>(truth.size()) != n) throw value_error("label_ranks: " + std::to_string(n) + " rows of scores for " + std::to_string(truth.size()) + " labels");
    std::vector<index_t> ranks;
    ranks.reserve(truth.size());
    for (index_t i = 0; i < n; ++i) {
        const std::int32_t label = truth[static_cast<std::size_t>(i)];
        if (label < 0) {
            ranks.push_back(-1);
            continue;
        }
        if (label >= n_classes) throw value_error("label_ranks: label " + std::to_string(label) + " of sample " + std::to_string(i) + " is none of " + std::to_string(n_classes) + " classes");
        const float own = scores(i, label);
        index_t rank = 0;
        for (index_t c = 0; c < n_classes; ++c) {
            const float other = scores(i, c);
            rank += other > own || (other == own && c < label) || (own != own && (other == other || c < label));
        }
        ranks.push_back(rank);
    }
    return ranks;
}

/// Scores rows of logits or probabilities against labels; samples with a negative label are left out.
/// Equal scores rank by class number. Throws value_error as label_ranks does, and for a k below 1. A k above n_classes is always right.
inline top_k_report top_k_scores(tensor_view<const float, 2> scores, std::span<const std::int32_t> truth, std::span<const index_t> ks) {
    const auto n_classes = static_cast<std::size_t>(scores.extent(1));
    for (const index_t k : ks) {
        if (k < 1) throw value_error("top_k_scores: k must be at least 1, is " + std::to_string(k));
    }
    const auto ranks = label_ranks(scores, truth);
    top_k_report r{.k = {ks.begin(), ks.end()}, .micro = std::vector<double>(ks.size()), .macro = std::vector<double>(ks.size()), .macro_all = std::vector<double>(ks.size()),
                   .class_accuracy = std::vector<double>(n_classes), .class_count = std::vector<index_t>(n_classes)};
    std::vector<std::vector<double>> hits(ks.size(), std::vector<double>(n_classes));
    for (std::size_t i = 0; i < truth.size(); ++i) {
        if (ranks[i] < 0) continue;
        const auto label = static_cast<std::size_t>(truth[i]);
        ++r.n_counted;
        ++r.class_count[label];
        r.class_accuracy[label] += ranks[i] == 0;
        for (std::size_t j = 0; j < ks.size(); ++j) hits[j][label] += ranks[i] < ks[j];
    }
    if (r.n_counted == 0) return r;
    for (std::size_t c = 0; c < n_classes; ++c) {
        if (r.class_count[c] == 0) continue;
        ++r.n_classes_present;
        const auto n = static_cast<double>(r.class_count[c]);
        r.class_accuracy[c] /= n;
        for (std::size_t j = 0; j < ks.size(); ++j) {
            r.micro[j] += hits[j][c];
            r.macro[j] += hits[j][c] / n;
        }
    }
    for (std::size_t j = 0; j < ks.size(); ++j) {
        r.micro[j] /= static_cast<double>(r.n_counted);
        r.macro_all[j] = r.macro[j] / static_cast<double>(n_classes);
        r.macro[j] /= static_cast<double>(r.n_classes_present);
    }
    return r;
}

}  // namespace instar::metrics

#endif
