// Operators of bf16 storage on the CPU: against the reference in bf16, which sums in double and rounds once, at odd shapes, on one and on
// two threads; and a small BERT and ViT that train in it.

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/core/isa.hpp"
#include "instar/nn/vit.hpp"
#include "instar/ops/adamw.hpp"
#include "instar/ops/attention.hpp"
#include "instar/ops/cpu/bf16_rows.hpp"
#include "instar/ops/cross_entropy.hpp"
#include "instar/ops/dropout.hpp"
#include "instar/ops/elementwise.hpp"
#include "instar/ops/embedding.hpp"
#include "instar/ops/gelu.hpp"
#include "instar/ops/gemm.hpp"
#include "instar/ops/l2_normalize.hpp"
#include "instar/ops/layer_norm.hpp"
#include "instar/ops/linear.hpp"
#include "instar/ops/patch_embedding.hpp"
#include "instar/ops/pooling.hpp"
#include "instar/ops/softmax.hpp"
#include "instar/ops/ref/adamw.hpp"
#include "instar/ops/ref/attention.hpp"
#include "instar/ops/ref/cross_entropy.hpp"
#include "instar/ops/ref/dropout.hpp"
#include "instar/ops/ref/elementwise.hpp"
#include "instar/ops/ref/embedding.hpp"
#include "instar/ops/ref/gelu.hpp"
#include "instar/ops/ref/gemm.hpp"
#include "instar/ops/ref/l2_normalize.hpp"
#include "instar/ops/ref/layer_norm.hpp"
#include "instar/ops/ref/linear.hpp"
#include "instar/ops/ref/patch_embedding.hpp"
#include "instar/ops/ref/pooling.hpp"
#include "instar/ops/ref/softmax.hpp"
#include "instar/train/bert_trainer.hpp"
#include "support/compare.hpp"
#include "support/levels.hpp"
#include "support/products.hpp"

using namespace instar;

namespace {

/// Roundings of results: 2⁻⁹ of each at most, squared and averaged a third of it. Inputs are bf16 on both sides.
constexpr double k_rounding = 4e-6;

template <class F>
void with_every_product(F f) {
    for (const auto p : {isa::bf16_products::as_float, isa::bf16_products::pairs, isa::bf16_products::tiles}) {
        if (!isa::supports(p)) continue;
        const isa::scoped_bf16 use(p);
        CAPTURE(isa::bf16_products_name(p));
        f();
    }
}

template <int Rank>
tensor<bf16, Rank> random_bf16(const index_t (&extents)[Rank], std::uint64_t seed) {
    return test::random_tensor<bf16, Rank>(extents, seed);
}

}  // namespace

TEST_CASE("bf16_storage: products of every kind, several blocks of depths among them") {
    cpu_context one{1}, two{2};
    const test::product_shape shapes[] = {{0, 4, 3}, {4, 0, 3}, {4, 3, 0}, {1, 1, 1}, {15, 33, 17}, {33, 257, 65}, {300, 1, 41}, {1, 300, 70}, {71, 45, 129}, {5, 9, 3001}, {211, 130, 1539}};
    with_every_product([&] {
        for (const test::product_shape& s : shapes) {
            for (int bits = 0; bits < 8; ++bits) test::check_product<bf16>(one, two, s, test::product_options(bits), k_rounding);
        }
    });
}

TEST_CASE("bf16_storage: products at every instruction set") {
    cpu_context one{1}, two{2};
    test::for_each_level([&] {
        for (int bits = 0; bits < 8; ++bits) {
            test::check_product<bf16>(one, two, {37, 51, 29}, test::product_options(bits), k_rounding);
            test::check_product<bf16>(one, two, {70, 300, 801}, test::product_options(bits), k_rounding);
        }
    });
}

TEST_CASE("bf16_storage: a product's sums wait in float, strip by strip of columns") {
    cpu_context two{2};
    const index_t m = 2100, n = 2300, k = 1601;  // more sums than are held at once
    const auto a = random_bf16<2>({m, k}, 1), b = random_bf16<2>({n, k}, 2);
    tensor<bf16, 2> c({m, n}), expected({1, n});
    ops::gemm<bf16>(two, c, a, b, {.transpose_b = true});
    for (const index_t row : {index_t{0}, m - 1}) {
        ops::ref::gemm<bf16>(expected.view(), a.view().rows(row, row + 1), b.view(), {.transpose_b = true});
        CHECK(test::nmse(c.view().rows(row, row + 1), expected.view()) <= k_rounding);
    }
}

