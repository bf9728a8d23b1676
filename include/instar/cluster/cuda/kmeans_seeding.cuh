#ifndef INSTAR_CLUSTER_CUDA_KMEANS_SEEDING_CUH
#define INSTAR_CLUSTER_CUDA_KMEANS_SEEDING_CUH

// Greedy k-means++ on a GPU, with the draws of detail/kmeans_seeding.hpp. The k − 1 steps depend on each other, so what counts is that
// none waits for the host: a step is four launches.
//
//     draw      each candidate's block walks the sums of squared distances to the point at which they pass its random number
//     gains     128 points against all candidates at once: squared distances, and what each would lower their sum by
//     totals    each candidate's gains, added in order
//     lower     the best one's distances lower the points' own; their sums for the next draw
//
//     kmeans_seeding seeding(ctx, "kmeans", points, k);
//     seeding.choose(chosen, rng);                            // chosen: k rows, device memory

#include <limits>

#include "instar/cluster/cuda/kmeans_points.cuh"
#include "instar/core/philox.hpp"

namespace instar::cluster::cuda {

inline constexpr int k_seed_block = 128;  ///< points of a block, and its threads
inline constexpr int k_draw_threads = 256;

/// What the kernels of seeding share. Device memory.
struct kmeans_seeds {
    padded_rows points;
    const float* norms;
    float* nearest;        ///< [whole tiles] squared distance to the nearest centre so far; 0 past the points
    float* distance;       ///< [trial][whole tiles] to the candidates
    double* sum;           ///< [n_blocks] of nearest
    double* gain;          ///< [trial][n_blocks]
    double* total;         ///< [trial] of gains
    std::int32_t* drawn;   ///< [trial]
    std::int32_t* chosen;  ///< [k]
    index_t n_blocks;

