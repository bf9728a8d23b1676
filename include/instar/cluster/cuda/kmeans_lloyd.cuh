#ifndef INSTAR_CLUSTER_CUDA_KMEANS_LLOYD_CUH
#define INSTAR_CLUSTER_CUDA_KMEANS_LLOYD_CUH

// Lloyd's iteration on a GPU: every point to its nearest centre, every centre to the mean of its points.
//
//     kmeans_lloyd lloyd(ctx, "kmeans", points, k, spherical);
//     bool at_rest = lloyd.assign(ctx, centers, {});          // lloyd.labels(): device memory
//     double shift = lloyd.update(ctx, centers);              // Σ ‖new − old‖²
//
// How: kmeans_assignment.cuh (the nearest centre), kmeans_members.cuh (points by label, their sums).

#include <algorithm>
#include <numeric>
#include <vector>

#include "instar/cluster/cuda/kmeans_assignment.cuh"
#include "instar/cluster/cuda/kmeans_members.cuh"
#include "instar/cluster/cuda/kmeans_points.cuh"
#include "instar/cluster/detail/kmeans_algorithm.hpp"

namespace instar::cluster::cuda {

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

class kmeans_lloyd {
public:
    kmeans_lloyd(cuda_context& ctx, const char* op, const kmeans_points& points, index_t k, bool spherical)
        : op_(op),
          points_(points),
          k_(k),
          spherical_(spherical),
          labels_(ctx, points.n(), op),
          assignment_(ctx, op, k),
          members_(ctx, op, points.n(), k) {
        set_all(ctx, op, labels_.data(), points.n(), -1);
    }

    const std::int32_t* labels() const { return labels_.data(); }

    /// True when no label changed.
    bool assign(cuda_context& ctx, const padded_rows& centers, kmeans_algorithm) {
        return assignment_.run(ctx, labels_.data(), points_.rows(), centers);
    }

    /// Centres to the means of their points; a centre without points first gets the point that lies farthest from its own
    /// (scikit-learn's rule; the farthest of all for the first such centre).
    double update(cuda_context& ctx, const padded_rows& centers) {
        members_.sort(ctx, labels_.data());
        relocate(ctx, centers);
        const index_t d = points_.d();
        const scratch<double> sums(ctx, k_ * members_.n_splits() * d, op_), shift(ctx, k_, op_);
        members_.add(ctx, sums.data(), points_.rows(), d);
        launch(ctx, op_, kmeans_move_kernel<std::int32_t>, grid_of_rows(k_), {k_row_threads}, 0, centers, shift.data(),
               sums.data(), d, members_.start(), members_.n_splits(), spherical_);
        const std::vector<double> each = downloaded<double>(ctx, shift.data(), k_);
        return std::accumulate(each.begin(), each.end(), 0.0);
    }

    /// Σ ‖x − its centre‖², in double from differences.
    double inertia(cuda_context& ctx, const padded_rows& centers) const {
        const std::vector<double> each = distances(ctx, centers);
        return std::accumulate(each.begin(), each.end(), 0.0);
    }

    index_t n_nonempty(cuda_context& ctx) {
        members_.sort(ctx, labels_.data());
        const std::vector<std::int32_t> total = downloaded<std::int32_t>(ctx, members_.totals(), k_);
        return std::count_if(total.begin(), total.end(), [](std::int32_t n) { return n > 0; });
    }

private:
    std::vector<double> distances(cuda_context& ctx, const padded_rows& centers) const {
        const scratch<double> each(ctx, points_.n(), op_);
        squared_distances(ctx, op_, each.data(), points_.rows(), centers, labels_.data());
        return downloaded<double>(ctx, each.data(), points_.n());
    }

    /// On the host: it is rare, and then concerns few points.
    void relocate(cuda_context& ctx, const padded_rows& centers) const {
        const std::vector<std::int32_t> total = downloaded<std::int32_t>(ctx, members_.totals(), k_);
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
        members_.sort(ctx, labels_.data());
    }

    const char* op_;
    const kmeans_points& points_;
    index_t k_;
    bool spherical_;
    scratch<std::int32_t> labels_;
    kmeans_assignment assignment_;
    kmeans_members members_;
};

}  // namespace instar::cluster::cuda

#endif
