// Exact nearest neighbours on the emulated device against the CPU and a brute force in double.

#include <cmath>
#include <limits>

#include "instar/cluster/cuda/knn.cuh"
#include "instar/cluster/knn.hpp"
#include "support/clustering_checks.hpp"
#include "support/emulated.hpp"

using namespace instar;

namespace {

using metric = cluster::knn_metric;
constexpr metric k_metrics[] = {metric::euclidean, metric::cosine, metric::inner_product};

/// Small whole numbers: distances are exact in double, and tie often.
tensor<float, 2> grid(index_t n, index_t d, std::uint32_t side, std::uint64_t seed) {
    const philox rng{.seed = seed};
    tensor<float, 2> x({n, d});
    for (index_t i = 0; i < x.size(); ++i)
        x.data()[i] = 1.0f + static_cast<float>(rng.below(static_cast<std::uint64_t>(i), side));
    return x;
}

/// The k first of all references by (Σ (q − r)², index), as double loops give them.
std::vector<std::int32_t> brute_force(tensor_view<const float, 2> q, tensor_view<const float, 2> r, index_t k) {
    std::vector<std::int32_t> names;
    for (index_t i = 0; i < q.extent(0); ++i) {
        std::vector<std::pair<double, std::int32_t>> all;
        for (index_t j = 0; j < r.extent(0); ++j) {
            double sum = 0.0;
            for (index_t c = 0; c < q.extent(1); ++c)
                sum += (static_cast<double>(q(i, c)) - static_cast<double>(r(j, c))) *
                       (static_cast<double>(q(i, c)) - static_cast<double>(r(j, c)));
            all.emplace_back(sum, static_cast<std::int32_t>(j));
        }
        std::sort(all.begin(), all.end());
        for (index_t j = 0; j < k; ++j) names.push_back(all[static_cast<std::size_t>(j)].second);
    }
    return names;
}

}  // namespace

TEST_CASE("knn on the emulated device equals the CPU's for every metric, shape and k") {
    cuda_context ctx;
    test::check_device_knn(ctx, 1, 1, 1, 1);
    test::check_device_knn(ctx, 3, 40, 17, 40);
    test::check_device_knn(ctx, 130, 129, 33, 7);
    test::check_device_knn(ctx, 5, 290, 3, 2);
}

TEST_CASE("knn on the emulated device gives the same bits in every thread order") {
    const auto x = test::clouds(200, 9, 11, 0.2f, 3);
    std::vector<cluster::knn_result> results;
    test::for_each_order([&](cuda_context& ctx, int) {
        results.push_back(cluster::knn(ctx, x, x, {.k = 6, .metric = metric::cosine, .exclude_self = true}));
    });
    CHECK(test::same_bits(results[0].index.view(), results[1].index.view()));
    CHECK(test::same_bits(results[0].distance.view(), results[1].distance.view()));
}

TEST_CASE("knn on the emulated device does not depend on how the search is cut") {
    cuda_context ctx;
    cpu_context cpu;
    const auto q = test::clouds(140, 5, 13, 0.4f, 5), r = test::clouds(500, 5, 13, 0.4f, 6);
    for (const index_t k : {3, 150}) {
        const auto expected = cluster::knn(cpu, q, r, {.k = k});
        test::check_same_neighbours(cluster::cuda::knn_search<float>(ctx, q.view(), r.view(), {.k = k}, 1), expected);
        test::check_same_neighbours(cluster::cuda::knn_search<float>(ctx, q.view(), r.view(), {.k = k}, 4, 1),
                                    expected);
    }
}

TEST_CASE("knn on the emulated device breaks ties by the lower index") {
    cuda_context ctx;
    cpu_context cpu;
    const auto q = grid(30, 3, 4, 1), r = grid(300, 3, 4, 2);
    for (const index_t k : {1, 5, 130}) {
        const auto found = cluster::knn(ctx, q, r, {.k = k});
        const auto names = brute_force(q, r, k);
        CHECK(std::equal(names.begin(), names.end(), found.index.begin()));
        test::check_device_knn(ctx, q, r, {.k = k, .metric = metric::inner_product});
    }
    // All rows equal, and more of them than lists and what waits for them hold.
    tensor<float, 2> same({400, 2});
    for (float& v : same) v = 0.1f;
    for (const metric m : k_metrics) {
        const auto found = cluster::knn(ctx, same, same, {.k = 4, .metric = m});
        for (index_t i = 0; i < 400; i += 57) {
            for (std::int32_t j = 0; j < 4; ++j) CHECK(found.index(i, j) == j);
            if (m != metric::inner_product) CHECK(found.distance(i, 3) == 0.0f);
        }
    }
}

