#ifndef INSTAR_CLUSTER_CUDA_KMEANS_CUH
#define INSTAR_CLUSTER_CUDA_KMEANS_CUH

// k-means on a GPU: runs from seeds (kmeans_seeding.cuh) or given centres through Lloyd's iteration (kmeans_lloyd.cuh); the loop with
// its stopping rules is the CPU's own, detail::run_kmeans.

#include "instar/cluster/cuda/distance_tiles.cuh"
#include "instar/cluster/cuda/kmeans_lloyd.cuh"
#include "instar/cluster/cuda/kmeans_seeding.cuh"
#include "instar/cluster/kmeans.hpp"

namespace instar::cluster {

namespace cuda {

/// Given centres as the points are: about their mean, or of length 1.
template <class T>
void start_from(cuda_context& ctx, const char* op, const padded_rows& centers, const tensor_view<const T, 2>& start,
                const std::vector<double>& squares, const kmeans_points& points, bool spherical) {
    std::vector<double> factors(spherical ? squares.size() : 0);
    for (std::size_t c = 0; c < factors.size(); ++c) factors[c] = 1.0 / std::sqrt(squares[c]);
    const uploaded<double> factor(ctx, op, factors), mean(ctx, op, points.mean());
    center_rows(ctx, op, centers, nullptr, start, spherical ? factor.data() : nullptr, mean.data());
}

/// start: [k, d], or empty for seeds.
template <class T>
kmeans_result kmeans_runs(cuda_context& ctx, const tensor_view<const T, 2>& x, const kmeans_options& o,
                          const tensor_view<const T, 2>& start, const std::vector<double>& start_squares) {
    const char* const op = "kmeans";
    detail::check_kmeans_options(x, o);
    const std::vector<double> squares = row_squares(ctx, op, x);
    check_finite_rows(ctx, op, "x row", x, squares);
    if (o.spherical) {
        check_no_zero_row(op, "row", squares, "it has no direction");
        check_no_zero_row(op, "centre", start_squares, "it has no direction");
    }
    const kmeans_points points(ctx, op, x, o.spherical, squares);
    const index_t k = o.n_clusters, d = points.d(), n = points.n();
    const scratch<float> memory(ctx, padded_rows::size(k, d), op);
    const padded_rows centers(memory.data(), k, d);
    const scratch<std::int32_t> chosen(ctx, k, op);
    std::optional<kmeans_seeding> seeding;
    if (start.empty() && o.init == kmeans_init::kmeans_plus_plus && k > 1) seeding.emplace(ctx, op, points, k);
    kmeans_result best;
    for (index_t run = 0; run < (start.empty() ? o.n_init : 1); ++run) {
        const philox rng = philox{o.seed, 0}.fork(static_cast<std::uint64_t>(run));
        if (!start.empty()) {
            start_from(ctx, op, centers, start, start_squares, points, o.spherical);
        } else {
            if (seeding) {
                seeding->choose(chosen.data(), rng);
            } else {
                const std::vector<index_t> rows = detail::first_of_shuffle(n, k, rng);
                const std::vector<std::int32_t> names(rows.begin(), rows.end());
                ctx.upload(tensor_view<std::int32_t, 1>(chosen.data(), {k}),
                           tensor_view<const std::int32_t, 1>(names.data(), {k}));
            }
            launch(ctx, op, gather_rows_kernel<std::int32_t>, grid_of_rows(whole_tiles(k)), {k_row_threads}, 0, centers,
                   points.rows(), chosen.data());
        }
        kmeans_lloyd lloyd(ctx, op, points, k, o.spherical);
        kmeans_result now;
        detail::run_kmeans(ctx, points.mean_variance(), lloyd, centers, o, now);
        if (run > 0 && !(now.inertia < best.inertia)) continue;
        best = std::move(now);
        best.labels = tensor<std::int32_t, 1>({n});
        ctx.download(best.labels.view(), tensor_view<const std::int32_t, 1>(lloyd.labels(), {n}));
        best.centers = tensor<float, 2>({k, d});
        ctx.download(best.centers.view(), tensor_view<const float, 2>(centers.data, {k, d}, {centers.stride, 1}));
        detail::add_kmeans_mean(best.centers, points.mean());
    }
    return best;
}

/// y = distances of 64 rows, block_x, to 64 centres, block_y.
template <class T>
__global__ void __launch_bounds__(k_tile_threads)
    kmeans_transform_kernel(tensor_view<T, 2> y, tensor_view<const T, 2> x, tensor_view<const T, 2> centers) {
    shared_memory memory;
    const auto rows = memory.take<double>(k_far_stage), columns = memory.take<double>(k_far_stage);
    const index_t n = x.extent(0), k = centers.extent(0), first = block_x() * k_far_edge, c0 = block_y() * k_far_edge;
    distance_tile sums = {};
    add_differences_between(
        sums, rows, columns, [&](index_t i, index_t p) { return static_cast<double>(to_float(x(i, p))); }, n,
        [&](index_t c, index_t p) { return static_cast<double>(to_float(centers(c, p))); }, k, x.extent(1), first, c0,
        [](double& to, double by) { to += by * by; });
    INSTAR_UNROLL
    for (int i = 0; i < k_far_each; ++i) {
        INSTAR_UNROLL
        for (int j = 0; j < k_far_each; ++j) {
            const index_t r = first + far_row(i), c = c0 + far_column(j);
            if (r < n && c < k) y(r, c) = static_cast<T>(sqrt(sums[i][j]));
        }
    }
}

}  // namespace cuda

template <class T>
kmeans_result kmeans(cuda_context& ctx, in_view<T, 2> x, const kmeans_options& options) {
    return cuda::kmeans_runs<T>(ctx, x, options, {}, {});
}

template <class T>
kmeans_result kmeans(cuda_context& ctx, in_view<T, 2> x, in_view<T, 2> centers, kmeans_options options) {
    detail::check_kmeans_centers("kmeans", x, centers);
    const std::vector<double> squares = cuda::row_squares<T>(ctx, "kmeans", centers);
    cuda::check_finite_rows<T>(ctx, "kmeans", "centers row", centers, squares);
    options.n_clusters = centers.extent(0);
    return cuda::kmeans_runs<T>(ctx, x, options, centers, squares);
}

template <class T>
tensor<std::int32_t, 1> kmeans_predict(cuda_context& ctx, in_view<T, 2> x, in_view<T, 2> centers) {
    const char* const op = "kmeans_predict";
    const index_t n = x.extent(0), k = centers.extent(0), d = x.extent(1);
    tensor<std::int32_t, 1> labels({n});
    if (n == 0) return labels;
    detail::check_kmeans_centers(op, x, centers);
    instar::detail::check_unit_stride(op, "x", x);
    const std::vector<double> squares = cuda::row_squares<T>(ctx, op, x),
                              center_squares = cuda::row_squares<T>(ctx, op, centers);
    cuda::check_finite_rows<T>(ctx, op, "x row", x, squares);
    cuda::check_finite_rows<T>(ctx, op, "centers row", centers, center_squares);
    const cuda::kmeans_points points(ctx, op, tensor_view<const T, 2>(x), false, squares);
    const cuda::scratch<float> memory(ctx, cuda::padded_rows::size(k, d), op);
    const cuda::padded_rows relative(memory.data(), k, d);
    cuda::start_from<T>(ctx, op, relative, centers, center_squares, points, false);
    cuda::kmeans_lloyd lloyd(ctx, op, points, k, false);
    (void)lloyd.assign(ctx, relative, kmeans_algorithm::automatic);
    ctx.download(labels.view(), tensor_view<const std::int32_t, 1>(lloyd.labels(), {n}));
    return labels;
}

template <class T>
void kmeans_transform(cuda_context& ctx, out_view<T, 2> y, in_view<T, 2> x, in_view<T, 2> centers) {
    const char* const op = "kmeans_transform";
    detail::check_kmeans_transform(x, centers);
    instar::detail::check_shape(op, "y", y, {x.extent(0), centers.extent(0)});
    // A grid's second extent ends at 65,535: so many tiles of centres at a time.
    constexpr index_t k_most = index_t{65'535} * cuda::k_far_edge;
    for (index_t c = 0; c < centers.extent(0); c += k_most) {
        const index_t k = std::min(k_most, centers.extent(0) - c);
        const tensor_view<T, 2> part(y.data() + c * y.stride(1), {y.extent(0), k}, {y.stride(0), y.stride(1)});
        cuda::launch(ctx, op, cuda::kmeans_transform_kernel<T>,
                     {cuda::blocks_for(x.extent(0), cuda::k_far_edge), cuda::blocks_for(k, cuda::k_far_edge)},
                     {cuda::k_tile_threads}, 2 * instar::cuda::shared_bytes<double>(cuda::k_far_stage), part, x,
                     centers.rows(c, c + k));
    }
}

template <class T>
tensor<T, 2> kmeans_transform(cuda_context& ctx, in_view<T, 2> x, in_view<T, 2> centers) {
    detail::check_kmeans_transform(x, centers);
    tensor<T, 2> y({x.extent(0), centers.extent(0)});
    const cuda::scratch<T> there(ctx, y.size(), "kmeans_transform");
    const tensor_view<T, 2> y_there(there.data(), {y.extent(0), y.extent(1)});
    kmeans_transform<T>(ctx, y_there, x, centers);
    ctx.download(y.view(), tensor_view<const T, 2>(y_there));
    return y;
}

}  // namespace instar::cluster

#endif
