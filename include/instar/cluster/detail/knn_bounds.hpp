#ifndef INSTAR_CLUSTER_DETAIL_KNN_BOUNDS_HPP
#define INSTAR_CLUSTER_DETAIL_KNN_BOUNDS_HPP

// What the products of cluster/knn.hpp say about distances, and how far they can be wrong.
//
//     const knn_space space(ctx, queries, references, metric);
//     const auto q = space.query(i, scratch);          // scratch = the row as a float vector; q.error
//     const auto r = space.reference(j, scratch);      // r.base, r.norm
//     space.distance(i, j);                            // what decides, in double
//
// A row x becomes x' = factor · x − shift. Euclidean: shift is the mean of a sample of the references, so that a cloud far from
// the origin keeps its digits, and factor a power of two that keeps squares within float. Cosine: rows of length 1 first, then the
// same: 1 − cos is half the squared distance of such rows. Inner product: queries of length 1, references less their mean, which
// shifts all products of a query alike. With q = 2·x' of a query (x' for the inner product) and r = x' of a reference,
//
//     key = ‖r‖² − q·r   (−q·r for the inner product)
//
// orders the references of a query as their distances do. In float arithmetic,
//
//     low = (base − product) − error · norm  ≤  key  ≤  high(low),     base ≲ ‖r‖², norm ≳ ‖r‖, error ≳ α·‖q‖
//
// where α bounds the rounding of a sum of d products, in any order of addition (Higham, Accuracy and Stability of Numerical
// Algorithms, 2002, section 3.1), of the entries themselves, and of the two subtractions.

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "instar/cluster/detail/knn_kernels.hpp"
#include "instar/cluster/detail/knn_rounding.hpp"
#include "instar/core/cpu_context.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/core/tensor_view.hpp"

namespace instar::cluster::detail {

/// ‖x‖² of every row, in double. Throws value_error for a row that is not finite (and names the column), or is zero when that is
/// not allowed.
inline std::vector<double> knn_squared_norms(cpu_context& ctx, const knn_kernels& kernels, const char* argument,
                                             tensor_view<const float, 2> x, bool zero_allowed,
                                             const char* op = "knn") {
    std::vector<double> norms(static_cast<std::size_t>(x.extent(0)));
    parallel_for(ctx, x.extent(0), 256, [&](index_t begin, index_t end) {
        for (index_t r = begin; r < end; ++r)
            norms[static_cast<std::size_t>(r)] =
                kernels.dot(x.data() + r * x.stride(0), x.data() + r * x.stride(0), x.extent(1));
    });
    // Squares of floats do not overflow in double, so a norm is finite exactly when the row is.
    for (index_t r = 0; r < x.extent(0); ++r) {
        if (std::isfinite(norms[static_cast<std::size_t>(r)])) continue;
        index_t c = 0;
        while (std::isfinite(x(r, c))) ++c;
        throw value_error(std::string(op) + ": " + argument + " row " + std::to_string(r) + ", column " +
                          std::to_string(c) + " is not finite");
    }
    for (index_t r = 0; r < x.extent(0) && !zero_allowed; ++r) {
        if (norms[static_cast<std::size_t>(r)] == 0.0)
            throw value_error(std::string(op) + ": " + argument + " row " + std::to_string(r) +
                              " is zero, its cosine undefined");
    }
    return norms;
}

class knn_space {
public:
    struct query_numbers {
        float error = 0.0f;
        double squared_norm = 0.0;  // of x', without the factor 2
    };
    struct reference_numbers {
        float base = 0.0f, norm = 0.0f;
    };

    /// Squared norms are those of the rows. `queries` and `references` must outlive the space.
    knn_space(const knn_kernels& kernels, tensor_view<const float, 2> queries, tensor_view<const float, 2> references,
              knn_metric metric, const std::vector<double>& query_squares, const std::vector<double>& reference_squares)
        : kernels_(kernels),
          queries_(queries),
          references_(references),
          metric_(metric),
          depth_(queries.extent(1)),
          rounding_(depth_, has_norm()),
          scaling_(metric, sample_mean(reference_squares), query_squares, reference_squares),
          square_slack_(has_norm() ? 0x1.1p-19f : 0.0f),
          underflow_slack_(float_above(5.0 * rounding_.underflow)),
          query_shift_(scaling_.shift.size(), 0.0) {
        // Twice the query: exact, and the products need no factor.
        if (has_norm()) {
            for (std::size_t c = 0; c < query_shift_.size(); ++c) query_shift_[c] = 2.0 * scaling_.shift[c];
        }
    }

