#ifndef INSTAR_METRICS_DETAIL_EXPECTED_MUTUAL_INFORMATION_HPP
#define INSTAR_METRICS_DETAIL_EXPECTED_MUTUAL_INFORMATION_HPP

// Mutual information of two labelings expected by chance: the average over all ways of shuffling one of them (Vinh, Epps,
// Bailey, JMLR 11, 2010). What adjusts the adjusted mutual information.
//
//     double e = expected_mutual_information(row_sums, column_sums, n);     // nats
//
// A cluster of a items and one of b share k of n items with hypergeometric probability p(k), of mean μ = a·b/n, and
//
//     E = Σ_{a,b} Σ_k p(k) · (k/n) · ln(k/μ)  =  (1/n) · Σ_{a,b} Σ_k p(k) · [k·ln(k/μ) − (k − μ)]
//
// The second form holds because k − μ averages to zero. It has no negative term, so that nothing cancels, and μ's own rounding
// has no effect of first order. Four more things make it quick and exact:
//
//  - a term depends on the two sizes alone, and sizes repeat: R·C pairs of clusters hold at most 2n pairs of distinct sizes;
//  - p is found from its mode outwards by p(k+1)/p(k) = (a−k)(b−k) / ((k+1)(n−a−b+k+1)) and divided by its own sum, so that no
//    logarithms of factorials near n·ln n are subtracted from each other;
//  - both tails end where they no longer count, some nine standard deviations away;
//  - sums carry their rounding error along.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "instar/core/element.hpp"

namespace instar::metrics::detail {

/// A sum that remembers what rounding took from it (Neumaier 1974).
class compensated_sum {
public:
    void add(double x) {
        const double s = sum_ + x;
        lost_ += std::fabs(sum_) >= std::fabs(x) ? (sum_ - s) + x : (x - s) + sum_;
        sum_ = s;
    }
    double value() const { return sum_ + lost_; }

private:
    double sum_ = 0.0, lost_ = 0.0;
};

/// (size, how many clusters have it), by increasing size.
inline std::vector<std::pair<double, double>> distinct_sizes(std::vector<std::int64_t> sizes) {
    std::sort(sizes.begin(), sizes.end());
    std::vector<std::pair<double, double>> distinct;
    for (const std::int64_t size : sizes) {
        const auto s = static_cast<double>(size);
        if (distinct.empty() || distinct.back().first != s) distinct.emplace_back(s, 0.0);
        distinct.back().second += 1.0;
    }
    return distinct;
}

/// Σ_k p(k) · [k·ln(k/μ) − (k − μ)] for clusters of a and b of n items.
inline double expected_overlap_information(double a, double b, double n) {
    const double mean = a * b / n, first = std::max(0.0, a + b - n), last = std::min(a, b);
    const double mode = std::clamp(std::floor((a + 1.0) * (b + 1.0) / (n + 2.0)), first, last);
    const auto gain = [&](double k) { return k == 0.0 ? mean : k * std::log1p((k - mean) / mean) - (k - mean); };
    // Relative to p(mode); the terms rise and fall once, so the first that does not count ends its side.
    constexpr double k_negligible = 1e-18;
    double sum_p = 1.0, sum = gain(mode);
    const double rest = n - a - b;
    double p = 1.0;
    for (double k = mode; k < last; k += 1.0) {
        p *= (a - k) * (b - k) / ((k + 1.0) * (rest + k + 1.0));
        const double term = p * gain(k + 1.0);
        sum_p += p;
        sum += term;
        if (term < k_negligible * sum && k > mean) break;
    }
    p = 1.0;
    for (double k = mode; k > first; k -= 1.0) {
        p *= k * (rest + k) / ((a - k + 1.0) * (b - k + 1.0));
        const double term = p * gain(k - 1.0);
        sum_p += p;
        sum += term;
        if (term < k_negligible * sum && k < mean) break;
    }
    return sum / sum_p;
}

/// In nats. Sizes are positive and sum to n on both sides; 0 for n = 0.
inline double expected_mutual_information(const std::vector<std::int64_t>& row_sums,
                                          const std::vector<std::int64_t>& column_sums, std::int64_t n) {
    if (n <= 0) return 0.0;
    const auto rows = distinct_sizes(row_sums), columns = distinct_sizes(column_sums);
    const auto items = static_cast<double>(n);
    compensated_sum total;
    for (const auto& [a, n_a] : rows) {
        for (const auto& [b, n_b] : columns) total.add(n_a * n_b * expected_overlap_information(a, b, items));
    }
    return total.value() / items;
}

}  // namespace instar::metrics::detail

#endif
