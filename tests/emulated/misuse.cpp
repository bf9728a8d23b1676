// What goes wrong on a device, on the emulated one: each launch and each allocation of an operator fails in turn, memory runs out, an
// argument lies elsewhere, the device is too old. Always an exception that begins with the operator's name, no temporary is
// kept, and the context works afterwards.

#include <doctest/doctest.h>

#include <functional>
#include <string>
#include <vector>

#include "instar/cuda/cuda_context.hpp"
#include "instar/cuda/emulator/device_heap.hpp"
#include "instar/ops/adamw.hpp"
#include "instar/ops/attention.hpp"
#include "instar/ops/cross_entropy.hpp"
#include "instar/ops/embedding.hpp"
#include "instar/ops/gelu.hpp"
#include "instar/ops/gemm.hpp"
#include "instar/ops/info_nce.hpp"
#include "instar/ops/l2_normalize.hpp"
#include "instar/ops/layer_norm.hpp"
#include "instar/ops/linear.hpp"
#include "instar/ops/siglip.hpp"
#include "instar/ops/softmax.hpp"
#include "instar/ops/sup_con.hpp"
#include "support/emulated.hpp"

using namespace instar;

namespace {

using result = std::vector<float>;
struct work {
    const char* name;
    std::function<result(cuda_context&)> run;
};

template <int Rank>
result values(const tensor<float, Rank>& x) {
    return {x.begin(), x.end()};
}
tensor<std::int32_t, 1> some_labels(index_t n, int n_labels) {
    tensor<std::int32_t, 1> labels({n});
    for (index_t i = 0; i < n; ++i) labels(i) = static_cast<std::int32_t>(i % n_labels);
    return labels;
}
tensor<float, 2> rows(index_t n, index_t d, std::uint64_t seed) { return test::random_tensor<float, 2>({n, d}, seed); }

/// Each makes its own operands, so that a second run is not changed by what a failed one has written.
std::vector<work> works() {
    std::vector<work> all;
    all.push_back({"gelu_forward", [](cuda_context& ctx) {
        auto x = test::random_tensor<float, 1>({300}, 1), y = test::random_tensor<float, 1>({300}, 2);
        ops::gelu_forward<float>(ctx, y, x);
        return values(y);
    }});
    all.push_back({"squared_norm", [](cuda_context& ctx) {
        const auto x = test::random_tensor<float, 1>({40000}, 1);
        return result{static_cast<float>(ops::squared_norm<float>(ctx, x.view()))};
    }});
    all.push_back({"adamw_update", [](cuda_context& ctx) {
        auto p = test::random_tensor<float, 1>({70}, 1), m = test::random_tensor<float, 1>({70}, 2);
        auto v = test::random_tensor<float, 1>({70}, 3, 0.0, 1.0), g = test::random_tensor<float, 1>({70}, 4);
        ops::adamw_update<float>(ctx, p, m, v, g, {});
        return values(p);
    }});
    all.push_back({"layer_norm_backward", [](cuda_context& ctx) {
        auto x = rows(9, 20, 1), dy = rows(9, 20, 2), dx = rows(9, 20, 3);
        auto w = test::random_tensor<float, 1>({20}, 4), dw = test::random_tensor<float, 1>({20}, 5), db = test::random_tensor<float, 1>({20}, 6);
        auto mean = test::random_tensor<float, 1>({9}, 7), rstd = test::random_tensor<float, 1>({9}, 8);
        ops::layer_norm_backward<float>(ctx, dx, dw, db, dy, {mean, rstd}, x, w);
        return values(dw);
    }});
    all.push_back({"linear_backward", [](cuda_context& ctx) {
        auto x = rows(5, 8, 1), w = rows(6, 8, 2), dy = rows(5, 6, 3), dx = rows(5, 8, 4), dw = rows(6, 8, 5);
        auto db = test::random_tensor<float, 1>({6}, 6);
        ops::linear_backward<float>(ctx, dx, dw, db, dy, x, w);
        return values(dw);
    }});
    all.push_back({"linear_gelu_forward", [](cuda_context& ctx) {
        auto x = rows(5, 8, 1), w = rows(6, 8, 2), y = rows(5, 6, 3), pre = rows(5, 6, 4);
        auto b = test::random_tensor<float, 1>({6}, 5);
        ops::linear_gelu_forward<float>(ctx, y, pre, x, w, b);
        return values(y);
    }});
    all.push_back({"softmax_forward", [](cuda_context& ctx) {
        auto x = rows(4, 33, 1), y = rows(4, 33, 2);
        ops::softmax_forward<float>(ctx, y, x);
        return values(y);
    }});
    all.push_back({"l2_normalize_forward", [](cuda_context& ctx) {
        auto x = rows(4, 33, 1), y = rows(4, 33, 2);
        tensor<float, 1> norm({4});
        ops::l2_normalize_forward<float>(ctx, y, norm, x);
        return values(y);
    }});
    all.push_back({"softmax_cross_entropy", [](cuda_context& ctx) {
        auto x = rows(7, 40, 1), dx = rows(7, 40, 2);
        const auto t = some_labels(7, 40);
        tensor<float, 1> loss({7});
        ops::softmax_cross_entropy<float>(ctx, loss, dx, x, t.view(), {}, {.denominator = 7.0});
        return values(dx);
    }});
    for (const bool backward : {false, true}) {
        all.push_back({backward ? "attention_backward" : "attention_forward", [backward](cuda_context& ctx) {
            const index_t shape[4] = {1, 21, 2, 16};
            auto q = test::random_tensor<float, 4>(shape, 1), k = test::random_tensor<float, 4>(shape, 2), v = test::random_tensor<float, 4>(shape, 3);
            auto o = test::random_tensor<float, 4>(shape, 4), d_o = test::random_tensor<float, 4>(shape, 5);
            auto dq = test::random_tensor<float, 4>(shape, 6), dk = test::random_tensor<float, 4>(shape, 7), dv = test::random_tensor<float, 4>(shape, 8);
            auto lse = test::random_tensor<float, 3>({1, 2, 21}, 9, 3.0, 4.0);
            if (!backward) {
                ops::attention_forward<float>(ctx, o, {lse}, q, k, v, {}, {.scale = 0.25});
                return values(o);
            }
            ops::attention_backward<float>(ctx, dq, dk, dv, d_o, o, {lse}, q, k, v, {}, {.scale = 0.25});
            return values(dk);
        }});
        all.push_back({backward ? "embedding_backward" : "embedding_forward", [backward](cuda_context& ctx) {
            tensor<std::int32_t, 2> ids({2, 9});
            for (index_t i = 0; i < ids.size(); ++i) ids.data()[i] = static_cast<std::int32_t>(i * 5 % 11);
            auto word = rows(11, 8, 1), position = rows(9, 8, 2);
            auto type = test::random_tensor<float, 1>({8}, 3);
            auto y = test::random_tensor<float, 3>({2, 9, 8}, 4);
            if (backward) ops::embedding_backward<float>(ctx, word, position, type, y, ids.view());
            else ops::embedding_forward<float>(ctx, y, ids.view(), word, position, type);
            return backward ? values(position) : values(y);
        }});
    }
    all.push_back({"info_nce", [](cuda_context& ctx) {
        auto a = rows(70, 8, 1), b = rows(70, 8, 2), da = rows(70, 8, 3), db = rows(70, 8, 4);
        tensor<float, 1> scale({1}), d_scale({1}), row_loss({70}), column_loss({70}), memory({ops::info_nce_saved<float>::size(70, 70)});
        ops::info_nce<float>(ctx, row_loss, column_loss, da, db, d_scale, {memory.view(), 70, 70}, a, b, scale, {}, {});
        return values(db);
    }});
    all.push_back({"info_nce_backward", [](cuda_context& ctx) {  // bf16: a float copy of db beside it
        auto a = test::random_tensor<bf16, 2>({70, 8}, 1), b = test::random_tensor<bf16, 2>({70, 8}, 2);
        tensor<bf16, 2> da({70, 8}), db({70, 8});
        tensor<float, 1> scale({1}), d_scale({1});
        auto memory = test::random_tensor<float, 1>({ops::info_nce_saved<float>::size(70, 70)}, 3, 1.0, 2.0);
        ops::info_nce_backward<bf16>(ctx, da, db, d_scale, {memory.view(), 70, 70}, a, b, scale, {}, {});
        result sums;
        for (const bf16 x : db) sums.push_back(static_cast<float>(x));
        return sums;
    }});
    all.push_back({"siglip", [](cuda_context& ctx) {
        auto a = rows(70, 8, 1), b = rows(70, 8, 2), da = rows(70, 8, 3), db = rows(70, 8, 4);
        tensor<float, 1> scale({1}), bias({1}), d_scale({1}), d_bias({1}), loss({70});
        ops::siglip<float>(ctx, loss, da, db, d_scale, d_bias, a, b, scale, bias, {}, {});
        return values(da);
    }});
    all.push_back({"sup_con", [](cuda_context& ctx) {
        auto z = rows(40, 8, 1), dz = rows(40, 8, 2);
        const auto labels = some_labels(40, 6);
        tensor<float, 1> loss({40});
        ops::sup_con<float>(ctx, loss, dz, z, labels.view(), {.temperature = 0.2});
        return values(dz);
    }});
    return all;
}

std::size_t live_blocks() { return cuda::emulator::device_heap::live(cuda::emulator::memory_kind::device); }

/// Lets the first, second, … call of a kind fail until none is left. Returns how many there were.
int fail_each(const work& w, int cuda::emulator::options::*what) {
    cuda_context whole;
    const result expected = w.run(whole);
    for (int n = 1;; ++n) {
        CAPTURE(n);
        cuda::emulator::options o;
        o.*what = n;
        cuda_context ctx(0, o);
        const std::size_t before = live_blocks();
        const std::string text = test::error_text<error>([&] { w.run(ctx); });
        CAPTURE(text);
        CHECK(ctx.n_temporaries() == 0);
        CHECK(live_blocks() == before);
        if (text.empty()) return n - 1;
        CHECK(text.find(w.name) == 0);
        CHECK(w.run(ctx) == expected);
    }
}

}  // namespace

