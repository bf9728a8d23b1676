#ifndef INSTAR_CLUSTER_CUDA_KMEANS_LLOYD_CUH
#define INSTAR_CLUSTER_CUDA_KMEANS_LLOYD_CUH

// Lloyd's iteration on a GPU: every point to its nearest centre, every centre to the mean of its points.
//
//     kmeans_lloyd lloyd(ctx, "kmeans", points, k, spherical);
//     bool at_rest = lloyd.assign(ctx, centers, {});          // lloyd.labels(): device memory
//     double shift = lloyd.update(ctx, centers);              // Σ ‖new − old‖²
//
// The nearest centre is the one of largest x·c − ‖c‖²/2: tiles of products, of which a block keeps its points' best. For the means,
// points are sorted by label, keeping their order: counts of chunks, their prefix sums, places. Then every sum has one order of
// addition, and no atomic adds a float.

#include <algorithm>
#include <numeric>
#include <vector>

#include "instar/cluster/cuda/kmeans_points.cuh"
#include "instar/cluster/detail/kmeans_algorithm.hpp"

namespace instar::cluster::cuda {

// --- assignment ---------------------------------------------------------------------------------------------------------------------

/// −‖c‖²/2 of each centre; past them, what no score beats.
template <class A>
__global__ void kmeans_half_norms_kernel(A* half_norm, padded_rows centers) {
    const index_t c = own_row();
    if (c >= whole_tiles(centers.n)) return;
    double sum = 0.0;
    for (index_t p = lane_id(); p < centers.stride; p += k_warp_size) {
        const auto v = static_cast<double>(centers.row(c)[p]);
        sum += v * v;
    }
    sum = warp_sum(sum);
    if (lane_id() == 0) half_norm[c] = c < centers.n ? static_cast<A>(-0.5 * sum) : -INFINITY;
}

/// The best of slice block_y for 128 points: score and label at [slice][point], ties to the lower label.
template <class A>
__global__ void __launch_bounds__(k_tile_threads, 2)
    kmeans_assign_kernel(A* score, std::int32_t* label, padded_rows points, padded_rows centers, const A* half_norm,
                         index_t tiles_per_slice) {
    shared_memory memory;
    const product_stages stages(memory);
    const index_t first = block_x() * k_tile_edge, begin = block_y() * tiles_per_slice * k_tile_edge,
                  end = begin + tiles_per_slice * k_tile_edge < centers.n ? begin + tiles_per_slice * k_tile_edge
                                                                          : centers.n;
    float best[k_tile_each];
    std::int32_t who[k_tile_each];
    INSTAR_UNROLL
    for (int i = 0; i < k_tile_each; ++i) {
        best[i] = -INFINITY;
        who[i] = static_cast<std::int32_t>(begin);
    }
    for (index_t c0 = begin; c0 < end; c0 += k_tile_edge) {
        product_tile sums;
        multiply_rows(sums, points, first, centers, c0, stages);
        INSTAR_UNROLL
        for (int j = 0; j < k_tile_each; ++j) {
            const index_t c = c0 + tile_column(j);
            const float bias = half_norm[c];
            INSTAR_UNROLL
            for (int i = 0; i < k_tile_each; ++i) {
                const float s = sums[i][j] + bias;
                if (s > best[i]) {  // strictly: a thread's labels ascend, so the first of equals stays
                    best[i] = s;
                    who[i] = static_cast<std::int32_t>(c);
                }
            }
        }
    }
    INSTAR_UNROLL
    for (int i = 0; i < k_tile_each; ++i) {
        INSTAR_UNROLL
        for (int offset = k_tile_side / 2; offset > 0; offset /= 2) {
            const float other = __shfl_xor_sync(k_full_warp, best[i], offset);
            const std::int32_t name = __shfl_xor_sync(k_full_warp, who[i], offset);
            if (other > best[i] || (other == best[i] && name < who[i])) {
                best[i] = other;
                who[i] = name;
            }
        }
        if (tile_column(0) != 0) continue;
        const index_t at = block_y() * whole_tiles(points.n) + first + tile_row(i);
        score[at] = best[i];
        label[at] = who[i];
    }
}

/// The best of all slices becomes the label; `changed` counts those that differ from before.
template <class A>
__global__ void kmeans_settle_kernel(std::int32_t* labels, int* changed, const A* score, const std::int32_t* label,
                                     index_t n, index_t n_slices) {
    const index_t i = grid_thread(), room = whole_tiles(n);
    bool differs = false;
    if (i < n) {
        A best = score[i];
        std::int32_t who = label[i];
        for (index_t s = 1; s < n_slices; ++s) {  // slices ascend, so the first of equals stays
            if (score[s * room + i] > best) {
                best = score[s * room + i];
                who = label[s * room + i];
            }
        }
        differs = labels[i] != who;
        labels[i] = who;
    }
    const unsigned votes = __ballot_sync(k_full_warp, differs);
    if (lane_id() == 0 && votes != 0) atomicAdd(changed, __popc(votes));  // whole numbers: any order
}

// --- points by label, in their order ------------------------------------------------------------------------------------------------

/// counts[chunk][label], which were 0.
template <class I>
__global__ void kmeans_count_kernel(I* counts, const I* labels, index_t n, index_t chunk, index_t k) {
    const index_t i = grid_thread();
    if (i < n) atomicAdd(&counts[i / chunk * k + labels[i]], 1);
}
/// counts become how many there are in earlier chunks; total: in all.
template <class I>
__global__ void kmeans_prefix_kernel(I* counts, I* total, index_t n_chunks, index_t k) {
    const index_t l = grid_thread();
    if (l >= k) return;
    I sum{};
    for (index_t c = 0; c < n_chunks; ++c) {
        const I here = counts[c * k + l];
        counts[c * k + l] = sum;
        sum += here;
    }
    total[l] = sum;
}
/// start[l] = how many points have smaller labels; start[k]: all of them. One block.
template <class I>
__global__ void kmeans_starts_kernel(I* start, const I* total, index_t k) {
    INSTAR_SHARED_ARRAY(I, pieces, k_row_threads);
    const index_t per_piece = ceil_div(k, k_row_threads), begin = thread_x() * per_piece,
                  end = begin + per_piece < k ? begin + per_piece : k;
    I sum{};
    for (index_t l = begin; l < end; ++l) sum += total[l];
    pieces[thread_x()] = sum;
    __syncthreads();
    if (thread_x() == 0) {
        I before{};
        for (int p = 0; p < static_cast<int>(k_row_threads); ++p) {
            const I here = pieces[p];
            pieces[p] = before;
            before += here;
        }
        start[k] = before;
    }
    __syncthreads();
    sum = pieces[thread_x()];
    for (index_t l = begin; l < end; ++l) {
        start[l] = sum;
        sum += total[l];
    }
}
/// members = the points, sorted by label. A warp goes through a chunk, 32 points at a time; counts move on with it.
template <class I>
__global__ void kmeans_place_kernel(I* members, I* counts, const I* start, const I* labels, index_t n, index_t chunk,
                                    index_t k) {
    const index_t c = own_row(), begin = c * chunk, end = begin + chunk < n ? begin + chunk : n;
    for (index_t i0 = begin; i0 < end; i0 += k_warp_size) {
        const index_t i = i0 + lane_id();
        const I l = i < end ? labels[i] : -1;
        unsigned same = 0;
        for (int other = 0; other < k_warp_size; ++other)
            same |= __shfl_sync(k_full_warp, l, other) == l ? 1u << other : 0u;
        const int before = __popc(same & ((1u << lane_id()) - 1u)), all = __popc(same);
        I* const next = counts + c * k + l;
        const I at = l >= 0 ? *next : 0;
        if (l >= 0) members[start[l] + at + before] = static_cast<I>(i);
        __syncwarp();  // all have read what the last of them raises
        if (l >= 0 && before + 1 == all) *next = at + all;
        __syncwarp();
    }
}

// --- means ----------------------------------------------------------------------------------------------------------------------------

/// sums[label · n_splits + split][p]: of that share of the label's points, in their order. 32 features a block, lane = feature.
template <class I>
__global__ void kmeans_sums_kernel(double* sums, padded_rows points, index_t d, const I* members, const I* start,
                                   index_t n_splits) {
    INSTAR_SHARED_ARRAY(double, parts, k_block_warps* k_warp_size);
    const index_t strips = ceil_div(d, k_warp_size), share = block_x() / strips, l = share / n_splits,
                  s = share % n_splits;
    const index_t p = block_x() % strips * k_warp_size + lane_id(), first = start[l], n = start[l + 1] - first;
    double sum = 0.0;
    if (p < d) {
        for (index_t m = n * s / n_splits + warp_id(); m < n * (s + 1) / n_splits; m += k_block_warps)
            sum += static_cast<double>(points.row(members[first + m])[p]);
    }
    parts[thread_x()] = sum;
    __syncthreads();
    if (warp_id() != 0 || p >= d) return;
    for (int w = 1; w < k_block_warps; ++w) {
        const double part = parts[w * k_warp_size + lane_id()];
        sum += part;
    }
    sums[share * d + p] = sum;
}
/// Centres to the means of their points, or to those means' directions; shift[c] = ‖new − old‖². A centre without points stays.
template <class I>
__global__ void kmeans_move_kernel(padded_rows centers, double* shift, double* sums, index_t d, const I* start,
                                   index_t n_splits, bool spherical) {
    const index_t c = own_row();
    if (c >= centers.n) return;
    double* const own = sums + c * n_splits * d;
    double length = 0.0;
    for (index_t p = lane_id(); p < d; p += k_warp_size) {
        double sum = own[p];
        for (index_t s = 1; s < n_splits; ++s) sum += own[s * d + p];
        own[p] = sum;
        length += sum * sum;
    }
    length = warp_sum(length);
    const index_t n = start[c + 1] - start[c];
    const bool moves = n > 0 && !(spherical && !(length > 0.0));  // opposite points cancel: no direction to move to
    const double scale = spherical ? 1.0 / sqrt(length) : 1.0 / static_cast<double>(n);
    double by = 0.0;
    for (index_t p = lane_id(); p < d && moves; p += k_warp_size) {
        const auto to = static_cast<float>(own[p] * scale);
        const double step = static_cast<double>(to) - static_cast<double>(centers.row(c)[p]);
        by += step * step;
        centers.row(c)[p] = to;
    }
    by = warp_sum(by);
    if (lane_id() == 0) shift[c] = by;
}

/// ‖x − its centre‖², in double from differences.
template <class I>
__global__ void kmeans_distances_kernel(double* distance, padded_rows points, padded_rows centers, const I* labels) {
    const index_t i = own_row();
    if (i >= points.n) return;
    const float *const x = points.row(i), *const c = centers.row(labels[i]);
    double sum = 0.0;
    for (index_t p = lane_id(); p < points.stride; p += k_warp_size) {
        const double by = static_cast<double>(x[p]) - static_cast<double>(c[p]);
        sum += by * by;
    }
    sum = warp_sum(sum);
    if (lane_id() == 0) distance[i] = sum;
}

class kmeans_lloyd {
public:
    kmeans_lloyd(cuda_context& ctx, const char* op, const kmeans_points& points, index_t k, bool spherical)
        : op_(op),
          points_(points),
          k_(k),
          spherical_(spherical),
          chunk_(std::max<index_t>(1024, k)),
          n_chunks_(ceil_div(points.n(), chunk_)),
          n_splits_(std::clamp<index_t>(points.n() / (256 * k), 1, 256)),
          labels_(ctx, points.n(), op),
          members_(ctx, points.n(), op),
          counts_(ctx, n_chunks_ * k, op),
          totals_(ctx, k, op),
          start_(ctx, k + 1, op),
          half_norms_(ctx, whole_tiles(k), op) {
        set_all(ctx, op, labels_.data(), points.n(), -1);
    }

