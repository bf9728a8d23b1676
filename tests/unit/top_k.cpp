// Top-k accuracy against sorting, ties, NaN, absent classes, unlabelled samples, bad input.
#include <doctest/doctest.h>

#include <cmath>
#include <numeric>

#include "instar/core/philox.hpp"
#include "instar/core/tensor.hpp"
#include "instar/metrics/top_k.hpp"

using namespace instar;

TEST_CASE("top_k: ranks as a stable sort of the scores has them") {
    const philox rng{.seed = 3};
    tensor<float, 2> scores({200, 7});
    std::vector<std::int32_t> truth(200);
    for (index_t i = 0; i < 200; ++i) {
        for (index_t c = 0; c < 7; ++c) scores(i, c) = static_cast<float>(rng.below(static_cast<std::uint64_t>(i * 7 + c), 5));  // many ties
        truth[static_cast<std::size_t>(i)] = i % 11 == 0 ? -1 : static_cast<std::int32_t>(rng.fork(1).below(static_cast<std::uint64_t>(i), 6));  // class 6 never
    }
    const std::vector<index_t> ks{1, 3, 9};
    const auto s = metrics::top_k_scores(scores.view(), truth, ks);
    const auto ranks = metrics::label_ranks(scores.view(), truth);
    std::vector<double> right(3), by_class(7), count(7);
    std::vector<std::vector<double>> hits(3, std::vector<double>(7));
    double n = 0;
    for (std::size_t i = 0; i < 200; ++i) {
        if (truth[i] < 0) {
            CHECK(ranks[i] == -1);
            continue;
        }
        std::vector<index_t> order(7);
        std::iota(order.begin(), order.end(), index_t{0});
        std::sort(order.begin(), order.end(), [&](index_t a, index_t b) {
            const float x = scores(static_cast<index_t>(i), a), y = scores(static_cast<index_t>(i), b);
            return x != y ? x > y : a < b;
        });
        const auto rank = std::find(order.begin(), order.end(), truth[i]) - order.begin();
        CHECK(ranks[i] == rank);
        ++n;
        ++count[static_cast<std::size_t>(truth[i])];
        for (std::size_t j = 0; j < 3; ++j) {
            right[j] += rank < ks[j];
            hits[j][static_cast<std::size_t>(truth[i])] += rank < ks[j];
        }
    }
    CHECK(s.n_counted == static_cast<index_t>(n));
    CHECK(s.n_classes_present == 6);
    for (std::size_t j = 0; j < 3; ++j) {
        double macro = 0;
        for (std::size_t c = 0; c < 6; ++c) macro += hits[j][c] / count[c];
        CHECK(s.micro[j] == doctest::Approx(right[j] / n));
        CHECK(s.macro[j] == doctest::Approx(macro / 6));
        CHECK(s.macro_all[j] == doctest::Approx(macro / 7));
    }
    CHECK(s.micro[2] == 1.0);
    for (std::size_t c = 0; c < 6; ++c) CHECK(s.class_accuracy[c] == doctest::Approx(hits[0][c] / count[c]));
    CHECK((s.class_count[6] == 0 && s.class_accuracy[6] == 0.0));
}

TEST_CASE("top_k: NaN is least; nothing counted gives zeros; bad input") {
    tensor<float, 2> scores({2, 3});
    const float nan = std::nanf("");
    scores(0, 0) = nan, scores(0, 1) = -5.0f, scores(0, 2) = nan;
    scores(1, 0) = 1.0f, scores(1, 1) = nan, scores(1, 2) = 0.5f;
    const auto rank = [&](std::int32_t a, std::int32_t b) { return metrics::label_ranks(scores.view(), std::vector<std::int32_t>{a, b}); };
    CHECK(rank(0, 0) == std::vector<index_t>{1, 0});
    CHECK(rank(1, 1) == std::vector<index_t>{0, 2});
    CHECK(rank(2, 2) == std::vector<index_t>{2, 1});
    const std::vector<index_t> one{1}, zero{0};
    const std::vector<std::int32_t> none{-1, -1}, short_one{0}, outside{0, 3};
    CHECK(metrics::top_k_scores(scores.view(), none, one).micro[0] == 0.0);
    CHECK_THROWS_AS(metrics::top_k_scores(scores.view(), short_one, one), value_error);
    CHECK_THROWS_WITH_AS(metrics::top_k_scores(scores.view(), outside, one), doctest::Contains("label 3 of sample 1"), value_error);
    CHECK_THROWS_AS(metrics::top_k_scores(scores.view(), none, zero), value_error);
}
