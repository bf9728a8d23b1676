// Agglomerative clustering on the emulated device against the CPU and a plain search for the closest pair.

#include <cmath>
#include <limits>
#include <map>

#include "instar/cluster/agglomerative.hpp"
#include "instar/cluster/cuda/agglomerative.cuh"
#include "instar/core/cpu_context.hpp"
#include "support/clustering_checks.hpp"
#include "support/emulated.hpp"

using namespace instar;
using cluster::linkage;
using cluster::linkage_metric;

namespace {

/// Heights of ward's tree: each time the closest of all pairs, from sums over points.
std::vector<double> plain_ward(tensor_view<const float, 2> x) {
    const index_t n = x.extent(0), d = x.extent(1);
    std::vector<std::vector<double>> sum;
    std::vector<double> size(static_cast<std::size_t>(n), 1.0), heights;
    for (index_t i = 0; i < n; ++i) {
        sum.emplace_back();
        for (index_t c = 0; c < d; ++c) sum.back().push_back(static_cast<double>(x(i, c)));
    }
    while (sum.size() > 1) {
        std::size_t a = 0, b = 1;
        double least = std::numeric_limits<double>::infinity();
        for (std::size_t i = 0; i < sum.size(); ++i) {
            for (std::size_t j = i + 1; j < sum.size(); ++j) {
                double squares = 0.0;
                for (std::size_t c = 0; c < sum[i].size(); ++c)
                    squares += std::pow(sum[i][c] / size[i] - sum[j][c] / size[j], 2);
                const double distance = squares * 2.0 * size[i] * size[j] / (size[i] + size[j]);
                if (distance < least) least = distance, a = i, b = j;
            }
        }
        heights.push_back(std::sqrt(least));
        for (std::size_t c = 0; c < sum[a].size(); ++c) sum[a][c] += sum[b][c];
        size[a] += size[b];
        sum.erase(sum.begin() + static_cast<std::ptrdiff_t>(b));
        size.erase(size.begin() + static_cast<std::ptrdiff_t>(b));
    }
    return heights;
}

/// The CPU's tree to the last bit, and its labels.
void check_equal_tree(const cluster::dendrogram& found, const cluster::dendrogram& expected) {
    REQUIRE(found.n_points() == expected.n_points());
    const index_t n = found.n_points();
    if (n > 1) CHECK(test::same_bits(found.linkage_matrix().view(), expected.linkage_matrix().view()));
    for (index_t m = 0; m < found.n_merges(); ++m) REQUIRE(found.children(m) == expected.children(m));
    for (const index_t k : {index_t{1}, (n + 9) / 10, (n + 1) / 2, n})
        CHECK(test::same_bits(found.cut({.n_clusters = k}).view(), expected.cut({.n_clusters = k}).view()));
}

/// What does not go over means.
const cluster::agglomerative_options k_over_distances[] = {
    {.linkage = linkage::single},
    {.linkage = linkage::single, .metric = linkage_metric::sqeuclidean},
    {.linkage = linkage::single, .metric = linkage_metric::cosine},
    {.linkage = linkage::complete},
    {.linkage = linkage::complete, .metric = linkage_metric::cosine},
    {.linkage = linkage::weighted, .metric = linkage_metric::sqeuclidean},
    {.linkage = linkage::average},
    {.linkage = linkage::centroid},
    {.linkage = linkage::median},
};

void check_over_distances(tensor_view<const float, 2> x) {
    cuda_context ctx;
    cpu_context cpu;
    for (cluster::agglomerative_options o : k_over_distances) {
        for (const auto precision : {cluster::matrix_precision::float64, cluster::matrix_precision::float32}) {
            const bool twice = o.linkage == linkage::complete || o.linkage == linkage::centroid;
            if (precision == cluster::matrix_precision::float32 && !twice) continue;
            o.precision = precision;
            CAPTURE(x.extent(0));
            CAPTURE(static_cast<int>(o.linkage));
            CAPTURE(static_cast<int>(o.metric));
            CAPTURE(static_cast<int>(precision));
            const test::device_rows rows(ctx, x, x.extent(1) + 1);
            check_equal_tree(cluster::agglomerative(ctx, rows.view(), o), cluster::agglomerative(cpu, x, o));
        }
    }
}

/// Points of a grid without its origin, the first ones twice: many equal distances, 0 among them.
tensor<float, 2> grid_points(index_t n) {
    tensor<float, 2> x({n, 2});
    for (index_t i = 0; i < n; ++i) {
        const index_t at = i % (n - n / 8);
        x(i, 0) = static_cast<float>(1 + at % 7), x(i, 1) = static_cast<float>(at / 7);
    }
    return x;
}

/// All distances of the rows of x, [n, n] or above the diagonal.
template <class T>
tensor<T, 2> square_distances(tensor_view<const float, 2> x) {
    const index_t n = x.extent(0);
    tensor<T, 2> d({n, n});
    for (index_t i = 0; i < n; ++i) {
        for (index_t j = 0; j < n; ++j) {
            double squares = 0.0;
            for (index_t c = 0; c < x.extent(1); ++c)
                squares += std::pow(static_cast<double>(x(i, c)) - static_cast<double>(x(j, c)), 2);
            d(i, j) = static_cast<T>(std::sqrt(squares));
        }
    }
    return d;
}
template <class T>
tensor<T, 1> condensed_distances(const tensor<T, 2>& square) {
    const index_t n = square.extent(0);
    tensor<T, 1> d({n * (n - 1) / 2});
    T* to = d.data();
    for (index_t i = 0; i < n; ++i) {
        for (index_t j = i + 1; j < n; ++j) *to++ = square(i, j);
    }
    return d;
}

/// Whether labels name the same clusters.
bool same_partition(const tensor<std::int32_t, 1>& a, const tensor<std::int32_t, 1>& b) {
    std::map<std::int32_t, std::int32_t> forth, back;
    for (index_t i = 0; i < a.size(); ++i) {
        if (forth.emplace(a(i), b(i)).first->second != b(i) || back.emplace(b(i), a(i)).first->second != a(i))
            return false;
    }
    return true;
}

}  // namespace

