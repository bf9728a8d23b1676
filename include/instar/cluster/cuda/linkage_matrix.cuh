#ifndef INSTAR_CLUSTER_CUDA_LINKAGE_MATRIX_CUH
#define INSTAR_CLUSTER_CUDA_LINKAGE_MATRIX_CUH

// Linkages over a condensed matrix of distances in device memory, with the CPU's walk (detail/linkage_chain.hpp,
// detail/linkage_generic.hpp), its choices among equals and its roundings: the same merges, in the same order, at the same heights.
//
//     const auto merges = chain_over_matrix(ctx, op, matrix, linkage::complete, progress);       // all but centroid, median
//     generic_clusters<double> clusters(ctx, op, matrix, linkage::centroid);
//     const auto other = detail::generic_linkage(clusters, n, progress);
//
// The chain lives on the device. A step is two kernels: one brings the last merge into the matrix and looks for the nearest to the
// chain's end, one block decides whether the chain goes on or merges. The host only queues them. (Rounds of mutual neighbours would
// need fewer, larger steps, and choose otherwise among equal distances.) A step reads one row of what is alive; above the diagonal each of
// its elements is another 32 bytes of memory, which is still less than what queueing a kernel costs.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "instar/cluster/cuda/linkage_distances.cuh"
#include "instar/cluster/detail/linkage_generic.hpp"
#include "instar/cluster/detail/linkage_kinds.hpp"

