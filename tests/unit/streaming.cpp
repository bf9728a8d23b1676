// Results written past the caches: every size and alignment, and operators of tensors large enough for it beside the same in pieces.

#include <algorithm>
#include <cstring>
#include <vector>

#include <doctest/doctest.h>

#include "instar/core/cpu_context.hpp"
#include "instar/core/element.hpp"
#include "instar/core/philox.hpp"
#include "instar/core/tensor.hpp"
#include "instar/ops/cross_entropy.hpp"
#include "instar/ops/cpu/streaming.hpp"
#include "instar/ops/elementwise.hpp"
#include "instar/ops/gelu.hpp"
#include "instar/ops/l2_normalize.hpp"
#include "instar/ops/layer_norm.hpp"
#include "instar/ops/softmax.hpp"

namespace {

using namespace instar;
namespace simd = ops::cpu::simd;

constexpr simd::level k_levels[] = {simd::level::base, simd::level::v3, simd::level::v4};

/// Values in [−4, 4) by place.
template <class T>
void fill(T* x, index_t n, std::uint64_t seed) {
    const philox rng{.seed = seed};
    for (index_t i = 0; i < n; ++i) x[i] = static_cast<T>(static_cast<float>(rng.bits(static_cast<std::uint64_t>(i) % 65'521)) * 0x1p-29f - 4.0f);
}

TEST_CASE("stream_copy writes what it should and nothing beside it, at every alignment") {
    for (const simd::level level : k_levels) {
        if (!simd::supports(level)) continue;
        const simd::scoped_level use(level);
        alignas(64) std::uint8_t from[640], to[640], expected[640];
        for (std::size_t i = 0; i < sizeof(from); ++i) from[i] = static_cast<std::uint8_t>(i * 7 + 1);
        for (index_t at = 0; at < 66; ++at) {
            for (index_t n = 0; n < 200; n += n < 132 ? 1 : 13) {
                std::memset(to, 0xee, sizeof(to));
                std::memset(expected, 0xee, sizeof(expected));
                std::memcpy(expected + at, from + 5, static_cast<std::size_t>(n));
                ops::cpu::stream_copy(to + at, static_cast<const std::uint8_t*>(from) + 5, n);
                ops::cpu::stream_fence();
                REQUIRE(std::memcmp(to, expected, sizeof(to)) == 0);
            }
        }
    }
}

TEST_CASE_TEMPLATE("blocks cover a range once, in order", T, float, double, bf16) {
    std::vector<T> to(2000), expected(2000);
    for (const index_t at : {0, 1, 15, 16, 31}) {
        for (const index_t n : {0, 1, 16, 255, 256, 257, 1000, 1900}) {
            for (const bool stream : {false, true}) {
                std::fill(to.begin(), to.end(), T(-1.0f));
                std::fill(expected.begin(), expected.end(), T(-1.0f));
                for (index_t i = 0; i < n; ++i) expected[static_cast<std::size_t>(at + i)] = static_cast<T>(static_cast<float>(i % 128));
                index_t next = 0;
                ops::cpu::write_blocks(stream, to.data() + at, n, [&](T* block, index_t first, index_t m) {
                    CHECK(first == next);
                    next = first + m;
                    for (index_t i = 0; i < m; ++i) block[i] = static_cast<T>(static_cast<float>((first + i) % 128));
                });
                CHECK(next == n);
                REQUIRE(std::memcmp(to.data(), expected.data(), to.size() * sizeof(T)) == 0);
            }
        }
    }
}

TEST_CASE("row blocks cover all rows, of any length") {
    for (const index_t d : {1, 3, 16, 48, 165, 768, 1000, 5000}) {
        for (const index_t n_rows : {1, 2, 17, 50}) {
            tensor<float, 2> x({n_rows, d}), to({n_rows, d});
            fill(x.data(), x.size(), 1);
            index_t next = 0;
            ops::cpu::write_row_blocks(true, to.view(), [&](tensor_view<float, 2> rows, index_t first) {
                CHECK(first == next);
                next = first + rows.extent(0);
                std::copy_n(&x(first, 0), rows.size(), rows.data());
            }, x.view());
            CHECK(next == n_rows);
            REQUIRE(std::equal(x.begin(), x.end(), to.begin()));
        }
    }
}

TEST_CASE("what is streamed: large results that take no input's place") {
    const auto n = static_cast<index_t>(ops::cpu::k_stream_bytes / sizeof(float));
    const float* const a = reinterpret_cast<const float*>(std::uintptr_t{1} << 20);
    const float* const b = reinterpret_cast<const float*>(std::uintptr_t{1} << 40);
    CHECK(ops::cpu::streams(a, n, b) == (INSTAR_SIMD_X86 != 0));
    CHECK_FALSE(ops::cpu::streams(a, n - 1, b));
    CHECK_FALSE(ops::cpu::streams(a, n, b, a));
    float* const to = const_cast<float*>(a);
    CHECK(ops::cpu::streams_rows(tensor_view<float, 2>(to, {n / 1024, 1024}), b) == (INSTAR_SIMD_X86 != 0));
    CHECK_FALSE(ops::cpu::streams_rows(tensor_view<float, 2>(to, {n / 1024, 1024}), a));
    CHECK_FALSE(ops::cpu::streams_rows(tensor_view<float, 2>(to, {n / 8192, 8192}), b));
    CHECK_FALSE(ops::cpu::streams_rows(tensor_view<double, 2>(reinterpret_cast<double*>(to), {n / 1024, 1024}), b));
}

/// An operator of many rows, and of each thousand of them by itself, which is too little to be streamed.
struct large_rows {
    static constexpr index_t k_d = 1001, k_piece = 1000;
    index_t n_rows = static_cast<index_t>(ops::cpu::k_stream_bytes / sizeof(float)) / k_d + 19;
    tensor<float, 2> x{{n_rows, k_d}}, g{{n_rows, k_d}}, whole{{n_rows, k_d}}, pieces{{n_rows, k_d}};
    large_rows() {
        fill(x.data(), x.size(), 2);
        fill(g.data(), g.size(), 3);
    }
    template <class F>
    void check(F f) {
        for (const int threads : {1, 2}) {
            cpu_context ctx(threads);
            std::fill(whole.begin(), whole.end(), -7.0f);
            f(ctx, whole.view(), x.view(), g.view(), index_t{0});
            for (index_t r = 0; r < n_rows; r += k_piece) {
                const index_t until = std::min(n_rows, r + k_piece);
                f(ctx, pieces.view().rows(r, until), x.view().rows(r, until), g.view().rows(r, until), r);
            }
            REQUIRE(std::memcmp(whole.data(), pieces.data(), static_cast<std::size_t>(whole.size()) * sizeof(float)) == 0);
        }
    }
};
using rows = tensor_view<float, 2>;

TEST_CASE_FIXTURE(large_rows, "operators give the same bits streamed or not") {
    const auto flat = [](rows x) { return x.reshape<1>({x.size()}); };
    tensor<float, 1> weight({k_d}), bias({k_d}), mean({n_rows}), rstd({n_rows}), dweight({k_d}), dbias({k_d}), loss({n_rows});
    tensor<std::int32_t, 1> targets({n_rows});
    fill(weight.data(), k_d, 4);
    fill(bias.data(), k_d, 5);
    for (index_t r = 0; r < n_rows; ++r) targets(r) = r % 11 == 3 ? -1 : static_cast<std::int32_t>(r * 37 % k_d);
    const auto saved = [&](index_t first, index_t n) { return ops::layer_norm_saved<float>{mean.view().rows(first, first + n), rstd.view().rows(first, first + n)}; };

    check([&](cpu_context& ctx, rows y, rows x, rows, index_t) { ops::gelu_forward<float>(ctx, flat(y), flat(x)); });
    check([&](cpu_context& ctx, rows y, rows x, rows g, index_t) { ops::gelu_backward<float>(ctx, flat(y), flat(g), flat(x)); });
    check([&](cpu_context& ctx, rows y, rows x, rows g, index_t) { ops::add<float>(ctx, flat(y), flat(x), flat(g)); });
    check([&](cpu_context& ctx, rows y, rows x, rows, index_t) { ops::copy<float>(ctx, flat(y), flat(x)); });
    check([&](cpu_context& ctx, rows y, rows x, rows, index_t) { ops::softmax_forward<float>(ctx, y, x); });
    check([&](cpu_context& ctx, rows y, rows x, rows g, index_t) { ops::softmax_backward<float>(ctx, y, g, x); });
    check([&](cpu_context& ctx, rows y, rows x, rows, index_t first) {
        ops::layer_norm_forward<float>(ctx, y, saved(first, y.extent(0)), x, weight, bias, 1e-12);
    });
    check([&](cpu_context& ctx, rows y, rows x, rows g, index_t first) {
        ops::layer_norm_backward<float>(ctx, y, dweight, dbias, g, saved(first, y.extent(0)), x, weight);
    });
    check([&](cpu_context& ctx, rows y, rows x, rows, index_t first) { ops::l2_normalize_forward<float>(ctx, y, rstd.view().rows(first, first + y.extent(0)), x); });
    check([&](cpu_context& ctx, rows y, rows x, rows g, index_t first) {
        ops::l2_normalize_backward<float>(ctx, y, g, x, rstd.view().rows(first, first + y.extent(0)));
    });
    check([&](cpu_context& ctx, rows y, rows x, rows, index_t first) {
        ops::softmax_cross_entropy<float>(ctx, loss.view().rows(first, first + y.extent(0)), y, x, targets.view().rows(first, first + y.extent(0)), {}, {.denominator = 7.0, .label_smoothing = 0.1});
    });
}

}  // namespace
