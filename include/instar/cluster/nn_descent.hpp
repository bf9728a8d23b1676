#ifndef INSTAR_CLUSTER_NN_DESCENT_HPP
#define INSTAR_CLUSTER_NN_DESCENT_HPP

// Approximate nearest neighbours of every row among all rows, for so many that n² comparisons are too long.
//
//     auto nn = cluster::nn_descent(ctx, x, {.k = 30, .seed = 1});        // as knn(ctx, x, x, {.k = 30}): each row finds itself first
//
// On either device; how a GPU goes about it: cuda/nn_descent_trees.cuh, cuda/nn_descent_lists.cuh, cuda/nn_descent.cuh.
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

#include "instar/cluster/knn.hpp"
#include "instar/core/philox.hpp"

#if !defined(__CUDACC__)
#include "instar/cluster/detail/nn_descent_lists.hpp"
#include "instar/core/parallel_for.hpp"
#endif

namespace instar {
class cuda_context;
}

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

namespace detail {

inline void check_nn_descent(tensor_view<const float, 2> x, const nn_descent_options& options) {
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
}

/// What both devices do alike: how many trees and rounds, their random numbers, and when it is over.
struct nn_descent_plan {
    index_t n_trees, n_rounds, leaf_size;
    double few_changes;
    philox rng;

    nn_descent_plan(index_t n, const nn_descent_options& o)
        : n_trees(o.n_trees > 0 ? o.n_trees : std::min<index_t>(64, 5 + static_cast<index_t>(std::sqrt(static_cast<double>(n)) / 20.0))),
          n_rounds(o.max_iter > 0 ? o.max_iter : std::max<index_t>(5, static_cast<index_t>(std::log2(static_cast<double>(n))))),
          leaf_size(std::max<index_t>(30, 2 * o.k)), few_changes(o.delta * static_cast<double>(n) * static_cast<double>(o.k)), rng{o.seed, 0x6e6e} {}

    /// round(rng): compares, and returns how many entries changed.
    template <class Round>
    void run_rounds(const nn_descent_options& o, Round&& round) const {
        for (index_t r = 0; r < n_rounds; ++r) {
            const index_t n_changes = round(rng.fork(1'000'000 + static_cast<std::uint64_t>(r)));
            if (o.progress) o.progress(r + 1, n_changes);
            if (static_cast<double>(n_changes) <= few_changes) break;
        }
    }
};
/// Rows that are joined in a round before lists take what they found.
inline constexpr index_t k_nn_descent_chunk = 4096;

}  // namespace detail

#if !defined(__CUDACC__)

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
    detail::check_nn_descent(x, options);
    const index_t n = x.extent(0), k = options.k;
    const auto kernels = detail::knn_kernels::pick();
    const std::vector<double> squares = detail::knn_squared_norms(ctx, kernels, "x", x, options.metric != knn_metric::cosine, "nn_descent");
    if (k == n) return knn(ctx, x, x, {.k = k, .metric = options.metric});

    const detail::nn_descent_rows rows(ctx, x, options.metric == knn_metric::cosine, squares);
    detail::nn_descent_lists lists(n, k);
    const detail::nn_descent_plan plan(n, options);
    detail::nn_descent_joins joins(rows, lists, options.max_candidates);
    for (index_t t = 0; t < plan.n_trees; ++t) joins.join_leaves(ctx, detail::projection_leaves(ctx, rows, plan.leaf_size, plan.rng.fork(static_cast<std::uint64_t>(t))));
    plan.run_rounds(options, [&](philox rng) { return joins.round(ctx, rng, detail::k_nn_descent_chunk); });

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

#endif

/// The same on a GPU: x lies in device memory, the result on the host, complete on return.
///
/// All of it runs there: trees, candidates, joins and the distances at the end. Random numbers, trees, candidates, rounds and the rule that
/// ends them are the CPU's. What differs is rounding: products of floats are one chain over the features, so rows that float does not tell
/// apart may be taken in another order, and a round then brings others together. Where it does tell them apart the neighbours are the
/// CPU's, with its distances to the last bit or two of a float. The same bits on every run: a list is the k least of a set, in whatever order
/// threads bring its members.
///
/// Cost: as on the CPU; the host waits once a round. Trees cost 2·n·d FLOP a level, log2(n / leaf) levels each. Memory: (n·d + 6·n·k +
/// 2·n·max_candidates) numbers, 12 bytes a row and tree for at most 256 MiB of trees at once, and for 4,096 rows at a time (fewer, down
/// to one, above 256 MiB) 12·max_candidates² bytes each. A progress function's n_changes counts what came and stayed for such a
/// chunk of rows. 16·max_candidates bytes of shared memory are needed at least: device_error where the device has less.
/// Errors as on the CPU. T is float: a template, so that instar::compiled can hold it.
template <class T = float>
knn_result nn_descent(cuda_context& ctx, in_view<T, 2> x, const nn_descent_options& options = {});

}  // namespace instar::cluster

#if !defined(INSTAR_COMPILED) && (defined(__CUDACC__) || defined(INSTAR_CUDA_EMULATED))
#include "instar/cluster/cuda/nn_descent.cuh"
#endif

#endif
