#ifndef INSTAR_CLUSTER_SILHOUETTE_HPP
#define INSTAR_CLUSTER_SILHOUETTE_HPP

// How well separated the clusters of a labeling are, judged by the points alone, as scikit-learn defines it.
//
//     double s = cluster::silhouette_score(ctx, x.view(), labels);                                    // euclidean
//     auto each = cluster::silhouette_samples(ctx, x.view(), labels, cluster::silhouette_metric::cosine);
//     double ch = cluster::calinski_harabasz(ctx, x.view(), labels);
//     double db = cluster::davies_bouldin(ctx, x.view(), labels);
//
// Points are float or double; all arithmetic is in double, so float points give what scikit-learn gives for them as float64.
// Labels are any integers; each distinct one is a cluster. Scores against true labels: metrics/clustering.hpp.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "instar/core/tensor.hpp"

#if !defined(__CUDACC__)
#include "instar/cluster/detail/silhouette_kernels.hpp"
#include "instar/core/cpu_context.hpp"
#include "instar/core/parallel_for.hpp"
#endif

namespace instar {
class cuda_context;
}

namespace instar::cluster {

/// cosine: 1 − cos, half the squared distance of the normalised points. manhattan is also called l1 or cityblock.
enum class silhouette_metric { euclidean, sqeuclidean, cosine, manhattan, chebyshev };

namespace detail {

/// Points sorted by cluster and then by place.
struct cluster_order {
    std::vector<std::int32_t> rows;  // sorted point → its row
    std::vector<std::int32_t> ids;   // sorted point → its cluster
    std::vector<index_t>
        begin;  // cluster c holds sorted points [begin[c], begin[c + 1]); a last element repeats the end

    index_t n_clusters() const { return static_cast<index_t>(begin.size()) - 2; }
    index_t count(index_t c) const {
        return begin[static_cast<std::size_t>(c + 1)] - begin[static_cast<std::size_t>(c)];
    }

    /// Of points of this shape.
    template <class T>
    cluster_order(const char* op, tensor_view<const T, 2> points, std::span<const std::int32_t> labels) {
        const index_t n = points.extent(0);
        if (static_cast<index_t>(labels.size()) != n) {
            throw shape_error(std::string(op) + ": " + std::to_string(labels.size()) + " labels for points of shape " +
                              shape_string(points));
        }
        if (n > std::numeric_limits<std::int32_t>::max())
            throw value_error(std::string(op) + ": " + std::to_string(n) + " points; at most 2147483647");
        std::vector<std::int32_t> distinct(labels.begin(), labels.end());
        std::sort(distinct.begin(), distinct.end());
        distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
        const auto k = static_cast<index_t>(distinct.size());
        if (k < 2 || k >= n) {
            throw value_error(std::string(op) + ": " + std::to_string(k) + " clusters among " + std::to_string(n) +
                              " points; between 2 and one less than the points are needed");
        }
        std::vector<std::int32_t> id(labels.size());
        begin.assign(static_cast<std::size_t>(k) + 1, 0);
        for (std::size_t i = 0; i < labels.size(); ++i) {
            id[i] = static_cast<std::int32_t>(std::lower_bound(distinct.begin(), distinct.end(), labels[i]) -
                                              distinct.begin());
            ++begin[static_cast<std::size_t>(id[i]) + 1];
        }
        for (std::size_t c = 0; c < static_cast<std::size_t>(k); ++c) begin[c + 1] += begin[c];
        begin.push_back(n);
        rows.resize(labels.size());
        ids.resize(labels.size());
        std::vector<index_t> at(begin.begin(), begin.end());
        for (std::size_t i = 0; i < labels.size(); ++i) {
            const auto to = static_cast<std::size_t>(at[static_cast<std::size_t>(id[i])]++);
            rows[to] = static_cast<std::int32_t>(i);
            ids[to] = id[i];
        }
    }

