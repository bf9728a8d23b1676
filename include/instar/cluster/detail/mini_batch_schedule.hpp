#ifndef INSTAR_CLUSTER_DETAIL_MINI_BATCH_SCHEDULE_HPP
#define INSTAR_CLUSTER_DETAIL_MINI_BATCH_SCHEDULE_HPP

// What mini-batch k-means decides on the host, whatever the device: which rows are drawn, which centres start anew, when it is over.
//
//     const index_t row = mini_batch_row(rng, i, n);              // draw i of a batch, also in kernels
//     for (const auto& [center, row] : counts.after_step(m)) …    // centre to that row of the batch
//     run_mini_batches(n, batch, options, tolerance, step, result);

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "instar/cluster/kmeans.hpp"

namespace instar::cluster::detail {

/// below() takes 32 bits; rows beyond are reached by two draws.
INSTAR_HOST_DEVICE inline index_t mini_batch_row(const philox& own, index_t i, index_t n) {
    const std::uint64_t high = own.bits(static_cast<std::uint64_t>(2 * i)), low = own.bits(static_cast<std::uint64_t>(2 * i + 1));
    return static_cast<index_t>((high << 32 | low) % static_cast<std::uint64_t>(n));
}

template <class Options>
void check_mini_batch(const char* argument, tensor_view<const float, 2> x, const Options& o) {
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

inline void check_mini_batch_columns(tensor_view<const float, 2> batch, index_t d) {
    if (batch.extent(1) != d) throw shape_error("mini_batch_kmeans: the batch has " + std::to_string(batch.extent(1)) + " columns, expected " + std::to_string(d));
    instar::detail::check_unit_stride("mini_batch_kmeans", "batch", batch);
}

/// Streams of random numbers: of a state (its seedings and new starts) and of the batches.
inline philox mini_batch_state_rng(std::uint64_t seed) { return {seed, 0x6d62}; }
inline philox mini_batch_draws_rng(std::uint64_t seed) { return {seed, 0x6d69}; }

template <class Options>
index_t mini_batch_init_size(index_t n, index_t batch, const Options& o) {
    const index_t size = o.init_size != 0 ? o.init_size : 3 * batch;
    return std::min(n, size < o.n_clusters ? 3 * o.n_clusters : size);
}

/// How many rows each centre was given, and which centres start anew.
class mini_batch_counts {
public:
    mini_batch_counts(index_t k, double ratio, philox rng) : each(static_cast<std::size_t>(k), 0.0), ratio_(ratio), rng_(rng) {}

    std::vector<double> each;

    /// After a batch of m rows was added to `each`. Centres with too few points, half a batch of them at most, are to go to random rows of the
    /// batch, (centre, row), with the count of the poorest of the rest; that count they have on return.
    std::vector<std::pair<index_t, index_t>> after_step(index_t m) {
        const auto k = static_cast<index_t>(each.size());
        std::vector<std::pair<index_t, index_t>> moves;
        seen_ += m;
        if (std::find(each.begin(), each.end(), 0.0) != each.end() || seen_ >= 10 * k) {
            seen_ = 0;
            moves = reassign(m);
        }
        ++n_steps_;
        return moves;
    }

private:
    std::vector<std::pair<index_t, index_t>> reassign(index_t m) {
        if (!(ratio_ > 0.0)) return {};
        const double least = ratio_ * *std::max_element(each.begin(), each.end());
        std::vector<index_t> poor;
        for (std::size_t c = 0; c < each.size(); ++c) {
            if (each[c] < least) poor.push_back(static_cast<index_t>(c));
        }
        std::sort(poor.begin(), poor.end(), [&](index_t a, index_t b) { return std::pair(each[static_cast<std::size_t>(a)], a) < std::pair(each[static_cast<std::size_t>(b)], b); });
        if (2 * static_cast<index_t>(poor.size()) > m) poor.resize(static_cast<std::size_t>(m / 2));
        if (poor.empty()) return {};
        std::vector<char> is_poor(each.size(), 0);
        for (const index_t c : poor) is_poor[static_cast<std::size_t>(c)] = 1;
        double others = std::numeric_limits<double>::infinity();
        for (std::size_t c = 0; c < each.size(); ++c) {
            if (!is_poor[c]) others = std::min(others, each[c]);
        }
        if (!std::isfinite(others)) others = 0.0;
        const philox draws = rng_.fork(1'000'000 + static_cast<std::uint64_t>(n_steps_));
        const std::vector<index_t> rows = first_of_shuffle(m, static_cast<index_t>(poor.size()), draws);
        std::vector<std::pair<index_t, index_t>> moves;
        for (std::size_t r = 0; r < poor.size(); ++r) {
            moves.emplace_back(poor[r], rows[r]);
            each[static_cast<std::size_t>(poor[r])] = others;
        }
        return moves;
    }

    double ratio_;
    philox rng_;
    index_t seen_ = 0, n_steps_ = 0;
};

/// Batches until one of the rules stops them; sets n_iter and converged. step(rng, shift): draws a batch by rng and learns from it, returns
/// its inertia before.
template <class Options, class Step>
void run_mini_batches(index_t n, index_t batch, const Options& o, double mean_variance, Step&& step, kmeans_result& result) {
    const philox rng = mini_batch_draws_rng(o.seed);
    const index_t n_steps = std::max<index_t>(1, o.max_iter * n / batch);
    const double alpha = std::min(1.0, 2.0 * static_cast<double>(batch) / static_cast<double>(n + 1)), tolerance = o.tol * mean_variance;
    double smooth = 0.0, lowest = std::numeric_limits<double>::infinity();
    index_t done = 0, without_improvement = 0;
    while (done < n_steps && !result.converged) {
        double shift = 0.0;
        const double inertia = step(rng.fork(1 + static_cast<std::uint64_t>(done)), shift);
        ++done;
        if (o.progress) o.progress(done, n_steps);
        if (done == 1) continue;  // the inertia of the start, on rows it was not made for: no measure of improvement
        smooth = done == 2 ? inertia : smooth * (1.0 - alpha) + inertia * alpha;
        without_improvement = smooth < lowest ? 0 : without_improvement + 1;
        lowest = std::min(lowest, smooth);
        result.converged = (o.tol > 0.0 && shift <= tolerance) || (o.max_no_improvement > 0 && without_improvement >= o.max_no_improvement);
    }
    result.n_iter = (done * batch + n - 1) / n;
}

}  // namespace instar::cluster::detail

#endif
