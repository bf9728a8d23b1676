// k-means on the emulated device against the CPU, and its seeding against plain loops.

#include <cmath>
#include <limits>

#include "instar/cluster/cuda/kmeans.cuh"
#include "instar/cluster/kmeans.hpp"
#include "instar/core/cpu_context.hpp"
#include "support/clustering_checks.hpp"
#include "support/emulated.hpp"

using namespace instar;

namespace {

double squared_distance(tensor_view<const float, 2> x, index_t a, index_t b) {
    double sum = 0.0;
    for (index_t c = 0; c < x.extent(1); ++c)
        sum += (static_cast<double>(x(a, c)) - static_cast<double>(x(b, c))) *
               (static_cast<double>(x(a, c)) - static_cast<double>(x(b, c)));
    return sum;
}

/// Greedy k-means++ over the rows in their order, in double.
std::vector<std::int32_t> plain_seeding(tensor_view<const float, 2> x, index_t k, philox rng) {
    const index_t n = x.extent(0);
    const auto n_trials = 2 + static_cast<index_t>(std::log(static_cast<double>(k)));
    const auto uniform = [&](index_t i) {
        const auto at = static_cast<std::uint64_t>(2 * i);
        return static_cast<double>(rng.uniform(at)) + static_cast<double>(rng.uniform(at + 1)) * 0x1.0p-24;
    };
    std::vector<double> nearest(static_cast<std::size_t>(n), std::numeric_limits<double>::infinity());
    std::vector<std::int32_t> chosen;
    double potential = 0.0;
    const auto take = [&](index_t c) {
        chosen.push_back(static_cast<std::int32_t>(c));
        potential = 0.0;
        for (index_t i = 0; i < n; ++i) {
            double& v = nearest[static_cast<std::size_t>(i)];
            v = std::min(v, squared_distance(x, i, c));
            potential += v;
        }
    };
    take(std::min(n - 1, static_cast<index_t>(static_cast<double>(n) * uniform(0))));
    for (index_t step = 1; step < k; ++step) {
        index_t best = -1;
        double best_gain = -1.0;
        for (index_t t = 0; t < n_trials; ++t) {
            double target = potential * uniform(step * n_trials + t), gain = 0.0;
            index_t i = 0;
            while (i + 1 < n && target >= nearest[static_cast<std::size_t>(i)])
                target -= nearest[static_cast<std::size_t>(i++)];
            for (index_t j = 0; j < n; ++j)
                gain += std::max(0.0, nearest[static_cast<std::size_t>(j)] - squared_distance(x, j, i));
            if (gain > best_gain) {
                best_gain = gain;
                best = i;
            }
        }
        take(best);
    }
    return chosen;
}

}  // namespace

TEST_CASE("kmeans on the emulated device equals the CPU's from the same seeds, separated and overlapping") {
    cuda_context ctx;
    for (const std::uint64_t seed : {1u, 2u}) {
        test::check_device_kmeans(ctx, test::clouds(100, 3, 5, 0.05f, seed), {.n_clusters = 5, .seed = seed});
        test::check_device_kmeans(ctx, test::clouds(128, 2, 9, 0.6f, seed + 10),
                                  {.n_clusters = 11, .n_init = 2, .seed = seed});
    }
    test::check_device_kmeans(ctx, test::clouds(90, 4, 5, 0.5f, 3),
                              {.n_clusters = 6, .init = cluster::kmeans_init::random, .seed = 4});
    test::check_device_kmeans(ctx, test::clouds(60, 20, 5, 0.5f, 3), {.n_clusters = 4, .seed = 4, .spherical = true});
}

TEST_CASE("kmeans on the emulated device equals the CPU's from given centres") {
    cuda_context ctx;
    test::check_device_kmeans_from_rows(ctx, test::clouds(300, 17, 9, 0.4f, 5), 9);
    test::check_device_kmeans_from_rows(ctx, test::clouds(400, 2, 140, 0.05f, 6), 150, {.max_iter = 3});
    test::check_device_kmeans_from_rows(ctx, test::clouds(200, 5, 4, 0.5f, 7), 4, {.spherical = true});
    // So many points that a slice of the centres is more than a tile.
    test::check_device_kmeans_from_rows(ctx, test::clouds(1100, 2, 250, 0.05f, 8), 260, {.max_iter = 2});
}

