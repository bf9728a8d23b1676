// Silhouettes on the emulated device against the CPU's.

#include <limits>

#include "instar/cluster/silhouette.hpp"
#include "support/clustering_checks.hpp"
#include "support/emulated.hpp"

using namespace instar;

TEST_CASE("silhouette on the emulated device is the CPU's for every metric and shape") {
    cuda_context ctx;
    test::check_device_silhouette(ctx, test::clouds(3, 1, 2, 0.3f, 1), 2);
    test::check_device_silhouette(ctx, test::clouds(64, 8, 4, 0.3f, 2), 4);
    test::check_device_silhouette(ctx, test::clouds(150, 19, 4, 0.3f, 3), 5);
    test::check_device_silhouette(ctx, test::clouds(130, 3, 4, 0.3f, 4), 129);  // clusters of one point
}

TEST_CASE("silhouette on the emulated device gives the same bits in every thread order") {
    const auto x = test::clouds(100, 5, 4, 0.3f, 5);
    std::vector<std::int32_t> labels;
    for (std::int32_t i = 0; i < 100; ++i) labels.push_back(i % 6);
    std::vector<std::vector<double>> each;
    test::for_each_order([&](cuda_context& ctx, int) { each.push_back(cluster::silhouette_samples(ctx, x, labels)); });
    CHECK(each[0] == each[1]);
}

TEST_CASE("silhouette on the emulated device: points that coincide, no columns, and errors in the CPU's words") {
    cuda_context ctx;
    cpu_context cpu;
    std::vector<std::int32_t> labels;
    for (std::int32_t i = 0; i < 70; ++i) labels.push_back(i % 3);
    tensor<float, 2> same({70, 2}), flat({70, 0});
    for (float& v : same) v = 0.3f;
    for (const double s : cluster::silhouette_samples(ctx, same, labels)) CHECK(s == 0.0);
    for (const double s : cluster::silhouette_samples(ctx, flat, labels)) CHECK(s == 0.0);
    auto x = test::clouds(70, 2, 3, 0.3f, 6);
    const auto both = [&](std::span<const std::int32_t> l, cluster::silhouette_metric m) {
        const std::string on_device = test::error_text([&] { (void)cluster::silhouette_score(ctx, x, l, m); });
        CHECK(on_device == test::error_text([&] { (void)cluster::silhouette_score(cpu, x.view(), l, m); }));
        return on_device;
    };
    using metric = cluster::silhouette_metric;
    const std::vector<std::int32_t> one(70, 4), few(3, 1);
    CHECK(both(one, metric::euclidean) ==
          "silhouette_score: 1 clusters among 70 points; between 2 and one less than the points are needed");
    CHECK(both(few, metric::euclidean) == "silhouette_score: 3 labels for points of shape [70, 2]");
    x(9, 0) = x(9, 1) = 0.0f;
    CHECK(both(labels, metric::cosine) == "silhouette_score: row 9 is zero, its cosine undefined");
    x(8, 1) = std::numeric_limits<float>::infinity();
    CHECK(both(labels, metric::euclidean) == "silhouette_score: row 8, column 1 is not finite");
}
