// Principal components: eigenvectors of the covariance, whichever way they are found; the solver behind them; errors.

#include <cmath>
#include <limits>

#include <doctest/doctest.h>

#include "instar/cluster/pca.hpp"
#include "support/compare.hpp"

using namespace instar;

TEST_CASE("symmetric_eigen: residuals and orthogonality at rounding, also for equal values and zeros") {
    const philox rng{1, 1};
    for (const index_t n : {1, 2, 3, 10, 60, 151}) {
        for (const int kind : {0, 1, 2}) {
            CAPTURE(n);
            CAPTURE(kind);
            std::vector<double> a(static_cast<std::size_t>(n * n), 0.0);
            for (index_t i = 0; i < n; ++i) {
                for (index_t j = 0; j <= i; ++j) {
                    double v = static_cast<double>(rng.normal(static_cast<std::uint64_t>(i * n + j)));
                    if (kind == 1) v = i == j ? 2.0 : 0.0;            // one value n times
                    if (kind == 2 && (i >= n / 2 || j >= n / 2)) v = 0.0;  // half of it zero
                    a[static_cast<std::size_t>(i * n + j)] = a[static_cast<std::size_t>(j * n + i)] = v;
                }
            }
            const auto e = cluster::detail::symmetric_eigen(n, a);
            for (index_t i = 0; i < n; ++i) {
                if (i > 0) CHECK(e.values[static_cast<std::size_t>(i)] >= e.values[static_cast<std::size_t>(i - 1)]);
                const double* v = e.vectors.data() + i * n;
                double worst = 0.0;
                for (index_t r = 0; r < n; ++r) {
                    double sum = 0.0;
                    for (index_t c = 0; c < n; ++c) sum += a[static_cast<std::size_t>(r * n + c)] * v[c];
                    worst = std::max(worst, std::fabs(sum - e.values[static_cast<std::size_t>(i)] * v[r]));
                }
                CHECK(worst < 1e-12);
                for (index_t j = 0; j <= i; ++j) {
                    double dot = 0.0;
                    for (index_t c = 0; c < n; ++c) dot += v[c] * e.vectors[static_cast<std::size_t>(j * n + c)];
                    CHECK(std::fabs(dot - (i == j ? 1.0 : 0.0)) < 1e-12);
                }
            }
        }
    }
}

TEST_CASE("pca finds the directions of a stretched cloud, and both ways agree") {
    cpu_context one{1}, two{2};
    for (const auto& [n, d] : {std::pair<index_t, index_t>{400, 12}, {9, 30}}) {
        CAPTURE(n);
        auto x = test::random_tensor<float, 2>({n, d}, 1);
        for (index_t r = 0; r < n; ++r) {
            for (index_t c = 0; c < d; ++c) x(r, c) = 7.0f + x(r, c) * static_cast<float>(1 + c % 5) * 3.0f;
        }
        const index_t k = std::min<index_t>(6, std::min(n, d) - 1);
        const auto a = cluster::pca(one, x.view(), {.n_components = k}), b = cluster::pca(two, x.view(), {.n_components = k});
        CHECK(test::same_bits(a.components.view(), b.components.view()));
        const auto y = a.transform(two, x.view());
        double last = std::numeric_limits<double>::infinity();
        for (index_t i = 0; i < k; ++i) {
            double mean = 0.0, variance = 0.0, length = 0.0, largest = 0.0;
            for (index_t r = 0; r < n; ++r) mean += static_cast<double>(y(r, i)) / static_cast<double>(n);
            for (index_t r = 0; r < n; ++r) variance += std::pow(static_cast<double>(y(r, i)) - mean, 2) / static_cast<double>(n - 1);
            for (index_t c = 0; c < d; ++c) {
                length += std::pow(static_cast<double>(a.components(i, c)), 2);
                if (std::fabs(static_cast<double>(a.components(i, c))) > std::fabs(largest)) largest = static_cast<double>(a.components(i, c));
            }
            CHECK(std::fabs(mean) < 1e-4);
            CHECK(variance == doctest::Approx(a.explained_variance[static_cast<std::size_t>(i)]).epsilon(1e-4));
            CHECK(variance <= last * (1.0 + 1e-6));
            CHECK(length == doctest::Approx(1.0).epsilon(1e-6));
            CHECK(largest > 0.0);
            last = variance;
            for (index_t j = 0; j < i; ++j) {
                double dot = 0.0;
                for (index_t r = 0; r < n; ++r) dot += static_cast<double>(y(r, i)) * static_cast<double>(y(r, j));
                CHECK(std::fabs(dot) / static_cast<double>(n) < 1e-3 * last);
            }
        }
        // Whitened components have variance 1; shares of variance are ordered as asked for.
        const auto w = cluster::pca(two, x.view(), {.n_components = k, .whiten = true});
        const auto z = w.transform(two, x.view());
        double squares = 0.0;
        for (index_t r = 0; r < n; ++r) squares += std::pow(static_cast<double>(z(r, k - 1)), 2) / static_cast<double>(n - 1);
        CHECK(squares == doctest::Approx(1.0).epsilon(1e-3));
        const auto share = cluster::pca(two, x.view(), {.variance = 0.6});
        double sum = 0.0;
        for (const double r : share.explained_variance_ratio) sum += r;
        CHECK(sum >= 0.6);
        CHECK(sum - share.explained_variance_ratio.back() < 0.6);
    }
}

TEST_CASE("pca names what is wrong") {
    cpu_context ctx;
    auto x = test::random_tensor<float, 2>({5, 3}, 1);
    CHECK_THROWS_WITH_AS(cluster::pca(ctx, x.view(), {.n_components = 4}), doctest::Contains("between 1 and 3"), value_error);
    CHECK_THROWS_WITH_AS(cluster::pca(ctx, x.view(), {.variance = 1.5}), doctest::Contains("variance"), value_error);
    CHECK_THROWS_WITH_AS(cluster::pca(ctx, x.view().rows(0, 1), {.n_components = 1}), doctest::Contains("two rows"), value_error);
    x(3, 1) = std::numeric_limits<float>::quiet_NaN();
    CHECK_THROWS_WITH_AS(cluster::pca(ctx, x.view(), {.n_components = 1}), doctest::Contains("row 3, column 1"), value_error);
}
