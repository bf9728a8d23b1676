// The contrastive losses on the emulated device against the reference.

#include <cmath>
#include <limits>

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/ops/contrastive.hpp"
#include "instar/ops/cuda/info_nce.cuh"
#include "instar/ops/cuda/siglip.cuh"
#include "instar/ops/info_nce.hpp"
#include "instar/ops/ref/info_nce.hpp"
#include "instar/ops/ref/siglip.hpp"
#include "instar/ops/siglip.hpp"
#include "support/emulated.hpp"
#include "support/info_nce.hpp"

using namespace instar;

namespace {

using test::info_nce_case;

template <class T>
bool close_to(float actual, double expected) {
    return std::fabs(static_cast<double>(actual) - expected) <=
           test::k_max_error<T> * std::fmax(1.0, std::fabs(expected));
}

/// `panel` = 0: the operator; else its panels of that size, so that small problems have several.
template <class T>
void run(cuda_context& ctx, const test::info_nce_problem<T>& p, test::info_nce_results<T>& r,
         const ops::info_nce_options& options, index_t panel) {
    const auto saved = r.views();
    if (panel == 0) {
        ops::info_nce_forward<T>(ctx, saved, p.a, p.b, p.logit_scale, p.targets());
        ops::info_nce_backward<T>(ctx, r.da, r.db, r.d_logit_scale, saved, p.a, p.b, p.logit_scale, p.targets(),
                                  options);
    } else {
        const auto a = p.a.view(), b = p.b.view();
        const auto scale = p.logit_scale.view();
        ops::cuda::info_nce_forward_panels<T>(ctx, "test", saved, a, b, scale, p.targets(), panel);
        ops::cuda::info_nce_backward_panels<T>(ctx, "test", r.da.view(), r.db.view(), r.d_logit_scale.view(), saved, a,
                                               b, scale, p.targets(), options, panel);
    }
    ops::info_nce_loss<T>(ctx, r.row_loss, r.column_loss, saved, options);
}

template <class T>
void check(const info_nce_case& c, const ops::info_nce_options& options, index_t panel = 0) {
    const std::string problem = c.text();
    CAPTURE(problem);
    const test::info_nce_problem<T> p(c);
    test::info_nce_results<T> r(c), shuffled(c);
    test::for_each_order(
        [&](cuda_context& ctx, int order) { run<T>(ctx, p, order == 0 ? r : shuffled, options, panel); });
    const test::info_nce_problem<double> q = p.in_double();
    test::info_nce_results<double> e(c);
    ops::ref::info_nce_forward<double>(e.views(), q.a, q.b, q.logit_scale, q.targets());
    ops::ref::info_nce_loss<double>(e.row_loss, e.column_loss, e.views(), options);
    ops::ref::info_nce_backward<double>(e.da, e.db, e.d_logit_scale, e.views(), q.a, q.b, q.logit_scale, q.targets(),
                                        options);
    // Statistics and losses are float for bf16 too.
    CHECK(test::close<float>(r.saved.view(), e.saved.view()));
    CHECK(test::close<float>(r.row_loss.view(), e.row_loss.view()));
    CHECK(test::close<float>(r.column_loss.view(), e.column_loss.view()));
    CHECK(test::close<T>(r.da.view(), e.da.view()));
    CHECK(test::close<T>(r.db.view(), e.db.view()));
    CHECK(close_to<float>(r.d_logit_scale(0), e.d_logit_scale(0)));
    CHECK(test::same_bits(r.saved.view(), shuffled.saved.view()));
    CHECK(test::same_bits(r.row_loss.view(), shuffled.row_loss.view()));
    CHECK(test::same_bits(r.da.view(), shuffled.da.view()));
    CHECK(test::same_bits(r.db.view(), shuffled.db.view()));
    CHECK(test::same_bits(r.d_logit_scale.view(), shuffled.d_logit_scale.view()));
}

template <class T>
void check_siglip(const info_nce_case& c, index_t panel) {
    const std::string problem = c.text();
    CAPTURE(problem);
    const test::info_nce_problem<T> p(c);
    test::info_nce_results<T> r(c), shuffled(c);
    tensor<float, 1> bias({1}), d_bias({1}), unused({1});
    bias(0) = -4.5f;
    const ops::siglip_options options{.weight = 0.7};
    test::for_each_order([&](cuda_context& ctx, int order) {
        auto& to = order == 0 ? r : shuffled;
        auto& to_bias = order == 0 ? d_bias : unused;
        ops::cuda::siglip_panels<T>(ctx, "test", to.row_loss.view(), to.da.view(), to.db.view(),
                                    to.d_logit_scale.view(), to_bias.view(), p.a.view(), p.b.view(),
                                    p.logit_scale.data(), bias.data(), p.targets(), options, panel);
    });
    const test::info_nce_problem<double> q = p.in_double();
    test::info_nce_results<double> e(c);
    tensor<double, 1> e_bias({1}), e_d_bias({1});
    e_bias(0) = -4.5;
    ops::ref::siglip<double>(e.row_loss, e.da, e.db, e.d_logit_scale, e_d_bias, q.a, q.b, q.logit_scale, e_bias,
                             q.targets(), options);
    CHECK(test::close<float>(r.row_loss.view(), e.row_loss.view()));
    CHECK(test::close<T>(r.da.view(), e.da.view()));
    CHECK(test::close<T>(r.db.view(), e.db.view()));
    CHECK(close_to<float>(r.d_logit_scale(0), e.d_logit_scale(0)));
    CHECK(close_to<float>(d_bias(0), e_d_bias(0)));
    CHECK(test::same_bits(r.row_loss.view(), shuffled.row_loss.view()));
    CHECK(test::same_bits(r.da.view(), shuffled.da.view()));
    CHECK(test::same_bits(r.db.view(), shuffled.db.view()));
    CHECK(test::same_bits(d_bias.view(), unused.view()));
}

}  // namespace

