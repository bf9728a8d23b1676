#ifndef INSTAR_CLUSTER_MINI_BATCH_KMEANS_HPP
#define INSTAR_CLUSTER_MINI_BATCH_KMEANS_HPP

// k-means from small random batches: for so many rows that a pass over all of them is long. Not exact; near it.
//
//     auto result = cluster::mini_batch_kmeans(ctx, x, {.n_clusters = 1000, .batch_size = 4096, .seed = 7});
//     result.labels(i);                                                   // of all rows, at the end
//
//     cluster::mini_batch_state state(ctx, first_rows, {.n_clusters = 100});      // or batch by batch, as they come
//     state.partial_fit(ctx, more_rows);
//     auto labels = cluster::kmeans_predict(ctx, y, state.centers());
//
// Options have scikit-learn's names and meanings (MiniBatchKMeans). x is never copied: beside the result, memory is that of a batch, of
// the starting sample and of the centres.

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "instar/cluster/kmeans.hpp"

namespace instar::cluster {

struct mini_batch_kmeans_options {
    index_t n_clusters = 8;
    kmeans_init init = kmeans_init::kmeans_plus_plus;
    index_t n_init = 3;               ///< starts that are compared on a sample; the batches begin from the best one
    index_t max_iter = 100;           ///< times that all rows are drawn, on average
    index_t batch_size = 1024;
    double tol = 0.0;                 ///< stop when Σ ‖move of a centre‖² of a batch ≤ tol · mean variance of the features; 0 = never
    index_t max_no_improvement = 10;  ///< batches without a new low of the smoothed inertia before it stops; 0 = no limit
    index_t init_size = 0;            ///< rows of the starting sample; 0 = three batches, or 3·n_clusters where that is more
    double reassignment_ratio = 0.01; ///< centres with fewer points than this share of the largest one's start anew
    std::uint64_t seed = 0;
    std::function<void(index_t done, index_t total)> progress = {};  ///< after each batch; may throw to stop
};

/// Centres that learn batch by batch.
class mini_batch_state {
public:
    /// Starts from a sample: the best of n_init seedings by its inertia there. Throws as mini_batch_kmeans does.
    mini_batch_state(cpu_context& ctx, tensor_view<const float, 2> sample, const mini_batch_kmeans_options& options)
        : options_(options), k_(options.n_clusters), d_(sample.extent(1)), centers_({options.n_clusters < 1 ? 0 : options.n_clusters, sample.extent(1)}), mean_(static_cast<std::size_t>(sample.extent(1)), 0.0),
          count_(static_cast<std::size_t>(options.n_clusters < 1 ? 0 : options.n_clusters), 0.0), rng_{options.seed, 0x6d62} {
        check("sample", sample, options);
        detail::check_kmeans_values(ctx, "mini_batch_kmeans", "sample", sample);
        const index_t n = sample.extent(0);
        for (index_t r = 0; r < n; ++r) {
            for (index_t c = 0; c < d_; ++c) mean_[static_cast<std::size_t>(c)] += static_cast<double>(sample(r, c)) / static_cast<double>(n);
        }
        const detail::kmeans_points points(ctx, sample, false);
        tensor<float, 2> best({k_, d_}), rows({n, d_});
        centre(rows.view(), sample);
        std::vector<std::int32_t> labels(static_cast<std::size_t>(n));
        double lowest = std::numeric_limits<double>::infinity();
        for (index_t run = 0; run < options.n_init; ++run) {
            const philox own = rng_.fork(static_cast<std::uint64_t>(run));
            std::vector<index_t> chosen;
            if (options.init == kmeans_init::kmeans_plus_plus && k_ > 1) {
                chosen = detail::kmeans_seeding(ctx, points).choose(ctx, k_, own);
            } else {
                // The first k of a shuffle.
                std::vector<index_t> all(static_cast<std::size_t>(n));
                std::iota(all.begin(), all.end(), index_t{0});
                for (index_t c = 0; c < k_; ++c) {
                    std::swap(all[static_cast<std::size_t>(c)], all[static_cast<std::size_t>(c) + own.below(static_cast<std::uint64_t>(c), static_cast<std::uint32_t>(n - c))]);
                    chosen.push_back(all[static_cast<std::size_t>(c)]);
                }
            }
            // From the sample itself: `points` may have been rounded about another mean.
            for (index_t c = 0; c < k_; ++c) std::copy_n(&rows(points.original(chosen[static_cast<std::size_t>(c)]), 0), d_, &centers_(c, 0));
            const double inertia = assign(ctx, labels.data(), rows.view());
            if (!(inertia < lowest)) continue;
            lowest = inertia;
            std::copy(centers_.begin(), centers_.end(), best.begin());
        }
        std::copy(best.begin(), best.end(), centers_.begin());
        variance_ = points.mean_variance();
    }

