// How a matrix product reaches its speed: steps from three loops to the library's, each checked, then timed.
//
//     kernels gemm [n]        c = a · b, all n × n, float; default 1024
//
// The text that goes with it is docs/kernels/gemm.md.
#include "ladder.hpp"
#include "tile.hpp"

#include "instar/core/cpu_context.hpp"
#include "instar/ops/gemm.hpp"

namespace kernels {

namespace {

using instar::index_t;

// 1. The definition. The inner loop walks down a column of b: every step a new cache line, used for four bytes.
void dot_products(float* c, const float* a, const float* b, index_t n) {
    for (index_t i = 0; i < n; ++i) {
        for (index_t j = 0; j < n; ++j) {
            float sum = 0.0f;
            for (index_t k = 0; k < n; ++k) sum += a[i * n + k] * b[k * n + j];
            c[i * n + j] = sum;
        }
    }
}

// 2. The same multiplications in another order: the inner loop walks along rows of b and c, so the compiler vectorises it.
// Two loads and a store for each multiply-add: bound by the caches.
void row_updates(float* c, const float* a, const float* b, index_t n) {
    std::fill_n(c, n * n, 0.0f);
    for (index_t i = 0; i < n; ++i) {
        for (index_t k = 0; k < n; ++k) {
            const float x = a[i * n + k];
            for (index_t j = 0; j < n; ++j) c[i * n + j] += x * b[k * n + j];
        }
    }
}

// 3. Blocks of k and j, so that the part of b in use (64 × 512 floats, 128 KiB) stays in the second-level cache while all rows of a pass.
void cache_blocks(float* c, const float* a, const float* b, index_t n) {
    constexpr index_t k_depth = 64, k_width = 512;
    std::fill_n(c, n * n, 0.0f);
    for (index_t j0 = 0; j0 < n; j0 += k_width) {
        const index_t j1 = std::min(n, j0 + k_width);
        for (index_t k0 = 0; k0 < n; k0 += k_depth) {
            const index_t k1 = std::min(n, k0 + k_depth);
            for (index_t i = 0; i < n; ++i) {
                for (index_t k = k0; k < k1; ++k) {
                    const float x = a[i * n + k];
                    for (index_t j = j0; j < j1; ++j) c[i * n + j] += x * b[k * n + j];
                }
            }
        }
    }
}

constexpr int k_rows = 8, k_columns = 3;  // 24 sums and 3 of b: 27 of the 32 registers of AVX-512
constexpr index_t k_tile = k_columns * k_lanes;

// 4. Tiles of c in registers (tile.hpp), read from a and b where they lie. The rows of b are 4n bytes apart: a tile's walk down k touches a page each few
// steps, and for n a power of two the lines fall into few cache sets.
void register_tiles(float* c, const float* a, const float* b, index_t n) {
    std::fill_n(c, n * n, 0.0f);
    const index_t n_tiled = n / k_tile * k_tile, m_tiled = n / k_rows * k_rows;
    for (index_t j = 0; j < n_tiled; j += k_tile) {
        for (index_t i = 0; i < m_tiled; i += k_rows) register_tile<k_rows, k_columns>(c + i * n + j, n, a + i * n, n, 1, b + j, n, n);
    }
    for (index_t i = 0; i < n; ++i) {  // what the tiles left
        for (index_t j = i < m_tiled ? n_tiled : 0; j < n; ++j) {
            for (index_t k = 0; k < n; ++k) c[i * n + j] += a[i * n + k] * b[k * n + j];
        }
    }
}

// 5. Packing: b's block is copied so that a tile reads one line after the other, a's so that the broadcasts of one k are neighbours.
// Blocks are sized for the caches: a panel of b (384 × 48 floats, 72 KiB) in the second level, of a (96 × 384, 144 KiB) beside it.
void packed_block(float* c, const float* a, const float* b, index_t n, index_t row_begin, index_t row_end) {
    constexpr index_t k_depth = 384, k_height = 96;
    std::vector<float> b_panel(static_cast<std::size_t>(k_depth * ((n + k_tile - 1) / k_tile) * k_tile));
    std::vector<float> a_panel(static_cast<std::size_t>(k_height * k_depth));
    alignas(64) float edge[k_rows * k_tile];
    for (index_t k0 = 0; k0 < n; k0 += k_depth) {
        const index_t depth = std::min(k_depth, n - k0);
        for (index_t j = 0; j < n; j += k_tile) {
            float* to = b_panel.data() + j * depth;
            for (index_t k = 0; k < depth; ++k) {
                for (index_t x = 0; x < k_tile; ++x) to[k * k_tile + x] = j + x < n ? b[(k0 + k) * n + j + x] : 0.0f;
            }
        }
        for (index_t i0 = row_begin; i0 < row_end; i0 += k_height) {
            const index_t height = std::min(k_height, row_end - i0);
            for (index_t i = 0; i < height; i += k_rows) {
                float* to = a_panel.data() + i * depth;
                for (index_t k = 0; k < depth; ++k) {
                    for (index_t x = 0; x < k_rows; ++x) to[k * k_rows + x] = i + x < height ? a[(i0 + i + x) * n + k0 + k] : 0.0f;
                }
            }
            for (index_t j = 0; j < n; j += k_tile) {
                for (index_t i = 0; i < height; i += k_rows) {
                    const bool whole = i + k_rows <= height && j + k_tile <= n;
                    const float *left = a_panel.data() + i * depth, *right = b_panel.data() + j * depth;
                    if (whole) {
                        register_tile<k_rows, k_columns>(c + (i0 + i) * n + j, n, left, 1, k_rows, right, k_tile, depth);
                        continue;
                    }
                    std::fill_n(edge, k_rows * k_tile, 0.0f);  // the same tile beside c, then the part that exists
                    register_tile<k_rows, k_columns>(edge, k_tile, left, 1, k_rows, right, k_tile, depth);
                    for (index_t y = 0; y < std::min<index_t>(k_rows, height - i); ++y) {
                        for (index_t x = 0; x < std::min(k_tile, n - j); ++x) c[(i0 + i + y) * n + j + x] += edge[y * k_tile + x];
                    }
                }
            }
        }
    }
}

void packed(float* c, const float* a, const float* b, index_t n) {
    std::fill_n(c, n * n, 0.0f);
    packed_block(c, a, b, n, 0, n);
}

}  // namespace

int run_gemm(index_t n) {
    instar::cpu_context one(1), all;
    const auto a = random_values(n * n, 1), b = random_values(n * n, 2);
    std::vector<float> expected(a.size()), c(a.size());
    // The yardstick in double, on enough rows to notice any error.
    const index_t n_checked = std::min<index_t>(n, 61);
    std::vector<double> exact(static_cast<std::size_t>(n_checked * n));
    for (index_t r = 0; r < n_checked; ++r) {
        const index_t i = r * (n - 1) / std::max<index_t>(n_checked - 1, 1);
        for (index_t k = 0; k < n; ++k) {
            for (index_t j = 0; j < n; ++j) exact[static_cast<std::size_t>(r * n + j)] += static_cast<double>(a[static_cast<std::size_t>(i * n + k)]) * static_cast<double>(b[static_cast<std::size_t>(k * n + j)]);
        }
    }
    const auto error = [&] {
        double worst = 0.0;
        for (index_t r = 0; r < n_checked; ++r) {
            const index_t i = r * (n - 1) / std::max<index_t>(n_checked - 1, 1);
            for (index_t j = 0; j < n; ++j) worst = std::max(worst, std::fabs(static_cast<double>(c[static_cast<std::size_t>(i * n + j)]) - exact[static_cast<std::size_t>(r * n + j)]));
        }
        return worst / std::sqrt(static_cast<double>(n));
    };
    const double flop = 2.0 * static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n);
    ladder steps("c = a · b, " + std::to_string(n) + " × " + std::to_string(n), {.flop = flop});
    using function = void (*)(float*, const float*, const float*, index_t);
    const std::pair<const char*, function> rungs[] = {{"1 dot products", dot_products},   {"2 row updates", row_updates}, {"3 cache blocks", cache_blocks},
                                                      {"4 register tiles", register_tiles}, {"5 packed panels", packed}};
    for (const auto& [name, f] : rungs) steps.rung(name, 1, [&] { f(c.data(), a.data(), b.data(), n); }, error);
    const instar::tensor_view<const float, 2> av(a.data(), {n, n}), bv(b.data(), {n, n});
    const instar::tensor_view<float, 2> cv(c.data(), {n, n});
    steps.rung("6 instar, one thread", 1, [&] { instar::ops::gemm<float>(one, cv, av, bv); }, error);
    steps.rung("7 instar, all threads", all.max_threads(), [&] { instar::ops::gemm<float>(all, cv, av, bv); }, error);
    // Rounded to bf16, 8 bits, an input is off by 1.7e-3 of itself (root mean square), a product by 2.4e-3, a sum of n products of N(0, 1) by
    // 2.4e-3 · √n; the largest of the 60,000 looked at by four or five times as much.
    constexpr double k_rounded = 2e-2;
    one.allow_bf16(true);
    all.allow_bf16(true);
    steps.rung("8 bf16 inputs, one thread", 1, [&] { instar::ops::gemm<float>(one, cv, av, bv); }, error, k_rounded);
    steps.rung("9 bf16 inputs, all threads", all.max_threads(), [&] { instar::ops::gemm<float>(all, cv, av, bv); }, error, k_rounded);
    return steps.finish();
}

}  // namespace kernels