    const std::int32_t* labels() const { return labels_.data(); }

    /// True when no label changed.
    bool assign(cuda_context& ctx, const padded_rows& centers, kmeans_algorithm) {
        const index_t n = points_.n(), n_tiles = ceil_div(k_, k_tile_edge), point_tiles = ceil_div(n, k_tile_edge);
        // Few points share the device by slices of the centres.
        const index_t busy = 4 * static_cast<index_t>(ctx.properties().n_multiprocessors);
        const index_t tiles_per_slice =
                          ceil_div(n_tiles, std::min({n_tiles, ceil_div(busy, point_tiles), index_t{16}})),
                      n_slices = ceil_div(n_tiles, tiles_per_slice);
        const scratch<float> score(ctx, n_slices * whole_tiles(n), op_);
        const scratch<std::int32_t> label(ctx, n_slices * whole_tiles(n), op_);
        const scratch<int> changed(ctx, 1, op_);
        set_all(ctx, op_, changed.data(), 1, 0);
        launch(ctx, op_, kmeans_half_norms_kernel<float>, grid_of_rows(whole_tiles(k_)), {k_row_threads}, 0,
               half_norms_.data(), centers);
        launch(ctx, op_, kmeans_assign_kernel<float>, {blocks_for(n, k_tile_edge), static_cast<unsigned>(n_slices)},
               {k_tile_threads}, product_stages::k_bytes, score.data(), label.data(), points_.rows(), centers,
               half_norms_.data(), tiles_per_slice);
        launch(ctx, op_, kmeans_settle_kernel<float>, {blocks_for(n, 256)}, {256}, 0, labels_.data(), changed.data(),
               score.data(), label.data(), n, n_slices);
        return downloaded<int>(ctx, changed.data(), 1)[0] == 0;
    }