    /// One step: every row of the batch to its nearest centre, every centre to the mean of all rows it was ever given (Sculley 2010: a step
    /// of 1/count towards each). Returns the batch's inertia before the step; `shift`, if given, Σ ‖move of a centre‖².
    double partial_fit(cpu_context& ctx, tensor_view<const float, 2> batch, double* shift = nullptr) {
        if (batch.extent(1) != d_) throw shape_error("mini_batch_kmeans: the batch has " + std::to_string(batch.extent(1)) + " columns, expected " + std::to_string(d_));
        instar::detail::check_unit_stride("mini_batch_kmeans", "batch", batch);
        detail::check_kmeans_values(ctx, "mini_batch_kmeans", "batch", batch);
        return step(ctx, batch, shift);
    }

    /// [n_clusters, d], where the rows are.
    tensor<float, 2> centers() const {
        tensor<float, 2> c({k_, d_});
        for (index_t i = 0; i < k_; ++i) {
            for (index_t p = 0; p < d_; ++p) c(i, p) = static_cast<float>(static_cast<double>(centers_(i, p)) + mean_[static_cast<std::size_t>(p)]);
        }
        return c;
    }
    /// Rows that each centre was given.
    const std::vector<double>& counts() const noexcept { return count_; }
    /// Of the starting sample, over features.
    double mean_variance() const noexcept { return variance_; }

    static void check(const char* argument, tensor_view<const float, 2> x, const mini_batch_kmeans_options& o) {
        const auto at_least = [](const char* name, index_t value, index_t least) {
            if (value < least) throw value_error(std::string("mini_batch_kmeans: ") + name + " must be at least " + std::to_string(least) + ", is " + std::to_string(value));
        };
        instar::detail::check_unit_stride("mini_batch_kmeans", argument, x);
        at_least("n_clusters", o.n_clusters, 1);
        if (x.extent(0) < o.n_clusters) throw value_error("mini_batch_kmeans: " + std::to_string(x.extent(0)) + " rows are fewer than n_clusters, " + std::to_string(o.n_clusters));
        if (x.extent(1) < 1) throw value_error(std::string("mini_batch_kmeans: ") + argument + " has no columns");
        at_least("n_init", o.n_init, 1);
        at_least("max_iter", o.max_iter, 1);
        at_least("batch_size", o.batch_size, 1);
        at_least("max_no_improvement", o.max_no_improvement, 0);
        if (o.init_size != 0) at_least("init_size", o.init_size, o.n_clusters);
        if (!(o.tol >= 0.0)) throw value_error("mini_batch_kmeans: tol must not be negative, is " + std::to_string(o.tol));
        if (!(o.reassignment_ratio >= 0.0 && o.reassignment_ratio < 1.0)) {
            throw value_error("mini_batch_kmeans: reassignment_ratio must be in [0, 1), is " + std::to_string(o.reassignment_ratio));
        }
    }

private:
    double step(cpu_context& ctx, tensor_view<const float, 2> batch, double* shift) {
        const index_t m = batch.extent(0);
        if (m == 0) return 0.0;
        tensor<float, 2> rows({m, d_});
        centre(rows.view(), batch);
        std::vector<std::int32_t> labels(static_cast<std::size_t>(m));
        const double inertia = assign(ctx, labels.data(), rows.view());
        std::vector<std::vector<index_t>> members(static_cast<std::size_t>(k_));
        for (index_t i = 0; i < m; ++i) members[static_cast<std::size_t>(labels[static_cast<std::size_t>(i)])].push_back(i);
        std::vector<double> moved(static_cast<std::size_t>(k_), 0.0);
        parallel_for(ctx, k_, 16, [&](index_t begin, index_t end) {
            std::vector<double> sum(static_cast<std::size_t>(d_));
            for (index_t c = begin; c < end; ++c) {
                const auto& mine = members[static_cast<std::size_t>(c)];
                if (mine.empty()) continue;
                double& count = count_[static_cast<std::size_t>(c)];
                for (index_t p = 0; p < d_; ++p) sum[static_cast<std::size_t>(p)] = static_cast<double>(centers_(c, p)) * count;
                for (const index_t i : mine) {
                    for (index_t p = 0; p < d_; ++p) sum[static_cast<std::size_t>(p)] += static_cast<double>(rows(i, p));
                }
                count += static_cast<double>(mine.size());
                for (index_t p = 0; p < d_; ++p) {
                    const float to = static_cast<float>(sum[static_cast<std::size_t>(p)] / count);
                    const double by = static_cast<double>(to) - static_cast<double>(centers_(c, p));
                    moved[static_cast<std::size_t>(c)] += by * by;
                    centers_(c, p) = to;
                }
            }
        });
        if (shift != nullptr) *shift = std::accumulate(moved.begin(), moved.end(), 0.0);
        seen_ += m;
        if (std::find(count_.begin(), count_.end(), 0.0) != count_.end() || seen_ >= 10 * k_) {
            seen_ = 0;
            reassign(rows.view());
        }
        ++n_steps_;
        return inertia;
    }

