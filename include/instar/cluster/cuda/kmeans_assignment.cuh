#ifndef INSTAR_CLUSTER_CUDA_KMEANS_ASSIGNMENT_CUH
#define INSTAR_CLUSTER_CUDA_KMEANS_ASSIGNMENT_CUH

// Every point to its nearest centre on a GPU, for k-means whole and in batches.
//
//     const kmeans_assignment assignment(ctx, "kmeans", n_centers);
//     bool at_rest = assignment.run(ctx, labels, points, centers);       // true: no label changed
//     squared_distances(ctx, op, distance, points, centers, labels);     // in double
//
// The nearest centre is the one of largest x·c − ‖c‖²/2: tiles of products, of which a block keeps its points' best.

#include <algorithm>

#include "instar/cluster/cuda/rows.cuh"

namespace instar::cluster::cuda {

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

/// distance[i] of each point. Queued.
inline void squared_distances(cuda_context& ctx, const char* op, double* distance, const padded_rows& points,
                              const padded_rows& centers, const std::int32_t* labels) {
    launch(ctx, op, kmeans_distances_kernel<std::int32_t>, grid_of_rows(points.n), {k_row_threads}, 0, distance, points,
           centers, labels);
}

class kmeans_assignment {
public:
    kmeans_assignment(cuda_context& ctx, const char* op, index_t k)
        : op_(op),
          k_(k),
          half_norms_(ctx, whole_tiles(k), op) {}

    /// labels: [points.n], device memory. True when none changed; waits for the device.
    bool run(cuda_context& ctx, std::int32_t* labels, const padded_rows& points, const padded_rows& centers) const {
        const scratch<int> changed(ctx, 1, op_);
        set_all(ctx, op_, changed.data(), 1, 0);
        queue(ctx, labels, changed.data(), points, centers);
        return downloaded<int>(ctx, changed.data(), 1)[0] == 0;
    }

    /// The same without the wait: `changed`, device memory, is raised by the number of labels that changed.
    void queue(cuda_context& ctx, std::int32_t* labels, int* changed, const padded_rows& points,
               const padded_rows& centers) const {
        const index_t n = points.n, n_tiles = ceil_div(k_, k_tile_edge), point_tiles = ceil_div(n, k_tile_edge);
        // Few points share the device by slices of the centres.
        const index_t busy = 4 * static_cast<index_t>(ctx.properties().n_multiprocessors);
        const index_t tiles_per_slice =
                          ceil_div(n_tiles, std::min({n_tiles, ceil_div(busy, point_tiles), index_t{16}})),
                      n_slices = ceil_div(n_tiles, tiles_per_slice);
        const scratch<float> score(ctx, n_slices * whole_tiles(n), op_);
        const scratch<std::int32_t> label(ctx, n_slices * whole_tiles(n), op_);
        launch(ctx, op_, kmeans_half_norms_kernel<float>, grid_of_rows(whole_tiles(k_)), {k_row_threads}, 0,
               half_norms_.data(), centers);
        launch(ctx, op_, kmeans_assign_kernel<float>, {blocks_for(n, k_tile_edge), static_cast<unsigned>(n_slices)},
               {k_tile_threads}, product_stages::k_bytes, score.data(), label.data(), points, centers,
               half_norms_.data(), tiles_per_slice);
        launch(ctx, op_, kmeans_settle_kernel<float>, {blocks_for(n, 256)}, {256}, 0, labels, changed, score.data(),
               label.data(), n, n_slices);
    }

private:
    const char* op_;
    index_t k_;
    scratch<float> half_norms_;
};

}  // namespace instar::cluster::cuda

#endif
