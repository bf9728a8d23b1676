// Exact nearest neighbours against a brute force in double: metrics, shapes, instruction sets, ties, cancellation, extreme norms.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include "instar/cluster/knn.hpp"
#include "support/compare.hpp"
#include "support/levels.hpp"

using namespace instar;

namespace {

using metric = cluster::knn_metric;
using view = tensor_view<const float, 2>;
constexpr metric k_metrics[] = {metric::euclidean, metric::cosine, metric::inner_product};

/// 1 / ‖x‖ of the rows for cosine, 1 for the other metrics.
std::vector<double> factors(metric m, view x) {
    std::vector<double> f(static_cast<std::size_t>(x.extent(0)), 1.0);
    for (index_t i = 0; i < x.extent(0) && m == metric::cosine; ++i) {
        double squares = 0.0;
        for (index_t c = 0; c < x.extent(1); ++c)
            squares += static_cast<double>(x(i, c)) * static_cast<double>(x(i, c));
        f[static_cast<std::size_t>(i)] = 1.0 / std::sqrt(squares);
    }
    return f;
}

/// Distances of query i to all references.
struct brute_force {
    metric m;
    view q, r;
    std::vector<double> fq = factors(m, q), fr = factors(m, r);

    double operator()(index_t i, index_t j) const {
        const float *a = q.data() + i * q.stride(0), *b = r.data() + j * r.stride(0);
        const double fa = fq[static_cast<std::size_t>(i)], fb = fr[static_cast<std::size_t>(j)];
        double sum = 0.0;
        if (m == metric::inner_product) {
            for (index_t c = 0; c < q.extent(1); ++c) sum -= static_cast<double>(a[c]) * static_cast<double>(b[c]);
            return sum;
        }
        for (index_t c = 0; c < q.extent(1); ++c) {
            const double d = static_cast<double>(a[c]) * fa - static_cast<double>(b[c]) * fb;
            sum += d * d;
        }
        return m == metric::cosine ? 0.5 * sum : std::sqrt(sum);
    }
};

/// Every neighbour is at the distance that the brute force gives its rank, and named once; the order is by (distance, index). Of
/// distances that rounding in double cannot tell apart, any may come first. Of many queries some 150 are looked at.
void check_against_brute_force(const cluster::knn_result& found, view q, view r, cluster::knn_options o,
                               double tolerance = 1e-11) {
    const index_t k = o.k;
    const brute_force distance{o.metric, q, r};
    REQUIRE(found.index.extent(0) == q.extent(0));
    REQUIRE(found.index.extent(1) == k);
    index_t wrong = 0, first_wrong = -1;
    for (index_t i = 0; i < q.extent(0); i += std::max<index_t>(1, q.extent(0) / 150)) {
        std::vector<std::pair<double, std::int32_t>> all;
        for (index_t j = 0; j < r.extent(0); ++j) {
            if (!o.exclude_self || i != j) all.emplace_back(distance(i, j), static_cast<std::int32_t>(j));
        }
        std::partial_sort(all.begin(), all.begin() + k, all.end());
        std::vector<std::int32_t> seen;
        bool right = true;
        for (index_t j = 0; j < k; ++j) {
            const auto [expected, index] = all[static_cast<std::size_t>(j)];
            const std::int32_t named = found.index(i, j);
            right = right && named >= 0 && named < r.extent(0) && !(o.exclude_self && named == i);
            if (!right) break;
            const double actual = distance(i, named);
            right = right && std::fabs(actual - expected) <= tolerance * std::max(std::fabs(expected), 1e-6);
            right = right && (named == index || actual != expected);
            right = right && (found.distance(i, j) == static_cast<float>(expected) ||
                              std::fabs(static_cast<double>(found.distance(i, j)) - expected) <=
                                  1e-6 * std::fabs(expected) + 1e-15);
            seen.push_back(named);
        }
        std::sort(seen.begin(), seen.end());
        right = right && std::adjacent_find(seen.begin(), seen.end()) == seen.end();
        if (!right && wrong++ == 0) first_wrong = i;
    }
    CAPTURE(first_wrong);
    CHECK(wrong == 0);
}

void check_all(view q, view r, index_t k, double tolerance = 1e-11) {
    cpu_context one{1}, two{2};
    for (const metric m : k_metrics) {
        CAPTURE(static_cast<int>(m));
        CAPTURE(k);
        const cluster::knn_options o{.k = k, .metric = m};
        const auto found = cluster::knn(one, q, r, o), parallel = cluster::knn(two, q, r, o);
        check_against_brute_force(found, q, r, o, tolerance);
        CHECK(test::same_bits(found.index.view(), parallel.index.view()));
        CHECK(test::same_bits(found.distance.view(), parallel.distance.view()));
    }
}

/// Rows around a few centres; `spread` is the distance of rows to their centre, in units of that between centres.
tensor<float, 2> clouds(index_t n, index_t d, index_t n_centres, float spread, std::uint64_t seed) {
    const auto centres = test::random_tensor<float, 2>({n_centres, d}, seed),
               noise = test::random_tensor<float, 2>({n, d}, seed + 1);
    tensor<float, 2> x({n, d});
    for (index_t i = 0; i < n; ++i) {
        for (index_t c = 0; c < d; ++c) x(i, c) = centres(i % n_centres, c) + spread * noise(i, c);
    }
    return x;
}

}  // namespace

