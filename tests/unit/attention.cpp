// Attention on the CPU against the reference: shapes around every tile edge, masks, dropout, strides, thread counts.

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>

#include "instar/core/cpu_context.hpp"
#include "instar/ops/attention.hpp"
#include "instar/ops/cpu/simd/isa.hpp"
#include "instar/ops/ref/attention.hpp"
#include "support/compare.hpp"

using namespace instar;

namespace {

enum class masking { none, lengths, holes };

struct shape {
    index_t n_batch, seq_len, n_heads, d_head;
};

/// Every argument of one call. q, k and v are slices of one fused buffer, as a self-attention module has them.
template <class T>
struct problem {
    shape size;
    tensor<T, 5> qkv, d_qkv;
    tensor<T, 4> o, d_o;
    tensor<accumulator_t<T>, 3> lse;
    tensor<std::uint8_t, 2> mask;
    ops::attention_options options;

    problem(shape s, masking m, float dropout, std::uint64_t seed = 1)
        : size(s),
          qkv({s.n_batch, s.seq_len, 3, s.n_heads, s.d_head}),
          d_qkv({s.n_batch, s.seq_len, 3, s.n_heads, s.d_head}),
          o({s.n_batch, s.seq_len, s.n_heads, s.d_head}),
          d_o({s.n_batch, s.seq_len, s.n_heads, s.d_head}),
          lse({s.n_batch, s.n_heads, s.seq_len}),
          options{.scale = 1.0 / std::sqrt(static_cast<double>(s.d_head)), .dropout = {dropout, {seed, 3}}} {
        test::fill_random(qkv.view(), seed, -2.0, 2.0);
        test::fill_random(d_o.view(), seed + 1);
        for (T& e : o) e = std::numeric_limits<T>::quiet_NaN();
        for (T& e : d_qkv) e = std::numeric_limits<T>::quiet_NaN();
        for (auto& e : lse) e = std::numeric_limits<accumulator_t<T>>::quiet_NaN();
        if (m == masking::none) return;
        mask = tensor<std::uint8_t, 2>({s.n_batch, s.seq_len});
        for (index_t b = 0; b < s.n_batch; ++b) {
            for (index_t j = 0; j < s.seq_len; ++j) {
                const bool keep =
                    m == masking::lengths
                        ? j < (b * s.seq_len) / std::max<index_t>(1, s.n_batch - 1)  // the first sample keeps nothing
                        : philox{seed, 9}.below(static_cast<std::uint64_t>(b * s.seq_len + j), 3) != 0;
                mask(b, j) = keep ? static_cast<std::uint8_t>(1 + j % 255) : std::uint8_t{0};
            }
        }
        // What a masked key holds must not matter, not even NaN.
        for (index_t b = 0; b < s.n_batch; ++b) {
            for (index_t j = 0; j < s.seq_len; ++j) {
                if (mask(b, j) != 0) continue;
                for (index_t h = 0; h < s.n_heads; ++h) {
                    for (index_t c = 0; c < s.d_head; ++c)
                        qkv(b, j, 1, h, c) = qkv(b, j, 2, h, c) = std::numeric_limits<T>::quiet_NaN();
                }
            }
        }
    }
    tensor_view<T, 4> part(tensor<T, 5>& x, index_t which) const {
        auto v = x.view();
        return tensor_view<T, 4>(v.data() + which * v.stride(2),
                                 {size.n_batch, size.seq_len, size.n_heads, size.d_head},
                                 {v.stride(0), v.stride(1), v.stride(3), v.stride(4)});
    }
    void forward(cpu_context& ctx) {
        ops::attention_forward<T>(ctx, o, {lse}, part(qkv, 0), part(qkv, 1), part(qkv, 2), mask, options);
    }
    void backward(cpu_context& ctx) {
        ops::attention_backward<T>(ctx, part(d_qkv, 0), part(d_qkv, 1), part(d_qkv, 2), d_o, o, {lse}, part(qkv, 0),
                                   part(qkv, 1), part(qkv, 2), mask, options);
    }
    void reference_forward() {
        ops::ref::attention_forward<T>(o, {lse}, part(qkv, 0), part(qkv, 1), part(qkv, 2), mask, options);
    }
    void reference_backward() {
        ops::ref::attention_backward<T>(part(d_qkv, 0), part(d_qkv, 1), part(d_qkv, 2), d_o, o, {lse}, part(qkv, 0),
                                        part(qkv, 1), part(qkv, 2), mask, options);
    }
};

template <class T>
void compare(cpu_context& ctx, shape s, masking m, float dropout, double tolerance) {
    CAPTURE(s.n_batch);
    CAPTURE(s.seq_len);
    CAPTURE(s.n_heads);
    CAPTURE(s.d_head);
    CAPTURE(static_cast<int>(m));
    CAPTURE(dropout);
    problem<T> actual(s, m, dropout), expected(s, m, dropout);
    actual.forward(ctx);
    expected.reference_forward();
    CHECK(test::nmse(actual.o.view(), expected.o.view()) <= tolerance);
    CHECK(test::nmse(actual.lse.view(), expected.lse.view()) <= tolerance);
    CHECK(test::max_error(actual.o.view(), expected.o.view()) <= std::sqrt(tolerance) * 10);
    actual.backward(ctx);
    expected.reference_backward();
    for (index_t which = 0; which < 3; ++which) {
        CAPTURE(which);
        const auto a = actual.part(actual.d_qkv, which), e = expected.part(expected.d_qkv, which);
        // With one key, dq and dk are differences that cancel to rounding: compare with the size of what is subtracted.
        const bool cancels = s.seq_len <= 2 && which < 2;
        if (cancels) {
            double worst = 0.0;
            test::for_each_element(a, [&](const T* p) { worst = std::fmax(worst, std::isnan(*p) ? 1e9 : 0.0); });
            for (index_t b = 0; b < s.n_batch; ++b) {
                for (index_t i = 0; i < s.seq_len; ++i) {
                    for (index_t h = 0; h < s.n_heads; ++h) {
                        for (index_t c = 0; c < s.d_head; ++c) {
                            worst = std::fmax(worst, std::fabs(static_cast<double>(a(b, i, h, c)) -
                                                               static_cast<double>(e(b, i, h, c))));
                        }
                    }
                }
            }
            CHECK(worst <= std::sqrt(tolerance) * static_cast<double>(s.d_head));
        } else {
            CHECK(test::nmse(a, e) <= tolerance);
            CHECK(test::max_error(a, e) <= std::sqrt(tolerance) * 10);
        }
    }
}

/// Calls f once at each level that this CPU has.
template <class F>
void for_each_level(F&& f) {
    using namespace ops::cpu::simd;
    for (const auto l : {level::base, level::v3, level::v4}) {
        if (!supports(l)) continue;
        CAPTURE(static_cast<int>(l));
        const scoped_level use(l);
        f();
    }
}

}  // namespace