TEST_CASE("agglomerative on the emulated device makes the CPU's tree") {
    cuda_context ctx;
    for (const auto& o : {cluster::agglomerative_options{},
                          {.linkage = linkage::average, .metric = linkage_metric::sqeuclidean},
                          {.linkage = linkage::average, .metric = linkage_metric::cosine}}) {
        test::check_device_agglomerative(ctx, test::clouds(1, 3, 1, 0.2f, 1), o);
        test::check_device_agglomerative(ctx, test::clouds(2, 3, 1, 0.2f, 1), o);
        test::check_device_agglomerative(ctx, test::clouds(140, 5, 12, 0.3f, 2), o);
    }
    test::check_device_agglomerative(ctx, test::clouds(300, 19, 20, 0.1f, 3), {});
}

TEST_CASE("agglomerative on the emulated device, ward: heights as a plain search finds them") {
    cuda_context ctx;
    const auto x = test::clouds(60, 4, 7, 0.5f, 4);
    const auto tree = cluster::agglomerative(ctx, x);
    const auto expected = plain_ward(x);
    for (index_t m = 0; m < tree.n_merges(); ++m)
        CHECK(tree.height(m) == doctest::Approx(expected[static_cast<std::size_t>(m)]).epsilon(1e-10));
}

TEST_CASE("agglomerative on the emulated device gives the same bits in every thread order") {
    const auto x = test::clouds(140, 6, 20, 0.4f, 9);
    std::vector<cluster::dendrogram> trees;
    test::for_each_order([&](cuda_context& ctx, int) { trees.push_back(cluster::agglomerative(ctx, x)); });
    CHECK(test::same_bits(trees[0].linkage_matrix().view(), trees[1].linkage_matrix().view()));
}

TEST_CASE("agglomerative on the emulated device tells apart what float products cannot") {
    cuda_context ctx;
    // Far from the origin, clouds of 1e-3 of the distance between them.
    auto x = test::clouds(150, 5, 6, 1e-3f, 5);
    for (float& v : x) v += 10.0f;
    test::check_device_agglomerative(ctx, x, {});
    // Near both ends of float.
    for (const float scale : {1e-30f, 1e30f}) {
        auto y = test::clouds(80, 3, 6, 0.3f, 6);
        for (float& v : y) v *= scale;
        test::check_device_agglomerative(ctx, y, {});
    }
}

