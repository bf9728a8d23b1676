#ifndef INSTAR_CLUSTER_CUDA_KMEANS_MEMBERS_CUH
#define INSTAR_CLUSTER_CUDA_KMEANS_MEMBERS_CUH

// Points sorted by label on a GPU, and the sums of each label's points: for the means of k-means, whole and in batches.
//
//     const kmeans_members members(ctx, "kmeans", n, k);
//     members.sort(ctx, labels);                        // members.start()[l] …: the points of label l, ascending
//     members.add(ctx, sums, points, d);                // sums[l · n_splits() + split][p]
//
// Counts of chunks, their prefix sums, places. The order of points is kept, so every sum has one order of addition, and no atomic adds
// a float.

#include <algorithm>

#include "instar/cluster/cuda/rows.cuh"

namespace instar::cluster::cuda {

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
class kmeans_members {
public:
    kmeans_members(cuda_context& ctx, const char* op, index_t n, index_t k)
        : op_(op),
          n_(n),
          k_(k),
          chunk_(std::max<index_t>(1024, k)),
          n_chunks_(ceil_div(n, chunk_)),
          n_splits_(std::clamp<index_t>(n / (256 * k), 1, 256)),
          members_(ctx, n, op),
          counts_(ctx, n_chunks_ * k, op),
          totals_(ctx, k, op),
          start_(ctx, k + 1, op) {}

    const std::int32_t* start() const { return start_.data(); }    ///< [k + 1], device memory
    const std::int32_t* totals() const { return totals_.data(); }  ///< [k], device memory
    index_t n_splits() const { return n_splits_; }                 ///< shares that a label's points are added in

    void sort(cuda_context& ctx, const std::int32_t* labels) const {
        set_all(ctx, op_, counts_.data(), n_chunks_ * k_, 0);
        launch(ctx, op_, kmeans_count_kernel<std::int32_t>, {blocks_for(n_, 256)}, {256}, 0, counts_.data(), labels, n_,
               chunk_, k_);
        launch(ctx, op_, kmeans_prefix_kernel<std::int32_t>, {blocks_for(k_, 256)}, {256}, 0, counts_.data(),
               totals_.data(), n_chunks_, k_);
        launch(ctx, op_, kmeans_starts_kernel<std::int32_t>, {1}, {k_row_threads}, 0, start_.data(), totals_.data(),
               k_);
        launch(ctx, op_, kmeans_place_kernel<std::int32_t>, grid_of_rows(n_chunks_), {k_row_threads}, 0,
               members_.data(), counts_.data(), start_.data(), labels, n_, chunk_, k_);
    }

    /// After sort. sums: [k · n_splits()][d].
    void add(cuda_context& ctx, double* sums, const padded_rows& points, index_t d) const {
        launch(ctx, op_, kmeans_sums_kernel<std::int32_t>, {blocks_for(k_ * n_splits_ * ceil_div(d, k_warp_size), 1)},
               {k_row_threads}, 0, sums, points, d, members_.data(), start_.data(), n_splits_);
    }

private:
    const char* op_;
    index_t n_, k_, chunk_, n_chunks_, n_splits_;
    scratch<std::int32_t> members_, counts_, totals_, start_;
};

}  // namespace instar::cluster::cuda

#endif
