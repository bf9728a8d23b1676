// The operators of cuda_context on a real GPU, against the reference on the host; training steps against the CPU in double.
// INSTAR_GPU_SMALL=1 leaves the large sizes out: compute-sanitizer takes minutes for them.

#include <cstdlib>
#include <cstring>
#include <vector>

#include "support/device_checks.hpp"
#include "support/device_images.hpp"

using namespace instar;

namespace {

bool large() { return std::getenv("INSTAR_GPU_SMALL") == nullptr; }

}  // namespace

TEST_CASE("gpu operators agree with the reference in float") {
    cuda_context ctx;
    test::check_device_operators<float>(ctx, large());
    test::check_device_image_operators<float>(ctx, large());
    for (const index_t n : {1, 3001, 4'000'001}) {
        if (n <= 3001 || large()) test::check_device_adamw(ctx, n);
    }
    ctx.synchronize();
}
TEST_CASE("gpu operators agree with the reference in bf16") {
    cuda_context ctx;
    test::check_device_operators<bf16>(ctx, large());
    test::check_device_image_operators<bf16>(ctx, large());
    ctx.synchronize();
}
TEST_CASE("gpu training of a small BERT follows the CPU's in double, with the same bits each time") {
    cuda_context ctx;
    test::check_device_training(ctx);
}
TEST_CASE("gpu training of small ResNets follows the CPU's, with the same bits each time") {
    cuda_context ctx;
    test::check_device_resnet(ctx, test::small_bottleneck_resnet(), 4, 35, 10);
    test::check_device_resnet(ctx, test::small_basic_resnet(), 4, 11, 10);
}
TEST_CASE("gpu context works on the caller's stream and reports devices that do not exist") {
    cudaStream_t stream = nullptr;
    REQUIRE(cudaStreamCreate(&stream) == cudaSuccess);
    {
        cuda_context ctx(0, stream);
        CHECK(ctx.stream() == stream);
        test::check_device_products<float>(ctx, 8, 16, 24);
        ctx.synchronize();
    }
    CHECK(cudaStreamDestroy(stream) == cudaSuccess);
    CHECK(test::error_text<device_error>([] { cuda_context none(1000); }).find("cuda_context: device 1000 of ") == 0);
}
TEST_CASE("gpu context copies views with gaps both ways") {
    cuda_context ctx;
    tensor<float, 2, device_memory> memory({5, 8});
    const tensor_view<float, 2> strided(memory.data(), {5, 6}, {8, 1});
    const auto x = test::random_tensor<float, 2>({5, 6}, 1);
    tensor<float, 2> back({5, 6});
    tensor<float, 2> all({5, 8});
    ctx.upload(strided, x.view());
    ctx.download(back.view(), strided);
    ctx.download(all.view(), memory.view());
    CHECK(test::same_bits(back.view(), x.view()));
    CHECK(all(4, 7) == 0.0f);
}
