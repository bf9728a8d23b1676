#ifndef INSTAR_METRICS_RETRIEVAL_HPP
#define INSTAR_METRICS_RETRIEVAL_HPP

// Retrieval: queries take the labels of their nearest keys. Top-k accuracy by sample and by class, seen and unseen species
// together, fused embeddings, and the fusion of two searches by a threshold. The search itself is cluster::knn's.
//
//     const auto nn   = cluster::knn(ctx, queries, keys, {.k = 5, .metric = cluster::knn_metric::cosine});
//     const auto near = metrics::neighbour_labels(nn.index.view(), species_of_keys);       // [n_queries, 5]
//     const auto s    = metrics::retrieval_scores(near.view(), species_of_queries);         // for k = 1, 3, 5
//     s.micro[0]; s.macro[0]; metrics::harmonic_mean(seen.micro[0], unseen.micro[0]);
//
// What is counted is CLIBD's evaluation: a query is right at k when one of its k nearest keys (not of k classes) has its
// label; each rank (order, family, genus, species) is scored by itself, with its own labels. A query whose label is negative
// (unlabelled) is left out; a neighbour with a negative label is never right.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "instar/core/error.hpp"
#include "instar/core/tensor.hpp"

namespace instar::metrics {

/// Accuracies in [0, 1], one for each k; 0 when nothing was counted.
struct retrieval_report {
    index_t n_counted = 0;  ///< queries with a label
    index_t n_classes = 0;  ///< different labels among them
    std::vector<index_t> k;
    std::vector<index_t> n_right;
    std::vector<double> micro;  ///< n_right / n_counted
    std::vector<double>
        macro;  ///< mean over the queries' classes of the accuracy within the class; classes of keys alone do not count
};

/// 2ab / (a + b); 0 when either is 0.
inline double harmonic_mean(double a, double b) { return a > 0.0 && b > 0.0 ? 2.0 * a * b / (a + b) : 0.0; }

/// Labels of neighbours: out(q, i) = key_labels[neighbours(q, i)].
///
/// neighbours: [n_queries, k], rows of the keys, nearest first. Throws value_error, naming the place, for one that does not exist.
inline tensor<std::int32_t, 2> neighbour_labels(tensor_view<const std::int32_t, 2> neighbours,
                                                std::span<const std::int32_t> key_labels) {
    tensor<std::int32_t, 2> labels({neighbours.extent(0), neighbours.extent(1)});
    for (index_t q = 0; q < labels.extent(0); ++q) {
        for (index_t i = 0; i < labels.extent(1); ++i) {
            const std::int32_t key = neighbours(q, i);
            if (key < 0 || static_cast<std::size_t>(key) >= key_labels.size()) {
                throw value_error("neighbour_labels: neighbour " + std::to_string(i) + " of query " +
                                  std::to_string(q) + " is " + std::to_string(key) + ", there are " +
                                  std::to_string(key_labels.size()) + " keys");
            }
            labels(q, i) = key_labels[static_cast<std::size_t>(key)];
        }
    }
    return labels;
}

/// Scores predictions, nearest first, against the queries' own labels.
///
/// predicted: [n_queries, n_neighbours]; truth: [n_queries]. A class of the truth that no key has is never right: its queries
/// count as wrong. Cost: O(n_queries · (log n_classes + largest k)).
/// Throws value_error when the lengths differ or a k is outside [1, n_neighbours].
inline retrieval_report retrieval_scores(tensor_view<const std::int32_t, 2> predicted,
                                         std::span<const std::int32_t> truth, std::span<const index_t> ks) {
    static constexpr const char* k_op = "retrieval_scores";
    const index_t n = predicted.extent(0);
    if (static_cast<index_t>(truth.size()) != n) {
        throw value_error(std::string(k_op) + ": " + std::to_string(n) + " predictions for " +
                          std::to_string(truth.size()) + " labels");
    }
    index_t largest = 0;
    for (const index_t k : ks) {
        if (k < 1 || k > predicted.extent(1)) {
            throw value_error(std::string(k_op) + ": k is " + std::to_string(k) + ", must be between 1 and the " +
                              std::to_string(predicted.extent(1)) + " neighbours");
        }
        largest = std::max(largest, k);
    }
    struct counts {
        index_t n = 0;
        std::vector<index_t> right;
    };
    std::map<std::int32_t, counts> classes;
    retrieval_report r{.k = {ks.begin(), ks.end()},
                       .n_right = std::vector<index_t>(ks.size()),
                       .micro = std::vector<double>(ks.size()),
                       .macro = std::vector<double>(ks.size())};
    for (index_t q = 0; q < n; ++q) {
        const std::int32_t label = truth[static_cast<std::size_t>(q)];
        if (label < 0) continue;
        ++r.n_counted;
        counts& c = classes[label];
        if (c.right.empty()) c.right.resize(ks.size());
        ++c.n;
        index_t first = 0;  // position of the first neighbour that is right
        while (first < largest && predicted(q, first) != label) ++first;
        for (std::size_t i = 0; i < ks.size(); ++i) {
            const bool right = first < ks[i];
            c.right[i] += right;
            r.n_right[i] += right;
        }
    }
    r.n_classes = static_cast<index_t>(classes.size());
    if (r.n_counted == 0) return r;
    for (std::size_t i = 0; i < ks.size(); ++i) {
        r.micro[i] = static_cast<double>(r.n_right[i]) / static_cast<double>(r.n_counted);
        for (const auto& [label, c] : classes) r.macro[i] += static_cast<double>(c.right[i]) / static_cast<double>(c.n);
        r.macro[i] /= static_cast<double>(r.n_classes);
    }
    return r;
}

/// For k = 1, 3 and 5, as far as there are so many neighbours.
inline retrieval_report retrieval_scores(tensor_view<const std::int32_t, 2> predicted,
                                         std::span<const std::int32_t> truth) {
    std::vector<index_t> ks;
    for (const index_t k : {1, 3, 5}) {
        if (k <= predicted.extent(1)) ks.push_back(k);
    }
    return retrieval_scores(predicted, truth, ks);
}

// --- embeddings of two modalities together -----------------------------------------------------------------------------------

namespace detail {

/// 1 / ‖x‖, or 0 for a zero row.
inline double inverse_norm(tensor_view<const float, 1> x) {
    double squares = 0.0;
    for (index_t i = 0; i < x.extent(0); ++i) squares += static_cast<double>(x(i)) * static_cast<double>(x(i));
    return squares > 0.0 ? 1.0 / std::sqrt(squares) : 0.0;
}

inline void check_same_rows(const char* op, index_t a, index_t b) {
    if (a != b) throw shape_error(std::string(op) + ": " + std::to_string(a) + " rows and " + std::to_string(b));
}

}  // namespace detail

/// Mean of two modalities' embeddings, to unit length again: the mean of two unit rows is shorter the more they disagree. Two
/// rows that cancel give a zero row.
///
/// a, b: [n, d]; → [n, d]. The inputs are brought to unit length first. In double inside. Throws shape_error when shapes differ.
inline tensor<float, 2> average_embeddings(tensor_view<const float, 2> a, tensor_view<const float, 2> b) {
    static constexpr const char* k_op = "average_embeddings";
    instar::detail::check_shape(k_op, "b", b, {a.extent(0), a.extent(1)});
    tensor<float, 2> out({a.extent(0), a.extent(1)});
    std::vector<double> row(static_cast<std::size_t>(a.extent(1)));
    for (index_t i = 0; i < a.extent(0); ++i) {
        const double of_a = detail::inverse_norm(a[i]), of_b = detail::inverse_norm(b[i]);
        double squares = 0.0;
        for (std::size_t k = 0; k < row.size(); ++k) {
            const auto c = static_cast<index_t>(k);
            row[k] = of_a * static_cast<double>(a(i, c)) + of_b * static_cast<double>(b(i, c));
            squares += row[k] * row[k];
        }
        const double scale = squares > 0.0 ? 1.0 / std::sqrt(squares) : 0.0;
        for (std::size_t k = 0; k < row.size(); ++k)
            out(i, static_cast<index_t>(k)) = static_cast<float>(scale * row[k]);
    }
    return out;
}

/// Both embeddings side by side, each half as long as 1/√2, so that the cosine of two such rows is the mean of both
/// modalities' cosines. To be compared with rows made likewise only.
///
/// a: [n, d_a], b: [n, d_b]; → [n, d_a + d_b]. Throws shape_error when the numbers of rows differ.
inline tensor<float, 2> concatenate_embeddings(tensor_view<const float, 2> a, tensor_view<const float, 2> b) {
    detail::check_same_rows("concatenate_embeddings", a.extent(0), b.extent(0));
    const index_t d_a = a.extent(1), d_b = b.extent(1);
    tensor<float, 2> out({a.extent(0), d_a + d_b});
    for (index_t i = 0; i < a.extent(0); ++i) {
        const double of_a = std::sqrt(0.5) * detail::inverse_norm(a[i]),
                     of_b = std::sqrt(0.5) * detail::inverse_norm(b[i]);
        for (index_t k = 0; k < d_a; ++k) out(i, k) = static_cast<float>(of_a * static_cast<double>(a(i, k)));
        for (index_t k = 0; k < d_b; ++k) out(i, d_a + k) = static_cast<float>(of_b * static_cast<double>(b(i, k)));
    }
    return out;
}

// --- two searches fused by a threshold ----------------------------------------------------------------------------------------

/// Predictions of two searches for the same queries: among the seen species, with similarities (or a classifier's
/// confidences), and among the unseen.
struct fusion_candidates {
    tensor_view<const std::int32_t, 2> seen;    ///< [n, k] labels, nearest first
    tensor_view<const float, 2> similarity;     ///< [n, k], of `seen`
    tensor_view<const std::int32_t, 2> unseen;  ///< [n, k] labels
};

namespace detail {

inline void check_fusion(const char* op, const fusion_candidates& c) {
    const index_t n = c.seen.extent(0), k = c.seen.extent(1);
    instar::detail::check_shape(op, "similarity", c.similarity, {n, k});
    instar::detail::check_shape(op, "unseen", c.unseen, {n, k});
}

}  // namespace detail

/// CLIBD's strategy for unseen species ("NN", image to seen images, else to unseen DNA): place i of a query's predictions is
/// the i-th of the seen ones when its similarity exceeds the threshold, else the i-th of the unseen ones.
inline tensor<std::int32_t, 2> fuse_by_threshold(const fusion_candidates& c, double threshold) {
    detail::check_fusion("fuse_by_threshold", c);
    tensor<std::int32_t, 2> fused({c.seen.extent(0), c.seen.extent(1)});
    for (index_t q = 0; q < fused.extent(0); ++q) {
        for (index_t i = 0; i < fused.extent(1); ++i) {
            fused(q, i) = static_cast<double>(c.similarity(q, i)) > threshold ? c.seen(q, i) : c.unseen(q, i);
        }
    }
    return fused;
}

/// What tuning a threshold found.
struct fusion_threshold {
    double threshold = 0.0;
    double seen = 0.0, unseen = 0.0;  ///< micro top-1 accuracy of the two query splits at it
    double harmonic_mean = 0.0;
};

/// The threshold with the largest harmonic mean of the top-1 accuracies on seen and on unseen queries, out of n_steps in equal
/// steps over [0, 1]; the smallest of equally good ones. The reference takes 1000 for similarities and 1001 for a classifier's
/// confidences, species of the validation split.
///
/// Throws value_error when lengths differ or n_steps < 2. Cost: O(n_steps · queries).
inline fusion_threshold best_fusion_threshold(const fusion_candidates& seen_queries,
                                              std::span<const std::int32_t> seen_truth,
                                              const fusion_candidates& unseen_queries,
                                              std::span<const std::int32_t> unseen_truth, index_t n_steps = 1000) {
    static constexpr const char* k_op = "best_fusion_threshold";
    if (n_steps < 2)
        throw value_error(std::string(k_op) + ": n_steps must be at least 2, is " + std::to_string(n_steps));
    const auto top_1 = [](const fusion_candidates& c, std::span<const std::int32_t> truth, double threshold) {
        index_t n_counted = 0, n_right = 0;
        for (index_t q = 0; q < c.seen.extent(0); ++q) {
            const std::int32_t label = truth[static_cast<std::size_t>(q)];
            if (label < 0) continue;
            ++n_counted;
            n_right += (static_cast<double>(c.similarity(q, 0)) > threshold ? c.seen(q, 0) : c.unseen(q, 0)) == label;
        }
        return n_counted > 0 ? static_cast<double>(n_right) / static_cast<double>(n_counted) : 0.0;
    };
    for (const auto& [c, truth] : {std::pair{&seen_queries, seen_truth}, {&unseen_queries, unseen_truth}}) {
        detail::check_fusion(k_op, *c);
        if (static_cast<index_t>(truth.size()) != c->seen.extent(0)) {
            throw value_error(std::string(k_op) + ": " + std::to_string(c->seen.extent(0)) + " predictions for " +
                              std::to_string(truth.size()) + " labels");
        }
        if (c->seen.extent(1) < 1) throw value_error(std::string(k_op) + ": there are no predictions");
    }
    fusion_threshold best;
    for (index_t s = 0; s < n_steps; ++s) {
        const double threshold = static_cast<double>(s) / static_cast<double>(n_steps - 1);
        const double seen = top_1(seen_queries, seen_truth, threshold),
                     unseen = top_1(unseen_queries, unseen_truth, threshold);
        const double mean = harmonic_mean(seen, unseen);
        if (s == 0 || mean > best.harmonic_mean) best = {threshold, seen, unseen, mean};
    }
    return best;
}

}  // namespace instar::metrics

#endif
