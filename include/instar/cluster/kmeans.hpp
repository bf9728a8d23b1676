#ifndef INSTAR_CLUSTER_KMEANS_HPP
#define INSTAR_CLUSTER_KMEANS_HPP

// k-means: k centres such that the squared distances of points to their nearest centre add up to little.
//
//     auto result = cluster::kmeans(ctx, x, {.n_clusters = 800, .n_init = 10, .seed = 1});
//     result.labels(0);                                   // cluster of the first row of x
//     auto labels = cluster::kmeans_predict(ctx, y, result.centers);
//     auto sphere = cluster::kmeans(ctx, x, {.n_clusters = 100, .spherical = true});      // by direction alone
//
// Options have scikit-learn's names, meanings and defaults (KMeans; n_init is 1, as its k-means++ default). Results are the same bits
// for any number of threads. How it works: detail/kmeans_seeding.hpp (greedy k-means++), detail/kmeans_lloyd.hpp; on a GPU
// cuda/kmeans_seeding.cuh, cuda/kmeans_lloyd.cuh and docs/kernels/clustering.md.

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "instar/cluster/detail/kmeans_algorithm.hpp"
#include "instar/core/philox.hpp"
#include "instar/core/tensor.hpp"

#if !defined(__CUDACC__)
#include "instar/cluster/detail/kmeans_lloyd.hpp"
#include "instar/cluster/detail/kmeans_seeding.hpp"
#endif

namespace instar {
class cuda_context;
}

