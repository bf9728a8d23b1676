#ifndef INSTAR_CLUSTER_CUDA_MINI_BATCH_KMEANS_CUH
#define INSTAR_CLUSTER_CUDA_MINI_BATCH_KMEANS_CUH

// Mini-batch k-means on a GPU. A batch is drawn, centred, assigned and added to the centres by the kernels of k-means; what is left is to
// weigh a centre with the rows that it was given before. The host decides which centres start anew and when it is over, by the CPU's own
// code (detail/mini_batch_schedule.hpp).

#include <numeric>
#include <optional>

#include "instar/cluster/cuda/kmeans_assignment.cuh"
#include "instar/cluster/cuda/kmeans_members.cuh"
#include "instar/cluster/cuda/kmeans_seeding.cuh"
#include "instar/cluster/mini_batch_kmeans.hpp"

namespace instar::cluster {

namespace cuda {

/// to[i] = the row of x that draw i takes. A warp a row; to: [n_rows][d].
template <class T>
__global__ void mini_batch_draw_kernel(tensor_view<T, 2> to, tensor_view<const T, 2> x, philox rng) {
    const index_t i = own_row();
    if (i >= to.extent(0)) return;
    const index_t r = detail::mini_batch_row(rng, i, x.extent(0));
    for (index_t c = lane_id(); c < x.extent(1); c += k_warp_size) to(i, c) = x(r, c);
}

/// Centres to the means of all rows they were ever given; shift[c] = ‖new − old‖². A centre that gets none stays.
template <class I>
__global__ void mini_batch_move_kernel(padded_rows centers, double* count, double* shift, const double* sums, index_t d,
                                       const I* start, index_t n_splits) {
    const index_t c = own_row();
    if (c >= centers.n) return;
    const auto before = count[c], more = static_cast<double>(start[c + 1] - start[c]);
    double by = 0.0;
    for (index_t p = lane_id(); p < d && more > 0.0; p += k_warp_size) {
        const auto from = static_cast<double>(centers.row(c)[p]);
        double sum = from * before;
        for (index_t s = 0; s < n_splits; ++s) sum += sums[(c * n_splits + s) * d + p];
        const auto to = static_cast<float>(sum / (before + more));
        const double step = static_cast<double>(to) - from;
        by += step * step;
        centers.row(c)[p] = to;
    }
    by = warp_sum(by);  // all lanes have read the count
    if (lane_id() != 0) return;
    shift[c] = by;
    count[c] = before + more;
}

/// Centres to rows: moves[2·m], moves[2·m + 1]. A warp a move.
template <class I>
__global__ void mini_batch_restart_kernel(padded_rows centers, padded_rows rows, const I* moves, index_t n_moves) {
    const index_t m = own_row();
    if (m >= n_moves) return;
    for (index_t p = lane_id(); p < centers.stride; p += k_warp_size)
        centers.row(moves[2 * m])[p] = rows.row(moves[2 * m + 1])[p];
}

inline constexpr index_t k_mini_batch_labelled = 131'072;  ///< rows that get their final labels at a time

/// What a state on a device is.
template <class T>
struct mini_batch_learner {
    static constexpr const char* k_op = "mini_batch_kmeans";

    mini_batch_learner(cuda_context& context, const tensor_view<const T, 2>& sample, const mini_batch_kmeans_options& o)
        : ctx(context),
          k(o.n_clusters),
          d(sample.extent(1)),
          count(k, o.reassignment_ratio, detail::mini_batch_state_rng(o.seed)),
          assignment(ctx, k_op, k),
          center_memory(ctx, padded_rows::size(k, d), k_op),
          numbers(ctx, 2 * k, k_op),
          changed(ctx, 1, k_op),
          centers(center_memory.data(), k, d) {
        const std::vector<double> squares = row_squares(ctx, k_op, sample);
        check_finite_rows(ctx, k_op, "sample row", sample, squares);
        const kmeans_points points(ctx, k_op, sample, false, squares);
        const index_t n = points.n();
        mean = points.mean();
        variance = points.mean_variance();
        mean_there.emplace(ctx, k_op, mean);
        set_all(ctx, k_op, numbers.data(), 2 * k, 0.0);
        set_all(ctx, k_op, changed.data(), 1, 0);
        std::optional<kmeans_seeding> seeding;
        if (o.init == kmeans_init::kmeans_plus_plus && k > 1) seeding.emplace(ctx, k_op, points, k);
        const scratch<std::int32_t> chosen(ctx, 2 * k, k_op), labels(ctx, n, k_op);
        std::int32_t *now = chosen.data(), *best = now + k;
        const auto start_from_rows = [&](const std::int32_t* names) {
            launch(ctx, k_op, gather_rows_kernel<std::int32_t>, grid_of_rows(whole_tiles(k)), {k_row_threads}, 0,
                   centers, points.rows(), names);
        };
        double lowest = std::numeric_limits<double>::infinity();
        for (index_t run = 0; run < o.n_init; ++run) {
            const philox own = detail::mini_batch_state_rng(o.seed).fork(static_cast<std::uint64_t>(run));
            if (seeding) {
                seeding->choose(now, own);
            } else {
                const std::vector<index_t> rows = detail::first_of_shuffle(n, k, own);
                const std::vector<std::int32_t> names(rows.begin(), rows.end());
                ctx.upload(tensor_view<std::int32_t, 1>(now, {k}),
                           tensor_view<const std::int32_t, 1>(names.data(), {k}));
            }
            start_from_rows(now);
            const double inertia = assign(labels.data(), points.rows());
            if (!(inertia < lowest)) continue;
            lowest = inertia;
            std::swap(now, best);
        }
        start_from_rows(best);
    }

