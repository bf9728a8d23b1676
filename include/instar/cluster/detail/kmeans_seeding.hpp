#ifndef INSTAR_CLUSTER_DETAIL_KMEANS_SEEDING_HPP
#define INSTAR_CLUSTER_DETAIL_KMEANS_SEEDING_HPP

// Greedy k-means++ (Arthur, Vassilvitskii 2007, section 5; scikit-learn's variant): each step draws 2 + ⌊ln k⌋ candidates with probability
// proportional to the squared distance to the nearest centre so far, and keeps the one that lowers the sum of those distances most.
//
//     kmeans_seeding seeding(ctx, points);
//     std::vector<index_t> chosen = seeding.choose(ctx, k, rng);      // places in the order of `points`
//
// Half the work of a k-means run. Points lie in panels of sixteen, so that a candidate's distances to a panel are vertical operations; a
// block of points is skipped when the candidate is so far from its ball that it can be nearest to none of them.

#include <numeric>

#include "instar/cluster/detail/kmeans_points.hpp"
#include "instar/core/philox.hpp"

namespace instar::cluster::detail {

class kmeans_seeding {
public:
    kmeans_seeding(cpu_context& ctx, const kmeans_points& points)
        : points_(points),
          panels_({points.n_blocks() * k_kmeans_block * points.d()}),
          norms_({points.n_blocks() * k_kmeans_block}),
          nearest_({points.n_blocks() * k_kmeans_block}),
          block_panels_({block_room() * points.d()}),
          block_norms_({block_room()}),
          sum_(static_cast<std::size_t>(points.n_blocks())),
          reach_(sum_.size()) {
        for (index_t b = 0; b < points.n_blocks(); ++b) {
            double norm = 0.0;
            for (index_t c = 0; c < points.d(); ++c) {
                const float v = points.block_center(b)[c];
                block_panels_.data()[(b / k_kmeans_panel * points.d() + c) * k_kmeans_panel + b % k_kmeans_panel] = v;
                norm += static_cast<double>(v) * static_cast<double>(v);
            }
            block_norms_(b) = static_cast<float>(norm);
        }
        parallel_for(ctx, points.n_blocks(), 4, [&](index_t begin, index_t end) {
            for (index_t i = points.first(begin); i < points.last(end - 1); ++i) {
                float* const to = panels_.data() + i / k_kmeans_panel * k_kmeans_panel * points.d() + i % k_kmeans_panel;
                for (index_t c = 0; c < points.d(); ++c) to[c * k_kmeans_panel] = points.row(i)[c];
                norms_(i) = points.norm(i);
            }
        });
    }

    std::vector<index_t> choose(cpu_context& ctx, index_t k, philox rng) {
        const index_t n = points_.n(), d = points_.d(), n_blocks = points_.n_blocks();
        const auto n_trials = 2 + static_cast<index_t>(std::log(static_cast<double>(k)));
        std::vector<index_t> chosen{std::min(n - 1, static_cast<index_t>(static_cast<double>(n) * uniform(rng, 0)))};
        for (index_t i = 0; i < n; ++i) nearest_(i) = std::numeric_limits<float>::max();
        for (index_t i = n; i < nearest_.size(); ++i) nearest_(i) = 0.0f;  // no point: nothing to gain
        std::fill(reach_.begin(), reach_.end(), std::numeric_limits<double>::infinity());
        double potential = lower(ctx, chosen[0]);
        std::vector<float> candidates(static_cast<std::size_t>(n_trials * d)), candidate_norms(static_cast<std::size_t>(n_trials));
        std::vector<index_t> drawn(candidate_norms.size());
        std::vector<double> gains(static_cast<std::size_t>(n_blocks * n_trials));
        for (index_t step = 1; step < k; ++step) {
            if (!(potential > 0.0)) {
                // Every point coincides with a centre: the rest of the centres are copies, and their clusters stay empty.
                chosen.push_back(chosen.back());
                continue;
            }
            for (index_t t = 0; t < n_trials; ++t) {
                const index_t i = draw(potential * uniform(rng, static_cast<std::uint64_t>(step * n_trials + t)));
                drawn[static_cast<std::size_t>(t)] = i;
                std::copy_n(points_.row(i), d, candidates.data() + t * d);
                candidate_norms[static_cast<std::size_t>(t)] = points_.norm(i);
            }
            measure_blocks(candidates.data(), candidate_norms.data(), n_trials);
            parallel_for(ctx, n_blocks, grain(), [&](index_t begin, index_t end) {
                std::vector<float> near(candidates.size()), near_norms(candidate_norms.size());
                std::vector<double> near_gains(candidate_norms.size());
                for (index_t b = begin; b < end; ++b) {
                    double* const own = gains.data() + b * n_trials;
                    std::fill_n(own, n_trials, 0.0);
                    // Those that reach into the block, side by side.
                    index_t n_near = 0;
                    std::int32_t who[64];
                    for (index_t t = 0; t < n_trials; ++t) {
                        if (!reaches(b, t, candidate_norms[static_cast<std::size_t>(t)])) continue;
                        std::copy_n(candidates.data() + t * d, d, near.data() + n_near * d);
                        near_norms[static_cast<std::size_t>(n_near)] = candidate_norms[static_cast<std::size_t>(t)];
                        who[n_near++] = static_cast<std::int32_t>(t);
                    }
                    if (n_near == 0) continue;
                    INSTAR_SIMD_PICK(kmeans_gains)
                    (near_gains.data(), panels(b), norms_.data() + points_.first(b), nearest_.data() + points_.first(b), k_kmeans_block / k_kmeans_panel, d, near.data(),
                     near_norms.data(), n_near);
                    for (index_t t = 0; t < n_near; ++t) own[who[t]] = near_gains[static_cast<std::size_t>(t)];
                }
            });
            index_t best = 0;
            double best_gain = -1.0;
            for (index_t t = 0; t < n_trials; ++t) {
                double gain = 0.0;
                for (index_t b = 0; b < n_blocks; ++b) gain += gains[static_cast<std::size_t>(b * n_trials + t)];
                if (gain > best_gain) {
                    best_gain = gain;
                    best = t;
                }
            }
            chosen.push_back(drawn[static_cast<std::size_t>(best)]);
            potential = lower(ctx, chosen.back());
        }
        return chosen;
    }

private:
    static double uniform(philox rng, std::uint64_t i) { return (static_cast<double>(rng.uniform(2 * i)) + static_cast<double>(rng.uniform(2 * i + 1)) * 0x1.0p-24); }