TEST_CASE("bf16_storage: widening is exact, rounding is that of bf16, at every instruction set and length") {
    const float numbers[] = {0.0f, -0.0f, 1.0f, 1.00390625f, 1.01171875f, -3.3e38f, 3.4e38f, 1e-40f, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN(),
                             std::bit_cast<float>(0x7f800001u), std::bit_cast<float>(0xffffffffu), 2.7182818f};
    test::for_each_level([&] {
        for (index_t n = 0; n <= 70; ++n) {
            std::vector<float> x(static_cast<std::size_t>(n) + 1, 5.0f), back(static_cast<std::size_t>(n) + 1, 5.0f);
            std::vector<bf16> y(static_cast<std::size_t>(n) + 1, bf16(7.0f));
            for (index_t i = 0; i < n; ++i) x[static_cast<std::size_t>(i)] = numbers[static_cast<std::size_t>(i * 5 + n) % std::size(numbers)];
            ops::cpu::narrow(y.data(), x.data(), n);
            ops::cpu::widen(back.data(), y.data(), n);
            bool right = y.back() == bf16(7.0f) && back.back() == 5.0f;
            for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) {
                right = right && y[i] == bf16(x[i]) && std::bit_cast<std::uint32_t>(back[i]) == static_cast<std::uint32_t>(y[i].bits) << 16;
            }
            CHECK(right);
        }
    });
}

TEST_CASE("bf16_storage: linear layers, forward with GELU and backward that accumulates") {
    cpu_context one{1}, two{2};
    with_every_product([&] {
        for (const auto& [n, d_in, d_out] : {std::array<index_t, 3>{1, 1, 1}, {67, 83, 45}, {301, 64, 96}, {1700, 40, 33}}) {
            CAPTURE(n);
            const auto x = random_bf16<2>({n, d_in}, 1), w = random_bf16<2>({d_out, d_in}, 2), dy = random_bf16<2>({n, d_out}, 4);
            const auto bias = random_bf16<1>({d_out}, 3);
            tensor<bf16, 2> y({n, d_out}), y_two({n, d_out}), pre({n, d_out}), e_y({n, d_out}), e_pre({n, d_out});
            ops::linear_forward<bf16>(one, y, x, w, bias.view());
            ops::linear_forward<bf16>(two, y_two, x, w, bias.view());
            ops::ref::linear_forward<bf16>(e_y.view(), x.view(), w.view(), bias.view());
            CHECK(test::nmse(y.view(), e_y.view()) <= k_rounding);
            CHECK(test::same_bits(y.view(), y_two.view()));
            ops::linear_gelu_forward<bf16>(one, y, pre.view(), x, w, bias.view());
            ops::ref::linear_gelu_forward<bf16>(e_y.view(), e_pre.view(), x.view(), w.view(), bias.view());
            CHECK(test::nmse(y.view(), e_y.view()) <= k_rounding);
            CHECK(test::nmse(pre.view(), e_pre.view()) <= k_rounding);
            ops::linear_gelu_forward<bf16>(two, y_two, y_two.view(), x, w, bias.view());  // pre and y in one place
            CHECK(test::same_bits(y.view(), y_two.view()));
            tensor<bf16, 2> dx({n, d_in}), dx_two({n, d_in}), e_dx({n, d_in});
            auto dw = random_bf16<2>({d_out, d_in}, 5), dw_two = random_bf16<2>({d_out, d_in}, 5), e_dw = random_bf16<2>({d_out, d_in}, 5);
            auto db = random_bf16<1>({d_out}, 6), db_two = random_bf16<1>({d_out}, 6), e_db = random_bf16<1>({d_out}, 6);
            ops::linear_backward<bf16>(one, dx, dw.view(), db.view(), dy, x, w);
            ops::linear_backward<bf16>(two, dx_two, dw_two.view(), db_two.view(), dy, x, w);
            ops::ref::linear_backward<bf16>(e_dx.view(), e_dw.view(), e_db.view(), dy.view(), x.view(), w.view());
            CHECK(test::nmse(dx.view(), e_dx.view()) <= k_rounding);
            CHECK(test::nmse(dw.view(), e_dw.view()) <= k_rounding);
            CHECK(test::nmse(db.view(), e_db.view()) <= k_rounding);
            CHECK(test::same_bits(dx.view(), dx_two.view()));
            CHECK(test::same_bits(dw.view(), dw_two.view()));
            CHECK(test::same_bits(db.view(), db_two.view()));
        }
    });
}

