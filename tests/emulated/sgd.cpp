// Gradient descent with momentum on the emulated device: the update against the reference, the optimiser against the CPU's, bad input.

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/ops/ref/sgd.hpp"
#include "instar/ops/sgd.hpp"
#include "instar/optim/sgd.hpp"
#include "support/emulated.hpp"

using namespace instar;

namespace {

constexpr ops::sgd_options k_options[] = {{.lr = 0.1}, {.lr = 0.05, .momentum = 0.9, .weight_decay = 0.01}, {.lr = 0.05, .momentum = 0.9, .weight_decay = 0.01, .nesterov = true}};

template <class T>
void check_sgd(const ops::sgd_options& o) {
    cuda_context ctx;
    for (const index_t n : {0, 1, 7, 1024, 3001}) {
        for (const index_t offset : {0, 1}) {  // 1: not aligned to sixteen bytes
            CAPTURE(n);
            CAPTURE(offset);
            auto p = test::random_tensor<T, 1>({n + offset}, 1), b = test::random_tensor<T, 1>({n + offset}, 2);
            auto e_p = test::random_tensor<T, 1>({n + offset}, 1), e_b = test::random_tensor<T, 1>({n + offset}, 2);
            const auto tail = [&](tensor<T, 1>& t) { return tensor_view<T, 1>(t.data() + offset, {n}); };
            for (std::uint64_t step = 0; step < 3; ++step) {
                auto g = test::random_tensor<T, 1>({n + offset}, 10 + step);
                ops::sgd_update<T>(ctx, tail(p), tail(b), tail(g), o);
                ops::ref::sgd_update<T>(tail(e_p), tail(e_b), tail(g), o);
            }
            CHECK(test::close<T>(p.view(), e_p.view()));
            CHECK(test::close<T>(b.view(), e_b.view()));
            if (offset == 1) CHECK(p(0) == e_p(0));
        }
    }
}

/// With a copy in float: the update is float's, the parameters are its rounding.
void check_sgd_master(const ops::sgd_options& options) {
    cuda_context ctx;
    for (const index_t n : {0, 1, 7, 1024, 3001}) {
        for (const index_t offset : {0, 1}) {
            CAPTURE(n);
            CAPTURE(offset);
            auto p = test::random_tensor<bf16, 1>({n + offset}, 1), e_p = test::random_tensor<bf16, 1>({n + offset}, 1);
            tensor<float, 1> master({n + offset}), b({n + offset}), e_master({n + offset}), e_b({n + offset});
            for (float& x : master) x = 7.0f;  // the first update must not read it
            const auto tail = [&](auto& t) { return test::tail(t, offset); };
            for (index_t step = 1; step <= 3; ++step) {
                auto g = test::random_tensor<bf16, 1>({n + offset}, 10 + static_cast<std::uint64_t>(step));
                auto o = options;
                o.step = step;
                ops::sgd_update<bf16>(ctx, tail(p), tail(master), tail(b), tail(g), o);
                ops::ref::sgd_update<bf16>(tail(e_p), tail(e_master), tail(e_b), tail(g), o);
            }
            CHECK(test::close<float>(tail(master), tail(e_master)));
            CHECK(test::close<float>(tail(b), tail(e_b)));
            bool rounded = true;
            for (index_t i = offset; i < n + offset; ++i) rounded = rounded && p(i) == bf16(master(i));
            CHECK(rounded);
            if (offset == 1) CHECK(p(0) == e_p(0));
            if (offset == 1) CHECK(master(0) == 7.0f);
        }
    }
}

}  // namespace

TEST_CASE("sgd on the emulated device agrees with the reference") {
    for (const auto& o : k_options) {
        check_sgd<float>(o);
        check_sgd<bf16>(o);
        check_sgd_master(o);
    }
}
TEST_CASE("sgd of parameters in bf16 on the emulated device adds up what bf16 alone would lose") {
    cuda_context ctx;
    optim::sgd<bf16, device_memory> optimiser(1, {});
    tensor<bf16, 1> p({1}), lost({1}), none({1}), g({1});
    p(0) = lost(0) = bf16(1.0f);
    g(0) = bf16(1.0f);
    for (int step = 0; step < 100; ++step) {
        optimiser.step(ctx, p.view(), g.view(), 1e-3);
        ops::sgd_update<bf16>(ctx, lost.view(), none.view(), g.view(), {.lr = 1e-3});
    }
    CHECK(static_cast<float>(lost(0)) == 1.0f);
    CHECK(static_cast<float>(p(0)) == doctest::Approx(0.9f).epsilon(4e-3));
    CHECK(optimiser.master()(0) == doctest::Approx(0.9f).epsilon(1e-5));
    CHECK(optimiser.steps() == 100);
    // Restored, it goes on from the copy and not from the parameters.
    optim::sgd<bf16, device_memory> other(1, {});
    other.master()(0) = optimiser.master()(0);
    other.set_steps(100);
    auto q = p.clone();
    optimiser.step(ctx, p.view(), g.view(), 1e-3);
    other.step(ctx, q.view(), g.view(), 1e-3);
    CHECK(other.master()(0) == optimiser.master()(0));
    CHECK(q(0) == p(0));
}
TEST_CASE("sgd as an optimiser takes the same steps on the emulated device as on the CPU") {
    const index_t n = 1003;
    cpu_context cpu;
    cuda_context cuda;
    const optim::sgd_config config{.momentum = 0.9, .weight_decay = 0.1, .nesterov = true};
    optim::sgd<float> there(n, config);
    optim::sgd<float, device_memory> here(n, config);
    auto p = test::random_tensor<float, 1>({n}, 1), q = test::random_tensor<float, 1>({n}, 1);
    for (std::uint64_t step = 0; step < 4; ++step) {
        const auto g = test::random_tensor<float, 1>({n}, 5 + step);
        there.step(cpu, p.view(), g.view(), 0.1);
        here.step(cuda, q.view(), g.view(), 0.1);
    }
    CHECK(test::close<float>(q.view(), p.view()));
    CHECK(test::close<float>(here.momentum(), there.momentum()));
}
TEST_CASE("sgd on the emulated device names what is wrong, before it writes") {
    cuda_context ctx;
    auto p = test::random_tensor<float, 1>({4}, 1);
    tensor<float, 1> b({4}), g({5});
    CHECK(test::error_text<shape_error>([&] { ops::sgd_update<float>(ctx, p, b, g, {}); }) == "sgd_update: gradients has shape [5], expected [4]");
    CHECK(test::error_text<shape_error>([&] { ops::sgd_update<float>(ctx, p, g, p, {}); }) == "sgd_update: momentum has shape [5], expected [4]");
    CHECK(test::error_text<value_error>([&] { ops::sgd_update<float>(ctx, p, b, p, {.lr = -1.0}); }) ==
          "sgd_update: options.lr must be finite and at least 0, is -1.000000");
    CHECK(test::same_bits(p.view(), test::random_tensor<float, 1>({4}, 1).view()));
    auto h = test::random_tensor<bf16, 1>({4}, 1);
    const auto few = test::random_tensor<bf16, 1>({4}, 2);
    CHECK(test::error_text<shape_error>([&] { ops::sgd_update<bf16>(ctx, h, g.view(), b.view(), few, {}); }) == "sgd_update: master has shape [5], expected [4]");
    CHECK(test::error_text<value_error>([&] { ops::sgd_update<bf16>(ctx, h, b.view(), b.view(), few, {.step = 0}); }) ==
          "sgd_update: options.step must be at least 1, is 0");
    CHECK(test::same_bits(h.view(), test::random_tensor<bf16, 1>({4}, 1).view()));
}
