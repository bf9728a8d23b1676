// Pinned memory, copies that do not wait, events and graphs on the emulated device.

#include "instar/cuda/graph.hpp"

#include <doctest/doctest.h>

#include "instar/cuda/event.hpp"
#include "instar/cuda/memory.hpp"
#include "instar/ops/elementwise.hpp"
#include "support/graph_checks.hpp"

using namespace instar;

TEST_CASE("a graph of a training step, fed from pinned memory, gives the bits of steps without one") {
    cuda_context ctx(0, {.check_memory = true});
    test::check_graph_training(ctx);
    CHECK(ctx.n_temporaries() == 0);
}
TEST_CASE("a graph refuses what a device cannot capture, and can be captured again") {
    cuda_context ctx;
    tensor<float, 1, device_memory> x({10});
    tensor<float, 1> host({10});
    cuda::graph graph;
    CHECK(!graph.captured());
    CHECK(test::error_text<value_error>([&] { graph.launch(ctx); }) == "graph.launch: nothing was captured");
    const auto message = [&](auto&& f) {
        graph.capture(ctx, f);
        return test::error_text<device_error>([&] { graph.launch(ctx); });
    };
    const std::string waits = ": waits for the device, which a graph that is captured cannot";
    CHECK(message([&] { ctx.synchronize(); }) == "cuda_context.synchronize" + waits);
    CHECK(message([&] { ctx.download(host.view(), std::as_const(x).view()); }) == "cuda_context.download" + waits);
    CHECK(message([&] { ctx.upload(x.view(), std::as_const(host).view()); }) == "cuda_context.upload" + waits);
    CHECK(message([&] { ops::squared_norm<float>(ctx, std::as_const(x).view()); }) == "cuda_context.download" + waits);
    CHECK(message([&] { cuda::event().synchronize(); }) == "event.synchronize" + waits);
    CHECK(message([&] { tensor<float, 1, device_memory> more({5}); }) == "device_memory: no allocation while a graph is captured");
    CHECK(message([&] { graph.capture(ctx, [] {}); }) == "graph.capture" + waits);
    ctx.synchronize();  // all of that is over
    graph.capture(ctx, [&] { ops::fill<float>(ctx, x.view(), 2.0f); });
    graph.launch(ctx);
    graph.launch(ctx);
    ctx.download(host.view(), std::as_const(x).view());
    CHECK(host(9) == 2.0f);
}
TEST_CASE("copies that do not wait need pinned memory and agree with those that do") {
    cuda_context ctx;
    tensor<float, 2, device_memory> there({5, 8});
    const tensor_view<float, 2> strided(there.data(), {5, 6}, {8, 1});
    tensor<float, 2, pinned_memory> from({5, 6}), back({5, 6});
    test::fill_random(from.view(), 1);
    ctx.upload_async(strided, std::as_const(from).view());
    ctx.download_async(back.view(), tensor_view<const float, 2>(strided));
    ctx.synchronize();
    CHECK(test::same_bits(back.view(), from.view()));
    tensor<float, 2> pageable({5, 6});
    CHECK(test::error_text<value_error>([&] { ctx.upload_async(strided, std::as_const(pageable).view()); }) ==
          "cuda_context.upload_async: the host memory is not pinned (instar::pinned_memory)");
    CHECK(test::error_text<value_error>([&] { ctx.download_async(pageable.view(), tensor_view<const float, 2>(strided)); }) ==
          "cuda_context.download_async: the host memory is not pinned (instar::pinned_memory)");
    CHECK(test::error_text<shape_error>([&] { ctx.upload_async(there.view(), std::as_const(from).view()); }).find("cuda_context.upload_async: from has shape") == 0);
    using heap = cuda::emulator::device_heap;
    const std::size_t before = heap::live(cuda::emulator::memory_kind::pinned);
    { tensor<float, 1, pinned_memory> more({7}); CHECK(heap::live(cuda::emulator::memory_kind::pinned) == before + 1); }
    CHECK(heap::live(cuda::emulator::memory_kind::pinned) == before);
}
TEST_CASE("events time what lies between them") {
    cuda_context ctx;
    cuda::event start, stop;
    start.synchronize();
    start.record(ctx);
    tensor<float, 1, device_memory> x({3000});
    ops::fill<float>(ctx, x.view(), 1.0f);
    stop.record(ctx);
    stop.synchronize();
    CHECK(cuda::milliseconds(start, stop) > 0.0);
    CHECK(cuda::milliseconds(start, start) == 0.0);
}
