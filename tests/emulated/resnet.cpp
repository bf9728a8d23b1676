// Residual networks train on the emulated device as on the CPU, from the same nn source: both stems, basic and bottleneck blocks; the same
// bits in every thread order; bf16.

#include "support/device_images.hpp"

using namespace instar;

TEST_CASE("resnet trains on the emulated device as on the CPU") {
    cuda_context ctx;
    test::check_device_resnet(ctx, test::small_bottleneck_resnet(), 4, 35, 10);
    test::check_device_resnet(ctx, test::small_basic_resnet(), 4, 11, 10);
}
TEST_CASE("resnet gives the same bits in every thread order") {
    std::vector<test::resnet_run> runs;
    test::for_each_order([&](cuda_context& ctx, int) { runs.push_back(test::train_small_resnet<float>(ctx, test::small_basic_resnet(), 3, 9, 2)); });
    CHECK(runs[0].losses == runs[1].losses);
    CHECK(runs[0].parameters == runs[1].parameters);
    CHECK(runs[0].evaluated == runs[1].evaluated);
}
TEST_CASE("resnet in bf16 starts where float does, and learns") {
    cpu_context cpu;
    cuda_context ctx;
    for (const auto& config : {test::small_bottleneck_resnet(), test::small_basic_resnet()}) {
        const index_t size = config.pools() ? 35 : 11;
        const auto expected = test::train_small_resnet<float>(cpu, config, 4, size, 1), actual = test::train_small_resnet<bf16>(ctx, config, 4, size, 10);
        CHECK(actual.losses[0] == doctest::Approx(expected.losses[0]).epsilon(0.05));
        CHECK(actual.losses.back() < 0.5 * actual.losses.front());
        for (const double logit : actual.evaluated) CHECK(std::isfinite(logit));
    }
}
TEST_CASE("resnet on the emulated device refuses images that are too small, and a backward without training") {
    cuda_context ctx;
    const nn::resnet_config config = test::small_bottleneck_resnet();
    nn::resnet<float, device_memory> model(config);
    nn::resnet_activations<float, device_memory> memory;
    tensor<float, 4, device_memory> small({1, 3, 31, 40}), images({1, 3, 32, 32});
    CHECK(test::error_text<shape_error>([&] { model.forward(ctx, memory, small.view()); }) == "resnet.forward: images of 31 × 40 are smaller than 32 × 32");
    model.forward(ctx, memory, images.view());
    auto gradients = model.make_gradients();
    tensor<float, 2, device_memory> d({1, config.d_features()});
    CHECK(test::error_text<value_error>([&] { model.backward(ctx, gradients.view(), memory, d.view()); }) ==
          "resnet.backward: the last forward was not run in training mode");
}
