// InfoNCE on the CPU against the reference, its parts against the whole, and what it refuses.

#include <cmath>
#include <limits>

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/ops/cpu/info_nce_tiles.hpp"
#include "instar/ops/ref/info_nce.hpp"
#include "support/info_nce.hpp"
#include "support/levels.hpp"

using namespace instar;

namespace {

using test::info_nce_case;

template <class T>
void run(cpu_context& ctx, const test::info_nce_problem<T>& p, test::info_nce_results<T>& r,
         const ops::info_nce_options& options) {
    const auto saved = r.views();
    ops::info_nce_forward<T>(ctx, saved, p.a, p.b, p.logit_scale, p.targets());
    ops::info_nce_loss<T>(ctx, r.row_loss, r.column_loss, saved, options);
    ops::info_nce_backward<T>(ctx, r.da, r.db, r.d_logit_scale, saved, p.a, p.b, p.logit_scale, p.targets(), options);
}

template <class T>
void check_info_nce(const info_nce_case& c, const ops::info_nce_options& options, double tolerance) {
    const std::string problem = c.text();
    CAPTURE(problem);
    cpu_context one{1}, two{2};
    const test::info_nce_problem<T> p(c);
    test::info_nce_results<T> r(c), r_two(c);
    run(one, p, r, options);
    run(two, p, r_two, options);
    const test::info_nce_problem<double> q = p.in_double();
    test::info_nce_results<double> e(c);
    ops::ref::info_nce_forward<double>(e.views(), q.a, q.b, q.logit_scale, q.targets());
    ops::ref::info_nce_loss<double>(e.row_loss, e.column_loss, e.views(), options);
    ops::ref::info_nce_backward<double>(e.da, e.db, e.d_logit_scale, e.views(), q.a, q.b, q.logit_scale, q.targets(),
                                        options);
    CHECK(test::nmse(r.saved.view(), e.saved.view()) <= tolerance);
    CHECK(test::nmse(r.row_loss.view(), e.row_loss.view()) <= tolerance);
    CHECK(test::nmse(r.column_loss.view(), e.column_loss.view()) <= tolerance);
    CHECK(test::nmse(r.da.view(), e.da.view()) <= tolerance);
    CHECK(test::nmse(r.db.view(), e.db.view()) <= tolerance);
    CHECK(std::fabs(static_cast<double>(r.d_logit_scale(0)) - e.d_logit_scale(0)) <=
          std::sqrt(tolerance) * std::fmax(1.0, std::fabs(e.d_logit_scale(0))));
    CHECK(test::same_bits(r.saved.view(), r_two.saved.view()));
    CHECK(test::same_bits(r.row_loss.view(), r_two.row_loss.view()));
    CHECK(test::same_bits(r.column_loss.view(), r_two.column_loss.view()));
    CHECK(test::same_bits(r.da.view(), r_two.da.view()));
    CHECK(test::same_bits(r.db.view(), r_two.db.view()));
    CHECK(test::same_bits(r.d_logit_scale.view(), r_two.d_logit_scale.view()));
}

template <class T>
void check_all(double tolerance) {
    for (const info_nce_case& c : {info_nce_case{.n = 0, .m = 0, .d = 4},
                                   {.n = 1, .m = 1, .d = 1},
                                   {.n = 1, .m = 1, .d = 33},
                                   {.n = 2, .m = 2, .d = 3, .logit_scale = 0.5},
                                   {.n = 7, .m = 7, .d = 5},
                                   {.n = 61, .m = 61, .d = 24},
                                   {.n = 130, .m = 130, .d = 17}}) {
        check_info_nce<T>(c, {}, tolerance);
    }
    // Shards: rows in the middle of a longer side, and both ends hanging over.
    check_info_nce<T>({.n = 12, .m = 50, .d = 9, .diagonal = 20},
                      {.row_weight = 0.01, .column_weight = 0.02, .mean = false}, tolerance);
    check_info_nce<T>({.n = 30, .m = 18, .d = 9, .diagonal = -7}, {}, tolerance);
    check_info_nce<T>({.n = 8, .m = 8, .d = 9, .diagonal = 100}, {}, tolerance);
    for (const bool normalize : {true, false}) {
        for (const bool masked : {true, false}) {
            check_info_nce<T>({.n = 45, .m = 45, .d = 12, .labelled = true, .masked = masked},
                              {.normalize_targets = normalize}, tolerance);
            check_info_nce<T>({.n = 100, .m = 37, .d = 12, .labelled = true, .masked = masked},
                              {.row_weight = 2.0, .mean = false, .normalize_targets = normalize}, tolerance);
        }
    }
    check_info_nce<T>({.n = 53, .m = 53, .d = 12, .masked = true}, {}, tolerance);
    check_info_nce<T>({.n = 23, .m = 60, .d = 12, .diagonal = 11, .masked = true}, {}, tolerance);
    // As sharp as open_clip lets it become, and sharper; very flat.
    check_info_nce<T>({.n = 40, .m = 40, .d = 8, .logit_scale = std::log(100.0)}, {}, tolerance);
    check_info_nce<T>({.n = 40, .m = 40, .d = 8, .logit_scale = std::log(500.0)}, {}, 100 * tolerance);
    check_info_nce<T>({.n = 40, .m = 40, .d = 8, .logit_scale = -3.0}, {}, tolerance);
}

}  // namespace

