// Agglomerative clustering against plain definitions: linkages, cuts, ties, extreme coordinates, threads, instruction sets, refusals.
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <vector>

#include <doctest/doctest.h>

#include "instar/cluster/agglomerative.hpp"
#include "support/compare.hpp"
#include "support/levels.hpp"

using namespace instar;

namespace {

using cluster::dendrogram;
using cluster::linkage;
using cluster::linkage_metric;
using view = tensor_view<const float, 2>;

constexpr linkage k_linkages[] = {linkage::ward, linkage::average, linkage::complete, linkage::single, linkage::weighted, linkage::centroid, linkage::median};

/// Points about a few centres: sums of uniform values.
tensor<float, 2> clouds(index_t n, index_t d, index_t n_centres, std::uint64_t seed, double scale = 3.0) {
    auto x = test::random_tensor<float, 2>({n, d}, seed);
    const auto centres = test::random_tensor<float, 2>({n_centres, d}, seed + 1, -scale, scale);
    for (index_t i = 0; i < n; ++i) {
        for (index_t c = 0; c < d; ++c) x(i, c) += centres(i * 7919 % n_centres, c);
    }
    return x;
}

std::vector<std::vector<double>> distances(view x, linkage_metric m) {
    const auto n = static_cast<std::size_t>(x.extent(0));
    std::vector<std::vector<double>> d(n, std::vector<double>(n, 0.0));
    for (index_t i = 0; i < x.extent(0); ++i) {
        for (index_t j = 0; j < x.extent(0); ++j) {
            double squares = 0.0, dot = 0.0, a = 0.0, b = 0.0;
            for (index_t c = 0; c < x.extent(1); ++c) {
                const auto p = static_cast<double>(x(i, c)), q = static_cast<double>(x(j, c));
                squares += (p - q) * (p - q);
                dot += p * q;
                a += p * p;
                b += q * q;
            }
            d[static_cast<std::size_t>(i)][static_cast<std::size_t>(j)] =
                m == linkage_metric::euclidean ? std::sqrt(squares) : m == linkage_metric::sqeuclidean ? squares : 1.0 - dot / std::sqrt(a * b);
        }
    }
    return d;
}

/// The definition: always the closest pair of clusters, all distances anew. O(n³) and more.
tensor<double, 2> plain_tree(view x, linkage l, linkage_metric m) {
    const auto n = static_cast<std::size_t>(x.extent(0)), depth = static_cast<std::size_t>(x.extent(1));
    const auto d = distances(x, m);
    struct group {
        double node;
        std::vector<std::size_t> points;
        std::vector<double> mean;            // of the points; of the two parts for median
        std::vector<double> to;              // weighted: distances to all groups ever made
    };
    std::vector<group> all;
    std::vector<std::size_t> alive(n);
    std::iota(alive.begin(), alive.end(), std::size_t{0});
    for (std::size_t i = 0; i < n; ++i) {
        all.push_back({static_cast<double>(i), {i}, std::vector<double>(depth), std::vector<double>(2 * n, 0.0)});
        for (std::size_t c = 0; c < depth; ++c) all[i].mean[c] = static_cast<double>(x(static_cast<index_t>(i), static_cast<index_t>(c)));
        for (std::size_t j = 0; j < n; ++j) all[i].to[j] = d[i][j];
    }
    const auto between = [&](const group& a, const group& b, std::size_t b_place) {
        if (l == linkage::weighted) return a.to[b_place];
        if (l == linkage::ward || l == linkage::centroid || l == linkage::median) {
            double squares = 0.0;
            for (std::size_t c = 0; c < depth; ++c) squares += (a.mean[c] - b.mean[c]) * (a.mean[c] - b.mean[c]);
            const auto p = static_cast<double>(a.points.size()), q = static_cast<double>(b.points.size());
            return std::sqrt(squares * (l == linkage::ward ? 2.0 * p * q / (p + q) : 1.0));
        }
        double sum = 0.0, least = std::numeric_limits<double>::infinity(), most = 0.0;
        for (const std::size_t i : a.points) {
            for (const std::size_t j : b.points) {
                sum += d[i][j];
                least = std::min(least, d[i][j]);
                most = std::max(most, d[i][j]);
            }
        }
        return l == linkage::average ? sum / static_cast<double>(a.points.size() * b.points.size()) : l == linkage::single ? least : most;
    };
    tensor<double, 2> z({static_cast<index_t>(n) - 1, 4});
    for (index_t k = 0; k + 1 < static_cast<index_t>(n); ++k) {
        std::size_t best_a = 0, best_b = 0;
        double best = std::numeric_limits<double>::infinity();
        for (std::size_t a = 0; a < alive.size(); ++a) {
            for (std::size_t b = a + 1; b < alive.size(); ++b) {
                const double value = between(all[alive[a]], all[alive[b]], alive[b]);
                if (value < best) {
                    best = value;
                    best_a = a;
                    best_b = b;
                }
            }
        }
        const std::size_t i = alive[best_a], j = alive[best_b];
        group made{static_cast<double>(all.size()), all[i].points, std::vector<double>(depth), std::vector<double>(2 * n, 0.0)};
        made.points.insert(made.points.end(), all[j].points.begin(), all[j].points.end());
        const double share = l == linkage::median ? 0.5 : static_cast<double>(all[i].points.size()) / static_cast<double>(made.points.size());
        for (std::size_t c = 0; c < depth; ++c) made.mean[c] = share * all[i].mean[c] + (1.0 - share) * all[j].mean[c];
        for (const std::size_t other : alive) made.to[other] = all[other].to[all.size()] = 0.5 * (all[i].to[other] + all[j].to[other]);
        z(k, 0) = std::min(all[i].node, all[j].node);
        z(k, 1) = std::max(all[i].node, all[j].node);
        z(k, 2) = best;
        z(k, 3) = static_cast<double>(made.points.size());
        alive.erase(alive.begin() + static_cast<std::ptrdiff_t>(best_b));
        alive[best_a] = all.size();
        all.push_back(std::move(made));
    }
    return z;
}

/// Merges that differ, and the largest difference of heights relative to the largest height.
struct difference {
    index_t merges = 0;
    double height = 0.0;
};
difference compare(const tensor<double, 2>& a, const tensor<double, 2>& b) {
    difference d;
    if (a.extent(0) != b.extent(0)) return {-1, 0.0};
    double largest = 0.0;
    for (index_t k = 0; k < a.extent(0); ++k) {
        d.merges += a(k, 0) != b(k, 0) || a(k, 1) != b(k, 1) || a(k, 3) != b(k, 3);
        d.height = std::max(d.height, std::fabs(a(k, 2) - b(k, 2)));
        largest = std::max(largest, std::fabs(b(k, 2)));
    }
    d.height = d.height == 0.0 ? 0.0 : d.height / largest;
    return d;
}

bool same(const dendrogram& a, const dendrogram& b) {
    const auto x = a.linkage_matrix(), y = b.linkage_matrix();
    return test::same_bits(x.view(), y.view());
}

index_t n_labels(const tensor<std::int32_t, 1>& labels) {
    std::vector<bool> seen(static_cast<std::size_t>(labels.size()), false);
    for (const std::int32_t l : labels) seen.at(static_cast<std::size_t>(l)) = true;
    index_t n = 0;
    while (n < labels.size() && seen[static_cast<std::size_t>(n)]) ++n;
    return n;  // of a run that starts at 0
}

}  // namespace

