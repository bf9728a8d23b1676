#ifndef INSTAR_CLUSTER_DETAIL_UMAP_LAYOUT_HPP
#define INSTAR_CLUSTER_DETAIL_UMAP_LAYOUT_HPP

// UMAP's stochastic gradient descent, deterministic and parallel.
//
//     umap_layout layout(graph, options);
//     layout.run(ctx, y, y, rng);              // y [n, n_components] moves
//
// The reference draws edges one after the other, each moving both its ends, from one stream of random numbers: sequential by nature. Here
// vertices are taken in 32 groups, one after the other. Those of a group make the moves of their edges at the same time, each as if it were
// alone, with random numbers of its own (seed, epoch, vertex); what they do to the other ends of their edges is written down, and added in
// the order of the edges when the group is done. So the result does not depend on the threads. (Letting each vertex make the moves of both
// its ends by itself is simpler, and was worse: an end that waits does not overshoot, and clusters of digits came apart, AMI 0.80 for 0.90.)

#include <cmath>

#include "instar/cluster/detail/umap_graph.hpp"
#include "instar/cluster/detail/umap_schedule.hpp"
#include "instar/ops/cpu/simd/vec.hpp"

#define INSTAR_SIMD_INNER "instar/cluster/detail/umap_layout.inl"
#include "instar/ops/cpu/simd/foreach_isa.inl"

namespace instar::cluster::detail {

/// a and b such that 1/(1 + a·x²ᵇ) is nearest to 1 up to min_dist and exp(−(x − min_dist)/spread) beyond, on 300 points of [0, 3·spread]
/// (Levenberg–Marquardt).
inline std::pair<double, double> umap_curve(double min_dist, double spread) {
    double a = 1.0, b = 1.0, damping = 1e-3;
    const auto target = [&](double x) { return x < min_dist ? 1.0 : std::exp(-(x - min_dist) / spread); };
    const auto squares = [&](double p, double q) {
        double s = 0.0;
        for (int i = 0; i < 300; ++i) {
            const double x = 3.0 * spread * i / 299.0;
            s += std::pow(1.0 / (1.0 + p * std::pow(x, 2.0 * q)) - target(x), 2);
        }
        return s;
    };
    double best = squares(a, b);
    for (int step = 0; step < 500 && damping < 1e12; ++step) {
        double aa = 0.0, ab = 0.0, bb = 0.0, ga = 0.0, gb = 0.0;
        for (int i = 1; i < 300; ++i) {
            const double x = 3.0 * spread * i / 299.0, power = std::pow(x, 2.0 * b), y = 1.0 / (1.0 + a * power);
            const double da = -y * y * power, db = -y * y * a * power * 2.0 * std::log(x), r = y - target(x);
            aa += da * da;
            ab += da * db;
            bb += db * db;
            ga += da * r;
            gb += db * r;
        }
        const double m = aa * (1.0 + damping), k = bb * (1.0 + damping), det = m * k - ab * ab;
        const double na = a - (k * ga - ab * gb) / det, nb = b - (m * gb - ab * ga) / det;
        const double now = na > 0.0 && nb > 0.0 ? squares(na, nb) : std::numeric_limits<double>::infinity();
        if (now < best) {
            const bool done = best - now < 1e-15 * best;
            a = na;
            b = nb;
            best = now;
            damping = std::max(damping * 0.1, 1e-12);
            if (done) break;
        } else {
            damping *= 10.0;
        }
    }
    return {a, b};
}

class umap_layout {
public:
    umap_layout(const umap_graph& graph, umap_layout_options options) : graph_(graph), o_(std::move(options)) {}

