// Approximate neighbours on the emulated device: the CPU's, nearly all of the true ones, the same bits in every thread order; its trees
// leaf for leaf; edges and errors.

#include <limits>
#include <map>
#include <utility>
#include <vector>

#include "instar/cluster/cuda/nn_descent.cuh"
#include "instar/cluster/nn_descent.hpp"
#include "support/clustering_checks.hpp"
#include "support/emulated.hpp"

using namespace instar;

namespace {

using metric = cluster::knn_metric;

}  // namespace

TEST_CASE("nn_descent on the emulated device finds the CPU's neighbours") {
    cuda_context ctx;
    for (const metric m : {metric::euclidean, metric::cosine})
        test::check_device_nn_descent(ctx, test::clouds(300, 7, 11, 0.3f, 1), {.k = 6, .metric = m, .seed = 1}, 0.002,
                                      0.97);
    // Rows far from the origin; lists longer than a warp; more names than a tile has.
    auto x = test::clouds(261, 19, 5, 0.3f, 2);
    for (float& v : x) v += 30.0f;
    test::check_device_nn_descent(ctx, x, {.k = 40, .n_trees = 2, .max_iter = 2, .seed = 3}, 0.002, 0.97);
    // A poor search, of which a device that did anything else would find other neighbours.
    test::check_device_nn_descent(ctx, test::clouds(300, 12, 40, 0.9f, 4),
                                  {.k = 9, .n_trees = 2, .max_iter = 1, .max_candidates = 2, .seed = 5}, 0.002, 0.3);
}

TEST_CASE("nn_descent on the emulated device: a poor search finds less, another seed something else") {
    cuda_context ctx;
    cpu_context cpu;
    const auto x = test::clouds(300, 12, 40, 0.9f, 4);
    const auto exact = cluster::knn(cpu, x, x, {.k = 9});
    const cluster::nn_descent_options poor{.k = 9, .n_trees = 2, .max_iter = 1, .max_candidates = 2, .seed = 5};
    auto other = poor;
    other.seed = 6;
    const auto a = cluster::nn_descent(ctx, x, poor), b = cluster::nn_descent(ctx, x, other);
    CHECK(test::recall(a, exact) < 0.9);
    CHECK(!test::same_bits(a.index.view(), b.index.view()));
    CHECK(ctx.n_temporaries() == 0);
}

TEST_CASE("nn_descent on the emulated device: trees are the CPU's, leaf for leaf") {
    cuda_context ctx;
    cpu_context cpu;
    for (const index_t n : {1, 30, 31, 333}) {
        // Whole numbers about a mean that is one: places along a line are exact, and tie.
        tensor<float, 2> x({n, 3});
        const philox draws{.seed = 3};
        for (index_t i = 0; i < x.size(); ++i)
            x.data()[i] = static_cast<float>(draws.below(static_cast<std::uint64_t>(i), 5));
        for (index_t c = 0; c < 3 && n > 30; ++c) {
            double sum = 0.0;
            for (index_t i = 0; i < n; ++i) sum += static_cast<double>(x(i, c));
            while (static_cast<index_t>(sum) % n != 0) {  // raise some, until the mean is whole
                x(static_cast<index_t>(sum) % n, c) += 1.0f;
                sum += 1.0;
            }
        }
        const cluster::detail::nn_descent_rows rows(cpu, x, false,
                                                    std::vector<double>(static_cast<std::size_t>(n), 0.0));
        tensor<float, 1> memory({cluster::cuda::padded_rows::size(n, 3)});
        const cluster::cuda::padded_rows padded(memory.data(), n, 3);
        for (index_t i = 0; i < n; ++i) std::copy_n(rows.row(i), 3, padded.row(i));
        const philox rng{.seed = 9};
        const cluster::cuda::nn_tree_shape shape(n, 30);
        const cluster::cuda::nn_trees trees(ctx, "test", padded, shape, 3);
        trees.grow(ctx, rng, 4, 3);
        for (index_t t = 0; t < 3; ++t) {
            const auto leaves =
                cluster::detail::projection_leaves(cpu, rows, 30, rng.fork(static_cast<std::uint64_t>(4 + t)));
            CHECK(shape.leaves == leaves.start);
            CHECK(std::equal(leaves.rows.begin(), leaves.rows.end(), trees.rows(t)));
        }
    }
}

