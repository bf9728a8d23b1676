#ifndef INSTAR_CLUSTER_CUDA_SPANNING_TREE_CUH
#define INSTAR_CLUSTER_CUDA_SPANNING_TREE_CUH

// Single linkage on a GPU: Prim's minimum spanning tree (detail/agglomerative_single.hpp has the idea), a point a step. A step is two
// kernels: all points compare their distance to the tree with that to the point that joined last; one block finds the nearest, which
// joins. What the next step needs stays on the device, so the host only queues them, and waits a few hundred times in all.
//
//     const auto merges = spanning_tree_of_rows<float>(ctx, op, x, metric, progress);
//
// Points lie a coordinate after the other, so that neighbouring threads read neighbouring elements. Where half of them are in the tree
// the others are copied together: each step then reads what is left.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "instar/cluster/cuda/linkage_distances.cuh"
#include "instar/cluster/detail/linkage_chain.hpp"

namespace instar::cluster::cuda {

/// Prim's tree while it grows. In device memory.
struct growing_tree {
    index_t n;                  ///< columns: points, some of which have joined
    const std::int32_t* point;  ///< [n] of each column, ascending
    double* nearest;            ///< [n] distance to the tree; −1: it has joined
    std::int32_t* joined;       ///< points in the order they joined
    double* length;             ///< of the edge that each but the first came by
    std::int32_t* n_joined;
};

/// Distances of the columns' points to the one that joined last.
template <class S>
struct column_distances {
    const S* columns;  ///< [d][stride]
    index_t stride, d;
    double* row;  ///< [d] the point that joined last
    point_distance measure;

    __device__ double operator()(index_t column, std::int32_t) const {
        double sum = 0.0;
        for (index_t p = 0; p < d; ++p) add_square(sum, row[p] - static_cast<double>(columns[p * stride + column]));
        return measure.of_squares(sum);
    }
    /// By all threads of a block.
    __device__ void choose(index_t column, std::int32_t) const {
        for (index_t p = thread_x(); p < d; p += k_nearest_threads)
            row[p] = static_cast<double>(columns[p * stride + column]);
    }
};
template <class S>
struct matrix_distances {
    condensed_matrix<S> matrix;
    std::int32_t* current;