TEST_CASE("info_nce agrees with the reference in float") {
    test::for_each_level([] { check_all<float>(1e-10); });
}
TEST_CASE("info_nce agrees with the reference in double") { check_all<double>(1e-24); }

TEST_CASE("info_nce agrees with the reference over several tiles") {
    check_info_nce<float>({.n = ops::cpu::k_info_nce_tile + 40, .m = ops::cpu::k_info_nce_tile + 3, .d = 3}, {}, 1e-10);
    check_info_nce<float>({.n = 90, .m = 2 * ops::cpu::k_info_nce_tile + 33, .d = 3, .labelled = true, .masked = true},
                          {.normalize_targets = false}, 1e-10);
}

TEST_CASE("info_nce in one call has the bits of its parts") {
    cpu_context ctx{2};
    // One tile, which the backward finds in place; several, of which it finds the last.
    for (const info_nce_case& c : {info_nce_case{.n = 70, .m = 70, .d = 9, .masked = true},
                                   {.n = 33, .m = 20, .d = 9, .labelled = true, .masked = true},
                                   {.n = 40, .m = ops::cpu::k_info_nce_tile + 50, .d = 3},
                                   {.n = ops::cpu::k_info_nce_tile + 1, .m = 60, .d = 3}}) {
        const std::string problem = c.text();
        CAPTURE(problem);
        const test::info_nce_problem<float> p(c);
        test::info_nce_results<float> parts(c), whole(c);
        run(ctx, p, parts, {});
        ops::info_nce<float>(ctx, whole.row_loss, whole.column_loss, whole.da, whole.db, whole.d_logit_scale,
                             whole.views(), p.a, p.b, p.logit_scale, p.targets(), {});
        CHECK(test::same_bits(whole.saved.view(), parts.saved.view()));
        CHECK(test::same_bits(whole.row_loss.view(), parts.row_loss.view()));
        CHECK(test::same_bits(whole.column_loss.view(), parts.column_loss.view()));
        CHECK(test::same_bits(whole.da.view(), parts.da.view()));
        CHECK(test::same_bits(whole.db.view(), parts.db.view()));
        CHECK(test::same_bits(whole.d_logit_scale.view(), parts.d_logit_scale.view()));
        // The losses alone.
        test::info_nce_results<float> losses(c);
        ops::info_nce<float>(ctx, losses.row_loss, losses.column_loss, tensor_view<float, 2>{}, {}, {}, losses.views(),
                             p.a, p.b, p.logit_scale, p.targets(), {});
        CHECK(test::same_bits(losses.row_loss.view(), parts.row_loss.view()));
    }
}

TEST_CASE("info_nce of orthogonal pairs has a closed form") {
    cpu_context ctx;
    // z is s on the diagonal and 0 elsewhere.
    const index_t n = 5;
    const double s = 3.0;
    tensor<double, 2> a({n, n}), da({n, n}), db({n, n});
    for (index_t i = 0; i < n; ++i) a(i, i) = 1.0;
    tensor<double, 1> logit_scale({1}), saved({ops::info_nce_saved<double>::size(n, n)}), row({n}), column({n}),
        d_scale({1});
    logit_scale(0) = std::log(s);
    const ops::info_nce_saved<double> views(saved.view(), n, n);
    ops::info_nce_forward<double>(ctx, views, a, a, logit_scale, {});
    ops::info_nce_loss<double>(ctx, row, column, views, {});
    ops::info_nce_backward<double>(ctx, da, db, d_scale, views, a, a, logit_scale, {}, {});
    const double total = std::exp(s) + 4.0, p = std::exp(s) / total;
    double sum = 0.0;
    for (index_t i = 0; i < n; ++i) sum += row(i) + column(i);
    CHECK(sum == doctest::Approx(-std::log(p)).epsilon(1e-12));
    CHECK(da(2, 2) == doctest::Approx(-s * (1.0 - p) / n).epsilon(1e-12));
    CHECK(da(2, 4) == doctest::Approx(s * std::exp(0.0) / total / n).epsilon(1e-12));
    CHECK(d_scale(0) == doctest::Approx(-s * (1.0 - p)).epsilon(1e-12));
}

