// The checks that a real GPU runs (tests/gpu), on the emulated device: all operators through copies, and training steps of a
// small BERT. Those of a small ResNet: resnet.cpp. Arguments in host memory are refused, as a device does.

#include "support/device_checks.hpp"
#include "support/device_images.hpp"

using namespace instar;

TEST_CASE("device operators agree with the reference in float") {
    cuda_context ctx(0, {.check_memory = true});
    test::check_device_operators<float>(ctx, false);
    test::check_device_image_operators<float>(ctx, false);
    test::check_device_adamw(ctx, 3001);
}
TEST_CASE("device operators agree with the reference in bf16") {
    cuda_context ctx(0, {.check_memory = true});
    test::check_device_operators<bf16>(ctx, false);
    test::check_device_image_operators<bf16>(ctx, false);
}
TEST_CASE("device training of a small BERT follows the CPU's in double") {
    cuda_context ctx(0, {.check_memory = true});
    test::check_device_training(ctx);
}
TEST_CASE("device training gives the same bits in every thread order") {
    const nn::bert_config config{.vocab_size = 37, .d_model = 32, .n_layers = 1, .n_heads = 2, .d_ff = 48, .max_positions = 30, .n_labels = 35};
    std::vector<test::training_run> runs;
    test::for_each_order([&](cuda_context& ctx, int) { runs.push_back(test::train_small_bert<float>(ctx, config, 2, 19, 2)); });
    CHECK(runs[0].losses == runs[1].losses);
    CHECK(runs[0].parameters == runs[1].parameters);
}
