#ifndef INSTAR_CLUSTER_DETAIL_LINKAGE_CENTERS_HPP
#define INSTAR_CLUSTER_DETAIL_LINKAGE_CENTERS_HPP

// Clusters of points as a size, a mean and a variance: all that ward linkage and average linkage of squared distances need,
// O(n·d) memory in place of a matrix.
//
//     ward                 D(A, B) = 2·|A|·|B| / (|A| + |B|) · ‖mean A − mean B‖²            (the height is √D)
//     average, squared     D(A, B) = ‖mean A − mean B‖² + spread A + spread B                 (the height is D)
//     average, cosine      half of the above on rows of length 1, as 1 − u·v = ‖u − v‖² / 2
//
// with spread A the mean of ‖a − mean A‖² over a in A. Everything in double, differences before squares, so that near
// duplicates keep their digits; equal points stay at distance 0 whatever is merged.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "instar/cluster/detail/nearest_rows_kernels.hpp"
#include "instar/core/cpu_context.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/core/tensor.hpp"

namespace instar::cluster::detail {

enum class center_linkage { ward, average };

class linkage_centers {
public:
    /// Rows of x, divided by their length when `unit` (none may be zero), as clusters of one point. Coordinates are scaled by
    /// a power of two to at most 1, so that squares stay far from the limits of float.
    linkage_centers(cpu_context& ctx, tensor_view<const float, 2> x, center_linkage kind, bool unit)
        : kind_(kind), n_(x.extent(0)), depth_(x.extent(1)), stride_((depth_ + 7) / 8 * 8), kernels_(nearest_kernels::pick()), centers_({n_, stride_}),
          size_(static_cast<std::size_t>(n_), 1), spread_(kind == center_linkage::average ? static_cast<std::size_t>(n_) : 0, 0.0) {
        float largest = 0.0f;
        for (index_t r = 0; r < n_; ++r) {
            for (index_t c = 0; c < depth_; ++c) largest = std::max(largest, std::fabs(x(r, c)));
        }
        int exponent = 0;
        if (!unit && largest > 0.0f) std::frexp(largest, &exponent);
        unscale_ = std::ldexp(1.0, exponent);
        parallel_for(ctx, n_, 512, [&](index_t begin, index_t end) {
            for (index_t r = begin; r < end; ++r) {
                double* row = center(r);
                double factor = std::ldexp(1.0, -exponent);
                if (unit) {
                    double squares = 0.0;
                    for (index_t c = 0; c < depth_; ++c) squares += static_cast<double>(x(r, c)) * static_cast<double>(x(r, c));
                    factor = 1.0 / std::sqrt(squares);
                }
                for (index_t c = 0; c < depth_; ++c) row[c] = static_cast<double>(x(r, c)) * factor;
            }
        });
        half_ = unit;
    }

    index_t n() const { return n_; }
    index_t depth() const { return depth_; }
    center_linkage kind() const { return kind_; }
    const nearest_kernels& kernels() const { return kernels_; }
    double* center(index_t i) { return centers_.data() + i * stride_; }
    const double* center(index_t i) const { return centers_.data() + i * stride_; }
    tensor_view<const double, 2> centers() const { return {centers_.data(), {n_, depth_}, {stride_, 1}}; }
    index_t stride() const { return stride_; }
    double size(index_t i) const { return static_cast<double>(size_[static_cast<std::size_t>(i)]); }
    std::int32_t members(index_t i) const { return size_[static_cast<std::size_t>(i)]; }
    double spread(index_t i) const { return kind_ == center_linkage::ward ? 0.0 : spread_[static_cast<std::size_t>(i)]; }

    double squared_between(const double* a, const double* b) const { return kernels_.squared_distance(a, b, stride_); }

    /// D of the comment above.
    double distance(index_t i, index_t j) const {
        const double squared = squared_between(center(i), center(j));
        if (kind_ == center_linkage::average) return squared + (spread(i) + spread(j));
        const double a = size(i), b = size(j);
        return squared * (2.0 * a * b / (a + b));
    }

    /// The height at which scikit-learn's and SciPy's trees show D.
    double height(double distance) const {
        if (kind_ == center_linkage::ward) return std::sqrt(distance) * unscale_;
        return half_ ? 0.5 * distance : distance * unscale_ * unscale_;
    }

    /// Least possible D between the union of a and b and a third cluster that is at least d_a from a and d_b from b, where
    /// d_a and d_b are not below d_ab. Of a cluster of n points at exactly d_a and d_b, ward's D from the union is
    /// ((|a| + n)·d_a + (|b| + n)·d_b − n·d_ab) / (|a| + |b| + n): monotone in n, so one of the ends is least.
    double least_after_merge(index_t a, index_t b, double d_a, double d_b, double d_ab) const {
        const double n_a = size(a), n_b = size(b);
        if (kind_ == center_linkage::average) return (n_a * d_a + n_b * d_b) / (n_a + n_b);
        const auto bound = [&](double n) { return ((n_a + n) * d_a + (n_b + n) * d_b - n * d_ab) / (n_a + n_b + n); };
        return std::min(bound(1.0), bound(static_cast<double>(n_)));
    }

    /// b becomes the union of a and b.
    void merge(index_t a, index_t b) {
        const double n_a = size(a), n_b = size(b), share = n_a / (n_a + n_b);
        const double* from = center(a);
        double* to = center(b);
        if (kind_ == center_linkage::average) {
            const double between = squared_between(from, to);
            spread_[static_cast<std::size_t>(b)] = share * spread(a) + (1.0 - share) * spread(b) + share * (1.0 - share) * between;
        }
        for (index_t c = 0; c < depth_; ++c) to[c] += share * (from[c] - to[c]);
        size_[static_cast<std::size_t>(b)] += size_[static_cast<std::size_t>(a)];
    }

private:
    center_linkage kind_;
    index_t n_, depth_, stride_;
    nearest_kernels kernels_;
    tensor<double, 2> centers_;  // rows padded with zeros to whole cache lines
    std::vector<std::int32_t> size_;
    std::vector<double> spread_;
    double unscale_ = 1.0;
    bool half_ = false;
};

}  // namespace instar::cluster::detail

#endif