TEST_CASE("bf16_storage: element-wise operators, GELU and dropout") {
    cpu_context two{2};
    for (const index_t n : {index_t{1}, index_t{1023}, index_t{40003}}) {
        CAPTURE(n);
        const auto x = random_bf16<1>({n}, 1), z = random_bf16<1>({n}, 2);
        tensor<bf16, 1> y({n}), e({n});
        const auto agrees = [&] { return test::nmse(y.view(), e.view()) <= k_rounding; };
        ops::add<bf16>(two, y, x, z);
        ops::ref::add<bf16>(e.view(), x.view(), z.view());
        CHECK(test::same_bits(y.view(), e.view()));
        ops::scale<bf16>(two, y, 0.3f);
        ops::ref::scale<bf16>(e.view(), 0.3f);
        CHECK(agrees());
        ops::copy<bf16>(two, y, x);
        CHECK(test::same_bits(y.view(), x.view()));
        ops::fill<bf16>(two, y, bf16(2.5f));
        CHECK(std::all_of(y.begin(), y.end(), [](bf16 v) { return v == bf16(2.5f); }));
        ops::gelu_forward<bf16>(two, y, x);
        ops::ref::gelu_forward<bf16>(e.view(), x.view());
        CHECK(agrees());
        ops::gelu_backward<bf16>(two, y, z, x);
        ops::ref::gelu_backward<bf16>(e.view(), z.view(), x.view());
        CHECK(agrees());
        CHECK(std::fabs(ops::squared_norm<bf16>(two, x.view()) - ops::ref::squared_norm<bf16>(x.view())) <= 1e-10 * static_cast<double>(n));
        test::for_each_level([&] {
            for (const ops::dropout_options& drop : {ops::dropout_options{.p = 0.3f, .rng = {1, 2}}, {}, {.p = 0.4f, .rng = {3, 4}, .group = 77}}) {
                ops::dropout_forward<bf16>(two, y, x, drop);
                ops::ref::dropout_forward<bf16>(e.view(), x.view(), drop);
                CHECK(agrees());
                ops::residual_dropout_forward<bf16>(two, y, z, x, drop);
                ops::ref::residual_dropout_forward<bf16>(e.view(), z.view(), x.view(), drop);
                CHECK(agrees());
            }
        });
    }
}

TEST_CASE("bf16_storage: LayerNorm") {
    cpu_context one{1}, two{2};
    for (const auto& [n, d] : {std::array<index_t, 2>{1, 1}, {3, 19}, {403, 70}, {65, 768}}) {
        CAPTURE(d);
        const auto x = random_bf16<2>({n, d}, 1), dy = random_bf16<2>({n, d}, 2);
        const auto w = random_bf16<1>({d}, 3), b = random_bf16<1>({d}, 4);
        tensor<bf16, 2> y({n, d}), e_y({n, d}), y_two({n, d});
        tensor<float, 1> mean({n}), rstd({n}), e_mean({n}), e_rstd({n});
        ops::layer_norm_forward<bf16>(one, y, {mean, rstd}, x, w, b, 1e-5);
        ops::layer_norm_forward<bf16>(two, y_two, {mean, rstd}, x, w, b, 1e-5);
        ops::ref::layer_norm_forward<bf16>(e_y.view(), {e_mean, e_rstd}, x.view(), w.view(), b.view(), 1e-5);
        CHECK(test::nmse(y.view(), e_y.view()) <= k_rounding);
        CHECK(test::same_bits(y.view(), y_two.view()));
        CHECK(test::nmse(mean.view(), e_mean.view()) <= 1e-10);
        CHECK(test::nmse(rstd.view(), e_rstd.view()) <= 1e-10);
        if (d == 1) continue;  // the gradient of one number is rounding
        auto dx = random_bf16<2>({n, d}, 2), dx_two = random_bf16<2>({n, d}, 2);  // in dy's place
        tensor<bf16, 2> e_dx({n, d});
        auto dw = random_bf16<1>({d}, 5), dw_two = random_bf16<1>({d}, 5), e_dw = random_bf16<1>({d}, 5);
        auto db = random_bf16<1>({d}, 6), db_two = random_bf16<1>({d}, 6), e_db = random_bf16<1>({d}, 6);
        ops::layer_norm_backward<bf16>(one, dx, dw.view(), db.view(), dx.view(), {mean, rstd}, x, w);
        ops::layer_norm_backward<bf16>(two, dx_two, dw_two.view(), db_two.view(), dx_two.view(), {mean, rstd}, x, w);
        ops::ref::layer_norm_backward<bf16>(e_dx.view(), e_dw.view(), e_db.view(), dy.view(), {mean, rstd}, x.view(), w.view());
        CHECK(test::nmse(dx.view(), e_dx.view()) <= k_rounding);
        CHECK(test::nmse(dw.view(), e_dw.view()) <= k_rounding);
        CHECK(test::nmse(db.view(), e_db.view()) <= k_rounding);
        CHECK(test::same_bits(dx.view(), dx_two.view()));
        CHECK(test::same_bits(dw.view(), dw_two.view()));
        CHECK(test::same_bits(db.view(), db_two.view()));
    }
}

