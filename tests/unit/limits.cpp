// Indices past 2³¹ and denormal numbers. Matrices lie in address space that is reserved but never touched between the rows, so rows may be
// gigabytes apart at no cost.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include "instar/core/flush_denormals.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/ops/adamw.hpp"
#include "instar/ops/attention.hpp"
#include "instar/ops/cross_entropy.hpp"
#include "instar/ops/embedding.hpp"
#include "instar/ops/gelu.hpp"
#include "instar/ops/gemm.hpp"
#include "instar/ops/layer_norm.hpp"
#include "instar/ops/linear.hpp"
#include "instar/ops/ref/attention.hpp"
#include "instar/ops/ref/cross_entropy.hpp"
#include "instar/ops/ref/embedding.hpp"
#include "instar/ops/ref/gemm.hpp"
#include "instar/ops/ref/layer_norm.hpp"
#include "instar/ops/ref/linear.hpp"
#include "instar/ops/ref/softmax.hpp"
#include "instar/ops/softmax.hpp"
#include "support/compare.hpp"

#if defined(__linux__)
#include <sys/mman.h>
#endif

using namespace instar;

namespace {

#if defined(__linux__)

constexpr index_t k_far = (index_t{1} << 29) + 64;  // elements from row to row: the sixth row begins past 2³¹

/// Rows that lie k_far elements apart, filled with random numbers.
struct far_rows {
    tensor_view<float, 2> view;

