// The contrastive losses and their gradients against PyTorch's direct formulas in double.

#include <cmath>

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/ops/contrastive.hpp"
#include "instar/ops/siglip.hpp"
#include "support/golden_fill.hpp"

using namespace instar;

namespace {

/// A stored matrix of features.
template <class T>
tensor<T, 2> features(const test::golden_file& golden, const std::string& name, index_t n) {
    const auto values = golden.read<double>(name);
    tensor<T, 2> x({n, static_cast<index_t>(values.size()) / n});
    for (index_t i = 0; i < x.size(); ++i) x.data()[i] = static_cast<T>(values[static_cast<std::size_t>(i)]);
    return x;
}

/// What tests/reference/info_nce_golden.py calls features(name, n, d).
template <class T>
tensor<T, 2> filled_features(const std::string& name, index_t n, index_t d) {
    tensor<T, 2> x({n, d});
    std::vector<double> row(static_cast<std::size_t>(d));
    for (index_t i = 0; i < n; ++i) {
        double squares = 0.0;
        for (std::size_t k = 0; k < row.size(); ++k) {
            row[k] = test::golden_unit(test::golden_hash(name), static_cast<std::uint64_t>(i * d) + k) +
                     0.5 * test::golden_unit(test::golden_hash(name + ".common"), k);
            squares += row[k] * row[k];
        }
        for (std::size_t k = 0; k < row.size(); ++k)
            x(i, static_cast<index_t>(k)) = static_cast<T>(row[k] / std::sqrt(squares));
    }
    return x;
}

template <class T>
double sum(const tensor<T, 1>& a, const tensor<T, 1>& b) {
    double s = 0.0;
    for (const T v : a) s += static_cast<double>(v);
    for (const T v : b) s += static_cast<double>(v);
    return s;
}

/// A pair of features, and all that InfoNCE makes of it.
template <class T>
struct pair_run {
    tensor<T, 2> a, b, da, db;
    tensor<T, 1> logit_scale, d_logit_scale, memory, row_loss, column_loss;

