// LoRA in double: what merge() writes, gradients of A, B and whole parameters against central differences, and that all else stays.
#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/nn/bert.hpp"
#include "instar/nn/lora.hpp"
#include "instar/nn/vit.hpp"
#include "support/gradient_check.hpp"

using namespace instar;

namespace {

void shake(tensor_view<double, 1> x, std::uint64_t stream) {
    const philox rng = philox{.seed = 5}.fork(stream);
    for (index_t i = 0; i < x.size(); ++i) x(i) += 0.3 * static_cast<double>(rng.normal(static_cast<std::uint64_t>(i)));
}

using nn::parameter_info;

const parameter_info& info_of(const nn::parameter_layout& layout, const std::string& name) {
    for (const auto& i : layout.infos()) {
        if (i.name == name) return i;
    }
    FAIL("no parameter " << name);
    return layout.infos().front();
}

/// Σ weights · output, so that the gradient at the output is `weights`.
double dot(const tensor_view<double, 2>& y, const tensor<double, 2>& w) {
    double s = 0.0;
    for (index_t i = 0; i < y.extent(0); ++i) {
        for (index_t j = 0; j < y.extent(1); ++j) s += y(i, j) * w(i, j);
    }
    return s;
}

}  // namespace

TEST_CASE("lora: a vision transformer's query and value") {
    cpu_context ctx;
    for (const double alpha : {0.0, 6.0}) {
        nn::vit<double> model({.image_size = 8, .patch_size = 4, .d_model = 8, .n_layers = 2, .n_heads = 2, .d_ff = 12, .n_labels = 5, .init_std = 0.4}, philox{.seed = 1});
        shake(model.parameters(), 1);
        const std::vector<double> before(model.parameters().data(), model.parameters().data() + model.parameters().size());
        nn::lora<double> adapters(ctx, model.layout(), model.parameters(), {.rank = 3, .alpha = alpha, .whole = {"head."}}, philox{.seed = 2});
        CHECK(adapters.layout().count() == 2 * 2 * (3 * 8 + 8 * 3) + 5 * 8 + 5);
        adapters.merge(ctx);  // B is zero: nothing changes
        CHECK(std::equal(before.begin(), before.end(), model.parameters().data()));

        shake(adapters.parameters(), 2);
        adapters.merge(ctx);
        const std::string layer = "blocks.1.attn.qkv.";
        const auto &w = info_of(model.layout(), layer + "weight"), &a = info_of(adapters.layout(), layer + "linear_a_v.weight"), &b = info_of(adapters.layout(), layer + "linear_b_v.weight");
        for (const auto& [i, j] : {std::pair<index_t, index_t>{0, 0}, {7, 3}}) {
            double expected = before[static_cast<std::size_t>(w.offset + (16 + i) * 8 + j)];
            for (index_t r = 0; r < 3; ++r) expected += (alpha > 0.0 ? alpha / 3.0 : 1.0) * adapters.parameters()(b.offset + i * 3 + r) * adapters.parameters()(a.offset + r * 8 + j);
            CHECK(model.parameters()(w.offset + (16 + i) * 8 + j) == doctest::Approx(expected).epsilon(1e-12));
            CHECK(model.parameters()(w.offset + (8 + i) * 8 + j) == before[static_cast<std::size_t>(w.offset + (8 + i) * 8 + j)]);  // keys stay
        }

        tensor<double, 4> images({3, 3, 8, 8});
        shake(images.view().reshape<1>({images.size()}), 3);
        tensor<double, 2> weights({3, 5}), d_features({3, 8});
        shake(weights.view().reshape<1>({15}), 4);
        nn::vit_activations<double> s;
        const auto f = [&] {
            adapters.merge(ctx);
            model.forward(ctx, s, images.view(), {.training = true});
            return dot(model.classify(ctx, s), weights);
        };
        f();
        tensor<double, 1> g({model.layout().size()});
        const tensor_view<const double, 1> values = model.parameters();
        model.network().head().backward(ctx, values, g.view(), d_features.view(), weights.view(), s.features);
        model.backward(ctx, g.view(), s, d_features.view());
        adapters.pull(ctx, g.view());
        adapters.pull(ctx, g.view());  // adds up
        tensor<double, 1> half({adapters.gradients().size()});
        for (index_t i = 0; i < half.size(); ++i) half(i) = 0.5 * adapters.gradients()(i);
        CHECK(test::gradient_error(adapters.parameters(), half.view(), f, 1e-5, 1) < 1e-7);
        // Everything but query, value and head is as it was.
        index_t n_changed = 0;
        for (const auto& p : model.layout().infos()) {
            bool changed = false;
            for (index_t i = 0; i < p.size; ++i) changed = changed || model.parameters()(p.offset + i) != before[static_cast<std::size_t>(p.offset + i)];
            CHECK(changed == (p.name.ends_with("attn.qkv.weight") || p.name.starts_with("head.")));
            n_changed += changed;
        }
        CHECK(n_changed == 4);
    }
}

TEST_CASE("lora: names of a BERT; what is refused") {
    cpu_context ctx;
    nn::bert<double> model({.vocab_size = 9, .d_model = 8, .n_layers = 1, .n_heads = 2, .d_ff = 12, .max_positions = 6}, philox{.seed = 1});
    const nn::lora<double> adapters(ctx, model.layout(), model.parameters(), {}, philox{.seed = 2});
    info_of(adapters.layout(), "bert.encoder.layer.0.attention.self.query.w_a.weight");
    info_of(adapters.layout(), "bert.encoder.layer.0.attention.self.value.w_b.weight");
    CHECK(adapters.layout().infos().size() == 4);
    const auto make = [&](const nn::lora_config& c) { nn::lora<double>(ctx, model.layout(), model.parameters(), c, philox{.seed = 2}); };
    CHECK_THROWS_WITH_AS(make({.rank = 0}), "lora: rank must be at least 1, is 0", value_error);
    CHECK_THROWS_WITH_AS(make({.alpha = -1.0}), "lora: alpha must be finite and not negative, is -1.000000", value_error);
    CHECK_THROWS_WITH_AS(make({.whole = {"head."}}), "lora: no parameter's name starts with head.", value_error);
    CHECK_THROWS_AS(make({.targets = [](const parameter_info&) { return std::vector<nn::lora_rows>{}; }}), value_error);
}
