// The embedding's gradients against central differences in double.

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/ops/embedding.hpp"
#include "support/gradient_check.hpp"

using namespace instar;

TEST_CASE("embedding backward is the gradient of the forward") {
    cpu_context ctx;
    constexpr index_t n_batch = 3, seq_len = 5, d = 7, n_vocab = 4;
    tensor<std::int32_t, 2> ids({n_batch, seq_len});
    std::int32_t k = 0;
    for (auto& id : ids) id = k++ * 7 % 3;  // id 3 never occurs
    auto word = test::random_tensor<double, 2>({n_vocab, d}, 1);
    auto position = test::random_tensor<double, 2>({seq_len + 1, d}, 2);
    auto type = test::random_tensor<double, 1>({d}, 3);
    const auto dy = test::random_tensor<double, 3>({n_batch, seq_len, d}, 4);
    tensor<double, 3> y({n_batch, seq_len, d});
    tensor<double, 2> dword({n_vocab, d}), dposition({seq_len + 1, d});
    tensor<double, 1> dtype({d});
    const auto f = [&] {
        ops::embedding_forward<double>(ctx, y, ids.view(), word, position, type);
        return test::dot(y.view(), dy.view());
    };
    ops::embedding_backward<double>(ctx, dword, dposition, dtype, dy, ids.view());
    CHECK(test::gradient_error(word.view(), dword.view(), f) < 1e-8);
    CHECK(test::gradient_error(position.view(), dposition.view(), f) < 1e-8);
    CHECK(test::gradient_error(type.view(), dtype.view(), f) < 1e-8);
}