    /// The first of the largest totals: the same in every thread that asks.
    __device__ int best(int n_trials) const {
        int best = 0;
        for (int t = 1; t < n_trials; ++t) {
            if (total[t] > total[best]) best = t;
        }
        return best;
    }
};

/// Uniform in [0, 1) with 48 bits.
INSTAR_HOST_DEVICE inline double seeding_uniform(const philox& rng, std::uint64_t i) {
    return static_cast<double>(rng.uniform(2 * i)) + static_cast<double>(rng.uniform(2 * i + 1)) * 0x1.0p-24;
}

/// Block t draws candidate t. `step`: how many centres there are.
template <class A>
__global__ void seeding_draw_kernel(kmeans_seeds s, philox rng, index_t step, index_t n_trials) {
    INSTAR_SHARED_ARRAY(A, pieces, k_draw_threads);
    INSTAR_SHARED_ARRAY(float, near, k_seed_block);
    INSTAR_SHARED_ARRAY(A, left, 1);
    INSTAR_SHARED_ARRAY(index_t, where, 1);
    const index_t per_piece = ceil_div(s.n_blocks, k_draw_threads), begin = thread_x() * per_piece,
                  end = begin + per_piece < s.n_blocks ? begin + per_piece : s.n_blocks;
    A piece{};
    for (index_t b = begin; b < end; ++b) piece += s.sum[b];
    pieces[thread_x()] = piece;
    __syncthreads();
    if (thread_x() == 0) {
        A potential{};
        for (int i = 0; i < k_draw_threads; ++i) {
            const A part = pieces[i];
            potential += part;
        }
        A target = potential * seeding_uniform(rng, static_cast<std::uint64_t>(step * n_trials + block_x()));
        const index_t n_pieces = ceil_div(s.n_blocks, per_piece);
        index_t p = 0;
        for (; p + 1 < n_pieces; ++p) {
            const A part = pieces[p];
            if (target < part) break;
            target -= part;
        }
        index_t b = p * per_piece;
        const index_t last = b + per_piece < s.n_blocks ? b + per_piece : s.n_blocks;
        for (; b + 1 < last && target >= s.sum[b]; ++b) target -= s.sum[b];
        left[0] = target;
        where[0] = potential > A{} ? b : -1;  // −1: every point coincides with a centre
    }
    __syncthreads();
    const index_t b = where[0];
    if (b < 0) {  // the rest of the centres are copies, and their clusters stay empty
        if (thread_x() == 0) s.drawn[block_x()] = s.chosen[step - 1];
        return;
    }
    if (thread_x() < k_seed_block) near[thread_x()] = s.nearest[b * k_seed_block + thread_x()];
    __syncthreads();
    if (thread_x() != 0) return;
    A target = left[0];
    int found = 0;  // by rounding none may be: then the last that may be drawn
    for (int i = 0; i < k_seed_block; ++i) {
        const float v = near[i];
        if (v > 0.0f) found = i;
        if (target < static_cast<A>(v)) break;
        target -= static_cast<A>(v);
    }
    s.drawn[block_x()] = static_cast<std::int32_t>(b * k_seed_block + found);
}

/// Squared distances of a block's points to the candidates, a point a thread, and the candidates' gains there.
template <int Trials>
__global__ void __launch_bounds__(k_seed_block) seeding_gains_kernel(kmeans_seeds s, int n_trials) {
    constexpr int k_pitch = k_seed_block + 1, k_warps = k_seed_block / k_warp_size;
    INSTAR_SHARED_ARRAY(float, points, k_stage_depth* k_pitch);
    INSTAR_SHARED_ARRAY(float, candidates, k_stage_depth* Trials);
    INSTAR_SHARED_ARRAY(double, gains, k_warps* Trials);
    const index_t first = block_x() * k_seed_block, i = first + thread_x(), room = whole_tiles(s.points.n);
    float dot[Trials] = {};
    for (index_t depth = 0; depth < s.points.stride; depth += k_stage_depth) {
        __syncthreads();  // the last stage has been read
        for (int q = thread_x(); q < k_seed_block * k_stage_depth / 4; q += k_seed_block) {
            float v[4];
            load<4>(v, s.points.row(first + q / 4) + depth + q % 4 * 4);
            for (int k = 0; k < 4; ++k) points[(q % 4 * 4 + k) * k_pitch + q / 4] = v[k];
        }
        for (int q = thread_x(); q < Trials * k_stage_depth; q += k_seed_block) {
            const int t = q / k_stage_depth, k = q % k_stage_depth;
            candidates[k * Trials + t] = t < n_trials ? s.points.row(s.drawn[t])[depth + k] : 0.0f;
        }
        __syncthreads();
        INSTAR_UNROLL
        for (int k = 0; k < k_stage_depth; ++k) {
            const float x = points[k * k_pitch + thread_x()];
            INSTAR_UNROLL
            for (int t = 0; t < Trials; ++t) dot[t] += x * candidates[k * Trials + t];
        }
    }
    const float norm = s.norms[i], now = s.nearest[i];
    INSTAR_UNROLL
    for (int t = 0; t < Trials; ++t) {
        if (t >= n_trials) break;  // all threads
        const float by = (norm + s.norms[s.drawn[t]]) - (dot[t] + dot[t]), distance = by > 0.0f ? by : 0.0f;
        s.distance[t * room + i] = distance;
        const double gain = warp_sum(now > distance ? static_cast<double>(now - distance) : 0.0);
        if (lane_id() == 0) gains[warp_id() * Trials + t] = gain;
    }
    __syncthreads();
    for (int t = thread_x(); t < n_trials; t += k_seed_block) {
        double sum = 0.0;
        for (int w = 0; w < k_warps; ++w) {
            const double part = gains[w * Trials + t];
            sum += part;
        }
        s.gain[t * s.n_blocks + block_x()] = sum;
    }
}

/// Block t adds the gains of candidate t.
template <class A>
__global__ void seeding_totals_kernel(kmeans_seeds s) {
    INSTAR_SHARED_ARRAY(A, parts, k_block_warps);
    A sum{};
    for (index_t b = thread_x(); b < s.n_blocks; b += k_row_threads) sum += s.gain[block_x() * s.n_blocks + b];
    sum = warp_sum(sum);
    if (lane_id() == 0) parts[warp_id()] = sum;
    __syncthreads();
    if (thread_x() != 0) return;
    for (int w = 1; w < k_block_warps; ++w) {
        const A part = parts[w];
        sum += part;
    }
    s.total[block_x()] = sum;
}

/// Takes the best candidate in as centre number `step`.
template <class A>
__global__ void seeding_lower_kernel(kmeans_seeds s, index_t step, int n_trials) {
    INSTAR_SHARED_ARRAY(A, parts, k_seed_block / k_warp_size);
    const int best = s.best(n_trials);
    const std::int32_t center = s.drawn[best];
    const index_t i = block_x() * k_seed_block + thread_x();
    float v = s.nearest[i];
    const float distance = s.distance[best * whole_tiles(s.points.n) + i];
    if (distance < v) v = distance;
    if (i == center) v = 0.0f;  // rounding must not choose it again
    s.nearest[i] = v;
    A sum = warp_sum(static_cast<A>(v));
    if (lane_id() == 0) parts[warp_id()] = sum;
    __syncthreads();
    if (thread_x() != 0) return;
    for (int w = 1; w < k_seed_block / k_warp_size; ++w) {
        const A part = parts[w];
        sum += part;
    }
    s.sum[block_x()] = sum;
    if (block_x() == 0) s.chosen[step] = center;
}

class kmeans_seeding {
public:
    kmeans_seeding(cuda_context& ctx, const char* op, const kmeans_points& points, index_t k)
        : ctx_(ctx),
          op_(op),
          points_(points),
          k_(k),
          n_trials_(2 + static_cast<int>(std::log(static_cast<double>(k)))),
          n_blocks_(ceil_div(points.n(), k_seed_block)),
          nearest_(ctx, whole_tiles(points.n()), op),
          distance_(ctx, n_trials_ * whole_tiles(points.n()), op),
          sums_(ctx, (1 + n_trials_) * n_blocks_ + n_trials_, op),
          drawn_(ctx, n_trials_, op) {
        static_assert(k_seed_block == k_tile_edge, "points come in whole tiles");
    }

