// Retrieval scores: by hand, against a plain count, and on the predictions that CLIBD's authors published.

#include <cmath>
#include <cstdlib>
#include <map>
#include <set>
#include <string>

#include <doctest/doctest.h>

#include "instar/cluster/knn.hpp"
#include "instar/core/philox.hpp"
#include "instar/data/csv.hpp"
#include "instar/metrics/retrieval.hpp"
#include "support/compare.hpp"

using namespace instar;

namespace {

using labels = std::vector<std::int32_t>;

tensor<std::int32_t, 2> matrix(const std::vector<labels>& rows) {
    tensor<std::int32_t, 2> m({static_cast<index_t>(rows.size()), static_cast<index_t>(rows[0].size())});
    for (index_t i = 0; i < m.extent(0); ++i) {
        for (index_t j = 0; j < m.extent(1); ++j)
            m(i, j) = rows[static_cast<std::size_t>(i)][static_cast<std::size_t>(j)];
    }
    return m;
}

}  // namespace

TEST_CASE("retrieval counts a query when one of its k nearest keys has its label") {
    // Two queries of class 0, one each of 1 and 2, one without a label; no key has class 2.
    const auto predicted =
        matrix({{0, 1, 1, 1, 1}, {1, 1, 0, 1, 1}, {0, 0, 0, 0, 1}, {0, 1, 0, 1, 0}, {0, 0, 0, 0, 0}});
    const labels truth = {0, 0, 1, 2, -1};
    const auto r = metrics::retrieval_scores(predicted.view(), truth);
    CHECK(r.n_counted == 4);
    CHECK(r.n_classes == 3);
    CHECK(r.k == std::vector<index_t>{1, 3, 5});
    CHECK(r.n_right == std::vector<index_t>{1, 2, 3});
    CHECK(r.micro == std::vector<double>{0.25, 0.5, 0.75});
    CHECK(r.macro[0] == doctest::Approx(0.5 / 3));
    CHECK(r.macro[1] == doctest::Approx(1.0 / 3));
    CHECK(r.macro[2] == doctest::Approx(2.0 / 3));
}

TEST_CASE("retrieval: a neighbour without a label is never right") {
    const auto predicted = matrix({{-1, 4}});
    const labels truth = {4}, none = {-1};
    CHECK(metrics::retrieval_scores(predicted.view(), truth).k == std::vector<index_t>{1});
    CHECK(metrics::retrieval_scores(predicted.view(), truth).micro[0] == 0.0);
    CHECK(metrics::retrieval_scores(predicted.view(), truth, std::vector<index_t>{2}).micro[0] == 1.0);
    const auto r = metrics::retrieval_scores(predicted.view(), none);
    CHECK(r.n_counted == 0);
    CHECK(r.micro[0] == 0.0);
    CHECK(r.macro[0] == 0.0);
}

TEST_CASE("retrieval agrees with a count by sets") {
    const index_t n = 500, k = 7;
    const philox rng{.seed = 4};
    tensor<std::int32_t, 2> predicted({n, k});
    labels truth(static_cast<std::size_t>(n));
    for (index_t i = 0; i < predicted.size(); ++i)
        predicted.data()[i] = static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(i), 12)) - 1;
    for (std::size_t i = 0; i < truth.size(); ++i) truth[i] = static_cast<std::int32_t>(rng.below(i + 100000, 10)) - 1;
    const std::vector<index_t> ks = {7, 2, 1};
    const auto r = metrics::retrieval_scores(predicted.view(), truth, ks);
    for (std::size_t j = 0; j < ks.size(); ++j) {
        std::map<std::int32_t, std::pair<double, double>> classes;
        double right = 0.0, counted = 0.0;
        for (index_t q = 0; q < n; ++q) {
            const std::int32_t label = truth[static_cast<std::size_t>(q)];
            if (label < 0) continue;
            std::set<std::int32_t> found;
            for (index_t i = 0; i < ks[j]; ++i) found.insert(predicted(q, i));
            const double is_right = found.contains(label) ? 1.0 : 0.0;
            classes[label].first += is_right;
            classes[label].second += 1.0;
            right += is_right;
            counted += 1.0;
        }
        double macro = 0.0;
        for (const auto& [label, c] : classes) macro += c.first / c.second / static_cast<double>(classes.size());
        CHECK(r.micro[j] == doctest::Approx(right / counted).epsilon(1e-12));
        CHECK(r.macro[j] == doctest::Approx(macro).epsilon(1e-12));
    }
}