TEST_CASE("knn equals a brute force in double for every metric, shape, k and instruction set") {
    test::for_each_level([] {
        const index_t shapes[][4] = {{1, 1, 1, 1},     {1, 700, 3, 5},    {3, 40, 17, 40}, {37, 600, 11, 3},
                                     {400, 257, 5, 1}, {16, 300, 70, 30}, {5, 33, 800, 2}, {9, 20, 1600, 4}};
        for (const auto& s : shapes) {
            CAPTURE(s[0]);
            CAPTURE(s[1]);
            CAPTURE(s[2]);
            const auto q = test::random_tensor<float, 2>({s[0], s[2]}, 1),
                       r = test::random_tensor<float, 2>({s[1], s[2]}, 2);
            check_all(q, r, s[3]);
        }
    });
}

TEST_CASE("knn of rows among themselves equals the search with a copy, bit for bit, with and without the row itself") {
    test::for_each_level([] {
        cpu_context one{1}, two{2};
        for (const index_t n : {513, 900}) {
            if (n > 513 && isa::active_level() != isa::best_level()) continue;
            const auto x = clouds(n, 19, 40, 0.1f, 5);
            const auto copy = x.clone();
            for (const metric m : k_metrics) {
                for (const bool exclude : {false, true}) {
                    CAPTURE(n);
                    CAPTURE(static_cast<int>(m));
                    CAPTURE(exclude);
                    const cluster::knn_options o{.k = 7, .metric = m, .exclude_self = exclude};
                    const auto halves = cluster::knn(two, x, x, o), whole = cluster::knn(one, x, copy, o),
                               serial = cluster::knn(one, x, x, o);
                    CHECK(test::same_bits(halves.index.view(), whole.index.view()));
                    CHECK(test::same_bits(halves.distance.view(), whole.distance.view()));
                    CHECK(test::same_bits(serial.index.view(), whole.index.view()));
                    CHECK(test::same_bits(serial.distance.view(), whole.distance.view()));
                    if (n == 513) check_against_brute_force(halves, x, x, o);
                    if (m == metric::euclidean && !exclude) {
                        for (index_t i = 0; i < n; ++i)
                            CHECK((halves.index(i, 0) == i && halves.distance(i, 0) == 0.0f));
                    }
                }
            }
        }
    });
}

TEST_CASE("knn: many chunks of references, and many blocks of queries, change nothing") {
    cpu_context ctx{2};
    const auto x = clouds(1100, 9, 30, 0.2f, 7), q = clouds(700, 9, 30, 0.2f, 8);
    const auto kernels = cluster::detail::knn_kernels::pick();
    for (const auto& queries : {q.view(), x.view()}) {
        const bool same = queries.data() == x.data();
        const index_t n = queries.extent(0), k = 6;
        const auto expected = cluster::knn(ctx, queries, x, {.k = k});
        const auto query_squares = cluster::detail::knn_squared_norms(ctx, kernels, "queries", queries, true);
        const auto reference_squares = cluster::detail::knn_squared_norms(ctx, kernels, "references", x, true);
        const cluster::detail::knn_space space(kernels, queries, x, metric::euclidean, query_squares,
                                               reference_squares);
        tensor<std::int32_t, 2> index({n, k});
        tensor<float, 2> distance({n, k});
        cluster::detail::knn_search search(ctx, kernels, space, n, 1100,
                                           {.k = k, .same_rows = same, .chunk_floats = 1});
        search.run(index, distance);  // 256 references a chunk: five of them, the last not full
        CHECK(test::same_bits(index.view(), expected.index.view()));
        CHECK(test::same_bits(distance.view(), expected.distance.view()));
    }
    // More queries than lists are held for at once.
    const auto many = clouds(9000, 3, 500, 0.3f, 9), few = clouds(50, 3, 50, 0.3f, 10);
    const cluster::knn_options o{.k = 4};
    const auto found = cluster::knn(ctx, many, few, o), last = cluster::knn(ctx, many.view().rows(8100, 9000), few, o);
    check_against_brute_force(found, many, few, o);
    CHECK(test::same_bits(found.index.view().rows(8100, 9000), last.index.view()));
}