    /// Labels of rows about the mean; returns Σ ‖x − its centre‖², in double.
    double assign(std::int32_t* labels, const padded_rows& rows) {
        const scratch<double> distance(ctx, rows.n, k_op);
        assignment.queue(ctx, labels, changed.data(), rows, centers);
        squared_distances(ctx, k_op, distance.data(), rows, centers, labels);
        const std::vector<double> each = downloaded<double>(ctx, distance.data(), rows.n);
        return std::accumulate(each.begin(), each.end(), 0.0);
    }

    /// Finite rows, in device memory.
    double step(const tensor_view<const T, 2>& batch, double* shift) {
        const index_t m = batch.extent(0);
        if (m == 0) return 0.0;
        const scratch<float> memory(ctx, padded_rows::size(m, d), k_op);
        const padded_rows rows(memory.data(), m, d);
        const scratch<std::int32_t> labels(ctx, m, k_op);
        center_rows(ctx, k_op, rows, nullptr, batch, nullptr, mean_there->data());
        const double inertia = assign(labels.data(), rows);
        const kmeans_members members(ctx, k_op, m, k);
        const scratch<double> sums(ctx, k * members.n_splits() * d, k_op);
        members.sort(ctx, labels.data());
        members.add(ctx, sums.data(), rows, d);
        launch(ctx, k_op, mini_batch_move_kernel<std::int32_t>, grid_of_rows(k), {k_row_threads}, 0, centers,
               numbers.data(), numbers.data() + k, sums.data(), d, members.start(), members.n_splits());
        const std::vector<double> found = downloaded<double>(ctx, numbers.data(), 2 * k);
        const auto end_of_counts = found.begin() + static_cast<std::ptrdiff_t>(k);
        std::copy(found.begin(), end_of_counts, count.each.begin());
        if (shift != nullptr) *shift = std::accumulate(end_of_counts, found.end(), 0.0);
        restart(count.after_step(m), rows);
        return inertia;
    }

    void restart(const std::vector<std::pair<index_t, index_t>>& moves, const padded_rows& rows) {
        if (moves.empty()) return;
        std::vector<index_t> flat;
        for (const auto& [center, row] : moves) {
            flat.push_back(center);
            flat.push_back(row);
        }
        const auto n = static_cast<index_t>(moves.size());
        const uploaded<index_t> there(ctx, k_op, flat);
        launch(ctx, k_op, mini_batch_restart_kernel<index_t>, grid_of_rows(n), {k_row_threads}, 0, centers, rows,
               there.data(), n);
        ctx.upload(tensor_view<double, 1>(numbers.data(), {k}), tensor_view<const double, 1>(count.each.data(), {k}));
    }

    tensor<float, 2> result() const {
        tensor<float, 2> c({k, d});
        ctx.download(c.view(), tensor_view<const float, 2>(centers.data, {k, d}, {centers.stride, 1}));
        detail::add_kmeans_mean(c, mean);
        return c;
    }

    /// Labels, inertia and n_nonempty of all rows by r.centers.
    void label_all(const tensor_view<const T, 2>& x, kmeans_result& r, index_t rows_at_once) {
        const index_t n = x.extent(0), most = std::min(n, rows_at_once);
        {  // as they will be predicted by: rounded where the rows are
            const uploaded<float> there(ctx, k_op, {r.centers.data(), static_cast<std::size_t>(k * d)});
            center_rows(ctx, k_op, centers, nullptr, tensor_view<const float, 2>(there.data(), {k, d}), nullptr,
                        mean_there->data());
        }
        const scratch<float> memory(ctx, padded_rows::size(most, d), k_op);
        const scratch<std::int32_t> labels(ctx, most, k_op);
        r.labels = tensor<std::int32_t, 1>({n});
        for (index_t i = 0; i < n; i += most) {
            const index_t m = std::min(most, n - i);
            const padded_rows rows(memory.data(), m, d);
            center_rows(ctx, k_op, rows, nullptr, x.rows(i, i + m), nullptr, mean_there->data());
            r.inertia += assign(labels.data(), rows);
            ctx.download(tensor_view<std::int32_t, 1>(r.labels.data() + i, {m}),
                         tensor_view<const std::int32_t, 1>(labels.data(), {m}));
        }
        std::vector<char> used(static_cast<std::size_t>(k), 0);
        for (const std::int32_t l : r.labels) used[static_cast<std::size_t>(l)] = 1;
        r.n_nonempty = std::accumulate(used.begin(), used.end(), index_t{0});
    }

