#ifndef INSTAR_CLUSTER_MINI_BATCH_KMEANS_HPP
#define INSTAR_CLUSTER_MINI_BATCH_KMEANS_HPP

// k-means from small random batches: for so many rows that a pass over all of them is long. Not exact; near it.
//
//     auto result = cluster::mini_batch_kmeans(ctx, x, {.n_clusters = 1000, .batch_size = 4096, .seed = 7});
//     result.labels(i);                                                   // of all rows, at the end
//
//     cluster::mini_batch_state state(ctx, first_rows, {.n_clusters = 100});      // or batch by batch, as they come
//     state.partial_fit(ctx, more_rows);
//     auto labels = cluster::kmeans_predict(ctx, y, state.centers());
//
// On a GPU all of it reads the same: x and rows lie in device memory, results on the host (cuda/mini_batch_kmeans.cuh).
//
// Options have scikit-learn's names and meanings (MiniBatchKMeans). x is never copied: beside the result, memory is that of a batch, of
// the starting sample and of the centres.

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "instar/cluster/detail/mini_batch_schedule.hpp"
#include "instar/cluster/kmeans.hpp"

namespace instar {
class cpu_context;
class cuda_context;
}  // namespace instar

namespace instar::cluster {

namespace cuda {
template <class T>
struct mini_batch_learner;
}

struct mini_batch_kmeans_options {
    index_t n_clusters = 8;
    kmeans_init init = kmeans_init::kmeans_plus_plus;
    index_t n_init = 3;               ///< starts that are compared on a sample; the batches begin from the best one
    index_t max_iter = 100;           ///< times that all rows are drawn, on average
    index_t batch_size = 1024;
    double tol = 0.0;                 ///< stop when Σ ‖move of a centre‖² of a batch ≤ tol · mean variance of the features; 0 = never
    index_t max_no_improvement = 10;  ///< batches without a new low of the smoothed inertia before it stops; 0 = no limit
    index_t init_size = 0;            ///< rows of the starting sample; 0 = three batches, or 3·n_clusters where that is more
    double reassignment_ratio = 0.01; ///< centres with fewer points than this share of the largest one's start anew
    std::uint64_t seed = 0;
    std::function<void(index_t done, index_t total)> progress = {};  ///< after each batch; may throw to stop
};

/// Centres that learn batch by batch, where the first argument says.
template <class Context, class T = float>
class mini_batch_state;
template <class Context>
mini_batch_state(Context&, tensor_view<const float, 2>, const mini_batch_kmeans_options&) -> mini_batch_state<Context, float>;

#if !defined(__CUDACC__)

template <>
class mini_batch_state<cpu_context, float> {
public:
    /// Starts from a sample: the best of n_init seedings by its inertia there. Throws as mini_batch_kmeans does.
    mini_batch_state(cpu_context& ctx, tensor_view<const float, 2> sample, const mini_batch_kmeans_options& options)
        : k_(options.n_clusters), d_(sample.extent(1)), centers_({options.n_clusters < 1 ? 0 : options.n_clusters, sample.extent(1)}), mean_(static_cast<std::size_t>(sample.extent(1)), 0.0),
          count_(options.n_clusters < 1 ? 0 : options.n_clusters, options.reassignment_ratio, detail::mini_batch_state_rng(options.seed)) {
        detail::check_mini_batch("sample", sample, options);
        detail::check_kmeans_values(ctx, "mini_batch_kmeans", "sample", sample);
        const index_t n = sample.extent(0);
        for (index_t r = 0; r < n; ++r) {
            for (index_t c = 0; c < d_; ++c) mean_[static_cast<std::size_t>(c)] += static_cast<double>(sample(r, c)) / static_cast<double>(n);
        }
        const detail::kmeans_points points(ctx, sample, false);
        tensor<float, 2> best({k_, d_}), rows({n, d_});
        centre(rows.view(), sample);
        std::vector<std::int32_t> labels(static_cast<std::size_t>(n));
        double lowest = std::numeric_limits<double>::infinity();
        for (index_t run = 0; run < options.n_init; ++run) {
            const philox own = detail::mini_batch_state_rng(options.seed).fork(static_cast<std::uint64_t>(run));
            std::vector<index_t> chosen;
            if (options.init == kmeans_init::kmeans_plus_plus && k_ > 1) {
                chosen = detail::kmeans_seeding(ctx, points).choose(ctx, k_, own);
            } else {
                chosen = detail::first_of_shuffle(n, k_, own);
            }
            // From the sample itself: `points` may have been rounded about another mean.
            for (index_t c = 0; c < k_; ++c) std::copy_n(&rows(points.original(chosen[static_cast<std::size_t>(c)]), 0), d_, &centers_(c, 0));
            const double inertia = assign(ctx, labels.data(), rows.view());
            if (!(inertia < lowest)) continue;
            lowest = inertia;
            std::copy(centers_.begin(), centers_.end(), best.begin());
        }
        std::copy(best.begin(), best.end(), centers_.begin());
        variance_ = points.mean_variance();
    }

