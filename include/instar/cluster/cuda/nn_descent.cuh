#ifndef INSTAR_CLUSTER_CUDA_NN_DESCENT_CUH
#define INSTAR_CLUSTER_CUDA_NN_DESCENT_CUH

// Approximate nearest neighbours on a GPU: leaves of projection trees are joined, then in rounds each row's candidates, its neighbours
// and the rows that have it for one, of either kind at most max_candidates by random priority. A warp a row gathers them.

#include <numeric>

#include "instar/cluster/cuda/kmeans_members.cuh"
#include "instar/cluster/cuda/kmeans_points.cuh"
#include "instar/cluster/cuda/knn.cuh"
#include "instar/cluster/cuda/nn_descent_lists.cuh"
#include "instar/cluster/cuda/nn_descent_trees.cuh"
#include "instar/cluster/nn_descent.hpp"

namespace instar::cluster {

namespace cuda {

using nn_count = unsigned long long;  ///< what atomics add on 64 bits

// --- candidates ---------------------------------------------------------------------------------------------------------------------

/// count[r] = rows that have r for a neighbour. A thread an entry.
template <class Count>
__global__ void nn_count_kernel(Count* count, const nn_key* lists, index_t n_entries) {
    const index_t e = grid_thread();
    if (e < n_entries && lists[e] != k_nn_none) atomicAdd(&count[nn_row(lists[e])], Count{1});
}
/// reverse[start[r] …]: those rows, twice, plus 1 where r is new to them. Counts fall to 0. In any order, which does not show.
template <class Count>
__global__ void nn_reverse_kernel(std::uint32_t* reverse, Count* count, const Count* start, const nn_key* lists,
                                  index_t k, index_t n_entries) {
    const index_t e = grid_thread();
    if (e >= n_entries || lists[e] == k_nn_none) return;
    const std::int32_t r = nn_row(lists[e]);
    const Count left = atomicAdd(&count[r], ~Count{0});
    reverse[start[r] + left - 1] =
        static_cast<std::uint32_t>(e / k) << 1 | static_cast<std::uint32_t>((lists[e] & k_nn_new) != 0);
}

/// The mark of row r in a list: −1 when it is not there, else whether it is new. Each lane its own.
__device__ __forceinline__ int nn_mark(const nn_key* list, index_t k, index_t r) {
    for (index_t j = 0; j < k; ++j) {
        if (list[j] != k_nn_none && nn_row(list[j]) == r) return (list[j] & k_nn_new) != 0 ? 1 : 0;
    }
    return -1;
}
/// A pair's random priority, and the other row.
__device__ __forceinline__ nn_key candidate_key(const philox& rng, index_t i, index_t other) {
    const auto low = static_cast<std::uint64_t>(i < other ? i : other),
               high = static_cast<std::uint64_t>(i < other ? other : i);
    return static_cast<nn_key>(rng.bits(low << 32 | high)) << 32 | static_cast<nn_key>(other);
}

/// The chosen ones of a list, written out; returns how many.
template <class List>
__device__ std::int32_t write_candidates(std::int32_t* to, List list, index_t most) {
    int n = 0;
    for (index_t base = 0; base < most; base += k_warp_size) {
        const index_t j = base + lane_id();
        const nn_key key = j < most ? static_cast<nn_key>(list[j]) : k_nn_none;
        if (key != k_nn_none) to[j] = static_cast<std::int32_t>(key & 0x7fffffffu);
        n += __popc(__ballot_sync(k_full_warp, key != k_nn_none));
    }
    return n;
}

/// Where candidates go: [n][most] each, and how many there are.
struct nn_candidates {
    std::int32_t *fresh, *old, *n_fresh, *n_old;
    index_t most;
};

/// A warp a row. A pair is new when it is in either direction.
template <class Count>
__global__ void nn_candidates_kernel(nn_candidates to, const nn_key* lists, index_t k, const Count* start,
                                     const std::uint32_t* reverse, index_t n, int warps, philox rng) {
    shared_memory memory;
    const auto room = memory.take<nn_key>(warps * 2 * to.most);
    const index_t i = block_x() * warps + warp_id(), most = to.most;
    if (i >= n) return;
    const auto fresh = room + warp_id() * 2 * most, old = fresh + most;
    for (index_t j = lane_id(); j < most; j += k_warp_size) {
        fresh[j] = k_nn_none;
        old[j] = k_nn_none;
    }
    __syncwarp();
    const auto offer = [&](bool has, bool is_new, index_t other) {
        const nn_key key = has ? candidate_key(rng, i, other) : k_nn_none;
        insert_keys<0>(fresh, most, has && is_new, key);
        insert_keys<0>(old, most, has && !is_new, key);
    };
    const nn_key* const own = lists + i * k;
    for (index_t base = 0; base < k; base += k_warp_size) {
        const index_t j = base + lane_id();
        const nn_key e = j < k ? own[j] : k_nn_none;
        const bool has = e != k_nn_none;
        const index_t other = has ? nn_row(e) : 0;
        const bool is_new = has && ((e & k_nn_new) != 0 || nn_mark(lists + other * k, k, i) == 1);
        offer(has, is_new, other);
    }
    const auto first = static_cast<index_t>(start[i]), last = static_cast<index_t>(start[i + 1]);
    for (index_t base = first; base < last; base += k_warp_size) {
        const index_t r = base + lane_id();
        const std::uint32_t v = r < last ? reverse[r] : 0;
        const index_t other = v >> 1;
        // A pair of both directions has been offered by the other one.
        offer(r < last && nn_mark(own, k, other) < 0, (v & 1) != 0, other);
    }
    const std::int32_t n_fresh = write_candidates(to.fresh + i * most, fresh, most),
                       n_old = write_candidates(to.old + i * most, old, most);
    if (lane_id() != 0) return;
    to.n_fresh[i] = n_fresh;
    to.n_old[i] = n_old;
}

/// Those chosen as new are new no more. A warp a row; after all candidates have been gathered, which reads the marks of other rows.
template <class I>
__global__ void nn_age_kernel(nn_key* lists, index_t k, nn_candidates chosen, I n) {
    const index_t i = own_row();
    if (i >= n) return;
    for (index_t j = lane_id(); j < k; j += k_warp_size) {
        const nn_key e = lists[i * k + j];
        if (e == k_nn_none || (e & k_nn_new) == 0) continue;
        for (index_t p = 0; p < chosen.n_fresh[i]; ++p) {
            if (chosen.fresh[i * chosen.most + p] == nn_row(e)) lists[i * k + j] = e & ~k_nn_new;
        }
    }
}

/// Candidates of all rows, gathered anew for each round.
class nn_candidate_memory {
public:
    nn_candidate_memory(cuda_context& ctx, const char* op, index_t n, index_t k, index_t most)
        : op_(op),
          n_(n),
          k_(k),
          // Eight warps a block where their lists fit the shared memory that needs no leave.
          warps_(8 * 2 * most * index_t{sizeof(nn_key)} <= (index_t{48} << 10) ? 8 : 1),
          count_(ctx, n, op),
          start_(ctx, n + 1, op),
          reverse_(ctx, n * k, op),
          names_(ctx, 2 * n * most, op),
          counts_(ctx, 2 * n, op),
          to_{names_.data(), names_.data() + n * most, counts_.data(), counts_.data() + n, most} {
        set_all(ctx, op, count_.data(), n, nn_count{0});
    }

