// Losses and every parameter's gradient against PyTorch's autograd: masked tokens, and sequence classes.
#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "golden/bert_case.hpp"

using namespace instar;

namespace {

template <class T>
double loss_of(const test::bert_case& c, const nn::bert<T>& original, const train::masked_batch& batch) {
    cpu_context ctx{2};
    nn::bert<T> model(original.config());
    std::copy_n(original.parameters().data(), original.layout().size(), model.parameters().data());
    train::bert_trainer<T> trainer(model);
    return trainer.accumulate_mlm(ctx, batch, c.mask.view(), batch.denominator, {});
}

template <class T>
void check_masked_tokens(const char* name, double tolerance) {
    CAPTURE(std::string(name));
    cpu_context ctx{2};
    const test::bert_case c(name);
    auto model = c.token_model<T>();
    train::bert_trainer<T> trainer(model);
    auto batch = c.masked_batch(0);
    REQUIRE(batch.n_masked > 0);
    REQUIRE(batch.n_targets > batch.n_masked);
    const double loss = trainer.accumulate_mlm(ctx, batch, c.mask.view(), batch.denominator, {});
    CHECK(std::fabs(loss / c.golden.scalar("loss") - 1.0) <= tolerance);
    const auto worst = c.golden.worst_parameter("gradient", model.layout(), trainer.gradients());
    INFO("worst parameter: " << worst.name << ", off by " << worst.error);
    CHECK(worst.error <= tolerance);
    CHECK(worst.n_compared == 7 + 16 * c.config.n_layers);
    for (index_t i = 0; i < c.config.d_model; ++i) CHECK(trainer.gradients()(i) == T(0));  // the [MASK] row comes first

    // The other two losses: masked tokens alone, and BarcodeMAE's weighting of masked (0.7) and seen tokens.
    for (index_t i = 0; i < c.n_tokens(); ++i) {
        if (batch.ids.data()[i] != 0) batch.targets(i) = -1;
    }
    batch.denominator = static_cast<double>(batch.n_masked);
    CHECK(std::fabs(loss_of(c, model, batch) / c.golden.scalar("loss.masked") - 1.0) <= tolerance);
    batch = c.masked_batch(0);
    batch.weights = tensor<float, 1>({c.n_tokens()});
    for (index_t i = 0; i < c.n_tokens(); ++i) {
        batch.weights(i) = batch.ids.data()[i] == 0 ? 0.7f / static_cast<float>(batch.n_masked) : 0.3f / static_cast<float>(batch.n_targets - batch.n_masked);
    }
    batch.denominator = 1.0;
    CHECK(std::fabs(loss_of(c, model, batch) / c.golden.scalar("loss.weighted") - 1.0) <= std::max(tolerance, 1e-6));  // weights are float
}

template <class T>
void check_classes(const char* name, double tolerance) {
    CAPTURE(std::string(name));
    cpu_context ctx{2};
    const test::bert_case c(name);
    const auto ids = c.step_of(c.ids, 1);
    tensor<std::int32_t, 1> targets({c.n_batch});
    c.golden.file().read_into("finetune.targets", targets.view());
    REQUIRE(targets(c.n_batch - 1) == -1);
    for (const double smoothing : {0.0, 0.1}) {
        CAPTURE(smoothing);
        const std::string prefix = smoothing > 0 ? "finetune_smooth" : "finetune";
        auto model = c.sequence_model<T>(7);
        train::bert_trainer<T> trainer(model);
        const double loss = trainer.accumulate_classification(ctx, ids.view(), c.mask.view(), targets.view(), ops::pooling::mean,
                                                              {.denominator = static_cast<double>(c.n_batch - 1), .label_smoothing = smoothing}, {});
        CHECK(std::fabs(loss / c.golden.scalar(prefix + ".loss") - 1.0) <= tolerance);
        const auto worst = c.golden.worst_parameter(prefix + ".gradient", model.layout(), trainer.gradients());
        INFO("worst parameter: " << worst.name << ", off by " << worst.error);
        CHECK(worst.error <= tolerance);
    }
    const auto model = c.sequence_model<T>(7);
    const auto pooled = model.embed(ctx, ids.view(), c.mask.view(), ops::pooling::mean);
    tensor<T, 2> logits({c.n_batch, 7});
    model.network().classifier().forward(ctx, model.parameters(), logits, pooled.view());
    CHECK(c.golden.max_error("finetune.logits", logits.data(), logits.size()) <= tolerance);
}

}  // namespace

TEST_CASE("bert_gradients: masked tokens, float") {
    for (const char* name : test::k_bert_cases) check_masked_tokens<float>(name, 1e-5);
}
TEST_CASE("bert_gradients: masked tokens, double") {
    for (const char* name : test::k_bert_cases) check_masked_tokens<double>(name, 1e-11);
}
TEST_CASE("bert_gradients: sequence classes over the mean of all positions, float") {
    for (const char* name : test::k_bert_cases) check_classes<float>(name, 1e-5);
}
TEST_CASE("bert_gradients: sequence classes over the mean of all positions, double") {
    for (const char* name : test::k_bert_cases) check_classes<double>(name, 1e-11);
}