TEST_CASE(
    "nn_descent on the emulated device: candidates are those of either direction, new ones apart, as plain loops "
    "choose them") {
    constexpr index_t n = 60, k = 5;
    const philox draws{.seed = 4}, rng{.seed = 8};
    std::vector<cluster::cuda::nn_key> lists;
    for (index_t i = 0; i < n; ++i) {
        // k others, all residues apart; row 7 has none, row 9 is everyone's.
        for (index_t j = 0; j < k; ++j) {
            const auto at = static_cast<std::uint64_t>(i * k + j);
            auto r = static_cast<std::int32_t>(draws.below(at, n / k) * k + j);
            if (j == 4) r = i == 9 ? 14 : 9;
            if (r == i) r = static_cast<std::int32_t>((r + k) % n);
            const auto key = cluster::cuda::make_nn_key(static_cast<float>(j), r) & ~cluster::cuda::k_nn_came;
            lists.push_back(i == 7                           ? cluster::cuda::k_nn_none
                            : draws.bits(1000 + at) % 2 == 0 ? key
                                                             : key & ~cluster::cuda::k_nn_new);
        }
    }
    const auto is_new = [](cluster::cuda::nn_key e) { return (e & cluster::cuda::k_nn_new) != 0; };
    for (const index_t most : {3, 40}) {
        std::vector<std::vector<std::int32_t>> fresh(n), old(n);
        for (index_t i = 0; i < n; ++i) {
            std::map<std::int32_t, bool> others;  // whether it is new in either direction
            for (index_t from = 0; from < n; ++from) {
                for (index_t j = 0; j < k; ++j) {
                    const auto e = lists[static_cast<std::size_t>(from * k + j)];
                    if (e == cluster::cuda::k_nn_none) continue;
                    const auto to = cluster::cuda::nn_row(e);
                    if (from == i) others[to] = others[to] || is_new(e);
                    if (to == i)
                        others[static_cast<std::int32_t>(from)] = others[static_cast<std::int32_t>(from)] || is_new(e);
                }
            }
            std::map<std::pair<std::uint32_t, std::int32_t>, bool> by_priority;
            for (const auto& [other, fresh_one] : others) {
                const auto low = static_cast<std::uint64_t>(std::min<index_t>(i, other)),
                           high = static_cast<std::uint64_t>(std::max<index_t>(i, other));
                by_priority[{rng.bits(low << 32 | high), other}] = fresh_one;
            }
            for (const auto& [key, fresh_one] : by_priority) {
                auto& list = fresh_one ? fresh[static_cast<std::size_t>(i)] : old[static_cast<std::size_t>(i)];
                if (static_cast<index_t>(list.size()) < most) list.push_back(key.second);
            }
        }
        test::for_each_order([&](cuda_context& ctx, int) {
            auto found = lists;
            const cluster::cuda::nn_candidate_memory memory(ctx, "test", n, k, most);
            for (int again = 0; again < 2; ++again) {  // counts have fallen to 0
                found = lists;
                const auto items = memory.gather(ctx, found.data(), rng);
                for (index_t i = 0; i < n; ++i) {
                    const auto &f = fresh[static_cast<std::size_t>(i)], &o = old[static_cast<std::size_t>(i)];
                    REQUIRE(items.n_fresh[i] == static_cast<std::int32_t>(f.size()));
                    REQUIRE(items.n_old[i] == static_cast<std::int32_t>(o.size()));
                    CHECK(std::equal(f.begin(), f.end(), items.fresh + i * most));
                    CHECK(std::equal(o.begin(), o.end(), items.old + i * most));
                    for (index_t j = 0; j < k && i != 7; ++j) {
                        const auto before = lists[static_cast<std::size_t>(i * k + j)],
                                   after = found[static_cast<std::size_t>(i * k + j)];
                        const bool chosen = std::count(f.begin(), f.end(), cluster::cuda::nn_row(before)) > 0;
                        CHECK(is_new(after) == (is_new(before) && !chosen));
                    }
                }
            }
        });
    }
}

