// Ten AdamW + OneCycle steps against PyTorch's: each step's rates and loss, and the parameters after the last.
#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "golden/bert_case.hpp"

using namespace instar;

namespace {

template <class T>
void check_training(const char* name, const char* key, double weight_decay, double loss_tolerance, double parameter_tolerance, bool bf16 = false) {
    CAPTURE(std::string(name));
    CAPTURE(weight_decay);
    cpu_context ctx{2};
    ctx.allow_bf16(bf16);
    const test::bert_case c(name);
    const std::string prefix = std::string("training.") + key;
    const auto losses = c.golden.read<double>(prefix + ".loss"), rates = c.golden.read<double>(prefix + ".rates");
    REQUIRE(c.n_steps == 10);
    auto model = c.token_model<T>();
    train::bert_trainer<T> trainer(model, {.weight_decay = weight_decay});
    const optim::one_cycle schedule{.max_lr = 2e-3, .total_steps = c.n_steps};
    double before = 0.0;
    for (index_t step = 0; step < c.n_steps; ++step) {
        CAPTURE(step);
        const auto batch = c.masked_batch(step);
        const double loss = trainer.accumulate_mlm(ctx, batch, c.mask.view(), batch.denominator, {});
        const auto i = static_cast<std::size_t>(step);
        CHECK(std::fabs(loss / losses[i] - 1.0) <= loss_tolerance);
        const auto r = schedule(step);
        CHECK(r.lr == doctest::Approx(rates[2 * i]).epsilon(1e-12));
        CHECK(r.beta1 == doctest::Approx(rates[2 * i + 1]).epsilon(1e-12));
        trainer.update(ctx, r);
        before = loss;
    }
    CHECK(before < losses[0]);
    if (parameter_tolerance > 0) {
        const auto worst = c.golden.worst_parameter(prefix + ".parameter", model.layout(), model.parameters());
        INFO("worst parameter: " << worst.name << ", off by " << worst.error);
        CHECK(worst.error <= parameter_tolerance);
    }
    for (index_t i = 0; i < c.config.d_model; ++i) CHECK(model.parameters()(i) == T(0));  // the [MASK] row comes first
}

}  // namespace

TEST_CASE("bert_training: losses of ten steps, float") {
    // Key biases have no gradient in exact arithmetic, and AdamW makes steps of their rounding noise; nothing else sees them,
    // so parameters are compared in double alone.
    for (const char* name : test::k_bert_cases) {
        check_training<float>(name, "wd0", 0.0, 1e-5, 0.0);
        check_training<float>(name, "wd0.01", 0.01, 1e-5, 0.0);
    }
}

TEST_CASE("bert_training: losses of ten steps, float with products of bf16") {
    // The largest is 5.5e-4.
    for (const char* name : test::k_bert_cases) check_training<float>(name, "wd0.01", 0.01, 1e-3, 0.0, true);
}

TEST_CASE("bert_training: losses of ten steps and the parameters after them, double") {
    for (const char* name : test::k_bert_cases) {
        check_training<double>(name, "wd0", 0.0, 1e-10, 1e-9);
        check_training<double>(name, "wd0.01", 0.01, 1e-10, 1e-9);
    }
}

TEST_CASE("bert_training: the two weight decays are told apart") {
    const test::bert_case c("bert_k3");
    CHECK(c.golden.read<double>("training.wd0.loss")[9] != doctest::Approx(c.golden.read<double>("training.wd0.01.loss")[9]).epsilon(1e-6));
}