TEST_CASE("each launch that fails is reported by its operator, which keeps no memory and works again") {
    for (const work& w : works()) {
        CAPTURE(w.name);
        CHECK(fail_each(w, &cuda::emulator::options::fail_launch) >= 1);
    }
}
TEST_CASE("each allocation that fails is reported by its operator, which keeps no memory and works again") {
    int n_allocations = 0;
    for (const work& w : works()) {
        CAPTURE(w.name);
        n_allocations += fail_each(w, &cuda::emulator::options::fail_allocation);
    }
    CHECK(n_allocations >= 10);
}
TEST_CASE("out of device memory names what was asked for and what is free") {
    cuda_context ctx(0, {.memory_bytes = 1000});
    const auto x = test::random_tensor<float, 1>({3'000'000}, 1);
    CHECK(test::error_text<memory_error>([&] { ops::squared_norm<float>(ctx, x.view()); }) ==
          "squared_norm: cannot allocate 1472 bytes of device memory, 1000 of 1000 are free");
    const auto few = test::random_tensor<float, 1>({100}, 1);
    CHECK(ops::squared_norm<float>(ctx, few.view()) > 0.0);
    const cuda::scratch<float> held(ctx, 200, "held");
    CHECK(test::error_text<memory_error>([&] { cuda::scratch<float>(ctx, 51, "second"); }) ==
          "second: cannot allocate 204 bytes of device memory, 200 of 1000 are free");
    CHECK(ctx.n_temporaries() == 1);
}
TEST_CASE("an argument in host memory is refused before anything is written") {
    cuda_context ctx(0, {.check_memory = true});
    tensor<float, 1, device_memory> there({300}), y_there({300});
    auto here = test::random_tensor<float, 1>({300}, 1);
    const auto before = here.clone();
    const std::string expected = "gelu_forward: an argument lies in host memory, expected memory of device 0";
    CHECK(test::error_text<device_error>([&] { ops::gelu_forward<float>(ctx, y_there, here); }) == expected);
    CHECK(test::error_text<device_error>([&] { ops::gelu_forward<float>(ctx, here, there); }) == expected);
    CHECK(test::same_bits(here.view(), before.view()));
    ops::gelu_forward<float>(ctx, y_there, there);
    // A product, a view, a view into the middle of a block.
    tensor<float, 2, device_memory> a({4, 6}), c({4, 4});
    auto w = rows(4, 6, 2);
    CHECK(test::error_text<device_error>([&] { ops::gemm<float>(ctx, c, a, w, {.transpose_b = true}); }) ==
          "gemm: an argument lies in host memory, expected memory of device 0");
    ops::gemm<float>(ctx, c.view().rows(1, 3), a.view().rows(2, 4), a, {.transpose_b = true});
    // Nothing to read is nothing to refuse.
    tensor<float, 1> none({0});
    ops::gelu_forward<float>(ctx, none, none);
    CHECK(ops::squared_norm<float>(ctx, there.view()) == 0.0);  // operators' own temporaries are device memory
    ctx.check_memory(false);
    ops::gelu_forward<float>(ctx, here, there);
    CHECK(here(0) == 0.0f);
}
TEST_CASE("a device whose compute capability is below 8.0 is refused with both numbers") {
    CHECK(test::error_text<device_error>([] { cuda_context ctx(0, {.compute_major = 7, .compute_minor = 5}); }) ==
          "cuda_context: instar emulator has compute capability 7.5, expected at least 8.0");
    cuda_context hopper(0, {.compute_major = 9});
    CHECK(hopper.properties().compute_major == 9);
    CHECK(test::error_text<device_error>([] { cuda_context ctx(1); }) == "cuda_context: device 1, the emulator has one, 0");
}
TEST_CASE("device memory that cannot be had is a memory_error, and tensors give theirs back") {
    const std::size_t before = live_blocks();
    CHECK(test::error_text<memory_error>([] { tensor<float, 2, device_memory> huge({index_t{1} << 28, index_t{1} << 28}); })
              .find("device_memory: cannot allocate 288230376151711744 bytes of device memory, ") == 0);
    CHECK(live_blocks() == before);
    {
        tensor<float, 2, device_memory> x({3, 4});
        CHECK(live_blocks() == before + 1);
    }
    CHECK(live_blocks() == before);
}
