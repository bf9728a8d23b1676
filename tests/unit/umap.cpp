// UMAP: the curve's parameters, memberships, determinism, neighbourhoods kept, islands and duplicates, new points, errors.

#include <cmath>
#include <limits>
#include <set>

#include <doctest/doctest.h>

#include "instar/cluster/umap.hpp"
#include "support/compare.hpp"

using namespace instar;

namespace {

tensor<float, 2> clouds(index_t n, index_t d, index_t k, float spread) {
    tensor<float, 2> x({n, d});
    const philox rng{1, 0};
    for (index_t i = 0; i < n; ++i) {
        for (index_t p = 0; p < d; ++p) x(i, p) = spread * rng.fork(2).normal(static_cast<std::uint64_t>((i % k) * d + p)) + rng.fork(3).normal(static_cast<std::uint64_t>(i * d + p));
    }
    return x;
}

/// 1 − penalties for neighbours in y that are far in the ranking of x (Venna, Kaski 2001).
double trustworthiness(cpu_context& ctx, tensor_view<const float, 2> x, tensor_view<const float, 2> y, index_t k) {
    const index_t n = x.extent(0);
    const auto in_x = cluster::knn(ctx, x, x, {.k = n - 1, .exclude_self = true}), in_y = cluster::knn(ctx, y, y, {.k = k, .exclude_self = true});
    double penalty = 0.0;
    for (index_t i = 0; i < n; ++i) {
        std::vector<index_t> rank(static_cast<std::size_t>(n), 0);
        for (index_t r = 0; r < n - 1; ++r) rank[static_cast<std::size_t>(in_x.index(i, r))] = r + 1;
        for (index_t j = 0; j < k; ++j) penalty += static_cast<double>(std::max<index_t>(0, rank[static_cast<std::size_t>(in_y.index(i, j))] - k));
    }
    return 1.0 - penalty * 2.0 / static_cast<double>(n * k * (2 * n - 3 * k - 1));
}

}  // namespace

TEST_CASE("umap: a and b are those that umap-learn fits") {
    const auto close = cluster::detail::umap_curve(0.0, 1.0), usual = cluster::detail::umap_curve(0.1, 1.0);
    CHECK(close.first == doctest::Approx(1.9328084).epsilon(1e-6));
    CHECK(close.second == doctest::Approx(0.79049497).epsilon(1e-6));
    CHECK(usual.first == doctest::Approx(1.57694346).epsilon(1e-6));
    CHECK(usual.second == doctest::Approx(0.89506088).epsilon(1e-6));
}

TEST_CASE("umap: memberships of a point add up to log2 k, and the union is symmetric") {
    cpu_context ctx{2};
    const auto x = test::random_tensor<float, 2>({200, 5}, 1);
    const auto nn = cluster::knn(ctx, x.view(), x.view(), {.k = 12});
    const cluster::detail::umap_memberships m(ctx, nn.index.view(), nn.distance.view(), 1.0, true);
    for (index_t i = 0; i < 200; ++i) {
        double sum = 0.0;
        for (index_t j = 0; j < 12; ++j) sum += static_cast<double>(m.weight[static_cast<std::size_t>(i * 12 + j)]);
        CHECK(sum == doctest::Approx(std::log2(12.0)).epsilon(1e-3));
        CHECK(m.weight[static_cast<std::size_t>(i * 12 + 1)] == 1.0f);  // the nearest is surely connected
    }
    const auto g = cluster::detail::umap_graph::unite(m, 1.0);
    std::set<std::tuple<index_t, index_t, float>> edges;
    for (index_t i = 0; i < 200; ++i) {
        for (index_t e = g.start[static_cast<std::size_t>(i)]; e < g.start[static_cast<std::size_t>(i) + 1]; ++e) edges.insert({i, g.column[static_cast<std::size_t>(e)], g.weight[static_cast<std::size_t>(e)]});
    }
    for (const auto& [i, j, w] : edges) CHECK(edges.count({j, i, w}) == 1);
}