TEST_CASE("agglomerative: every linkage and metric is what its definition says") {
    cpu_context ctx{2};
    test::for_each_level([&] {
        for (const auto& [n, d] : {std::pair<index_t, index_t>{2, 1}, {3, 4}, {60, 1}, {70, 9}}) {
            const auto x = clouds(n, d, 1 + n / 10, 100 + static_cast<std::uint64_t>(n));
            for (const linkage l : k_linkages) {
                for (const linkage_metric m : {linkage_metric::euclidean, linkage_metric::sqeuclidean, linkage_metric::cosine}) {
                    const bool of_means = l == linkage::ward || l == linkage::centroid || l == linkage::median;
                    if ((of_means && m != linkage_metric::euclidean) || (m == linkage_metric::cosine && d == 1)) continue;
                    CAPTURE(n);
                    const std::string name = std::string(cluster::detail::linkage_name(l)) + ", " + cluster::detail::metric_name(m);
                    CAPTURE(name);
                    const auto tree = cluster::agglomerative(ctx, x, {.linkage = l, .metric = m});
                    const auto off = compare(tree.linkage_matrix(), plain_tree(x, l, m));
                    CHECK(off.merges == 0);
                    CHECK(off.height <= 1e-13);
                }
            }
        }
    });
}

TEST_CASE("agglomerative: means and matrix give the same trees") {
    cpu_context ctx{2};
    const auto x = clouds(600, 12, 45, 1);
    const auto d = distances(x, linkage_metric::euclidean), s = distances(x, linkage_metric::sqeuclidean);
    tensor<double, 1> condensed({600 * 599 / 2});
    tensor<double, 2> square({600, 600});
    index_t at = 0;
    for (std::size_t i = 0; i < d.size(); ++i) {
        for (std::size_t j = 0; j < d.size(); ++j) {
            if (j > i) condensed(at++) = s[i][j];
            square(static_cast<index_t>(i), static_cast<index_t>(j)) = d[i][j];
        }
    }
    const auto ward = compare(cluster::agglomerative(ctx, x).linkage_matrix(), cluster::agglomerative_precomputed(ctx, square).linkage_matrix());
    CHECK(ward.merges == 0);
    CHECK(ward.height <= 1e-13);
    const auto average = compare(cluster::agglomerative(ctx, x, {.linkage = linkage::average, .metric = linkage_metric::sqeuclidean}).linkage_matrix(),
                                 cluster::agglomerative_precomputed(ctx, condensed, {.linkage = linkage::average}).linkage_matrix());
    CHECK(average.merges == 0);
    CHECK(average.height <= 1e-13);
    for (const linkage l : k_linkages) {
        CAPTURE(cluster::detail::linkage_name(l));
        const auto own = cluster::agglomerative(ctx, x, {.linkage = l}), given = cluster::agglomerative_precomputed(ctx, square, {.linkage = l});
        CHECK(compare(own.linkage_matrix(), given.linkage_matrix()).merges == 0);
        const auto narrow = compare(cluster::agglomerative_precomputed(ctx, square, {.linkage = l, .precision = cluster::matrix_precision::float32}).linkage_matrix(),
                                    given.linkage_matrix());
        CHECK(narrow.height <= 1e-5);
        CHECK(narrow.height > 0.0);
    }
    tensor<float, 2> in_float({600, 600});
    for (index_t i = 0; i < square.size(); ++i) in_float.data()[i] = static_cast<float>(square.data()[i]);
    CHECK(compare(cluster::agglomerative_precomputed(ctx, in_float, {.linkage = linkage::complete}).linkage_matrix(),
                  cluster::agglomerative_precomputed(ctx, square, {.linkage = linkage::complete}).linkage_matrix())
              .height <= 1e-6);
}