    /// rows_at_once: of the labels at the end.
    static kmeans_result run(cuda_context& ctx, const tensor_view<const T, 2>& x, const mini_batch_kmeans_options& o,
                             index_t rows_at_once = k_mini_batch_labelled) {
        detail::check_mini_batch("x", x, o);
        check_finite_rows(ctx, k_op, "x row", x, row_squares(ctx, k_op, x));
        const index_t n = x.extent(0), d = x.extent(1), batch = std::min(n, o.batch_size),
                      init_size = detail::mini_batch_init_size(n, batch, o);
        const auto draw = [&](const tensor_view<T, 2>& to, philox rng) {
            launch(ctx, k_op, mini_batch_draw_kernel<T>, grid_of_rows(to.extent(0)), {k_row_threads}, 0, to, x, rng);
        };
        const scratch<T> memory(ctx, std::max(batch, init_size == n ? 0 : init_size) * d, k_op);
        const tensor_view<T, 2> sample(memory.data(), {init_size, d}), rows(memory.data(), {batch, d});
        if (init_size != n) draw(sample, detail::mini_batch_draws_rng(o.seed).fork(0));
        mini_batch_learner state(ctx, init_size == n ? x : tensor_view<const T, 2>(sample), o);
        kmeans_result r;
        const auto step = [&](philox rng, double& shift) {
            draw(rows, rng);
            return state.step(rows, &shift);
        };
        detail::run_mini_batches(n, batch, o, state.variance, step, r);
        r.centers = state.result();
        state.label_all(x, r, rows_at_once);
        return r;
    }

    cuda_context& ctx;
    index_t k, d;
    std::vector<double> mean;
    double variance = 0.0;
    detail::mini_batch_counts count;
    kmeans_assignment assignment;
    scratch<float> center_memory;
    scratch<double> numbers;  ///< [2·k]: counts, and shifts of the last step
    scratch<int> changed;     ///< of labels; not read
    std::optional<uploaded<double>> mean_there;
    padded_rows centers;  ///< about the mean
};

}  // namespace cuda

template <class T>
mini_batch_state<cuda_context, T>::mini_batch_state(cuda_context& device, in_view<T, 2> sample,
                                                    const mini_batch_kmeans_options& options) {
    detail::check_mini_batch("sample", sample, options);
    learner_ = std::make_unique<cuda::mini_batch_learner<T>>(device, sample, options);
}
template <class T>
mini_batch_state<cuda_context, T>::mini_batch_state(mini_batch_state&&) noexcept = default;
template <class T>
mini_batch_state<cuda_context, T>& mini_batch_state<cuda_context, T>::operator=(mini_batch_state&&) noexcept = default;
template <class T>
mini_batch_state<cuda_context, T>::~mini_batch_state() = default;

template <class T>
double mini_batch_state<cuda_context, T>::partial_fit(cuda_context& device, in_view<T, 2> batch, double* shift) {
    if (&device != &learner_->ctx) throw value_error("mini_batch_kmeans: the state was made with another context");
    detail::check_mini_batch_columns(batch, learner_->d);
    const char* const op = cuda::mini_batch_learner<T>::k_op;
    cuda::check_finite_rows<T>(device, op, "batch row", batch, cuda::row_squares<T>(device, op, batch));
    return learner_->step(batch, shift);
}

template <class T>
tensor<float, 2> mini_batch_state<cuda_context, T>::centers() const {
    return learner_->result();
}
template <class T>
const std::vector<double>& mini_batch_state<cuda_context, T>::counts() const noexcept {
    return learner_->count.each;
}
template <class T>
double mini_batch_state<cuda_context, T>::mean_variance() const noexcept {
    return learner_->variance;
}

template <class T>
kmeans_result mini_batch_kmeans(cuda_context& ctx, in_view<T, 2> x, const mini_batch_kmeans_options& options) {
    return cuda::mini_batch_learner<T>::run(ctx, x, options);
}

}  // namespace instar::cluster

#endif
