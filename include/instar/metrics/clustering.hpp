#ifndef INSTAR_METRICS_CLUSTERING_HPP
#define INSTAR_METRICS_CLUSTERING_HPP

// How well one labeling of n items agrees with another, as scikit-learn defines it. Labels are names only: any integers, in any
// order; −1 is a class like the others.
//
//     double ami = metrics::adjusted_mutual_info(species, clusters);
//     double low = metrics::adjusted_mutual_info(species, clusters, metrics::mutual_information_normalizer::min);
//     auto s = metrics::clustering_scores(species, clusters);       // all of them over one contingency table
//     auto t = metrics::contingency(species, clusters);             // t.cells: (row, column, count) of pairs that occur
//
// Scores that need the points themselves (silhouette and others): cluster/silhouette.hpp.
//
// Identical partitions score exactly 1, all-singleton ones included; scikit-learn 1.2 gives 0 for n = 2 and 4 there, because
// 0/0 is left to rounding. (Fowlkes–Mallows counts pairs that share a cluster; with none of them it is 0, as in scikit-learn.)

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "instar/core/element.hpp"
#include "instar/core/error.hpp"
#include "instar/metrics/detail/expected_mutual_information.hpp"

namespace instar::metrics {

/// What stands for the largest mutual information possible: a mean of the entropies of both labelings.
enum class mutual_information_normalizer { arithmetic, min, max, geometric };

/// How often each label of one labeling meets each of another. Sparse: cells are pairs that occur, by row, then column.
struct contingency_table {
    struct cell {
        std::int32_t row = 0, column = 0;
        std::int64_t count = 0;
    };
    std::int64_t n = 0;
    std::vector<std::int32_t> row_labels, column_labels;  ///< increasing
    std::vector<std::int64_t> row_sums, column_sums;      ///< items of each, at least 1
    std::vector<cell> cells;