    __device__ double operator()(index_t, std::int32_t point) const {
        return static_cast<double>(matrix(*current, point));
    }
    __device__ void choose(index_t, std::int32_t point) const {
        if (thread_x() == 0) *current = point;
    }
};

template <class Distances>
__global__ void spanning_start_kernel(growing_tree tree, Distances distances) {
    if (thread_x() == 0) {
        tree.nearest[0] = -1.0;
        tree.joined[0] = 0;
        *tree.n_joined = 1;
    }
    distances.choose(0, 0);
}

template <class Distances>
__global__ void spanning_step_kernel(growing_tree tree, block_minima minima, Distances distances) {
    const index_t column = grid_thread();
    nearest_slot best;
    if (column < tree.n && tree.nearest[column] >= 0.0) {
        const std::int32_t point = tree.point[column];
        const double distance = distances(column, point);
        double& nearest = tree.nearest[column];
        if (distance < nearest) nearest = distance;
        best.take({nearest, point});
    }
    best = nearest_of_block(best);
    if (thread_x() == 0) minima.put(best);
}

/// The nearest point joins: a single block.
template <class Distances>
__global__ void spanning_join_kernel(growing_tree tree, block_minima minima, Distances distances) {
    INSTAR_SHARED_ARRAY(std::int32_t, chosen, 2);
    const nearest_slot best = minima.nearest();
    if (thread_x() == 0) {
        index_t low = 0, high = tree.n - 1;  // points ascend with their columns
        while (low < high) {
            const index_t middle = (low + high) / 2;
            if (tree.point[middle] < best.slot) low = middle + 1;
            else high = middle;
        }
        const std::int32_t at = *tree.n_joined;
        tree.joined[at] = best.slot;
        tree.length[at - 1] = best.distance;
        tree.nearest[low] = -1.0;
        *tree.n_joined = at + 1;
        chosen[0] = static_cast<std::int32_t>(low);
        chosen[1] = best.slot;
    }
    __syncthreads();
    const std::int32_t column = chosen[0], point = chosen[1];
    distances.choose(column, point);
}

/// to[p][k] = from[p][kept[k]], and their points and distances.
template <class S>
__global__ void keep_columns_kernel(S* to, index_t to_stride, std::int32_t* to_point, double* to_nearest, const S* from,
                                    index_t from_stride, index_t d, growing_tree tree, const std::int32_t* kept,
                                    index_t n) {
    const index_t i = grid_thread();
    if (i >= n * d) return;
    const index_t k = i % n, p = i / n, column = kept[k];
    to[p * to_stride + k] = from[p * from_stride + column];
    if (p != 0) return;
    to_point[k] = tree.point[column];
    to_nearest[k] = tree.nearest[column];
}

/// What a tree is grown in.
class spanning_tree_memory {
public:
    spanning_tree_memory(cuda_context& ctx, const char* op, index_t n)
        : ctx_(ctx),
          op_(op),
          n_points_(n),
          joined_(ctx, n, op),
          length_(ctx, n - 1, op),
          n_joined_(ctx, 1, op) {
        std::vector<std::int32_t> points(static_cast<std::size_t>(n));
        for (std::size_t i = 0; i < points.size(); ++i) points[i] = static_cast<std::int32_t>(i);
        resize(n);
        ctx.upload(tensor_view<std::int32_t, 1>(point_->data(), {n}),
                   tensor_view<const std::int32_t, 1>(points.data(), {n}));
        set_all(ctx, op, nearest_->data(), n, static_cast<double>(INFINITY));
    }

    growing_tree view() const {
        return {n_, point_->data(), nearest_->data(), joined_.data(), length_.data(), n_joined_.data()};
    }
    /// Steps until the tree has `target` points.
    template <class Distances>
    void grow(const Distances& distances, index_t from, index_t target) const {
        const block_minima_memory minima(ctx_, op_, n_);
        for (index_t k = from; k < target; ++k) {
            launch(ctx_, op_, spanning_step_kernel<Distances>, minima.grid(), {k_nearest_threads}, 0, view(),
                   minima.view(), distances);
            launch(ctx_, op_, spanning_join_kernel<Distances>, {1}, {k_nearest_threads}, 0, view(), minima.view(),
                   distances);
        }
    }
    /// The columns whose points have not joined.
    std::vector<std::int32_t> open() const {
        const std::vector<double> nearest = downloaded<double>(ctx_, nearest_->data(), n_);
        std::vector<std::int32_t> columns;
        for (std::size_t c = 0; c < nearest.size(); ++c) {
            if (nearest[c] >= 0.0) columns.push_back(static_cast<std::int32_t>(c));
        }
        return columns;
    }
    /// Drops all columns but `kept`. columns: [d][stride], to: [d][to_stride].
    template <class S>
    void keep(S* to, index_t to_stride, const S* columns, index_t stride, index_t d,
              const std::vector<std::int32_t>& kept) {
        const growing_tree before = view();
        const std::unique_ptr<scratch<std::int32_t>> old_point = std::move(point_);
        const std::unique_ptr<scratch<double>> old_nearest = std::move(nearest_);
        const uploaded<std::int32_t> on_device(ctx_, op_, kept);
        resize(static_cast<index_t>(kept.size()));
        launch(ctx_, op_, keep_columns_kernel<S>, {blocks_for(n_ * d, 256)}, {256}, 0, to, to_stride, point_->data(),
               nearest_->data(), columns, stride, d, before, on_device.data(), n_);
    }
    /// The edges, as they were added.
    std::vector<detail::merge_record> edges() const {
        const std::vector<std::int32_t> joined = downloaded<std::int32_t>(ctx_, joined_.data(), n_points_);
        const std::vector<double> length = downloaded<double>(ctx_, length_.data(), n_points_ - 1);
        std::vector<detail::merge_record> found;
        for (std::size_t k = 0; k < length.size(); ++k) found.push_back({joined[k], joined[k + 1], length[k]});
        return found;
    }

private:
    void resize(index_t n) {
        n_ = n;
        point_ = std::make_unique<scratch<std::int32_t>>(ctx_, n, op_);
        nearest_ = std::make_unique<scratch<double>>(ctx_, n, op_);
    }