TEST_CASE("bf16_storage: embeddings, whose gradients sum thousands of numbers in float") {
    cpu_context one{1}, two{2};
    const index_t n_batch = 50, seq_len = 41, d = 83, n_vocab = 7;
    tensor<std::int32_t, 2> ids({n_batch, seq_len});
    const philox rng{.seed = 9};
    for (index_t i = 0; i < ids.size(); ++i) ids.data()[i] = static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(i), 6));  // one id has no place
    const auto word = random_bf16<2>({n_vocab, d}, 1), position = random_bf16<2>({seq_len + 2, d}, 2);
    const auto type = random_bf16<1>({d}, 3);
    const auto dy = test::random_tensor<bf16, 3>({n_batch, seq_len, d}, 4, 0.5, 1.0);  // of one sign: sums in bf16 would stop growing
    tensor<bf16, 3> y({n_batch, seq_len, d}), e_y({n_batch, seq_len, d});
    for (const bool with_all : {true, false}) {
        const tensor_view<const bf16, 2> p = with_all ? tensor_view<const bf16, 2>(position.view()) : tensor_view<const bf16, 2>{};
        const tensor_view<const bf16, 1> t = with_all ? tensor_view<const bf16, 1>(type.view()) : tensor_view<const bf16, 1>{};
        ops::embedding_forward<bf16>(two, y, ids.view(), word.view(), p, t);
        ops::ref::embedding_forward<bf16>(e_y.view(), ids.view(), word.view(), p, t);
        CHECK(test::nmse(y.view(), e_y.view()) <= k_rounding);
    }
    struct gradients {
        tensor<bf16, 2> word = random_bf16<2>({n_vocab, d}, 5), position = random_bf16<2>({seq_len, d}, 6);
        tensor<bf16, 1> type = random_bf16<1>({d}, 7);
    } a, b, e;
    ops::embedding_backward<bf16>(one, a.word, a.position.view(), a.type.view(), dy.view(), ids.view(), {.padding_idx = 2});
    ops::embedding_backward<bf16>(two, b.word, b.position.view(), b.type.view(), dy.view(), ids.view(), {.padding_idx = 2});
    // In float, because the reference rounds at every place.
    const auto widened = [](const auto& x, auto to) {
        for (index_t i = 0; i < x.size(); ++i) to.data()[i] = static_cast<float>(x.data()[i]);
        return to;
    };
    auto f_word = widened(e.word, tensor<float, 2>({n_vocab, d})), f_position = widened(e.position, tensor<float, 2>({seq_len, d}));
    auto f_type = widened(e.type, tensor<float, 1>({d}));
    const auto f_dy = widened(dy, tensor<float, 3>({n_batch, seq_len, d}));
    ops::ref::embedding_backward<float>(f_word.view(), f_position.view(), f_type.view(), f_dy.view(), ids.view(), {.padding_idx = 2});
    CHECK(test::nmse(a.word.view(), f_word.view()) <= k_rounding);
    CHECK(test::nmse(a.position.view(), f_position.view()) <= k_rounding);
    CHECK(test::nmse(a.type.view(), f_type.view()) <= k_rounding);
    CHECK(test::same_bits(a.word.view(), b.word.view()));
    CHECK(test::same_bits(a.position.view(), b.position.view()));
    CHECK(test::same_bits(a.type.view(), b.type.view()));
    CHECK(test::same_bits(a.word.view().rows(2, 3), e.word.view().rows(2, 3)));
}

