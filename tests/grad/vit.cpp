// The vision transformer in double: gradients of every parameter against central differences, for both poolings, with dropout and stochastic depth;
// which samples a dropped branch leaves alone.
#include <doctest/doctest.h>

#include <map>
#include <tuple>

#include "instar/core/cpu_context.hpp"
#include "instar/nn/vit.hpp"
#include "support/gradient_check.hpp"

using namespace instar;

namespace {

void shake(tensor_view<double, 1> x, std::uint64_t stream) {
    const philox rng = philox{.seed = 5}.fork(stream);
    for (index_t i = 0; i < x.size(); ++i) x(i) += 0.3 * static_cast<double>(rng.normal(static_cast<std::uint64_t>(i)));
}

}  // namespace

TEST_CASE("vit: gradients, dropout, stochastic depth") {
    cpu_context ctx;
    for (const auto& [pooling, dropout, path] : {std::tuple{nn::vit_pooling::class_token, 0.0f, 0.0f}, {nn::vit_pooling::patch_mean, 0.2f, 0.0f}, {nn::vit_pooling::class_token, 0.0f, 0.5f},
                                                 {nn::vit_pooling::patch_mean, 0.3f, 0.5f}}) {
        CAPTURE(dropout);
        CAPTURE(path);
        nn::vit<double> model({.image_size = 9, .patch_size = 3, .n_channels = 2, .d_model = 6, .n_layers = 3, .n_heads = 2, .d_ff = 9, .pooling = pooling, .init_std = 0.4, .dropout = dropout, .drop_path = path},
                              philox{.seed = 1});
        shake(model.parameters(), 1);
        tensor<double, 4> images({4, 2, 9, 9});
        shake(images.view().reshape<1>({images.size()}), 2);
        tensor<double, 2> weights({4, 6});
        shake(weights.view().reshape<1>({24}), 3);
        nn::vit_activations<double> s;
        const nn::run_mode mode{.training = true, .rng = {.seed = 3}};
        const auto f = [&] {
            const auto y = model.forward(ctx, s, images.view(), mode);
            double sum = 0.0;
            for (index_t i = 0; i < 24; ++i) sum += y.data()[i] * weights.data()[i];
            return sum;
        };
        f();
        auto g = model.make_gradients();
        model.backward(ctx, g.view(), s, weights.view());
        CHECK(test::gradient_error(model.parameters(), g.view(), f, 1e-5, std::max<index_t>(1, model.parameters().size() / 300)) < 1e-6);
    }
}

TEST_CASE("vit: stochastic depth drops whole branches of whole images, the last block's oftenest, and nothing in evaluation") {
    cpu_context ctx;
    nn::vit<double> model({.image_size = 6, .patch_size = 3, .n_channels = 1, .d_model = 4, .n_layers = 2, .n_heads = 2, .d_ff = 6, .init_std = 0.4, .drop_path = 0.5f}, philox{.seed = 1});
    shake(model.parameters(), 1);
    const index_t n = 2000;
    tensor<double, 4> images({n, 1, 6, 6});
    for (index_t i = 0; i < images.size(); ++i) images.data()[i] = static_cast<double>(i % 36) / 36.0;  // all alike
    nn::vit_activations<double> s, e;
    const auto y = model.forward(ctx, s, images.view(), {.training = true, .rng = {.seed = 9}});
    std::map<double, index_t> kinds;
    for (index_t i = 0; i < n; ++i) ++kinds[y(i, 0)];
    CHECK(kinds.size() == 4);  // the last block's two branches, there or not; the first block's always
    for (const auto& [value, count] : kinds) CHECK((count > 420 && count < 580));
    const auto z = model.forward(ctx, e, images.view());
    for (index_t i = 1; i < n; ++i) CHECK(z(i, 0) == z(0, 0));
    CHECK_THROWS_AS(nn::vit<double>({.drop_path = 1.0f}), value_error);
}