TEST_CASE("info_nce of shards, merged, is that of the whole") {
    cpu_context ctx;
    for (const bool labelled : {false, true}) {
        const info_nce_case c{.n = 37, .m = 37, .d = 10, .labelled = labelled};
        const test::info_nce_problem<double> p(c);
        test::info_nce_results<double> whole(c, 0.0), parts(c, 0.0);
        run(ctx, p, whole, {});
        const auto all = parts.views();
        const index_t cuts[] = {0, 10, 11, 37};
        const auto targets_of = [&](index_t begin, index_t end) {
            auto t = p.targets();
            t.diagonal = begin;
            if (labelled) t.row_labels = t.row_labels.rows(begin, end);
            return t;
        };
        const auto rows_of = [](const ops::info_nce_side<double>& side, index_t begin, index_t end) {
            ops::info_nce_side<double> s;
            s.max = side.max.rows(begin, end);
            s.sum = side.sum.rows(begin, end);
            s.positive = side.positive.rows(begin, end);
            s.count = side.count.rows(begin, end);
            return s;
        };
        for (index_t j = 0; j < c.m; ++j) {
            all.column.max(j) = -std::numeric_limits<double>::infinity();
            all.column.sum(j) = all.column.positive(j) = all.column.count(j) = 0.0;
        }
        tensor<double, 1> column_memory({4 * c.m});
        ops::info_nce_side<double> column(column_memory.data(), c.m);
        for (int s = 0; s < 3; ++s) {
            const index_t begin = cuts[s], end = cuts[s + 1];
            ops::info_nce_saved<double> shard;
            shard.row = rows_of(all.row, begin, end);
            shard.column = column;
            ops::info_nce_forward<double>(ctx, shard, p.a.view().rows(begin, end), p.b, p.logit_scale,
                                          targets_of(begin, end));
            ops::info_nce_merge<double>(ctx, all.column, column);
        }
        CHECK(test::nmse(parts.saved.view(), whole.saved.view()) <= 1e-26);
        double anchors = 0.0;
        for (index_t i = 0; i < c.n; ++i) anchors += all.row.count(i) > 0.0;
        double column_anchors = 0.0;
        for (index_t i = 0; i < c.n; ++i) column_anchors += all.column.count(i) > 0.0;
        for (int s = 0; s < 3; ++s) {
            const index_t begin = cuts[s], end = cuts[s + 1];
            ops::info_nce_saved<double> shard;
            shard.row = rows_of(all.row, begin, end);
            shard.column = all.column;
            ops::info_nce_backward<double>(
                ctx, parts.da.view().rows(begin, end), parts.db, parts.d_logit_scale, shard,
                p.a.view().rows(begin, end), p.b, p.logit_scale, targets_of(begin, end),
                {.row_weight = 0.5 / anchors, .column_weight = 0.5 / column_anchors, .mean = false});
        }
        CHECK(test::nmse(parts.da.view(), whole.da.view()) <= 1e-26);
        CHECK(test::nmse(parts.db.view(), whole.db.view()) <= 1e-26);
        CHECK(parts.d_logit_scale(0) == doctest::Approx(whole.d_logit_scale(0)).epsilon(1e-12));
    }
}