    /// Rows of the k centres, in the order in which they were chosen.
    void choose(std::int32_t* chosen, philox rng) const {
        const index_t n = points_.n();
        double* const sum = sums_.data();
        const kmeans_seeds s{points_.rows(),
                             points_.norms(),
                             nearest_.data(),
                             distance_.data(),
                             sum,
                             sum + n_blocks_,
                             sum + (1 + n_trials_) * n_blocks_,
                             drawn_.data(),
                             chosen,
                             n_blocks_};
        set_all(ctx_, op_, nearest_.data(), whole_tiles(n), 0.0f);
        set_all(ctx_, op_, nearest_.data(), n, std::numeric_limits<float>::max());
        const auto first =
            std::min<index_t>(n - 1, static_cast<index_t>(static_cast<double>(n) * seeding_uniform(rng, 0)));
        set_all(ctx_, op_, drawn_.data(), 1, static_cast<std::int32_t>(first));
        take(s, 0, 1);
        for (index_t step = 1; step < k_; ++step) {
            launch(ctx_, op_, seeding_draw_kernel<double>, {static_cast<unsigned>(n_trials_)}, {k_draw_threads}, 0, s,
                   rng, step, n_trials_);
            take(s, step, n_trials_);
        }
    }

private:
    /// The best of the first n_trials candidates becomes a centre.
    void take(const kmeans_seeds& s, index_t step, int n_trials) const {
        const extent3 grid{static_cast<unsigned>(n_blocks_)}, block{k_seed_block};
        if (n_trials <= 8) launch(ctx_, op_, seeding_gains_kernel<8>, grid, block, 0, s, n_trials);
        else if (n_trials <= 12) launch(ctx_, op_, seeding_gains_kernel<12>, grid, block, 0, s, n_trials);
        else launch(ctx_, op_, seeding_gains_kernel<24>, grid, block, 0, s, n_trials);  // k < 2³¹: at most 23
        launch(ctx_, op_, seeding_totals_kernel<double>, {static_cast<unsigned>(n_trials)}, {k_row_threads}, 0, s);
        launch(ctx_, op_, seeding_lower_kernel<double>, grid, block, 0, s, step, n_trials);
    }

    cuda_context& ctx_;
    const char* op_;
    const kmeans_points& points_;
    index_t k_;
    int n_trials_;
    index_t n_blocks_;
    scratch<float> nearest_, distance_;
    scratch<double> sums_;
    scratch<std::int32_t> drawn_;
};

}  // namespace instar::cluster::cuda

#endif