TEST_CASE("attention: float agrees with the reference around tile edges, at every instruction set") {
    cpu_context ctx{2};
    for_each_level([&] {
        std::uint64_t at = 0;
        for (const index_t seq_len : {1, 2, 3, 8, 16, 17, 24, 25, 33, 48, 65}) {
            for (const index_t d_head : {1, 4, 8, 13, 16, 33, 65}) {
                // Every pair of sizes, with one of the nine kinds of mask and dropout each.
                const float dropout = at % 3 == 0 ? 0.0f : at % 3 == 1 ? 0.1f : 0.5f;
                compare<float>(ctx, {2, seq_len, 1, d_head}, static_cast<masking>(at / 3 % 3), dropout, 1e-11);
                ++at;
            }
        }
    });
}

TEST_CASE("attention: float agrees with the reference at the shapes of models") {
    cpu_context ctx{2};
    compare<float>(ctx, {2, 83, 2, 64}, masking::lengths, 0.0f, 1e-11);
    compare<float>(ctx, {1, 165, 1, 192}, masking::none, 0.1f, 1e-11);
    compare<float>(ctx, {1, 197, 2, 64}, masking::none, 0.0f, 1e-11);
    compare<float>(ctx, {3, 165, 2, 32}, masking::holes, 0.2f, 1e-11);
    compare<float>(ctx, {2, 40, 3, 80}, masking::lengths, 0.3f, 1e-11);
    compare<float>(ctx, {2, 40, 1, 127}, masking::holes, 0.3f, 1e-11);
    compare<float>(ctx, {1, 20, 1, 256}, masking::none, 0.0f, 1e-11);
    compare<float>(ctx, {1, 1025, 1, 8}, masking::holes, 0.1f, 1e-11);
}

