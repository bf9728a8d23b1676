// Agglomerative clustering against SciPy's linkage matrices and scikit-learn's labels_.
#include <cmath>

#include <doctest/doctest.h>

#include "instar/cluster/agglomerative.hpp"
#include "support/golden_fill.hpp"

using namespace instar;

namespace {

/// Sum of the four units of element i of a name.
double bell(std::uint64_t hash, index_t i) {
    double sum = 0.0;
    for (index_t t = 0; t < 4; ++t) sum += test::golden_unit(hash, static_cast<std::uint64_t>(4 * i + t));
    return sum;
}

/// mixture() of tests/reference/agglomerative_golden.py, with scale 1.
tensor<float, 2> mixture(const std::string& name, index_t n, index_t d, index_t n_centres) {
    const auto noise = test::golden_hash(name + ".noise"), centre = test::golden_hash(name + ".centre"), cluster = test::golden_hash(name + ".cluster");
    tensor<double, 2> centres({n_centres, d});
    for (index_t i = 0; i < centres.size(); ++i) centres.data()[i] = bell(centre, i);
    tensor<float, 2> x({n, d});
    for (index_t i = 0; i < n; ++i) {
        const index_t k = test::golden_below(cluster, static_cast<std::uint64_t>(i), static_cast<std::uint64_t>(n_centres));
        for (index_t c = 0; c < d; ++c) x(i, c) = static_cast<float>(bell(noise, i * d + c) + centres(k, c));
    }
    return x;
}

/// small_sets() of the same file.
tensor<float, 2> small_set(const std::string& name) {
    if (name == "grid") {
        tensor<float, 2> x({17 * 17, 2});
        for (index_t i = 0; i < x.extent(0); ++i) {
            x(i, 0) = static_cast<float>(i / 17 + 1);
            x(i, 1) = static_cast<float>(i % 17 + 1);
        }
        return x;
    }
    auto few = mixture("few", 300, 7, 28);
    if (name == "few") return few;
    tensor<float, 2> x({300, 7});
    for (index_t i = 0; i < 300; ++i) {
        const index_t from = test::golden_below(test::golden_hash("repeated"), static_cast<std::uint64_t>(i), 90);
        for (index_t c = 0; c < 7; ++c) x(i, c) = few(from, c);
    }
    return x;
}

struct pair {
    cluster::linkage linkage;
    cluster::linkage_metric metric;
};
using enum cluster::linkage;
using enum cluster::linkage_metric;
constexpr pair k_pairs[] = {{ward, euclidean},   {average, euclidean}, {average, sqeuclidean}, {average, cosine},  {complete, euclidean}, {complete, cosine},
                            {single, euclidean}, {single, sqeuclidean}, {single, cosine},       {weighted, euclidean}, {centroid, euclidean}, {median, euclidean}};

void check_tree(const test::golden_file& golden, const std::string& key, const cluster::dendrogram& tree, double tolerance) {
    const auto expected = golden.read<double>(key + ".tree");
    const auto z = tree.linkage_matrix();
    REQUIRE(static_cast<std::size_t>(z.size()) == expected.size());
    index_t wrong = 0;
    double error = 0.0, largest = 0.0;
    for (index_t k = 0; k < z.extent(0); ++k) {
        for (index_t c = 0; c < 4; ++c) {
            const double e = expected[static_cast<std::size_t>(4 * k + c)];
            if (c != 2) wrong += z(k, c) != e;
            else {
                error = std::max(error, std::fabs(z(k, c) - e));
                largest = std::max(largest, e);
            }
        }
    }
    CHECK(wrong == 0);
    CHECK(error <= tolerance * largest);
}

template <class T>
void check_labels(const test::golden_file& golden, const std::string& key, const tensor<std::int32_t, 1>& labels) {
    const auto expected = golden.read<T>(key);
    REQUIRE(static_cast<std::size_t>(labels.size()) == expected.size());
    index_t wrong = 0;
    for (index_t i = 0; i < labels.size(); ++i) wrong += labels(i) != expected[static_cast<std::size_t>(i)];
    CHECK(wrong == 0);
}

}  // namespace

TEST_CASE("agglomerative: SciPy's trees and scikit-learn's labels, with duplicates and with ties") {
    cpu_context ctx{2};
    const test::golden_file golden("agglomerative");
    int n_compared = 0;
    for (const std::string set : {"few", "repeated", "grid"}) {
        const auto x = small_set(set);
        for (const auto& [linkage, metric] : k_pairs) {
            const std::string key = set + "." + cluster::detail::linkage_name(linkage) + "." + cluster::detail::metric_name(metric);
            if (!golden.file().contains(key + ".tree")) continue;
            CAPTURE(key);
            const auto tree = cluster::agglomerative(ctx, x, {.linkage = linkage, .metric = metric});
            // Over a matrix, and for single linkage, every bit is SciPy's but where it takes cosines as 1 − u·v.
            const bool over_means = linkage == ward || (linkage == average && metric != euclidean);
            check_tree(golden, key, tree, over_means || metric == cosine ? 1e-14 : 0.0);
            check_labels<std::int32_t>(golden, key + ".labels", tree.cut({.n_clusters = 30}));
            // A threshold that is a height: computed otherwise it may miss by a rounding.
            const double threshold = golden.scalar(key + ".threshold") * (over_means || metric == cosine ? 1.0 - 1e-12 : 1.0);
            check_labels<std::int32_t>(golden, key + ".threshold_labels", tree.cut({.distance_threshold = threshold}));
            ++n_compared;
        }
    }
    CHECK(n_compared == 12 + 9 + 7);
}

TEST_CASE("agglomerative: ward over given distances ties as SciPy does") {
    cpu_context ctx{2};
    const test::golden_file golden("agglomerative");
    const auto x = small_set("grid");
    tensor<double, 2> d({x.extent(0), x.extent(0)});
    for (index_t i = 0; i < x.extent(0); ++i) {
        for (index_t j = 0; j < x.extent(0); ++j) {
            const double a = static_cast<double>(x(i, 0)) - static_cast<double>(x(j, 0)), b = static_cast<double>(x(i, 1)) - static_cast<double>(x(j, 1));
            d(i, j) = std::sqrt(a * a + b * b);
        }
    }
    check_tree(golden, "grid.ward.precomputed", cluster::agglomerative_precomputed(ctx, d, {.linkage = ward}), 0.0);
}

TEST_CASE("agglomerative: labels of ward on Gaussian mixtures are scikit-learn's, number for number") {
    cpu_context ctx;
    const test::golden_file golden("agglomerative");
    for (const auto& [n, k] : {std::pair<index_t, index_t>{5'000, 461}, {20'000, 1'846}, {47'260, 4'363}}) {
        CAPTURE(n);
#if !defined(NDEBUG)
        if (n > 5'000) {
            MESSAGE("skipped without optimisation: " << n << " points");
            continue;
        }
#endif
        const auto tree = cluster::agglomerative(ctx, mixture("mixture", n, 50, k));
        check_labels<std::int16_t>(golden, "mixture." + std::to_string(n) + ".labels", tree.cut({.n_clusters = k}));
    }
}
