// Clustering metrics against scikit-learn: 200 random pairs of labelings, edge cases, and three sets of points.
#include <cmath>
#include <map>

#include <doctest/doctest.h>

#include "instar/cluster/silhouette.hpp"
#include "instar/core/cpu_context.hpp"
#include "instar/metrics/clustering.hpp"
#include "support/golden_fill.hpp"

using namespace instar;

namespace {

using labeling = std::vector<std::int32_t>;

labeling below(const std::string& name, index_t n, std::int64_t limit) {
    labeling out(static_cast<std::size_t>(n));
    const auto hash = test::golden_hash(name);
    for (std::size_t i = 0; i < out.size(); ++i)
        out[i] = static_cast<std::int32_t>(test::golden_below(hash, i, static_cast<std::uint64_t>(limit)));
    return out;
}

/// floor(k · u²), u uniform in [0, 1).
labeling skewed(const std::string& name, index_t n, std::int64_t k) {
    labeling out(static_cast<std::size_t>(n));
    const auto hash = test::golden_hash(name);
    for (std::size_t i = 0; i < out.size(); ++i) {
        const double u = (test::golden_unit(hash, i) + 1.0) / 2.0;
        out[i] = static_cast<std::int32_t>(std::floor(static_cast<double>(k) * (u * u)));
    }
    return out;
}

/// labelings() of tests/reference/clustering_metrics_golden.py.
std::pair<labeling, labeling> random_pair(int i) {
    const std::string name = "clustering_labels." + std::to_string(i);
    const labeling shape = below(name, 3, 400);
    const index_t n = shape[0] + 20;
    const int k_true = 2 + shape[1] % 30, k_pred = 2 + shape[2] % 60;
    labeling truth = below(name + ".true", n, k_true), pred = below(name + ".pred", n, k_pred);
    if (i % 4 == 1) {
        const labeling noise = below(name + ".noise", n, 5);
        for (std::size_t j = 0; j < pred.size(); ++j) pred[j] = noise[j] == 0 ? pred[j] : truth[j];
    } else if (i % 4 == 2) {
        truth = skewed(name + ".true", n, k_true);
        pred = skewed(name + ".pred", n, k_pred);
    } else if (i % 4 == 3) {
        for (std::size_t j = 0; j < pred.size(); ++j) pred[j] = truth[j] * 3 + pred[j] % 3;
    }
    for (std::size_t j = 0; j < pred.size(); ++j) {
        truth[j] -= 1;
        pred[j] = pred[j] * 7 - 3;
    }
    return {truth, pred};
}

/// special() of the same file.
std::map<std::string, std::pair<labeling, labeling>> special_pairs() {
    const auto make = [](auto f) {
        labeling l(12);
        for (int i = 0; i < 12; ++i) l[static_cast<std::size_t>(i)] = f(i);
        return l;
    };
    const labeling one = make([](int) { return 0; }), five = make([](int) { return 5; }),
                   each = make([](int i) { return i; });
    const labeling half = make([](int i) { return i / 6; }), thirds = make([](int i) { return i % 3; }),
                   fours = make([](int i) { return i / 3; });
    return {{"empty", {{}, {}}},
            {"one_item", {{0}, {0}}},
            {"one_cluster_both", {one, five}},
            {"one_cluster_pred", {half, one}},
            {"one_cluster_true", {one, thirds}},
            {"singletons_pred", {half, each}},
            {"singletons_true", {each, thirds}},
            {"singletons_one_cluster", {each, one}},
            {"independent", {half, thirds}},
            {"renamed", {thirds, make([](int i) { return -(i % 3); })}},
            {"refined", {half, fours}},
            {"coarsened", {fours, half}},
            {"singletons_renamed", {each, make([](int i) { return 11 - i; })}},
            {"opposite", {{0, 0, 1, 1}, {0, 1, 0, 1}}}};
}

constexpr const char* k_score_names[] = {"ami arithmetic",
                                         "ami min",
                                         "ami max",
                                         "ami geometric",
                                         "nmi arithmetic",
                                         "nmi min",
                                         "nmi max",
                                         "nmi geometric",
                                         "mutual information",
                                         "ari",
                                         "homogeneity",
                                         "completeness",
                                         "v",
                                         "v beta 0.5",
                                         "fowlkes-mallows"};

/// label_scores() of the same file.
std::vector<double> scores(const labeling& a, const labeling& b) {
    using enum metrics::mutual_information_normalizer;
    std::vector<double> s;
    for (const auto m : {arithmetic, min, max, geometric}) s.push_back(metrics::adjusted_mutual_info(a, b, m));
    for (const auto m : {arithmetic, min, max, geometric}) s.push_back(metrics::normalized_mutual_info(a, b, m));
    for (const double v : {metrics::mutual_info(a, b), metrics::adjusted_rand_index(a, b), metrics::homogeneity(a, b),
                           metrics::completeness(a, b), metrics::v_measure(a, b), metrics::v_measure(a, b, 0.5),
                           metrics::fowlkes_mallows(a, b)}) {
        s.push_back(v);
    }
    return s;
}

/// Compares with the expected values from `at` on; NaN there means that scikit-learn divides rounding errors.
void compare(const std::vector<double>& actual, const std::vector<double>& expected, std::size_t at, bool identical) {
    REQUIRE(actual.size() == std::size(k_score_names));
    for (std::size_t s = 0; s < actual.size(); ++s) {
        CAPTURE(k_score_names[s]);
        const double e = expected.at(at + s);
        if (std::isnan(e)) CHECK(actual[s] == (identical ? 1.0 : 0.0));
        else CHECK(std::fabs(actual[s] - e) <= 1e-9);
    }
}

}  // namespace