TEST_CASE("agglomerative on the emulated device: one slice of many tiles, whose limits turn most clusters away") {
    cuda_context ctx;
    cpu_context cpu;
    for (const float spread : {0.3f, 1e-3f}) {
        const auto x = test::clouds(520, 6, 40, spread, 10);
        const auto squares = cluster::cuda::row_squares<float>(ctx, "test", x.view());
        for (const bool ward : {true, false}) {
            const auto expected =
                ward ? cluster::agglomerative(cpu, x)
                     : cluster::agglomerative(cpu, x,
                                              {.linkage = linkage::average, .metric = linkage_metric::sqeuclidean});
            test::check_same_tree(
                cluster::cuda::agglomerate_means<float>(ctx, "test", x.view(), squares, ward, false, {}, 1), expected);
        }
    }
}

TEST_CASE("agglomerative on the emulated device: rows that coincide merge first, at 0") {
    cuda_context ctx;
    cpu_context cpu;
    auto x = test::clouds(120, 4, 9, 0.3f, 7);
    for (index_t i = 60; i < 120; ++i) {
        for (index_t c = 0; c < 4; ++c) x(i, c) = x(i % 23, c);
    }
    x(3, 0) = 0.0f, x(26, 0) = -0.0f;
    for (index_t c = 1; c < 4; ++c) x(26, c) = x(3, c);
    for (const auto& o :
         {cluster::agglomerative_options{}, {.linkage = linkage::average, .metric = linkage_metric::sqeuclidean}}) {
        const auto found = cluster::agglomerative(ctx, x, o), expected = cluster::agglomerative(cpu, x, o);
        index_t n_zero = 0;
        for (index_t m = 0; m < found.n_merges(); ++m) {
            CHECK(found.height(m) == doctest::Approx(expected.height(m)).epsilon(1e-10));
            CHECK((found.height(m) == 0.0) == (expected.height(m) == 0.0));
            n_zero += found.height(m) == 0.0;
        }
        CHECK(n_zero >= 60);
        for (const index_t k : {1, 5, 20, 40})
            CHECK(same_partition(found.cut({.n_clusters = k}), expected.cut({.n_clusters = k})));
    }
    tensor<float, 2> same({200, 3});
    for (float& v : same) v = 0.1f;
    const auto tree = cluster::agglomerative(ctx, same);
    CHECK(tree.height(198) == 0.0);
    CHECK(tree.size(198) == 200);
}

TEST_CASE("agglomerative on the emulated device takes ties that are not zero, as some right tree") {
    cuda_context ctx;
    cpu_context cpu;
    tensor<float, 2> x({64, 2});
    for (index_t i = 0; i < 64; ++i) x(i, 0) = static_cast<float>(i % 8), x(i, 1) = static_cast<float>(i / 8);
    const auto found = cluster::agglomerative(ctx, x), expected = cluster::agglomerative(cpu, x);
    // Whichever way the first ties fall, 32 pairs of neighbours merge at 1.
    for (index_t m = 0; m < 32; ++m) CHECK(found.height(m) == expected.height(m));
    for (index_t m = 1; m < 63; ++m) CHECK(found.height(m) >= found.height(m - 1));
    CHECK(found.size(62) == 64);
}