    /// Centres to the means of their points; a centre without points first gets the point that lies farthest from its own
    /// (scikit-learn's rule; the farthest of all for the first such centre).
    double update(cuda_context& ctx, const padded_rows& centers) {
        sort_by_label(ctx);
        relocate(ctx, centers);
        const index_t d = points_.d(), n_shares = k_ * n_splits_;
        const scratch<double> sums(ctx, n_shares * d, op_), shift(ctx, k_, op_);
        launch(ctx, op_, kmeans_sums_kernel<std::int32_t>, {blocks_for(n_shares * ceil_div(d, k_warp_size), 1)},
               {k_row_threads}, 0, sums.data(), points_.rows(), d, members_.data(), start_.data(), n_splits_);
        launch(ctx, op_, kmeans_move_kernel<std::int32_t>, grid_of_rows(k_), {k_row_threads}, 0, centers, shift.data(),
               sums.data(), d, start_.data(), n_splits_, spherical_);
        const std::vector<double> each = downloaded<double>(ctx, shift.data(), k_);
        return std::accumulate(each.begin(), each.end(), 0.0);
    }

    /// Σ ‖x − its centre‖², in double from differences.
    double inertia(cuda_context& ctx, const padded_rows& centers) const {
        const std::vector<double> each = distances(ctx, centers);
        return std::accumulate(each.begin(), each.end(), 0.0);
    }

