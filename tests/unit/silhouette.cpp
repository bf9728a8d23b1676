// Scores of clusters by their points: against the definitions written out, at every instruction set; edge cases, errors.
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include <doctest/doctest.h>

#include "instar/cluster/silhouette.hpp"
#include "support/compare.hpp"
#include "support/levels.hpp"

using namespace instar;

namespace {

using labeling = std::vector<std::int32_t>;
using metric = cluster::silhouette_metric;
constexpr metric k_metrics[] = {metric::euclidean, metric::sqeuclidean, metric::cosine, metric::manhattan,
                                metric::chebyshev};

template <class T>
double distance(metric m, tensor_view<const T, 2> x, index_t i, index_t j) {
    double squares = 0, sum = 0, largest = 0, dot = 0, ii = 0, jj = 0;
    for (index_t c = 0; c < x.extent(1); ++c) {
        const double a = static_cast<double>(x(i, c)), b = static_cast<double>(x(j, c)), d = std::fabs(a - b);
        squares += d * d;
        sum += d;
        largest = std::max(largest, d);
        dot += a * b;
        ii += a * a;
        jj += b * b;
    }
    switch (m) {
    case metric::sqeuclidean:
        return squares;
    case metric::cosine:
        return 1.0 - dot / std::sqrt(ii * jj);
    case metric::manhattan:
        return sum;
    case metric::chebyshev:
        return largest;
    default:
        return std::sqrt(squares);
    }
}

template <class T>
std::vector<double> naive_silhouettes(metric m, tensor_view<const T, 2> x, const labeling& labels) {
    std::vector<double> out;
    for (index_t i = 0; i < x.extent(0); ++i) {
        std::map<std::int32_t, std::pair<double, double>> sums;
        for (index_t j = 0; j < x.extent(0); ++j) {
            if (i == j) continue;
            auto& [sum, n] = sums[labels[static_cast<std::size_t>(j)]];
            sum += distance(m, x, i, j);
            n += 1;
        }
        const auto own = sums.find(labels[static_cast<std::size_t>(i)]);
        if (own == sums.end()) {
            out.push_back(0.0);
            continue;
        }
        const double a = own->second.first / own->second.second;
        double b = std::numeric_limits<double>::infinity();
        for (const auto& [label, s] : sums) {
            if (label != own->first) b = std::min(b, s.first / s.second);
        }
        out.push_back((b - a) / std::max(a, b));
    }
    return out;
}

labeling labels_of(index_t n, std::int32_t k) {
    labeling l(static_cast<std::size_t>(n));
    for (std::size_t i = 0; i < l.size(); ++i)
        l[i] = static_cast<std::int32_t>((i * i + i / 3) % static_cast<std::size_t>(k)) * 5 - 2;
    return l;
}

template <class T>
void check_shapes() {
    cpu_context one{1}, two{2};
    const index_t shapes[][3] = {{3, 1, 2}, {5, 2, 2}, {17, 3, 4}, {64, 7, 5}, {130, 5, 40}, {200, 33, 3}};
    for (const auto& s : shapes) {
        CAPTURE(s[0]);
        CAPTURE(s[1]);
        const auto x = test::random_tensor<T, 2>({s[0], s[1]}, 1);
        const tensor_view<const T, 2> view = x;
        labeling labels = labels_of(s[0], static_cast<std::int32_t>(s[2]));
        if (s[0] > 10) labels[4] = 1000;  // alone
        for (const metric m : k_metrics) {
            CAPTURE(static_cast<int>(m));
            const auto expected = naive_silhouettes(m, view, labels),
                       each = cluster::silhouette_samples(one, x, labels, m);
            REQUIRE(each.size() == expected.size());
            double sum = 0.0, error = 0.0;
            for (std::size_t i = 0; i < each.size(); ++i) {
                error = std::max(error, std::fabs(each[i] - expected[i]));
                sum += each[i];
            }
            CHECK(error <= 1e-12);
            CHECK(cluster::silhouette_score(one, x, labels, m) ==
                  doctest::Approx(sum / static_cast<double>(s[0])).epsilon(1e-12));
            CHECK(cluster::silhouette_samples(two, x, labels, m) == each);
            CHECK(cluster::silhouette_score(two, x, labels, m) == cluster::silhouette_score(one, x, labels, m));
        }
        CHECK(cluster::calinski_harabasz(one, x, labels) == cluster::calinski_harabasz(two, x, labels));
        CHECK(cluster::davies_bouldin(one, x, labels) == cluster::davies_bouldin(two, x, labels));
    }
}

}  // namespace