TEST_CASE("agglomerative: the same bits for any number of threads, about the same for any instruction set") {
    const auto x = clouds(1'500, 20, 100, 2, 1.0);
    cpu_context one{1}, three{3};
    for (const auto& [l, m] : {std::pair{linkage::ward, linkage_metric::euclidean}, std::pair{linkage::average, linkage_metric::cosine},
                               std::pair{linkage::single, linkage_metric::euclidean}}) {
        const auto tree = cluster::agglomerative(one, x, {.linkage = l, .metric = m});
        CHECK(same(tree, cluster::agglomerative(three, x, {.linkage = l, .metric = m})));
        const auto labels = tree.cut({.n_clusters = 100});
        test::for_each_level([&] {
            const auto other = cluster::agglomerative(three, x, {.linkage = l, .metric = m});
            const auto off = compare(other.linkage_matrix(), tree.linkage_matrix());
            CHECK(off.merges == 0);
            CHECK(off.height <= 1e-13);
            CHECK(test::same_bits(other.cut({.n_clusters = 100}).view(), labels.view()));
        });
    }
    const auto few = clouds(400, 5, 30, 3);
    for (const linkage l : {linkage::complete, linkage::centroid}) {
        CHECK(same(cluster::agglomerative(one, few, {.linkage = l}), cluster::agglomerative(three, few, {.linkage = l})));
    }
}

TEST_CASE("agglomerative: tight clusters, far offsets and extreme scales lose nothing") {
    cpu_context ctx{2};
    // Clusters 10⁻³ wide that lie 10 apart: products of floats alone could not tell the points of one.
    auto tight = test::random_tensor<float, 2>({700, 8}, 4, -1e-3, 1e-3);
    for (index_t i = 0; i < 700; ++i) tight(i, i % 8) += static_cast<float>(8 + i % 20);
    const auto precise = [&](view x) {
        tensor<double, 2> square({x.extent(0), x.extent(0)});
        const auto d = distances(x, linkage_metric::euclidean);
        for (std::size_t i = 0; i < d.size(); ++i) std::copy(d[i].begin(), d[i].end(), square.data() + i * d.size());
        return compare(cluster::agglomerative(ctx, x).linkage_matrix(), cluster::agglomerative_precomputed(ctx, square).linkage_matrix());
    };
    const auto off = precise(tight);
    CHECK(off.merges == 0);
    CHECK(off.height <= 1e-13);
    const auto x = clouds(600, 6, 40, 5);
    const auto tree = cluster::agglomerative(ctx, x);
    for (const float scale : {0x1p+100f, 0x1p-100f, 0x1p+60f}) {
        tensor<float, 2> scaled({600, 6});
        for (index_t i = 0; i < x.size(); ++i) scaled.data()[i] = x.data()[i] * scale;
        const auto other = cluster::agglomerative(ctx, scaled);
        CHECK(test::same_bits(other.cut({.n_clusters = 40}).view(), tree.cut({.n_clusters = 40}).view()));
        CHECK(other.height(598) == doctest::Approx(tree.height(598) * static_cast<double>(scale)).epsilon(1e-12));
    }
    // A cloud beside one point that is very far: blocks have to cope with both.
    auto lone = clouds(600, 3, 5, 6);
    lone(17, 1) = 1e7f;
    CHECK(precise(lone).merges == 0);
}

TEST_CASE("agglomerative: duplicates, and nothing but duplicates") {
    cpu_context ctx{2};
    auto x = clouds(900, 5, 20, 7);
    for (index_t i = 100; i < 900; ++i) std::copy_n(x.data() + (i * i) % 97 * 5, 5, x.data() + i * 5);
    for (const linkage l : k_linkages) {
        CAPTURE(cluster::detail::linkage_name(l));
        const auto tree = cluster::agglomerative(ctx, x, {.linkage = l});
        index_t zeros = 0;
        for (index_t k = 0; k < tree.n_merges(); ++k) zeros += tree.height(k) == 0.0;
        CHECK(zeros == 800);
        const auto labels = tree.cut({.n_clusters = 100});
        CHECK(n_labels(labels) == 100);
        for (index_t i = 100; i < 900; ++i) CHECK(labels(i) == labels((i * i) % 97));
        CHECK(tree.n_clusters_at(std::numeric_limits<double>::min()) == 100);
    }
    tensor<float, 2> equal({700, 3});
    for (float& v : equal) v = 0.1f;
    for (const linkage l : k_linkages) {
        CAPTURE(cluster::detail::linkage_name(l));
        const auto tree = cluster::agglomerative(ctx, equal, {.linkage = l});
        CHECK(tree.height(698) == 0.0);
        CHECK(tree.size(698) == 700);
        CHECK(n_labels(tree.cut({.n_clusters = 700})) == 700);
        CHECK(n_labels(tree.cut({.n_clusters = 1})) == 1);
        CHECK(n_labels(tree.cut({.distance_threshold = 1e-3})) == 1);
        CHECK(n_labels(tree.cut({.distance_threshold = 0.0})) == 700);
    }
    CHECK(cluster::agglomerative(ctx, equal, {.linkage = linkage::average, .metric = linkage_metric::cosine}).height(698) == 0.0);
}

TEST_CASE("agglomerative: one point, and rows with gaps") {
    cpu_context ctx{2};
    tensor<float, 2> one({1, 3});
    for (const linkage l : k_linkages) {
        const auto tree = cluster::agglomerative(ctx, one, {.linkage = l});
        CHECK(tree.n_points() == 1);
        CHECK(tree.linkage_matrix().extent(0) == 0);
        CHECK(tree.cut({.n_clusters = 1})(0) == 0);
        CHECK(tree.cut({.distance_threshold = 0.5})(0) == 0);
    }
    CHECK(cluster::agglomerative_precomputed(ctx, tensor<double, 1>({0})).n_points() == 1);
    test::strided_rows<float> gaps({60, 5}, 9, 8);
    tensor<float, 2> dense({60, 5});
    for (index_t i = 0; i < 60; ++i) std::copy_n(gaps.memory.data() + i * 9, 5, dense.data() + i * 5);
    for (const linkage l : k_linkages) CHECK(same(cluster::agglomerative(ctx, gaps.view, {.linkage = l}), cluster::agglomerative(ctx, dense, {.linkage = l})));
}

TEST_CASE("agglomerative: cuts number labels by the places of a heap") {
    // Worked by hand with Python's heapq: 5 points, merges (1,3) (0,4) (2,{1,3}) ({0,4},{2,1,3}), nodes 5, 6, 7, 8.
    cpu_context ctx{1};
    tensor<float, 2> x({5, 1});
    const float at[] = {10.0f, 0.0f, 3.5f, 1.0f, 12.0f};
    std::copy_n(at, 5, x.data());
    const auto tree = cluster::agglomerative(ctx, x, {.linkage = linkage::single});
    const auto labels = [&](index_t k) {
        const auto l = tree.cut({.n_clusters = k});
        return std::vector<std::int32_t>(l.begin(), l.end());
    };
    using v = std::vector<std::int32_t>;
    // Single linkage lists children as they merged: the tree grows 0, 4, 2, 1 … from point 0, so node 8 is (6, 7), 7 is (2, 5).
    CHECK(labels(1) == v{0, 0, 0, 0, 0});
    CHECK(labels(2) == v{1, 0, 0, 0, 1});
    CHECK(tree.n_clusters_at(2.0) == 4);
    CHECK(tree.cut({.distance_threshold = 2.0}).size() == 5);
    CHECK(n_labels(tree.cut({.distance_threshold = 2.0})) == 4);
    CHECK(n_labels(tree.cut({.distance_threshold = std::nextafter(2.0, 3.0)})) == 3);
    CHECK(n_labels(tree.cut({.distance_threshold = std::numeric_limits<double>::infinity()})) == 1);
    for (index_t k = 1; k <= 5; ++k) CHECK(n_labels(tree.cut({.n_clusters = k})) == k);
    CHECK(test::error_text([&] { (void)tree.cut({}); }) == "dendrogram::cut: exactly one of n_clusters and distance_threshold must be set, neither is");
    CHECK(test::error_text([&] { (void)tree.cut({.n_clusters = 2, .distance_threshold = 1.0}); }) ==
          "dendrogram::cut: exactly one of n_clusters and distance_threshold must be set, both are");
    CHECK(test::error_text([&] { (void)tree.cut({.n_clusters = 6}); }) == "dendrogram::cut: n_clusters is 6, must be between 1 and the 5 points");
    CHECK(test::error_text([&] { (void)tree.cut({.n_clusters = -1}); }) == "dendrogram::cut: n_clusters is -1, must be between 1 and the 5 points");
    CHECK(test::error_text<value_error>([&] { (void)tree.cut({.distance_threshold = -0.5}); }).find("must not be negative") != std::string::npos);
    CHECK(test::error_text<value_error>([&] { (void)tree.height(4); }) == "dendrogram::height: merge 4 does not exist, there are 4");
    CHECK(dendrogram{}.n_points() == 0);
}

TEST_CASE("agglomerative: refuses bad input before any work") {
    cpu_context ctx{1};
    auto x = clouds(50, 4, 5, 9);
    const auto refusal = [&](view points, cluster::agglomerative_options o) {
        bool started = false;
        o.progress = [&](index_t, index_t) { started = true; };
        const auto text = test::error_text([&] { (void)cluster::agglomerative(ctx, points, o); });
        CHECK(!started);
        return text;
    };
    CHECK(refusal(x, {.metric = linkage_metric::cosine}) == "agglomerative: ward linkage needs the euclidean metric, not cosine");
    CHECK(refusal(x, {.linkage = linkage::centroid, .metric = linkage_metric::sqeuclidean}) == "agglomerative: centroid linkage needs the euclidean metric, not sqeuclidean");
    CHECK(refusal(view(x.data(), {0, 4}), {}) == "agglomerative: x has shape [0, 4], needs at least one row and one column, and at most 2^30 rows");
    CHECK(refusal(view(x.data(), {4, 0}), {}) == "agglomerative: x has shape [4, 0], needs at least one row and one column, and at most 2^30 rows");
    std::fill_n(x.data() + 7 * 4, 4, 0.0f);
    CHECK(refusal(x, {.linkage = linkage::average, .metric = linkage_metric::cosine}) == "agglomerative: x row 7 is zero, its cosine undefined");
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
        x(31, 2) = bad;
        for (const linkage l : k_linkages) CHECK(refusal(x, {.linkage = l}) == "agglomerative: x row 31, column 2 is not finite");
    }
    x(31, 2) = 0.0f;
    CHECK(refusal(x, {.linkage = linkage::complete, .memory_limit = 20'000}) ==
          "agglomerative: complete linkage of 50 points needs 33000 bytes, 9800 of them for the matrix of distances; 20000 are allowed (memory_limit); "
          "precision float32 halves the matrix");
    CHECK(refusal(x, {.linkage = linkage::complete, .precision = cluster::matrix_precision::float32, .memory_limit = 28'000}).find("needs 28100 bytes, 4900 of them") !=
          std::string::npos);
    CHECK(refusal(x, {.memory_limit = 1'000}).find("ward linkage of 50 points needs 37600 bytes; 1000 are allowed") != std::string::npos);
    CHECK_THROWS_AS((void)cluster::agglomerative(ctx, x, {.memory_limit = 1'000}), memory_error);
    tensor_view<const float, 2> huge(x.data(), {1'000'000, 1}, {0, 1});  // the same row a million times: 4 TB as a matrix
    CHECK_THROWS_AS((void)cluster::agglomerative(ctx, huge, {.linkage = linkage::complete}), memory_error);
}

TEST_CASE("agglomerative: refuses distances that are none") {
    cpu_context ctx{1};
    const auto x = clouds(6, 2, 2, 10);
    const auto d = distances(x, linkage_metric::euclidean);
    tensor<double, 2> square({6, 6});
    for (std::size_t i = 0; i < 6; ++i) std::copy(d[i].begin(), d[i].end(), square.data() + i * 6);
    const auto refusal = [&](index_t i, index_t j, double value) {
        auto wrong = square.clone();
        wrong(i, j) = value;
        return test::error_text([&] { (void)cluster::agglomerative_precomputed(ctx, wrong); });
    };
    CHECK(refusal(0, 1, square(0, 1)) == "");
    CHECK(refusal(2, 4, std::numeric_limits<double>::quiet_NaN()) == "agglomerative_precomputed: the distance of 2 and 4 is not finite");
    CHECK(refusal(4, 2, -1.0).find("agglomerative_precomputed: the distance of 2 and 4") == 0);
    CHECK(refusal(2, 4, -1.0).find("is negative") != std::string::npos);
    CHECK(refusal(2, 4, 9.0).find("not symmetric") != std::string::npos);
    CHECK(refusal(3, 3, 9.0).find("the distance of 3 and 3 is 9.000000, must be 0") != std::string::npos);
    CHECK(test::error_text([&] { (void)cluster::agglomerative_precomputed(ctx, tensor<double, 2>({3, 4})); }) ==
          "agglomerative_precomputed: distances have shape [3, 4], expected a square");
    CHECK(test::error_text<shape_error>([&] { (void)cluster::agglomerative_precomputed(ctx, tensor<float, 1>({4})); }).find("no n gives") != std::string::npos);
    CHECK(test::error_text<value_error>([&] { (void)cluster::agglomerative_precomputed(ctx, tensor<float, 2>({0, 0})); }).find("at least one point") != std::string::npos);
    auto rounded = square.clone();
    rounded(1, 5) = rounded(5, 1) = -1e-9;  // as 1 − u·v gives for near rows
    CHECK(cluster::agglomerative_precomputed(ctx, rounded, {.linkage = linkage::single}).height(0) == 0.0);
}

TEST_CASE("agglomerative: tells how far it is, and can be stopped") {
    cpu_context ctx{2};
    const auto x = clouds(800, 3, 50, 11);
    for (const linkage l : k_linkages) {
        index_t calls = 0, last = 0;
        bool ascending = true;
        (void)cluster::agglomerative(ctx, view(x.data(), {400, 3}), {.linkage = l, .progress = [&](index_t done, index_t total) {
                                         ascending = ascending && done > last && total == 399;
                                         last = done;
                                         ++calls;
                                     }});
        CHECK(ascending);
        CHECK(last == 399);
        CHECK(calls > 100);
        CHECK(calls < 400);
        CHECK_THROWS_AS((void)cluster::agglomerative(ctx, x, {.linkage = l, .progress = [](index_t, index_t) { throw cancelled_error("stop"); }}), cancelled_error);
    }
}

TEST_CASE("agglomerative: nearest rows are those of a search in double") {
    cpu_context ctx{2};
    test::for_each_level([&] {
        auto x = clouds(1'300, 11, 9, 12);
        for (index_t i = 0; i < 200; ++i) std::copy_n(x.data() + i % 40 * 11, 11, x.data() + (1'100 + i) * 11);
        for (const auto kind : {cluster::detail::center_linkage::ward, cluster::detail::center_linkage::average}) {
            cluster::detail::linkage_centers centers(ctx, x, kind, false);
            cluster::detail::nearest_rows index(centers);
            const auto expected = [&](std::int32_t slot, const std::vector<bool>& alive, index_t k) {
                std::vector<cluster::detail::linkage_neighbour> all;
                for (std::int32_t j = 0; j < 1'300; ++j) {
                    if (j != slot && alive[static_cast<std::size_t>(j)]) all.push_back({centers.distance(slot, j), j});
                }
                std::sort(all.begin(), all.end());
                all.resize(static_cast<std::size_t>(k));
                return all;
            };
            const auto equal = [](const std::vector<cluster::detail::linkage_neighbour>& e, const cluster::detail::linkage_neighbour* f, index_t n) {
                bool same = n == static_cast<index_t>(e.size());
                for (std::size_t i = 0; same && i < e.size(); ++i) same = e[i].slot == f[i].slot && e[i].distance == f[i].distance;
                return same;
            };
            std::vector<bool> alive(1'300, true);
            std::vector<char> right(1'300, 0);
            index.all_nearest(ctx, 24, [&](std::int32_t slot, const cluster::detail::linkage_neighbour* found, index_t n) {
                right[static_cast<std::size_t>(slot)] = slot % 8 != 0 || equal(expected(slot, alive, 24), found, n);
            });
            CHECK(std::count(right.begin(), right.end(), 1) == 1'300);
            std::vector<std::int32_t> slots(1'300);
            std::iota(slots.begin(), slots.end(), 0);
            index.rebuild(ctx, slots);
            // Merges of far clusters move means out of their blocks; sizes and spreads grow.
            for (std::int32_t a = 0; a < 600; a += 3) {
                const std::int32_t b = 1'299 - a;
                centers.merge(a, b);
                index.remove(a);
                index.moved(b);
                alive[static_cast<std::size_t>(a)] = false;
            }
            for (std::int32_t slot = 1; slot < 1'300; slot += 37) {
                if (!alive[static_cast<std::size_t>(slot)]) continue;
                std::vector<cluster::detail::linkage_neighbour> memory(16);
                cluster::detail::nearest_list list{memory.data(), 0, 16};
                index.search(ctx, slot, list, slot % 2 * cluster::detail::nearest_rows::k_serial);
                CHECK(equal(expected(slot, alive, 16), list.found, list.n));
            }
        }
    });
}