    index_t n_nonempty(cuda_context& ctx) {
        sort_by_label(ctx);
        const std::vector<std::int32_t> total = downloaded<std::int32_t>(ctx, totals_.data(), k_);
        return std::count_if(total.begin(), total.end(), [](std::int32_t n) { return n > 0; });
    }

private:
    std::vector<double> distances(cuda_context& ctx, const padded_rows& centers) const {
        const scratch<double> each(ctx, points_.n(), op_);
        launch(ctx, op_, kmeans_distances_kernel<std::int32_t>, grid_of_rows(points_.n()), {k_row_threads}, 0,
               each.data(), points_.rows(), centers, labels_.data());
        return downloaded<double>(ctx, each.data(), points_.n());
    }

    void sort_by_label(cuda_context& ctx) const {
        const index_t n = points_.n();
        set_all(ctx, op_, counts_.data(), n_chunks_ * k_, 0);
        launch(ctx, op_, kmeans_count_kernel<std::int32_t>, {blocks_for(n, 256)}, {256}, 0, counts_.data(),
               labels_.data(), n, chunk_, k_);
        launch(ctx, op_, kmeans_prefix_kernel<std::int32_t>, {blocks_for(k_, 256)}, {256}, 0, counts_.data(),
               totals_.data(), n_chunks_, k_);
        launch(ctx, op_, kmeans_starts_kernel<std::int32_t>, {1}, {k_row_threads}, 0, start_.data(), totals_.data(),
               k_);
        launch(ctx, op_, kmeans_place_kernel<std::int32_t>, grid_of_rows(n_chunks_), {k_row_threads}, 0,
               members_.data(), counts_.data(), start_.data(), labels_.data(), n, chunk_, k_);
    }

    /// On the host: it is rare, and then concerns few points.
    void relocate(cuda_context& ctx, const padded_rows& centers) const {
        const std::vector<std::int32_t> total = downloaded<std::int32_t>(ctx, totals_.data(), k_);
        std::vector<std::int32_t> empty;
        for (std::size_t c = 0; c < total.size(); ++c) {
            if (total[c] == 0) empty.push_back(static_cast<std::int32_t>(c));
        }
        if (empty.empty()) return;
        const std::vector<double> far = distances(ctx, centers);
        std::vector<std::int32_t> order(far.size());
        std::iota(order.begin(), order.end(), 0);
        const std::size_t n_moves = std::min(empty.size(), order.size());
        std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(n_moves), order.end(),
                          [&](std::int32_t a, std::int32_t b) {
                              const double x = far[static_cast<std::size_t>(a)], y = far[static_cast<std::size_t>(b)];
                              return x > y || (x == y && a < b);
                          });
        std::vector<std::int32_t> labels = downloaded<std::int32_t>(ctx, labels_.data(), points_.n());
        for (std::size_t e = 0; e < n_moves && far[static_cast<std::size_t>(order[e])] > 0.0; ++e)
            labels[static_cast<std::size_t>(order[e])] = empty[e];
        ctx.upload(tensor_view<std::int32_t, 1>(labels_.data(), {points_.n()}),
                   tensor_view<const std::int32_t, 1>(labels.data(), {points_.n()}));
        sort_by_label(ctx);
    }

    const char* op_;
    const kmeans_points& points_;
    index_t k_;
    bool spherical_;
    index_t chunk_, n_chunks_, n_splits_;
    scratch<std::int32_t> labels_, members_, counts_, totals_, start_;
    scratch<float> half_norms_;
};

}  // namespace instar::cluster::cuda

#endif
