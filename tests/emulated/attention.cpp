// Attention on the emulated device against the reference: lengths around the tiles, masks, dropout, strided heads.

#include <cmath>

#include <doctest/doctest.h>

#include "instar/ops/attention.hpp"
#include "instar/ops/ref/attention.hpp"
#include "support/emulated.hpp"

using namespace instar;

namespace {

struct attention_case {
    index_t n_batch, seq_len, n_heads, d_head;
    bool masked = false;
    float dropout = 0.0f;
    int n_shuffled = 0;
};

template <class T>
struct gradients {
    tensor<T, 4> o, dq, dk, dv;
    tensor<float, 3> lse;
    explicit gradients(const attention_case& c)
        : o({c.n_batch, c.seq_len, c.n_heads, c.d_head}), dq({c.n_batch, c.seq_len, c.n_heads, c.d_head}),
          dk({c.n_batch, c.seq_len, c.n_heads, c.d_head}), dv({c.n_batch, c.seq_len, c.n_heads, c.d_head}),
          lse({c.n_batch, c.n_heads, c.seq_len}) {}
};

// The last keys of each sample are padding; the last sample has no key at all.
tensor<std::uint8_t, 2> make_mask(const attention_case& c) {
    tensor<std::uint8_t, 2> mask({c.masked ? c.n_batch : 0, c.masked ? c.seq_len : 0});
    for (index_t b = 0; b + 1 < c.n_batch && c.masked; ++b) {
        for (index_t j = 0; j < c.seq_len - c.seq_len / 3; ++j) mask(b, j) = j % 7 != 3;
    }
    return mask;
}

template <class T>
void check_attention(const attention_case& c) {
    CAPTURE(c.seq_len);
    CAPTURE(c.d_head);
    CAPTURE(c.masked);
    CAPTURE(c.dropout);
    const auto random = [&](std::uint64_t seed) { return test::random_tensor<T, 4>({c.n_batch, c.seq_len, c.n_heads, c.d_head}, seed, -2.0, 2.0); };
    const auto q = random(1), k = random(2), v = random(3), d_o = random(4);
    const auto mask = make_mask(c);
    const ops::attention_options options{.scale = 1.0 / std::sqrt(static_cast<double>(c.d_head)),
                                         .dropout = {.p = c.dropout, .rng = {.seed = 5, .stream = 6}}};
    gradients<T> e(c), a(c), b(c);
    ops::ref::attention_forward<T>(e.o, {e.lse}, q, k, v, mask.view(), options);
    ops::ref::attention_backward<T>(e.dq, e.dk, e.dv, d_o, e.o, {e.lse}, q, k, v, mask.view(), options);
    test::for_each_order(
        [&](cuda_context& ctx, int run) {
            gradients<T>& r = run == 0 ? a : b;
            ops::attention_forward<T>(ctx, r.o, {r.lse}, q, k, v, mask.view(), options);
            ops::attention_backward<T>(ctx, r.dq, r.dk, r.dv, d_o, r.o, {r.lse}, q, k, v, mask.view(), options);
        },
        c.n_shuffled);
    CHECK(test::close<T>(a.o.view(), e.o.view()));
    CHECK(test::close<float>(a.lse.view(), e.lse.view()));
    if (c.seq_len > 1) {  // with one key the softmax is constant: dq and dk are 0 up to rounding
        CHECK(test::close<T>(a.dq.view(), e.dq.view()));
        CHECK(test::close<T>(a.dk.view(), e.dk.view()));
    }
    CHECK(test::close<T>(a.dv.view(), e.dv.view()));
    if (c.n_shuffled > 0) {
        CHECK(test::same_bits(a.o.view(), b.o.view()));
        CHECK(test::same_bits(a.dq.view(), b.dq.view()));
        CHECK(test::same_bits(a.dk.view(), b.dk.view()));
        CHECK(test::same_bits(a.dv.view(), b.dv.view()));
    }
}

}  // namespace