TEST_CASE(
    "silhouette equals its definition for every metric, shape and instruction set; same bits for one and two threads") {
    test::for_each_level([] {
        check_shapes<float>();
        check_shapes<double>();
    });
}

TEST_CASE("silhouette: Calinski-Harabasz and Davies-Bouldin equal their definitions") {
    test::for_each_level([] {
        cpu_context ctx{2};
        const auto x = test::random_tensor<double, 2>({150, 9}, 3);
        const labeling labels = labels_of(150, 23);
        std::map<std::int32_t, std::vector<index_t>> members;
        for (index_t i = 0; i < 150; ++i) members[labels[static_cast<std::size_t>(i)]].push_back(i);
        const auto k = static_cast<double>(members.size());
        std::vector<std::vector<double>> centres;
        std::vector<double> scatter, mean(9, 0.0);
        double within = 0.0, between = 0.0, worst_sum = 0.0;
        for (index_t i = 0; i < 150; ++i) {
            for (index_t c = 0; c < 9; ++c) mean[static_cast<std::size_t>(c)] += x(i, c) / 150.0;
        }
        const auto squared = [](const auto& a, const auto& b) {
            double s = 0.0;
            for (std::size_t c = 0; c < 9; ++c) s += (a[c] - b[c]) * (a[c] - b[c]);
            return s;
        };
        for (const auto& [label, rows] : members) {
            std::vector<double> centre(9, 0.0);
            for (const index_t i : rows) {
                for (index_t c = 0; c < 9; ++c)
                    centre[static_cast<std::size_t>(c)] += x(i, c) / static_cast<double>(rows.size());
            }
            double s = 0.0;
            for (const index_t i : rows) {
                const double d = squared(std::vector<double>(x.data() + i * 9, x.data() + i * 9 + 9), centre);
                within += d;
                s += std::sqrt(d) / static_cast<double>(rows.size());
            }
            between += static_cast<double>(rows.size()) * squared(centre, mean);
            centres.push_back(centre);
            scatter.push_back(s);
        }
        for (std::size_t a = 0; a < centres.size(); ++a) {
            double worst = 0.0;
            for (std::size_t b = 0; b < centres.size(); ++b) {
                if (a != b)
                    worst = std::max(worst, (scatter[a] + scatter[b]) / std::sqrt(squared(centres[a], centres[b])));
            }
            worst_sum += worst;
        }
        CHECK(cluster::calinski_harabasz(ctx, x, labels) ==
              doctest::Approx(between / (k - 1) / (within / (150 - k))).epsilon(1e-12));
        CHECK(cluster::davies_bouldin(ctx, x, labels) == doctest::Approx(worst_sum / k).epsilon(1e-12));
    });
}