TEST_CASE("bf16_storage: softmax and cross-entropy") {
    cpu_context one{1}, two{2};
    for (const auto& [n, classes] : {std::array<index_t, 2>{1, 1}, {37, 19}, {13, 4099}}) {
        CAPTURE(classes);
        const auto x = test::random_tensor<bf16, 2>({n, classes}, 1, -4.0, 4.0), dy = random_bf16<2>({n, classes}, 2);
        tensor<bf16, 2> y({n, classes}), e({n, classes}), dx({n, classes}), e_dx({n, classes});
        ops::softmax_forward<bf16>(two, y, x);
        ops::ref::softmax_forward<bf16>(e.view(), x.view());
        CHECK(test::nmse(y.view(), e.view()) <= k_rounding);
        ops::softmax_backward<bf16>(two, dx, dy, e.view());
        ops::ref::softmax_backward<bf16>(e_dx.view(), dy.view(), e.view());
        CHECK(test::nmse(dx.view(), e_dx.view()) <= k_rounding);
        tensor<std::int32_t, 1> targets({n});
        for (index_t r = 0; r < n; ++r) targets(r) = static_cast<std::int32_t>(r % 3 == 1 ? -1 : r * 7 % classes);
        const auto weights = test::random_tensor<float, 1>({n}, 3, 0.5, 1.5);
        tensor<float, 1> loss({n}), loss_two({n}), e_loss({n});
        auto in_place = test::random_tensor<bf16, 2>({n, classes}, 1, -4.0, 4.0);
        const ops::cross_entropy_options options{.denominator = 5.0, .label_smoothing = 0.1};
        ops::softmax_cross_entropy<bf16>(one, loss.view(), dx.view(), x.view(), targets.view(), weights.view(), options);
        ops::softmax_cross_entropy<bf16>(two, loss_two.view(), in_place.view(), in_place.view(), targets.view(), weights.view(), options);
        ops::ref::softmax_cross_entropy<bf16>(e_loss.view(), e_dx.view(), x.view(), targets.view(), weights.view(), options);
        CHECK(test::nmse(loss.view(), e_loss.view()) <= 1e-10);
        CHECK(test::nmse(dx.view(), e_dx.view()) <= k_rounding);
        CHECK(test::same_bits(loss.view(), loss_two.view()));
        CHECK(test::same_bits(dx.view(), in_place.view()));
        ops::softmax_cross_entropy<bf16>(one, loss_two.view(), tensor_view<bf16, 2>{}, x.view(), targets.view(), weights.view(), options);
        CHECK(test::nmse(loss_two.view(), e_loss.view()) <= 1e-10);
    }
}

TEST_CASE("bf16_storage: attention, keys masked or not, with dropout or without") {
    cpu_context one{1}, two{2};
    for (const auto& [n_batch, seq_len, n_heads, d_head] : {std::array<index_t, 4>{1, 1, 1, 1}, {2, 37, 3, 13}, {3, 82, 2, 64}, {1, 300, 2, 32}}) {
        CAPTURE(seq_len);
        const auto qkv = random_bf16<5>({n_batch, seq_len, 3, n_heads, d_head}, 1);
        const auto slice = [&](index_t which) {
            const auto& v = qkv.view();
            return tensor_view<const bf16, 4>(v.data() + which * v.stride(2), {n_batch, seq_len, n_heads, d_head}, {v.stride(0), v.stride(1), v.stride(3), v.stride(4)});
        };
        const auto d_o = random_bf16<4>({n_batch, seq_len, n_heads, d_head}, 2);
        tensor<std::uint8_t, 2> mask({n_batch, seq_len});
        for (index_t i = 0; i < mask.size(); ++i) mask.data()[i] = i < seq_len ? i % 5 != 1 || seq_len == 1 : i >= seq_len + 3;
        for (int bits = 0; bits < 4; ++bits) {
            const tensor_view<const std::uint8_t, 2> keys = (bits & 1) ? tensor_view<const std::uint8_t, 2>(mask.view()) : tensor_view<const std::uint8_t, 2>{};
            const ops::attention_options options{.scale = 0.3, .dropout = {.p = (bits & 2) ? 0.2f : 0.0f, .rng = {5, 6}}};
            tensor<bf16, 4> o({n_batch, seq_len, n_heads, d_head}), o_two({n_batch, seq_len, n_heads, d_head}), e_o({n_batch, seq_len, n_heads, d_head});
            tensor<float, 3> lse({n_batch, n_heads, seq_len}), e_lse({n_batch, n_heads, seq_len});
            ops::attention_forward<bf16>(one, o.view(), {lse}, slice(0), slice(1), slice(2), keys, options);
            ops::attention_forward<bf16>(two, o_two.view(), {lse}, slice(0), slice(1), slice(2), keys, options);
            ops::ref::attention_forward<bf16>(e_o.view(), {e_lse}, slice(0), slice(1), slice(2), keys, options);
            CHECK(test::nmse(o.view(), e_o.view()) <= k_rounding);
            CHECK(test::nmse(lse.view(), e_lse.view()) <= 1e-10);
            CHECK(test::same_bits(o.view(), o_two.view()));
            tensor<bf16, 5> d({n_batch, seq_len, 3, n_heads, d_head}), d_two({n_batch, seq_len, 3, n_heads, d_head}), e_d({n_batch, seq_len, 3, n_heads, d_head});
            const auto part = [&](tensor<bf16, 5>& x, index_t which) {
                const auto& v = x.view();
                return tensor_view<bf16, 4>(v.data() + which * v.stride(2), {n_batch, seq_len, n_heads, d_head}, {v.stride(0), v.stride(1), v.stride(3), v.stride(4)});
            };
            ops::attention_backward<bf16>(one, part(d, 0), part(d, 1), part(d, 2), d_o.view(), e_o.view(), {e_lse}, slice(0), slice(1), slice(2), keys, options);
            ops::attention_backward<bf16>(two, part(d_two, 0), part(d_two, 1), part(d_two, 2), d_o.view(), e_o.view(), {e_lse}, slice(0), slice(1), slice(2), keys, options);
            ops::ref::attention_backward<bf16>(part(e_d, 0), part(e_d, 1), part(e_d, 2), d_o.view(), e_o.view(), {e_lse}, slice(0), slice(1), slice(2), keys, options);
            // D = d_o · o of an o that was rounded differs from Σ p dP, by which the reference may go.
            CHECK(test::nmse(d.view(), e_d.view()) <= 1e-4);
            CHECK(test::same_bits(d.view(), d_two.view()));
        }
    }
}

