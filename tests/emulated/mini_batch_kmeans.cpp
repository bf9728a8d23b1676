// Mini-batch k-means on the emulated device against the CPU's: whole runs from the same starts, batch by batch, errors.

#include <cmath>
#include <limits>

#include "instar/cluster/cuda/mini_batch_kmeans.cuh"
#include "instar/cluster/mini_batch_kmeans.hpp"
#include "support/clustering_checks.hpp"
#include "support/emulated.hpp"

using namespace instar;

TEST_CASE("mini_batch_kmeans on the emulated device equals the CPU's from the same starts") {
    cuda_context ctx;
    for (const std::uint64_t seed : {1u, 2u}) {
        test::check_device_mini_batch(
            ctx, test::clouds(300, 7, 6, 0.1f, seed),
            {.n_clusters = 6, .max_iter = 3, .batch_size = 40, .init_size = 120, .seed = seed});
        // Centres that share clouds, some of which get few points and start anew.
        test::check_device_mini_batch(ctx, test::clouds(257, 3, 5, 0.6f, seed + 10),
                                      {.n_clusters = 19,
                                       .max_iter = 2,
                                       .batch_size = 33,
                                       .init_size = 99,
                                       .reassignment_ratio = 0.3,
                                       .seed = seed});
    }
    test::check_device_mini_batch(ctx, test::clouds(200, 33, 4, 0.3f, 3),
                                  {.n_clusters = 4,
                                   .init = cluster::kmeans_init::random,
                                   .n_init = 1,
                                   .max_iter = 2,
                                   .batch_size = 50,
                                   .max_no_improvement = 0,
                                   .init_size = 60});
    // A batch of so many rows for its clusters that their sums are split; a tolerance that stops.
    test::check_device_mini_batch(ctx, test::clouds(1100, 2, 1, 0.5f, 4),
                                  {.n_clusters = 1, .max_iter = 1, .batch_size = 1100, .tol = 10.0, .init_size = 128});
}

TEST_CASE("mini_batch_kmeans on the emulated device: one row, k = n, k = 1, equal rows") {
    cuda_context ctx;
    const auto x = test::clouds(30, 2, 3, 0.4f, 2);
    test::check_device_mini_batch(ctx, x.view().rows(0, 1), {.n_clusters = 1});
    test::check_device_mini_batch(ctx, x, {.n_clusters = 1, .max_iter = 3, .batch_size = 7});
    test::check_device_mini_batch(ctx, x, {.n_clusters = 30, .max_iter = 3, .batch_size = 11});
    tensor<float, 2> same({20, 3});
    for (float& v : same) v = 2.5f;
    const auto r = cluster::mini_batch_kmeans(ctx, same, {.n_clusters = 4, .max_iter = 4, .batch_size = 8});
    CHECK(r.inertia == 0.0);
    CHECK(r.n_nonempty == 1);
    CHECK(ctx.n_temporaries() == 0);
}

TEST_CASE("mini_batch_kmeans on the emulated device: labels in pieces are labels at once, and those of predict") {
    cuda_context ctx;
    const auto x = test::clouds(300, 4, 9, 0.3f, 6);
    const cluster::mini_batch_kmeans_options o{.n_clusters = 9, .max_iter = 1, .batch_size = 100};
    const auto whole = cluster::mini_batch_kmeans(ctx, x, o);
    const auto pieces = cluster::cuda::mini_batch_learner<float>::run(ctx, x.view(), o, 77);
    CHECK(test::same_bits(whole.labels.view(), pieces.labels.view()));
    CHECK(pieces.inertia == doctest::Approx(whole.inertia).epsilon(1e-12));
    CHECK(test::same_bits(whole.labels.view(), cluster::kmeans_predict(ctx, x, whole.centers).view()));
    double inertia = 0.0;
    for (index_t i = 0; i < 300; ++i) {
        for (index_t p = 0; p < 4; ++p)
            inertia +=
                std::pow(static_cast<double>(x(i, p)) - static_cast<double>(whole.centers(whole.labels(i), p)), 2);
    }
    CHECK(whole.inertia == doctest::Approx(inertia).epsilon(1e-5));
}

TEST_CASE("mini_batch_kmeans on the emulated device gives the same bits in every thread order") {
    const auto x = test::clouds(300, 6, 20, 0.4f, 9);
    std::vector<cluster::kmeans_result> results;
    test::for_each_order([&](cuda_context& ctx, int) {
        results.push_back(cluster::mini_batch_kmeans(
            ctx, x, {.n_clusters = 12, .n_init = 2, .max_iter = 1, .batch_size = 64, .reassignment_ratio = 0.2}));
    });
    CHECK(test::same_bits(results[0].labels.view(), results[1].labels.view()));
    CHECK(test::same_bits(results[0].centers.view(), results[1].centers.view()));
    CHECK(results[0].inertia == results[1].inertia);
}

