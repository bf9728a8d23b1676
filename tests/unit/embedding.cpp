// Embedding look-up and gradient on the CPU against the reference.

#include <limits>

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/ops/ref/embedding.hpp"
#include "support/compare.hpp"
#include "support/levels.hpp"

using namespace instar;

namespace {

tensor<std::int32_t, 2> random_ids(index_t n_batch, index_t seq_len, index_t n_vocab, std::uint64_t seed) {
    tensor<std::int32_t, 2> ids({n_batch, seq_len});
    const philox rng{.seed = seed};
    std::uint64_t i = 0;
    for (auto& id : ids) id = static_cast<std::int32_t>(rng.below(i++, static_cast<std::uint32_t>(n_vocab)));
    return ids;
}

template <class T>
void check_embedding(double tolerance) {
    cpu_context one{1}, two{2};
    struct shape { index_t n_batch, seq_len, d, n_vocab; };
    for (const shape s : {shape{0, 3, 4, 5}, {1, 1, 1, 1}, {2, 3, 5, 4}, {3, 7, 16, 9}, {4, 33, 100, 11}, {5, 17, 768, 300}, {600, 4, 33, 3}}) {
        for (const bool extras : {false, true}) {
            CAPTURE(s.n_batch);
            CAPTURE(s.d);
            CAPTURE(extras);
            const auto ids = random_ids(s.n_batch, s.seq_len, s.n_vocab, 1);
            const auto word = test::random_tensor<T, 2>({s.n_vocab, s.d}, 2);
            // Longer than the sequence, as a position table is.
            const auto position = test::random_tensor<T, 2>({extras ? s.seq_len + 2 : 0, s.d}, 3);
            const auto type = test::random_tensor<T, 1>({extras ? s.d : 0}, 4);
            tensor<T, 3> y({s.n_batch, s.seq_len, s.d}), y_two({s.n_batch, s.seq_len, s.d}), expected({s.n_batch, s.seq_len, s.d});
            ops::embedding_forward<T>(one, y, ids.view(), word, position, type);
            ops::embedding_forward<T>(two, y_two, ids.view(), word, position, type);
            ops::ref::embedding_forward<T>(expected, ids.view(), word, position, type);
            CHECK(test::nmse(y.view(), expected.view()) <= tolerance);
            CHECK(test::same_bits(y.view(), y_two.view()));

            const auto dy = test::random_tensor<T, 3>({s.n_batch, s.seq_len, s.d}, 5);
            struct gradients {
                tensor<T, 2> word, position;
                tensor<T, 1> type;
            };
            const auto start = [&] {
                return gradients{test::random_tensor<T, 2>({s.n_vocab, s.d}, 6), test::random_tensor<T, 2>({extras ? s.seq_len + 2 : 0, s.d}, 7),
                                 test::random_tensor<T, 1>({extras ? s.d : 0}, 8)};
            };
            gradients a = start(), b = start(), e = start();
            const ops::embedding_options options{.padding_idx = s.n_vocab > 2 ? 1 : -1};
            ops::embedding_backward<T>(one, a.word, a.position, a.type, dy, ids.view(), options);
            ops::embedding_backward<T>(two, b.word, b.position, b.type, dy, ids.view(), options);
            ops::ref::embedding_backward<T>(e.word, e.position, e.type, dy, ids.view(), options);
            CHECK(test::nmse(a.word.view(), e.word.view()) <= tolerance);
            CHECK(test::nmse(a.position.view(), e.position.view()) <= tolerance);
            CHECK(test::nmse(a.type.view(), e.type.view()) <= tolerance);
            CHECK(test::same_bits(a.word.view(), b.word.view()));
            CHECK(test::same_bits(a.position.view(), b.position.view()));
            CHECK(test::same_bits(a.type.view(), b.type.view()));
            if (s.n_vocab > 2) CHECK(test::same_bits(a.word[1], start().word[1]));
        }
    }
}

}  // namespace

TEST_CASE("embedding agrees with the reference in float") {
    test::for_each_level([] { check_embedding<float>(1e-11); });
}
TEST_CASE("embedding agrees with the reference in double") { check_embedding<double>(1e-26); }

TEST_CASE("embedding passes on a NaN to the places that use it") {
    cpu_context ctx;
    tensor<std::int32_t, 2> ids({1, 3});
    ids(0, 1) = 1;
    tensor<float, 2> word({2, 20});
    tensor<float, 3> y({1, 3, 20});
    word(1, 19) = std::numeric_limits<float>::quiet_NaN();
    ops::embedding_forward<float>(ctx, y, ids.view(), word, {}, {});
    CHECK(y(0, 0, 19) == 0.0f);
    CHECK(y(0, 1, 19) != y(0, 1, 19));
    CHECK(y(0, 1, 18) == 0.0f);
}

TEST_CASE("embedding names what is wrong before it writes") {
    cpu_context ctx;
    tensor<std::int32_t, 2> ids({2, 3}), wrong_ids({3, 2});
    tensor<float, 3> y({2, 3, 4});
    tensor<float, 2> word({5, 4}), wrong_word({5, 3}), short_position({2, 4}), position({3, 4});
    tensor<float, 1> type({4}), wrong_type({5});
    const auto forward = [&](tensor_view<const std::int32_t, 2> i, in_view<float, 2> w, in_view<float, 2> p, in_view<float, 1> t) {
        return test::error_text([&] { ops::embedding_forward<float>(ctx, y, i, w, p, t); });
    };
    CHECK(forward(wrong_ids.view(), word, position, type) == "embedding_forward: ids has shape [3, 2], expected [2, 3]");
    CHECK(forward(ids.view(), wrong_word, position, type) == "embedding_forward: word has shape [5, 3], expected [5, 4]");
    CHECK(forward(ids.view(), word, short_position, type) == "embedding_forward: position has shape [2, 4], expected [>= 3, 4]");
    CHECK(forward(ids.view(), word, position, wrong_type) == "embedding_forward: type_row has shape [5], expected [4]");
    y(0, 0, 0) = 9.0f;
    ids(1, 2) = 5;
    CHECK(forward(ids.view(), word, position, type) == "embedding_forward: ids[1, 2] is 5, expected 0 to 4");
    ids(1, 2) = 0;
    ids(0, 1) = -1;
    CHECK(forward(ids.view(), word, position, type) == "embedding_forward: ids[0, 1] is -1, expected 0 to 4");
    CHECK(y(0, 0, 0) == 9.0f);
    CHECK(test::error_text([&] { ops::embedding_backward<float>(ctx, word, position, type, y, ids.view()); }) ==
          "embedding_backward: ids[0, 1] is -1, expected 0 to 4");
    CHECK(word(0, 0) == 0.0f);
}