TEST_CASE("attention: dropout of odd lengths starts inside a Philox block") {
    cpu_context ctx{2};
    for_each_level([&] {
        for (const index_t seq_len : {1, 2, 3, 5, 6, 7, 18, 35}) {
            for (const auto m : {masking::none, masking::holes})
                compare<float>(ctx, {2, seq_len, 3, 8}, m, 0.5f, 1e-11);
        }
    });
}

TEST_CASE("attention: double agrees with the reference") {
    cpu_context ctx{2};
    for (const auto m : {masking::none, masking::lengths, masking::holes}) {
        for (const float dropout : {0.0f, 0.4f}) compare<double>(ctx, {3, 19, 2, 7}, m, dropout, 1e-26);
    }
}

TEST_CASE("attention: a sample without keys gives zeros, no gradient and lse of minus infinity") {
    cpu_context ctx{2};
    problem<float> x({2, 37, 2, 24}, masking::none, 0.1f);
    x.mask = tensor<std::uint8_t, 2>({2, 37});
    for (index_t j = 0; j < 37; ++j) x.mask(1, j) = 1;
    x.forward(ctx);
    x.backward(ctx);
    for (index_t i = 0; i < 37; ++i) {
        for (index_t h = 0; h < 2; ++h) {
            CHECK(x.lse(0, h, i) == -std::numeric_limits<float>::infinity());
            CHECK(std::isfinite(x.lse(1, h, i)));
            for (index_t c = 0; c < 24; ++c) {
                CHECK(x.o(0, i, h, c) == 0.0f);
                CHECK(std::isfinite(x.o(1, i, h, c)));
                for (index_t which = 0; which < 3; ++which) {
                    CHECK(x.d_qkv(0, i, which, h, c) == 0.0f);
                    CHECK(std::isfinite(x.d_qkv(1, i, which, h, c)));
                }
            }
        }
    }
}

TEST_CASE("attention: scores far from zero neither overflow nor lose the row") {
    cpu_context ctx{2};
    problem<float> actual({1, 50, 1, 16}, masking::none, 0.0f), expected({1, 50, 1, 16}, masking::none, 0.0f);
    for (auto* x : {&actual, &expected}) x->options.scale = 40.0;  // scores up to some ±1000
    actual.forward(ctx);
    expected.reference_forward();
    CHECK(test::max_error(actual.o.view(), expected.o.view()) <= 2e-3);  // float scores near 1000 carry 6e-5 each
    CHECK(test::nmse(actual.lse.view(), expected.lse.view()) <= 1e-12);
    for (auto* x : {&actual, &expected}) x->options.scale = -0.25;  // the operator promises no sign
    actual.forward(ctx);
    expected.reference_forward();
    CHECK(test::nmse(actual.o.view(), expected.o.view()) <= 1e-11);
}

TEST_CASE("attention: a NaN in a query stays in its row, one in a kept key reaches every row") {
    cpu_context ctx{1};
    for_each_level([&] {
        problem<float> x({1, 20, 1, 16}, masking::none, 0.0f);
        x.qkv(0, 7, 0, 0, 3) = std::numeric_limits<float>::quiet_NaN();
        x.forward(ctx);
        for (index_t i = 0; i < 20; ++i) CHECK(std::isnan(x.o(0, i, 0, 0)) == (i == 7));
        x.qkv(0, 18, 1, 0, 2) = std::numeric_limits<float>::quiet_NaN();
        x.forward(ctx);
        for (index_t i = 0; i < 20; ++i) CHECK(std::isnan(x.o(0, i, 0, 0)));
    });
}