TEST_CASE("knn: ties go to the lower index, also among many") {
    cpu_context ctx{2};
    tensor<float, 2> lattice({900, 2});  // distances repeat, and are exact
    for (index_t i = 0; i < 900; ++i) {
        lattice(i, 0) = static_cast<float>(i * 7 % 30);
        lattice(i, 1) = static_cast<float>(i * 7 / 30 % 30);
    }
    for (const index_t k : {1, 4, 9, 60}) {
        const cluster::knn_options o{.k = k};
        check_against_brute_force(cluster::knn(ctx, lattice, lattice, o), lattice, lattice, o, 0.0);
        const auto copy = lattice.clone();
        check_against_brute_force(cluster::knn(ctx, lattice, copy, o), lattice, lattice, o, 0.0);
    }
    tensor<float, 2> same({1500, 3});  // all alike: the first k, at distance 0
    for (float& v : same) v = 0.3f;
    const auto copy = same.clone();
    for (const metric m : {metric::euclidean, metric::cosine}) {
        for (const auto& found : {cluster::knn(ctx, same, same, {.k = 5, .metric = m}),
                                  cluster::knn(ctx, same, copy, {.k = 5, .metric = m})}) {
            bool right = true;
            for (index_t i = 0; i < 1500; ++i) {
                for (index_t j = 0; j < 5; ++j) right = right && found.index(i, j) == j && found.distance(i, j) == 0.0f;
            }
            CHECK(right);
        }
        const auto others = cluster::knn(ctx, same, same, {.k = 2, .metric = m, .exclude_self = true});
        CHECK(others.index(0, 0) == 1);
        CHECK(others.index(0, 1) == 2);
        CHECK(others.index(1, 0) == 0);
        CHECK(others.index(1499, 1) == 1);
    }
    const auto products = cluster::knn(ctx, same, same, {.k = 3, .metric = metric::inner_product});
    CHECK(products.index(1499, 2) == 2);
}

TEST_CASE("knn: near duplicates, and clouds far from the origin, are told apart in double") {
    test::for_each_level([] {
        cpu_context ctx{2};
        const auto near =
            clouds(520, 16, 5, 1e-5f, 11);  // within a cloud, squared distances are 1e-10 of squared norms
        check_all(near, near, 6, 1e-9);
        auto far = clouds(520, 16, 520, 0.0f, 12);
        for (float& v : far) v = 3000.0f + v;  // ‖a‖² + ‖b‖² − 2ab in float would have no digit left
        check_all(far, far, 5, 1e-9);
        check_all(far.view().rows(100, 120), far, 5, 1e-9);
        // Some coincide exactly, 300 at a time.
        auto twins = clouds(600, 6, 2, 0.0f, 13);
        check_all(twins, twins, 4);
    });
}

TEST_CASE("knn of long rows whose products are rounded by far more than their distances differ") {
    const auto x = clouds(520, 760, 2, 1e-6f, 14);
    const auto queries = x.view().rows(0, 80);
    test::for_each_level([&] {
        cpu_context ctx{2};
        const cluster::knn_options o{.k = 2};
        check_against_brute_force(cluster::knn(ctx, queries, x, o), queries, x, o, 1e-9);
    });
    cpu_context ctx{2};
    const cluster::knn_options o{.k = 3, .metric = metric::cosine};
    const auto among = cluster::knn(ctx, x, x, o), some = cluster::knn(ctx, queries, x, o);
    check_against_brute_force(some, queries, x, o, 1e-9);
    CHECK(test::same_bits(among.index.view().rows(0, 80), some.index.view()));
    CHECK(test::same_bits(among.distance.view().rows(0, 80), some.distance.view()));
}

TEST_CASE("knn: norms at both ends of float's range") {
    test::for_each_level([] {
        cpu_context ctx{1};
        for (const float scale : {1e-38f, 1e-30f, 1e15f, 1e30f, 3e37f}) {
            CAPTURE(scale);
            auto q = test::random_tensor<float, 2>({20, 9}, 21), r = test::random_tensor<float, 2>({300, 9}, 22);
            for (float& v : q) v *= scale;
            for (float& v : r) v *= scale;
            for (const metric m : k_metrics) {
                CAPTURE(static_cast<int>(m));
                const auto found = cluster::knn(ctx, q, r, {.k = 3, .metric = m});
                const brute_force distance{m, q, r};
                bool right = true;
                for (index_t i = 0; i < 20; ++i) {
                    double best[3] = {1e300, 1e300, 1e300};
                    for (index_t j = 0; j < 300; ++j) {
                        const double d = distance(i, j);
                        if (d >= best[2]) continue;
                        best[2] = d;
                        std::sort(best, best + 3);
                    }
                    for (index_t j = 0; j < 3; ++j)
                        right =
                            right && std::fabs(distance(i, found.index(i, j)) - best[j]) <= 1e-12 * std::fabs(best[j]);
                }
                CHECK(right);
            }
        }
        // Norms from 1e-12 to 1e12 among the references; small and large queries.
        auto q = test::random_tensor<float, 2>({24, 6}, 23), r = test::random_tensor<float, 2>({500, 6}, 24);
        for (index_t i = 0; i < 500; ++i) {
            for (index_t c = 0; c < 6; ++c) r(i, c) *= std::pow(10.0f, static_cast<float>(i % 25 - 12));
        }
        for (index_t i = 0; i < 24; ++i) {
            for (index_t c = 0; c < 6; ++c) q(i, c) *= std::pow(10.0f, static_cast<float>(i - 12));
        }
        for (const metric m : k_metrics) {
            const cluster::knn_options o{.k = 8, .metric = m};
            check_against_brute_force(cluster::knn(ctx, q, r, o), q, r, {.k = 8, .metric = m}, 1e-9);
        }
    });
}