TEST_CASE("umap: the same bits for any number of threads, neighbourhoods kept, clouds apart") {
    cpu_context one{1}, two{2};
    const auto x = clouds(400, 10, 5, 4.0f);
    const cluster::umap_options o{.n_neighbors = 10, .n_epochs = 200, .seed = 3};
    const auto a = cluster::umap(one, x.view(), o), b = cluster::umap(two, x.view(), o);
    CHECK(test::same_bits(a.embedding.view(), b.embedding.view()));
    CHECK(trustworthiness(two, x.view(), b.embedding.view(), 8) > 0.9);
    const auto nn = cluster::knn(two, b.embedding.view(), b.embedding.view(), {.k = 5, .exclude_self = true});
    index_t right = 0;
    for (index_t i = 0; i < 400; ++i) {
        for (index_t j = 0; j < 5; ++j) right += nn.index(i, j) % 5 == i % 5;
    }
    CHECK(right > 1980);
    // New points land among their own.
    const auto more = clouds(400, 10, 5, 4.0f);
    tensor<float, 2> near({40, 10});
    for (index_t i = 0; i < 40; ++i) {
        for (index_t p = 0; p < 10; ++p) near(i, p) = more(i, p) + 0.1f;
    }
    const auto placed = b.transform(two, near.view()), again = b.transform(one, near.view());
    CHECK(test::same_bits(placed.view(), again.view()));
    const auto to = cluster::knn(two, placed.view(), b.embedding.view(), {.k = 1});
    index_t found = 0;
    for (index_t i = 0; i < 40; ++i) found += to.index(i, 0) % 5 == i % 5;
    CHECK(found >= 39);
}

TEST_CASE("umap: islands, more duplicates than neighbours, all equal, a large component, cosine") {
    cpu_context ctx{2};
    auto x = clouds(240, 4, 6, 1000.0f);  // six components
    for (index_t i = 0; i < 60; ++i) {
        for (index_t p = 0; p < 4; ++p) x(i * 4, p) = x(0, p);
    }
    const auto finite = [](const tensor<float, 2>& y) { return std::all_of(y.begin(), y.end(), [](float v) { return std::isfinite(v); }); };
    const auto m = cluster::umap(ctx, x.view(), {.n_neighbors = 8, .n_epochs = 50});
    CHECK(m.n_parts > 1);
    CHECK(finite(m.embedding));
    tensor<float, 2> same({30, 3});
    for (auto& v : same) v = 1.0f;
    CHECK(finite(cluster::umap(ctx, same.view(), {.n_neighbors = 5, .n_epochs = 20}).embedding));
    const auto large = test::random_tensor<float, 2>({900, 3}, 2, 0.5, 1.5);
    const auto l = cluster::umap(ctx, large.view(), {.n_neighbors = 12, .metric = cluster::umap_metric::cosine, .n_epochs = 30});
    CHECK(finite(l.embedding));
    CHECK(finite(cluster::umap(ctx, large.view(), {.n_components = 20, .n_neighbors = 12, .n_epochs = 5, .init = cluster::umap_init::random}).embedding));
}

TEST_CASE("umap: the start is made of eigenvectors of the normalised graph") {
    cpu_context ctx{2};
    const auto x = test::random_tensor<float, 2>({700, 2}, 1);
    const auto nn = cluster::knn(ctx, x.view(), x.view(), {.k = 15});
    const auto g = cluster::detail::umap_graph::unite(cluster::detail::umap_memberships(ctx, nn.index.view(), nn.distance.view(), 1.0, true), 1.0);
    std::vector<std::int32_t> parts;
    REQUIRE(g.components(parts) == 1);
    const auto v = cluster::detail::umap_eigenvectors(g).leading(ctx, 3, philox{1, 1});
    std::vector<double> degree(700, 0.0);
    for (std::size_t i = 0; i < 700; ++i) {
        for (index_t e = g.start[i]; e < g.start[i + 1]; ++e) degree[i] += static_cast<double>(g.weight[static_cast<std::size_t>(e)]);
    }
    double last = 1.0;
    for (index_t c = 0; c < 3; ++c) {
        double value = 0.0, squares = 0.0, residual = 0.0;
        std::vector<double> y(700, 0.0);
        for (std::size_t i = 0; i < 700; ++i) {
            for (index_t e = g.start[i]; e < g.start[i + 1]; ++e) {
                const auto j = static_cast<std::size_t>(g.column[static_cast<std::size_t>(e)]);
                y[i] += static_cast<double>(g.weight[static_cast<std::size_t>(e)]) / std::sqrt(degree[i] * degree[j]) * static_cast<double>(v(static_cast<index_t>(j), c));
            }
            value += y[i] * static_cast<double>(v(static_cast<index_t>(i), c));
            squares += std::pow(static_cast<double>(v(static_cast<index_t>(i), c)), 2);
        }
        value /= squares;
        for (std::size_t i = 0; i < 700; ++i) residual += std::pow(y[i] - value * static_cast<double>(v(static_cast<index_t>(i), c)), 2);
        CHECK(std::sqrt(residual / squares) < 0.02);
        CHECK(value <= last + 1e-6);
        CHECK(value > 0.5);
        last = value;
    }
}

