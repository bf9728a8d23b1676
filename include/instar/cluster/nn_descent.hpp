#ifndef INSTAR_CLUSTER_NN_DESCENT_HPP
#define INSTAR_CLUSTER_NN_DESCENT_HPP

// Approximate nearest neighbours of every row among all rows, for so many that n² comparisons are too long.
//
//     auto nn = cluster::nn_descent(ctx, x, {.k = 30, .seed = 1});        // as knn(ctx, x, x, {.k = 30}): each row finds itself first
//
// A neighbour of a neighbour is likely one (Dong, Moses, Li 2011, "Efficient k-nearest neighbor graph construction for generic similarity
// measures", WWW). Leaves of random projection trees give the first neighbours; then rounds in which the neighbours of a row, and those
// that have it for a neighbour, are compared with each other, as long as a round still improves much. Exact search (cluster/knn.hpp) is
// as fast at 70,000 rows of 784 numbers and faster at so many of 50, because a product of matrices runs at the machine's peak.

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "instar/cluster/detail/nn_descent_lists.hpp"
#include "instar/cluster/knn.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/core/philox.hpp"

namespace instar::cluster {

struct nn_descent_options {
    index_t k = 15;
    knn_metric metric = knn_metric::euclidean;  ///< euclidean or cosine
    index_t n_trees = 0;                        ///< 0 = by the number of rows: 5 + √n / 20, at most 64
    index_t max_iter = 0;                       ///< rounds; 0 = log2 n, at least 5
    index_t max_candidates = 60;                ///< neighbours, new and old each, that a row brings together in a round
    double delta = 0.001;                       ///< stop when a round changes fewer than this share of all neighbours
    std::uint64_t seed = 0;
    std::function<void(index_t round, index_t n_changes)> progress = {};  ///< after each round; may throw to stop
};

/// The k nearest rows of x for each row of x, most of them.
///
/// | argument | shape  | element |                                                 |
/// |----------|--------|---------|-------------------------------------------------|
/// | x        | [n, d] | float   | finite; no zero rows under cosine               |
///
/// Which rows are neighbours is decided in float, from products of rows about their mean; the distances returned are in double from
/// differences, as knn's. Found of the true neighbours, with the defaults: see docs/benchmarks/zero_shot_clustering.md. Same bits for any
/// number of threads: pairs are collected against the lists as they stood when the round's chunk began, then merged in order.
/// Cost: about rounds · n · max_candidates² · d FLOP; memory n·d + 3·n·k + n·2·max_candidates numbers.
/// Throws value_error, before any work: k outside [1, n], options outside their range, inner_product, a value that is not finite (row
/// and column named), a zero row under cosine.
inline knn_result nn_descent(cpu_context& ctx, tensor_view<const float, 2> x, const nn_descent_options& options = {}) {
    const index_t n = x.extent(0), k = options.k;
    const auto at_least = [](const char* name, index_t value, index_t least) {
        if (value < least) throw value_error(std::string("nn_descent: ") + name + " must be at least " + std::to_string(least) + ", is " + std::to_string(value));
    };
    instar::detail::check_unit_stride("nn_descent", "x", x);
    if (k < 1 || k > n) throw value_error("nn_descent: k is " + std::to_string(k) + ", must be between 1 and the " + std::to_string(n) + " rows");
    if (n > std::numeric_limits<std::int32_t>::max()) throw value_error("nn_descent: " + std::to_string(n) + " rows; indices hold at most 2147483647");
    at_least("n_trees", options.n_trees, 0);
    at_least("max_iter", options.max_iter, 0);
    at_least("max_candidates", options.max_candidates, 2);
    if (!(options.delta >= 0.0)) throw value_error("nn_descent: delta must not be negative");
    if (options.metric == knn_metric::inner_product) throw value_error("nn_descent: inner_product is no distance; normalise the rows and use cosine");
    const auto kernels = detail::knn_kernels::pick();
    const std::vector<double> squares = detail::knn_squared_norms(ctx, kernels, "x", x, options.metric != knn_metric::cosine);
    if (k == n) return knn(ctx, x, x, {.k = k, .metric = options.metric});

    const detail::nn_descent_rows rows(ctx, x, options.metric == knn_metric::cosine, squares);
    detail::nn_descent_lists lists(n, k);
    const index_t n_trees = options.n_trees > 0 ? options.n_trees : std::min<index_t>(64, 5 + static_cast<index_t>(std::sqrt(static_cast<double>(n)) / 20.0));
    const index_t n_rounds = options.max_iter > 0 ? options.max_iter : std::max<index_t>(5, static_cast<index_t>(std::log2(static_cast<double>(n))));
    const philox rng{options.seed, 0x6e6e};
    detail::nn_descent_joins joins(rows, lists, options.max_candidates);
    for (index_t t = 0; t < n_trees; ++t) joins.join_leaves(ctx, detail::projection_leaves(ctx, rows, std::max<index_t>(30, 2 * k), rng.fork(static_cast<std::uint64_t>(t))));
    for (index_t round = 0; round < n_rounds; ++round) {
        const index_t n_changes = joins.round(ctx, rng.fork(1'000'000 + static_cast<std::uint64_t>(round)));
        if (options.progress) options.progress(round + 1, n_changes);
        if (static_cast<double>(n_changes) <= options.delta * static_cast<double>(n) * static_cast<double>(k)) break;
    }

    knn_result result{tensor<std::int32_t, 2>({n, k}), tensor<float, 2>({n, k})};
    parallel_for(ctx, n, 64, [&](index_t begin, index_t end) {
        std::vector<std::pair<double, std::int32_t>> mine;
        for (index_t i = begin; i < end; ++i) {
            mine.assign(1, {0.0, static_cast<std::int32_t>(i)});
            for (const auto& entry : lists.of(i)) {
                if (entry.index < 0) continue;
                mine.emplace_back(detail::nn_descent_distance(x, squares, options.metric == knn_metric::cosine, i, entry.index), entry.index);
            }
            std::sort(mine.begin() + 1, mine.end());
            for (index_t j = 0; j < k; ++j) {
                const auto& [distance, index] = mine[static_cast<std::size_t>(j)];
                result.index(i, j) = index;
                result.distance(i, j) = static_cast<float>(distance);
            }
        }
    });
    return result;
}

}  // namespace instar::cluster

#endif