TEST_CASE("attention on the emulated device agrees with the reference") {
    check_attention<float>({.n_batch = 1, .seq_len = 1, .n_heads = 1, .d_head = 5});
    check_attention<float>({.n_batch = 1, .seq_len = 82, .n_heads = 2, .d_head = 32, .n_shuffled = 1});
    check_attention<float>({.n_batch = 1, .seq_len = 133, .n_heads = 1, .d_head = 24});
    check_attention<float>({.n_batch = 1, .seq_len = 165, .n_heads = 1, .d_head = 20});
}
TEST_CASE("attention on the emulated device takes heads of every width") {
    check_attention<float>({.n_batch = 1, .seq_len = 33, .n_heads = 1, .d_head = 64});
    check_attention<float>({.n_batch = 1, .seq_len = 33, .n_heads = 1, .d_head = 100});
    check_attention<float>({.n_batch = 1, .seq_len = 40, .n_heads = 1, .d_head = 192});
}
TEST_CASE("attention on the emulated device masks keys, and a sample without keys gives zeros") {
    check_attention<float>({.n_batch = 2, .seq_len = 82, .n_heads = 1, .d_head = 16, .masked = true});
    check_attention<bf16>({.n_batch = 2, .seq_len = 21, .n_heads = 2, .d_head = 32, .masked = true});
}
TEST_CASE("attention on the emulated device drops the reference's probabilities") {
    check_attention<float>({.n_batch = 2, .seq_len = 83, .n_heads = 1, .d_head = 16, .masked = true, .dropout = 0.25f});
}
TEST_CASE("attention on the emulated device agrees with the reference in bf16, on tensor cores") {
    check_attention<bf16>({.n_batch = 1, .seq_len = 70, .n_heads = 1, .d_head = 64});
    check_attention<bf16>({.n_batch = 2, .seq_len = 1, .n_heads = 1, .d_head = 5});
    check_attention<bf16>({.n_batch = 1, .seq_len = 82, .n_heads = 2, .d_head = 32, .n_shuffled = 1});
    check_attention<bf16>({.n_batch = 1, .seq_len = 133, .n_heads = 1, .d_head = 20});
    check_attention<bf16>({.n_batch = 1, .seq_len = 165, .n_heads = 1, .d_head = 16});
    check_attention<bf16>({.n_batch = 1, .seq_len = 67, .n_heads = 1, .d_head = 192, .n_shuffled = 1});
    check_attention<bf16>({.n_batch = 1, .seq_len = 45, .n_heads = 2, .d_head = 99});
    check_attention<bf16>({.n_batch = 1, .seq_len = 197, .n_heads = 1, .d_head = 64});
    check_attention<bf16>({.n_batch = 1, .seq_len = 1025, .n_heads = 1, .d_head = 16});
    check_attention<bf16>({.n_batch = 2, .seq_len = 83, .n_heads = 1, .d_head = 24, .masked = true, .dropout = 0.25f, .n_shuffled = 1});
    check_attention<bf16>({.n_batch = 2, .seq_len = 71, .n_heads = 1, .d_head = 128, .masked = true, .dropout = 0.1f});
}

TEST_CASE("attention on the emulated device takes slices of one buffer") {
    cuda_context ctx;
    const index_t n_batch = 2, seq_len = 19, n_heads = 2, d_head = 12;
    auto qkv = test::random_tensor<float, 5>({n_batch, seq_len, 3, n_heads, d_head}, 1);
    tensor<float, 5> d_qkv({n_batch, seq_len, 3, n_heads, d_head});
    const auto slice = [&](tensor<float, 5>& t, index_t which) {
        return tensor_view<float, 4>(t.data() + which * n_heads * d_head, {n_batch, seq_len, n_heads, d_head},
                                     {seq_len * 3 * n_heads * d_head, 3 * n_heads * d_head, d_head, 1});
    };
    const auto copy = [&](index_t which) {
        tensor<float, 4> t({n_batch, seq_len, n_heads, d_head});
        const auto from = slice(qkv, which);
        for (index_t b = 0; b < n_batch; ++b)
            for (index_t i = 0; i < seq_len; ++i)
                for (index_t h = 0; h < n_heads; ++h)
                    for (index_t c = 0; c < d_head; ++c) t(b, i, h, c) = from(b, i, h, c);
        return t;
    };
    const auto q = copy(0), k = copy(1), v = copy(2), d_o = test::random_tensor<float, 4>({n_batch, seq_len, n_heads, d_head}, 2);
    tensor<float, 4> o({n_batch, seq_len, n_heads, d_head}), e_o({n_batch, seq_len, n_heads, d_head}), dq({n_batch, seq_len, n_heads, d_head}),
        dk({n_batch, seq_len, n_heads, d_head}), dv({n_batch, seq_len, n_heads, d_head});
    tensor<float, 3> lse({n_batch, n_heads, seq_len});
    const ops::attention_options options{.scale = 0.3};
    ops::ref::attention_forward<float>(e_o, {lse}, q, k, v, {}, options);
    ops::ref::attention_backward<float>(dq, dk, dv, d_o, e_o, {lse}, q, k, v, {}, options);
    ops::attention_forward<float>(ctx, o, {lse}, slice(qkv, 0), slice(qkv, 1), slice(qkv, 2), {}, options);
    ops::attention_backward<float>(ctx, slice(d_qkv, 0), slice(d_qkv, 1), slice(d_qkv, 2), d_o, o, {lse}, slice(qkv, 0), slice(qkv, 1),
                                   slice(qkv, 2), {}, options);
    CHECK(test::close<float>(o.view(), e_o.view()));
    CHECK(test::close<float>(slice(d_qkv, 0), dq.view()));
    CHECK(test::close<float>(slice(d_qkv, 1), dk.view()));
    CHECK(test::close<float>(slice(d_qkv, 2), dv.view()));
}

TEST_CASE("attention on the emulated device names what is wrong") {
    cuda_context ctx;
    tensor<float, 4> x({1, 3, 1, 4}), wide({1, 3, 1, 200});
    tensor<float, 3> lse({1, 1, 3}), wrong({1, 3, 1});
    tensor<std::uint8_t, 2> mask({1, 4});
    const auto text = [&](tensor<float, 4>& t, tensor<float, 3>& l, tensor_view<const std::uint8_t, 2> m) {
        return test::error_text<shape_error>([&] { ops::attention_forward<float>(ctx, t, {l}, t, t, t, m, {}); });
    };
    CHECK(text(x, wrong, {}) == "attention_forward: saved.lse has shape [1, 3, 1], expected [1, 1, 3]");
    CHECK(text(x, lse, mask.view()) == "attention_forward: key_mask has shape [1, 4], expected [1, 3]");
    CHECK(text(wide, lse, {}) == "attention_forward: d_head is 200, the CUDA kernels take at most 192");
}
