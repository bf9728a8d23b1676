#ifndef INSTAR_CLUSTER_CUDA_NN_DESCENT_TREES_CUH
#define INSTAR_CLUSTER_CUDA_NN_DESCENT_TREES_CUH

// Leaves of random projection trees on a GPU, with the CPU's draws (detail/nn_descent_lists.hpp): a node's rows are halved by rank along
// the line through two of them.
//
//     const nn_tree_shape shape(n, leaf_size);                       // host: nodes and leaves have the same places in every tree
//     const nn_trees trees(ctx, "nn_descent", rows, shape, n_trees);
//     trees.grow(ctx, rng, first_tree);                              // trees.rows(t): rows, leaf by leaf; shape.leaves
//
// A level is three launches for all trees at once: the two rows of each node, every row's place along their line (a chain over the
// features, as on the CPU), and the halves. A block halves a node: eight passes over the digits of (place, row) find the middle one, and
// a last one moves the rows in their order, so that no order of threads shows.

#include <algorithm>
#include <cstring>
#include <vector>

#include "instar/cluster/cuda/rows.cuh"
#include "instar/core/philox.hpp"

namespace instar::cluster::cuda {

struct nn_tree_shape {
    struct level {
        std::vector<index_t> first, last;  ///< of nodes that are halved, ascending
    };
    std::vector<level> levels;
    std::vector<index_t> leaves;  ///< where each begins, and the end
    index_t largest = 0;          ///< rows of a leaf

    nn_tree_shape(index_t n, index_t leaf_size) {
        std::vector<std::pair<index_t, index_t>> nodes{{0, n}}, next;
        while (!nodes.empty()) {
            level now;
            next.clear();
            for (const auto& [first, last] : nodes) {
                if (last - first <= leaf_size) {
                    leaves.push_back(first);
                    largest = std::max(largest, last - first);
                    continue;
                }
                now.first.push_back(first);
                now.last.push_back(last);
                const index_t middle = first + (last - first) / 2;
                next.emplace_back(first, middle);
                next.emplace_back(middle, last);
            }
            if (!now.first.empty()) levels.push_back(std::move(now));
            nodes.swap(next);
        }
        std::sort(leaves.begin(), leaves.end());
        leaves.push_back(n);
    }
};

/// Nodes of a level of all trees. Device memory.
struct nn_tree_level {
    const index_t *first, *last;
    index_t n_nodes, n;   ///< nodes, and rows, of a tree
    std::int32_t* rows;   ///< [tree][n]
    std::int32_t* moved;  ///< [tree][n] room to move rows through
    std::int32_t* ends;   ///< [tree][n_nodes][2] rows that a node's line goes through
    float* place;         ///< [tree][n] along it
};

template <class I>
__global__ void nn_rows_kernel(I* rows, index_t n, index_t n_trees) {
    const index_t i = grid_thread();
    if (i < n * n_trees) rows[i] = static_cast<I>(i % n);
}

/// A thread a node; block_y: the tree.
template <class I>
__global__ void nn_ends_kernel(nn_tree_level l, philox rng, I first_tree, I depth) {
    const index_t node = grid_thread();
    if (node >= l.n_nodes) return;
    const index_t first = l.first[node];
    const auto size = static_cast<std::uint32_t>(l.last[node] - first);
    const philox own = rng.fork(static_cast<std::uint64_t>(first_tree + block_y()))
                           .fork(static_cast<std::uint64_t>(depth))
                           .fork(static_cast<std::uint64_t>(first));
    const std::uint32_t p = own.below(0, size);
    std::uint32_t q = own.below(1, size - 1);
    q += q >= p ? 1u : 0u;
    const std::int32_t* const rows = l.rows + block_y() * l.n + first;
    std::int32_t* const ends = l.ends + (block_y() * l.n_nodes + node) * 2;
    ends[0] = rows[p];
    ends[1] = rows[q];
}

/// A thread a row; block_y: the tree.
template <class A>
__global__ void nn_place_kernel(nn_tree_level l, padded_rows x) {
    const index_t i = grid_thread();
    if (i >= l.n) return;
    index_t node = 0, end = l.n_nodes;  // the first whose last is beyond i
    while (node < end) {
        const index_t middle = (node + end) / 2;
        if (l.last[middle] > i) end = middle;
        else node = middle + 1;
    }
    if (node == l.n_nodes || l.first[node] > i) return;  // in a leaf already
    const std::int32_t* const ends = l.ends + (block_y() * l.n_nodes + node) * 2;
    const float *const a = x.row(ends[0]), *const b = x.row(ends[1]), *const r = x.row(l.rows[block_y() * l.n + i]);
    A sum{};
    for (index_t c = 0; c < x.stride; c += 4) {
        float u[4], v[4], y[4];
        load<4>(u, a + c);
        load<4>(v, b + c);
        load<4>(y, r + c);
        INSTAR_UNROLL
        for (int k = 0; k < 4; ++k) sum += (u[k] - v[k]) * y[k];
    }
    l.place[block_y() * l.n + i] = sum + A{};  // −0 becomes 0
}

/// Ordered as (place, row).
__device__ __forceinline__ std::uint64_t nn_order(float place, std::int32_t row) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &place, sizeof bits);
    bits ^= (bits >> 31) != 0 ? 0xffffffffu : 0x80000000u;
    return static_cast<std::uint64_t>(bits) << 32 | static_cast<std::uint32_t>(row);
}