TEST_CASE("bf16_storage: pooling, unit rows, patches and tokens") {
    cpu_context two{2};
    const index_t n_batch = 5, seq_len = 23, d = 83;
    const auto x = random_bf16<3>({n_batch, seq_len, d}, 1);
    const auto dy = random_bf16<2>({n_batch, d}, 2);
    tensor<std::uint8_t, 2> mask({n_batch, seq_len});
    for (index_t i = 0; i < mask.size(); ++i) mask.data()[i] = i % 3 != 0 && i >= seq_len;
    for (const auto kind : {ops::pooling::first, ops::pooling::mean, ops::pooling::masked_mean}) {
        tensor<bf16, 2> y({n_batch, d}), e_y({n_batch, d});
        tensor<bf16, 3> dx({n_batch, seq_len, d}), e_dx({n_batch, seq_len, d});
        ops::sequence_pool_forward<bf16>(two, y, x.view(), mask.view(), kind);
        ops::ref::sequence_pool_forward<bf16>(e_y.view(), x.view(), mask.view(), kind);
        CHECK(test::nmse(y.view(), e_y.view()) <= k_rounding);
        ops::sequence_pool_backward<bf16>(two, dx.view(), dy.view(), mask.view(), kind);
        ops::ref::sequence_pool_backward<bf16>(e_dx.view(), dy.view(), mask.view(), kind);
        CHECK(test::nmse(dx.view(), e_dx.view()) <= k_rounding);
    }
    tensor<bf16, 2> unit({n_batch, d}), e_unit({n_batch, d}), d_unit({n_batch, d}), e_d_unit({n_batch, d});
    tensor<float, 1> inv({n_batch}), e_inv({n_batch});
    ops::l2_normalize_forward<bf16>(two, unit, inv.view(), dy.view());
    ops::ref::l2_normalize_forward<bf16>(e_unit.view(), e_inv.view(), dy.view());
    CHECK(test::nmse(unit.view(), e_unit.view()) <= k_rounding);
    ops::l2_normalize_backward<bf16>(two, d_unit, x.view().reshape<2>({n_batch * seq_len, d}).rows(0, n_batch), e_unit.view(), e_inv.view());
    ops::ref::l2_normalize_backward<bf16>(e_d_unit.view(), x.view().reshape<2>({n_batch * seq_len, d}).rows(0, n_batch), e_unit.view(), e_inv.view());
    CHECK(test::nmse(d_unit.view(), e_d_unit.view()) <= k_rounding);

    const auto images = random_bf16<4>({3, 2, 12, 8}, 3);
    tensor<bf16, 2> patches({3 * 6, 2 * 16}), e_patches({3 * 6, 2 * 16});
    tensor<bf16, 4> back({3, 2, 12, 8});
    ops::extract_patches<bf16>(two, patches, images.view(), 4);
    ops::ref::extract_patches<bf16>(e_patches.view(), images.view(), 4);
    CHECK(test::same_bits(patches.view(), e_patches.view()));
    ops::extract_patches_backward<bf16>(two, back, patches.view(), 4);
    CHECK(test::same_bits(back.view(), images.view()));
    for (const index_t with_class : {0, 1}) {
        const index_t tokens = 22 + with_class;
        const auto rows = random_bf16<2>({n_batch * 22, d}, 4), position = random_bf16<2>({tokens, d}, 5);
        const auto class_token = random_bf16<1>({with_class * d}, 6);
        tensor<bf16, 3> y({n_batch, tokens, d}), e_y({n_batch, tokens, d});
        ops::prepend_class_token<bf16>(two, y, rows.view(), class_token.view(), position.view());
        ops::ref::prepend_class_token<bf16>(e_y.view(), rows.view(), class_token.view(), position.view());
        CHECK(test::same_bits(y.view(), e_y.view()));
        tensor<bf16, 2> d_rows({n_batch * 22, d}), e_d_rows({n_batch * 22, d});
        auto d_position = random_bf16<2>({tokens, d}, 7), e_d_position = random_bf16<2>({tokens, d}, 7);
        auto d_class = random_bf16<1>({with_class * d}, 8), e_d_class = random_bf16<1>({with_class * d}, 8);
        ops::prepend_class_token_backward<bf16>(two, d_rows, d_class.view(), d_position.view(), e_y.view());
        ops::ref::prepend_class_token_backward<bf16>(e_d_rows.view(), e_d_class.view(), e_d_position.view(), e_y.view());
        CHECK(test::same_bits(d_rows.view(), e_d_rows.view()));
        CHECK(test::nmse(d_position.view(), e_d_position.view()) <= 1e-4);  // the reference rounds at each sample
        CHECK(test::nmse(d_class.view(), e_d_class.view()) <= 1e-4);
    }
}

