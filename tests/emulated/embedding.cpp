// Embedding and pooling on the emulated device against the reference.

#include <doctest/doctest.h>

#include "instar/ops/embedding.hpp"
#include "instar/ops/pooling.hpp"
#include "instar/ops/ref/embedding.hpp"
#include "instar/ops/ref/pooling.hpp"
#include "support/emulated.hpp"

using namespace instar;

namespace {

tensor<std::int32_t, 2> make_ids(index_t n_batch, index_t seq_len, index_t n_vocab) {
    tensor<std::int32_t, 2> ids({n_batch, seq_len});
    const philox rng{.seed = 3};
    for (index_t i = 0; i < ids.size(); ++i) {
        ids.data()[i] = static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(i), static_cast<std::uint32_t>(n_vocab)));
    }
    return ids;
}

template <class T>
void check_embedding() {
    const index_t shapes[][4] = {{1, 1, 1, 1}, {3, 20, 33, 7}, {2, 41, 64, 5}, {1, 5, 100, 40}, {0, 3, 4, 4}};  // batch, length, d, vocabulary
    for (const auto& s : shapes) {
        for (const bool extras : {false, true}) {
            const index_t n_batch = s[0], seq_len = s[1], d = s[2], n_vocab = s[3];
            CAPTURE(d);
            CAPTURE(extras);
            const auto ids = make_ids(n_batch, seq_len, n_vocab);
            const auto word = test::random_tensor<T, 2>({n_vocab, d}, 1), position = test::random_tensor<T, 2>({extras ? seq_len + 2 : 0, d}, 2);
            const auto type = test::random_tensor<T, 1>({extras ? d : 0}, 3);
            const auto dy = test::random_tensor<T, 3>({n_batch, seq_len, d}, 4);
            tensor<T, 3> y({n_batch, seq_len, d}), e({n_batch, seq_len, d});
            ops::ref::embedding_forward<T>(e, ids.view(), word, position, type);
            auto e_word = test::random_tensor<T, 2>({n_vocab, d}, 5), e_position = test::random_tensor<T, 2>({extras ? seq_len + 2 : 0, d}, 6);
            auto e_type = test::random_tensor<T, 1>({extras ? d : 0}, 7);
            const ops::embedding_options o{.padding_idx = extras ? 0 : -1};
            ops::ref::embedding_backward<T>(e_word, e_position, e_type, dy, ids.view(), o);
            test::for_each_order([&](cuda_context& ctx, int) {
                ops::embedding_forward<T>(ctx, y, ids.view(), word, position, type);
                CHECK(test::close<T>(y.view(), e.view()));
                auto dword = test::random_tensor<T, 2>({n_vocab, d}, 5), dposition = test::random_tensor<T, 2>({extras ? seq_len + 2 : 0, d}, 6);
                auto dtype_row = test::random_tensor<T, 1>({extras ? d : 0}, 7);
                ops::embedding_backward<T>(ctx, dword, dposition, dtype_row, dy, ids.view(), o);
                CHECK(test::close<T>(dword.view(), e_word.view()));
                CHECK(test::close<T>(dposition.view(), e_position.view()));
                CHECK(test::close<T>(dtype_row.view(), e_type.view()));
            });
        }
    }
}

template <class T>
void check_pooling() {
    cuda_context ctx;
    const index_t shapes[][3] = {{1, 1, 1}, {3, 82, 20}, {2, 5, 130}, {0, 3, 4}};
    for (const auto& s : shapes) {
        for (const auto kind : {ops::pooling::mean, ops::pooling::masked_mean, ops::pooling::first}) {
            for (const bool with_mask : {false, true}) {
                const index_t n = s[0], seq_len = s[1], d = s[2];
                CAPTURE(seq_len);
                CAPTURE(static_cast<int>(kind));
                tensor<std::uint8_t, 2> mask({with_mask ? n : 0, with_mask ? seq_len : 0});
                for (index_t b = 0; b + 1 < n && with_mask; ++b) {  // the last sample has no position that counts
                    for (index_t t = 0; t < seq_len; ++t) mask(b, t) = (b + t) % 3 != 0;
                }
                const auto x = test::random_tensor<T, 3>({n, seq_len, d}, 1);
                const auto dy = test::random_tensor<T, 2>({n, d}, 2);
                tensor<T, 2> y({n, d}), e({n, d});
                tensor<T, 3> dx({n, seq_len, d}), e_dx({n, seq_len, d});
                ops::sequence_pool_forward<T>(ctx, y, x, mask.view(), kind);
                ops::ref::sequence_pool_forward<T>(e, x, mask.view(), kind);
                CHECK(test::close<T>(y.view(), e.view()));
                ops::sequence_pool_backward<T>(ctx, dx, dy, mask.view(), kind);
                ops::ref::sequence_pool_backward<T>(e_dx, dy, mask.view(), kind);
                CHECK(test::close<T>(dx.view(), e_dx.view()));
            }
        }
    }
}

}  // namespace

TEST_CASE("embedding on the emulated device agrees with the reference") {
    check_embedding<float>();
    check_embedding<bf16>();
}
TEST_CASE("embedding on the emulated device gives NaN for an id that does not exist, and no gradient") {
    cuda_context ctx;
    tensor<std::int32_t, 2> ids({1, 3});
    ids(0, 0) = 2;
    ids(0, 1) = 5;
    ids(0, 2) = -1;
    const auto word = test::random_tensor<float, 2>({5, 4}, 1);
    tensor<float, 3> y({1, 3, 4});
    tensor<float, 2> dword({5, 4});
    ops::embedding_forward<float>(ctx, y, ids.view(), word, {}, {});
    CHECK(y(0, 0, 1) == word(2, 1));
    CHECK(std::isnan(y(0, 1, 0)));
    CHECK(std::isnan(y(0, 2, 3)));
    for (float& v : y) v = 1.0f;
    ops::embedding_backward<float>(ctx, dword, {}, {}, y, ids.view());
    float sum = 0.0f;
    for (const float v : dword) sum += v;
    CHECK(sum == 4.0f);
    CHECK(dword(2, 3) == 1.0f);
}
TEST_CASE("embedding on the emulated device takes samples that are not adjacent") {
    cuda_context ctx;
    const auto memory = test::random_tensor<float, 3>({2, 6, 8}, 1);
    const tensor_view<const float, 3> dy(memory.data(), {2, 4, 8}, {48, 8, 1});  // the first four positions of each
    const auto ids = make_ids(2, 4, 3);
    tensor<float, 2> dword({3, 8}), e_word({3, 8}), dposition({4, 8}), e_position({4, 8});
    tensor<float, 1> dtype_row({8}), e_type({8});
    ops::embedding_backward<float>(ctx, dword, dposition, dtype_row, dy, ids.view());
    ops::ref::embedding_backward<float>(e_word, e_position, e_type, dy, ids.view());
    CHECK(test::close<float>(dword.view(), e_word.view()));
    CHECK(test::close<float>(dposition.view(), e_position.view()));
    CHECK(test::close<float>(dtype_row.view(), e_type.view()));
}
TEST_CASE("pooling on the emulated device agrees with the reference") {
    check_pooling<float>();
    check_pooling<bf16>();
}
