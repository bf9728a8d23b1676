// Agglomerative clustering on the emulated device against the CPU and a plain search for the closest pair.

#include <cmath>
#include <limits>
#include <map>

#include "instar/cluster/agglomerative.hpp"
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
    CHECK(
        test::error_text<value_error>([&] { (void)cluster::agglomerative(ctx, x, {.linkage = linkage::complete}); }) ==
        "agglomerative: complete linkage with the euclidean metric needs a matrix of distances or a spanning tree, and "
        "runs on the CPU alone");
    for (index_t c = 0; c < 3; ++c) x(4, c) = 0.0f;
    CHECK(both(x, {.linkage = linkage::average, .metric = linkage_metric::cosine}) ==
          "agglomerative: x row 4 is zero, its cosine undefined");
    x(5, 1) = std::numeric_limits<float>::quiet_NaN();
    CHECK(both(x, {}) == "agglomerative: x row 5, column 1 is not finite");
}
