// AdamW, the gradient norm and the contrastive loss on the emulated device against the reference.

#include <doctest/doctest.h>

#include "instar/ops/adamw.hpp"
#include "instar/ops/ref/adamw.hpp"
#include "instar/ops/ref/sup_con.hpp"
#include "instar/ops/sup_con.hpp"
#include "support/emulated.hpp"

using namespace instar;

namespace {

void check_adamw(index_t n) {
    CAPTURE(n);
    cuda_context ctx;
    auto p = test::random_tensor<float, 1>({n}, 1), m = test::random_tensor<float, 1>({n}, 2), v = test::random_tensor<float, 1>({n}, 3, 0.0, 1.0);
    auto e_p = test::random_tensor<float, 1>({n}, 1), e_m = test::random_tensor<float, 1>({n}, 2);
    auto e_v = test::random_tensor<float, 1>({n}, 3, 0.0, 1.0);
    for (index_t step = 1; step <= 3; ++step) {
        const auto g = test::random_tensor<float, 1>({n}, static_cast<std::uint64_t>(10 + step));
        const ops::adamw_options o{.lr = 1e-2, .beta1 = 0.85, .weight_decay = 0.1, .step = step, .grad_scale = 0.5};
        ops::adamw_update<float>(ctx, p, m, v, g, o);
        ops::ref::adamw_update<float>(e_p, e_m, e_v, g, o);
    }
    CHECK(test::close<float>(p.view(), e_p.view()));
    CHECK(test::close<float>(m.view(), e_m.view()));
    CHECK(test::close<float>(v.view(), e_v.view()));
}

/// Steps too small for bf16 to follow: the copy in float does, and the parameters are its rounding.
void check_adamw_master(index_t n) {
    CAPTURE(n);
    cuda_context ctx;
    auto p = test::random_tensor<bf16, 1>({n}, 1), e_p = test::random_tensor<bf16, 1>({n}, 1);
    tensor<float, 1> master({n}), m({n}), v({n}), e_master({n}), e_m({n}), e_v({n});
    for (float& x : master) x = 7.0f;  // the first update must not read it
    for (index_t step = 1; step <= 5; ++step) {
        const auto g = test::random_tensor<bf16, 1>({n}, static_cast<std::uint64_t>(10 + step));
        const ops::adamw_options o{.lr = 1e-4, .beta1 = 0.85, .weight_decay = 0.1, .step = step, .grad_scale = 0.5};
        ops::adamw_update<bf16>(ctx, p, master.view(), m.view(), v.view(), g, o);
        ops::ref::adamw_update<bf16>(e_p, e_master.view(), e_m.view(), e_v.view(), g, o);
    }
    CHECK(test::close<float>(master.view(), e_master.view()));
    CHECK(test::close<float>(m.view(), e_m.view()));
    CHECK(test::close<float>(v.view(), e_v.view()));
    bool rounded = true;
    for (index_t i = 0; i < n; ++i) rounded = rounded && p(i) == bf16(master(i));
    CHECK(rounded);
}

template <class T>
void check_sup_con(index_t n, index_t d, int n_labels) {
    CAPTURE(n);
    CAPTURE(d);
    const auto z = test::random_tensor<T, 2>({n, d}, 1);
    tensor<std::int32_t, 1> labels({n});
    for (index_t i = 0; i < n; ++i) labels(i) = static_cast<std::int32_t>(i * 7 % n_labels) - 1;  // −1: no anchor
    auto dz = test::random_tensor<T, 2>({n, d}, 2), e_dz = test::random_tensor<T, 2>({n, d}, 2);
    tensor<float, 1> loss({n}), e_loss({n});
    const ops::sup_con_options o{.temperature = 0.2, .denominator = 5.0};
    cuda_context ctx;
    ops::sup_con<T>(ctx, loss, dz, z, labels.view(), o);
    ops::ref::sup_con<T>(e_loss, e_dz, z, labels.view(), o);
    CHECK(test::close<float>(loss.view(), e_loss.view()));
    CHECK(test::close<T>(dz.view(), e_dz.view()));
}

}  // namespace

TEST_CASE("adamw on the emulated device agrees with the reference") {
    for (const index_t n : {0, 1, 7, 1024, 3001}) {
        check_adamw(n);
        check_adamw_master(n);
    }
    cuda_context ctx;
    tensor<float, 1> x({4});
    CHECK(test::error_text<value_error>([&] { ops::adamw_update<float>(ctx, x, x, x, x, {.beta1 = 1.0}); }) ==
          "adamw_update: options.beta1 must be in [0, 1), is 1.000000");
    tensor<bf16, 1> h({4});
    tensor<float, 1> three({3});
    CHECK(test::error_text<shape_error>([&] { ops::adamw_update<bf16>(ctx, h, three.view(), x.view(), x.view(), h, {}); }) ==
          "adamw_update: master has shape [3], expected [4]");
}
TEST_CASE("adamw's squared norm on the emulated device agrees with the reference") {
    for (const index_t n : {0, 1, 1000, 40000}) {
        const auto x = test::random_tensor<float, 1>({n}, 1);
        double values[2] = {};
        test::for_each_order([&](cuda_context& ctx, int run) { values[run] = ops::squared_norm<float>(ctx, x.view()); });
        const double expected = ops::ref::squared_norm<float>(x.view());
        CHECK(values[0] == doctest::Approx(expected).epsilon(1e-13));
        CHECK(values[0] == values[1]);
    }
}
TEST_CASE("sup_con on the emulated device agrees with the reference") {
    check_sup_con<float>(1, 3, 1);
    check_sup_con<float>(82, 20, 9);
    check_sup_con<float>(1100, 8, 40);  // more than one panel, and rows that a block shares
    check_sup_con<float>(7, 0, 3);
    check_sup_con<bf16>(40, 16, 5);
}
