// Orders of epochs, schedules, masking, augmentation, anchors, k-NN and scores: the small pieces a trainer is made of.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "instar/cluster/knn.hpp"
#include "instar/data/anchor.hpp"
#include "instar/data/barcode_augment.hpp"
#include "instar/metrics/classification.hpp"
#include "instar/optim/schedule.hpp"
#include "instar/train/batch_order.hpp"

using namespace instar;

TEST_CASE("batch_order: a permutation, the same for the same epoch, another for the next") {
    const auto a = train::epoch_order(1000, philox{3}, 0), again = train::epoch_order(1000, philox{3}, 0), b = train::epoch_order(1000, philox{3}, 1);
    CHECK(a == again);
    CHECK(a != b);
    CHECK(std::set<index_t>(a.begin(), a.end()).size() == 1000);
    CHECK(*std::max_element(a.begin(), a.end()) == 999);
    CHECK(train::epoch_order(0, philox{3}, 0).empty());
}

TEST_CASE("batch_order: class-balanced groups hold one class, and every labelled sample comes up") {
    const std::vector<std::int32_t> labels{0, 1, 0, -1, 2, 0, 1, 0, 0};
    const auto order = train::class_balanced_order(labels, 2, philox{1}, 4);
    std::set<index_t> seen(order.begin(), order.end());
    CHECK(seen == std::set<index_t>{0, 1, 2, 4, 5, 6, 7, 8});
    std::map<std::int32_t, int> count;
    for (index_t i : order) ++count[labels[static_cast<std::size_t>(i)]];
    CHECK(count[0] == 6);  // five members in groups of two: one comes twice
    CHECK(count[1] == 2);
    CHECK(count[2] == 1);  // alone in its class
}

TEST_CASE("schedule: one_cycle starts at max/25, peaks at 30 %, ends at max/25/1e4; beta1 mirrors it") {
    const optim::one_cycle s{.max_lr = 1.0, .total_steps = 100};
    CHECK(s(0).lr == doctest::Approx(1.0 / 25));
    CHECK(s(29).lr == doctest::Approx(1.0));
    CHECK(s(29).beta1 == doctest::Approx(0.85));
    CHECK(s(99).lr == doctest::Approx(1.0 / 25 / 1e4));
    CHECK(s(99).beta1 == doctest::Approx(0.95));
    CHECK_THROWS_WITH_AS(s(100), doctest::Contains("step 100 is outside the 100 steps"), value_error);
    CHECK(std::isfinite(optim::one_cycle{.max_lr = 1, .total_steps = 1}(0).lr));
}

TEST_CASE("barcode_augment: lengths, rates and reproducibility") {
    const std::string barcode(600, 'A');
    const data::barcode_augment augment{.substitution = 0.1f, .ambiguity = 0.05f, .crop = 50};
    std::string a, b;
    double changed = 0, ambiguous = 0, length = 0;
    for (std::uint64_t i = 0; i < 200; ++i) {
        const int cut = augment.apply(a, barcode, philox{1, i});
        CHECK(cut == augment.apply(b, barcode, philox{1, i}));
        CHECK(a == b);
        CHECK(cut <= 50);
        CHECK(a.size() >= 500);
        for (char c : a) changed += c == 'C' || c == 'G' || c == 'T', ambiguous += c == 'N';
        length += static_cast<double>(a.size());
    }
    CHECK(changed / length == doctest::Approx(0.1).epsilon(0.05));
    CHECK(ambiguous / length == doctest::Approx(0.05).epsilon(0.1));
    const data::barcode_augment crop{.crop = 50, .min_length = 150};
    CHECK(crop.apply(a, "ACGT", philox{1}) == 0);
    CHECK(a == "ACGT");
}

TEST_CASE("anchor: finds the shift of fragments of related sequences, either side of the profile's start") {
    cpu_context ctx{2};
    // A made-up gene and descendants at 10 % divergence.
    const philox rng{11};
    std::string gene(900, 'A');
    for (std::size_t i = 0; i < gene.size(); ++i) gene[i] = "ACGT"[rng.below(i, 4)];
    const data::barcode_augment mutate{.substitution = 0.1f};
    std::vector<std::string> texts;
    std::vector<int> truth;
    for (std::uint64_t i = 0; i < 300; ++i) {
        std::string s;
        mutate.apply(s, gene, philox{12, i});
        const int start = i % 3 == 0 ? 100 : static_cast<int>(60 + rng.below(1000 + i, 120));
        texts.push_back(s.substr(static_cast<std::size_t>(start), 640));
        truth.push_back(start);
    }
    std::vector<std::string_view> views(texts.begin(), texts.end());
    const auto anchor = data::barcode_anchor::learn(ctx, views);
    const int origin = truth[0] - anchor.shift(texts[0]);
    int wrong = 0;
    for (std::size_t i = 0; i < texts.size(); ++i) wrong += anchor.shift(texts[i]) != truth[i] - origin;
    CHECK(wrong == 0);
    CHECK(data::barcode_anchor::place("ACGT", 2) == "NNACGT");
    CHECK(data::barcode_anchor::place("ACGT", -1) == "CGT");
    CHECK(data::barcode_anchor::place("ACGT", -9).empty());
    const auto copy = data::barcode_anchor::from_profile(anchor.profile());
    for (const auto& t : texts) CHECK(copy.shift(t) == anchor.shift(t));
    CHECK_THROWS_AS(data::barcode_anchor::learn(ctx, {}), value_error);
}

