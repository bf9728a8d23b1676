// What goes wrong on a real device: exceptions that begin with the operator's name, and a context that works afterwards. The
// emulator's tests (tests/emulated/misuse.cpp) let every launch and allocation fail; here is what only a device can show.

#include <memory>
#include <vector>

#include "support/device_checks.hpp"
#include "support/graph_checks.hpp"

using namespace instar;

/// launch.cu: a kernel by a block of 2048 threads, and one that every device can run.
void launch_too_wide(cuda_context& ctx);
void launch_four(cuda_context& ctx, float* y);

namespace {

void still_works(cuda_context& ctx) {
    test::check_device_products<float>(ctx, 8, 16, 24);
    ctx.synchronize();
}
std::size_t free_bytes() {
    std::size_t free = 0, total = 0;
    REQUIRE(cudaMemGetInfo(&free, &total) == cudaSuccess);
    return free;
}

}  // namespace

TEST_CASE("gpu out of memory names the sizes, and the context works afterwards") {
    cuda_context ctx;
    const auto twice = static_cast<index_t>(2 * ctx.properties().memory_bytes);
    const std::string bytes = std::to_string(twice);
    CHECK(test::error_text<memory_error>([&] { tensor<std::uint8_t, 1, device_memory> huge({twice}); })
              .find("device_memory: cannot allocate " + bytes + " bytes of device memory, ") == 0);
    CHECK(test::error_text<memory_error>([&] { cuda::scratch<std::uint8_t>(ctx, twice, "some_operator"); })
              .find("some_operator: cannot allocate " + bytes + " bytes of device memory, ") == 0);
    still_works(ctx);
}
TEST_CASE("gpu refuses arguments in host memory, pinned or not, and works afterwards") {
    cuda_context ctx;
    const std::string expected = "gelu_forward: an argument lies in host memory, expected memory of device 0";
    tensor<float, 1> here({300});
    tensor<float, 1, pinned_memory> pinned({300});
    tensor<float, 1, device_memory> there({300});
    CHECK(test::error_text<device_error>([&] { ops::gelu_forward<float>(ctx, there, here); }) == expected);
    CHECK(test::error_text<device_error>([&] { ops::gelu_forward<float>(ctx, here, there); }) == expected);
    CHECK(test::error_text<device_error>([&] { ops::gelu_forward<float>(ctx, there, pinned); }) == expected);
    tensor<float, 2> w({4, 6});
    tensor<float, 2, device_memory> a({4, 6}), c({4, 4});
    CHECK(test::error_text<device_error>([&] { ops::gemm<float>(ctx, c, a, w, {.transpose_b = true}); }) ==
          "gemm: an argument lies in host memory, expected memory of device 0");
    CHECK(test::error_text<value_error>([&] { ctx.upload_async(there.view(), std::as_const(here).view()); }) ==
          "cuda_context.upload_async: the host memory is not pinned (instar::pinned_memory)");
    still_works(ctx);
}
TEST_CASE("gpu refuses memory of another device") {
    int n_devices = 0;
    REQUIRE(cudaGetDeviceCount(&n_devices) == cudaSuccess);
    if (n_devices < 2) {
        MESSAGE("one device: not tested");
        return;
    }
    cuda_context first(0), second(1);
    second.activate();
    tensor<float, 1, device_memory> there({300});
    first.activate();
    tensor<float, 1, device_memory> here({300});
    CHECK(test::error_text<device_error>([&] { ops::gelu_forward<float>(first, here, there); }) ==
          "gelu_forward: an argument lies in memory of device 1, expected memory of device 0");
}
TEST_CASE("gpu launch that the device refuses is reported with the operator's name") {
    cuda_context ctx;
    CHECK(test::error_text<device_error>([&] { launch_too_wide(ctx); }).find("too_wide: kernel launch: ") == 0);
    tensor<float, 1, device_memory> y({4});
    launch_four(ctx, y.data());
    tensor<float, 1> back({4});
    ctx.download(back.view(), std::as_const(y).view());
    CHECK(back(3) == 3.0f);
    still_works(ctx);
}
TEST_CASE("gpu contexts and operators that fail leak no device memory") {
    { const cuda_context warm; }
    const std::size_t before = free_bytes();
    for (int i = 0; i < 20; ++i) {
        cuda_context ctx;
        tensor<float, 1, device_memory> x({1 << 20});
        CHECK(ops::squared_norm<float>(ctx, std::as_const(x).view()) == 0.0);
        CHECK_THROWS_AS(cuda::scratch<std::uint8_t>(ctx, static_cast<index_t>(2 * ctx.properties().memory_bytes), "x"), memory_error);
        CHECK_THROWS_AS(launch_too_wide(ctx), device_error);
    }
    // A context's workspace is 4 or 32 MiB: twenty that leak are seen, the driver's own few MiB are not.
    CHECK(free_bytes() + (std::size_t{48} << 20) >= before);
}
TEST_CASE("gpu graph of a training step, fed from pinned memory, gives the bits of steps without one") {
    cuda_context ctx;
    test::check_graph_training(ctx);
}
TEST_CASE("gpu graph refuses what waits, and the context works afterwards") {
    cuda_context ctx;
    cuda::graph graph;
    CHECK(test::error_text<device_error>([&] { graph.capture(ctx, [&] { ctx.synchronize(); }); }) ==
          "cuda_context.synchronize: waits for the device, which a graph that is captured cannot");
    CHECK(!graph.captured());
    still_works(ctx);
}
