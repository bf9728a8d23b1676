// k-means on the CPU: against Lloyd in double, properties, determinism, errors.

#include <cmath>
#include <limits>
#include <tuple>

#include <doctest/doctest.h>

#include "instar/cluster/kmeans.hpp"
#include "support/compare.hpp"

using namespace instar;

namespace {

/// Gaussian clouds of deviation 1 around `k` points of deviation `spread`.
tensor<float, 2> clouds(index_t n, index_t d, index_t k, float spread, std::uint64_t seed = 1) {
    tensor<float, 2> x({n, d});
    const philox rng{seed, 0};
    for (index_t i = 0; i < n; ++i) {
        const index_t c = rng.fork(1).below(static_cast<std::uint64_t>(i), static_cast<std::uint32_t>(k));
        for (index_t p = 0; p < d; ++p) x(i, p) = 100.0f + spread * rng.fork(2).normal(static_cast<std::uint64_t>(c * d + p)) + rng.fork(3).normal(static_cast<std::uint64_t>(i * d + p));
    }
    return x;
}

double inertia_of(const tensor<float, 2>& x, const tensor<float, 2>& centers, const tensor<std::int32_t, 1>& labels) {
    double sum = 0.0;
    for (index_t i = 0; i < x.extent(0); ++i) {
        for (index_t p = 0; p < x.extent(1); ++p) sum += std::pow(static_cast<double>(x(i, p)) - static_cast<double>(centers(labels(i), p)), 2);
    }
    return sum;
}

/// Lloyd in double from given centres; the labels at rest.
std::vector<std::int32_t> plain_lloyd(const tensor<float, 2>& x, const tensor<float, 2>& start, int iterations) {
    const index_t n = x.extent(0), d = x.extent(1), k = start.extent(0);
    std::vector<double> c(start.begin(), start.end());
    std::vector<std::int32_t> label(static_cast<std::size_t>(n), -1);
    for (int it = 0; it < iterations; ++it) {
        for (index_t i = 0; i < n; ++i) {
            double best = std::numeric_limits<double>::infinity();
            for (index_t j = 0; j < k; ++j) {
                double s = 0.0;
                for (index_t p = 0; p < d; ++p) s += std::pow(static_cast<double>(x(i, p)) - c[static_cast<std::size_t>(j * d + p)], 2);
                if (s < best) {
                    best = s;
                    label[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(j);
                }
            }
        }
        std::vector<double> sum(c.size(), 0.0), count(static_cast<std::size_t>(k), 0.0);
        for (index_t i = 0; i < n; ++i) {
            const auto l = static_cast<index_t>(label[static_cast<std::size_t>(i)]);
            count[static_cast<std::size_t>(l)] += 1.0;
            for (index_t p = 0; p < d; ++p) sum[static_cast<std::size_t>(l * d + p)] += static_cast<double>(x(i, p));
        }
        for (index_t j = 0; j < k; ++j) {
            if (count[static_cast<std::size_t>(j)] == 0.0) continue;
            for (index_t p = 0; p < d; ++p) c[static_cast<std::size_t>(j * d + p)] = sum[static_cast<std::size_t>(j * d + p)] / count[static_cast<std::size_t>(j)];
        }
    }
    return label;
}

}  // namespace

TEST_CASE("kmeans from given centres is Lloyd's algorithm") {
    cpu_context ctx{2};
    for (const auto& [n, d, k] : {std::tuple<index_t, index_t, index_t>{1000, 3, 7}, {700, 17, 40}, {3000, 2, 300}}) {
        CAPTURE(n);
        const auto x = clouds(n, d, k, 4.0f);
        tensor<float, 2> start({k, d});
        for (index_t c = 0; c < k; ++c) std::copy_n(&x(c * 2, 0), d, &start(c, 0));
        for (const auto algorithm : {cluster::kmeans_algorithm::lloyd, cluster::kmeans_algorithm::filtering, cluster::kmeans_algorithm::automatic}) {
            const auto r = cluster::kmeans(ctx, x.view(), start.view(), {.max_iter = 500, .tol = 0.0, .algorithm = algorithm});
            CHECK(r.converged);
            CHECK(std::vector<std::int32_t>(r.labels.begin(), r.labels.end()) == plain_lloyd(x, start, static_cast<int>(r.n_iter) + 1));
            CHECK(r.inertia == doctest::Approx(inertia_of(x, r.centers, r.labels)).epsilon(1e-5));
        }
    }
}

TEST_CASE("kmeans: the same bits for any number of threads and either algorithm") {
    cpu_context one{1}, two{2};
    const auto x = clouds(5000, 9, 60, 3.0f);
    const cluster::kmeans_options o{.n_clusters = 80, .n_init = 2, .seed = 5};
    auto filtering = o, lloyd = o;
    filtering.algorithm = cluster::kmeans_algorithm::filtering;
    lloyd.algorithm = cluster::kmeans_algorithm::lloyd;
    const auto a = cluster::kmeans(one, x.view(), o), b = cluster::kmeans(two, x.view(), o), c = cluster::kmeans(two, x.view(), filtering), e = cluster::kmeans(two, x.view(), lloyd);
    for (const auto* r : {&b, &c, &e}) {
        CHECK(test::same_bits(a.labels.view(), r->labels.view()));
        CHECK(test::same_bits(a.centers.view(), r->centers.view()));
        CHECK(a.inertia == r->inertia);
    }
    CHECK(a.n_nonempty == 80);
}

TEST_CASE("kmeans finds well separated clouds, and more starts never do worse") {
    cpu_context ctx{2};
    const auto x = clouds(3000, 8, 20, 20.0f);
    const auto r = cluster::kmeans(ctx, x.view(), {.n_clusters = 20, .seed = 3});
    CHECK(r.inertia / 3000.0 / 8.0 < 1.1);  // the clouds' own variance is 1
    const auto once = cluster::kmeans(ctx, x.view(), {.n_clusters = 50, .init = cluster::kmeans_init::random, .seed = 4});
    const auto often = cluster::kmeans(ctx, x.view(), {.n_clusters = 50, .init = cluster::kmeans_init::random, .n_init = 4, .seed = 4});
    CHECK(often.inertia <= once.inertia);
    const auto greedy = cluster::kmeans(ctx, x.view(), {.n_clusters = 20, .init = cluster::kmeans_init::random, .seed = 4});
    CHECK(r.inertia <= greedy.inertia);
}

TEST_CASE("kmeans: predict gives the labels again, transform the distances") {
    cpu_context ctx{2};
    const auto x = clouds(800, 6, 12, 5.0f);
    const auto r = cluster::kmeans(ctx, x.view(), {.n_clusters = 12});
    CHECK(test::same_bits(cluster::kmeans_predict(ctx, x.view(), r.centers.view()).view(), r.labels.view()));
    const auto t = cluster::kmeans_transform(ctx, x.view(), r.centers.view());
    double sum = 0.0;
    for (index_t i = 0; i < 800; ++i) {
        index_t best = 0;
        for (index_t c = 1; c < 12; ++c) best = t(i, c) < t(i, best) ? c : best;
        CHECK(best == r.labels(i));
        sum += std::pow(static_cast<double>(t(i, best)), 2);
    }
    CHECK(sum == doctest::Approx(r.inertia).epsilon(1e-5));
}

TEST_CASE("kmeans: duplicates, one point, as many clusters as points, empty clusters") {
    cpu_context ctx{2};
    tensor<float, 2> same({10, 3});
    for (auto& v : same) v = 2.5f;
    const auto r = cluster::kmeans(ctx, same.view(), {.n_clusters = 4});
    CHECK(r.inertia == 0.0);
    CHECK(r.n_nonempty == 1);
    tensor<float, 2> two({12, 1});
    for (index_t i = 0; i < 12; ++i) two(i, 0) = i % 2 == 0 ? 1.0f : 9.0f;
    const auto q = cluster::kmeans(ctx, two.view(), {.n_clusters = 5});
    CHECK(q.inertia == 0.0);
    CHECK(q.n_nonempty == 2);
    CHECK(q.labels(0) != q.labels(1));
    const auto x = clouds(30, 2, 3, 5.0f);
    CHECK(cluster::kmeans(ctx, x.view(), {.n_clusters = 30}).inertia == 0.0);
    CHECK(cluster::kmeans(ctx, x.view().rows(0, 1), {.n_clusters = 1}).labels(0) == 0);
    // A centre far from everything loses its points; it is moved to the point farthest from its own centre.
    tensor<float, 2> start({3, 2});
    std::copy_n(&x(0, 0), 2, &start(0, 0));
    start(1, 0) = start(1, 1) = 1e4f;
    start(2, 0) = start(2, 1) = -1e4f;
    const auto moved = cluster::kmeans(ctx, x.view(), start.view());
    CHECK(moved.n_nonempty == 3);
}

TEST_CASE("kmeans, spherical: clusters of directions, centres of length 1") {
    cpu_context ctx{2};
    auto x = clouds(600, 5, 6, 30.0f);
    for (index_t i = 0; i < 600; ++i) {
        for (index_t p = 0; p < 5; ++p) x(i, p) = (x(i, p) - 100.0f) * static_cast<float>(1 + i % 7);  // lengths do not matter
    }
    const auto r = cluster::kmeans(ctx, x.view(), {.n_clusters = 6, .n_init = 3, .spherical = true});
    for (index_t c = 0; c < 6; ++c) {
        double s = 0.0;
        for (index_t p = 0; p < 5; ++p) s += static_cast<double>(r.centers(c, p)) * static_cast<double>(r.centers(c, p));
        CHECK(s == doctest::Approx(1.0).epsilon(1e-6));
    }
    auto scaled = clouds(600, 5, 6, 30.0f);
    for (index_t i = 0; i < 600; ++i) {
        for (index_t p = 0; p < 5; ++p) scaled(i, p) = 4.0f * x(i, p);
    }
    CHECK(test::same_bits(cluster::kmeans(ctx, scaled.view(), {.n_clusters = 6, .n_init = 3, .spherical = true}).labels.view(), r.labels.view()));
}

TEST_CASE("kmeans names what is wrong before it starts") {
    cpu_context ctx;
    auto x = clouds(20, 3, 2, 5.0f);
    CHECK_THROWS_WITH_AS(cluster::kmeans(ctx, x.view(), {.n_clusters = 0}), doctest::Contains("n_clusters"), value_error);
    CHECK_THROWS_WITH_AS(cluster::kmeans(ctx, x.view(), {.n_clusters = 21}), doctest::Contains("20 rows are fewer"), value_error);
    CHECK_THROWS_WITH_AS(cluster::kmeans(ctx, x.view(), {.n_init = 0}), doctest::Contains("n_init"), value_error);
    CHECK_THROWS_WITH_AS(cluster::kmeans(ctx, x.view(), {.max_iter = 0}), doctest::Contains("max_iter"), value_error);
    CHECK_THROWS_WITH_AS(cluster::kmeans(ctx, x.view(), tensor<float, 2>({2, 4}).view()), doctest::Contains("centers"), shape_error);
    for (index_t p = 0; p < 3; ++p) x(7, p) = 0.0f;
    CHECK_THROWS_WITH_AS(cluster::kmeans(ctx, x.view(), {.n_clusters = 2, .spherical = true}), doctest::Contains("row 7 is zero"), value_error);
    x(4, 2) = std::numeric_limits<float>::infinity();
    CHECK_THROWS_WITH_AS(cluster::kmeans(ctx, x.view(), {.n_clusters = 2}), doctest::Contains("row 4, column 2"), value_error);
    x(4, 2) = std::numeric_limits<float>::quiet_NaN();
    CHECK_THROWS_WITH_AS(cluster::kmeans_predict(ctx, x.view(), clouds(2, 3, 1, 1.0f).view()), doctest::Contains("row 4, column 2"), value_error);
}