    pair_run(tensor<T, 2> x, tensor<T, 2> y, double log_scale)
        : a(std::move(x)),
          b(std::move(y)),
          da({a.extent(0), a.extent(1)}),
          db({b.extent(0), b.extent(1)}),
          logit_scale({1}),
          d_logit_scale({1}),
          memory({ops::info_nce_saved<T>::size(a.extent(0), b.extent(0))}),
          row_loss({a.extent(0)}),
          column_loss({b.extent(0)}) {
        logit_scale(0) = static_cast<T>(log_scale);
    }
    void run(const ops::info_nce_targets& targets, const ops::info_nce_options& options) {
        cpu_context ctx{2};
        const ops::info_nce_saved<T> saved(memory.view(), a.extent(0), b.extent(0));
        ops::info_nce_forward<T>(ctx, saved, a, b, logit_scale, targets);
        ops::info_nce_loss<T>(ctx, row_loss, column_loss, saved, options);
        ops::info_nce_backward<T>(ctx, da, db, d_logit_scale, saved, a, b, logit_scale, targets, options);
    }
    void check(const test::golden_file& golden, const std::string& name, double tolerance) const {
        const double loss = golden.scalar(name + ".loss");
        CHECK(std::fabs(sum(row_loss, column_loss) - loss) <= tolerance * std::fmax(1.0, loss));
        CHECK(golden.max_error(name + ".a.gradient", da.data(), da.size()) <= tolerance);
        CHECK(golden.max_error(name + ".b.gradient", db.data(), db.size()) <= tolerance);
        const double moment = golden.read<double>(name + ".logit_scale.gradient").at(0);
        CHECK(std::fabs(static_cast<double>(d_logit_scale(0)) - moment) <=
              tolerance * std::fmax(1.0, std::fabs(moment)));
    }
};

constexpr double k_log_scale = 2.659260034561157;  // float(log(1 / 0.07))

template <class T>
void check_pairs(double tolerance) {
    const test::golden_file golden("info_nce");
    for (const auto& [name, n] : {std::pair<std::string, index_t>{"pair", 37}, {"sharp", 24}}) {
        CAPTURE(name);
        pair_run<T> x(features<T>(golden, name + ".a", n), features<T>(golden, name + ".b", n),
                      golden.read<double>(name + ".logit_scale").at(0));
        x.run({}, {});
        x.check(golden, name, name == "sharp" ? 4 * tolerance : tolerance);
    }
    tensor<std::int32_t, 1> labels({33});
    golden.file().read_into("labels.labels", labels.view());
    for (const bool normalize : {true, false}) {
        CAPTURE(normalize);
        pair_run<T> x(features<T>(golden, "labels.a", 33), features<T>(golden, "labels.b", 33), k_log_scale);
        x.run({.row_labels = labels.view(), .column_labels = labels.view()}, {.normalize_targets = normalize});
        x.check(golden, normalize ? "labels.mean" : "labels.sum", tolerance);
    }
}

/// One sample has nothing to be told from: PyTorch's gradients are 0, and so are these.
template <class T>
void check_single() {
    const test::golden_file golden("info_nce");
    pair_run<T> x(features<T>(golden, "single.a", 1), features<T>(golden, "single.b", 1), k_log_scale);
    x.run({}, {});
    CHECK(golden.scalar("single.loss") == 0.0);
    CHECK(sum(x.row_loss, x.column_loss) == 0.0);
    for (index_t k = 0; k < x.da.size(); ++k) {
        CHECK(x.da.data()[k] == T(0));
        CHECK(x.db.data()[k] == T(0));
    }
    CHECK(x.d_logit_scale(0) == T(0));
}

template <class T>
void check_large(double tolerance) {
    const test::golden_file golden("info_nce");
    const index_t n = 2111, d = 8;
    pair_run<T> x(filled_features<T>("large.a", n, d), filled_features<T>("large.b", n, d), k_log_scale);
    x.run({}, {});
    CHECK(sum(x.row_loss, x.column_loss) == doctest::Approx(golden.scalar("large.loss")).epsilon(tolerance));
    CHECK(golden.summary_error("large.a", x.da.data(), x.da.size(), 0.0) <= tolerance);
    CHECK(golden.summary_error("large.b", x.db.data(), x.db.size(), 0.0) <= tolerance);
    CHECK(static_cast<double>(x.d_logit_scale(0)) ==
          doctest::Approx(golden.read<double>("large.logit_scale.gradient").at(0)).epsilon(tolerance));
}

template <class T>
void check_trimodal(double tolerance) {
    cpu_context ctx{2};
    const test::golden_file golden("info_nce");
    const index_t n = 29;
    tensor<T, 2> towers[3], gradients[3], loss({6, n});
    tensor<T, 1> logit_scale({1}), d_logit_scale({1}), scratch({8 * n});
    logit_scale(0) = static_cast<T>(k_log_scale);
    std::vector<ops::contrastive_modality<T>> modalities;
    for (int m = 0; m < 3; ++m) {
        towers[m] = features<T>(golden, "trimodal." + std::to_string(m), n);
        gradients[m] = tensor<T, 2>({n, towers[m].extent(1)});
        modalities.push_back({towers[m].view(), gradients[m].view(), {}});
    }
    ops::contrastive_loss<T>(ctx, loss, d_logit_scale, logit_scale, modalities, {}, scratch, {});
    double total = 0.0;
    for (const T l : loss) total += static_cast<double>(l);
    CHECK(total == doctest::Approx(golden.scalar("trimodal.loss")).epsilon(tolerance));
    for (int m = 0; m < 3; ++m)
        CHECK(golden.max_error("trimodal." + std::to_string(m) + ".gradient", gradients[m].data(),
                               gradients[m].size()) <= tolerance);
    CHECK(golden.max_error("trimodal.logit_scale.gradient", d_logit_scale.data(), 1) <= tolerance);
}

template <class T>
void check_siglip(double tolerance) {
    cpu_context ctx{2};
    const test::golden_file golden("info_nce");
    const index_t n = 31;
    const auto a = features<T>(golden, "siglip.a", n), b = features<T>(golden, "siglip.b", n);
    tensor<T, 2> da({n, a.extent(1)}), db({n, a.extent(1)});
    tensor<T, 1> scale({1}), bias({1}), d_scale({1}), d_bias({1}), loss({n});
    scale(0) = static_cast<T>(static_cast<float>(std::log(10.0)));
    bias(0) = T(-10);
    ops::siglip<T>(ctx, loss, da, db, d_scale, d_bias, a, b, scale, bias, {}, {});
    double total = 0.0;
    for (const T l : loss) total += static_cast<double>(l);
    CHECK(total == doctest::Approx(golden.scalar("siglip.loss")).epsilon(tolerance));
    CHECK(golden.max_error("siglip.a.gradient", da.data(), da.size()) <= tolerance);
    CHECK(golden.max_error("siglip.b.gradient", db.data(), db.size()) <= tolerance);
    CHECK(golden.max_error("siglip.logit_scale.gradient", d_scale.data(), 1) <= tolerance);
    CHECK(golden.max_error("siglip.logit_bias.gradient", d_bias.data(), 1) <= tolerance);
}

}  // namespace

TEST_CASE("info_nce: pairs with duplicates, a sharp temperature and label targets, float") { check_pairs<float>(1e-6); }
TEST_CASE("info_nce: pairs with duplicates, a sharp temperature and label targets, double") {
    check_pairs<double>(1e-13);
}
TEST_CASE("info_nce: a batch of one") {
    check_single<float>();
    check_single<double>();
}
TEST_CASE("info_nce: more samples than a tile has, not a multiple of it, float") { check_large<float>(1e-6); }
TEST_CASE("info_nce: more samples than a tile has, not a multiple of it, double") { check_large<double>(1e-12); }
TEST_CASE("info_nce: CLIBD's loss of three modalities, float") { check_trimodal<float>(1e-6); }
TEST_CASE("info_nce: CLIBD's loss of three modalities, double") { check_trimodal<double>(1e-13); }
TEST_CASE("info_nce: the sigmoid loss, float") { check_siglip<float>(1e-6); }
TEST_CASE("info_nce: the sigmoid loss, double") { check_siglip<double>(1e-12); }
