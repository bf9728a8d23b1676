// Approximate neighbours: nearly all of the true ones, with their exact distances, whatever the threads; edges and bad input.
#include <doctest/doctest.h>

#include "instar/cluster/nn_descent.hpp"
#include "support/compare.hpp"

using namespace instar;

namespace {

tensor<float, 2> clouds(index_t n, index_t d, index_t n_centres, std::uint64_t seed) {
    const auto centres = test::random_tensor<float, 2>({n_centres, d}, seed, -3.0, 3.0);
    tensor<float, 2> x({n, d});
    const philox rng{.seed = seed + 1};
    for (index_t i = 0; i < n; ++i) {
        for (index_t c = 0; c < d; ++c) x(i, c) = 20.0f + centres(i % n_centres, c) + rng.normal(static_cast<std::uint64_t>(i * d + c));
    }
    return x;
}

double recall(const cluster::knn_result& found, const cluster::knn_result& exact) {
    index_t hits = 0;
    const index_t n = exact.index.extent(0), k = exact.index.extent(1);
    for (index_t i = 0; i < n; ++i) {
        for (index_t j = 0; j < k; ++j) {
            for (index_t l = 0; l < k; ++l) hits += found.index(i, j) == exact.index(i, l);
        }
    }
    return static_cast<double>(hits) / static_cast<double>(n * k);
}

}  // namespace

TEST_CASE("nn_descent finds nearly all neighbours, sorted, with knn's distances") {
    cpu_context one{1}, two{2};
    const auto x = clouds(1500, 12, 40, 3);
    for (const auto metric : {cluster::knn_metric::euclidean, cluster::knn_metric::cosine}) {
        const auto exact = cluster::knn(two, x, x, {.k = 15, .metric = metric});
        const auto found = cluster::nn_descent(two, x, {.k = 15, .metric = metric, .seed = 1}), again = cluster::nn_descent(one, x, {.k = 15, .metric = metric, .seed = 1});
        CHECK(recall(found, exact) >= 0.98);
        CHECK(std::equal(found.index.begin(), found.index.end(), again.index.begin()));
        CHECK(test::same_bits(found.distance.view(), again.distance.view()));
        for (index_t i = 0; i < 1500; ++i) {
            CHECK(found.index(i, 0) == i);
            CHECK(found.distance(i, 0) == 0.0f);
            for (index_t j = 1; j < 15; ++j) {
                CHECK(found.distance(i, j) >= found.distance(i, j - 1));
                for (index_t l = 0; l < 15; ++l) {
                    if (exact.index(i, l) == found.index(i, j)) CHECK(found.distance(i, j) == doctest::Approx(exact.distance(i, l)).epsilon(1e-6));
                }
            }
        }
        // A bad start and no rounds finds less: the rounds are what finds them.
        CHECK(recall(cluster::nn_descent(two, x, {.k = 15, .metric = metric, .n_trees = 1, .max_iter = 1, .max_candidates = 2}), exact) < 0.9);
    }
}

TEST_CASE("nn_descent: equal rows, few rows, k = n, progress") {
    cpu_context ctx;
    tensor<float, 2> same({200, 3});
    std::fill(same.begin(), same.end(), 2.0f);
    const auto equal = cluster::nn_descent(ctx, same, {.k = 5});
    for (index_t i = 0; i < 200; ++i) {
        for (index_t j = 0; j < 5; ++j) {
            CHECK(equal.distance(i, j) == 0.0f);
            CHECK(equal.index(i, j) >= 0);
            for (index_t l = 0; l < j; ++l) CHECK(equal.index(i, j) != equal.index(i, l));
        }
    }
    const auto few = clouds(9, 4, 2, 5);
    CHECK(recall(cluster::nn_descent(ctx, few, {.k = 8}), cluster::knn(ctx, few, few, {.k = 8})) == 1.0);
    CHECK(recall(cluster::nn_descent(ctx, few, {.k = 9}), cluster::knn(ctx, few, few, {.k = 9})) == 1.0);
    CHECK(cluster::nn_descent(ctx, few, {.k = 1}).index(3, 0) == 3);
    index_t rounds = 0;
    const auto x = clouds(500, 6, 10, 8);
    cluster::nn_descent(ctx, x, {.k = 10, .progress = [&](index_t round, index_t n_changes) {
                                     CHECK(round == ++rounds);
                                     CHECK(n_changes >= 0);
                                 }});
    CHECK(rounds >= 1);
    CHECK_THROWS_AS(cluster::nn_descent(ctx, x, {.k = 10, .progress = [](index_t, index_t) { throw cancelled_error("stopped"); }}), cancelled_error);
}

TEST_CASE("nn_descent refuses bad input") {
    cpu_context ctx;
    auto x = clouds(30, 3, 2, 4);
    const auto refuses = [&](const cluster::nn_descent_options& o, const char* text) { CHECK_THROWS_WITH_AS(cluster::nn_descent(ctx, x, o), doctest::Contains(text), value_error); };
    refuses({.k = 0}, "k is 0, must be between 1 and the 30 rows");
    refuses({.k = 31}, "k is 31");
    refuses({.k = 5, .metric = cluster::knn_metric::inner_product}, "inner_product is no distance");
    refuses({.k = 5, .max_candidates = 1}, "max_candidates must be at least 2");
    refuses({.k = 5, .delta = -1.0}, "delta must not be negative");
    x(4, 1) = std::numeric_limits<float>::quiet_NaN();
    refuses({.k = 5}, "row 4, column 1");
    x(4, 1) = 0.0f, x(4, 0) = 0.0f, x(4, 2) = 0.0f;
    refuses({.k = 5, .metric = cluster::knn_metric::cosine}, "row 4");
}
