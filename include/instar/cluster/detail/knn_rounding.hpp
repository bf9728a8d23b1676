#ifndef INSTAR_CLUSTER_DETAIL_KNN_ROUNDING_HPP
#define INSTAR_CLUSTER_DETAIL_KNN_ROUNDING_HPP

// The numbers of cluster/knn.hpp that do not depend on a device: how rows become x' = factor · x − shift, and how far a key that
// was computed from float products can be wrong. knn_bounds.hpp says what they mean.
//
//     const knn_scaling scaling(metric, mean, query_squares, reference_squares);
//     const knn_rounding rounding(depth, has_norm(metric));

#include <algorithm>
#include <cmath>
#include <vector>

#include "instar/core/element.hpp"

namespace instar::cluster {

enum class knn_metric { euclidean, cosine, inner_product };

namespace detail {

INSTAR_HOST_DEVICE constexpr bool has_norm(knn_metric m) { return m != knn_metric::inner_product; }

/// The smallest float that is not below x.
INSTAR_HOST_DEVICE inline float float_above(double x) {
    const auto f = static_cast<float>(x);
    return static_cast<double>(f) < x ? nextafterf(f, INFINITY) : f;
}
INSTAR_HOST_DEVICE inline float float_below(double x) { return -float_above(-x); }
/// A float that everything up to x is strictly below.
INSTAR_HOST_DEVICE inline float float_beyond(double x) { return nextafterf(float_above(x), INFINITY); }

/// Bounds of rounding in keys of `depth` products.
struct knn_rounding {
    static constexpr double k_half_ulp = 0x1.0p-24;  // of float, relative
    double alpha;                                    ///< of products, relative to ‖q‖·‖r‖
    double underflow;                                ///< of everything, absolute
    double tolerance;                                ///< of sums in double, relative
    bool normed;                                     ///< whether keys hold ‖r‖²

    knn_rounding(index_t depth, bool with_norm)
        : underflow(static_cast<double>(depth + 16) * 0x1.0p-122),
          tolerance(static_cast<double>(depth + 64) * 0x1.0p-50),
          normed(with_norm) {
        const double n = static_cast<double>(depth + 16) * k_half_ulp;
        // Beyond 8 million coordinates products say nothing.
        alpha = n < 0.5 ? 1.25 * n / (1.0 - n) + 8.0 * k_half_ulp : 1e30;
    }
    /// Of a reference with this Σ x'².
    INSTAR_HOST_DEVICE float base(double squares) const {
        return float_below((normed ? squares * (1.0 - 8.0 * k_half_ulp) : 0.0) - underflow);
    }
    INSTAR_HOST_DEVICE float norm(double squares) const {
        return float_above(sqrt(squares) * (1.0 + 4.0 * k_half_ulp) + 0x1.0p-60);
    }
    /// Of a query with this Σ q².
    INSTAR_HOST_DEVICE float error(double squares) const { return float_above(alpha * sqrt(squares)); }
    /// What keys up to this one are strictly below; `size` bounds the terms that were added up to it.
    INSTAR_HOST_DEVICE float beyond(double key, double size) const {
        return float_beyond(key + tolerance * size + underflow);
    }
};

/// x' = factor · x − shift of queries and references. For the inner product queries have no shift.
struct knn_scaling {
    double scale = 1.0;                                  ///< a power of two that keeps squares within float
    std::vector<double> query_factor, reference_factor;  ///< of each row
    std::vector<double> shift;                           ///< of references, and of queries where keys hold ‖r‖²

    /// Squares are ‖x‖² of each row. `mean`: of some references, of length 1 for cosine; any point would do, a near one is better.
    knn_scaling(knn_metric metric, const std::vector<double>& mean, const std::vector<double>& query_squares,
                const std::vector<double>& reference_squares)
        : shift(mean) {
        const auto largest = [](const std::vector<double>& squares) {
            return squares.empty() ? 0.0 : std::sqrt(*std::max_element(squares.begin(), squares.end()));
        };
        double mean_squares = 0.0;
        for (const double m : mean) mean_squares += m * m;
        double reach = largest(reference_squares);
        if (metric == knn_metric::euclidean) reach = std::max(reach, largest(query_squares));
        reach = metric == knn_metric::cosine ? 1.0 : reach + std::sqrt(mean_squares);
        scale = reach > 0.0 ? std::ldexp(1.0, -std::ilogb(reach)) : 1.0;
        reference_factor.assign(reference_squares.size(), scale);
        query_factor.assign(query_squares.size(), scale);
        const auto unit = [](std::vector<double>& factors, const std::vector<double>& squares) {
            for (std::size_t i = 0; i < factors.size(); ++i)
                factors[i] = squares[i] > 0.0 ? 1.0 / std::sqrt(squares[i]) : 1.0;
        };
        if (metric != knn_metric::euclidean) unit(query_factor, query_squares);
        if (metric == knn_metric::cosine) unit(reference_factor, reference_squares);
        for (double& m : shift) m *= scale;
    }
};

}  // namespace detail
}  // namespace instar::cluster

#endif