TEST_CASE("knn takes strided rows, no queries, no coordinates") {
    cpu_context ctx{2};
    test::strided_rows<float> q({30, 7}, 11, 1), r({600, 7}, 9, 2);
    const cluster::knn_options o{.k = 4};
    check_against_brute_force(cluster::knn(ctx, q.view, r.view, o), q.view, r.view, o);
    check_against_brute_force(cluster::knn(ctx, r.view, r.view, o), r.view, r.view, o);
    const auto none = cluster::knn(ctx, q.view.rows(0, 0), r.view, o);
    CHECK(none.index.extent(0) == 0);
    CHECK(none.index.extent(1) == 4);
    const tensor<float, 2> nothing({5, 0});
    const auto first = cluster::knn(ctx, nothing, nothing, {.k = 2});
    for (index_t i = 0; i < 5; ++i)
        CHECK((first.index(i, 0) == 0 && first.index(i, 1) == 1 && first.distance(i, 1) == 0.0f));
}

TEST_CASE("knn: bad input is refused with the place") {
    cpu_context ctx{2};
    tensor<float, 2> q({2, 3}), r({4, 3}), other({4, 2});
    for (float& v : q) v = 1;
    for (float& v : r) v = 1;
    CHECK(test::error_text<value_error>([&] { (void)cluster::knn(ctx, q, r, {.k = 5}); }) ==
          "knn: k is 5, must be between 1 and the 4 references");
    CHECK(test::error_text<value_error>([&] { (void)cluster::knn(ctx, r, r, {.k = 4, .exclude_self = true}); }) ==
          "knn: k is 4, must be between 1 and the 3 other references");
    CHECK_THROWS_AS((void)cluster::knn(ctx, q, r, {.k = 0}), value_error);
    CHECK_THROWS_AS((void)cluster::knn(ctx, q, r.view().rows(0, 0), {.k = 1}), value_error);
    CHECK_THROWS_WITH_AS((void)cluster::knn(ctx, q, r, {.exclude_self = true}),
                         doctest::Contains("as many queries as references, there are 2 and 4"), value_error);
    CHECK(test::error_text<shape_error>([&] { (void)cluster::knn(ctx, q, other); }) ==
          "knn: references have shape [4, 2], expected [n, 3]");
    const tensor_view<const float, 2> columns(r.data(), {3, 3}, {1, 3});
    CHECK_THROWS_WITH_AS((void)cluster::knn(ctx, q, columns), doctest::Contains("references must have stride 1"),
                         shape_error);
    auto many = test::random_tensor<float, 2>({1000, 40}, 1);
    many(777, 31) = std::numeric_limits<float>::quiet_NaN();
    many(900, 2) = std::numeric_limits<float>::infinity();
    CHECK(test::error_text<value_error>([&] { (void)cluster::knn(ctx, many, many); }) ==
          "knn: queries row 777, column 31 is not finite");
    CHECK_THROWS_WITH_AS((void)cluster::knn(ctx, many.view().rows(0, 5), many),
                         doctest::Contains("references row 777, column 31"), value_error);
    many(777, 31) = -std::numeric_limits<float>::infinity();
    CHECK_THROWS_WITH_AS((void)cluster::knn(ctx, many, many), doctest::Contains("row 777, column 31 is not finite"),
                         value_error);
    for (index_t c = 0; c < 3; ++c) q(1, c) = 0;
    CHECK(test::error_text<value_error>([&] { (void)cluster::knn(ctx, q, r, {.metric = metric::cosine}); }) ==
          "knn: queries row 1 is zero, its cosine undefined");
    CHECK_NOTHROW((void)cluster::knn(ctx, q, r, {.metric = metric::inner_product}));
    CHECK_NOTHROW((void)cluster::knn(ctx, q, r));
}