TEST_CASE("info_nce of rows alone leaves the columns' direction out") {
    cpu_context ctx;
    const info_nce_case c{.n = 20, .m = 31, .d = 6, .diagonal = 4};
    const test::info_nce_problem<double> p(c);
    test::info_nce_results<double> r(c, 0.0), e(c, 0.0);
    ops::info_nce_saved<double> rows = r.views();
    rows.column = {};
    ops::info_nce_forward<double>(ctx, rows, p.a, p.b, p.logit_scale, p.targets());
    ops::info_nce_loss<double>(ctx, r.row_loss, {}, rows, {});
    ops::info_nce_backward<double>(ctx, r.da, r.db, r.d_logit_scale, rows, p.a, p.b, p.logit_scale, p.targets(), {});
    run(ctx, p, e, {.column_weight = 0.0});
    CHECK(test::nmse(r.row_loss.view(), e.row_loss.view()) <= 1e-26);
    CHECK(test::nmse(r.da.view(), e.da.view()) <= 1e-26);
    CHECK(test::nmse(r.db.view(), e.db.view()) <= 1e-26);
    // And with fixed keys: no db.
    test::info_nce_results<double> k(c, 0.0);
    ops::info_nce_backward<double>(ctx, k.da, {}, {}, rows, p.a, p.b, p.logit_scale, p.targets(), {});
    CHECK(test::same_bits(k.da.view(), r.da.view()));
}

TEST_CASE("info_nce with masks is that of the samples that are left") {
    cpu_context ctx;
    const info_nce_case c{.n = 24, .m = 24, .d = 6, .masked = true};
    test::info_nce_problem<double> p(c);
    for (index_t i = 0; i < c.n; ++i) p.row_mask(i) = p.column_mask(i) = i % 3 != 0;
    test::info_nce_results<double> r(c, 0.0);
    run(ctx, p, r, {});
    const info_nce_case kept{.n = 16, .m = 16, .d = 6};
    test::info_nce_problem<double> q(kept);
    for (index_t i = 0, to = 0; i < c.n; ++i) {
        if (i % 3 == 0) continue;
        for (index_t k = 0; k < c.d; ++k) {
            q.a(to, k) = p.a(i, k);
            q.b(to, k) = p.b(i, k);
        }
        ++to;
    }
    test::info_nce_results<double> e(kept, 0.0);
    run(ctx, q, e, {});
    double error = 0.0;
    for (index_t i = 0, from = 0; i < c.n; ++i) {
        if (i % 3 == 0) {
            CHECK(r.row_loss(i) == 0.0);
            for (index_t k = 0; k < c.d; ++k) CHECK(r.da(i, k) == 0.0);
            continue;
        }
        error = std::fmax(
            error, std::fabs(r.row_loss(i) - e.row_loss(from)) + std::fabs(r.column_loss(i) - e.column_loss(from)));
        for (index_t k = 0; k < c.d; ++k)
            error = std::fmax(error, std::fabs(r.da(i, k) - e.da(from, k)) + std::fabs(r.db(i, k) - e.db(from, k)));
        ++from;
    }
    CHECK(error < 1e-14);
    CHECK(r.d_logit_scale(0) == doctest::Approx(e.d_logit_scale(0)).epsilon(1e-12));
}

TEST_CASE("info_nce of a batch in which nobody has a partner is 0") {
    cpu_context ctx;
    const info_nce_case c{.n = 6, .m = 6, .d = 3, .masked = true};
    test::info_nce_problem<float> p(c);
    for (index_t i = 0; i < c.n; ++i) {
        p.row_mask(i) = i < 3;
        p.column_mask(i) = i >= 3;
    }
    test::info_nce_results<float> r(c, 0.0);
    run(ctx, p, r, {});
    for (const float v : r.row_loss) CHECK(v == 0.0f);
    for (const float v : r.column_loss) CHECK(v == 0.0f);
    for (const float v : r.da) CHECK(v == 0.0f);
    CHECK(r.d_logit_scale(0) == 0.0f);
    for (index_t i = 0; i < c.n; ++i) p.column_mask(i) = 0;
    run(ctx, p, r, {});
    CHECK(r.views().row.max(0) == -std::numeric_limits<float>::infinity());
    for (const float v : r.row_loss) CHECK(v == 0.0f);
    for (const float v : r.da) CHECK(v == 0.0f);
}