    void centre(tensor_view<float, 2> to, tensor_view<const float, 2> from) const {
        for (index_t r = 0; r < from.extent(0); ++r) {
            for (index_t c = 0; c < d_; ++c) to(r, c) = static_cast<float>(static_cast<double>(from(r, c)) - mean_[static_cast<std::size_t>(c)]);
        }
    }

    /// Nearest centres of rows about the mean: the largest x·c − ‖c‖²/2, tiles of a product. Returns Σ ‖x − its centre‖², in double.
    double assign(cpu_context& ctx, std::int32_t* labels, tensor_view<const float, 2> rows) const {
        constexpr index_t k_rows = 128, k_width = 256;
        const index_t n = rows.extent(0), n_parts = (n + k_rows - 1) / k_rows;
        std::vector<float> half(static_cast<std::size_t>(k_));
        std::vector<std::int32_t> names(half.size());
        std::iota(names.begin(), names.end(), 0);
        for (index_t c = 0; c < k_; ++c) {
            double norm = 0.0;
            for (index_t p = 0; p < d_; ++p) norm += static_cast<double>(centers_(c, p)) * static_cast<double>(centers_(c, p));
            half[static_cast<std::size_t>(c)] = static_cast<float>(-0.5 * norm);
        }
        std::vector<double> part(static_cast<std::size_t>(n_parts), 0.0);
        parallel_for(ctx, n_parts, 1, [&](index_t begin, index_t end) {
            std::vector<float> scores(static_cast<std::size_t>(k_rows * k_width));
            float best[k_rows];
            for (index_t b = begin; b < end; ++b) {
                const index_t first = b * k_rows, m = std::min(k_rows, n - first);
                std::fill_n(best, m, -std::numeric_limits<float>::infinity());
                std::fill_n(labels + first, m, 0);
                for (index_t j = 0; j < k_; j += k_width) {
                    const index_t width = std::min(k_width, k_ - j);
                    ops::cpu::gemm_serial({.m = m, .n = width, .k = d_, .a = &rows(first, 0), .lda = d_, .b = &centers_(j, 0), .ldb = d_, .transpose_b = true, .c = scores.data(), .ldc = k_width, .bias = half.data() + j});
                    INSTAR_SIMD_PICK(kmeans_best)(best, labels + first, scores.data(), k_width, m, width, names.data() + j);
                }
                for (index_t i = first; i < first + m; ++i) {
                    for (index_t p = 0; p < d_; ++p) {
                        const double by = static_cast<double>(rows(i, p)) - static_cast<double>(centers_(labels[i], p));
                        part[static_cast<std::size_t>(b)] += by * by;
                    }
                }
            }
        });
        return std::accumulate(part.begin(), part.end(), 0.0);
    }

    /// Centres with too few points, half a batch of them at most, go to random rows of the batch, with the count of the poorest of the rest.
    void reassign(tensor_view<const float, 2> rows) {
        if (!(options_.reassignment_ratio > 0.0)) return;
        const double least = options_.reassignment_ratio * *std::max_element(count_.begin(), count_.end());
        std::vector<index_t> poor;
        for (index_t c = 0; c < k_; ++c) {
            if (count_[static_cast<std::size_t>(c)] < least) poor.push_back(c);
        }
        std::sort(poor.begin(), poor.end(), [&](index_t a, index_t b) { return std::pair(count_[static_cast<std::size_t>(a)], a) < std::pair(count_[static_cast<std::size_t>(b)], b); });
        if (2 * static_cast<index_t>(poor.size()) > rows.extent(0)) poor.resize(static_cast<std::size_t>(rows.extent(0) / 2));
        if (poor.empty()) return;
        double others = std::numeric_limits<double>::infinity();
        for (index_t c = 0; c < k_; ++c) {
            if (std::find(poor.begin(), poor.end(), c) == poor.end()) others = std::min(others, count_[static_cast<std::size_t>(c)]);
        }
        if (!std::isfinite(others)) others = 0.0;
        const philox draws = rng_.fork(1'000'000 + static_cast<std::uint64_t>(n_steps_));
        std::vector<index_t> all(static_cast<std::size_t>(rows.extent(0)));
        std::iota(all.begin(), all.end(), index_t{0});
        for (std::size_t r = 0; r < poor.size(); ++r) {
            std::swap(all[r], all[r + draws.below(static_cast<std::uint64_t>(r), static_cast<std::uint32_t>(all.size() - r))]);
            std::copy_n(&rows(all[r], 0), d_, &centers_(poor[r], 0));
            count_[static_cast<std::size_t>(poor[r])] = others;
        }
    }