TEST_CASE("silhouette of near points far from the origin keeps its digits") {
    cpu_context ctx{1};
    tensor<float, 2> x({40, 2});
    labeling labels(40);
    for (index_t i = 0; i < 40;
         ++i) {  // two clusters of width 1, 2 apart, at 4,000,000: expanded squares would lose all digits
        labels[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(i % 2);
        x(i, 0) = 4e6f + static_cast<float>(i % 2) * 3.0f + static_cast<float>(i / 2 % 2);
        x(i, 1) = -4e6f + static_cast<float>(i / 4 % 2);
    }
    const auto expected = naive_silhouettes<float>(metric::euclidean, x.view(), labels),
               each = cluster::silhouette_samples(ctx, x, labels);
    for (std::size_t i = 0; i < 40; ++i) CHECK(each[i] == doctest::Approx(expected[i]).epsilon(1e-13));
    CHECK(cluster::silhouette_score(ctx, x, labels) > 0.7);
}

TEST_CASE("silhouette of points that coincide is 0, Calinski-Harabasz 1 and Davies-Bouldin 0, as in scikit-learn") {
    cpu_context ctx{1};
    tensor<float, 2> x({6, 3});
    for (float& v : x) v = 0.1f;
    const labeling labels{0, 0, 1, 1, 2, 2};
    for (const metric m : k_metrics) CHECK(cluster::silhouette_score(ctx, x, labels, m) == 0.0);
    CHECK(cluster::calinski_harabasz(ctx, x, labels) == 1.0);
    CHECK(cluster::davies_bouldin(ctx, x, labels) == 0.0);
    for (index_t i = 0; i < 6; ++i) x(i, 0) = static_cast<float>(i / 2);  // clusters of one place each, apart
    CHECK(cluster::silhouette_score(ctx, x, labels) == 1.0);
    CHECK(cluster::calinski_harabasz(ctx, x, labels) == 1.0);
    CHECK(cluster::davies_bouldin(ctx, x, labels) == 0.0);
}

TEST_CASE("silhouette takes strided rows") {
    cpu_context ctx{1};
    test::strided_rows<float> x({50, 5}, 9, 1);
    tensor<float, 2> dense({50, 5});
    for (index_t i = 0; i < 50; ++i) {
        for (index_t c = 0; c < 5; ++c) dense(i, c) = x.view(i, c);
    }
    const labeling labels = labels_of(50, 4);
    CHECK(cluster::silhouette_samples(ctx, x.view, labels) == cluster::silhouette_samples(ctx, dense, labels));
    CHECK(cluster::davies_bouldin(ctx, x.view, labels) == cluster::davies_bouldin(ctx, dense, labels));
    CHECK(cluster::calinski_harabasz(ctx, x.view, labels) == cluster::calinski_harabasz(ctx, dense, labels));
}

TEST_CASE("silhouette: bad input is refused with the place") {
    cpu_context ctx{2};
    auto x = test::random_tensor<float, 2>({6, 3}, 1);
    const labeling labels{0, 0, 1, 1, 2, 2};
    CHECK(test::error_text<shape_error>([&] {
              (void)cluster::silhouette_score(ctx, x, labeling{0, 1});
          }) == "silhouette_score: 2 labels for points of shape [6, 3]");
    CHECK_THROWS_WITH_AS((void)cluster::silhouette_samples(ctx, x, labeling(6, 3)),
                         doctest::Contains("silhouette_samples: 1 clusters among 6 points"), value_error);
    CHECK_THROWS_WITH_AS((void)cluster::calinski_harabasz(ctx, x, labeling{0, 1, 2, 3, 4, 5}),
                         doctest::Contains("calinski_harabasz: 6 clusters among 6 points"), value_error);
    CHECK_THROWS_AS((void)cluster::davies_bouldin(ctx, x.view().rows(0, 0), labeling{}), value_error);
    x(4, 2) = std::numeric_limits<float>::infinity();
    CHECK_THROWS_WITH_AS((void)cluster::davies_bouldin(ctx, x, labels),
                         doctest::Contains("davies_bouldin: row 4, column 2 is not finite"), value_error);
    x(4, 2) = std::numeric_limits<float>::quiet_NaN();
    CHECK_THROWS_WITH_AS((void)cluster::silhouette_score(ctx, x, labels),
                         doctest::Contains("row 4, column 2 is not finite"), value_error);
    for (index_t c = 0; c < 3; ++c) x(4, c) = 0.0f;
    CHECK_THROWS_WITH_AS((void)cluster::silhouette_score(ctx, x, labels, metric::cosine),
                         doctest::Contains("row 4 is zero"), value_error);
    CHECK_NOTHROW((void)cluster::silhouette_score(ctx, x, labels));
}