    const knn_kernels& kernels() const { return kernels_; }
    index_t depth() const { return depth_; }
    bool has_norm() const { return detail::has_norm(metric_); }

    /// The float vector of a query, and what goes with it.
    query_numbers query(index_t q, float* out) const {
        const double twice = has_norm() ? 2.0 : 1.0;
        const double squares = kernels_.center(out, row(queries_, q), query_shift_.data(),
                                               twice * scaling_.query_factor[static_cast<std::size_t>(q)], depth_);
        return {rounding_.error(squares), squares / (twice * twice)};
    }
    reference_numbers reference(index_t r, float* out) const {
        const double squares = kernels_.center(out, row(references_, r), scaling_.shift.data(),
                                               scaling_.reference_factor[static_cast<std::size_t>(r)], depth_);
        return {rounding_.base(squares), rounding_.norm(squares)};
    }

    /// An upper bound of the key whose lower bound is `low`.
    float high(float low, float error, float norm) const {
        const float width = 2.6f * error * norm + square_slack_ * norm * norm + underflow_slack_;
        return (low + width) + 0x1.0p-22f * (std::fabs(low) + width);
    }

    /// Asks for a reference whose distance is computed next.
    void prefetch(index_t r) const {
        const float* const x = row(references_, r);
        for (index_t c = 0; c < depth_; c += 16) __builtin_prefetch(x + c);
    }
    /// Squared distance (of the rows of length 1, for cosine), or minus the inner product, in double.
    double distance(index_t q, index_t r) const {
        const float *a = row(queries_, q), *b = row(references_, r);
        switch (metric_) {
        case knn_metric::inner_product:
            return -kernels_.dot(a, b, depth_);
        case knn_metric::cosine:
            return kernels_.scaled_difference(a, b, depth_, scaling_.query_factor[static_cast<std::size_t>(q)],
                                              scaling_.reference_factor[static_cast<std::size_t>(r)]);
        default:
            return kernels_.difference(a, b, depth_, 1.0, 1.0);
        }
    }
    /// A bound of the key at a distance: keys of the same or a smaller distance are strictly below it.
    float key_beyond(index_t q, double distance, double squared_norm) const {
        double key = 0.0, size = 0.0;
        if (has_norm()) {
            const double scaled =
                metric_ == knn_metric::euclidean ? distance * scaling_.scale * scaling_.scale : distance;
            key = scaled - squared_norm;
            size = scaled + squared_norm;
        } else {
            const float* x = row(queries_, q);
            const double factor = scaling_.query_factor[static_cast<std::size_t>(q)];
            for (index_t c = 0; c < depth_; ++c) {
                const double term = static_cast<double>(x[c]) * factor * scaling_.shift[static_cast<std::size_t>(c)];
                key += term;
                size += std::fabs(term);
            }
            key += distance * factor * scaling_.scale;
            size += 4.0;  // ‖q‖·‖r‖, both about 1 and the latter less than 4
        }
        return rounding_.beyond(key, size);
    }
    /// What the caller gets.
    float reported(double distance) const {
        switch (metric_) {
        case knn_metric::inner_product:
            return static_cast<float>(distance);
        case knn_metric::cosine:
            return static_cast<float>(0.5 * distance);
        default:
            return static_cast<float>(std::sqrt(distance));
        }
    }

private:
    static const float* row(tensor_view<const float, 2> x, index_t i) { return x.data() + i * x.stride(0); }

    /// Mean of at most 1024 references, spread over all; of length 1 for cosine. Any point would do, a near one is better.
    std::vector<double> sample_mean(const std::vector<double>& squares) const {
        std::vector<double> mean(static_cast<std::size_t>(depth_), 0.0);
        const index_t n = references_.extent(0), step = std::max<index_t>(1, n / 1024);
        double taken = 0.0;
        for (index_t r = 0; r < n; r += step, taken += 1.0) {
            const float* x = row(references_, r);
            const double factor =
                metric_ == knn_metric::cosine ? 1.0 / std::sqrt(squares[static_cast<std::size_t>(r)]) : 1.0;
            for (index_t c = 0; c < depth_; ++c)
                mean[static_cast<std::size_t>(c)] += factor * static_cast<double>(x[c]);
        }
        for (double& m : mean) m /= std::max(taken, 1.0);
        return mean;
    }

    knn_kernels kernels_;
    tensor_view<const float, 2> queries_, references_;
    knn_metric metric_;
    index_t depth_;
    knn_rounding rounding_;
    knn_scaling scaling_;
    float square_slack_, underflow_slack_;
    std::vector<double> query_shift_;  // of 2·x', or of nothing
};

}  // namespace instar::cluster::detail

#endif
