#ifndef INSTAR_CLUSTER_CUDA_KMEANS_POINTS_CUH
#define INSTAR_CLUSTER_CUDA_KMEANS_POINTS_CUH

// The points of a k-means run on a GPU: a float copy about their mean, or of length 1, in whole tiles, with their squared lengths.
//
//     const kmeans_points points(ctx, "kmeans", x, spherical, squares);
//     points.rows, points.norms()                 // device memory
//     points.mean(), points.mean_variance()       // host

#include "instar/cluster/cuda/rows.cuh"

namespace instar::cluster::cuda {

/// norms = squares, rounded; zeros past them.
template <class A>
__global__ void round_kernel(A* norms, const double* squares, index_t n, index_t room) {
    const index_t i = grid_thread();
    if (i < room) norms[i] = i < n ? static_cast<A>(squares[i]) : A{};
}

class kmeans_points {
public:
    /// squares: ‖x‖² of each row. spherical: rows to length 1, and no mean is taken off.
    template <class T>
    kmeans_points(cuda_context& ctx, const char* op, const tensor_view<const T, 2>& x, bool spherical,
                  const std::vector<double>& squares)
        : memory_(ctx, padded_rows::size(x.extent(0), x.extent(1)), op),
          norms_(ctx, whole_tiles(x.extent(0)), op),
          rows_(memory_.data(), x.extent(0), x.extent(1)),
          d_(x.extent(1)) {
        const auto n = static_cast<double>(x.extent(0));
        std::vector<double> factors(spherical ? squares.size() : 0);
        for (std::size_t i = 0; i < factors.size(); ++i) factors[i] = 1.0 / std::sqrt(squares[i]);
        const uploaded<double> factor(ctx, op, factors);
        const double* const unit = spherical ? factor.data() : nullptr;
        mean_ = column_sums(ctx, op, x, 1, unit, nullptr, 1);
        for (double& m : mean_) m /= n;
        const uploaded<double> mean(ctx, op, mean_);
        for (const double s : column_sums(ctx, op, x, 1, unit, mean.data(), 2))
            mean_variance_ += s / (n * static_cast<double>(d_));
        center_rows(ctx, op, rows_, nullptr, x, unit, spherical ? nullptr : mean.data());
        if (spherical) mean_.assign(mean_.size(), 0.0);
        const scratch<double> lengths(ctx, rows_.n, op);
        const tensor_view<const float, 2> view(rows_.data, {rows_.n, rows_.stride});
        launch(ctx, op, row_squares_kernel<float>, grid_of_rows(rows_.n), {k_row_threads}, 0, lengths.data(), view);
        const index_t room = whole_tiles(rows_.n);
        launch(ctx, op, round_kernel<float>, {blocks_for(room, 256)}, {256}, 0, norms_.data(), lengths.data(), rows_.n,
               room);
    }

    const padded_rows& rows() const { return rows_; }
    const float* norms() const { return norms_.data(); }  ///< ‖x‖², in whole tiles
    index_t n() const { return rows_.n; }
    index_t d() const { return d_; }
    const std::vector<double>& mean() const { return mean_; }
    double mean_variance() const { return mean_variance_; }  ///< over features

private:
    scratch<float> memory_, norms_;
    padded_rows rows_;
    index_t d_;
    std::vector<double> mean_;
    double mean_variance_ = 0.0;
};

}  // namespace instar::cluster::cuda

#endif
