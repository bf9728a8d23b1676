// LayerNorm on a GPU is bound by memory: what counts is how the lanes of a warp share the bytes, and how often a row travels.
//
//     kernels_cuda layer_norm --rows 65536       rows of 768 floats: 201 MB in, 201 MB out
//     kernels_emulated layer_norm --rows 37      the same kernels as host C++: checked, not timed
//
// The text that goes with it is docs/kernels/layer_norm.md.
#include "ladder.hpp"

#include <cmath>

#include "instar/cuda/launch.cuh"
#include "instar/cuda/row_group.cuh"
#include "instar/cuda/vector.cuh"
#include "instar/ops/layer_norm.hpp"
#include "instar/ops/ref/layer_norm.hpp"

namespace kernels {

namespace {

using namespace instar::cuda;

constexpr int k_d = 768, k_row_threads = k_block_warps * k_warp_size;
constexpr double k_eps = 1e-5;

// 1. A thread a row, as on a CPU. The lanes of a warp read 32 addresses that are 3 KiB apart: 32 sectors of 32 bytes for 128 bytes. The rows of
// all threads together fit no cache, so each of the three passes comes from memory.
__global__ void thread_a_row(float* y, const float* x, const float* weight, const float* bias, index_t n_rows) {
    const index_t row = grid_thread();
    if (row >= n_rows) return;
    const float* const from = x + row * k_d;
    float sum = 0.0f, squares = 0.0f;
    for (int c = 0; c < k_d; ++c) sum += from[c];
    const float mean = sum / k_d;
    for (int c = 0; c < k_d; ++c) squares += (from[c] - mean) * (from[c] - mean);
    const float rstd = 1.0f / sqrtf(squares / k_d + static_cast<float>(k_eps));
    for (int c = 0; c < k_d; ++c) y[row * k_d + c] = (from[c] - mean) * rstd * weight[c] + bias[c];
}

// 2. A block a row: lanes read neighbours, and a row stays in the first-level cache for the second and third pass. Sums go through shuffles, then
// through shared memory: 256 threads meet at two barriers for three elements each.
__global__ void __launch_bounds__(k_row_threads) block_a_row(float* y, const float* x, const float* weight, const float* bias, index_t) {
    row_group<k_block_warps> group;
    const float* const from = x + group.row() * k_d;
    float sum = 0.0f, squares = 0.0f;
    for (int c = thread_x(); c < k_d; c += k_row_threads) sum += from[c];
    const float mean = group.sum(sum) / k_d;
    for (int c = thread_x(); c < k_d; c += k_row_threads) squares += (from[c] - mean) * (from[c] - mean);
    const float rstd = 1.0f / sqrtf(group.sum(squares) / k_d + static_cast<float>(k_eps));
    for (int c = thread_x(); c < k_d; c += k_row_threads) y[group.row() * k_d + c] = (from[c] - mean) * rstd * weight[c] + bias[c];
}

// 3. A warp a row: no barrier, and a lane has its 24 elements in registers from the first load on. Six loads of sixteen bytes are on their way
// before the first sum needs one.
__global__ void __launch_bounds__(k_row_threads) warp_a_row(float* y, const float* x, const float* weight, const float* bias, index_t n_rows) {
    constexpr int k_step = 4 * k_warp_size, k_packs = k_d / k_step;
    row_group<1> group;  // eight in a block
    if (group.row() >= n_rows) return;
    const index_t row = group.row() * k_d;
    const int first = 4 * group.lane();
    float v[k_packs][4], sum = 0.0f, squares = 0.0f;
    INSTAR_UNROLL
    for (int p = 0; p < k_packs; ++p) load<4>(v[p], x + row + first + p * k_step);
    INSTAR_UNROLL
    for (int p = 0; p < k_packs; ++p) sum += (v[p][0] + v[p][1]) + (v[p][2] + v[p][3]);
    const float mean = group.sum(sum) / k_d;
    INSTAR_UNROLL
    for (int p = 0; p < k_packs; ++p) {
        INSTAR_UNROLL
        for (int i = 0; i < 4; ++i) squares += (v[p][i] - mean) * (v[p][i] - mean);
    }
    const float rstd = 1.0f / sqrtf(group.sum(squares) / k_d + static_cast<float>(k_eps));
    INSTAR_UNROLL
    for (int p = 0; p < k_packs; ++p) {
        float w[4], b[4];
        load<4>(w, weight + first + p * k_step);
        load<4>(b, bias + first + p * k_step);
        INSTAR_UNROLL
        for (int i = 0; i < 4; ++i) v[p][i] = (v[p][i] - mean) * rstd * w[i] + b[i];
        store<4>(y + row + first + p * k_step, v[p]);
    }
}

}  // namespace

int run_layer_norm(instar::cuda_context& ctx, index_t n_rows) {
    using rows = instar::tensor_view<float, 2>;
    using vector = instar::tensor_view<float, 1>;
    both<float> x(ctx, n_rows * k_d, 1), weight(ctx, k_d, 2), bias(ctx, k_d, 3), y(ctx, n_rows * k_d), mean(ctx, n_rows), rstd(ctx, n_rows);
    instar::tensor<float, 2> expected({n_rows, k_d});
    instar::ops::ref::layer_norm_forward<float>(expected, {mean.host, rstd.host}, rows(x.host.data(), {n_rows, k_d}), weight.host, bias.host, k_eps);
    const auto error = [&] {
        y.fetch();
        double worst = 0.0;
        for (index_t i = 0; i < y.host.size(); ++i) {
            const double off = std::fabs(y.value(i) - static_cast<double>(expected.data()[i]));
            if (std::isnan(off)) return off;
            worst = std::max(worst, off);
        }
        return worst;
    };
    constexpr double k_tolerance = 2e-5;
    ladder steps(ctx, "LayerNorm of " + std::to_string(n_rows) + " rows of 768 floats", {.bytes = 8.0 * static_cast<double>(n_rows * k_d)}, [&] { y.forget(); });
    using kernel = void (*)(float*, const float*, const float*, const float*, index_t);
    const auto rung = [&](const char* name, kernel f, index_t rows_of_block) {
        steps.rung(name, [&, f, rows_of_block] {
            launch(ctx, name, f, {blocks_for(n_rows, rows_of_block)}, {k_row_threads}, 0, y.data(), x.data(), weight.data(), bias.data(), n_rows);
        }, error, k_tolerance);
    };
    rung("1 a thread a row", thread_a_row, k_row_threads);
    rung("2 a block a row", block_a_row, 1);
    rung("3 a warp a row, in registers", warp_a_row, k_block_warps);
    steps.rung("4 instar", [&] {
        instar::ops::layer_norm_forward<float>(ctx, rows(y.data(), {n_rows, k_d}), {vector(mean.data(), {n_rows}), vector(rstd.data(), {n_rows})},
                                               rows(x.data(), {n_rows, k_d}), vector(weight.data(), {k_d}), vector(bias.data(), {k_d}), k_eps);
    }, error, k_tolerance);
    return steps.finish();
}

}  // namespace kernels