TEST_CASE("info_nce on the emulated device agrees with the reference in float") {
    for (const info_nce_case& c : {info_nce_case{.n = 0, .m = 0, .d = 4},
                                   {.n = 1, .m = 1, .d = 1},
                                   {.n = 7, .m = 7, .d = 5},
                                   {.n = 131, .m = 131, .d = 17}})
        check<float>(c, {});
    check<float>({.n = 12, .m = 50, .d = 9, .diagonal = 20},
                 {.row_weight = 0.01, .column_weight = 0.02, .mean = false});
    check<float>({.n = 40, .m = 40, .d = 8, .logit_scale = std::log(100.0)}, {});
    check<float>({.n = 45, .m = 45, .d = 12, .labelled = true, .masked = true}, {.normalize_targets = false});
    check<float>({.n = 100, .m = 37, .d = 12, .labelled = true}, {});
    check<float>({.n = 23, .m = 60, .d = 12, .diagonal = 11, .masked = true}, {});
}
TEST_CASE("info_nce on the emulated device agrees with the reference in bf16") {
    check<bf16>({.n = 7, .m = 7, .d = 5}, {});
    check<bf16>({.n = 45, .m = 61, .d = 24, .labelled = true, .masked = true}, {});
    check<bf16>({.n = 131, .m = 150, .d = 40, .diagonal = 3}, {});
    check<bf16>({.n = 64, .m = 200, .d = 77}, {});
}
TEST_CASE("info_nce on the emulated device agrees with the reference over several panels") {
    check<float>({.n = 270, .m = 300, .d = 6, .diagonal = 20}, {}, 128);
    check<bf16>({.n = 140, .m = 260, .d = 6, .labelled = true, .masked = true}, {.normalize_targets = false}, 128);
}

