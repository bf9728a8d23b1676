#ifndef INSTAR_CLUSTER_DETAIL_LINKAGE_DISTANCES_HPP
#define INSTAR_CLUSTER_DETAIL_LINKAGE_DISTANCES_HPP

// Distances between points under the metrics of agglomerative clustering, in double.
//
//     const point_metric metric(linkage_metric::cosine);
//     auto rows = metric.rows(ctx, x);                              // what is compared: x in double; divided by its length for cosine
//     metric.distances(out, depth, row, panels, n_panels);           // one row to 8·n_panels points
//
// Cosine distances are ‖u − v‖² / 2 of rows of length 1: equal rows are at distance 0, near ones keep their digits, which
// 1 − u·v does not.

#include <cmath>
#include <cstdint>

#include "instar/cluster/detail/linkage_kinds.hpp"
#include "instar/core/cpu_context.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/core/tensor.hpp"
#include "instar/ops/cpu/simd/vec.hpp"

#define INSTAR_SIMD_INNER "instar/cluster/detail/linkage_distances.inl"
#include "instar/ops/cpu/simd/foreach_isa.inl"

namespace instar::cluster::detail {

class point_metric {
public:
    explicit point_metric(linkage_metric metric) : metric_(metric), kernel_(INSTAR_SIMD_PICK(point_distances)) {}

    /// The points that distances are taken of: [n, d] in double.
    tensor<double, 2> rows(cpu_context& ctx, tensor_view<const float, 2> x) const {
        tensor<double, 2> out({x.extent(0), x.extent(1)});
        parallel_for(ctx, x.extent(0), 256, [&](index_t begin, index_t end) {
            for (index_t r = begin; r < end; ++r) {
                double squares = 0.0;
                for (index_t c = 0; c < x.extent(1); ++c) squares += static_cast<double>(x(r, c)) * static_cast<double>(x(r, c));
                const double factor = metric_ == linkage_metric::cosine ? 1.0 / std::sqrt(squares) : 1.0;
                for (index_t c = 0; c < x.extent(1); ++c) out(r, c) = static_cast<double>(x(r, c)) * factor;
            }
        });
        return out;
    }

    void distances(double* out, index_t depth, const double* row, const double* panels, index_t n_panels) const {
        kernel_(out, depth, row, panels, n_panels, metric_ == linkage_metric::cosine ? 0.5 : 1.0, metric_ == linkage_metric::euclidean);
    }
    /// ‖row − y‖² whatever the metric.
    void squares(double* out, index_t depth, const double* row, const double* panels, index_t n_panels) const {
        kernel_(out, depth, row, panels, n_panels, 1.0, false);
    }
    /// The distance of points that are ‖a − b‖ apart.
    double of_length(double length) const {
        return metric_ == linkage_metric::euclidean ? length : metric_ == linkage_metric::sqeuclidean ? length * length : 0.5 * length * length;
    }

private:
    linkage_metric metric_;
    void (*kernel_)(double*, index_t, const double*, const double*, index_t, double, bool);
};

/// Column j of panels [·][depth][8].
inline double* panel_column(double* panels, index_t depth, index_t j) { return panels + j / 8 * depth * 8 + j % 8; }

}  // namespace instar::cluster::detail

#endif
