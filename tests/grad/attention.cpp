// Gradients of attention against central differences in double, with masks and dropout.

#include <doctest/doctest.h>

#include <cmath>

#include "instar/core/cpu_context.hpp"
#include "instar/ops/attention.hpp"
#include "instar/ops/ref/attention.hpp"
#include "support/gradient_check.hpp"

using namespace instar;

TEST_CASE("attention: gradients match central differences") {
    cpu_context ctx{2};
    struct shape {
        index_t n_batch, seq_len, n_heads, d_head;
    };
    for (const shape s : {shape{2, 5, 2, 3}, shape{1, 1, 1, 4}, shape{3, 7, 1, 5}}) {
        for (const bool masked : {false, true}) {
            for (const float dropout : {0.0f, 0.35f}) {
                CAPTURE(s.seq_len);
                CAPTURE(masked);
                CAPTURE(dropout);
                auto q = test::random_tensor<double, 4>({s.n_batch, s.seq_len, s.n_heads, s.d_head}, 1);
                auto k = test::random_tensor<double, 4>({s.n_batch, s.seq_len, s.n_heads, s.d_head}, 2);
                auto v = test::random_tensor<double, 4>({s.n_batch, s.seq_len, s.n_heads, s.d_head}, 3);
                auto d_o = test::random_tensor<double, 4>({s.n_batch, s.seq_len, s.n_heads, s.d_head}, 4);
                auto o = d_o.clone(), dq = d_o.clone(), dk = d_o.clone(), dv = d_o.clone();
                tensor<double, 3> lse({s.n_batch, s.n_heads, s.seq_len});
                tensor<std::uint8_t, 2> mask;
                if (masked) {
                    mask = tensor<std::uint8_t, 2>({s.n_batch, s.seq_len});
                    // Lengths that differ; the last of several samples keeps no key at all.
                    for (index_t b = 0; b < s.n_batch; ++b) {
                        for (index_t j = 0; j < s.seq_len; ++j)
                            mask(b, j) = (b == 0 || b + 1 < s.n_batch) && j != 2 && j <= s.seq_len - 2 + b;
                    }
                    if (s.seq_len == 1) mask(0, 0) = 1;
                }
                const ops::attention_options options{.scale = 0.7, .dropout = {dropout, {5, 6}}};
                const auto loss = [&] {
                    ops::attention_forward<double>(ctx, o, {lse}, q, k, v, mask, options);
                    return test::dot(o.view(), d_o.view());
                };
                loss();
                ops::attention_backward<double>(ctx, dq, dk, dv, d_o, o, {lse}, q, k, v, mask, options);
                CHECK(test::gradient_error(q.view(), dq.view(), loss) < 1e-8);
                CHECK(test::gradient_error(k.view(), dk.view(), loss) < 1e-8);
                CHECK(test::gradient_error(v.view(), dv.view(), loss) < 1e-8);

                loss();
                ops::ref::attention_backward<double>(dq, dk, dv, d_o, o, {lse}, q, k, v, mask, options);
                CHECK(test::gradient_error(q.view(), dq.view(), loss) < 1e-8);
                CHECK(test::gradient_error(k.view(), dk.view(), loss) < 1e-8);
                CHECK(test::gradient_error(v.view(), dv.view(), loss) < 1e-8);
            }
        }
    }
}