    index_t n_rows() const { return static_cast<index_t>(row_labels.size()); }
    index_t n_columns() const { return static_cast<index_t>(column_labels.size()); }
    /// Every column lies in one row, every row in one column.
    bool columns_are_pure() const { return cells.size() == column_labels.size(); }
    bool rows_are_pure() const { return cells.size() == row_labels.size(); }
    bool identical() const { return rows_are_pure() && columns_are_pure(); }
};

namespace detail {

/// The distinct labels, increasing; `ids` gets each item's place among them.
inline std::vector<std::int32_t> distinct_labels(std::span<const std::int32_t> labels, std::vector<std::int32_t>& ids) {
    ids.resize(labels.size());
    if (labels.empty()) return {};
    const auto [low, high] = std::minmax_element(labels.begin(), labels.end());
    const std::int64_t first = *low, range = static_cast<std::int64_t>(*high) - first + 1;
    std::vector<std::int32_t> distinct;
    if (range <= 4 * static_cast<std::int64_t>(labels.size()) + 4096) {
        std::vector<std::int32_t> place(static_cast<std::size_t>(range), 0);
        for (const std::int32_t label : labels) place[static_cast<std::size_t>(label - first)] = 1;
        for (std::int64_t i = 0; i < range; ++i) {
            std::int32_t& p = place[static_cast<std::size_t>(i)];
            if (p == 0) continue;
            p = static_cast<std::int32_t>(distinct.size());
            distinct.push_back(static_cast<std::int32_t>(first + i));
        }
        for (std::size_t i = 0; i < labels.size(); ++i) ids[i] = place[static_cast<std::size_t>(labels[i] - first)];
    } else {
        distinct.assign(labels.begin(), labels.end());
        std::sort(distinct.begin(), distinct.end());
        distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
        for (std::size_t i = 0; i < labels.size(); ++i) {
            ids[i] = static_cast<std::int32_t>(std::lower_bound(distinct.begin(), distinct.end(), labels[i]) -
                                               distinct.begin());
        }
    }
    return distinct;
}

inline contingency_table contingency(const char* op, std::span<const std::int32_t> labels_true,
                                     std::span<const std::int32_t> labels_pred) {
    if (labels_true.size() != labels_pred.size()) {
        throw value_error(std::string(op) + ": labels_true has " + std::to_string(labels_true.size()) +
                          " labels, labels_pred " + std::to_string(labels_pred.size()) + "; they must be as many");
    }
    contingency_table t;
    t.n = static_cast<std::int64_t>(labels_true.size());
    std::vector<std::int32_t> rows, columns;
    t.row_labels = distinct_labels(labels_true, rows);
    t.column_labels = distinct_labels(labels_pred, columns);
    t.row_sums.assign(t.row_labels.size(), 0);
    t.column_sums.assign(t.column_labels.size(), 0);
    for (const std::int32_t r : rows) ++t.row_sums[static_cast<std::size_t>(r)];
    for (const std::int32_t c : columns) ++t.column_sums[static_cast<std::size_t>(c)];
    // The columns of each row's items, row after row.
    std::vector<std::int64_t> begin(t.row_labels.size() + 1, 0);
    std::partial_sum(t.row_sums.begin(), t.row_sums.end(), begin.begin() + 1);
    std::vector<std::int32_t> by_row(rows.size());
    std::vector<std::int64_t> at(begin.begin(), begin.end() - 1);
    for (std::size_t i = 0; i < rows.size(); ++i)
        by_row[static_cast<std::size_t>(at[static_cast<std::size_t>(rows[i])]++)] = columns[i];
    std::vector<std::int64_t> counts(t.column_labels.size(), 0);
    std::vector<std::int32_t> met;
    for (std::size_t r = 0; r < t.row_labels.size(); ++r) {
        met.clear();
        for (std::int64_t i = begin[r]; i < begin[r + 1]; ++i) {
            const std::int32_t c = by_row[static_cast<std::size_t>(i)];
            if (counts[static_cast<std::size_t>(c)]++ == 0) met.push_back(c);
        }
        std::sort(met.begin(), met.end());
        for (const std::int32_t c : met) {
            t.cells.push_back({static_cast<std::int32_t>(r), c, counts[static_cast<std::size_t>(c)]});
            counts[static_cast<std::size_t>(c)] = 0;
        }
    }
    return t;
}

/// −Σ p·ln p of sizes that sum to n, in nats.
inline double entropy(const std::vector<std::int64_t>& sizes, std::int64_t n) {
    compensated_sum h;
    const auto items = static_cast<double>(n);
    for (const std::int64_t size : sizes)
        h.add(static_cast<double>(size) / items * std::log(items / static_cast<double>(size)));
    return h.value();
}

inline double mutual_information(const contingency_table& t) {
    if (t.n_rows() <= 1 || t.n_columns() <= 1) return 0.0;
    compensated_sum mi;
    const auto n = static_cast<double>(t.n);
    for (const auto& c : t.cells) {
        const auto count = static_cast<double>(c.count);
        const double by_chance = static_cast<double>(t.row_sums[static_cast<std::size_t>(c.row)]) *
                                 static_cast<double>(t.column_sums[static_cast<std::size_t>(c.column)]);
        mi.add(count / n * std::log(n * count / by_chance));
    }
    return std::max(0.0, mi.value());
}

inline double normalizing_mean(double a, double b, mutual_information_normalizer kind) {
    switch (kind) {
    case mutual_information_normalizer::min:
        return std::min(a, b);
    case mutual_information_normalizer::max:
        return std::max(a, b);
    case mutual_information_normalizer::geometric:
        return std::sqrt(a * b);
    default:
        return 0.5 * (a + b);
    }
}

inline double adjusted_mutual_info(const contingency_table& t, mutual_information_normalizer normalizer) {
    if (t.identical()) return 1.0;
    // One cluster, or one for each item: no shuffling changes the mutual information, so it is what chance gives.
    if (t.n_rows() == 1 || t.n_columns() == 1 || t.n_rows() == t.n || t.n_columns() == t.n) return 0.0;
    const double expected = expected_mutual_information(t.row_sums, t.column_sums, t.n);
    const double largest = normalizing_mean(entropy(t.row_sums, t.n), entropy(t.column_sums, t.n), normalizer);
    return (mutual_information(t) - expected) / (largest - expected);
}

inline double normalized_mutual_info(const contingency_table& t, mutual_information_normalizer normalizer) {
    if (t.identical()) return 1.0;
    const double mi = mutual_information(t);
    return mi == 0.0 ? 0.0 : mi / normalizing_mean(entropy(t.row_sums, t.n), entropy(t.column_sums, t.n), normalizer);
}

/// The share of a labeling's entropy that the other explains. A labeling without entropy is explained.
inline double homogeneity(const contingency_table& t) {
    return t.columns_are_pure() ? 1.0 : t.n_rows() == 1 ? 1.0 : mutual_information(t) / entropy(t.row_sums, t.n);
}
inline double completeness(const contingency_table& t) {
    return t.rows_are_pure() ? 1.0 : t.n_columns() == 1 ? 1.0 : mutual_information(t) / entropy(t.column_sums, t.n);
}
inline double v_measure(double homogeneity, double completeness, double beta) {
    return homogeneity + completeness == 0.0
               ? 0.0
               : (1.0 + beta) * homogeneity * completeness / (beta * homogeneity + completeness);
}

/// Ordered pairs of items: together in both labelings, in the first, in the second. Integers, so exact below 3·10⁹ items.
struct pair_counts {
    double all = 0.0, both = 0.0, rows = 0.0, columns = 0.0;

