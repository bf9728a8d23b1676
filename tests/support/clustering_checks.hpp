#ifndef INSTAR_TESTS_SUPPORT_CLUSTERING_CHECKS_HPP
#define INSTAR_TESTS_SUPPORT_CLUSTERING_CHECKS_HPP

// Clusterings on a device against the CPU's, through copies to and from the device: the same checks run on a real GPU
// (tests/gpu/clustering.cpp) and in the emulator (tests/emulated).
//
//     cuda_context ctx;
//     test::check_device_knn(ctx, q, r, {.k = 5});
//     test::check_device_kmeans(ctx, x, {.n_clusters = 8});
//     test::check_device_agglomerative(ctx, x, {});
//     test::check_device_silhouette(ctx, x, 5);
//     test::check_device_pca(ctx, x, {.n_components = 4});

#include <algorithm>
#include <cmath>
#include <vector>

#include <doctest/doctest.h>

#include "instar/cluster/agglomerative.hpp"
#include "instar/cluster/kmeans.hpp"
#include "instar/cluster/knn.hpp"
#include "instar/cluster/mini_batch_kmeans.hpp"
#include "instar/cluster/nn_descent.hpp"
#include "instar/cluster/pca.hpp"
#include "instar/cluster/silhouette.hpp"
#include "instar/core/cpu_context.hpp"
#include "instar/cuda/cuda_context.hpp"
#include "support/compare.hpp"