TEST_CASE("kmeans on the emulated device, seeds: greedy k-means++ as plain loops draw it") {
    const auto x = test::clouds(400, 3, 30, 0.3f, 8);
    std::vector<std::vector<std::int32_t>> runs;
    for (const index_t k : {2, 25}) {
        const philox rng = philox{7, 0}.fork(0);
        const auto expected = plain_seeding(x, k, rng);
        test::for_each_order([&](cuda_context& ctx, int) {
            const auto squares = cluster::cuda::row_squares<float>(ctx, "test", x.view());
            const cluster::cuda::kmeans_points points(ctx, "test", x.view(), false, squares);
            std::vector<std::int32_t> chosen(static_cast<std::size_t>(k));
            cluster::cuda::kmeans_seeding(ctx, "test", points, k).choose(chosen.data(), rng);
            CHECK(chosen == expected);
        });
    }
    // Of three rows that are all there is, each is chosen before any twice; the rest are copies.
    cuda_context ctx;
    tensor<float, 2> few({200, 1});
    for (index_t i = 0; i < 200; ++i) few(i, 0) = static_cast<float>(i % 3);
    const cluster::cuda::kmeans_points points(ctx, "test", std::as_const(few).view(), false,
                                              cluster::cuda::row_squares<float>(ctx, "test", few.view()));
    std::vector<std::int32_t> chosen(5);
    cluster::cuda::kmeans_seeding(ctx, "test", points, 5).choose(chosen.data(), {.seed = 1});
    CHECK((chosen[0] % 3) + (chosen[1] % 3) + (chosen[2] % 3) == 3);
    CHECK(chosen[0] % 3 != chosen[1] % 3);
    CHECK(chosen[2] == chosen[3]);
    CHECK(chosen[3] == chosen[4]);
}

TEST_CASE("kmeans on the emulated device gives the same bits in every thread order") {
    const auto x = test::clouds(300, 6, 20, 0.4f, 9);
    std::vector<cluster::kmeans_result> results;
    test::for_each_order(
        [&](cuda_context& ctx, int) { results.push_back(cluster::kmeans(ctx, x, {.n_clusters = 12, .max_iter = 4})); });
    CHECK(test::same_bits(results[0].labels.view(), results[1].labels.view()));
    CHECK(test::same_bits(results[0].centers.view(), results[1].centers.view()));
    CHECK(results[0].inertia == results[1].inertia);
}

TEST_CASE("kmeans on the emulated device: the sort by label keeps the order of points over chunks") {
    // More points than a chunk, and labels of very different sizes.
    cuda_context ctx;
    tensor<float, 2> x({2500, 1});
    for (index_t i = 0; i < 2500; ++i)
        x(i, 0) = i % 7 == 0 ? 10.0f : i % 500 == 1 ? -10.0f : 0.01f * static_cast<float>(i % 3);
    tensor<float, 2> start({3, 1});
    start(0, 0) = 0.0f, start(1, 0) = 9.0f, start(2, 0) = -9.0f;
    cpu_context cpu;
    test::check_same_clusters(cluster::kmeans(ctx, x, start), cluster::kmeans(cpu, x, start));
}

TEST_CASE("kmeans on the emulated device: duplicates, one point, as many clusters as points, empty clusters") {
    cuda_context ctx;
    tensor<float, 2> same({10, 3});
    for (auto& v : same) v = 2.5f;
    test::check_device_kmeans(ctx, same, {.n_clusters = 4});
    tensor<float, 2> two({12, 1});
    for (index_t i = 0; i < 12; ++i) two(i, 0) = i % 2 == 0 ? 1.0f : 9.0f;
    test::check_device_kmeans(ctx, two, {.n_clusters = 5});
    const auto x = test::clouds(30, 2, 3, 0.4f, 2);
    test::check_device_kmeans(ctx, x, {.n_clusters = 30});
    test::check_device_kmeans(ctx, x.view().rows(0, 1), {.n_clusters = 1});
    // Centres far from everything lose their points; they move to the points farthest from their own centre.
    tensor<float, 2> start({4, 2});
    for (index_t c = 0; c < 4; ++c) start(c, 0) = start(c, 1) = c == 0 ? x(0, 0) : static_cast<float>(c) * 1e4f;
    cpu_context cpu;
    const auto moved = cluster::kmeans(ctx, x, start);
    CHECK(moved.n_nonempty == 4);
    test::check_same_clusters(moved, cluster::kmeans(cpu, x, start));
    CHECK(cluster::kmeans_predict(ctx, tensor<float, 2>({0, 2}), start).size() == 0);
}

TEST_CASE("kmeans_transform on the emulated device gives the CPU's distances for every shape") {
    cuda_context ctx;
    test::check_device_kmeans_transform(ctx, test::clouds(1, 1, 1, 0.3f, 1), 1);
    test::check_device_kmeans_transform(ctx, test::clouds(70, 9, 5, 0.3f, 2), 70);
    test::check_device_kmeans_transform(ctx, test::clouds(131, 17, 5, 0.3f, 3), 65);
    // Far from the origin, where products of floats would have lost what differences keep.
    auto x = test::clouds(64, 5, 5, 1e-3f, 4);
    for (float& v : x) v += 1000.0f;
    test::check_device_kmeans_transform(ctx, x, 7);
    CHECK(ctx.n_temporaries() == 0);
}