TEST_CASE("mini_batch_state on the emulated device learns what the CPU's learns, batch by batch") {
    cuda_context ctx;
    cpu_context cpu;
    const auto x = test::clouds(200, 5, 4, 0.2f, 4);
    const cluster::mini_batch_kmeans_options o{.n_clusters = 4, .reassignment_ratio = 0.0, .seed = 3};
    const test::device_rows rows(ctx, x, 8);
    cluster::mini_batch_state there(ctx, rows.view().rows(0, 50), o);
    cluster::mini_batch_state here(cpu, x.view().rows(0, 50), o);
    CHECK(there.mean_variance() == doctest::Approx(here.mean_variance()).epsilon(1e-12));
    for (index_t b = 0; b < 200; b += 40) {
        double shift = -1.0, expected = -1.0;
        const double inertia = there.partial_fit(ctx, rows.view().rows(b, b + 40), &shift);
        CHECK(inertia == doctest::Approx(here.partial_fit(cpu, x.view().rows(b, b + 40), &expected)).epsilon(1e-5));
        CHECK(shift == doctest::Approx(expected).epsilon(1e-4));
        CHECK(there.counts() == here.counts());
        CHECK(test::max_error(there.centers().view(), here.centers().view()) <= 1e-5);
    }
    CHECK(there.counts() == std::vector<double>(4, 50.0));  // 200 rows of four clouds in turn
    CHECK(there.partial_fit(ctx, rows.view().rows(0, 0)) == 0.0);
    auto moved = std::move(there);
    CHECK(moved.centers().extent(0) == 4);
    // Half of the centres far away: they start anew from rows of the batch.
    tensor<float, 2> far({40, 2});
    for (index_t i = 0; i < 40; ++i)
        far(i, 0) = i < 38 ? 0.01f * static_cast<float>(i % 5) : 50.0f, far(i, 1) = i == 39 ? 50.0f : 0.0f;
    const cluster::mini_batch_kmeans_options anew{.n_clusters = 5, .reassignment_ratio = 0.5, .seed = 4};
    cluster::mini_batch_state a(ctx, far, anew);
    cluster::mini_batch_state b(cpu, far.view(), anew);
    for (int step = 0; step < 4; ++step) {
        CHECK(a.partial_fit(ctx, far.view().rows(0, 38)) ==
              doctest::Approx(b.partial_fit(cpu, far.view().rows(0, 38))).epsilon(1e-4));
        CHECK(a.counts() == b.counts());
        CHECK(test::max_error(a.centers().view(), b.centers().view()) <= 1e-5);
    }
    for (const float v : a.centers()) CHECK(v < 1.0f);
}

TEST_CASE("mini_batch_kmeans on the emulated device tells its progress, and refuses in the CPU's words") {
    cuda_context ctx, other;
    cpu_context cpu;
    auto x = test::clouds(20, 3, 2, 0.4f, 1);
    index_t n_batches = 0;
    (void)cluster::mini_batch_kmeans(ctx, x,
                                     {.n_clusters = 2,
                                      .max_iter = 2,
                                      .batch_size = 5,
                                      .max_no_improvement = 0,
                                      .progress = [&](index_t done, index_t all) {
                                          CHECK(done == ++n_batches);
                                          CHECK(all == 8);
                                      }});
    CHECK(n_batches == 8);
    CHECK_THROWS_AS(cluster::mini_batch_kmeans(
                        ctx, x, {.n_clusters = 2, .progress = [](index_t, index_t) { throw cancelled_error("stop"); }}),
                    cancelled_error);
    CHECK(ctx.n_temporaries() == 0);
    const auto both = [&](const cluster::mini_batch_kmeans_options& o) {
        const std::string on_device = test::error_text([&] { (void)cluster::mini_batch_kmeans(ctx, x, o); });
        CHECK(on_device == test::error_text([&] { (void)cluster::mini_batch_kmeans(cpu, x, o); }));
        return on_device;
    };
    CHECK(both({.n_clusters = 0}) == "mini_batch_kmeans: n_clusters must be at least 1, is 0");
    CHECK(both({.n_clusters = 21}) == "mini_batch_kmeans: 20 rows are fewer than n_clusters, 21");
    for (const auto& o : {cluster::mini_batch_kmeans_options{.n_init = 0},
                          {.max_iter = 0},
                          {.batch_size = 0},
                          {.tol = -1.0},
                          {.max_no_improvement = -1},
                          {.init_size = 3},
                          {.reassignment_ratio = 1.0}})
        CHECK(both(o) != "");
    cluster::mini_batch_state state(ctx, x, {.n_clusters = 2});
    const tensor<float, 2> wide({3, 4});
    CHECK(test::error_text<shape_error>([&] { state.partial_fit(ctx, wide); }) ==
          "mini_batch_kmeans: the batch has 4 columns, expected 3");
    CHECK(test::error_text<value_error>([&] { state.partial_fit(other, x); }) ==
          "mini_batch_kmeans: the state was made with another context");
    x(7, 2) = std::numeric_limits<float>::infinity();
    CHECK(both({.n_clusters = 2}) == "mini_batch_kmeans: x row 7, column 2 is not finite");
    CHECK(test::error_text([&] { state.partial_fit(ctx, x); }) ==
          "mini_batch_kmeans: batch row 7, column 2 is not finite");
    CHECK(test::error_text([&] {
              cluster::mini_batch_state(ctx, x, cluster::mini_batch_kmeans_options{.n_clusters = 2});
          }) == "mini_batch_kmeans: sample row 7, column 2 is not finite");
}
