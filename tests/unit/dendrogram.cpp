// The tree of merges by itself: SciPy's matrix, scikit-learn's cuts and label numbers, worked out by hand; what it refuses.

#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include "instar/cluster/dendrogram.hpp"

using namespace instar;

namespace {

using cluster::dendrogram;
using cluster::detail::child_order;

std::vector<std::int32_t> labels(const dendrogram& tree, cluster::cut_options options) {
    const auto l = tree.cut(options);
    return {l.begin(), l.end()};
}

/// Points 0 and 1 at height 1, 2 and 3 at height 2, both pairs at height 5; found in another order.
dendrogram two_pairs() { return cluster::detail::make_dendrogram(4, {{2, 3, 2.0}, {0, 1, 1.0}, {3, 1, 5.0}}, true, child_order::ascending); }

}  // namespace

TEST_CASE("dendrogram: merges are sorted by height and named as SciPy names them") {
    const dendrogram tree = two_pairs();
    CHECK(tree.n_points() == 4);
    CHECK(tree.n_merges() == 3);
    const auto z = tree.linkage_matrix();
    const double expected[3][4] = {{0, 1, 1, 2}, {2, 3, 2, 2}, {4, 5, 5, 4}};
    for (index_t k = 0; k < 3; ++k) {
        for (index_t c = 0; c < 4; ++c) CHECK(z(k, c) == expected[k][c]);
    }
    CHECK(tree.children(2) == std::pair<index_t, index_t>{4, 5});
    CHECK(tree.height(1) == 2.0);
    CHECK(tree.size(2) == 4);
}

TEST_CASE("dendrogram: merges that stay in order may have falling heights") {
    const dendrogram tree = cluster::detail::make_dendrogram(3, {{1, 2, 4.0}, {0, 2, 3.0}}, false, child_order::as_merged);
    CHECK(tree.height(0) == 4.0);
    CHECK(tree.height(1) == 3.0);
    CHECK(tree.children(1) == std::pair<index_t, index_t>{0, 3});
}

TEST_CASE("dendrogram: labels are places in the heap of the cut, as in scikit-learn") {
    const dendrogram tree = two_pairs();
    CHECK(labels(tree, {.n_clusters = 1}) == std::vector<std::int32_t>{0, 0, 0, 0});
    // [6] → push 4, replace 6 by 5: [5, 4].
    CHECK(labels(tree, {.n_clusters = 2}) == std::vector<std::int32_t>{1, 1, 0, 0});
    // [5, 4] → push 2: [5, 4, 2], replace 5 by 3: [4, 3, 2].
    CHECK(labels(tree, {.n_clusters = 3}) == std::vector<std::int32_t>{0, 0, 2, 1});
    // [4, 3, 2] → push 0: [4, 3, 2, 0], replace 4 by 1: [3, 1, 2, 0].
    CHECK(labels(tree, {.n_clusters = 4}) == std::vector<std::int32_t>{3, 1, 2, 0});
}

TEST_CASE("dendrogram: a merge at the threshold is not made") {
    const dendrogram tree = two_pairs();
    CHECK(tree.n_clusters_at(0.5) == 4);
    CHECK(tree.n_clusters_at(1.0) == 4);
    CHECK(tree.n_clusters_at(2.0) == 3);
    CHECK(tree.n_clusters_at(2.5) == 2);
    CHECK(tree.n_clusters_at(6.0) == 1);
    CHECK(labels(tree, {.distance_threshold = 2.5}) == labels(tree, {.n_clusters = 2}));
    CHECK(labels(tree, {.distance_threshold = std::numeric_limits<double>::infinity()}) == labels(tree, {.n_clusters = 1}));
}

TEST_CASE("dendrogram: one point, no point, and what cannot be cut") {
    const dendrogram one = cluster::detail::make_dendrogram(1, {}, true, child_order::ascending);
    CHECK(labels(one, {.n_clusters = 1}) == std::vector<std::int32_t>{0});
    CHECK(one.linkage_matrix().extent(0) == 0);
    CHECK(labels(dendrogram{}, {.distance_threshold = 1.0}).empty());
    const dendrogram tree = two_pairs();
    CHECK_THROWS_WITH_AS(tree.cut({}), doctest::Contains("neither is"), value_error);
    CHECK_THROWS_WITH_AS(tree.cut({.n_clusters = 2, .distance_threshold = 1.0}), doctest::Contains("both are"), value_error);
    CHECK_THROWS_WITH_AS(tree.cut({.n_clusters = 5}), doctest::Contains("between 1 and the 4 points"), value_error);
    CHECK_THROWS_WITH_AS(tree.cut({.n_clusters = -1}), doctest::Contains("n_clusters is -1"), value_error);
    CHECK_THROWS_WITH_AS(tree.cut({.distance_threshold = -0.5}), doctest::Contains("must not be negative"), value_error);
    CHECK_THROWS_WITH_AS(tree.height(3), doctest::Contains("merge 3 does not exist"), value_error);
}