TEST_CASE("bf16_storage: AdamW updates a copy in float, which the parameters follow") {
    cpu_context one{1}, two{2};
    const index_t n = 20011;
    auto p = random_bf16<1>({n}, 1), p_two = random_bf16<1>({n}, 1), e_p = random_bf16<1>({n}, 1);
    tensor<float, 1> master({n}), m({n}), v({n}), master_two({n}), m_two({n}), v_two({n}), e_master({n}), e_m({n}), e_v({n});
    for (index_t step = 1; step <= 4; ++step) {
        const auto g = random_bf16<1>({n}, static_cast<std::uint64_t>(10 + step));
        const ops::adamw_options o{.lr = 1e-5, .weight_decay = 0.1, .step = step, .grad_scale = 0.5};
        ops::adamw_update<bf16>(one, p, master.view(), m.view(), v.view(), g, o);
        ops::adamw_update<bf16>(two, p_two, master_two.view(), m_two.view(), v_two.view(), g, o);
        ops::ref::adamw_update<bf16>(e_p.view(), e_master.view(), e_m.view(), e_v.view(), g.view(), o);
    }
    CHECK(test::nmse(master.view(), e_master.view()) <= 1e-12);
    CHECK(test::nmse(m.view(), e_m.view()) <= 1e-12);
    CHECK(test::nmse(v.view(), e_v.view()) <= 1e-12);
    CHECK(test::same_bits(master.view(), master_two.view()));
    CHECK(test::same_bits(p.view(), p_two.view()));
    bool rounded = true;
    for (index_t i = 0; i < n; ++i) rounded = rounded && p(i) == bf16(master(i));
    CHECK(rounded);
    tensor<bf16, 1> h({4});
    tensor<float, 1> four({4}), three({3});
    CHECK(test::error_text<shape_error>([&] { ops::adamw_update<bf16>(one, h, three.view(), four.view(), four.view(), h, {}); }) ==
          "adamw_update: master has shape [3], expected [4]");
}

// --- models ---------------------------------------------------------------------------------------------------------------------

namespace {

constexpr index_t k_batch = 6, k_length = 17;

nn::bert_config small_bert() {
    return {.vocab_size = 34, .d_model = 48, .n_layers = 2, .n_heads = 3, .d_ff = 96, .max_positions = 20, .n_labels = 32, .dropout = 0.1f, .attention_dropout = 0.1f};
}

/// Losses of ten steps of masked tokens on the same sequences, which a model learns by heart. The model starts as float's, rounded.
template <class T>
std::vector<double> bert_losses(cpu_context& ctx, tensor<T, 1>& after) {
    const nn::bert<float> start(small_bert(), philox{.seed = 3});
    nn::bert<T> model(small_bert());
    for (index_t i = 0; i < start.parameters().size(); ++i) model.parameters()(i) = static_cast<T>(start.parameters()(i));
    train::bert_trainer<T> trainer(model, {.weight_decay = 0.01, .max_grad_norm = 1.0});
    tensor<std::int32_t, 2> ids({k_batch, k_length});
    tensor<std::uint8_t, 2> mask({k_batch, k_length});
    const philox rng{.seed = 5};
    for (index_t i = 0; i < ids.size(); ++i) {
        const bool there = i < ids.size() - 5;
        ids.data()[i] = there ? static_cast<std::int32_t>(2 + rng.below(static_cast<std::uint64_t>(i), 32)) : 1;
        mask.data()[i] = there;
    }
    std::vector<double> losses;
    train::masked_batch masked;
    for (std::uint64_t step = 0; step < 10; ++step) {
        const philox own = rng.fork(step);
        train::mask_tokens(masked, ids.view(), {}, own.fork(1));
        losses.push_back(trainer.accumulate_mlm(ctx, masked, mask.view(), masked.denominator, own.fork(2)));
        trainer.update(ctx, {.lr = 3e-3, .beta1 = 0.9});
    }
    after = tensor<T, 1>({model.parameters().size()});
    for (index_t i = 0; i < after.size(); ++i) after(i) = model.parameters()(i);
    return losses;
}

}  // namespace