    /// The silhouette of sorted point i from the sum of its distances within its cluster and the least mean distance to another.
    double silhouette(index_t i, double own_sum, double nearest) const {
        const index_t others = count(ids[static_cast<std::size_t>(i)]) - 1;
        const double own = others > 0 ? own_sum / static_cast<double>(others) : 0.0, larger = std::max(own, nearest);
        // A point alone in its cluster has no cohesion; one that coincides with all has neither.
        return others == 0 || larger == 0.0 ? 0.0 : (nearest - own) / larger;
    }
};

#if !defined(__CUDACC__)

/// The same, and the points as doubles.
struct points_by_cluster : cluster_order {
    tensor<double, 2> x;  // [n, d], sorted

    index_t n() const { return x.extent(0); }
    index_t depth() const { return x.extent(1); }

    template <class T>
    points_by_cluster(const char* op, cpu_context& ctx, tensor_view<const T, 2> points,
                      std::span<const std::int32_t> labels, bool normalise)
        : cluster_order(op, points, labels) {
        const index_t n = points.extent(0), d = points.extent(1);
        check_points(op, ctx, points, normalise);
        x = tensor<double, 2>({n, d});
        parallel_for(ctx, n, 256, [&](index_t first, index_t last) {
            for (index_t i = first; i < last; ++i) {
                const index_t row = rows[static_cast<std::size_t>(i)];
                double squares = 0.0;
                for (index_t c = 0; c < d; ++c) {
                    x(i, c) = static_cast<double>(points(row, c));
                    squares += x(i, c) * x(i, c);
                }
                if (!normalise) continue;
                const double norm = std::sqrt(squares);
                for (index_t c = 0; c < d; ++c) x(i, c) /= norm;
            }
        });
    }