TEST_CASE("retrieval from embeddings through nearest keys") {
    cpu_context ctx;
    // Keys on the axes, queries near them.
    tensor<float, 2> keys({4, 3}), queries({3, 3});
    keys(0, 0) = keys(1, 1) = keys(2, 2) = 1.0f;
    keys(3, 0) = -2.0f;
    const labels of_keys = {10, 11, 12, 13};
    queries(0, 0) = 5.0f;
    queries(1, 1) = 0.5f;
    queries(1, 2) = 0.4f;
    queries(2, 0) = -1.0f;
    queries(2, 2) = 0.1f;
    const auto nn = cluster::knn(ctx, queries, keys, {.k = 2, .metric = cluster::knn_metric::cosine});
    const auto predicted = metrics::neighbour_labels(nn.index.view(), of_keys);
    const labels truth = {10, 12, 13};
    const auto r = metrics::retrieval_scores(predicted.view(), truth, std::vector<index_t>{1, 2});
    CHECK(r.n_right == std::vector<index_t>{2, 3});
}

TEST_CASE("retrieval: harmonic mean") {
    CHECK(metrics::harmonic_mean(0.6025, 0.4637) == doctest::Approx(0.52406).epsilon(1e-4));
    CHECK(metrics::harmonic_mean(0.0, 1.0) == 0.0);
    CHECK(metrics::harmonic_mean(0.5, 0.5) == 0.5);
}

TEST_CASE("retrieval: averaged and concatenated embeddings") {
    const auto a = test::random_tensor<float, 2>({6, 4}, 1), b = test::random_tensor<float, 2>({6, 4}, 2),
               c = test::random_tensor<float, 2>({6, 3}, 3);
    const auto mean = metrics::average_embeddings(a, b), side = metrics::concatenate_embeddings(a, c);
    const auto cosine = [](tensor_view<const float, 1> x, tensor_view<const float, 1> y) {
        double dot = 0.0, xx = 0.0, yy = 0.0;
        for (index_t k = 0; k < x.extent(0); ++k) {
            dot += static_cast<double>(x(k)) * static_cast<double>(y(k));
            xx += static_cast<double>(x(k)) * static_cast<double>(x(k));
            yy += static_cast<double>(y(k)) * static_cast<double>(y(k));
        }
        return dot / std::sqrt(xx * yy);
    };
    CHECK(side.extent(1) == 7);
    for (index_t i = 0; i < 6; ++i) {
        double of_mean = 0.0, of_side = 0.0;
        for (const float v : std::vector<float>(mean[i].data(), mean[i].data() + 4))
            of_mean += static_cast<double>(v) * static_cast<double>(v);
        for (const float v : std::vector<float>(side[i].data(), side[i].data() + 7))
            of_side += static_cast<double>(v) * static_cast<double>(v);
        CHECK(of_mean == doctest::Approx(1.0).epsilon(1e-6));
        CHECK(of_side == doctest::Approx(1.0).epsilon(1e-6));
        // The mean lies as near to one as to the other.
        CHECK(cosine(mean[i], a[i]) == doctest::Approx(cosine(mean[i], b[i])).epsilon(1e-5));
        CHECK(cosine(side[i], side[0]) ==
              doctest::Approx(0.5 * (cosine(a[i], a[0]) + cosine(c[i], c[0]))).epsilon(1e-5));
    }
    tensor<float, 2> opposite({1, 2}), other({1, 2});
    opposite(0, 0) = 1.0f;
    other(0, 0) = -3.0f;
    CHECK(metrics::average_embeddings(opposite, other)(0, 0) == 0.0f);
    CHECK(test::error_text<shape_error>([&] { metrics::average_embeddings(a, c); }) ==
          "average_embeddings: b has shape [6, 3], expected [6, 4]");
    CHECK(test::error_text<shape_error>([&] { metrics::concatenate_embeddings(a, other); }) ==
          "concatenate_embeddings: 6 rows and 1");
}