TEST_CASE("agglomerative on the emulated device tells its progress, and refuses in the CPU's words") {
    cuda_context ctx;
    cpu_context cpu;
    auto x = test::clouds(40, 3, 4, 0.3f, 8);
    index_t last = 0;
    (void)cluster::agglomerative(ctx, x, {.progress = [&](index_t done, index_t total) {
                                     CHECK(total == 39);
                                     CHECK(done > last);
                                     last = done;
                                 }});
    CHECK(last == 39);
    const auto both = [&](tensor_view<const float, 2> rows, const cluster::agglomerative_options& o) {
        const std::string on_device = test::error_text([&] { (void)cluster::agglomerative(ctx, rows, o); });
        CHECK(on_device == test::error_text([&] { (void)cluster::agglomerative(cpu, rows, o); }));
        return on_device;
    };
    CHECK(both(tensor<float, 2>({0, 3}).view(), {}) != "");
    CHECK(both(x, {.metric = linkage_metric::cosine}) ==
          "agglomerative: ward linkage needs the euclidean metric, not cosine");
    CHECK(test::error_text<memory_error>([&] { (void)cluster::agglomerative(ctx, x, {.memory_limit = 1000}); }) ==
          "agglomerative: ward linkage of 40 points needs 13920 bytes; 1000 are allowed (memory_limit)");
    CHECK(test::error_text<memory_error>(
              [&] { (void)cluster::agglomerative(ctx, x, {.linkage = linkage::complete, .memory_limit = 1000}); }) ==
          "agglomerative: complete linkage of 40 points needs 11200 bytes, 6240 of them for the matrix of distances; "
          "1000 are allowed (memory_limit); precision float32 halves the matrix");
    CHECK(test::error_text<memory_error>([&] {
              (void)cluster::agglomerative(ctx, x, {.linkage = linkage::single, .memory_limit = 1000});
          }) == "agglomerative: single linkage of 40 points needs 4720 bytes; 1000 are allowed (memory_limit)");
    CHECK(both(x, {.linkage = linkage::centroid, .metric = linkage_metric::cosine}) ==
          "agglomerative: centroid linkage needs the euclidean metric, not cosine");
    for (index_t c = 0; c < 3; ++c) x(4, c) = 0.0f;
    CHECK(both(x, {.linkage = linkage::average, .metric = linkage_metric::cosine}) ==
          "agglomerative: x row 4 is zero, its cosine undefined");
    CHECK(both(x, {.linkage = linkage::single, .metric = linkage_metric::cosine}) ==
          "agglomerative: x row 4 is zero, its cosine undefined");
    x(5, 1) = std::numeric_limits<float>::quiet_NaN();
    CHECK(both(x, {.linkage = linkage::median}) == "agglomerative: x row 5, column 1 is not finite");
    CHECK(both(x, {}) == "agglomerative: x row 5, column 1 is not finite");
}

TEST_CASE("agglomerative on the emulated device over distances: the CPU's tree to the last bit") {
    for (const index_t n : {1, 2, 3, 37, 200}) check_over_distances(test::clouds(n, 5, 9, 0.3f, 11));
    check_over_distances(test::clouds(70, 19, 6, 0.1f, 12));
}

TEST_CASE("agglomerative on the emulated device over distances: ties fall as on the CPU") {
    for (const index_t n : {2, 3, 37, 200}) check_over_distances(grid_points(n));
    tensor<float, 2> same({40, 3});
    for (float& v : same) v = 0.1f;
    check_over_distances(same);
}

TEST_CASE("agglomerative on the emulated device over distances: far from the origin, and near both ends of float") {
    auto x = test::clouds(60, 5, 6, 1e-3f, 13);
    for (float& v : x) v += 10.0f;
    check_over_distances(x);
    cuda_context ctx;
    cpu_context cpu;
    for (const float scale : {1e-30f, 1e30f}) {
        auto y = test::clouds(40, 3, 6, 0.3f, 14);
        for (float& v : y) v *= scale;
        for (const auto l : {linkage::single, linkage::complete, linkage::median})
            check_equal_tree(cluster::agglomerative(ctx, y, {.linkage = l}),
                             cluster::agglomerative(cpu, y, {.linkage = l}));
    }
}

TEST_CASE("agglomerative on the emulated device, single linkage: points that have joined are dropped") {
    cuda_context ctx;
    cpu_context cpu;
    const auto x = test::clouds(150, 3, 11, 0.3f, 15);
    const cluster::cuda::point_distance measure(linkage_metric::euclidean);
    const auto edges = cluster::cuda::spanning_tree_of_rows<float, float>(ctx, "test", x.view(), measure, {}, 8);
    check_equal_tree(cluster::detail::make_dendrogram(150, edges, true, cluster::detail::child_order::as_merged),
                     cluster::agglomerative(cpu, x, {.linkage = linkage::single}));
}

