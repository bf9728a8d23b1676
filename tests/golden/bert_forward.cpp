// The encoder's hidden states, logits and pooled vectors against transformers' BertForTokenClassification.
#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "golden/bert_case.hpp"

using namespace instar;

namespace {

template <class T>
void check_forward(const char* name, double tolerance) {
    CAPTURE(std::string(name));
    cpu_context ctx{2};
    const test::bert_case c(name);
    const auto model = c.token_model<T>();
    const auto inputs = c.step_of(c.inputs, 0);
    for (const bool training : {false, true}) {
        CAPTURE(training);
        nn::bert_activations<T> memory;
        const auto hidden = model.forward(ctx, memory, inputs.view(), c.mask.view(), {.training = training});
        CHECK(c.golden.max_error("hidden", hidden.data(), hidden.size()) <= tolerance);
        tensor<T, 2> logits({c.n_tokens(), c.config.n_labels});
        model.network().classifier().forward(ctx, model.parameters(), logits, hidden.template reshape<2>({c.n_tokens(), c.config.d_model}));
        CHECK(c.golden.max_error("logits", logits.data(), logits.size()) <= tolerance);
    }
    // Batches of two and a rest: an embedding must not depend on its batch.
    const auto mean = model.embed(ctx, inputs.view(), c.mask.view(), ops::pooling::mean, 2);
    CHECK(c.golden.max_error("pooled.mean", mean.data(), mean.size()) <= tolerance);
    const auto masked_mean = model.embed(ctx, inputs.view(), c.mask.view(), ops::pooling::masked_mean, 2);
    CHECK(c.golden.max_error("pooled.masked_mean", masked_mean.data(), masked_mean.size()) <= tolerance);
    // The file tells the poolings and the mask apart.
    CHECK(c.golden.max_error("pooled.mean", masked_mean.data(), masked_mean.size()) > 1e-2);
    const auto unmasked = model.embed(ctx, inputs.view(), {}, ops::pooling::mean);
    CHECK(c.golden.max_error("pooled.mean", unmasked.data(), unmasked.size()) > 1e-2);
}

}  // namespace

TEST_CASE("bert_forward: both sides fill parameters alike") {
    // Printed by tests/reference/bert_fill.py.
    const std::uint64_t hash = test::golden_hash("classifier.weight");
    CHECK(hash == 0x14e5f940ab234d36u);
    CHECK(test::golden_unit(hash, 0) == doctest::Approx(0.43365479).epsilon(1e-7));
    CHECK(test::golden_unit(hash, 1) == doctest::Approx(-0.92429543).epsilon(1e-7));
    CHECK(test::golden_below(hash, 0, 66) == 47);
    CHECK(test::golden_below(hash, 7, 66) == 38);
}

TEST_CASE("bert_forward: hidden states, logits and poolings equal transformers', float") {
    for (const char* name : test::k_bert_cases) check_forward<float>(name, 1e-5);
}

TEST_CASE("bert_forward: hidden states, logits and poolings equal transformers', double") {
    for (const char* name : test::k_bert_cases) check_forward<double>(name, 1e-12);
}