TEST_CASE("retrieval: a threshold decides place by place, and is tuned on both splits") {
    // Seen queries (label 1): the seen search is right, similarities 0.9 and 0.75; unseen ones (label 2): 0.65 and 0.85.
    const auto seen = matrix({{1, 1}, {1, 3}}), unseen = matrix({{2, 2}, {2, 4}});
    tensor<float, 2> of_seen({2, 2}), of_unseen({2, 2});
    of_seen(0, 0) = 0.9f;
    of_seen(0, 1) = 0.5f;
    of_seen(1, 0) = 0.75f;
    of_unseen(0, 0) = 0.65f;
    of_unseen(1, 0) = 0.85f;
    const metrics::fusion_candidates s{seen.view(), of_seen.view(), unseen.view()},
        u{seen.view(), of_unseen.view(), unseen.view()};
    const auto fused = metrics::fuse_by_threshold(s, 0.6);
    CHECK(fused(0, 0) == 1);
    CHECK(fused(0, 1) == 2);  // 0.5: the unseen search's second
    CHECK(fused(1, 0) == 1);
    CHECK(fused(1, 1) == 4);
    // Strictly above.
    CHECK(metrics::fuse_by_threshold(s, static_cast<double>(0.9f))(0, 0) == 2);
    const labels seen_truth = {1, 1}, unseen_truth = {2, 2};
    // In tenths: seen 1 and unseen 0.5 at 0.7, both 0.5 at 0.8. In fortieths 0.65 to 0.725 are as good: the first wins.
    const auto best = metrics::best_fusion_threshold(s, seen_truth, u, unseen_truth, 11);
    CHECK(best.harmonic_mean == doctest::Approx(2.0 / 3.0));
    CHECK(best.seen == 1.0);
    CHECK(best.unseen == 0.5);
    CHECK(best.threshold == doctest::Approx(0.7).epsilon(1e-12));
    CHECK(metrics::best_fusion_threshold(s, seen_truth, u, unseen_truth, 41).threshold ==
          doctest::Approx(0.65).epsilon(1e-12));
    CHECK(test::error_text<value_error>([&] { metrics::best_fusion_threshold(s, seen_truth, u, {}, 11); }) ==
          "best_fusion_threshold: 2 predictions for 0 labels");
    CHECK(test::error_text<value_error>([&] { metrics::best_fusion_threshold(s, seen_truth, u, unseen_truth, 1); }) ==
          "best_fusion_threshold: n_steps must be at least 2, is 1");
}

TEST_CASE("retrieval names what is wrong") {
    const auto predicted = matrix({{0, 1}, {0, 1}});
    const labels truth = {0, 1}, short_truth = {0}, keys = {5};
    CHECK(test::error_text<value_error>([&] { metrics::retrieval_scores(predicted.view(), short_truth); }) ==
          "retrieval_scores: 2 predictions for 1 labels");
    CHECK(test::error_text<value_error>([&] {
              metrics::retrieval_scores(predicted.view(), truth, std::vector<index_t>{3});
          }) == "retrieval_scores: k is 3, must be between 1 and the 2 neighbours");
    CHECK(test::error_text<value_error>([&] { metrics::neighbour_labels(predicted.view(), keys); }) ==
          "neighbour_labels: neighbour 1 of query 0 is 1, there are 1 keys");
}

TEST_CASE("retrieval reproduces what CLIBD's authors counted") {
    const char* folder = std::getenv("INSTAR_DATA");
    if (folder == nullptr) {
        MESSAGE("skipped: INSTAR_DATA is not set");
        return;
    }
    struct expectation {
        const char* file;
        index_t n_right[4], n_classes[4];
        double macro[4], tolerance;
    };
    // Image to image: counts from the file, macro to six digits. Image to DNA: the percentages of the published table.
    for (const expectation& e : {expectation{"IDT_val_top1_seen_i2i_results.csv.gz",
                                             {4863, 4706, 4374, 3905},
                                             {10, 132, 521, 916},
                                             {0.985827, 0.929722, 0.760348, 0.602520},
                                             5e-7},
                                 expectation{"after_val_top1_seen_i2d_results.csv.gz",
                                             {4865, 4706, 4216, 3575},
                                             {10, 132, 521, 916},
                                             {0.9917, 0.8854, 0.6860, 0.5189},
                                             5e-5}}) {
        CAPTURE(e.file);
        const char* const ranks[4] = {"Order", "Family", "Genus", "Species"};
        std::vector<std::string> columns;
        for (const std::string rank : ranks) {
            columns.push_back("GT_" + rank);
            columns.push_back("Pred_" + rank);
        }
        data::csv_reader in(std::string(folder) + "/clibd_predictions/" + e.file, {.columns = columns});
        labels truth[4], predicted[4];
        std::map<std::string, std::int32_t, std::less<>> names[4];
        while (in.next()) {
            for (std::size_t r = 0; r < 4; ++r) {
                const auto label = [&](std::string_view name) {
                    return names[r]
                        .try_emplace(std::string(name), static_cast<std::int32_t>(names[r].size()))
                        .first->second;
                };
                truth[r].push_back(label(in[2 * r]));
                predicted[r].push_back(label(in[2 * r + 1]));
            }
        }
        for (std::size_t r = 0; r < 4; ++r) {
            CAPTURE(ranks[r]);
            const tensor_view<const std::int32_t, 2> top_1(predicted[r].data(),
                                                           {static_cast<index_t>(predicted[r].size()), 1});
            const auto s = metrics::retrieval_scores(top_1, truth[r]);
            CHECK(s.n_counted == 4878);
            CHECK(s.n_right[0] == e.n_right[r]);
            CHECK(s.n_classes == e.n_classes[r]);
            CHECK(std::fabs(s.macro[0] - e.macro[r]) <= e.tolerance);
        }
    }
}