    /// One step: every row of the batch to its nearest centre, every centre to the mean of all rows it was ever given (Sculley 2010: a step
    /// of 1/count towards each). Returns the batch's inertia before the step; `shift`, if given, Σ ‖move of a centre‖².
    double partial_fit(cpu_context& ctx, tensor_view<const float, 2> batch, double* shift = nullptr) {
        detail::check_mini_batch_columns(batch, d_);
        detail::check_kmeans_values(ctx, "mini_batch_kmeans", "batch", batch);
        return step(ctx, batch, shift);
    }

    /// [n_clusters, d], where the rows are.
    tensor<float, 2> centers() const {
        tensor<float, 2> c({k_, d_});
        for (index_t i = 0; i < k_; ++i) {
            for (index_t p = 0; p < d_; ++p) c(i, p) = static_cast<float>(static_cast<double>(centers_(i, p)) + mean_[static_cast<std::size_t>(p)]);
        }
        return c;
    }
    /// Rows that each centre was given.
    const std::vector<double>& counts() const noexcept { return count_.each; }
    /// Of the starting sample, over features.
    double mean_variance() const noexcept { return variance_; }

private:
    double step(cpu_context& ctx, tensor_view<const float, 2> batch, double* shift) {
        const index_t m = batch.extent(0);
        if (m == 0) return 0.0;
        tensor<float, 2> rows({m, d_});
        centre(rows.view(), batch);
        std::vector<std::int32_t> labels(static_cast<std::size_t>(m));
        const double inertia = assign(ctx, labels.data(), rows.view());
        std::vector<std::vector<index_t>> members(static_cast<std::size_t>(k_));
        for (index_t i = 0; i < m; ++i) members[static_cast<std::size_t>(labels[static_cast<std::size_t>(i)])].push_back(i);
        std::vector<double> moved(static_cast<std::size_t>(k_), 0.0);
        parallel_for(ctx, k_, 16, [&](index_t begin, index_t end) {
            std::vector<double> sum(static_cast<std::size_t>(d_));
            for (index_t c = begin; c < end; ++c) {
                const auto& mine = members[static_cast<std::size_t>(c)];
                if (mine.empty()) continue;
                double& count = count_.each[static_cast<std::size_t>(c)];
                for (index_t p = 0; p < d_; ++p) sum[static_cast<std::size_t>(p)] = static_cast<double>(centers_(c, p)) * count;
                for (const index_t i : mine) {
                    for (index_t p = 0; p < d_; ++p) sum[static_cast<std::size_t>(p)] += static_cast<double>(rows(i, p));
                }
                count += static_cast<double>(mine.size());
                for (index_t p = 0; p < d_; ++p) {
                    const float to = static_cast<float>(sum[static_cast<std::size_t>(p)] / count);
                    const double by = static_cast<double>(to) - static_cast<double>(centers_(c, p));
                    moved[static_cast<std::size_t>(c)] += by * by;
                    centers_(c, p) = to;
                }
            }
        });
        if (shift != nullptr) *shift = std::accumulate(moved.begin(), moved.end(), 0.0);
        for (const auto& [center, row] : count_.after_step(m)) std::copy_n(&rows(row, 0), d_, &centers_(center, 0));
        return inertia;
    }