TEST_CASE("info_nce takes rows with gaps") {
    cpu_context ctx;
    const info_nce_case c{.n = 9, .m = 9, .d = 5};
    const test::info_nce_problem<float> p(c);
    test::info_nce_results<float> e(c);
    run(ctx, p, e, {});
    test::strided_rows<float> a({9, 5}, 8, 1), b({9, 5}, 7, 2), da({9, 5}, 6, 3), db({9, 5}, 11, 4);
    const auto copy = [](const tensor_view<float, 2>& to, const tensor_view<const float, 2>& from) {
        for (index_t i = 0; i < to.extent(0); ++i) {
            for (index_t k = 0; k < to.extent(1); ++k) to(i, k) = from(i, k);
        }
    };
    copy(a.view, p.a.view());
    copy(b.view, p.b.view());
    test::info_nce_results<float> r(c);
    copy(da.view, r.da.view());
    copy(db.view, r.db.view());
    ops::info_nce_forward<float>(ctx, r.views(), a.view, b.view, p.logit_scale, {});
    ops::info_nce_backward<float>(ctx, da.view, db.view, r.d_logit_scale, r.views(), a.view, b.view, p.logit_scale, {},
                                  {});
    CHECK(test::same_bits(r.saved.view(), e.saved.view()));
    CHECK(test::same_bits(da.view, e.da.view()));
    CHECK(test::same_bits(db.view, e.db.view()));
    CHECK(da.gaps_intact());
    CHECK(db.gaps_intact());
}

TEST_CASE("info_nce passes on NaN") {
    cpu_context ctx;
    const info_nce_case c{.n = 20, .m = 20, .d = 6};
    test::info_nce_problem<float> p(c);
    p.a(3, 2) = std::numeric_limits<float>::quiet_NaN();
    test::info_nce_results<float> r(c);
    run(ctx, p, r, {});
    for (index_t i = 0; i < c.n; ++i) {
        CHECK(std::isnan(r.row_loss(i)) == (i == 3));
        CHECK(std::isnan(r.column_loss(i)));
    }
}

TEST_CASE("info_nce names what is wrong before it writes") {
    cpu_context ctx;
    const info_nce_case c{.n = 4, .m = 5, .d = 3};
    test::info_nce_problem<float> p(c);
    test::info_nce_results<float> r(c);
    tensor<float, 2> wrong({5, 2});
    tensor<float, 1> two({2});
    tensor<std::int32_t, 1> labels({4});
    tensor<std::uint8_t, 1> mask({3});
    const auto forward = [&](const auto& b, const auto& scale, const ops::info_nce_targets& t) {
        return test::error_text<error>([&] { ops::info_nce_forward<float>(ctx, r.views(), p.a, b, scale, t); });
    };
    CHECK(forward(wrong, p.logit_scale, {}) == "info_nce_forward: b has shape [5, 2], expected [5, 3]");
    CHECK(forward(p.b, two, {}) == "info_nce_forward: logit_scale has shape [2], expected [1]");
    CHECK(forward(p.a, p.logit_scale, {}) == "info_nce_forward: saved.column.max has shape [5], expected [4]");
    CHECK(forward(p.b, p.logit_scale, {.row_labels = labels.view()}) ==
          "info_nce_forward: targets.column_labels has shape [0], expected [5]");
    CHECK(forward(p.b, p.logit_scale, {.row_mask = mask.view()}) ==
          "info_nce_forward: targets.row_mask has shape [3], expected [4]");
    p.logit_scale(0) = std::numeric_limits<float>::quiet_NaN();
    CHECK(forward(p.b, p.logit_scale, {}) ==
          "info_nce_forward: logit_scale is nan, it and its exponential must be finite");
    p.logit_scale(0) = 89.0f;
    CHECK(forward(p.b, p.logit_scale, {}) ==
          "info_nce_forward: logit_scale is 89.000000, it and its exponential must be finite");
    CHECK(test::error_text<shape_error>([&] {
              ops::info_nce_loss<float>(ctx, r.row_loss, r.row_loss, r.views(), {});
          }) == "info_nce_loss: column_loss has shape [4], expected [5]");
    CHECK(test::error_text<shape_error>([&] {
              ops::info_nce_backward<float>(ctx, wrong, r.db, {}, r.views(), p.a, p.b, p.logit_scale, {}, {});
          }) == "info_nce_backward: da has shape [5, 2], expected [4, 3]");
    CHECK(test::error_text<shape_error>([&] {
              ops::info_nce_backward<float>(ctx, r.da, wrong, {}, r.views(), p.a, p.b, p.logit_scale, {}, {});
          }) == "info_nce_backward: db has shape [5, 2], expected [5, 3]");
    CHECK(test::error_text<shape_error>([&] { ops::info_nce_saved<float>(two.view(), 1, 1); }) ==
          "info_nce_saved: memory has shape [2], expected [8]");
}