TEST_CASE("umap: from neighbours found before, the same layout; wrong ones are named") {
    cpu_context ctx{2};
    const auto x = test::random_tensor<float, 2>({60, 4}, 5);
    const cluster::umap_options o{.n_neighbors = 7, .n_epochs = 30, .seed = 2};
    const auto found = [&] { return cluster::knn(ctx, x.view(), x.view(), {.k = 7}); };
    CHECK(test::same_bits(cluster::umap(ctx, x.view(), found(), o).embedding.view(), cluster::umap(ctx, x.view(), o).embedding.view()));
    CHECK_THROWS_WITH_AS(cluster::umap(ctx, x.view(), cluster::knn(ctx, x.view(), x.view(), {.k = 6}), o), doctest::Contains("neighbors.index has shape [60, 6], expected [60, 7]"), shape_error);
    auto wrong = found();
    wrong.index(3, 2) = 60;
    CHECK_THROWS_WITH_AS(cluster::umap(ctx, x.view(), std::move(wrong), o), doctest::Contains("neighbors.index is 60 at (3, 2)"), value_error);
    auto broken = x.clone();
    broken(5, 2) = std::numeric_limits<float>::infinity();
    CHECK_THROWS_WITH_AS(cluster::umap(ctx, broken.view(), found(), o), "umap: x row 5, column 2 is not finite", value_error);
    wrong = found();
    wrong.distance(4, 1) = -1.0f;
    CHECK_THROWS_WITH_AS(cluster::umap(ctx, x.view(), std::move(wrong), o), doctest::Contains("neighbors.distance at (4, 1)"), value_error);
}

TEST_CASE("umap names what is wrong before it starts") {
    cpu_context ctx;
    auto x = test::random_tensor<float, 2>({20, 3}, 1);
    CHECK_THROWS_WITH_AS(cluster::umap(ctx, x.view(), {.n_neighbors = 21}), doctest::Contains("n_neighbors is 21"), value_error);
    CHECK_THROWS_WITH_AS(cluster::umap(ctx, x.view(), {.n_components = 20, .n_neighbors = 5}), doctest::Contains("n_components is 20"), value_error);
    CHECK_THROWS_WITH_AS(cluster::umap(ctx, x.view(), {.n_neighbors = 5, .min_dist = 2.0f}), doctest::Contains("min_dist"), value_error);
    CHECK_THROWS_WITH_AS(cluster::umap(ctx, x.view().rows(0, 2), {.n_neighbors = 2}), doctest::Contains("three rows"), value_error);
    const auto m = cluster::umap(ctx, x.view(), {.n_neighbors = 5, .n_epochs = 5});
    CHECK_THROWS_WITH_AS(m.transform(ctx, test::random_tensor<float, 2>({2, 4}, 1).view()), doctest::Contains("umap.transform"), shape_error);
    x(11, 2) = std::numeric_limits<float>::quiet_NaN();
    CHECK_THROWS_WITH_AS(cluster::umap(ctx, x.view(), {.n_neighbors = 5}), doctest::Contains("row 11, column 2"), value_error);
}

TEST_CASE("umap: neighbours found by descent give as good a layout") {
    cpu_context one{1}, two{2};
    const auto x = clouds(400, 8, 8, 4.0f);
    const auto exact = cluster::umap(two, x.view(), {.n_neighbors = 10, .neighbors = cluster::umap_neighbors::exact, .n_epochs = 100});
    const auto near = cluster::umap(two, x.view(), {.n_neighbors = 10, .neighbors = cluster::umap_neighbors::descent, .n_epochs = 100});
    const auto again = cluster::umap(one, x.view(), {.n_neighbors = 10, .neighbors = cluster::umap_neighbors::descent, .n_epochs = 100});
    CHECK(test::same_bits(near.embedding.view(), again.embedding.view()));
    CHECK(trustworthiness(two, x.view(), near.embedding.view(), 10) >= trustworthiness(two, x.view(), exact.embedding.view(), 10) - 0.01);
}