TEST_CASE("knn on the emulated device tells apart what float products cannot") {
    cuda_context ctx;
    // A cloud far from the origin, and pairs a few units in the last place apart.
    auto x = test::clouds(300, 6, 60, 1e-4f, 8);
    for (index_t i = 0; i < 300; ++i) {
        for (index_t c = 0; c < 6; ++c) x(i, c) = 1000.0f + x(i, c);
        if (i >= 200) {
            for (index_t c = 0; c < 6; ++c) x(i, c) = std::nextafter(x(i - 200, c), i % 2 == 0 ? 2000.0f : 0.0f);
        }
    }
    for (const metric m : {metric::euclidean, metric::cosine}) test::check_device_knn(ctx, x, x, {.k = 3, .metric = m});
    // One slice of many tiles: most distances are within the products' rounding, and what they turn away is gone.
    cpu_context cpu;
    const auto y = test::clouds(640, 6, 12, 3e-4f, 12);
    for (const metric m : k_metrics) {
        const cluster::knn_options o{.k = 2, .metric = m, .exclude_self = true};
        test::check_same_neighbours(cluster::cuda::knn_search<float>(ctx, y.view(), y.view(), o, 1),
                                    cluster::knn(cpu, y, y, o));
    }
    // Norms near both ends of float.
    for (const float scale : {1e-30f, 1e30f}) {
        auto z = test::clouds(150, 4, 10, 0.3f, 9);
        for (float& v : z) v *= scale;
        for (const metric m : k_metrics) {
            // The tolerance of distances is absolute near 0: indices alone.
            const auto found = cluster::knn(ctx, z, z, {.k = 5, .metric = m}),
                       expected = cluster::knn(cpu, z, z, {.k = 5, .metric = m});
            CHECK(test::same_bits(found.index.view(), expected.index.view()));
        }
    }
}

TEST_CASE("knn on the emulated device takes rows without columns, and no queries") {
    cuda_context ctx;
    const tensor<float, 2> none({0, 3}), three({3, 3}), flat({5, 0});
    CHECK(cluster::knn(ctx, none, three, {.k = 2}).index.extent(0) == 0);
    const auto found = cluster::knn(ctx, flat, flat, {.k = 2});
    CHECK(found.index(4, 0) == 0);
    CHECK(found.index(4, 1) == 1);
    CHECK(found.distance(4, 1) == 0.0f);
}

TEST_CASE("knn on the emulated device refuses what the CPU refuses, in its words") {
    cuda_context ctx;
    cpu_context cpu;
    auto x = test::clouds(20, 3, 2, 0.3f, 1), y = test::clouds(10, 3, 2, 0.3f, 2),
         bad = test::clouds(20, 3, 2, 0.3f, 1), zero = test::clouds(20, 3, 2, 0.3f, 1);
    const tensor<float, 2> wide({20, 4});
    bad(7, 2) = std::numeric_limits<float>::quiet_NaN();
    for (index_t c = 0; c < 3; ++c) zero(4, c) = 0.0f;
    const auto both = [&](const tensor<float, 2>& q, const tensor<float, 2>& r, const cluster::knn_options& o) {
        const std::string on_device = test::error_text([&] { (void)cluster::knn(ctx, q, r, o); }),
                          on_cpu = test::error_text([&] { (void)cluster::knn(cpu, q, r, o); });
        CHECK(on_device == on_cpu);
        return on_device;
    };
    CHECK(both(x, wide, {}) == "knn: references have shape [20, 4], expected [n, 3]");
    CHECK(both(x, y, {.k = 11}) == "knn: k is 11, must be between 1 and the 10 references");
    CHECK(both(x, y, {.exclude_self = true}) ==
          "knn: exclude_self needs as many queries as references, there are 20 and 10");
    CHECK(both(bad, y, {}) == "knn: queries row 7, column 2 is not finite");
    CHECK(both(y, bad, {}) == "knn: references row 7, column 2 is not finite");
    CHECK(both(y, zero, {.metric = metric::cosine}) == "knn: references row 4 is zero, its cosine undefined");
    CHECK(both(x, zero, {}) == "");
}
