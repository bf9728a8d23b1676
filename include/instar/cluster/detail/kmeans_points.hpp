#ifndef INSTAR_CLUSTER_DETAIL_KMEANS_POINTS_HPP
#define INSTAR_CLUSTER_DETAIL_KMEANS_POINTS_HPP

// The points of a k-means run as its loops want them: checked, about their mean, in an order in which blocks of 128 lie close
// together, with each block's ball.
//
//     kmeans_points points(ctx, x, spherical);
//     points.row(i);          // the i-th point of that order; points.original(i): its row in x

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "instar/cluster/detail/kmeans_kernels.hpp"
#include "instar/cluster/detail/nearest_rows_order.hpp"
#include "instar/core/cpu_context.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/core/tensor.hpp"

namespace instar::cluster::detail {

inline constexpr index_t k_kmeans_block = 128;

/// Throws value_error for the first value that is not finite, naming row and column.
inline void check_kmeans_values(cpu_context& ctx, const char* op, const char* argument, tensor_view<const float, 2> x) {
    const index_t n = x.extent(0), d = x.extent(1), n_parts = (n + 511) / 512;
    std::vector<index_t> bad(static_cast<std::size_t>(n_parts), -1);
    parallel_for(ctx, n, 512, [&](index_t begin, index_t end) {
        for (index_t r = begin; r < end; ++r) {
            const float* row = &x(r, 0);
            float sum = 0.0f;  // x − x is 0 for finite values alone
            for (index_t c = 0; c < d; ++c) sum += row[c] - row[c];
            if (sum == 0.0f) continue;
            bad[static_cast<std::size_t>(begin / 512)] = r;
            return;
        }
    });
    for (const index_t r : bad) {
        if (r < 0) continue;
        for (index_t c = 0; c < d; ++c) {
            if (!std::isfinite(x(r, c))) throw value_error(std::string(op) + ": " + argument + " row " + std::to_string(r) + ", column " + std::to_string(c) + " is not finite");
        }
    }
}

class kmeans_points {
public:
    /// spherical: rows to length 1, and no mean is taken off.
    kmeans_points(cpu_context& ctx, tensor_view<const float, 2> x, bool spherical) : n_(x.extent(0)), d_(x.extent(1)), mean_(static_cast<std::size_t>(d_), 0.0) {
        tensor<double, 2> y({n_, d_});
        std::vector<double> squares(mean_.size(), 0.0);
        for (index_t r = 0; r < n_; ++r) {
            double length = 0.0;
            for (index_t c = 0; c < d_; ++c) length += static_cast<double>(x(r, c)) * static_cast<double>(x(r, c));
            if (spherical && length == 0.0) throw value_error("kmeans: row " + std::to_string(r) + " is zero, it has no direction");
            const double scale = spherical ? 1.0 / std::sqrt(length) : 1.0;
            for (index_t c = 0; c < d_; ++c) {
                y(r, c) = static_cast<double>(x(r, c)) * scale;
                mean_[static_cast<std::size_t>(c)] += y(r, c);
            }
        }
        for (double& m : mean_) m /= static_cast<double>(n_);
        for (index_t r = 0; r < n_; ++r) {
            for (index_t c = 0; c < d_; ++c) {
                const double centred = y(r, c) - mean_[static_cast<std::size_t>(c)];
                squares[static_cast<std::size_t>(c)] += centred * centred;
                if (!spherical) y(r, c) = centred;
            }
        }
        if (spherical) std::fill(mean_.begin(), mean_.end(), 0.0);
        for (const double s : squares) mean_variance_ += s / static_cast<double>(n_ * d_);
        order_.resize(static_cast<std::size_t>(n_));
        for (std::size_t i = 0; i < order_.size(); ++i) order_[i] = static_cast<std::int32_t>(i);
        compact_order(tensor_view<const double, 2>(y.data(), {n_, d_}), order_, k_kmeans_block);
        rows_ = tensor<float, 2>({n_, d_});
        norms_ = tensor<float, 1>({n_});
        const index_t blocks = n_blocks();
        centers_ = tensor<float, 2>({blocks, d_});
        radius_.resize(static_cast<std::size_t>(blocks));
        parallel_for(ctx, blocks, 4, [&](index_t begin, index_t end) {
            std::vector<double> middle(static_cast<std::size_t>(d_));
            for (index_t b = begin; b < end; ++b) {
                std::fill(middle.begin(), middle.end(), 0.0);
                for (index_t i = first(b); i < last(b); ++i) {
                    const index_t from = original(i);
                    double norm = 0.0;
                    for (index_t c = 0; c < d_; ++c) {
                        const float v = static_cast<float>(y(from, c));
                        rows_(i, c) = v;
                        norm += static_cast<double>(v) * static_cast<double>(v);
                        middle[static_cast<std::size_t>(c)] += static_cast<double>(v);
                    }
                    norms_(i) = static_cast<float>(norm);
                }
                for (index_t c = 0; c < d_; ++c) centers_(b, c) = static_cast<float>(middle[static_cast<std::size_t>(c)] / static_cast<double>(last(b) - first(b)));
                double radius = 0.0;
                for (index_t i = first(b); i < last(b); ++i) radius = std::max(radius, squared_distance(row(i), &centers_(b, 0)));
                radius_[static_cast<std::size_t>(b)] = std::sqrt(radius) * (1.0 + 1e-12);
            }
        });
    }

    index_t n() const { return n_; }
    index_t d() const { return d_; }
    const std::vector<double>& mean() const { return mean_; }
    double mean_variance() const { return mean_variance_; }  ///< over features
    index_t original(index_t i) const { return order_[static_cast<std::size_t>(i)]; }
    const float* row(index_t i) const { return rows_.data() + i * d_; }
    float norm(index_t i) const { return norms_(i); }  ///< squared length

    index_t n_blocks() const { return (n_ + k_kmeans_block - 1) / k_kmeans_block; }
    index_t first(index_t b) const { return b * k_kmeans_block; }
    index_t last(index_t b) const { return std::min(n_, (b + 1) * k_kmeans_block); }
    const float* block_center(index_t b) const { return centers_.data() + b * d_; }
    double block_radius(index_t b) const { return radius_[static_cast<std::size_t>(b)]; }

    /// In double, from differences.
    double squared_distance(const float* a, const float* b) const {
        double s = 0.0;
        for (index_t c = 0; c < d_; ++c) s += (static_cast<double>(a[c]) - static_cast<double>(b[c])) * (static_cast<double>(a[c]) - static_cast<double>(b[c]));
        return s;
    }

private:
    index_t n_, d_;
    std::vector<double> mean_, radius_;
    double mean_variance_ = 0.0;
    std::vector<std::int32_t> order_;
    tensor<float, 2> rows_, centers_;
    tensor<float, 1> norms_;
};

}  // namespace instar::cluster::detail

#endif
