// Losses of two and three modalities: what they are made of, what is left out, gradients.

#include <cmath>

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/ops/contrastive.hpp"
#include "support/gradient_check.hpp"
#include "support/info_nce.hpp"

using namespace instar;

namespace {

/// Three modalities of n samples; labels in threes.
struct batch {
    index_t n, d;
    tensor<double, 2> features[3], gradients[3];
    tensor<double, 1> logit_scale, d_logit_scale, scratch;
    tensor<std::int32_t, 1> labels;
    tensor<std::uint8_t, 1> mask;

    batch(index_t n_samples, index_t width)
        : n(n_samples),
          d(width),
          logit_scale({1}),
          d_logit_scale({1}),
          scratch({8 * n}),
          labels({n}),
          mask({n}) {
        for (int m = 0; m < 3; ++m) {
            features[m] = test::info_nce_problem<double>::rows(n, d, static_cast<std::uint64_t>(m) + 20);
            gradients[m] = tensor<double, 2>({n, d});
        }
        logit_scale(0) = 1.5;
        for (index_t i = 0; i < n; ++i) {
            labels(i) = static_cast<std::int32_t>(i / 3);
            mask(i) = i % 4 != 0;
        }
    }
    ops::contrastive_modality<double> modality(int m) const {
        return {features[m].view(), const_cast<tensor<double, 2>&>(gradients[m]).view(), {}};
    }
};

double total(const tensor<double, 2>& loss) {
    double sum = 0.0;
    for (const double l : loss) sum += l;
    return sum;
}

/// The mean over samples of one direction's cross-entropy, by its formula.
double cross_entropy(const tensor<double, 2>& a, const tensor<double, 2>& b, double scale) {
    double sum = 0.0;
    for (index_t i = 0; i < a.extent(0); ++i) {
        double exponentials = 0.0, own = 0.0;
        for (index_t j = 0; j < b.extent(0); ++j) {
            double z = 0.0;
            for (index_t k = 0; k < a.extent(1); ++k) z += scale * a(i, k) * b(j, k);
            exponentials += std::exp(z);
            if (i == j) own = z;
        }
        sum += std::log(exponentials) - own;
    }
    return sum / static_cast<double>(a.extent(0));
}

}  // namespace

TEST_CASE("contrastive of three modalities is the mean over six directions") {
    cpu_context ctx;
    batch x(11, 4);
    const ops::contrastive_modality<double> all[] = {x.modality(0), x.modality(1), x.modality(2)};
    tensor<double, 2> loss({6, x.n});
    ops::contrastive_loss<double>(ctx, loss, x.d_logit_scale, x.logit_scale, all, {}, x.scratch, {});
    const double s = std::exp(1.5);
    double expected = 0.0;
    index_t direction = 0;
    for (const auto& [a, b] : {std::array{0, 1}, {0, 2}, {1, 2}}) {
        for (const auto& [from, to] : {std::array{a, b}, {b, a}}) {
            const double e = cross_entropy(x.features[from], x.features[to], s);
            expected += e / 6.0;
            double sum = 0.0;
            for (index_t i = 0; i < x.n; ++i) sum += loss(direction, i);
            CHECK(sum == doctest::Approx(e / 6.0).epsilon(1e-12));
            ++direction;
        }
    }
    CHECK(total(loss) == doctest::Approx(expected).epsilon(1e-12));
}

TEST_CASE("contrastive has the gradients of its features and its temperature") {
    cpu_context ctx;
    for (const int what : {0, 1, 2, 3}) {
        CAPTURE(what);
        batch x(10, 3);
        std::vector<ops::contrastive_modality<double>> all = {x.modality(0), x.modality(1), x.modality(2)};
        ops::contrastive_options options;
        if (what == 1) options = {.bind_to = 2};
        if (what == 2) options = {.normalize_targets = false};
        if (what == 3) all[1].mask = x.mask.view();
        const auto labels = what == 2 ? x.labels.view() : tensor_view<std::int32_t, 1>{};
        const index_t n_directions = 2 * static_cast<index_t>(ops::contrastive_pairs<double>(all, options).size());
        tensor<double, 2> loss({n_directions, x.n});
        ops::contrastive_loss<double>(ctx, loss, x.d_logit_scale, x.logit_scale, all, labels, x.scratch, options);
        auto forward_only = all;
        for (auto& m : forward_only) m.gradient = {};
        const auto f = [&] {
            ops::contrastive_loss<double>(ctx, loss, {}, x.logit_scale, forward_only, labels, x.scratch, options);
            return total(loss);
        };
        for (int m = 0; m < 3; ++m) CHECK(test::gradient_error(x.features[m].view(), x.gradients[m].view(), f) < 1e-7);
        CHECK(test::gradient_error(x.logit_scale.view(), x.d_logit_scale.view(), f) < 1e-7);
    }
}

TEST_CASE("contrastive leaves out what is missing, not bound to, or named") {
    batch x(5, 3);
    std::vector<ops::contrastive_modality<double>> all = {x.modality(0), x.modality(1), x.modality(2)};
    using pairs = std::vector<std::array<int, 2>>;
    CHECK(ops::contrastive_pairs<double>(all, {}) == pairs{{0, 1}, {0, 2}, {1, 2}});
    CHECK(ops::contrastive_pairs<double>(all, {.bind_to = 1}) == pairs{{0, 1}, {1, 2}});
    CHECK(ops::contrastive_pairs<double>(all, {.without = {{2, 0}}}) == pairs{{0, 1}, {1, 2}});
    // The index of bind_to does not move when a modality is missing.
    all[0].features = {};
    CHECK(ops::contrastive_pairs<double>(all, {.bind_to = 2}) == pairs{{1, 2}});
    CHECK(ops::contrastive_pairs<double>(all, {}) == pairs{{1, 2}});
    cpu_context ctx;
    tensor<double, 2> loss({2, x.n}), wrong({6, x.n});
    ops::contrastive_loss<double>(ctx, loss, x.d_logit_scale, x.logit_scale, all, {}, x.scratch, {});
    const double s = std::exp(1.5);
    CHECK(total(loss) == doctest::Approx(0.5 * (cross_entropy(x.features[1], x.features[2], s) +
                                                cross_entropy(x.features[2], x.features[1], s)))
                             .epsilon(1e-12));
    for (const double g : x.gradients[0]) CHECK(g == 0.0);
    CHECK(test::error_text<shape_error>([&] {
              ops::contrastive_loss<double>(ctx, wrong, {}, x.logit_scale, all, {}, x.scratch, {});
          }) == "contrastive_loss: loss has shape [6, 5], expected [2, 5]");
    CHECK(test::error_text<value_error>([&] {
              ops::contrastive_loss<double>(ctx, loss, {}, x.logit_scale, all, {}, x.scratch, {.bind_to = 0});
          }) == "contrastive_loss: no pair of modalities is there");
    CHECK(test::error_text<value_error>([&] {
              ops::contrastive_loss<double>(ctx, loss, {}, x.logit_scale, all, {}, x.scratch, {.bind_to = 3});
          }) == "contrastive_pairs: options.bind_to is 3, there are 3 modalities");
}