    void centre(tensor_view<float, 2> to, tensor_view<const float, 2> from) const {
        for (index_t r = 0; r < from.extent(0); ++r) {
            for (index_t c = 0; c < d_; ++c) to(r, c) = static_cast<float>(static_cast<double>(from(r, c)) - mean_[static_cast<std::size_t>(c)]);
        }
    }

    /// Nearest centres of rows about the mean: the largest x·c − ‖c‖²/2, tiles of a product. Returns Σ ‖x − its centre‖², in double.
    double assign(cpu_context& ctx, std::int32_t* labels, tensor_view<const float, 2> rows) const {
        constexpr index_t k_rows = 128, k_width = 256;
        const index_t n = rows.extent(0), n_parts = (n + k_rows - 1) / k_rows;
        std::vector<float> half(static_cast<std::size_t>(k_));
        std::vector<std::int32_t> names(half.size());
        std::iota(names.begin(), names.end(), 0);
        for (index_t c = 0; c < k_; ++c) {
            double norm = 0.0;
            for (index_t p = 0; p < d_; ++p) norm += static_cast<double>(centers_(c, p)) * static_cast<double>(centers_(c, p));
            half[static_cast<std::size_t>(c)] = static_cast<float>(-0.5 * norm);
        }
        std::vector<double> part(static_cast<std::size_t>(n_parts), 0.0);
        parallel_for(ctx, n_parts, 1, [&](index_t begin, index_t end) {
            std::vector<float> scores(static_cast<std::size_t>(k_rows * k_width));
            float best[k_rows];
            for (index_t b = begin; b < end; ++b) {
                const index_t first = b * k_rows, m = std::min(k_rows, n - first);
                std::fill_n(best, m, -std::numeric_limits<float>::infinity());
                std::fill_n(labels + first, m, 0);
                for (index_t j = 0; j < k_; j += k_width) {
                    const index_t width = std::min(k_width, k_ - j);
                    ops::cpu::gemm_serial({.m = m, .n = width, .k = d_, .a = &rows(first, 0), .lda = d_, .b = &centers_(j, 0), .ldb = d_, .transpose_b = true, .c = scores.data(), .ldc = k_width, .bias = half.data() + j});
                    INSTAR_SIMD_PICK(kmeans_best)(best, labels + first, scores.data(), k_width, m, width, names.data() + j);
                }
                for (index_t i = first; i < first + m; ++i) {
                    for (index_t p = 0; p < d_; ++p) {
                        const double by = static_cast<double>(rows(i, p)) - static_cast<double>(centers_(labels[i], p));
                        part[static_cast<std::size_t>(b)] += by * by;
                    }
                }
            }
        });
        return std::accumulate(part.begin(), part.end(), 0.0);
    }