    /// heads: [n, m], of the graph's rows; tails: of its columns, the same tensor or a fixed one.
    void run(cpu_context& ctx, tensor<float, 2>& heads, const tensor<float, 2>& tails, std::uint64_t seed) const {
        const index_t n = heads.extent(0), m = heads.extent(1), n_tails = tails.extent(0), width = (m + 15) / 16 * 16;
        const bool same = heads.data() == tails.data();
        const umap_groups groups(n);
        const index_t group_size = groups.largest();
        tensor<float, 2> at({n, width}), fixed({same ? 0 : n_tails, width}), moved({group_size, width});
        for (index_t i = 0; i < n; ++i) std::copy_n(&heads(i, 0), m, &at(i, 0));
        for (index_t i = 0; !same && i < n_tails; ++i) std::copy_n(&tails(i, 0), m, &fixed(i, 0));
        const float* const others = same ? at.data() : fixed.data();
        const float largest = graph_.weight.empty() ? 1.0f : *std::max_element(graph_.weight.begin(), graph_.weight.end());
        const bool both = same && o_.both_ends;
        std::vector<float> pushes;                 // of the edges drawn in a group: what their tails move by
        std::vector<std::int32_t> pushed;          // which tails
        std::vector<index_t> first(static_cast<std::size_t>(group_size) + 1);
        for (index_t epoch = 0; epoch < o_.n_epochs; ++epoch) {
            const float rate = o_.rate(epoch);
            const auto drawn = [&](index_t e) { return umap_drawn(graph_.weight[static_cast<std::size_t>(e)] / largest, epoch); };
            for (index_t group = 0; group < groups.n_groups; ++group) {
                const index_t size = groups.size(group);
                if (both) {
                    pushed.clear();
                    for (index_t k = 0; k < size; ++k) {
                        first[static_cast<std::size_t>(k)] = static_cast<index_t>(pushed.size());
                        const auto i = static_cast<std::size_t>(groups.vertex(group, k));
                        for (index_t e = graph_.start[i]; e < graph_.start[i + 1]; ++e) {
                            if (drawn(e)) pushed.push_back(graph_.column[static_cast<std::size_t>(e)]);
                        }
                    }
                    pushes.resize(pushed.size() * static_cast<std::size_t>(width));
                }
                parallel_for(ctx, size, 8, [&](index_t begin, index_t end) {
                    for (index_t k = begin; k < end; ++k) {
                        const index_t i = groups.vertex(group, k);
                        float* const x = &moved(k, 0);
                        std::copy_n(&at(i, 0), width, x);
                        index_t push = both ? first[static_cast<std::size_t>(k)] : 0;
                        umap_random random(seed, epoch, i);
                        for (index_t e = graph_.start[static_cast<std::size_t>(i)]; e < graph_.start[static_cast<std::size_t>(i) + 1]; ++e) {
                            if (!drawn(e)) continue;
                            INSTAR_SIMD_PICK(umap_attract)(x, both ? pushes.data() + push++ * width : nullptr, others + graph_.column[static_cast<std::size_t>(e)] * width, width, o_.a, o_.b, rate);
                            for (index_t s = 0; s < o_.negative_sample_rate; ++s) {
                                const index_t j = random.below(n_tails);
                                if (same && j == i) continue;
                                INSTAR_SIMD_PICK(umap_repel)(x, others + j * width, width, m, o_.a, o_.b, o_.repulsion, rate);
                            }
                        }
                    }
                });
                for (index_t k = 0; k < size; ++k) std::copy_n(&moved(k, 0), width, &at(groups.vertex(group, k), 0));
                // Tails by ranges of coordinates: each has one writer, and edges come in one order.
                if (both) {
                    parallel_for(ctx, width / 16, 1, [&](index_t begin, index_t end) {
                        for (std::size_t e = 0; e < pushed.size(); ++e) {
                            float* const to = at.data() + pushed[e] * width;
                            const float* const by = pushes.data() + static_cast<index_t>(e) * width;
                            for (index_t c = begin * 16; c < end * 16; ++c) to[c] += by[c];
                        }
                    });
                }
            }
            if (o_.progress) o_.progress(epoch + 1, o_.n_epochs);
        }
        for (index_t i = 0; i < n; ++i) std::copy_n(&at(i, 0), m, &heads(i, 0));
    }

private:
    const umap_graph& graph_;
    umap_layout_options o_;
};

}  // namespace instar::cluster::detail

#endif