    cuda_context& ctx_;
    const char* op_;
    index_t n_points_, n_ = 0;
    scratch<std::int32_t> joined_;
    scratch<double> length_;
    scratch<std::int32_t> n_joined_;
    std::unique_ptr<scratch<std::int32_t>> point_;
    std::unique_ptr<scratch<double>> nearest_;
};

/// Grows the whole tree. between(n_open) is called whenever the host has waited.
template <class Distances, class Between>
std::vector<detail::merge_record> grow_spanning_tree(cuda_context& ctx, const char* op,
                                                     const spanning_tree_memory& tree, index_t n, Distances& distances,
                                                     const detail::linkage_progress& progress, Between&& between) {
    launch(ctx, op, spanning_start_kernel<Distances>, {1}, {k_nearest_threads}, 0, tree.view(), distances);
    const detail::linkage_ticks tick(progress, n - 1);
    const index_t step = (n - 1) / 256 + 1;
    for (index_t done = 0; done < n - 1;) {
        const index_t target = std::min(done + step, n - 1);
        tree.grow(distances, done, target);
        ctx.synchronize();
        while (done < target) tick(++done);
        between(n - 1 - done);
    }
    return tree.edges();
}

/// Rows of x; S: what coordinates are kept in. compact_from: as many columns as are worth copying together.
template <class S, class T>
std::vector<detail::merge_record> spanning_tree_of_rows(cuda_context& ctx, const char* op,
                                                        const tensor_view<const T, 2>& x, const point_distance& measure,
                                                        const detail::linkage_progress& progress,
                                                        index_t compact_from = 4096) {
    const index_t n = x.extent(0), d = x.extent(1);
    const auto padded = [](index_t columns) { return instar::cuda::ceil_div(columns, k_warp_size) * k_warp_size; };
    auto columns = std::make_unique<scratch<S>>(ctx, padded(n) * d, op);
    linkage_rows(ctx, op, columns->data(), 1, padded(n), x, measure);
    const scratch<double> row(ctx, d, op);
    spanning_tree_memory tree(ctx, op, n);
    column_distances<S> distances{columns->data(), padded(n), d, row.data(), measure};
    return grow_spanning_tree(ctx, op, tree, n, distances, progress, [&](index_t n_open) {
        if (tree.view().n < compact_from || 2 * n_open > tree.view().n || n_open == 0) return;
        auto fewer = std::make_unique<scratch<S>>(ctx, padded(n_open) * d, op);
        tree.keep(fewer->data(), padded(n_open), distances.columns, distances.stride, d, tree.open());
        columns = std::move(fewer);
        distances.columns = columns->data();
        distances.stride = padded(n_open);
    });
}

template <class S>
std::vector<detail::merge_record> spanning_tree_of_matrix(cuda_context& ctx, const char* op,
                                                          const condensed_matrix<S>& matrix,
                                                          const detail::linkage_progress& progress) {
    const scratch<std::int32_t> current(ctx, 1, op);
    const spanning_tree_memory tree(ctx, op, matrix.n);
    matrix_distances<S> distances{matrix, current.data()};
    return grow_spanning_tree(ctx, op, tree, matrix.n, distances, progress, [](index_t) {});
}

}  // namespace instar::cluster::cuda

#endif