    mini_batch_kmeans_options options_;
    index_t k_, d_;
    tensor<float, 2> centers_;   // about mean_, which keeps floats small
    std::vector<double> mean_, count_;
    philox rng_;
    double variance_ = 0.0;
    index_t seen_ = 0, n_steps_ = 0;
};

/// Mini-batch k-means (Sculley, "Web-scale k-means clustering", WWW 2010), as scikit-learn's MiniBatchKMeans.
///
/// | argument | shape  | element       |
/// |----------|--------|---------------|
/// | x        | [n, d] | float, finite |
///
/// Batches are drawn with replacement. Stops after max_iter · n / batch_size batches, when tol is reached, or when the exponentially
/// smoothed inertia of batches has had no new low for max_no_improvement of them. Then every row gets its nearest centre;
/// result.inertia is of all rows, n_iter the number of times that n rows were drawn, rounded up, converged whether it stopped early.
///
/// Same bits for any number of threads. Cost: 2·batch_size·k·d FLOP a batch, 2·n·k·d at the end. Throws value_error before any work: a
/// value that is not finite (row and column named), n < n_clusters, options outside their range.
inline kmeans_result mini_batch_kmeans(cpu_context& ctx, tensor_view<const float, 2> x, const mini_batch_kmeans_options& options = {}) {
    mini_batch_state::check("x", x, options);
    detail::check_kmeans_values(ctx, "mini_batch_kmeans", "x", x);
    const index_t n = x.extent(0), d = x.extent(1), k = options.n_clusters, batch = std::min(n, options.batch_size);
    index_t init_size = options.init_size != 0 ? options.init_size : 3 * batch;
    if (init_size < k) init_size = 3 * k;
    init_size = std::min(n, init_size);
    const philox rng{options.seed, 0x6d69};
    const auto draw = [&](tensor_view<float, 2> rows, philox own) {
        for (index_t i = 0; i < rows.extent(0); ++i) {
            // below() takes 32 bits; rows beyond are reached by two draws.
            const auto high = static_cast<std::uint64_t>(own.bits(static_cast<std::uint64_t>(2 * i))), low = static_cast<std::uint64_t>(own.bits(static_cast<std::uint64_t>(2 * i + 1)));
            const auto row = static_cast<index_t>((high << 32 | low) % static_cast<std::uint64_t>(n));
            std::copy_n(&x(row, 0), d, &rows(i, 0));
        }
    };
    tensor<float, 2> rows({init_size, d});
    if (init_size == n) {
        for (index_t i = 0; i < n; ++i) std::copy_n(&x(i, 0), d, &rows(i, 0));
    } else {
        draw(rows.view(), rng.fork(0));
    }
    mini_batch_state state(ctx, rows.view(), options);
    rows = tensor<float, 2>({batch, d});
    kmeans_result result;
    const index_t n_steps = std::max<index_t>(1, options.max_iter * n / batch);
    const double alpha = std::min(1.0, 2.0 * static_cast<double>(batch) / static_cast<double>(n + 1)), tolerance = options.tol * state.mean_variance();
    double smooth = 0.0, lowest = std::numeric_limits<double>::infinity();
    index_t done = 0, without_improvement = 0;
    while (done < n_steps && !result.converged) {
        draw(rows.view(), rng.fork(1 + static_cast<std::uint64_t>(done)));
        double shift = 0.0;
        const double inertia = state.partial_fit(ctx, rows.view(), &shift);
        ++done;
        if (options.progress) options.progress(done, n_steps);
        if (done == 1) continue;  // the inertia of the start, on rows it was not made for: no measure of improvement
        smooth = done == 2 ? inertia : smooth * (1.0 - alpha) + inertia * alpha;
        without_improvement = smooth < lowest ? 0 : without_improvement + 1;
        lowest = std::min(lowest, smooth);
        result.converged = (options.tol > 0.0 && shift <= tolerance) || (options.max_no_improvement > 0 && without_improvement >= options.max_no_improvement);
    }
    result.n_iter = (done * batch + n - 1) / n;
    result.centers = state.centers();
    result.labels = kmeans_predict(ctx, x, result.centers.view());
    std::vector<char> used(static_cast<std::size_t>(k), 0);
    for (index_t i = 0; i < n; ++i) {
        used[static_cast<std::size_t>(result.labels(i))] = 1;
        for (index_t p = 0; p < d; ++p) {
            const double by = static_cast<double>(x(i, p)) - static_cast<double>(result.centers(result.labels(i), p));
            result.inertia += by * by;
        }
    }
    result.n_nonempty = std::accumulate(used.begin(), used.end(), index_t{0});
    return result;
}

}  // namespace instar::cluster

#endif