namespace instar::cluster {

enum class kmeans_init {
    kmeans_plus_plus,  ///< greedy: each step keeps the best of 2 + ⌊ln k⌋ draws
    random,            ///< k different points
};

struct kmeans_options {
    index_t n_clusters = 8;
    kmeans_init init = kmeans_init::kmeans_plus_plus;
    index_t n_init = 1;       ///< runs from different starts; the one of least inertia counts
    index_t max_iter = 300;
    double tol = 1e-4;        ///< stop when Σ ‖shift of centres‖² ≤ tol · mean variance of the features
    std::uint64_t seed = 0;
    kmeans_algorithm algorithm = kmeans_algorithm::automatic;
    bool spherical = false;   ///< rows and centres have length 1: clusters of directions
    std::function<void(index_t iteration, double shift)> progress = {};  ///< after each iteration: Σ ‖shift of centres‖²; may throw to stop
};

struct kmeans_result {
    tensor<float, 2> centers;       ///< [n_clusters, d]
    tensor<std::int32_t, 1> labels; ///< [n], of the nearest centre
    double inertia = 0.0;           ///< Σ ‖x − its centre‖²
    index_t n_iter = 0;             ///< of the run that counts
    bool converged = false;         ///< labels or centres came to rest before max_iter
    index_t n_nonempty = 0;         ///< clusters that hold points: fewer than n_clusters when x has fewer distinct rows
};

namespace detail {

inline void check_kmeans_options(tensor_view<const float, 2> x, const kmeans_options& o) {
    instar::detail::check_unit_stride("kmeans", "x", x);
    const auto text = [](index_t v) { return std::to_string(v); };
    if (o.n_clusters < 1) throw value_error("kmeans: n_clusters must be at least 1, is " + text(o.n_clusters));
    if (x.extent(0) < o.n_clusters) throw value_error("kmeans: " + text(x.extent(0)) + " rows are fewer than n_clusters, " + text(o.n_clusters));
    if (x.extent(1) < 1) throw value_error("kmeans: x has no columns");
    if (o.n_init < 1) throw value_error("kmeans: n_init must be at least 1, is " + text(o.n_init));
    if (o.max_iter < 1) throw value_error("kmeans: max_iter must be at least 1, is " + text(o.max_iter));
    if (!(o.tol >= 0.0)) throw value_error("kmeans: tol must not be negative");
    if (x.extent(0) > std::numeric_limits<std::int32_t>::max()) throw value_error("kmeans: labels hold at most 2147483647 rows");
}

/// `op`: whose centers these are.
inline void check_kmeans_centers(const char* op, tensor_view<const float, 2> x, tensor_view<const float, 2> centers) {
    if (centers.extent(0) < 1) throw value_error(std::string(op) + ": there are no centers");
    if (centers.extent(1) != x.extent(1)) {
        throw shape_error(std::string(op) + ": centers have shape " + shape_string(centers) + ", expected [k, " + std::to_string(x.extent(1)) + "]");
    }
    instar::detail::check_unit_stride(op, "centers", centers);
}

inline void check_kmeans_transform(tensor_view<const float, 2> x, tensor_view<const float, 2> centers) {
    if (centers.extent(1) != x.extent(1)) throw shape_error("kmeans_transform: centers have shape " + shape_string(centers) + ", expected [k, " + std::to_string(x.extent(1)) + "]");
}

/// The centre on each feature's mean again.
inline void add_kmeans_mean(tensor_view<float, 2> centers, const std::vector<double>& mean) {
    for (index_t c = 0; c < centers.extent(0); ++c) {
        for (index_t p = 0; p < centers.extent(1); ++p) centers(c, p) = static_cast<float>(static_cast<double>(centers(c, p)) + mean[static_cast<std::size_t>(p)]);
    }
}

/// The first k of a shuffle of n.
inline std::vector<index_t> first_of_shuffle(index_t n, index_t k, philox rng) {
    std::vector<index_t> all(static_cast<std::size_t>(n));
    for (index_t i = 0; i < n; ++i) all[static_cast<std::size_t>(i)] = i;
    for (index_t c = 0; c < k; ++c) {
        std::swap(all[static_cast<std::size_t>(c)], all[static_cast<std::size_t>(c) + rng.below(static_cast<std::uint64_t>(c), static_cast<std::uint32_t>(n - c))]);
    }
    all.resize(static_cast<std::size_t>(k));
    return all;
}

/// One run from `centers` (relative to the mean); leaves its result there. The same on both devices.
template <class Context, class Lloyd, class Centers>
void run_kmeans(Context& ctx, double mean_variance, Lloyd& lloyd, const Centers& centers, const kmeans_options& o, kmeans_result& r) {
    const double tol = o.tol * mean_variance;
    bool at_rest = false;
    r.converged = false;
    for (r.n_iter = 1;; ++r.n_iter) {
        at_rest = lloyd.assign(ctx, centers, o.algorithm);
        if (at_rest) {  // the centres are the means of these labels already
            r.converged = true;
            break;
        }
        const double shift = lloyd.update(ctx, centers);
        if (o.progress) o.progress(r.n_iter, shift);
        if (shift <= tol) {
            r.converged = true;
            break;
        }
        if (r.n_iter == o.max_iter) break;
    }
    if (!at_rest) lloyd.assign(ctx, centers, o.algorithm);
    r.inertia = lloyd.inertia(ctx, centers);
    r.n_nonempty = lloyd.n_nonempty(ctx);
}

#if !defined(__CUDACC__)

inline kmeans_result kmeans_runs(cpu_context& ctx, tensor_view<const float, 2> x, const kmeans_options& o, tensor_view<const float, 2> start) {
    check_kmeans_options(x, o);
    check_kmeans_values(ctx, "kmeans", "x", x);
    const kmeans_points points(ctx, x, o.spherical);
    const index_t k = o.n_clusters, d = points.d(), n = points.n();
    std::optional<kmeans_seeding> seeding;
    if (start.empty() && o.init == kmeans_init::kmeans_plus_plus && k > 1) seeding.emplace(ctx, points);
    kmeans_result best;
    tensor<float, 2> centers({k, d});
    for (index_t run = 0; run < (start.empty() ? o.n_init : 1); ++run) {
        const philox rng = philox{o.seed, 0}.fork(static_cast<std::uint64_t>(run));
        if (!start.empty()) {
            for (index_t c = 0; c < k; ++c) {
                double length = 0.0;
                for (index_t p = 0; p < d; ++p) length += static_cast<double>(start(c, p)) * static_cast<double>(start(c, p));
                if (o.spherical && length == 0.0) throw value_error("kmeans: centre " + std::to_string(c) + " is zero, it has no direction");
                const double scale = o.spherical ? 1.0 / std::sqrt(length) : 1.0;
                for (index_t p = 0; p < d; ++p) centers(c, p) = static_cast<float>(static_cast<double>(start(c, p)) * scale - points.mean()[static_cast<std::size_t>(p)]);
            }
        } else {
            std::vector<index_t> chosen;
            if (seeding) {
                chosen = seeding->choose(ctx, k, rng);
            } else {
                chosen = first_of_shuffle(n, k, rng);
            }
            for (index_t c = 0; c < k; ++c) std::copy_n(points.row(chosen[static_cast<std::size_t>(c)]), d, &centers(c, 0));
        }
        kmeans_lloyd lloyd(points, k, o.spherical);
        kmeans_result now;
        run_kmeans(ctx, points.mean_variance(), lloyd, centers.view(), o, now);
        if (run > 0 && !(now.inertia < best.inertia)) continue;
        best = std::move(now);
        best.labels = tensor<std::int32_t, 1>({n});
        for (index_t i = 0; i < n; ++i) best.labels(points.original(i)) = lloyd.labels()[static_cast<std::size_t>(i)];
        best.centers = centers.clone();
        add_kmeans_mean(best.centers, points.mean());
    }
    return best;
}

#endif

}  // namespace detail

#if !defined(__CUDACC__)

/// k-means of the rows of x, from n_init random starts.
///
///     minimise  Σ_i ‖x_i − centre(label_i)‖²
///
/// | argument | shape  | element |                                                       |
/// |----------|--------|---------|-------------------------------------------------------|
/// | x        | [n, d] | float   | finite; n ≥ n_clusters; no zero rows when spherical   |
///
/// Products in float about the mean of x; means, shifts and inertia in double. A point between two centres that float cannot tell apart
/// goes to the lower index. Empty clusters get the points farthest from their centres, as in scikit-learn. The same bits for any number
/// of threads. The random numbers are instar's own: a seed does not give scikit-learn's run.
///
/// Cost: seeding up to 2·n·k·(2 + ln k)·d FLOP, an iteration up to 2·n·k·d, less where points are clustered; memory 3·n·d + k·d floats,
/// 512 KiB a thread and, with filtering, lists of at most n·k/128 indices; no n × k matrix.
/// Throws value_error, before any work: a value that is not finite (row and column named), n < n_clusters, options outside their range,
/// a zero row when spherical.
/// Sources: Lloyd 1982 (IEEE Trans. IT 28); Arthur, Vassilvitskii 2007; Kanungo et al. 2002.
inline kmeans_result kmeans(cpu_context& ctx, tensor_view<const float, 2> x, const kmeans_options& options = {}) {
    return detail::kmeans_runs(ctx, x, options, {});
}

/// The same from given centres, [n_clusters, d]: one run.
inline kmeans_result kmeans(cpu_context& ctx, tensor_view<const float, 2> x, tensor_view<const float, 2> centers, kmeans_options options = {}) {
    detail::check_kmeans_centers("kmeans", x, centers);
    detail::check_kmeans_values(ctx, "kmeans", "centers", centers);
    options.n_clusters = centers.extent(0);
    return detail::kmeans_runs(ctx, x, options, centers);
}

/// Label of the nearest centre of each row, euclidean; ties to the lower index. Throws as kmeans does.
inline tensor<std::int32_t, 1> kmeans_predict(cpu_context& ctx, tensor_view<const float, 2> x, tensor_view<const float, 2> centers) {
    if (x.extent(0) == 0) return tensor<std::int32_t, 1>({0});
    detail::check_kmeans_centers("kmeans_predict", x, centers);
    instar::detail::check_unit_stride("kmeans_predict", "x", x);
    detail::check_kmeans_values(ctx, "kmeans_predict", "x", x);
    detail::check_kmeans_values(ctx, "kmeans_predict", "centers", centers);
    const detail::kmeans_points points(ctx, x, false);
    tensor<float, 2> relative({centers.extent(0), centers.extent(1)});
    for (index_t c = 0; c < centers.extent(0); ++c) {
        for (index_t p = 0; p < centers.extent(1); ++p) relative(c, p) = static_cast<float>(static_cast<double>(centers(c, p)) - points.mean()[static_cast<std::size_t>(p)]);
    }
    detail::kmeans_lloyd lloyd(points, centers.extent(0), false);
    lloyd.assign(ctx, relative.view(), kmeans_algorithm::automatic);
    tensor<std::int32_t, 1> labels({x.extent(0)});
    for (index_t i = 0; i < x.extent(0); ++i) labels(points.original(i)) = lloyd.labels()[static_cast<std::size_t>(i)];
    return labels;
}

/// Euclidean distances of each row to each centre, [n, k], in double from differences, rounded to float. Values that are not finite give
/// what the sums make of them. Throws shape_error when centers and x differ in columns.
inline tensor<float, 2> kmeans_transform(cpu_context& ctx, tensor_view<const float, 2> x, tensor_view<const float, 2> centers) {
    detail::check_kmeans_transform(x, centers);
    tensor<float, 2> y({x.extent(0), centers.extent(0)});
    parallel_for(ctx, x.extent(0), 8, [&](index_t begin, index_t end) {
        for (index_t r = begin; r < end; ++r) {
            for (index_t c = 0; c < centers.extent(0); ++c) {
                double s = 0.0;
                for (index_t p = 0; p < x.extent(1); ++p) {
                    const double by = static_cast<double>(x(r, p)) - static_cast<double>(centers(c, p));
                    s += by * by;
                }
                y(r, c) = static_cast<float>(std::sqrt(s));
            }
        }
    });
    return y;
}

#endif

/// The same on a GPU: x lies in device memory, the result on the host, complete on return.
///
/// Options, stopping rules, empty clusters and errors as on the CPU; `algorithm` is not read, all centres are compared. Products in
/// float about the mean of x, each a chain over the features; means, shifts and inertia in double, sums cut by the shape alone: the
/// same bits on every run. Labels are the CPU's where float tells the two nearest centres apart on both.
///
/// Seeds: greedy k-means++ runs on the device with the CPU's random numbers and number of draws, over the rows in their order. The
/// CPU goes through them in an order of its own once there are more than 128, so from there on a seed gives another run than the
/// CPU's; up to 128 rows it gives the same.
///
/// Cost: seeding 2·n·k·(2 + ln k)·d FLOP, memory-bound at n·(d + 2·ln k) floats a step, without a wait for the host; an iteration
/// 2·n·k·d FLOP and three waits. Memory: (n + k)·d floats, n·(9 + ln k) more, k·d doubles a split; no n × k matrix.
/// T is float: a template, so that instar::compiled can hold it.
template <class T = float>
kmeans_result kmeans(cuda_context& ctx, in_view<T, 2> x, const kmeans_options& options = {});

/// The same from given centres, [n_clusters, d], in device memory: one run.
template <class T = float>
kmeans_result kmeans(cuda_context& ctx, in_view<T, 2> x, in_view<T, 2> centers, kmeans_options options = {});

/// kmeans_predict of rows and centres in device memory; labels on the host.
template <class T = float>
tensor<std::int32_t, 1> kmeans_predict(cuda_context& ctx, in_view<T, 2> x, in_view<T, 2> centers);

/// kmeans_transform of rows and centres in device memory: y, [n, k], on the host and complete on return, or in device memory, queued.
///
/// One sum in double a pair, over the features in their order, as on the CPU: its result but for a product and a sum that a device
/// rounds once, which the rounding to float hides from nearly all. The same bits on every run.
/// Cost: 3·n·k·d FLOP in double; n·k floats of memory for a result on the host, none for one on the device. Throws shape_error when
/// centers and x differ in columns or y has another shape.
template <class T = float>
tensor<T, 2> kmeans_transform(cuda_context& ctx, in_view<T, 2> x, in_view<T, 2> centers);
template <class T = float>
void kmeans_transform(cuda_context& ctx, out_view<T, 2> y, in_view<T, 2> x, in_view<T, 2> centers);

}  // namespace instar::cluster

#if !defined(INSTAR_COMPILED) && (defined(__CUDACC__) || defined(INSTAR_CUDA_EMULATED))
#include "instar/cluster/cuda/kmeans.cuh"
#endif

#endif
