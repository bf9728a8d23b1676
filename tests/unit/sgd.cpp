// Stochastic gradient descent beside PyTorch and the reference: plain, momentum, Nesterov, weight decay, a falling rate; threads; bad input.
#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/ops/ref/sgd.hpp"
#include "instar/ops/sgd.hpp"
#include "instar/optim/sgd.hpp"
#include "support/compare.hpp"

using namespace instar;

TEST_CASE("sgd: four steps of torch.optim.SGD") {
    struct run {
        optim::sgd_config config;
        double expected[3];
    };
    // torch 2.15 in float64: gradients (0.3 (k + 1), −0.2, 0.1 k²), rate 0.1 twice, then 0.01.
    const run runs[] = {{{}, {0.8889999999999999, -1.956, 0.477}},
                        {{.momentum = 0.9, .weight_decay = 0.01}, {0.83558087163231, -1.92271705298422, 0.469936959286005}},
                        {{.momentum = 0.9, .weight_decay = 0.01, .nesterov = true}, {0.7389750167813081, -1.882138984227683, 0.44885269676472916}}};
    cpu_context ctx;
    for (const run& r : runs) {
        tensor<double, 1> p({3}), g({3});
        p(0) = 1.0, p(1) = -2.0, p(2) = 0.5;
        optim::sgd<double> optimiser(3, r.config);
        for (int k = 0; k < 4; ++k) {
            g(0) = 0.3 * (k + 1), g(1) = -0.2, g(2) = 0.1 * k * k;
            optimiser.step(ctx, p.view(), g.view(), k < 2 ? 0.1 : 0.01);
        }
        for (index_t i = 0; i < 3; ++i) CHECK(p(i) == doctest::Approx(r.expected[i]).epsilon(1e-14));
    }
}

TEST_CASE("sgd: an update agrees with the reference") {
    cpu_context ctx{2};
    for (const ops::sgd_options o : {ops::sgd_options{.lr = 0.1}, {.lr = 0.05, .momentum = 0.9, .weight_decay = 0.01}, {.lr = 0.05, .momentum = 0.9, .weight_decay = 0.01, .nesterov = true}}) {
        for (const index_t n : {0, 1, 17, 40001}) {
            CAPTURE(n);
            auto p = test::random_tensor<float, 1>({n}, 1), b = test::random_tensor<float, 1>({n}, 2), e_p = test::random_tensor<float, 1>({n}, 1), e_b = test::random_tensor<float, 1>({n}, 2);
            const auto g = test::random_tensor<float, 1>({n}, 3);
            ops::sgd_update<float>(ctx, p, b, g, o);
            ops::ref::sgd_update<float>(e_p, e_b, g, o);
            CHECK(test::nmse(p.view(), e_p.view()) <= 1e-13);
            CHECK(test::nmse(b.view(), e_b.view()) <= 1e-13);
        }
    }
}

TEST_CASE("sgd: the same bits for any number of threads; what does not fit is named") {
    const index_t n = 100003;
    cpu_context one{1}, two{2};
    auto p = test::random_tensor<float, 1>({n}, 1), q = test::random_tensor<float, 1>({n}, 1);
    const auto g = test::random_tensor<float, 1>({n}, 2);
    optim::sgd<float> a(n, {.momentum = 0.9, .weight_decay = 0.1, .nesterov = true}), b(n, {.momentum = 0.9, .weight_decay = 0.1, .nesterov = true});
    for (int k = 0; k < 3; ++k) {
        a.step(one, p.view(), g.view(), 0.1);
        b.step(two, q.view(), g.view(), 0.1);
    }
    CHECK(test::same_bits(p.view(), q.view()));
    CHECK_THROWS_AS(optim::sgd<float>(3, {.nesterov = true}), value_error);
    tensor<float, 1> three({3});
    CHECK_THROWS_AS(a.step(one, three.view(), g.view(), 0.1), shape_error);
    CHECK(test::error_text<shape_error>([&] { a.step(one, p.view(), three.view(), 0.1); }) == "sgd_update: gradients has shape [3], expected [100003]");
    CHECK(test::error_text<value_error>([&] { a.step(one, p.view(), g.view(), -0.1); }) == "sgd_update: options.lr must be finite and at least 0, is -0.100000");
}