    const float* panels(index_t b) const { return panels_.data() + b * k_kmeans_block * points_.d(); }

    index_t block_room() const { return (points_.n_blocks() + k_kmeans_panel - 1) / k_kmeans_panel * k_kmeans_panel; }
    /// Blocks a task: waking a thread costs as much as looking at a few.
    index_t grain() const { return std::max<index_t>(8, (points_.n_blocks() + 15) / 16); }

    /// Squared distances of n candidates to the centres of all blocks.
    void measure_blocks(const float* candidates, const float* norms, index_t n) {
        between_.resize(static_cast<std::size_t>(n * block_room()));
        INSTAR_SIMD_PICK(kmeans_squared_distances)(between_.data(), block_panels_.data(), block_norms_.data(), block_room() / k_kmeans_panel, points_.d(), candidates, norms, n);
    }

    /// Whether candidate t may be nearer to a point of the block than its centre so far: distance to the ball < largest such distance.
    bool reaches(index_t b, index_t t, float norm) const {
        const double reach = reach_[static_cast<std::size_t>(b)] + points_.block_radius(b);
        const double rounding = 8.0 * static_cast<double>(points_.d() + 16) * 0x1.0p-24 * (static_cast<double>(norm) + static_cast<double>(block_norms_(b)));
        return static_cast<double>(between_[static_cast<std::size_t>(t * block_room() + b)]) - rounding <= reach * reach;
    }

    /// Takes a centre in; returns the potential.
    double lower(cpu_context& ctx, index_t center) {
        const index_t d = points_.d();
        const float norm = points_.norm(center);
        measure_blocks(points_.row(center), &norm, 1);
        parallel_for(ctx, points_.n_blocks(), grain(), [&](index_t begin, index_t end) {
            for (index_t b = begin; b < end; ++b) {
                if (!reaches(b, 0, norm)) continue;
                float* const near = nearest_.data() + points_.first(b);
                INSTAR_SIMD_PICK(kmeans_lower)(near, panels(b), norms_.data() + points_.first(b), k_kmeans_block / k_kmeans_panel, d, points_.row(center), norm);
                if (center >= points_.first(b) && center < points_.last(b)) nearest_(center) = 0.0f;  // rounding must not choose it again
                double sum = 0.0;
                float largest = 0.0f;
                for (index_t i = 0; i < points_.last(b) - points_.first(b); ++i) {
                    sum += static_cast<double>(near[i]);
                    largest = std::max(largest, near[i]);
                }
                sum_[static_cast<std::size_t>(b)] = sum;
                reach_[static_cast<std::size_t>(b)] = std::sqrt(static_cast<double>(largest)) * (1.0 + 1e-6);
            }
        });
        return std::accumulate(sum_.begin(), sum_.end(), 0.0);
    }

    /// The point at which the running sum of squared distances passes `target`.
    index_t draw(double target) const {
        index_t b = 0, last = 0;
        for (; b + 1 < points_.n_blocks() && target >= sum_[static_cast<std::size_t>(b)]; ++b) target -= sum_[static_cast<std::size_t>(b)];
        last = points_.first(b);
        for (index_t i = points_.first(b); i < points_.last(b); ++i) {
            const double v = static_cast<double>(nearest_(i));
            if (v > 0.0) last = i;
            if (target < v) return i;
            target -= v;
        }
        return last;  // rounding: the last that may be drawn
    }

    const kmeans_points& points_;
    tensor<float, 1> panels_, norms_, nearest_;       // of points, in panels of sixteen
    tensor<float, 1> block_panels_, block_norms_;     // of the blocks' centres, likewise
    std::vector<float> between_;                      // measure_blocks: [candidate][block]
    std::vector<double> sum_, reach_;  // of each block: sum of nearest_, root of its largest
};

}  // namespace instar::cluster::detail

#endif