TEST_CASE("info_nce on the emulated device: rows alone, no gradient of b, and merging") {
    cuda_context ctx;
    const info_nce_case c{.n = 20, .m = 31, .d = 6, .diagonal = 4};
    const test::info_nce_problem<float> p(c);
    test::info_nce_results<float> r(c, 0.0), e(c, 0.0);
    auto rows = r.views();
    rows.column = {};
    ops::info_nce_forward<float>(ctx, rows, p.a, p.b, p.logit_scale, p.targets());
    ops::info_nce_backward<float>(ctx, r.da, {}, {}, rows, p.a, p.b, p.logit_scale, p.targets(), {});
    run<float>(ctx, p, e, {.column_weight = 0.0}, 0);
    CHECK(test::close<float>(r.da.view(), e.da.view()));
    // The columns' statistics of two shards, merged.
    tensor<float, 1> part({4 * c.m}), row_memory({4 * c.n});
    const ops::info_nce_side<float> column = r.views().column;
    for (index_t j = 0; j < c.m; ++j) column.max(j) = -std::numeric_limits<float>::infinity();
    for (const auto& [begin, end] : {std::array<index_t, 2>{0, 8}, {8, 20}}) {
        ops::info_nce_saved<float> shard;
        shard.row = {row_memory.data(), end - begin};
        shard.column = {part.data(), c.m};
        ops::info_nce_forward<float>(ctx, shard, p.a.view().rows(begin, end), p.b, p.logit_scale,
                                     {.diagonal = c.diagonal + begin});
        ops::info_nce_merge<float>(ctx, column, shard.column);
    }
    const ops::info_nce_side<float> whole = e.views().column;
    CHECK(test::close<float>(column.max, whole.max));
    CHECK(test::close<float>(column.sum, whole.sum));
    CHECK(test::close<float>(column.positive, whole.positive));
    CHECK(test::same_bits(column.count, whole.count));
}

TEST_CASE("info_nce on the emulated device lets NaN through and names what is wrong") {
    cuda_context ctx;
    const info_nce_case c{.n = 20, .m = 20, .d = 6};
    test::info_nce_problem<float> p(c);
    p.a(3, 2) = std::numeric_limits<float>::quiet_NaN();
    test::info_nce_results<float> r(c);
    run<float>(ctx, p, r, {}, 0);
    for (index_t i = 0; i < c.n; ++i) {
        CHECK(std::isnan(r.row_loss(i)) == (i == 3));
        CHECK(std::isnan(r.column_loss(i)));
    }
    tensor<float, 2> wrong({5, 2});
    CHECK(test::error_text<shape_error>([&] {
              ops::info_nce_forward<float>(ctx, r.views(), p.a, wrong, p.logit_scale, {});
          }) == "info_nce_forward: b has shape [5, 2], expected [5, 6]");
    CHECK(test::error_text<shape_error>([&] {
              ops::info_nce_backward<float>(ctx, wrong, r.db, {}, r.views(), p.a, p.b, p.logit_scale, {}, {});
          }) == "info_nce_backward: da has shape [5, 2], expected [20, 6]");
}

TEST_CASE("siglip on the emulated device agrees with the reference") {
    check_siglip<float>({.n = 7, .m = 7, .d = 5}, 4096);
    check_siglip<float>({.n = 150, .m = 260, .d = 6, .diagonal = 20, .masked = true}, 128);
    check_siglip<bf16>({.n = 140, .m = 60, .d = 20, .labelled = true, .masked = true}, 128);
}

TEST_CASE("contrastive on the emulated device agrees with the CPU") {
    const index_t n = 30, d = 8;
    tensor<float, 2> features[3], on_device[3], on_cpu[3], loss({6, n}), e_loss({6, n});
    std::vector<ops::contrastive_modality<float>> device_side, cpu_side;
    for (int k = 0; k < 3; ++k) {
        features[k] = test::info_nce_problem<float>::rows(n, d, static_cast<std::uint64_t>(k) + 4);
        on_device[k] = tensor<float, 2>({n, d});
        on_cpu[k] = tensor<float, 2>({n, d});
        device_side.push_back({features[k].view(), on_device[k].view(), {}});
        cpu_side.push_back({features[k].view(), on_cpu[k].view(), {}});
    }
    tensor<float, 1> scale({1}), d_scale({1}), e_d_scale({1}), scratch({8 * n});
    scale(0) = 2.0f;
    cuda_context device;
    cpu_context cpu;
    ops::contrastive_loss<float>(device, loss, d_scale, scale, device_side, {}, scratch, {});
    ops::contrastive_loss<float>(cpu, e_loss, e_d_scale, scale, cpu_side, {}, scratch, {});
    CHECK(test::close<float>(loss.view(), e_loss.view()));
    for (int k = 0; k < 3; ++k) CHECK(test::close<float>(on_device[k].view(), on_cpu[k].view()));
    CHECK(close_to<float>(d_scale(0), static_cast<double>(e_d_scale(0))));
}
