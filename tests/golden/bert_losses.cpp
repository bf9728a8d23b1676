// Softmax cross-entropy and the supervised contrastive loss, with their gradients, against PyTorch in double.
#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/ops/cross_entropy.hpp"
#include "instar/ops/sup_con.hpp"
#include "support/golden_fill.hpp"

using namespace instar;

namespace {

template <class T>
void check_cross_entropy(double tolerance) {
    cpu_context ctx{2};
    const test::golden_file golden("bert_losses");
    const index_t n = 13, c = 37;
    tensor<std::int32_t, 1> targets({n});
    golden.file().read_into("cross_entropy.targets", targets.view());
    tensor<T, 2> x({n, c}), dx({n, c});
    for (index_t i = 0; i < x.size(); ++i) x.data()[i] = static_cast<T>(16.0 * test::golden_unit(test::golden_hash("loss.logits"), static_cast<std::uint64_t>(i)));
    tensor<float, 1> weights({n});
    double n_targets = 0.0, weight_sum = 0.0;
    for (index_t r = 0; r < n; ++r) {
        weights(r) = static_cast<float>(1.0 + test::golden_unit(test::golden_hash("loss.weights"), static_cast<std::uint64_t>(r)));
        n_targets += targets(r) >= 0;
        weight_sum += targets(r) >= 0 ? static_cast<double>(weights(r)) : 0.0;
    }
    for (const bool weighted : {false, true}) {
        for (const double smoothing : {0.0, 0.1}) {
            CAPTURE(weighted);
            CAPTURE(smoothing);
            const std::string key = std::string("cross_entropy.") + (weighted ? "weighted" : "plain") + (smoothing > 0 ? ".smooth0.1" : ".smooth0");
            tensor<T, 1> loss({n});
            ops::softmax_cross_entropy<T>(ctx, loss, dx, x, targets.view(), weighted ? weights.view() : tensor_view<float, 1>{},
                                          {.denominator = weighted ? weight_sum : n_targets, .label_smoothing = smoothing});
            CHECK(golden.max_error(key + ".loss", loss.data(), n) <= tolerance);
            CHECK(golden.max_error(key + ".gradient", dx.data(), dx.size()) <= tolerance);
            CHECK(loss(3) == T(0));
            CHECK(dx(12, 5) == T(0));
        }
    }
}

template <class T>
void check_sup_con(double tolerance) {
    cpu_context ctx{2};
    const test::golden_file golden("bert_losses");
    const index_t n = 21, d = 19;
    tensor<std::int32_t, 1> labels({n});
    golden.file().read_into("sup_con.labels", labels.view());
    const double n_anchors = static_cast<double>(golden.read<std::int64_t>("sup_con.n_anchors").at(0));
    for (const std::string rows : {"unit", "free"}) {
        for (const double temperature : {0.1, 0.5}) {
            CAPTURE(rows);
            CAPTURE(temperature);
            const std::string key = "sup_con." + rows + (temperature < 0.3 ? ".t0.1" : ".t0.5");
            tensor<T, 2> z({n, d}), dz({n, d});
            golden.file().read_into("sup_con." + rows + ".z", z.view());
            tensor<T, 1> loss({n});
            ops::sup_con<T>(ctx, loss, dz, z, labels.view(), {.temperature = temperature, .denominator = n_anchors});
            CHECK(golden.max_error(key + ".loss", loss.data(), n) <= tolerance);
            CHECK(golden.max_error(key + ".gradient", dz.data(), dz.size()) <= tolerance);
        }
    }
}

}  // namespace

TEST_CASE("bert_losses: cross-entropy with ignored rows, weights and smoothing, float") { check_cross_entropy<float>(1e-5); }
TEST_CASE("bert_losses: cross-entropy with ignored rows, weights and smoothing, double") { check_cross_entropy<double>(1e-13); }
TEST_CASE("bert_losses: supervised contrast with singletons and unlabelled rows, float") { check_sup_con<float>(2e-5); }
TEST_CASE("bert_losses: supervised contrast with singletons and unlabelled rows, double") { check_sup_con<double>(1e-13); }