TEST_CASE("knn: equals a double brute force, ties to the lowest index, for each metric") {
    for (int threads : {1, 2}) {
        cpu_context ctx{threads};
        tensor<float, 2> q({37, 11}), r({5000, 11});
        for (index_t i = 0; i < q.size(); ++i) q.data()[i] = philox{1, 1}.normal(static_cast<std::uint64_t>(i));
        for (index_t i = 0; i < r.size(); ++i) r.data()[i] = philox{1, 2}.normal(static_cast<std::uint64_t>(i));
        for (index_t c = 0; c < 11; ++c) r(4000, c) = r(17, c) = q(5, c);  // an exact tie
        for (auto metric : {cluster::knn_metric::euclidean, cluster::knn_metric::cosine, cluster::knn_metric::inner_product}) {
            const auto found = cluster::knn(ctx, q, r, {.k = 3, .metric = metric});
            for (index_t i = 0; i < 37; ++i) {
                std::vector<std::pair<double, std::int32_t>> all;
                for (index_t j = 0; j < 5000; ++j) {
                    double dot = 0, a = 0, b = 0;
                    for (index_t c = 0; c < 11; ++c) {
                        const double x = static_cast<double>(q(i, c)), y = static_cast<double>(r(j, c));
                        dot += x * y, a += x * x, b += y * y;
                    }
                    const double dist = metric == cluster::knn_metric::cosine ? 1 - dot / std::sqrt(a * b) : metric == cluster::knn_metric::inner_product ? -dot : a + b - 2 * dot;
                    all.emplace_back(dist, static_cast<std::int32_t>(j));
                }
                std::partial_sort(all.begin(), all.begin() + 3, all.end());
                for (index_t k = 0; k < 3; ++k) CHECK(found.index(i, k) == all[static_cast<std::size_t>(k)].second);
            }
        }
        const auto tie = cluster::knn(ctx, q, r, {.k = 2, .metric = cluster::knn_metric::euclidean});
        CHECK(tie.index(5, 0) == 17);
        CHECK(tie.index(5, 1) == 4000);
    }
}

TEST_CASE("knn: bad input") {
    cpu_context ctx{1};
    tensor<float, 2> q({2, 3}), r({4, 3});
    for (float& v : q) v = 1;
    for (float& v : r) v = 1;
    CHECK_THROWS_WITH_AS(cluster::knn(ctx, q, r, {.k = 5}), doctest::Contains("between 1 and the 4 references"), value_error);
    CHECK_THROWS_AS(cluster::knn(ctx, q, r, {.k = 0}), value_error);
    r(2, 1) = std::numeric_limits<float>::quiet_NaN();
    CHECK_THROWS_WITH_AS(cluster::knn(ctx, q, r, {}), doctest::Contains("references row 2, column 1 is not finite"), value_error);
    r(2, 1) = 1;
    for (index_t c = 0; c < 3; ++c) q(1, c) = 0;
    CHECK_THROWS_WITH_AS(cluster::knn(ctx, q, r, {.metric = cluster::knn_metric::cosine}), doctest::Contains("queries row 1 is zero"), value_error);
    tensor<float, 2> other({4, 2});
    CHECK_THROWS_AS(cluster::knn(ctx, q, other, {}), shape_error);
}

TEST_CASE("classification: scikit-learn's definitions on a small case worked by hand, unlabelled pairs left out") {
    const std::vector<std::int32_t> truth{0, 0, 0, 1, 1, 2, -1}, predicted{0, 0, 1, 1, 3, -1, 0};
    const auto s = metrics::classification_scores(predicted, truth);
    CHECK(s.n_counted == 6);
    CHECK(s.accuracy == doctest::Approx(0.5));
    CHECK(s.balanced_accuracy == doctest::Approx((2.0 / 3 + 0.5 + 0.0) / 3));
    const double f0 = 2 * 2 / (2 * 2 + 0 + 1.0), f1 = 2 * 1 / (2 * 1 + 1 + 1.0);
    CHECK(s.f1_macro == doctest::Approx((f0 + f1 + 0 + 0) / 4));
    CHECK(s.f1_weighted == doctest::Approx((3 * f0 + 2 * f1) / 6));
    CHECK(s.precision_macro == doctest::Approx((1 + 0.5 + 0 + 0) / 4));
    CHECK(metrics::classification_scores(std::vector<std::int32_t>{}, std::vector<std::int32_t>{}).accuracy == 0.0);
    CHECK_THROWS_AS(metrics::classification_scores(predicted, std::vector<std::int32_t>{1}), value_error);
}
