// Stochastic gradient descent beside PyTorch: plain, momentum, Nesterov, weight decay, a falling rate; threads; bad input.
#include <doctest/doctest.h>

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
}