namespace instar::cluster::cuda {

/// Where the chain stands. Written by chain_decide_kernel alone.
struct chain_state {
    std::int32_t n_chain, n_merges;
    std::int32_t first;       ///< no living slot is below it
    std::int32_t a, b;        ///< what merged in the last step, b being the union; −1: nothing
    double height, n_a, n_b;  ///< of that merge
};

/// The chain and its clusters, in device memory.
template <class S>
struct linkage_walk {
    condensed_matrix<S> matrix;
    linkage kind;
    std::int32_t* members;  ///< [n] of each slot; 0: merged into another
    std::int32_t* chain;    ///< [n]
    std::int32_t* pairs;    ///< [n − 1][2]
    double* heights;        ///< [n − 1]
    chain_state* state;
};

/// Thread j: its element of the union's row, and its distance from the chain's end x.
template <class S>
__global__ void chain_step_kernel(linkage_walk<S> walk, block_minima minima) {
    const chain_state now = *walk.state;
    const index_t j = grid_thread();
    nearest_slot best;
    if (j < walk.matrix.n && walk.members[j] > 0) {
        const bool merged = now.a >= 0;
        if (merged && j != now.b) {
            S& to_union = walk.matrix(j, now.b);
            to_union = static_cast<S>(detail::merged_distance(walk.kind, static_cast<double>(walk.matrix(j, now.a)),
                                                              static_cast<double>(to_union), now.height, now.n_a,
                                                              now.n_b, static_cast<double>(walk.members[j])));
        }
        // No thread reads what another writes: how far x is from the union is told by x, not by the union.
        const index_t x = walk.chain[now.n_chain - 1], y = merged && j == x ? now.b : j;
        if (y != x && !(merged && j == now.b && j != x))
            best.take({static_cast<double>(walk.matrix(x, y)), static_cast<std::int32_t>(y)});
    }
    best = nearest_of_block(best);
    if (thread_x() == 0) minima.put(best);
}

/// The chain goes on to the nearest, or its two ends merge: a single block.
template <class S>
__global__ void chain_decide_kernel(linkage_walk<S> walk, block_minima minima) {
    nearest_slot best = minima.nearest();
    if (thread_x() != 0) return;
    chain_state now = *walk.state;
    const std::int32_t x = walk.chain[now.n_chain - 1], previous = now.n_chain > 1 ? walk.chain[now.n_chain - 2] : -1;
    now.a = -1;
    if (previous >= 0 && best.slot != previous && static_cast<double>(walk.matrix(x, previous)) <= best.distance)
        best.slot = previous;
    if (best.slot != previous) {
        walk.chain[now.n_chain++] = best.slot;
    } else {
        now.a = x < previous ? x : previous;
        now.b = x < previous ? previous : x;
        now.height = best.distance;
        now.n_a = static_cast<double>(walk.members[now.a]);
        now.n_b = static_cast<double>(walk.members[now.b]);
        walk.members[now.b] += walk.members[now.a];
        walk.members[now.a] = 0;
        walk.pairs[2 * now.n_merges] = now.a;
        walk.pairs[2 * now.n_merges + 1] = now.b;
        walk.heights[now.n_merges++] = now.height;
        now.n_chain -= 2;
        if (now.n_chain == 0) {
            while (walk.members[now.first] == 0) ++now.first;
            walk.chain[now.n_chain++] = now.first;
        }
    }
    *walk.state = now;
}

/// The merges in the order they are found. The matrix changes.
template <class S>
std::vector<detail::merge_record> chain_over_matrix(cuda_context& ctx, const char* op,
                                                    const condensed_matrix<S>& matrix, linkage kind,
                                                    const detail::linkage_progress& progress) {
    const index_t n = matrix.n;
    const scratch<std::int32_t> members(ctx, n, op), chain(ctx, n, op), pairs(ctx, 2 * (n - 1), op);
    const scratch<double> heights(ctx, n - 1, op);
    const chain_state start{1, 0, 0, -1, -1, 0.0, 0.0, 0.0};
    const scratch<chain_state> state(ctx, 1, op);
    ctx.upload(tensor_view<chain_state, 1>(state.data(), {1}), tensor_view<const chain_state, 1>(&start, {1}));
    set_all(ctx, op, members.data(), n, std::int32_t{1});
    set_all(ctx, op, chain.data(), 1, std::int32_t{0});
    const linkage_walk<S> walk{matrix, kind, members.data(), chain.data(), pairs.data(), heights.data(), state.data()};
    const block_minima_memory minima(ctx, op, n);
    const detail::linkage_ticks tick(progress, n - 1);
    for (index_t done = 0; done < n - 1;) {
        // Every merge takes a step at least, so none of these comes after the last.
        const index_t steps = std::min<index_t>(n - 1 - done, 512);
        for (index_t s = 0; s < steps; ++s) {
            launch(ctx, op, chain_step_kernel<S>, minima.grid(), {k_nearest_threads}, 0, walk, minima.view());
            launch(ctx, op, chain_decide_kernel<S>, {1}, {k_nearest_threads}, 0, walk, minima.view());
        }
        const index_t now = downloaded<chain_state>(ctx, state.data(), 1)[0].n_merges;
        while (done < now) tick(++done);
    }
    const std::vector<std::int32_t> pair = downloaded<std::int32_t>(ctx, pairs.data(), 2 * (n - 1));
    const std::vector<double> height = downloaded<double>(ctx, heights.data(), n - 1);
    std::vector<detail::merge_record> merges;
    for (std::size_t m = 0; m < height.size(); ++m) merges.push_back({pair[2 * m], pair[2 * m + 1], height[m]});
    return merges;
}

/// The first of the least distances of slot x to living slots above it.
template <class S>
__device__ nearest_slot nearest_above(const condensed_matrix<S>& matrix, const std::int32_t* members, index_t x,
                                      int thread, int n_threads) {
    const S* const row = matrix.data + matrix.row(x) - x - 1;
    nearest_slot best;
    for (index_t j = x + 1 + thread; j < matrix.n; j += n_threads) {
        if (members[j] > 0) best.take({static_cast<double>(row[j]), static_cast<std::int32_t>(j)});
    }
    return best;
}

/// A block a slot, from `first` on.
template <class S>
__global__ void generic_search_kernel(condensed_matrix<S> matrix, const std::int32_t* members, index_t first,
                                      double* distance, std::int32_t* slot) {
    const nearest_slot best =
        nearest_of_block(nearest_above(matrix, members, first + block_x(), thread_x(), k_nearest_threads));
    if (thread_x() != 0) return;
    distance[block_x()] = best.distance;
    slot[block_x()] = best.slot;
}

/// to_union[z] = the distance of z from the union of x and y, which is y's from now on.
template <class S>
__global__ void generic_merge_kernel(condensed_matrix<S> matrix, linkage kind, const std::int32_t* members, index_t x,
                                     index_t y, double height, double n_x, double n_y, double* to_union) {
    const index_t z = grid_thread();
    if (z >= matrix.n) return;
    to_union[z] = 0.0;
    if (z == x || z == y || members[z] == 0) return;
    S& at = matrix(z, y);
    const double merged = detail::merged_distance(kind, static_cast<double>(matrix(z, x)), static_cast<double>(at),
                                                  height, n_x, n_y, static_cast<double>(members[z]));
    // The square under the root may fall below zero by rounding, where it is zero.
    at = static_cast<S>(merged >= 0.0 ? merged : 0.0);
    to_union[z] = static_cast<double>(at);
}

/// What detail::generic_linkage asks of clusters: the heap is the host's, rows are searched and merged on the device.
template <class S>
class generic_clusters {
public:
    generic_clusters(cuda_context& ctx, const char* op, const condensed_matrix<S>& matrix, linkage kind)
        : ctx_(ctx),
          op_(op),
          matrix_(matrix),
          kind_(kind),
          size_(static_cast<std::size_t>(matrix.n), 1),
          to_union_(size_.size()),
          members_(ctx, matrix.n, op),
          row_(ctx, matrix.n, op),
          found_(ctx, matrix.n, op),
          slot_(ctx, matrix.n, op) {
        set_all(ctx, op, members_.data(), matrix.n, std::int32_t{1});
    }