TEST_CASE("attention: gaps between rows are neither read nor written") {
    cpu_context ctx{2};
    const index_t n_batch = 2, seq_len = 21, n_heads = 2, d_head = 13, row = 16;
    const auto make = [&](std::uint64_t seed) {
        return test::strided_rows<float>({n_batch * seq_len * n_heads, d_head}, row, seed);
    };
    const auto view = [&](test::strided_rows<float>& x) {
        return tensor_view<float, 4>(x.memory.data(), {n_batch, seq_len, n_heads, d_head},
                                     {seq_len * n_heads * row, n_heads * row, row, 1});
    };
    auto q = make(1), k = make(2), v = make(3), o = make(4), d_o = make(5), dq = make(6), dk = make(7), dv = make(8),
         e = make(9);
    tensor<float, 3> lse({n_batch, n_heads, seq_len});
    ops::attention_forward<float>(ctx, view(o), {lse}, view(q), view(k), view(v), {}, {.scale = 0.3});
    ops::attention_backward<float>(ctx, view(dq), view(dk), view(dv), view(d_o), view(o), {lse}, view(q), view(k),
                                   view(v), {}, {.scale = 0.3});
    for (auto* x : {&o, &dq, &dk, &dv}) CHECK(x->gaps_intact());
    ops::ref::attention_forward<float>(view(e), {lse}, view(q), view(k), view(v), {}, {.scale = 0.3});
    CHECK(test::nmse(o.view, e.view) <= 1e-11);
    auto ek = make(10), ev = make(11);
    ops::ref::attention_backward<float>(view(e), view(ek), view(ev), view(d_o), view(o), {lse}, view(q), view(k),
                                        view(v), {}, {.scale = 0.3});
    CHECK(test::nmse(dq.view, e.view) <= 1e-11);
    CHECK(test::nmse(dk.view, ek.view) <= 1e-11);
    CHECK(test::nmse(dv.view, ev.view) <= 1e-11);
}

TEST_CASE("attention: the same bits for any number of threads, and every time") {
    cpu_context one{1}, two{2};
    for_each_level([&] {
        for (const shape s : {shape{3, 45, 2, 24}, shape{1, 300, 1, 64}, shape{5, 20, 1, 8}}) {
            problem<float> a(s, masking::holes, 0.1f), b(s, masking::holes, 0.1f);
            a.forward(one), b.forward(two);
            a.backward(one), b.backward(two);
            CHECK(test::same_bits(b.o.view(), a.o.view()));
            CHECK(test::same_bits(b.lse.view(), a.lse.view()));
            CHECK(test::same_bits(b.d_qkv.view(), a.d_qkv.view()));
        }
    });
}

TEST_CASE("attention: empty batches and empty sequences are no work") {
    cpu_context ctx{2};
    for (const shape s : {shape{0, 5, 2, 8}, shape{2, 0, 2, 8}, shape{2, 5, 0, 8}}) {
        problem<float> x(s, masking::none, 0.0f);
        x.forward(ctx);
        x.backward(ctx);
        CHECK(x.o.empty());
    }
}

TEST_CASE("attention: wrong arguments are named") {
    cpu_context ctx{1};
    tensor<float, 4> x({2, 3, 4, 8}), wrong({2, 3, 4, 7});
    tensor<float, 3> lse({2, 4, 3}), wrong_lse({2, 3, 4});
    tensor<std::uint8_t, 2> wrong_mask({2, 4});
    const auto forward = [&](const tensor<float, 4>& k, tensor<float, 3>& saved,
                             tensor_view<const std::uint8_t, 2> mask, float p) {
        return test::error_text([&] {
            ops::attention_forward<float>(ctx, x, {saved}, x, k, x, mask, {.scale = 1.0, .dropout = {p, {}}});
        });
    };
    CHECK(forward(wrong, lse, {}, 0.0f) == "attention_forward: k has shape [2, 3, 4, 7], expected [2, 3, 4, 8]");
    CHECK(forward(x, wrong_lse, {}, 0.0f) == "attention_forward: saved.lse has shape [2, 3, 4], expected [2, 4, 3]");
    CHECK(forward(x, lse, wrong_mask, 0.0f) == "attention_forward: key_mask has shape [2, 4], expected [2, 3]");
    CHECK(forward(x, lse, {}, 1.0f).find("options.p must be in [0, 1)") != std::string::npos);
    const tensor_view<float, 4> every_other(x.data(), {2, 3, 4, 4}, {96, 32, 8, 2});
    tensor<float, 4> y({2, 3, 4, 4});
    CHECK(test::error_text([&] { ops::attention_forward<float>(ctx, y, {lse}, every_other, y, y, {}, {}); }) ==
          "attention_forward: q must have stride 1 in its last dimension, has 2");
    CHECK(test::error_text([&] { ops::attention_backward<float>(ctx, x, x, wrong, x, x, {lse}, x, x, x, {}, {}); }) ==
          "attention_backward: dv has shape [2, 3, 4, 7], expected [2, 3, 4, 8]");
}