    /// Means of the clusters, [n_clusters, d]: sums in the order of the points.
    tensor<double, 2> centres(cpu_context& ctx) const {
        tensor<double, 2> means({n_clusters(), depth()});
        parallel_for(ctx, n_clusters(), 1, [&](index_t first, index_t last) {
            for (index_t k = first; k < last; ++k) {
                double* const mean = means.data() + k * depth();
                for (index_t i = begin[static_cast<std::size_t>(k)]; i < begin[static_cast<std::size_t>(k + 1)]; ++i) {
                    for (index_t c = 0; c < depth(); ++c) mean[c] += x(i, c);
                }
                for (index_t c = 0; c < depth(); ++c) mean[c] /= static_cast<double>(count(k));
            }
        });
        return means;
    }

private:
    template <class T>
    static void check_points(const char* op, cpu_context& ctx, tensor_view<const T, 2> points, bool normalise) {
        constexpr index_t k_grain = 256;
        const index_t n = points.extent(0), d = points.extent(1);
        std::vector<std::string> wrong(static_cast<std::size_t>((n + k_grain - 1) / k_grain));
        parallel_for(ctx, n, k_grain, [&](index_t first, index_t last) {
            std::string& message = wrong[static_cast<std::size_t>(first / k_grain)];
            for (index_t i = first; i < last && message.empty(); ++i) {
                bool zero = true;
                for (index_t c = 0; c < d && message.empty(); ++c) {
                    zero = zero && points(i, c) == 0;
                    if (!std::isfinite(points(i, c)))
                        message = "row " + std::to_string(i) + ", column " + std::to_string(c) + " is not finite";
                }
                if (message.empty() && zero && normalise)
                    message = "row " + std::to_string(i) + " is zero, its cosine undefined";
            }
        });
        for (const std::string& message : wrong) {
            if (!message.empty()) throw value_error(std::string(op) + ": " + message);
        }
    }
};

/// Rows [first, first + rows) of x as a panel, [depth][rows]; rows past n repeat the last.
inline void pack_panel(double* panel, const tensor<double, 2>& x, index_t first, index_t rows) {
    for (index_t r = 0; r < rows; ++r) {
        const double* from = x.data() + std::min(first + r, x.extent(0) - 1) * x.extent(1);
        for (index_t p = 0; p < x.extent(1); ++p) panel[p * rows + r] = from[p];
    }
}

template <class T>
std::vector<double> silhouettes(const char* op, cpu_context& ctx, tensor_view<const T, 2> x,
                                std::span<const std::int32_t> labels, silhouette_metric metric) {
    namespace simd = ops::cpu::simd;
    const bool cosine = metric == silhouette_metric::cosine;
    const points_by_cluster points(op, ctx, x, labels, cosine);
    const auto kind = metric == silhouette_metric::euclidean   ? simd::silhouette_kind::euclidean
                      : metric == silhouette_metric::manhattan ? simd::silhouette_kind::manhattan
                      : metric == silhouette_metric::chebyshev
                          ? simd::silhouette_kind::chebyshev
                          : simd::silhouette_kind::squared;  // halved for cosine: no ratio changes
    const auto kernels = silhouette_kernels::pick(kind);
    const index_t n = points.n(), d = points.depth(), rows = kernels.rows;
    // A task's panels share the other points a cache-sized chunk at a time.
    constexpr index_t k_block = 64;
    const index_t chunk = std::max<index_t>(64, 32768 / std::max<index_t>(d, 1));
    std::vector<double> result(labels.size());
    parallel_for(ctx, n, k_block, [&](index_t first, index_t last) {
        const index_t n_panels = (last - first + rows - 1) / rows;
        std::vector<double> panels(static_cast<std::size_t>(n_panels * rows * d));
        struct panel_sums {
            double sum[silhouette_kernels::k_max_rows] = {}, own[silhouette_kernels::k_max_rows] = {};
            double nearest[silhouette_kernels::k_max_rows], own_cluster[silhouette_kernels::k_max_rows] = {};
            index_t cluster = 0;
        };
        std::vector<panel_sums> sums(static_cast<std::size_t>(n_panels));
        for (index_t q = 0; q < n_panels; ++q) {
            auto& s = sums[static_cast<std::size_t>(q)];
            pack_panel(panels.data() + q * rows * d, points.x, first + q * rows, rows);
            std::fill(std::begin(s.nearest), std::end(s.nearest), std::numeric_limits<double>::infinity());
            for (index_t r = 0; r < rows; ++r)
                s.own_cluster[r] =
                    static_cast<double>(points.ids[static_cast<std::size_t>(std::min(first + q * rows + r, n - 1))]);
        }
        for (index_t j0 = 0; j0 < n; j0 += chunk) {
            for (index_t q = 0; q < n_panels; ++q) {
                auto& s = sums[static_cast<std::size_t>(q)];
                kernels.sums({s.sum, s.own, s.nearest, s.own_cluster, &s.cluster}, d, panels.data() + q * rows * d,
                             points.x.data(), d, points.begin.data(), j0, std::min(n, j0 + chunk));
            }
        }
        for (index_t i = first; i < last; ++i) {
            const auto& s = sums[static_cast<std::size_t>((i - first) / rows)];
            const index_t r = (i - first) % rows;
            result[static_cast<std::size_t>(points.rows[static_cast<std::size_t>(i)])] =
                points.silhouette(i, s.own[r], s.nearest[r]);
        }
    });
    return result;
}

template <class T>
double mean_silhouette(const char* op, cpu_context& ctx, tensor_view<const T, 2> x,
                       std::span<const std::int32_t> labels, silhouette_metric metric) {
    const std::vector<double> each = silhouettes(op, ctx, x, labels, metric);
    const double sum =
        parallel_sum<double>(ctx, static_cast<index_t>(each.size()), 1024, [&](index_t begin, index_t end) {
            double s = 0.0;
            for (index_t i = begin; i < end; ++i) s += each[static_cast<std::size_t>(i)];
            return s;
        });
    return sum / static_cast<double>(each.size());
}

template <class T>
double calinski_harabasz(const char* op, cpu_context& ctx, tensor_view<const T, 2> x,
                         std::span<const std::int32_t> labels) {
    const points_by_cluster points(op, ctx, x, labels, false);
    const tensor<double, 2> centres = points.centres(ctx);
    const index_t k = points.n_clusters(), d = points.depth(), n = points.n();
    std::vector<double> mean(static_cast<std::size_t>(d), 0.0);
    for (index_t c = 0; c < k; ++c) {
        for (index_t p = 0; p < d; ++p)
            mean[static_cast<std::size_t>(p)] +=
                static_cast<double>(points.count(c)) / static_cast<double>(n) * centres(c, p);
    }
    double between = 0.0;
    for (index_t c = 0; c < k; ++c) {
        double squares = 0.0;
        for (index_t p = 0; p < d; ++p)
            squares += (centres(c, p) - mean[static_cast<std::size_t>(p)]) *
                       (centres(c, p) - mean[static_cast<std::size_t>(p)]);
        between += static_cast<double>(points.count(c)) * squares;
    }
    const double within = parallel_sum<double>(ctx, n, 256, [&](index_t begin, index_t end) {
        double squares = 0.0;
        for (index_t i = begin; i < end; ++i) {
            const index_t c = points.ids[static_cast<std::size_t>(i)];
            for (index_t p = 0; p < d; ++p)
                squares += (points.x(i, p) - centres(c, p)) * (points.x(i, p) - centres(c, p));
        }
        return squares;
    });
    return within == 0.0 ? 1.0 : between * static_cast<double>(n - k) / (within * static_cast<double>(k - 1));
}

template <class T>
double davies_bouldin(const char* op, cpu_context& ctx, tensor_view<const T, 2> x,
                      std::span<const std::int32_t> labels) {
    constexpr double k_close_to_zero = 1e-8;
    const points_by_cluster points(op, ctx, x, labels, false);
    const tensor<double, 2> centres = points.centres(ctx);
    const index_t k = points.n_clusters(), d = points.depth();
    const auto kernels = silhouette_kernels::pick(ops::cpu::simd::silhouette_kind::euclidean);
    const index_t rows = kernels.rows;
    std::vector<double> distance(static_cast<std::size_t>(points.n())),
        scatter(static_cast<std::size_t>(k + rows), 0.0);
    parallel_for(ctx, points.n(), 256, [&](index_t begin, index_t end) {
        for (index_t i = begin; i < end; ++i) {
            const index_t c = points.ids[static_cast<std::size_t>(i)];
            double squares = 0.0;
            for (index_t p = 0; p < d; ++p)
                squares += (points.x(i, p) - centres(c, p)) * (points.x(i, p) - centres(c, p));
            distance[static_cast<std::size_t>(i)] = std::sqrt(squares);
        }
    });
    double widest = 0.0;
    for (index_t c = 0; c < k; ++c) {
        double& s = scatter[static_cast<std::size_t>(c)];
        for (index_t i = points.begin[static_cast<std::size_t>(c)]; i < points.begin[static_cast<std::size_t>(c + 1)];
             ++i)
            s += distance[static_cast<std::size_t>(i)];
        s /= static_cast<double>(points.count(c));
        widest = std::max(widest, s);
    }
    std::vector<double> ratio(static_cast<std::size_t>(k + rows)), farthest(ratio.size());
    parallel_for(ctx, k, rows, [&](index_t begin, index_t) {
        std::vector<double> panel(static_cast<std::size_t>(rows * d));
        pack_panel(panel.data(), centres, begin, rows);
        kernels.ratios(ratio.data() + begin, farthest.data() + begin, d, panel.data(), scatter.data() + begin,
                       centres.data(), d, scatter.data(), k);
    });
    double sum = 0.0, largest = 0.0;
    for (index_t c = 0; c < k; ++c) {
        sum += ratio[static_cast<std::size_t>(c)];
        largest = std::max(largest, farthest[static_cast<std::size_t>(c)]);
    }
    return widest <= k_close_to_zero || largest <= k_close_to_zero ? 0.0 : sum / static_cast<double>(k);
}

#endif

}  // namespace detail

#if !defined(__CUDACC__)

/// Silhouette of every point (Rousseeuw, J. Comput. Appl. Math. 20, 1987):
///
///     s = (b − a) / max(a, b)
///
/// a: mean distance to the other points of its cluster, b: smallest mean distance to another cluster. In [−1, 1]; 0 for a point
/// that is alone in its cluster.
///
/// | argument | shape  | element         |
/// |----------|--------|-----------------|
/// | x        | [n, d] | float or double |
/// | labels   | [n]    | any integers    |
///
/// Same bits for any number of threads. Cost: 3·n²·d FLOP in double; 8·n·d bytes of memory.
/// Throws shape_error when labels and rows differ in number; value_error unless there are between 2 and n − 1 clusters, for a value
/// that is not finite (its row and column are named) and, under cosine, for a zero row.
inline std::vector<double> silhouette_samples(cpu_context& ctx, tensor_view<const float, 2> x,
                                              std::span<const std::int32_t> labels,
                                              silhouette_metric metric = silhouette_metric::euclidean) {
    return detail::silhouettes("silhouette_samples", ctx, x, labels, metric);
}
inline std::vector<double> silhouette_samples(cpu_context& ctx, tensor_view<const double, 2> x,
                                              std::span<const std::int32_t> labels,
                                              silhouette_metric metric = silhouette_metric::euclidean) {
    return detail::silhouettes("silhouette_samples", ctx, x, labels, metric);
}

/// Mean silhouette of all points.
inline double silhouette_score(cpu_context& ctx, tensor_view<const float, 2> x, std::span<const std::int32_t> labels,
                               silhouette_metric metric = silhouette_metric::euclidean) {
    return detail::mean_silhouette("silhouette_score", ctx, x, labels, metric);
}
inline double silhouette_score(cpu_context& ctx, tensor_view<const double, 2> x, std::span<const std::int32_t> labels,
                               silhouette_metric metric = silhouette_metric::euclidean) {
    return detail::mean_silhouette("silhouette_score", ctx, x, labels, metric);
}

/// Variance ratio (Calinski and Harabasz, Comm. in Statistics 3, 1974), larger is better:
///
///     CH = [Σ_k n_k·‖c_k − c‖² / (K − 1)] / [Σ_i ‖x_i − c_k(i)‖² / (n − K)];   1 when every point is its centre
///
/// Shapes, determinism and errors as silhouette_samples. Cost: O(n·d).
inline double calinski_harabasz(cpu_context& ctx, tensor_view<const float, 2> x, std::span<const std::int32_t> labels) {
    return detail::calinski_harabasz("calinski_harabasz", ctx, x, labels);
}
inline double calinski_harabasz(cpu_context& ctx, tensor_view<const double, 2> x,
                                std::span<const std::int32_t> labels) {
    return detail::calinski_harabasz("calinski_harabasz", ctx, x, labels);
}

/// Mean over clusters of the worst ratio (Davies and Bouldin, IEEE TPAMI 1, 1979), smaller is better:
///
///     DB = (1/K) · Σ_k max_{l≠k} (s_k + s_l) / ‖c_k − c_l‖,   s: mean euclidean distance of a cluster's points to its centre c
///
/// As in scikit-learn, pairs of centres that coincide are left out, and the index is 0 when all s, or all distances of centres, are
/// at most 1e-8. Shapes, determinism and errors as silhouette_samples. Cost: O(n·d + K²·d).
inline double davies_bouldin(cpu_context& ctx, tensor_view<const float, 2> x, std::span<const std::int32_t> labels) {
    return detail::davies_bouldin("davies_bouldin", ctx, x, labels);
}
inline double davies_bouldin(cpu_context& ctx, tensor_view<const double, 2> x, std::span<const std::int32_t> labels) {
    return detail::davies_bouldin("davies_bouldin", ctx, x, labels);
}

#endif

/// silhouette_samples and silhouette_score on a GPU: x lies in device memory, labels and results on the host.
///
/// Distances are computed in double from differences, as on the CPU, and added cluster by cluster in the order of the points: the
/// CPU's results to rounding, the same bits on every run. Cost: 3·n²·d FLOP in double, which a data-centre GPU has at half the rate of
/// float and others at a small part of it; 8·n·d bytes. Errors as on the CPU. T is float: a template, so that instar::compiled can
/// hold it.
template <class T = float>
std::vector<double> silhouette_samples(cuda_context& ctx, in_view<T, 2> x, std::span<const std::int32_t> labels,
                                       silhouette_metric metric = silhouette_metric::euclidean);
template <class T = float>
double silhouette_score(cuda_context& ctx, in_view<T, 2> x, std::span<const std::int32_t> labels,
                        silhouette_metric metric = silhouette_metric::euclidean);

}  // namespace instar::cluster

#if !defined(INSTAR_COMPILED) && (defined(__CUDACC__) || defined(INSTAR_CUDA_EMULATED))
#include "instar/cluster/cuda/silhouette.cuh"
#endif

#endif