    void search_all(std::vector<detail::linkage_neighbour>& found) { search_from(0, found); }
    detail::linkage_neighbour search(std::int32_t x) {
        search_from(x, one_);
        return one_[0];
    }
    double distance(std::int32_t x, std::int32_t y) {
        return static_cast<double>(downloaded<S>(ctx_, matrix_.data + matrix_.place(x, y), 1)[0]);
    }
    bool alive(std::int32_t x) const { return size_[static_cast<std::size_t>(x)] > 0; }

    const double* merge(std::int32_t x, std::int32_t y, double height) {
        auto &n_x = size_[static_cast<std::size_t>(x)], &n_y = size_[static_cast<std::size_t>(y)];
        launch(ctx_, op_, generic_merge_kernel<S>, {blocks_for(matrix_.n, 256)}, {256}, 0, matrix_, kind_,
               members_.data(), x, y, height, static_cast<double>(n_x), static_cast<double>(n_y), row_.data());
        n_y += n_x;
        n_x = 0;
        set_all(ctx_, op_, members_.data() + x, 1, n_x);
        set_all(ctx_, op_, members_.data() + y, 1, n_y);
        ctx_.download(tensor_view<double, 1>(to_union_.data(), {matrix_.n}),
                      tensor_view<const double, 1>(row_.data(), {matrix_.n}));
        return to_union_.data();
    }

private:
    /// Of slots first, first + 1, …, as many as there is room for.
    void search_from(index_t first, std::vector<detail::linkage_neighbour>& found) {
        const auto n = static_cast<index_t>(found.size());
        launch(ctx_, op_, generic_search_kernel<S>, {blocks_for(n, 1)}, {k_nearest_threads}, 0, matrix_,
               members_.data(), first, found_.data(), slot_.data());
        const std::vector<double> distance = downloaded<double>(ctx_, found_.data(), n);
        const std::vector<std::int32_t> slot = downloaded<std::int32_t>(ctx_, slot_.data(), n);
        for (std::size_t i = 0; i < found.size(); ++i)
            found[i] =
                distance[i] < INFINITY ? detail::linkage_neighbour{distance[i], slot[i]} : detail::linkage_neighbour{};
    }

    cuda_context& ctx_;
    const char* op_;
    condensed_matrix<S> matrix_;
    linkage kind_;
    std::vector<std::int32_t> size_;  // of each slot; 0 = merged into another
    std::vector<double> to_union_;
    std::vector<detail::linkage_neighbour> one_{1};
    scratch<std::int32_t> members_;
    scratch<double> row_, found_;
    scratch<std::int32_t> slot_;
};

}  // namespace instar::cluster::cuda

#endif