    far_rows(index_t rows, index_t columns, std::uint64_t seed) : bytes_(static_cast<std::size_t>(rows * k_far) * sizeof(float)) {
        memory_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        REQUIRE(memory_ != MAP_FAILED);
        view = tensor_view<float, 2>(static_cast<float*>(memory_), {rows, columns}, {k_far, 1});
        test::fill_random(view, seed);
    }
    ~far_rows() { munmap(memory_, bytes_); }
    far_rows(const far_rows&) = delete;
    far_rows& operator=(const far_rows&) = delete;

private:
    std::size_t bytes_;
    void* memory_;
};

/// [n, m, h, d] over the same memory: samples are far apart, the rest is dense.
tensor_view<float, 4> as_samples(const far_rows& x, index_t seq_len, index_t heads, index_t d) {
    return {x.view.data(), {x.view.extent(0), seq_len, heads, d}, {k_far, heads * d, d, 1}};
}

#endif

/// Smallest time of five calls.
template <class F>
double seconds(F&& f) {
    double best = std::numeric_limits<double>::infinity();
    for (int i = 0; i < 5; ++i) {
        const auto start = std::chrono::steady_clock::now();
        f();
        best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    return best;
}

/// Whether f(inputs) takes less than ten times as long when all inputs are denormal.
template <class F>
void check_denormals(const char* what, index_t n, F&& f) {
    const std::string op = what;
    CAPTURE(op);
    auto x = test::random_tensor<float, 1>({n}, 1), tiny = test::random_tensor<float, 1>({n}, 1, 1e-40, 1e-39);
    REQUIRE(std::fpclassify(tiny(0)) == FP_SUBNORMAL);
    const double usual = seconds([&] { f(x.view()); }), denormal = seconds([&] { f(tiny.view()); });
    CHECK(denormal < 10.0 * usual);
}

}  // namespace

TEST_CASE("limits: views count in 64 bits") {
    const tensor_view<bf16, 2> v(nullptr, {70000, 70000});
    CHECK(v.size() == 4'900'000'000);
    CHECK(v.stride(0) * 69999 + 69999 == v.size() - 1);
    CHECK(v.reshape<1>({4'900'000'000}).extent(0) == v.size());
    CHECK(v.rows(40000, 70000).size() == 2'100'000'000);
    tensor_view<const float, 3> deep(nullptr, {3000, 2000, 1000});
    CHECK(deep.size() == 6'000'000'000);
    CHECK(deep.stride(0) * 2999 == 5'998'000'000);
}

#if defined(__linux__)

TEST_CASE("limits: products of rows past 2^31 elements") {
    cpu_context ctx{2};
    const far_rows a(7, 9, 1), b(7, 8, 2), c(7, 9, 3), e(7, 9, 4);
    for (const bool bf16 : {false, true}) {
        // bf16 rounds: what it must agree with is the product of rounded inputs, so these are rounded before.
        if (bf16) {
            for (const far_rows* m : {&a, &b}) test::for_each_element(m->view, [](float* p) { *p = static_cast<float>(instar::bf16(*p)); });
        }
        ctx.allow_bf16(bf16);
        const auto part = [](const far_rows& m, index_t rows, index_t columns) { return tensor_view<float, 2>(m.view.data(), {rows, columns}, {k_far, 1}); };
        for (int bits = 0; bits < 4; ++bits) {
            const ops::gemm_options o{.transpose_a = (bits & 1) != 0, .transpose_b = (bits & 2) != 0};
            // All of m, n, k are 7: the last row of each operand and of the result lies past 2³¹ elements.
            ops::gemm<float>(ctx, part(c, 7, 7), part(a, 7, 7), part(b, 7, 7), o);
            ops::ref::gemm<float>(part(e, 7, 7), part(a, 7, 7), part(b, 7, 7), o);
            CHECK(test::nmse(part(c, 7, 7), part(e, 7, 7)) <= 1e-12);
        }
    }
    ctx.allow_bf16(false);
    const auto bias = test::random_tensor<float, 1>({7}, 5);
    const tensor_view<float, 2> y(c.view.data(), {7, 7}, {k_far, 1}), e_y(e.view.data(), {7, 7}, {k_far, 1}), w(b.view.data(), {7, 8}, {k_far, 1}), x(a.view.data(), {7, 8}, {k_far, 1});
    ops::linear_forward<float>(ctx, y, x, w, bias.view());
    ops::ref::linear_forward<float>(e_y, x, w, bias.view());
    CHECK(test::nmse(y, e_y) <= 1e-12);
}

TEST_CASE("limits: normalisation, softmax and losses of rows past 2^31 elements") {
    cpu_context ctx{2};
    const far_rows x(6, 33, 1), y(6, 33, 2), e(6, 33, 3);
    const auto weight = test::random_tensor<float, 1>({33}, 4), bias = test::random_tensor<float, 1>({33}, 5);
    tensor<float, 1> mean({6}), rstd({6}), e_mean({6}), e_rstd({6});
    ops::layer_norm_forward<float>(ctx, y.view, {mean.view(), rstd.view()}, x.view, weight.view(), bias.view(), 1e-5);
    ops::ref::layer_norm_forward<float>(e.view, {e_mean.view(), e_rstd.view()}, x.view, weight.view(), bias.view(), 1e-5);
    CHECK(test::nmse(y.view, e.view) <= 1e-10);
    ops::softmax_forward<float>(ctx, y.view, x.view);
    ops::ref::softmax_forward<float>(e.view, x.view);
    CHECK(test::nmse(y.view, e.view) <= 1e-10);
    const std::int32_t target[6] = {0, 32, -1, 7, 7, 31};
    tensor<float, 1> loss({6}), e_loss({6});
    ops::softmax_cross_entropy<float>(ctx, loss.view(), y.view, x.view, tensor_view<const std::int32_t, 1>(target, {6}), {}, {.denominator = 5.0});
    ops::ref::softmax_cross_entropy<float>(e_loss.view(), e.view, x.view, tensor_view<const std::int32_t, 1>(target, {6}), {}, {.denominator = 5.0});
    CHECK(test::nmse(y.view, e.view) <= 1e-10);
    CHECK(test::nmse(loss.view(), e_loss.view()) <= 1e-10);
}

TEST_CASE("limits: embeddings and attention past 2^31 elements") {
    cpu_context ctx{2};
    const far_rows word(6, 24, 1);
    const auto position = test::random_tensor<float, 2>({5, 24}, 2);
    const auto type = test::random_tensor<float, 1>({24}, 3);
    const std::int32_t id[10] = {0, 5, 5, 3, 1, 5, 0, 2, 4, 5};
    const tensor_view<const std::int32_t, 2> ids(id, {2, 5});
    tensor<float, 3> y({2, 5, 24}), e({2, 5, 24});
    ops::embedding_forward<float>(ctx, y.view(), ids, word.view, position.view(), type.view());
    ops::ref::embedding_forward<float>(e.view(), ids, word.view, position.view(), type.view());
    CHECK(test::nmse(y.view(), e.view()) <= 1e-12);

    const index_t t = 9, heads = 2, d = 16;
    const far_rows q(6, t * heads * d, 1), k(6, t * heads * d, 2), v(6, t * heads * d, 3), o(6, t * heads * d, 4), e_o(6, t * heads * d, 5);
    tensor<float, 3> lse({6, heads, t}), e_lse({6, heads, t});
    ops::attention_forward<float>(ctx, as_samples(o, t, heads, d), {lse.view()}, as_samples(q, t, heads, d), as_samples(k, t, heads, d), as_samples(v, t, heads, d), {}, {.scale = 0.25});
    ops::ref::attention_forward<float>(as_samples(e_o, t, heads, d), {e_lse.view()}, as_samples(q, t, heads, d), as_samples(k, t, heads, d), as_samples(v, t, heads, d), {}, {.scale = 0.25});
    CHECK(test::nmse(o.view, e_o.view) <= 1e-10);
}

#endif

TEST_CASE("limits: denormals count as zero in operators' loops, and as themselves afterwards") {
    volatile float tiny = 1e-40f;
    cpu_context two{2};
    std::vector<float> seen(4, 1.0f), kept(4, 0.0f);
    const auto fill = [&](std::vector<float>& to) {
        return [&](index_t begin, index_t end) {
            for (index_t i = begin; i < end; ++i) to[static_cast<std::size_t>(i)] = tiny * 2.0f;
        };
    };
    parallel_kernel(two, 4, 1, fill(seen));
    parallel_for(two, 4, 1, fill(kept));
    CHECK(kept[0] > 0.0f);
    CHECK(tiny * 2.0f > 0.0f);
#if defined(__SSE2__)
    CHECK(seen == std::vector<float>(4, 0.0f));
    {
        const flush_denormals zero;
        const flush_denormals inner;
        CHECK(tiny * 2.0f == 0.0f);
    }
    CHECK(tiny * 2.0f > 0.0f);
    CHECK_THROWS(parallel_kernel(two, 4, 1, [](index_t, index_t) { throw value_error("stop"); }));
    CHECK(tiny * 2.0f > 0.0f);
#endif
}

TEST_CASE("limits: denormal inputs do not slow operators tenfold") {
    cpu_context ctx{1};
    const index_t n = 128;
    tensor<float, 2> y({n, n});
    tensor<float, 1> out({n * n}), m({n * n}), v({n * n}), mean({n}), rstd({n});
    tensor<float, 3> lse({1, 2, 64});
    const auto other = test::random_tensor<float, 2>({n, n}, 2);
    const auto bias = test::random_tensor<float, 1>({n}, 3);
    const auto square = [&](tensor_view<const float, 1> x) { return tensor_view<const float, 2>(x.data(), {n, n}); };
    const auto heads = [&](const float* x) { return tensor_view<const float, 4>(x, {1, 64, 2, 64}); };
    for (const bool bf16 : {false, true}) {
        ctx.allow_bf16(bf16);
        check_denormals(bf16 ? "gemm in bf16" : "gemm", n * n, [&](tensor_view<const float, 1> x) { ops::gemm<float>(ctx, y, square(x), other.view(), {.transpose_b = true}); });
    }
    check_denormals("layer_norm", n * n, [&](tensor_view<const float, 1> x) { ops::layer_norm_forward<float>(ctx, y.view(), {mean.view(), rstd.view()}, square(x), bias.view(), bias.view(), 1e-5); });
    check_denormals("softmax", n * n, [&](tensor_view<const float, 1> x) { ops::softmax_forward<float>(ctx, y.view(), square(x)); });
    check_denormals("gelu", n * n, [&](tensor_view<const float, 1> x) { ops::gelu_forward<float>(ctx, out.view(), x); });
    check_denormals("attention", 64 * 2 * 64, [&](tensor_view<const float, 1> x) {
        ops::attention_forward<float>(ctx, tensor_view<float, 4>(out.data(), {1, 64, 2, 64}), {lse.view()}, heads(x.data()), heads(x.data()), heads(x.data()), {}, {.scale = 0.125});
    });
    check_denormals("adamw", n * n, [&](tensor_view<const float, 1> x) { ops::adamw_update<float>(ctx, out.view(), m.view(), v.view(), x, {.lr = 1e-3, .step = 3}); });
}