TEST_CASE("kmeans_transform on the emulated device: nothing to do, the same bits in every thread order, errors") {
    cuda_context ctx;
    cpu_context cpu;
    const auto x = test::clouds(80, 6, 5, 0.3f, 5);
    std::vector<tensor<float, 2>> each;
    test::for_each_order(
        [&](cuda_context& c, int) { each.push_back(cluster::kmeans_transform(c, x, x.view().rows(0, 9))); });
    CHECK(test::same_bits(each[0].view(), each[1].view()));
    CHECK(cluster::kmeans_transform(ctx, x.view().rows(0, 0), x).size() == 0);
    CHECK(cluster::kmeans_transform(ctx, x, x.view().rows(0, 0)).extent(0) == 80);
    for (const float v : cluster::kmeans_transform(ctx, tensor<float, 2>({3, 0}), tensor<float, 2>({2, 0})))
        CHECK(v == 0.0f);
    const tensor<float, 2> wide({2, 7});
    const std::string text = test::error_text<shape_error>([&] { (void)cluster::kmeans_transform(ctx, x, wide); });
    CHECK(text == "kmeans_transform: centers have shape [2, 7], expected [k, 6]");
    CHECK(text == test::error_text<shape_error>([&] { (void)cluster::kmeans_transform(cpu, x, wide); }));
    tensor<float, 2> y({80, 3});
    CHECK(test::error_text<shape_error>([&] {
              cluster::kmeans_transform(ctx, y.view(), x, x.view().rows(0, 2));
          }).starts_with("kmeans_transform: y has shape [80, 3]"));
    auto bad = x.clone();
    bad(3, 2) = std::numeric_limits<float>::quiet_NaN();
    const auto y_bad = cluster::kmeans_transform(ctx, bad, x);
    CHECK(std::isnan(y_bad(3, 0)));
    CHECK(!std::isnan(y_bad(2, 0)));
}

TEST_CASE("kmeans on the emulated device tells its progress, and stops when that throws") {
    cuda_context ctx;
    const auto x = test::clouds(60, 2, 9, 0.6f, 2);
    std::vector<double> shifts;
    const auto r = cluster::kmeans(
        ctx, x, {.n_clusters = 5, .tol = 0.0, .progress = [&](index_t, double shift) { shifts.push_back(shift); }});
    CHECK(static_cast<index_t>(shifts.size()) + 1 == r.n_iter);
    CHECK_THROWS_AS(
        cluster::kmeans(ctx, x, {.n_clusters = 5, .progress = [](index_t, double) { throw error("stop"); }}), error);
}

TEST_CASE("kmeans on the emulated device refuses what the CPU refuses, in its words") {
    cuda_context ctx;
    cpu_context cpu;
    auto x = test::clouds(20, 3, 2, 0.4f, 1);
    const auto c = test::clouds(2, 3, 2, 0.4f, 1);
    const auto both = [&](const cluster::kmeans_options& o) {
        const std::string on_device = test::error_text([&] { (void)cluster::kmeans(ctx, x, o); });
        CHECK(on_device == test::error_text([&] { (void)cluster::kmeans(cpu, x, o); }));
        return on_device;
    };
    CHECK(both({.n_clusters = 0}) == "kmeans: n_clusters must be at least 1, is 0");
    CHECK(both({.n_clusters = 21}) == "kmeans: 20 rows are fewer than n_clusters, 21");
    CHECK(both({.n_init = 0}) != "");
    CHECK(both({.max_iter = 0}) != "");
    CHECK(test::error_text([&] {
              (void)cluster::kmeans(ctx, x, tensor<float, 2>({2, 4}));
          }) == "kmeans: centers have shape [2, 4], expected [k, 3]");
    CHECK(test::error_text([&] {
              (void)cluster::kmeans(ctx, x, tensor<float, 2>({2, 3}), {.spherical = true});
          }) == "kmeans: centre 0 is zero, it has no direction");
    for (index_t p = 0; p < 3; ++p) x(7, p) = 0.0f;
    CHECK(both({.n_clusters = 2, .spherical = true}) == "kmeans: row 7 is zero, it has no direction");
    x(4, 2) = std::numeric_limits<float>::infinity();
    CHECK(both({.n_clusters = 2}) == "kmeans: x row 4, column 2 is not finite");
    CHECK(test::error_text([&] { (void)cluster::kmeans_predict(ctx, x, c); }) ==
          test::error_text([&] { (void)cluster::kmeans_predict(cpu, x, c); }));
    CHECK(test::error_text([&] { (void)cluster::kmeans(ctx, c, x); }) ==
          test::error_text([&] { (void)cluster::kmeans(cpu, c, x); }));
}