    nn_items gather(cuda_context& ctx, nn_key* lists, philox rng) const {
        const index_t n_entries = n_ * k_;
        launch(ctx, op_, nn_count_kernel<nn_count>, {blocks_for(n_entries, 256)}, {256}, 0, count_.data(), lists,
               n_entries);
        launch(ctx, op_, kmeans_starts_kernel<nn_count>, {1}, {k_row_threads}, 0, start_.data(), count_.data(), n_);
        launch(ctx, op_, nn_reverse_kernel<nn_count>, {blocks_for(n_entries, 256)}, {256}, 0, reverse_.data(),
               count_.data(), start_.data(), lists, k_, n_entries);
        launch(ctx, op_, nn_candidates_kernel<nn_count>, {blocks_for(n_, warps_)},
               {static_cast<unsigned>(warps_) * k_warp_size}, instar::cuda::shared_bytes<nn_key>(warps_ * 2 * to_.most),
               to_, lists, k_, start_.data(), reverse_.data(), n_, static_cast<int>(warps_), rng);
        launch(ctx, op_, nn_age_kernel<index_t>, grid_of_rows(n_), {k_row_threads}, 0, lists, k_, to_, n_);
        return {to_.fresh, to_.old, nullptr, to_.n_fresh, to_.n_old, n_, to_.most, to_.most};
    }

private:
    const char* op_;
    index_t n_, k_, warps_;
    scratch<nn_count> count_, start_;
    scratch<std::uint32_t> reverse_;
    scratch<std::int32_t> names_, counts_;
    nn_candidates to_;
};

// --- results ------------------------------------------------------------------------------------------------------------------------

/// The row itself, then its list by distances in double: [n][k] each. A warp a row; room: [n][k].
template <class T>
__global__ void nn_results_kernel(tensor_view<std::int32_t, 2> index, tensor_view<float, 2> distance, double* room,
                                  const nn_key* lists, tensor_view<const T, 2> x, const double* factor) {
    const index_t i = own_row(), k = index.extent(1);
    if (i >= x.extent(0)) return;
    const nn_key* const list = lists + i * k;
    double* const all = room + i * k;
    for (index_t j = 0; j < k; ++j) {
        const bool there = list[j] != k_nn_none;
        const index_t r = there ? nn_row(list[j]) : i;
        double sum = 0.0;
        for (index_t c = lane_id(); c < x.extent(1); c += k_warp_size) {
            const double a = static_cast<double>(to_float(x(i, c))), b = static_cast<double>(to_float(x(r, c)));
            // Both products are rounded: fused with the difference, rows that coincide would not be at 0.
            const double by = factor != nullptr ? __dmul_rn(a, factor[i]) - __dmul_rn(b, factor[r]) : a - b;
            sum += by * by;
        }
        sum = warp_sum(sum);
        if (lane_id() == 0) all[j] = !there ? INFINITY : factor != nullptr ? 0.5 * sum : sqrt(sum);
    }
    __syncwarp();
    if (lane_id() == 0) {
        index(i, 0) = static_cast<std::int32_t>(i);
        distance(i, 0) = 0.0f;
    }
    for (index_t j = lane_id(); j < k; j += k_warp_size) {
        const std::int32_t row = nn_row(list[j]);
        index_t before = 0;
        for (index_t l = 0; l < k; ++l)
            before += all[l] < all[j] || (all[l] == all[j] && nn_row(list[l]) < row) ? 1 : 0;
        if (before + 1 >= k) continue;  // one more than the caller gets
        index(i, before + 1) = row;
        distance(i, before + 1) = static_cast<float>(all[j]);
    }
}

/// bytes: of the distances, and of the trees, at once.
template <class T>
knn_result nn_descent(cuda_context& ctx, const tensor_view<const T, 2>& x, const nn_descent_options& o,
                      index_t bytes = index_t{256} << 20) {
    const char* const op = "nn_descent";
    detail::check_nn_descent(x, o);
    const index_t n = x.extent(0), d = x.extent(1), k = o.k;
    const bool cosine = o.metric == knn_metric::cosine;
    const std::vector<double> squares = row_squares(ctx, op, x);
    check_finite_rows(ctx, op, "x row", x, squares);
    if (cosine) check_no_zero_row(op, "x row", squares, "its cosine undefined");
    if (k == n) return cluster::knn<T>(ctx, x, x, {.k = k, .metric = o.metric});

    // Rows in float about their mean, of length 1 before for cosine.
    std::vector<double> unit(cosine ? squares.size() : 0);
    for (std::size_t i = 0; i < unit.size(); ++i) unit[i] = 1.0 / std::sqrt(squares[i]);
    const uploaded<double> unit_there(ctx, op, unit);
    const double* const factor = cosine ? unit_there.data() : nullptr;
    std::vector<double> middle = column_sums(ctx, op, x, 1, factor, nullptr, 1);
    for (double& m : middle) m /= static_cast<double>(n);
    const uploaded<double> mean(ctx, op, middle);
    const scratch<float> memory(ctx, padded_rows::size(n, d), op), norms(ctx, whole_tiles(n), op);
    const padded_rows rows(memory.data(), n, d);
    center_rows(ctx, op, rows, nullptr, x, factor, mean.data());
    {
        const scratch<double> lengths(ctx, n, op);
        const tensor_view<const float, 2> view(rows.data, {n, rows.stride});
        launch(ctx, op, row_squares_kernel<float>, grid_of_rows(n), {k_row_threads}, 0, lengths.data(), view);
        launch(ctx, op, round_kernel<float>, {blocks_for(whole_tiles(n), 256)}, {256}, 0, norms.data(), lengths.data(),
               n, whole_tiles(n));
    }

    const detail::nn_descent_plan plan(n, o);
    const nn_joins joins(ctx, op, rows, norms.data(), k, bytes);
    {
        const nn_tree_shape shape(n, plan.leaf_size);
        const uploaded<index_t> starts(ctx, op, shape.leaves);
        const index_t n_leaves = static_cast<index_t>(shape.leaves.size()) - 1,
                      at_once = std::clamp<index_t>(bytes / (12 * n), 1,
                                                    std::min<index_t>(plan.n_trees, 65'535));  // of a grid
        const nn_trees trees(ctx, op, rows, shape, at_once);
        for (index_t t = 0; t < plan.n_trees; t += at_once) {
            const index_t these = std::min(at_once, plan.n_trees - t);
            trees.grow(ctx, plan.rng, t, these);
            for (index_t i = 0; i < these; ++i) {
                joins.run(ctx, {trees.rows(i), nullptr, starts.data(), nullptr, nullptr, n_leaves, shape.largest, 0},
                          n_leaves);
            }
        }
    }
    (void)joins.n_changes(ctx);
    {
        const nn_candidate_memory candidates(ctx, op, n, k, o.max_candidates);
        plan.run_rounds(o, [&](philox rng) {
            joins.run(ctx, candidates.gather(ctx, joins.lists(), rng), detail::k_nn_descent_chunk);
            return joins.n_changes(ctx);
        });
    }

    const scratch<std::int32_t> index(ctx, n * k, op);
    const scratch<float> distance(ctx, n * k, op);
    const scratch<double> room(ctx, n * k, op);
    const tensor_view<std::int32_t, 2> index_view(index.data(), {n, k});
    const tensor_view<float, 2> distance_view(distance.data(), {n, k});
    launch(ctx, op, nn_results_kernel<T>, grid_of_rows(n), {k_row_threads}, 0, index_view, distance_view, room.data(),
           joins.lists(), x, factor);
    knn_result result{tensor<std::int32_t, 2>({n, k}), tensor<float, 2>({n, k})};
    ctx.download(result.index.view(), tensor_view<const std::int32_t, 2>(index_view));
    ctx.download(result.distance.view(), tensor_view<const float, 2>(distance_view));
    return result;
}

}  // namespace cuda

template <class T>
knn_result nn_descent(cuda_context& ctx, in_view<T, 2> x, const nn_descent_options& options) {
    return cuda::nn_descent<T>(ctx, x, options);
}

}  // namespace instar::cluster

#endif