TEST_CASE("clustering_metrics: 200 random pairs of labelings score as in scikit-learn") {
    const auto expected = test::golden_file("clustering_labels").read<double>("random");
    REQUIRE(expected.size() == 200 * std::size(k_score_names));
    for (int i = 0; i < 200; ++i) {
        CAPTURE(i);
        const auto [truth, pred] = random_pair(i);
        compare(scores(truth, pred), expected, static_cast<std::size_t>(i) * std::size(k_score_names), false);
    }
}

TEST_CASE("clustering_metrics: empty, constant, all-singleton and identical labelings score as in scikit-learn") {
    const test::golden_file golden("clustering_labels");
    for (const auto& [name, pair] : special_pairs()) {
        CAPTURE(name);
        compare(scores(pair.first, pair.second), golden.read<double>("special." + name), 0,
                name == "singletons_renamed" || name == "one_item");
    }
}

TEST_CASE("clustering_metrics: silhouette, Calinski-Harabasz and Davies-Bouldin equal scikit-learn's float64 results") {
    struct set {
        std::string name;
        index_t n, d;
        int k;
        double spread;
    };
    const test::golden_file golden("clustering_points");
    cpu_context ctx{2};
    for (const set& s :
         {set{"small", 300, 3, 7, 1.0}, set{"many_clusters", 900, 40, 150, 0.5}, set{"large", 4000, 16, 20, 1.0}}) {
        CAPTURE(s.name);
        const std::string key = "clustering_points." + s.name;
        labeling labels = below(key + ".labels", s.n, s.k);
        labels.back() = s.k;
        tensor<double, 2> x({s.n, s.d});
        const auto centres = test::golden_hash(key + ".centres"), noise = test::golden_hash(key + ".noise");
        for (index_t i = 0; i < s.n; ++i) {
            for (index_t c = 0; c < s.d; ++c) {
                const index_t centre = labels[static_cast<std::size_t>(i)] * s.d + c;
                x(i, c) = test::golden_unit(centres, static_cast<std::uint64_t>(centre)) * s.spread +
                          test::golden_unit(noise, static_cast<std::uint64_t>(i * s.d + c)) * 0.5;
            }
        }
        const std::pair<const char*, cluster::silhouette_metric> distances[] = {
            {"euclidean", cluster::silhouette_metric::euclidean},
            {"sqeuclidean", cluster::silhouette_metric::sqeuclidean},
            {"cosine", cluster::silhouette_metric::cosine},
            {"manhattan", cluster::silhouette_metric::manhattan},
            {"chebyshev", cluster::silhouette_metric::chebyshev}};
        for (const auto& [name, metric] : distances) {
            CAPTURE(name);
            CHECK(std::fabs(cluster::silhouette_score(ctx, x, labels, metric) -
                            golden.scalar(s.name + "." + name + ".score")) <= 1e-9);
            const auto each = cluster::silhouette_samples(ctx, x, labels, metric);
            const auto expected = golden.read<double>(s.name + "." + name + ".samples");
            const std::size_t step = each.size() / 100;
            REQUIRE(expected.size() == (each.size() + step - 1) / step);
            double error = 0.0;
            for (std::size_t i = 0; i < expected.size(); ++i)
                error = std::fmax(error, std::fabs(each[i * step] - expected[i]));
            CHECK(error <= 1e-9);
            CHECK(each.back() == 0.0);  // a cluster of one
        }
        CHECK(cluster::calinski_harabasz(ctx, x, labels) ==
              doctest::Approx(golden.scalar(s.name + ".calinski_harabasz")).epsilon(1e-11));
        CHECK(std::fabs(cluster::davies_bouldin(ctx, x, labels) - golden.scalar(s.name + ".davies_bouldin")) <= 1e-9);
    }
}