TEST_CASE("nn_descent on the emulated device gives the same bits in every thread order, and however it is cut") {
    const auto x = test::clouds(150, 5, 9, 0.4f, 6);
    const cluster::nn_descent_options o{.k = 5, .n_trees = 2, .max_iter = 2, .max_candidates = 10, .seed = 2};
    std::vector<cluster::knn_result> results;
    test::for_each_order([&](cuda_context& ctx, int) { results.push_back(cluster::nn_descent(ctx, x, o)); }, 2);
    cuda_context ctx;
    results.push_back(cluster::cuda::nn_descent<float>(ctx, x.view(), o, 1));       // an item, and a tree, at a time
    results.push_back(cluster::cuda::nn_descent<float>(ctx, x.view(), o, 20'000));  // some
    for (const auto& r : results) {
        CHECK(test::same_bits(r.index.view(), results[0].index.view()));
        CHECK(test::same_bits(r.distance.view(), results[0].distance.view()));
    }
}

TEST_CASE("nn_descent on the emulated device: equal rows, few rows, k = 1, k = n") {
    cuda_context ctx;
    tensor<float, 2> same({90, 3});
    for (float& v : same) v = 2.0f;
    const auto equal = cluster::nn_descent(ctx, same, {.k = 5, .n_trees = 2});
    for (index_t i = 0; i < 90; ++i) {
        for (index_t j = 0; j < 5; ++j) {
            CHECK(equal.distance(i, j) == 0.0f);
            CHECK(equal.index(i, j) >= 0);
            for (index_t l = 0; l < j; ++l) CHECK(equal.index(i, j) != equal.index(i, l));
        }
    }
    const auto few = test::clouds(9, 4, 2, 0.3f, 5);
    for (const index_t k : {1, 2, 8, 9}) {
        for (const metric m : {metric::euclidean, metric::cosine})
            test::check_device_nn_descent(ctx, few, {.k = k, .metric = m}, 0.0, 1.0);
    }
    test::check_device_nn_descent(ctx, few.view().rows(0, 1), {.k = 1}, 0.0, 1.0);
    test::check_device_nn_descent(ctx, few.view().rows(0, 2), {.k = 1}, 0.0, 1.0);
    // More candidates than a block of eight warps has room for.
    test::check_device_nn_descent(ctx, test::clouds(70, 4, 2, 0.3f, 7),
                                  {.k = 4, .n_trees = 1, .max_iter = 1, .max_candidates = 500}, 0.0, 0.7);
}

TEST_CASE("nn_descent on the emulated device tells its progress, and refuses in the CPU's words") {
    cuda_context ctx;
    cpu_context cpu;
    auto x = test::clouds(100, 3, 40, 0.9f, 8);
    std::vector<index_t> here, there;
    (void)cluster::nn_descent(cpu, x, {.k = 5, .n_trees = 2, .max_candidates = 6, .progress = [&](index_t, index_t n) {
                                           here.push_back(n);
                                       }});
    (void)cluster::nn_descent(ctx, x,
                              {.k = 5, .n_trees = 2, .max_candidates = 6, .progress = [&](index_t round, index_t n) {
                                   there.push_back(n);
                                   CHECK(round == static_cast<index_t>(there.size()));
                               }});
    CHECK(here == there);
    CHECK(here.front() > 0);
    CHECK_THROWS_AS(
        cluster::nn_descent(ctx, x, {.k = 5, .progress = [](index_t, index_t) { throw cancelled_error("stop"); }}),
        cancelled_error);
    CHECK(ctx.n_temporaries() == 0);
    const auto both = [&](const cluster::nn_descent_options& o) {
        const std::string on_device = test::error_text([&] { (void)cluster::nn_descent(ctx, x, o); });
        CHECK(on_device == test::error_text([&] { (void)cluster::nn_descent(cpu, x, o); }));
        return on_device;
    };
    CHECK(both({.k = 0}) == "nn_descent: k is 0, must be between 1 and the 100 rows");
    CHECK(both({.k = 101}) != "");
    CHECK(both({.k = 5, .metric = metric::inner_product}) != "");
    CHECK(both({.k = 5, .max_candidates = 1}) == "nn_descent: max_candidates must be at least 2, is 1");
    CHECK(both({.k = 5, .n_trees = -1}) != "");
    CHECK(both({.k = 5, .delta = -1.0}) != "");
    CHECK(test::error_text<device_error>([&] {
              (void)cluster::nn_descent(ctx, x, {.k = 5, .max_candidates = 11'000});
          }).starts_with("nn_descent: "));
    x(4, 1) = std::numeric_limits<float>::quiet_NaN();
    CHECK(both({.k = 5}) == "nn_descent: x row 4, column 1 is not finite");
    x(4, 0) = x(4, 1) = x(4, 2) = 0.0f;
    CHECK(both({.k = 5, .metric = metric::cosine}) == "nn_descent: x row 4 is zero, its cosine undefined");
}
