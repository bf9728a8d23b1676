// Scores of one labeling against another: definitions worked out naively, invariances, edge cases, large inputs.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include <doctest/doctest.h>

#include "instar/core/philox.hpp"
#include "instar/metrics/clustering.hpp"
#include "support/compare.hpp"

using namespace instar;

namespace {

using labeling = std::vector<std::int32_t>;
using normalizer = metrics::mutual_information_normalizer;
constexpr normalizer k_normalizers[] = {normalizer::arithmetic, normalizer::min, normalizer::max,
                                        normalizer::geometric};

labeling random_labels(index_t n, std::uint32_t k, std::uint64_t seed) {
    labeling l(static_cast<std::size_t>(n));
    const philox rng{.seed = seed};
    for (std::size_t i = 0; i < l.size(); ++i) l[i] = static_cast<std::int32_t>(rng.below(i, k));
    return l;
}

/// Mutual information by its definition over all pairs of labels.
double naive_mutual_info(const labeling& a, const labeling& b) {
    const auto n = static_cast<double>(a.size());
    double mi = 0.0;
    labeling as = a, bs = b;
    for (labeling* l : {&as, &bs}) {
        std::sort(l->begin(), l->end());
        l->erase(std::unique(l->begin(), l->end()), l->end());
    }
    for (const auto x : as) {
        for (const auto y : bs) {
            double both = 0, in_a = 0, in_b = 0;
            for (std::size_t i = 0; i < a.size(); ++i) {
                both += a[i] == x && b[i] == y;
                in_a += a[i] == x;
                in_b += b[i] == y;
            }
            if (both > 0) mi += both / n * std::log(both / n / (in_a / n * in_b / n));
        }
    }
    return mi;
}

/// The double sum of Vinh, Epps and Bailey with logarithms of factorials, as long double.
double naive_expected(const std::vector<std::int64_t>& rows, const std::vector<std::int64_t>& columns, std::int64_t n) {
    const auto f = [](std::int64_t x) { return std::lgamma(static_cast<long double>(x) + 1.0L); };
    long double sum = 0.0L;
    const auto items = static_cast<long double>(n);
    for (const auto a : rows) {
        for (const auto b : columns) {
            for (std::int64_t k = std::max<std::int64_t>(1, a + b - n); k <= std::min(a, b); ++k) {
                const auto x = static_cast<long double>(k);
                const long double log_p =
                    f(a) + f(b) + f(n - a) + f(n - b) - f(n) - f(k) - f(a - k) - f(b - k) - f(n - a - b + k);
                sum += x / items * std::log(items * x / (static_cast<long double>(a) * static_cast<long double>(b))) *
                       std::exp(log_p);
            }
        }
    }
    return static_cast<double>(sum);
}

}  // namespace