namespace instar::test {

/// A copy of rows in device memory. `stride` > 0: with gaps between them.
class device_rows {
public:
    device_rows(cuda_context& ctx, tensor_view<const float, 2> x, index_t stride = 0)
        : memory_({x.extent(0), stride > 0 ? stride : x.extent(1)}),
          view_(memory_.data(), {x.extent(0), x.extent(1)}, {memory_.extent(1), 1}) {
        ctx.upload(view_, x);
    }
    tensor_view<const float, 2> view() const { return view_; }

private:
    tensor<float, 2, device_memory> memory_;
    tensor_view<float, 2> view_;
};

/// n rows around n_centres points of [−1, 1)^d, `spread` away from them.
inline tensor<float, 2> clouds(index_t n, index_t d, index_t n_centres, float spread, std::uint64_t seed) {
    const auto centres = random_tensor<float, 2>({n_centres, d}, seed),
               noise = random_tensor<float, 2>({n, d}, seed + 1);
    tensor<float, 2> x({n, d});
    for (index_t i = 0; i < n; ++i) {
        for (index_t c = 0; c < d; ++c) x(i, c) = centres(i % n_centres, c) + spread * noise(i, c);
    }
    return x;
}

/// n rows about (3, 3, …), in each column wider than in the one before: variances that stand apart.
inline tensor<float, 2> stretched_clouds(index_t n, index_t d, std::uint64_t seed) {
    auto x = random_tensor<float, 2>({n, d}, seed);
    for (index_t i = 0; i < n; ++i) {
        for (index_t c = 0; c < d; ++c) x(i, c) = 3.0f + x(i, c) * std::pow(1.2f, static_cast<float>(c % 32));
    }
    return x;
}

/// The neighbours are the CPU's, and their distances to the last bit but one.
inline void check_same_neighbours(const cluster::knn_result& found, const cluster::knn_result& expected) {
    REQUIRE(found.index.extent(0) == expected.index.extent(0));
    REQUIRE(found.index.extent(1) == expected.index.extent(1));
    CHECK(same_bits(found.index.view(), expected.index.view()));
    index_t n_off = 0;
    for (index_t i = 0; i < found.distance.size(); ++i) {
        const float a = found.distance.data()[i], b = expected.distance.data()[i];
        // Beside the rounding to float: that of inner products, relative to ‖q‖·‖r‖.
        n_off += !(std::fabs(a - b) <= 1.2e-7f * std::fabs(b) + 1e-12f) ? 1 : 0;
    }
    CHECK(n_off == 0);
}

inline void check_device_knn(cuda_context& ctx, tensor_view<const float, 2> q, tensor_view<const float, 2> r,
                             const cluster::knn_options& options) {
    CAPTURE(q.extent(0));
    CAPTURE(r.extent(0));
    CAPTURE(q.extent(1));
    CAPTURE(options.k);
    CAPTURE(static_cast<int>(options.metric));
    cpu_context cpu;
    const bool same = q.data() == r.data();
    const device_rows queries(ctx, q, same ? q.extent(1) + 3 : 0), references(ctx, r);
    const auto found = cluster::knn(ctx, queries.view(), same ? queries.view() : references.view(), options);
    check_same_neighbours(found, cluster::knn(cpu, q, r, options));
}

/// Every metric, on rows from other rows and from themselves.
inline void check_device_knn(cuda_context& ctx, index_t n_queries, index_t n_references, index_t d, index_t k) {
    const auto q = clouds(n_queries, d, 7, 0.3f, 1),
               r = clouds(n_references, d, 7, 0.3f, 1 + static_cast<std::uint64_t>(d));
    for (const auto metric :
         {cluster::knn_metric::euclidean, cluster::knn_metric::cosine, cluster::knn_metric::inner_product}) {
        check_device_knn(ctx, q, r, {.k = k, .metric = metric});
        if (k < n_references) check_device_knn(ctx, r, r, {.k = k, .metric = metric, .exclude_self = k % 2 == 1});
    }
}

/// Share of the expected neighbours that were found.
inline double recall(const cluster::knn_result& found, const cluster::knn_result& expected) {
    index_t hits = 0;
    const index_t n = expected.index.extent(0), k = expected.index.extent(1);
    for (index_t i = 0; i < n; ++i) {
        for (index_t j = 0; j < k; ++j)
            hits += std::count(&found.index(i, 0), &found.index(i, 0) + k, expected.index(i, j)) > 0 ? 1 : 0;
    }
    return static_cast<double>(hits) / static_cast<double>(n * k);
}

/// All but `few` of the CPU's neighbours (a share), in order, with knn's distances; the exact ones to at least `least`.
inline void check_device_nn_descent(cuda_context& ctx, tensor_view<const float, 2> x,
                                    const cluster::nn_descent_options& options, double few, double least) {
    CAPTURE(x.extent(0));
    CAPTURE(x.extent(1));
    CAPTURE(options.k);
    CAPTURE(static_cast<int>(options.metric));
    cpu_context cpu;
    const device_rows rows(ctx, x, x.extent(1) + 3);
    const auto found = cluster::nn_descent(ctx, rows.view(), options), on_cpu = cluster::nn_descent(cpu, x, options);
    const auto exact = cluster::knn(cpu, x, x, {.k = options.k, .metric = options.metric});
    CHECK(recall(found, on_cpu) >= 1.0 - few);
    CHECK(recall(found, exact) >= least);
    index_t n_off = 0, n_unordered = 0;
    for (index_t i = 0; i < x.extent(0); ++i) {
        if (options.k < x.extent(0)) CHECK(found.index(i, 0) == i);
        for (index_t j = 0, e = 0; j < options.k; ++j) {
            n_unordered += j > 0 && !(found.distance(i, j - 1) <= found.distance(i, j)) ? 1 : 0;
            while (e < options.k && exact.index(i, e) != found.index(i, j)) ++e;
            if (e == options.k) e = 0;
            else
                n_off +=
                    !(std::fabs(found.distance(i, j) - exact.distance(i, e)) <= 1.2e-7f * exact.distance(i, e) + 1e-12f)
                        ? 1
                        : 0;
        }
    }
    CHECK(n_unordered == 0);
    CHECK(n_off == 0);
}

/// The same clusters by the same path; sums in float and double round apart.
inline void check_same_clusters(const cluster::kmeans_result& found, const cluster::kmeans_result& expected) {
    CHECK(same_bits(found.labels.view(), expected.labels.view()));
    CHECK(found.inertia == doctest::Approx(expected.inertia).epsilon(1e-5));
    CHECK(found.n_iter == expected.n_iter);
    CHECK(found.converged == expected.converged);
    CHECK(found.n_nonempty == expected.n_nonempty);
    REQUIRE(found.centers.size() == expected.centers.size());
    CHECK(max_error(found.centers.view(), expected.centers.view()) <= 1e-5);
}

/// From seeds: at most 128 rows, up to where both devices draw alike.
inline void check_device_kmeans(cuda_context& ctx, tensor_view<const float, 2> x,
                                const cluster::kmeans_options& options) {
    CAPTURE(x.extent(0));
    CAPTURE(options.n_clusters);
    CAPTURE(options.seed);
    cpu_context cpu;
    const device_rows rows(ctx, x, x.extent(1) + 5);
    check_same_clusters(cluster::kmeans(ctx, rows.view(), options), cluster::kmeans(cpu, x, options));
}

/// From given centres: the first rows of x.
inline void check_device_kmeans_from_rows(cuda_context& ctx, tensor_view<const float, 2> x, index_t k,
                                          const cluster::kmeans_options& options = {}) {
    CAPTURE(x.extent(0));
    CAPTURE(k);
    cpu_context cpu;
    const device_rows rows(ctx, x), start(ctx, x.rows(0, k));
    const auto found = cluster::kmeans(ctx, rows.view(), start.view(), options),
               expected = cluster::kmeans(cpu, x, x.rows(0, k), options);
    check_same_clusters(found, expected);
    const device_rows centers(ctx, found.centers);
    CHECK(same_bits(cluster::kmeans_predict(ctx, rows.view(), centers.view()).view(),
                    cluster::kmeans_predict(cpu, x, found.centers.view()).view()));
}

/// init_size: at most 128 rows, up to where both devices draw the same starts.
inline void check_device_mini_batch(cuda_context& ctx, tensor_view<const float, 2> x,
                                    const cluster::mini_batch_kmeans_options& options) {
    CAPTURE(x.extent(0));
    CAPTURE(options.n_clusters);
    CAPTURE(options.batch_size);
    CAPTURE(options.seed);
    cpu_context cpu;
    const device_rows rows(ctx, x, x.extent(1) + 5);
    check_same_clusters(cluster::mini_batch_kmeans(ctx, rows.view(), options),
                        cluster::mini_batch_kmeans(cpu, x, options));
}

/// Distances to the first k rows of x: the CPU's, but for the last bit, on the host and into rows with gaps between them.
inline void check_device_kmeans_transform(cuda_context& ctx, tensor_view<const float, 2> x, index_t k) {
    CAPTURE(x.extent(0));
    CAPTURE(x.extent(1));
    CAPTURE(k);
    cpu_context cpu;
    const device_rows rows(ctx, x, x.extent(1) + 3), centers(ctx, x.rows(0, k));
    const auto expected = cluster::kmeans_transform(cpu, x, x.rows(0, k)),
               found = cluster::kmeans_transform(ctx, rows.view(), centers.view());
    tensor<float, 2, device_memory> there({x.extent(0), k + 2});
    const tensor_view<float, 2> part(there.data(), {x.extent(0), k}, {k + 2, 1});
    cluster::kmeans_transform(ctx, part, rows.view(), centers.view());
    tensor<float, 2> here({x.extent(0), k});
    ctx.download(here.view(), tensor_view<const float, 2>(part));
    CHECK(same_bits(here.view(), found.view()));
    REQUIRE(found.extent(0) == x.extent(0));
    REQUIRE(found.extent(1) == k);
    index_t n_off = 0;
    for (index_t i = 0; i < expected.size(); ++i)
        n_off += !(std::fabs(found.data()[i] - expected.data()[i]) <= 1.2e-7f * expected.data()[i]);
    CHECK(n_off == 0);
    for (index_t c = 0; c < k; ++c) CHECK(found(c, c) == 0.0f);
}

/// The same merges, and the same labels.
inline void check_same_tree(const cluster::dendrogram& found, const cluster::dendrogram& expected) {
    REQUIRE(found.n_merges() == expected.n_merges());
    const index_t n = found.n_merges() + 1;
    index_t n_wrong = 0;
    for (index_t m = 0; m + 1 < n; ++m) {
        n_wrong += found.children(m) != expected.children(m) ||
                   !(std::fabs(found.height(m) - expected.height(m)) <= 1e-11 * expected.height(m));
    }
    CHECK(n_wrong == 0);
    for (const index_t k : {index_t{1}, (n + 9) / 10, n})
        CHECK(same_bits(found.cut({.n_clusters = k}).view(), expected.cut({.n_clusters = k}).view()));
}

/// x must not have distances that tie.
inline void check_device_agglomerative(cuda_context& ctx, tensor_view<const float, 2> x,
                                       const cluster::agglomerative_options& options) {
    CAPTURE(x.extent(0));
    CAPTURE(x.extent(1));
    CAPTURE(static_cast<int>(options.linkage));
    CAPTURE(static_cast<int>(options.metric));
    cpu_context cpu;
    const device_rows rows(ctx, x, x.extent(1) + 1);
    check_same_tree(cluster::agglomerative(ctx, rows.view(), options), cluster::agglomerative(cpu, x, options));
}

/// The CPU's silhouettes, every metric. labels(i) = i mod n_clusters, shuffled by a constant.
inline void check_device_silhouette(cuda_context& ctx, tensor_view<const float, 2> x, std::int32_t n_clusters) {
    using cluster::silhouette_metric;
    cpu_context cpu;
    const device_rows rows(ctx, x);
    std::vector<std::int32_t> labels;
    for (index_t i = 0; i < x.extent(0); ++i) labels.push_back(static_cast<std::int32_t>(i * 7 % n_clusters * 11 - 5));
    for (const auto metric : {silhouette_metric::euclidean, silhouette_metric::sqeuclidean, silhouette_metric::cosine,
                              silhouette_metric::manhattan, silhouette_metric::chebyshev}) {
        CAPTURE(static_cast<int>(metric));
        const auto found = cluster::silhouette_samples(ctx, rows.view(), labels, metric),
                   expected = cluster::silhouette_samples(cpu, x, labels, metric);
        REQUIRE(found.size() == expected.size());
        double worst = 0.0;
        for (std::size_t i = 0; i < found.size(); ++i) worst = std::fmax(worst, std::fabs(found[i] - expected[i]));
        CHECK(worst <= 1e-11);
        CHECK(cluster::silhouette_score(ctx, rows.view(), labels, metric) ==
              doctest::Approx(cluster::silhouette_score(cpu, x, labels, metric)).epsilon(1e-10));
    }
}

/// The same components and shares of variance, and rows projected alike. Values of x must stand apart.
inline void check_same_components(const cluster::pca_model& found, const cluster::pca_model& expected) {
    REQUIRE(found.components.extent(0) == expected.components.extent(0));
    REQUIRE(found.components.extent(1) == expected.components.extent(1));
    CHECK(max_error(found.components.view(), expected.components.view()) <= 1e-6);
    CHECK(max_error(found.mean.view(), expected.mean.view()) <= 1e-6);
    CHECK(found.whiten == expected.whiten);
    for (std::size_t i = 0; i < expected.explained_variance.size(); ++i) {
        CHECK(std::fabs(found.explained_variance[i] - expected.explained_variance[i]) <=
              1e-11 * expected.explained_variance[0]);
        CHECK(std::fabs(found.explained_variance_ratio[i] - expected.explained_variance_ratio[i]) <= 1e-11);
    }
}
inline void check_device_pca(cuda_context& ctx, tensor_view<const float, 2> x, const cluster::pca_options& options) {
    CAPTURE(x.extent(0));
    CAPTURE(x.extent(1));
    cpu_context cpu;
    const device_rows rows(ctx, x, x.extent(1) + 3);
    const auto found = cluster::pca(ctx, rows.view(), options), expected = cluster::pca(cpu, x, options);
    check_same_components(found, expected);
    const auto y = expected.transform(cpu, x);
    CHECK(max_error(expected.transform(ctx, rows.view()).view(), y.view()) <= 1e-5);
    // To rows with gaps between them, which stay on the device.
    tensor<float, 2, device_memory> there({y.extent(0), y.extent(1) + 2});
    const tensor_view<float, 2> part(there.data(), {y.extent(0), y.extent(1)}, {y.extent(1) + 2, 1});
    expected.transform(ctx, part, rows.view());
    tensor<float, 2> here({y.extent(0), y.extent(1)});
    ctx.download(here.view(), tensor_view<const float, 2>(part));
    CHECK(max_error(here.view(), y.view()) <= 1e-5);
}

}  // namespace instar::test

#endif
