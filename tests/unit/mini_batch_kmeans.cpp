// Mini-batch k-means: near k-means on clouds, whatever the threads, batch by batch, and what it refuses.
#include <doctest/doctest.h>

#include "instar/cluster/mini_batch_kmeans.hpp"
#include "instar/metrics/clustering.hpp"
#include "support/compare.hpp"

using namespace instar;

namespace {

/// n rows about k centres far from each other.
tensor<float, 2> clouds(index_t n, index_t d, index_t k, float spread, std::uint64_t seed) {
    const auto centres = test::random_tensor<float, 2>({k, d}, seed, -10.0, 10.0);
    tensor<float, 2> x({n, d});
    const philox rng{.seed = seed + 1};
    for (index_t i = 0; i < n; ++i) {
        for (index_t c = 0; c < d; ++c) x(i, c) = 100.0f + centres(i % k, c) + spread * rng.normal(static_cast<std::uint64_t>(i * d + c));
    }
    return x;
}

}  // namespace

TEST_CASE("mini_batch_kmeans finds the clouds, and nearly the inertia of k-means") {
    cpu_context one{1}, two{2};
    const auto x = clouds(6000, 8, 12, 0.7f, 3);
    const cluster::mini_batch_kmeans_options options{.n_clusters = 12, .batch_size = 256, .seed = 5};
    const auto r = cluster::mini_batch_kmeans(two, x, options), again = cluster::mini_batch_kmeans(one, x, options);
    CHECK(test::same_bits(r.centers.view(), again.centers.view()));
    CHECK(r.inertia == again.inertia);
    CHECK(std::equal(r.labels.begin(), r.labels.end(), again.labels.begin()));
    CHECK(r.n_nonempty == 12);
    CHECK(r.converged);
    CHECK(r.n_iter < 100);
    std::vector<std::int32_t> truth;
    for (index_t i = 0; i < 6000; ++i) truth.push_back(static_cast<std::int32_t>(i % 12));
    CHECK(metrics::adjusted_rand_index(truth, r.labels) == 1.0);
    const auto exact = cluster::kmeans(two, x, {.n_clusters = 12, .n_init = 3});
    CHECK(r.inertia <= 1.01 * exact.inertia);
    CHECK(r.inertia >= exact.inertia);
    // Where clouds overlap it stays within some percent.
    const auto mixed = clouds(6000, 5, 60, 2.5f, 8);
    const auto m = cluster::mini_batch_kmeans(two, mixed, {.n_clusters = 60, .batch_size = 512, .seed = 1}), e = cluster::kmeans(two, mixed, {.n_clusters = 60});
    CHECK(m.inertia <= 1.10 * e.inertia);
    CHECK(m.n_nonempty == 60);
}

TEST_CASE("mini_batch_kmeans: batch by batch, a centre is the mean of all rows it was given") {
    cpu_context ctx;
    const auto x = clouds(64, 3, 2, 0.1f, 4);
    cluster::mini_batch_state state(ctx, x.view().rows(0, 8), {.n_clusters = 2, .reassignment_ratio = 0.0});
    double shift = -1.0;
    for (index_t b = 0; b < 64; b += 16) CHECK(state.partial_fit(ctx, x.view().rows(b, b + 16), &shift) >= 0.0);
    CHECK(shift >= 0.0);
    CHECK(state.counts()[0] == 32.0);
    CHECK(state.counts()[1] == 32.0);
    const auto centers = state.centers();
    for (index_t c = 0; c < 2; ++c) {
        const index_t parity = std::fabs(centers(c, 0) - x(0, 0)) < 1.0f && std::fabs(centers(c, 1) - x(0, 1)) < 1.0f ? 0 : 1;
        for (index_t p = 0; p < 3; ++p) {
            double mean = 0.0;
            for (index_t i = parity; i < 64; i += 2) mean += static_cast<double>(x(i, p)) / 32.0;
            CHECK(centers(c, p) == doctest::Approx(mean).epsilon(1e-5));
        }
    }
    CHECK_THROWS_AS(state.partial_fit(ctx, test::random_tensor<float, 2>({3, 4}, 1).view()), shape_error);
    CHECK(state.partial_fit(ctx, x.view().rows(0, 0)) == 0.0);
}

TEST_CASE("mini_batch_kmeans: few rows, equal rows, one cluster, a limit of batches, progress that stops") {
    cpu_context ctx;
    const auto x = clouds(40, 2, 4, 0.2f, 9);
    CHECK(cluster::mini_batch_kmeans(ctx, x, {.n_clusters = 40, .batch_size = 7}).inertia >= 0.0);
    CHECK(cluster::mini_batch_kmeans(ctx, x, {.n_clusters = 1}).n_nonempty == 1);
    tensor<float, 2> same({30, 2});
    std::fill(same.begin(), same.end(), 3.0f);
    const auto r = cluster::mini_batch_kmeans(ctx, same, {.n_clusters = 4, .batch_size = 8});
    CHECK(r.inertia == 0.0);
    CHECK(r.n_nonempty == 1);
    index_t n_batches = 0;
    cluster::mini_batch_kmeans_options options{.n_clusters = 4, .init = cluster::kmeans_init::random, .max_iter = 2, .batch_size = 10, .max_no_improvement = 0};
    options.progress = [&](index_t done, index_t total) {
        n_batches = done;
        CHECK(total == 8);
    };
    CHECK(cluster::mini_batch_kmeans(ctx, x, options).n_iter == 2);
    CHECK(n_batches == 8);
    options.progress = [](index_t, index_t) { throw cancelled_error("stopped"); };
    CHECK_THROWS_AS(cluster::mini_batch_kmeans(ctx, x, options), cancelled_error);
}

TEST_CASE("mini_batch_kmeans refuses bad input before any work") {
    cpu_context ctx;
    auto x = clouds(20, 3, 2, 0.2f, 9);
    const auto refuses = [&](const cluster::mini_batch_kmeans_options& o, const char* text) {
        CHECK_THROWS_WITH_AS(cluster::mini_batch_kmeans(ctx, x, o), doctest::Contains(text), value_error);
    };
    refuses({.n_clusters = 0}, "n_clusters must be at least 1, is 0");
    refuses({.n_clusters = 21}, "20 rows are fewer than n_clusters, 21");
    refuses({.n_init = 0}, "n_init must be at least 1");
    refuses({.max_iter = 0}, "max_iter must be at least 1");
    refuses({.batch_size = 0}, "batch_size must be at least 1");
    refuses({.max_no_improvement = -1}, "max_no_improvement must be at least 0");
    refuses({.init_size = 3}, "init_size must be at least 8, is 3");
    refuses({.tol = -1.0}, "tol must not be negative");
    refuses({.reassignment_ratio = 1.0}, "reassignment_ratio must be in [0, 1)");
    x(7, 2) = std::numeric_limits<float>::infinity();
    refuses({.n_clusters = 2}, "x row 7, column 2 is not finite");
}