TEST_CASE("clustering_metrics: contingency counts pairs of labels, sparse and sorted") {
    const labeling a{5, -1, 5, 5, 900'000'000, -1, 5}, b{2, 2, 7, 2, 7, 2, -2'000'000'000};
    const auto t = metrics::contingency(a, b);
    CHECK(t.n == 7);
    CHECK(t.row_labels == labeling{-1, 5, 900'000'000});
    CHECK(t.column_labels == labeling{-2'000'000'000, 2, 7});
    CHECK(t.row_sums == std::vector<std::int64_t>{2, 4, 1});
    CHECK(t.column_sums == std::vector<std::int64_t>{1, 4, 2});
    REQUIRE(t.cells.size() == 5);
    const std::int64_t expected[][3] = {{0, 1, 2}, {1, 0, 1}, {1, 1, 2}, {1, 2, 1}, {2, 2, 1}};
    for (std::size_t i = 0; i < 5; ++i) {
        CHECK(t.cells[i].row == expected[i][0]);
        CHECK(t.cells[i].column == expected[i][1]);
        CHECK(t.cells[i].count == expected[i][2]);
    }
    const labeling extremes{std::numeric_limits<std::int32_t>::min(), std::numeric_limits<std::int32_t>::max()};
    CHECK(metrics::contingency(extremes, extremes).n_rows() == 2);
}

TEST_CASE(
    "clustering_metrics: mutual information equals its definition, and its expectation the mean over all "
    "permutations") {
    const labeling a{0, 0, 0, 1, 1, 2, 2}, b{1, 1, 0, 0, 3, 3, 3};
    CHECK(metrics::mutual_info(a, b) == doctest::Approx(naive_mutual_info(a, b)).epsilon(1e-14));
    std::vector<int> order(7);
    std::iota(order.begin(), order.end(), 0);
    double sum = 0.0, n = 0.0;
    do {
        labeling shuffled(7);
        for (std::size_t i = 0; i < 7; ++i) shuffled[i] = b[static_cast<std::size_t>(order[i])];
        sum += metrics::mutual_info(a, shuffled);
        n += 1.0;
    } while (std::next_permutation(order.begin(), order.end()));
    const double expected = metrics::detail::expected_mutual_information({3, 2, 2}, {2, 2, 3}, 7);
    CHECK(n == 5040.0);
    CHECK(expected == doctest::Approx(sum / n).epsilon(1e-13));
    const double h = -(3.0 / 7 * std::log(3.0 / 7) + 4.0 / 7 * std::log(2.0 / 7));  // of both
    for (const normalizer m : k_normalizers) {
        CHECK(metrics::adjusted_mutual_info(a, b, m) ==
              doctest::Approx((naive_mutual_info(a, b) - sum / n) / (h - sum / n)).epsilon(1e-13));
    }
}

TEST_CASE("clustering_metrics: expected mutual information equals the naive sum for few, many and skewed clusters") {
    const std::vector<std::int64_t> cases[] = {{1, 399},
                                               {200, 200},
                                               {10, 40, 150, 200},
                                               std::vector<std::int64_t>(40, 10),
                                               {397, 1, 1, 1},
                                               {400},
                                               std::vector<std::int64_t>(400, 1)};
    for (const auto& rows : cases) {
        for (const auto& columns : cases) {
            CAPTURE(rows.size());
            CAPTURE(columns.size());
            const double expected = naive_expected(rows, columns, 400);
            CHECK(std::fabs(metrics::detail::expected_mutual_information(rows, columns, 400) - expected) <=
                  1e-13 * std::max(1.0, expected));
        }
    }
    // Halves of many: tails of many standard deviations are cut.
    const double e = metrics::detail::expected_mutual_information({50'000, 50'000}, {50'000, 50'000}, 100'000);
    CHECK(e == doctest::Approx(naive_expected({50'000, 50'000}, {50'000, 50'000}, 100'000)).epsilon(1e-8));
    const double f = metrics::detail::expected_mutual_information({500'000, 500'000}, {500'000, 500'000}, 1'000'000);
    CHECK(f == doctest::Approx(0.5e-6).epsilon(1e-5));  // χ² with one degree of freedom: 1 / 2n
}

TEST_CASE("clustering_metrics: pair-counting scores equal counts over all pairs") {
    const labeling a = random_labels(60, 5, 1), b = random_labels(60, 4, 2);
    double both = 0, only_a = 0, only_b = 0, neither = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        for (std::size_t j = 0; j < i; ++j) {
            const bool in_a = a[i] == a[j], in_b = b[i] == b[j];
            both += in_a && in_b;
            only_a += in_a && !in_b;
            only_b += !in_a && in_b;
            neither += !in_a && !in_b;
        }
    }
    const double ari = 2 * (both * neither - only_a * only_b) /
                       ((both + only_a) * (only_a + neither) + (both + only_b) * (only_b + neither));
    CHECK(metrics::adjusted_rand_index(a, b) == doctest::Approx(ari).epsilon(1e-13));
    CHECK(metrics::fowlkes_mallows(a, b) ==
          doctest::Approx(both / std::sqrt((both + only_a) * (both + only_b))).epsilon(1e-13));
    CHECK(metrics::adjusted_rand_index(labeling{0, 0, 1, 1}, labeling{0, 1, 0, 1}) ==
          doctest::Approx(-0.5).epsilon(1e-15));
}

TEST_CASE("clustering_metrics: identical partitions score exactly 1, whatever the names") {
    for (const index_t n : {0, 1, 2, 3, 4, 5, 8, 16, 100, 1000}) {
        for (const std::uint32_t k : {1u, 3u, 1'000'000'000u}) {  // the last: singletons
            CAPTURE(n);
            CAPTURE(k);
            const labeling a = random_labels(n, k, 3);
            labeling b = a;
            for (auto& l : b) l = -2 * l + 1;
            for (const normalizer m : k_normalizers) {
                CHECK(metrics::adjusted_mutual_info(a, b, m) == 1.0);
                CHECK(metrics::normalized_mutual_info(a, b, m) == 1.0);
            }
            CHECK(metrics::adjusted_rand_index(a, b) == 1.0);
            CHECK(metrics::homogeneity(a, b) == 1.0);
            CHECK(metrics::completeness(a, b) == 1.0);
            CHECK(metrics::v_measure(a, b) == 1.0);
            const auto t = metrics::contingency(a, b);
            CHECK(metrics::fowlkes_mallows(a, b) == (t.n_rows() == t.n ? 0.0 : 1.0));
        }
    }
}

TEST_CASE("clustering_metrics: one cluster or only singletons on one side is what chance gives") {
    const labeling some = random_labels(50, 6, 4), one(50, 7);
    labeling each(50);
    std::iota(each.begin(), each.end(), -25);
    for (const labeling& trivial : {one, each}) {
        for (const normalizer m : k_normalizers) {
            CHECK(metrics::adjusted_mutual_info(some, trivial, m) == 0.0);
            CHECK(metrics::adjusted_mutual_info(trivial, some, m) == 0.0);
        }
        CHECK(std::fabs(metrics::adjusted_rand_index(some, trivial)) <= 1e-15);
    }
    CHECK(metrics::homogeneity(some, each) == 1.0);
    CHECK(metrics::completeness(each, some) == 1.0);
    CHECK(metrics::homogeneity(some, one) == 0.0);
    CHECK(metrics::completeness(some, one) == 1.0);
    CHECK(metrics::v_measure(some, one) == 0.0);
    CHECK(metrics::mutual_info(some, one) == 0.0);
    CHECK(metrics::normalized_mutual_info(some, one, normalizer::min) == 0.0);
}

TEST_CASE("clustering_metrics: symmetric, and blind to the order of items and the names of labels") {
    const labeling a = random_labels(500, 20, 5), b = random_labels(500, 30, 6);
    labeling a_shuffled(500), b_renamed(500);
    for (std::size_t i = 0; i < 500; ++i) {
        a_shuffled[i] = a[(i * 7) % 500];
        b_renamed[i] = 1000 - b[(i * 7) % 500];
    }
    const auto s = metrics::clustering_scores(a, b), t = metrics::clustering_scores(a_shuffled, b_renamed),
               u = metrics::clustering_scores(b, a);
    CHECK(s.adjusted_mutual_info == doctest::Approx(t.adjusted_mutual_info).epsilon(1e-12));
    CHECK(s.adjusted_mutual_info == doctest::Approx(u.adjusted_mutual_info).epsilon(1e-12));
    CHECK(s.adjusted_rand_index == t.adjusted_rand_index);
    CHECK(s.homogeneity == doctest::Approx(u.completeness).epsilon(1e-13));
    CHECK(s.v_measure == doctest::Approx(s.normalized_mutual_info).epsilon(1e-13));
    CHECK(s.adjusted_mutual_info == metrics::adjusted_mutual_info(a, b));
    CHECK(s.fowlkes_mallows == metrics::fowlkes_mallows(a, b));
    CHECK(s.mutual_info == metrics::mutual_info(a, b));
    CHECK(s.n_items == 500);
    CHECK(s.n_classes == 20);
    CHECK(s.n_clusters == 30);
    CHECK(std::fabs(s.adjusted_mutual_info) < 0.05);  // independent: about 0, where NMI is not
    CHECK(s.normalized_mutual_info > 0.15);
}

TEST_CASE("clustering_metrics: a million items in 10,000 clusters") {
    constexpr index_t n = 1'000'000;
    const labeling a = random_labels(n, 10'000, 7), noise = random_labels(n, 10'000, 8), coin = random_labels(n, 10, 9);
    labeling b = a;
    for (std::size_t i = 0; i < b.size(); ++i) b[i] = coin[i] == 0 ? noise[i] : a[i];
    const auto s = metrics::clustering_scores(a, b), r = metrics::clustering_scores(a, noise);
    // Nine tenths of the items agree: pairs do with probability 0.9 each, so the adjusted Rand index is 0.81.
    CHECK(s.adjusted_rand_index == doctest::Approx(0.81).epsilon(0.005));
    CHECK(s.fowlkes_mallows == doctest::Approx(0.81).epsilon(0.005));
    CHECK(s.adjusted_mutual_info > 0.7);
    CHECK(s.adjusted_mutual_info < 0.9);
    CHECK(std::fabs(r.adjusted_rand_index) < 1e-4);
    CHECK(std::fabs(r.adjusted_mutual_info) < 1e-3);
    // One cluster of nearly all: products of sizes beyond 2³¹ and 2⁵³.
    labeling lopsided(n, 0), other(n, 0);
    lopsided[0] = other[1] = 1;
    CHECK(metrics::adjusted_rand_index(lopsided, other) == doctest::Approx(-1e-6).epsilon(1e-3));
    CHECK(metrics::adjusted_mutual_info(lopsided, other) == doctest::Approx(0.0).epsilon(1e-6));
}

TEST_CASE("clustering_metrics: lengths that differ and a negative beta are refused") {
    const labeling three{1, 2, 3}, two{1, 2};
    CHECK(test::error_text<value_error>([&] { (void)metrics::adjusted_mutual_info(three, two); }) ==
          "adjusted_mutual_info: labels_true has 3 labels, labels_pred 2; they must be as many");
    CHECK_THROWS_WITH_AS((void)metrics::normalized_mutual_info(two, three),
                         doctest::Contains("normalized_mutual_info: labels_true has 2"), value_error);
    CHECK_THROWS_AS((void)metrics::mutual_info(two, three), value_error);
    CHECK_THROWS_AS((void)metrics::adjusted_rand_index(two, three), value_error);
    CHECK_THROWS_AS((void)metrics::homogeneity(two, three), value_error);
    CHECK_THROWS_AS((void)metrics::completeness(two, three), value_error);
    CHECK_THROWS_AS((void)metrics::v_measure(two, three), value_error);
    CHECK_THROWS_AS((void)metrics::fowlkes_mallows(two, three), value_error);
    CHECK_THROWS_AS((void)metrics::contingency(two, three), value_error);
    CHECK_THROWS_AS((void)metrics::clustering_scores(two, {}), value_error);
    CHECK_THROWS_WITH_AS((void)metrics::v_measure(two, two, -1.0), doctest::Contains("beta must be at least 0"),
                         value_error);
    CHECK_THROWS_AS((void)metrics::v_measure(two, two, std::numeric_limits<double>::quiet_NaN()), value_error);
}