TEST_CASE("bf16_storage: ten steps of a BERT give float's losses") {
    cpu_context one{1}, two{2};
    tensor<float, 1> exact;
    tensor<bf16, 1> rough, rough_two;
    const auto expected = bert_losses<float>(one, exact);
    const auto losses = bert_losses<bf16>(one, rough), again = bert_losses<bf16>(two, rough_two);
    CHECK(losses == again);
    CHECK(test::same_bits(rough.view(), rough_two.view()));
    double worst = 0.0;
    for (std::size_t i = 0; i < losses.size(); ++i) worst = std::max(worst, std::fabs(losses[i] - expected[i]) / expected[i]);
    MESSAGE("losses of ten steps in bf16 are within ", worst, " of float's; the last are ", losses.back(), " and ", expected.back());
    CHECK(worst <= 0.02);
    CHECK(losses.back() < 0.9 * losses.front());
}

TEST_CASE("bf16_storage: a BERT in evaluation, and its pooled vectors") {
    cpu_context two{2};
    const nn::bert<float> exact(small_bert(), philox{.seed = 3});
    const nn::bert<bf16> rough(small_bert(), philox{.seed = 3});
    tensor<std::int32_t, 2> ids({k_batch, k_length});
    for (index_t i = 0; i < ids.size(); ++i) ids.data()[i] = static_cast<std::int32_t>(i * 7 % 34);
    const auto x = exact.embed(two, ids.view(), {}, ops::pooling::mean, 4);
    const auto y = rough.embed(two, ids.view(), {}, ops::pooling::mean, 4);
    CHECK(test::nmse(y.view(), x.view()) <= 1e-4);
}

TEST_CASE("bf16_storage: a ViT, forward and backward") {
    cpu_context one{1}, two{2};
    const nn::vit_config config{.image_size = 12, .patch_size = 4, .n_channels = 2, .d_model = 32, .n_layers = 2, .n_heads = 2, .d_ff = 48, .n_labels = 5};
    const nn::vit<float> exact(config, philox{.seed = 3});
    const nn::vit<bf16> rough(config, philox{.seed = 3});
    const auto images = random_bf16<4>({3, 2, 12, 12}, 1);
    tensor<float, 4> wide({3, 2, 12, 12});
    for (index_t i = 0; i < wide.size(); ++i) wide.data()[i] = static_cast<float>(images.data()[i]);
    const auto run = [&]<class T>(cpu_context& ctx, const nn::vit<T>& model, const tensor<T, 4>& pictures, tensor<T, 1>& gradients) {
        nn::vit_activations<T> memory;
        auto features = model.forward(ctx, memory, pictures.view(), {.training = true, .rng = {7, 8}});
        tensor<T, 2> kept({features.extent(0), features.extent(1)});
        for (index_t i = 0; i < kept.size(); ++i) kept.data()[i] = features.data()[i];
        (void)model.classify(ctx, memory);
        gradients = model.make_gradients();
        model.backward(ctx, gradients.view(), memory, kept.view());
        return kept;
    };
    tensor<float, 1> g;
    tensor<bf16, 1> g_one, g_two;
    const auto y = run(one, exact, wide, g);
    const auto y_one = run(one, rough, images, g_one), y_two = run(two, rough, images, g_two);
    CHECK(test::nmse(y_one.view(), y.view()) <= 1e-4);
    CHECK(test::nmse(g_one.view(), g.view()) <= 1e-3);
    CHECK(test::same_bits(y_one.view(), y_two.view()));
    CHECK(test::same_bits(g_one.view(), g_two.view()));
}