/// A block a node; block_y: the tree. The lower half of its rows goes to its first half, each in the order in which they were.
template <class Key>
__global__ void nn_halve_kernel(nn_tree_level l) {
    INSTAR_SHARED_ARRAY(int, counts, 256);
    INSTAR_SHARED_ARRAY(int, found, 2);
    INSTAR_SHARED_ARRAY(int, lower, k_block_warps);
    const index_t first = l.first[block_x()], size = l.last[block_x()] - first, half = size / 2,
                  at = block_y() * l.n + first;
    std::int32_t* const rows = l.rows + at;
    const float* const place = l.place + at;
    const auto key = [&](index_t i) -> Key { return nn_order(place[i], rows[i]); };
    Key middle{}, known{};
    auto rank = static_cast<int>(half);  // of the middle one among those that share its known digits
    for (int shift = 56; shift >= 0; shift -= 8) {
        counts[thread_x()] = 0;
        __syncthreads();
        for (index_t i = thread_x(); i < size; i += k_row_threads) {
            const Key v = key(i);
            if ((v & known) == middle) atomicAdd(&counts[static_cast<int>(v >> shift & 255)], 1);
        }
        __syncthreads();
        if (warp_id() == 0) {  // a lane has eight digits
            int sum = 0;
            for (int b = 0; b < 8; ++b) {
                const int here = counts[lane_id() * 8 + b];
                sum += here;
            }
            int upto = sum;
            for (int by = 1; by < k_warp_size; by *= 2) {
                const int before = __shfl_up_sync(k_full_warp, upto, static_cast<unsigned>(by));
                if (lane_id() >= by) upto += before;
            }
            if (upto - sum <= rank && rank < upto) {
                int left = rank - (upto - sum), digit = lane_id() * 8;
                for (int here = counts[digit]; left >= here; here = counts[++digit]) left -= here;
                found[0] = digit;
                found[1] = left;
            }
        }
        __syncthreads();
        const int digit = found[0];
        rank = found[1];
        middle |= static_cast<Key>(digit) << shift;
        known |= Key{255} << shift;
    }
    index_t below = 0;
    for (index_t base = 0; base < size; base += k_row_threads) {
        const index_t i = base + thread_x();
        const bool is_lower = i < size && key(i) < middle;
        const unsigned votes = __ballot_sync(k_full_warp, is_lower);
        if (lane_id() == 0) lower[warp_id()] = __popc(votes);
        __syncthreads();
        index_t before = below + __popc(votes & ((1u << lane_id()) - 1u));
        for (int w = 0; w < k_block_warps; ++w) {
            const int here = lower[w];
            if (w < warp_id()) before += here;
            below += here;
        }
        if (i < size) l.moved[at + (is_lower ? before : half + i - before)] = rows[i];
        __syncthreads();
    }
    for (index_t i = thread_x(); i < size; i += k_row_threads) rows[i] = l.moved[at + i];
}

class nn_trees {
public:
    nn_trees(cuda_context& ctx, const char* op, const padded_rows& x, const nn_tree_shape& shape, index_t n_trees)
        : op_(op),
          x_(x),
          shape_(shape),
          rows_(ctx, n_trees * x.n, op),
          moved_(ctx, n_trees * x.n, op),
          place_(ctx, n_trees * x.n, op) {}

    const std::int32_t* rows(index_t t) const { return rows_.data() + t * x_.n; }

    /// Trees first_tree …, n of them. Queued, but for the nodes' places.
    void grow(cuda_context& ctx, philox rng, index_t first_tree, index_t n) const {
        const auto trees = static_cast<unsigned>(n);
        launch(ctx, op_, nn_rows_kernel<std::int32_t>, {blocks_for(n * x_.n, 256)}, {256}, 0, rows_.data(), x_.n, n);
        for (std::size_t depth = 0; depth < shape_.levels.size(); ++depth) {
            const nn_tree_shape::level& level = shape_.levels[depth];
            const auto n_nodes = static_cast<index_t>(level.first.size());
            const uploaded<index_t> first(ctx, op_, level.first), last(ctx, op_, level.last);
            const scratch<std::int32_t> ends(ctx, n * n_nodes * 2, op_);
            const nn_tree_level l{first.data(), last.data(),   n_nodes,     x_.n,
                                  rows_.data(), moved_.data(), ends.data(), place_.data()};
            launch(ctx, op_, nn_ends_kernel<index_t>, {blocks_for(n_nodes, 256), trees}, {256}, 0, l, rng, first_tree,
                   static_cast<index_t>(depth));
            launch(ctx, op_, nn_place_kernel<float>, {blocks_for(x_.n, 256), trees}, {256}, 0, l, x_);
            launch(ctx, op_, nn_halve_kernel<std::uint64_t>, {blocks_for(n_nodes, 1), trees}, {k_row_threads}, 0, l);
        }
    }

private:
    const char* op_;
    padded_rows x_;
    const nn_tree_shape& shape_;
    scratch<std::int32_t> rows_, moved_;
    scratch<float> place_;
};

}  // namespace instar::cluster::cuda

#endif