TEST_CASE("agglomerative_precomputed on the emulated device: every linkage, square and condensed, float and double") {
    cuda_context ctx;
    cpu_context cpu;
    for (const index_t n : {1, 2, 3, 23}) {
        for (const bool ties : {false, true}) {
            if (ties && n < 2) continue;
            const auto x = ties ? grid_points(n) : test::clouds(n, 4, 7, 0.4f, 16);
            const auto narrow = square_distances<float>(x);
            const auto wide = square_distances<double>(x);
            for (const auto l : {linkage::ward, linkage::average, linkage::complete, linkage::single, linkage::weighted,
                                 linkage::centroid, linkage::median}) {
                CAPTURE(n);
                CAPTURE(static_cast<int>(l));
                const cluster::agglomerative_options o{.linkage = l};
                const auto expected = cluster::agglomerative_precomputed(cpu, wide, o);
                check_equal_tree(cluster::agglomerative_precomputed<double>(ctx, wide, o), expected);
                check_equal_tree(cluster::agglomerative_precomputed<double>(ctx, condensed_distances(wide), o),
                                 expected);
                const cluster::agglomerative_options small{.linkage = l,
                                                           .precision = cluster::matrix_precision::float32};
                check_equal_tree(cluster::agglomerative_precomputed(ctx, narrow, small),
                                 cluster::agglomerative_precomputed(cpu, narrow, small));
                check_equal_tree(cluster::agglomerative_precomputed(ctx, condensed_distances(narrow), o),
                                 cluster::agglomerative_precomputed(cpu, condensed_distances(narrow), o));
            }
        }
    }
}

TEST_CASE("agglomerative_precomputed on the emulated device refuses in the CPU's words, and only reads") {
    cuda_context ctx;
    cpu_context cpu;
    const auto both = [&](const auto& distances) {
        const auto view = distances.view();
        const std::string on_device = test::error_text([&] { (void)cluster::agglomerative_precomputed(ctx, view); });
        CHECK(on_device == test::error_text([&] { (void)cluster::agglomerative_precomputed(cpu, view); }));
        CHECK(ctx.n_temporaries() == 0);
        return on_device;
    };
    const auto right = square_distances<float>(test::clouds(12, 3, 4, 0.4f, 17));
    auto d = right.clone();
    CHECK(both(d) == "");
    CHECK(test::same_bits(d.view(), right.view()));
    CHECK(both(tensor<float, 2>({3, 4})) != "");
    CHECK(both(tensor<float, 2>({0, 0})) != "");
    CHECK(both(tensor<float, 1>({4})) != "");
    d(7, 2) = std::numeric_limits<float>::quiet_NaN();
    d(7, 9) = std::numeric_limits<float>::infinity();
    CHECK(both(d) == "agglomerative_precomputed: the distance of 7 and 2 is not finite");
    d = right.clone();
    d(4, 9) = d(9, 4) = -1.0f;
    CHECK(both(d) == "agglomerative_precomputed: the distance of 4 and 9 is negative, -1.000000");
    CHECK(both(condensed_distances(d)) == "agglomerative_precomputed: the distance of 4 and 9 is negative, -1.000000");
    d = right.clone();
    d(9, 4) += 1.0f;
    CHECK(both(d).find("the distance of 4 and 9 is ") != std::string::npos);
    CHECK(both(d).find("not symmetric") != std::string::npos);
    d = right.clone();
    d(5, 5) = 0.5f;
    CHECK(both(d) == "agglomerative_precomputed: the distance of 5 and 5 is 0.500000, must be 0");
    d = right.clone();
    d(5, 6) = d(6, 5) = -1e-9f;  // rounding: counts as 0
    CHECK(both(d) == "");
    CHECK(cluster::agglomerative_precomputed(ctx, d, {.linkage = linkage::single}).height(0) == 0.0);
}

TEST_CASE("agglomerative on the emulated device over distances: progress, thread orders, memory that runs out") {
    const auto x = test::clouds(90, 4, 7, 0.4f, 18);
    for (const auto l : {linkage::single, linkage::complete, linkage::centroid}) {
        std::vector<cluster::dendrogram> trees;
        test::for_each_order([&](cuda_context& ctx, int) {
            index_t last = 0;
            trees.push_back(cluster::agglomerative(ctx, x, {.linkage = l, .progress = [&](index_t done, index_t total) {
                                                                CHECK(total == 89);
                                                                CHECK(done == last + 1);
                                                                last = done;
                                                            }}));
            CHECK(last == 89);
        });
        CHECK(test::same_bits(trees[0].linkage_matrix().view(), trees[1].linkage_matrix().view()));
        for (int fail = 1; fail < 12; fail += 2) {
            cuda_context failing(0, {.fail_allocation = fail});
            try {
                (void)cluster::agglomerative(failing, x, {.linkage = l});
            } catch (const memory_error& e) {
                CHECK(std::string(e.what()).find("agglomerative: cannot allocate") == 0);
            }
            CHECK(failing.n_temporaries() == 0);
        }
    }
}