    index_t k_, d_;
    tensor<float, 2> centers_;   // about mean_, which keeps floats small
    std::vector<double> mean_;
    detail::mini_batch_counts count_;
    double variance_ = 0.0;
};

/// Mini-batch k-means (Sculley, "Web-scale k-means clustering", WWW 2010), as scikit-learn's MiniBatchKMeans.
///
/// | argument | shape  | element       |
/// |----------|--------|---------------|
/// | x        | [n, d] | float, finite |
///
/// Batches are drawn with replacement. Stops after max_iter · n / batch_size batches, when tol is reached, or when the exponentially
/// smoothed inertia of batches has had no new low for max_no_improvement of them. Then every row gets its nearest centre;
/// result.inertia is of all rows, n_iter the number of times that n rows were drawn, rounded up, converged whether it stopped early.
///
/// Same bits for any number of threads. Cost: 2·batch_size·k·d FLOP a batch, 2·n·k·d at the end. Throws value_error before any work: a
/// value that is not finite (row and column named), n < n_clusters, options outside their range.
inline kmeans_result mini_batch_kmeans(cpu_context& ctx, tensor_view<const float, 2> x, const mini_batch_kmeans_options& options = {}) {
    detail::check_mini_batch("x", x, options);
    detail::check_kmeans_values(ctx, "mini_batch_kmeans", "x", x);
    const index_t n = x.extent(0), d = x.extent(1), k = options.n_clusters, batch = std::min(n, options.batch_size), init_size = detail::mini_batch_init_size(n, batch, options);
    const auto draw = [&](tensor_view<float, 2> rows, philox own) {
        for (index_t i = 0; i < rows.extent(0); ++i) std::copy_n(&x(detail::mini_batch_row(own, i, n), 0), d, &rows(i, 0));
    };
    tensor<float, 2> rows({init_size, d});
    if (init_size == n) {
        for (index_t i = 0; i < n; ++i) std::copy_n(&x(i, 0), d, &rows(i, 0));
    } else {
        draw(rows.view(), detail::mini_batch_draws_rng(options.seed).fork(0));
    }
    mini_batch_state state(ctx, rows.view(), options);
    rows = tensor<float, 2>({batch, d});
    kmeans_result result;
    const auto step = [&](philox own, double& shift) {
        draw(rows.view(), own);
        return state.partial_fit(ctx, rows.view(), &shift);
    };
    detail::run_mini_batches(n, batch, options, state.mean_variance(), step, result);
    result.centers = state.centers();
    result.labels = kmeans_predict(ctx, x, result.centers.view());
    std::vector<char> used(static_cast<std::size_t>(k), 0);
    for (index_t i = 0; i < n; ++i) {
        used[static_cast<std::size_t>(result.labels(i))] = 1;
        for (index_t p = 0; p < d; ++p) {
            const double by = static_cast<double>(x(i, p)) - static_cast<double>(result.centers(result.labels(i), p));
            result.inertia += by * by;
        }
    }
    result.n_nonempty = std::accumulate(used.begin(), used.end(), index_t{0});
    return result;
}

#endif

/// The state on a GPU: rows lie in its memory, and the centres stay there from batch to batch. Throws as the CPU's; value_error for a
/// context that is not the one it was made with, which must outlive it. Memory: as mini_batch_kmeans below has it.
template <class T>
class mini_batch_state<cuda_context, T> {
public:
    mini_batch_state(cuda_context& device, in_view<T, 2> sample, const mini_batch_kmeans_options& options);
    mini_batch_state(mini_batch_state&&) noexcept;
    mini_batch_state& operator=(mini_batch_state&&) noexcept;
    ~mini_batch_state();

    /// As the CPU's. Waits for the device: which centres start anew is decided on the host.
    double partial_fit(cuda_context& device, in_view<T, 2> batch, double* shift = nullptr);
    /// [n_clusters, d], on the host; waits for the device.
    tensor<float, 2> centers() const;
    const std::vector<double>& counts() const noexcept;
    double mean_variance() const noexcept;

private:
    std::unique_ptr<cuda::mini_batch_learner<T>> learner_;  // defined in cuda/mini_batch_kmeans.cuh
};

/// The same on a GPU: x lies in device memory, the result on the host, complete on return.
///
/// Batches are the CPU's, row for row, and so are stopping rules, centres that start anew, options and errors. Starts are drawn as by
/// kmeans on a device: the CPU's from a sample of up to 128 rows (init_size), others beyond. Products in float about the sample's mean,
/// sums in double in an order that the shape alone decides: the same bits on every run; from the same start, the CPU's labels where
/// float tells the two nearest centres apart on both devices, in every batch.
///
/// Cost: 2·batch_size·k·d FLOP a batch and two waits for the device, 2·n·k·d FLOP at the end. Memory: 3·(sample + k)·d floats and, for
/// each split of a batch, k·d doubles; a copy of at most 131,072 rows at a time for the labels. x is not copied.
/// T is float: a template, so that instar::compiled can hold it.
template <class T = float>
kmeans_result mini_batch_kmeans(cuda_context& ctx, in_view<T, 2> x, const mini_batch_kmeans_options& options = {});

}  // namespace instar::cluster

#if !defined(INSTAR_COMPILED) && (defined(__CUDACC__) || defined(INSTAR_CUDA_EMULATED))
#include "instar/cluster/cuda/mini_batch_kmeans.cuh"
#endif

#endif