    explicit pair_counts(const contingency_table& t) {
        std::int64_t same_cell = 0, same_row = 0, same_column = 0;
        for (const auto& c : t.cells) same_cell += c.count * (c.count - 1);
        for (const std::int64_t s : t.row_sums) same_row += s * (s - 1);
        for (const std::int64_t s : t.column_sums) same_column += s * (s - 1);
        all = static_cast<double>(t.n * (t.n - 1));
        both = static_cast<double>(same_cell);
        rows = static_cast<double>(same_row);
        columns = static_cast<double>(same_column);
    }
};

inline double adjusted_rand_index(const contingency_table& t) {
    if (t.identical()) return 1.0;
    const pair_counts p(t);
    const double fn = p.rows - p.both, fp = p.columns - p.both, tn = p.all - p.rows - fp;
    // Products reach n⁴: in double they lose digits, but never more than 1e-16 of the denominator.
    return 2.0 * (p.both * tn - fn * fp) / (p.rows * (fn + tn) + p.columns * (fp + tn));
}

inline double fowlkes_mallows(const contingency_table& t) {
    const pair_counts p(t);
    if (p.both == 0.0) return 0.0;
    return t.identical() ? 1.0 : std::sqrt(p.both / p.rows) * std::sqrt(p.both / p.columns);
}

inline void check_beta(const char* op, double beta) {
    if (!(beta >= 0.0)) throw value_error(std::string(op) + ": beta must be at least 0, is " + std::to_string(beta));
}

}  // namespace detail

/// How often each label of one labeling meets each of the other.
/// Throws value_error when the lengths differ, as all functions below. Cost: O(n), O(n log n) for labels far apart.
inline contingency_table contingency(std::span<const std::int32_t> labels_true,
                                     std::span<const std::int32_t> labels_pred) {
    return detail::contingency("contingency", labels_true, labels_pred);
}

/// Mutual information in nats: I = Σ p(i,j) · ln(p(i,j) / (p(i)·p(j))), 0 for empty labelings. Symmetric, as are AMI, NMI, ARI,
/// V with beta = 1 and Fowlkes–Mallows.
inline double mutual_info(std::span<const std::int32_t> labels_true, std::span<const std::int32_t> labels_pred) {
    return detail::mutual_information(detail::contingency("mutual_info", labels_true, labels_pred));
}

/// Mutual information adjusted for chance (Vinh, Epps, Bailey, JMLR 11, 2010).
///
///     AMI = (I − E[I]) / (mean(H_true, H_pred) − E[I]),   E over all shufflings of one labeling
///
/// 1 for identical partitions (empty ones too), 0 on average for random ones; below 0 when worse than chance. Exactly 0 when one
/// labeling, but not both, has a single cluster or only singletons.
/// Accurate to 1e-12 or better where scikit-learn, which sums R·C pairs of clusters naively, is to 1e-10.
/// Cost: O(n) + the pairs of distinct cluster sizes, at most 2n; 100,000 items in 5,000 clusters take milliseconds.
inline double adjusted_mutual_info(
    std::span<const std::int32_t> labels_true, std::span<const std::int32_t> labels_pred,
    mutual_information_normalizer normalizer = mutual_information_normalizer::arithmetic) {
    return detail::adjusted_mutual_info(detail::contingency("adjusted_mutual_info", labels_true, labels_pred),
                                        normalizer);
}

/// I / mean(H_true, H_pred), in [0, 1].
inline double normalized_mutual_info(
    std::span<const std::int32_t> labels_true, std::span<const std::int32_t> labels_pred,
    mutual_information_normalizer normalizer = mutual_information_normalizer::arithmetic) {
    return detail::normalized_mutual_info(detail::contingency("normalized_mutual_info", labels_true, labels_pred),
                                          normalizer);
}

/// Agreement on pairs of items, adjusted for chance (Hubert and Arabie, J. Classification 2, 1985); 1 for empty labelings.
inline double adjusted_rand_index(std::span<const std::int32_t> labels_true,
                                  std::span<const std::int32_t> labels_pred) {
    return detail::adjusted_rand_index(detail::contingency("adjusted_rand_index", labels_true, labels_pred));
}

/// I / H_true: 1 when every cluster holds one class (Rosenberg and Hirschberg, EMNLP 2007).
inline double homogeneity(std::span<const std::int32_t> labels_true, std::span<const std::int32_t> labels_pred) {
    return detail::homogeneity(detail::contingency("homogeneity", labels_true, labels_pred));
}

/// I / H_pred: 1 when every class lies in one cluster.
inline double completeness(std::span<const std::int32_t> labels_true, std::span<const std::int32_t> labels_pred) {
    return detail::completeness(detail::contingency("completeness", labels_true, labels_pred));
}

/// V = (1 + beta)·h·c / (beta·h + c) of homogeneity h and completeness c; beta > 1 weighs completeness more. Throws value_error
/// for beta < 0.
inline double v_measure(std::span<const std::int32_t> labels_true, std::span<const std::int32_t> labels_pred,
                        double beta = 1.0) {
    detail::check_beta("v_measure", beta);
    const auto t = detail::contingency("v_measure", labels_true, labels_pred);
    return detail::v_measure(detail::homogeneity(t), detail::completeness(t), beta);
}

/// Geometric mean of the precision and recall of pairs (JASA 78, 1983); 0 when no pair shares a cluster in both.
inline double fowlkes_mallows(std::span<const std::int32_t> labels_true, std::span<const std::int32_t> labels_pred) {
    return detail::fowlkes_mallows(detail::contingency("fowlkes_mallows", labels_true, labels_pred));
}

/// All of the above, with the arithmetic normaliser.
struct clustering_report {
    index_t n_items = 0, n_classes = 0, n_clusters = 0;
    double adjusted_mutual_info = 0.0, normalized_mutual_info = 0.0, mutual_info = 0.0;
    double adjusted_rand_index = 0.0, fowlkes_mallows = 0.0;
    double homogeneity = 0.0, completeness = 0.0, v_measure = 0.0;
};

/// Throws value_error when the lengths differ.
inline clustering_report clustering_scores(std::span<const std::int32_t> labels_true,
                                           std::span<const std::int32_t> labels_pred) {
    const auto t = detail::contingency("clustering_scores", labels_true, labels_pred);
    constexpr auto arithmetic = mutual_information_normalizer::arithmetic;
    clustering_report r{.n_items = t.n, .n_classes = t.n_rows(), .n_clusters = t.n_columns()};
    r.adjusted_mutual_info = detail::adjusted_mutual_info(t, arithmetic);
    r.normalized_mutual_info = detail::normalized_mutual_info(t, arithmetic);
    r.mutual_info = detail::mutual_information(t);
    r.adjusted_rand_index = detail::adjusted_rand_index(t);
    r.fowlkes_mallows = detail::fowlkes_mallows(t);
    r.homogeneity = detail::homogeneity(t);
    r.completeness = detail::completeness(t);
    r.v_measure = detail::v_measure(r.homogeneity, r.completeness, 1.0);
    return r;
}

}  // namespace instar::metrics

#endif
