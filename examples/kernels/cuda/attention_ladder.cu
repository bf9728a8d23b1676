// Attention on a GPU, from a T × T matrix in memory to the library's tensor cores, forward; each step checked, then timed.
//
//     kernels_cuda attention --n 4096           16 heads of 64, [1, n, 16, 64], bf16
//     kernels_emulated attention --n 136        the same kernels as host C++, two heads: checked, not timed
//
// The text that goes with it is docs/kernels/attention.md.
#include "ladder.hpp"

#include <cmath>

#include "instar/cuda/launch.cuh"
#include "instar/cuda/mma.cuh"
#include "instar/cuda/row_group.cuh"
#include "instar/cuda/vector.cuh"
#include "instar/ops/attention.hpp"
#include "instar/ops/gemm.hpp"

namespace kernels {

namespace {

using namespace instar::cuda;
using instar::bf16;

constexpr int k_heads = k_emulated ? 2 : 16, k_head = 64, k_stride = k_heads * k_head;  // k_stride: from one position to the next
constexpr float k_scale = 0.125f;                                                        // 1 / √64
constexpr float k_log2_of_e = 1.44269504f;                                               // exp(x) = 2^(x · log₂ e), and powers of two are what the hardware has

// 1. The formula in three kernels, with a T × T matrix of floats a head between them: scores, a thread each; softmax, a block a row; weighted
// sums, a thread each.
__global__ void naive_scores(float* s, const bf16* q, const bf16* k, index_t n) {
    const index_t j = block_x() * 32 + threadIdx.x, i = block_y() * 8 + threadIdx.y, h = blockIdx.z;
    if (i >= n || j >= n) return;
    float sum = 0.0f;
    for (int c = 0; c < k_head; ++c) sum += to_float(q[i * k_stride + h * k_head + c]) * to_float(k[j * k_stride + h * k_head + c]);
    s[(h * n + i) * n + j] = sum;
}

template <class T>
__global__ void __launch_bounds__(k_block_warps* k_warp_size) softmax_rows(T* s, index_t n) {
    row_group<k_block_warps> group;
    T* const row = s + group.row() * n;
    const int step = group.size;
    float largest = -INFINITY, sum = 0.0f;
    for (index_t j = group.lane(); j < n; j += step) largest = fmaxf(largest, to_float(row[j]));
    largest = group.max(largest);
    for (index_t j = group.lane(); j < n; j += step) sum += exp2f((to_float(row[j]) - largest) * (k_scale * k_log2_of_e));
    const float inverse = 1.0f / group.sum(sum);
    for (index_t j = group.lane(); j < n; j += step) row[j] = from_float<T>(exp2f((to_float(row[j]) - largest) * (k_scale * k_log2_of_e)) * inverse);
}

__global__ void naive_sums(bf16* o, const float* p, const bf16* v, index_t n) {
    const index_t i = block_x() * 4 + threadIdx.y, h = blockIdx.y;
    const int c = static_cast<int>(threadIdx.x);
    if (i >= n) return;
    float sum = 0.0f;
    for (index_t j = 0; j < n; ++j) sum += p[(h * n + i) * n + j] * to_float(v[j * k_stride + h * k_head + c]);
    o[i * k_stride + h * k_head + c] = from_float<bf16>(sum);
}

constexpr int k_queries = 128, k_keys = 32, k_group = 8;  // of a block, of a tile, that share a maximum

/// Rows first … first + 31 of a head as floats, zeros past the sequence.
__device__ __forceinline__ void load_head_tile(shared_array<float> tile, const bf16* from, index_t first, index_t n) {
    for (int p = thread_x(); p < k_keys * k_head / 8; p += k_queries) {
        const int row = p / (k_head / 8), column = p % (k_head / 8) * 8;
        float v[8] = {};
        if (first + row < n) load<8>(v, from + (first + row) * k_stride + column);
        store_shared(tile, row * k_head + column, v);
    }
}

// 3. One pass, on the ordinary cores. A thread owns a query: the query, its sums, the maximum so far and the sum of exponentials so far are in
// its registers, and no score leaves them. Keys and values come through shared memory as floats, where all lanes read the same four at a
// time: a broadcast. The block's threads beyond the sequence help to load and store nothing.
__global__ void __launch_bounds__(k_queries) one_pass(bf16* o, const bf16* q, const bf16* k, const bf16* v, index_t n) {
    INSTAR_SHARED_ARRAY(float, keys, k_keys * k_head);
    INSTAR_SHARED_ARRAY(float, values, k_keys * k_head);
    const index_t row = block_x() * k_queries + thread_x(), head = block_y() * k_head;
    float query[k_head] = {}, out[k_head] = {}, max = -INFINITY, sum = 0.0f;
    INSTAR_UNROLL
    for (int c = 0; c < k_head; c += 8) {
        float x[8] = {};
        if (row < n) load<8>(x, q + row * k_stride + head + c);
        INSTAR_UNROLL
        for (int i = 0; i < 8; ++i) query[c + i] = x[i] * (k_scale * k_log2_of_e);
    }
    for (index_t first = 0; first < n; first += k_keys) {
        load_head_tile(keys, k + head, first, n);
        load_head_tile(values, v + head, first, n);
        __syncthreads();
        const int n_keys = n - first < k_keys ? static_cast<int>(n - first) : k_keys;
        // Eight keys at a time: their scores fit in registers, and the sums so far are rescaled once for eight.
        for (int group = 0; group < n_keys; group += k_group) {
            float s[k_group], largest = max;
            INSTAR_UNROLL
            for (int j = 0; j < k_group; ++j) {
                s[j] = 0.0f;
                INSTAR_UNROLL
                for (int c = 0; c < k_head; c += 4) {
                    float x[4];
                    load_shared(x, keys, (group + j) * k_head + c);
                    INSTAR_UNROLL
                    for (int i = 0; i < 4; ++i) s[j] += query[c + i] * x[i];
                }
                if (group + j >= n_keys) s[j] = -INFINITY;
                largest = fmaxf(largest, s[j]);
            }
            const float shrink = exp2f(max - largest);
            max = largest;
            sum *= shrink;
            INSTAR_UNROLL
            for (int c = 0; c < k_head; ++c) out[c] *= shrink;
            INSTAR_UNROLL
            for (int j = 0; j < k_group; ++j) {
                const float p = exp2f(s[j] - max);
                sum += p;
                INSTAR_UNROLL
                for (int c = 0; c < k_head; c += 4) {
                    float x[4];
                    load_shared(x, values, (group + j) * k_head + c);
                    INSTAR_UNROLL
                    for (int i = 0; i < 4; ++i) out[c + i] += p * x[i];
                }
            }
        }
        __syncthreads();
    }
    if (row >= n) return;
    const float inverse = 1.0f / sum;
    INSTAR_UNROLL
    for (int c = 0; c < k_head; c += 8) {
        float x[8];
        INSTAR_UNROLL
        for (int i = 0; i < 8; ++i) x[i] = out[c + i] * inverse;
        store<8>(o + row * k_stride + head + c, x);
    }
}

}  // namespace

int run_attention(instar::cuda_context& ctx, index_t n) {
    both<bf16> q(ctx, n * k_stride, 1), k(ctx, n * k_stride, 2), v(ctx, n * k_stride, 3), o(ctx, n * k_stride);
    // The yardstick in double: some queries of each head, in the emulator all.
    const index_t n_checked = std::min<index_t>(n, k_emulated ? n : 64);
    const auto row_of = [&](index_t r) { return r * (n - 1) / std::max<index_t>(n_checked - 1, 1); };
    std::vector<double> exact(static_cast<std::size_t>(n_checked * k_stride)), p(static_cast<std::size_t>(n));
    for (index_t h = 0; h < k_heads; ++h) {
        for (index_t r = 0; r < n_checked; ++r) {
            double* const out = exact.data() + r * k_stride + h * k_head;
            double largest = -INFINITY, sum = 0.0;
            for (index_t j = 0; j < n; ++j) {
                double s = 0.0;
                for (index_t c = 0; c < k_head; ++c) s += q.value(row_of(r) * k_stride + h * k_head + c) * k.value(j * k_stride + h * k_head + c);
                p[static_cast<std::size_t>(j)] = s * static_cast<double>(k_scale);
                largest = std::max(largest, p[static_cast<std::size_t>(j)]);
            }
            for (double& each : p) sum += each = std::exp(each - largest);
            for (index_t j = 0; j < n; ++j) {
                for (index_t c = 0; c < k_head; ++c) out[c] += p[static_cast<std::size_t>(j)] / sum * v.value(j * k_stride + h * k_head + c);
            }
        }
    }
    // Root mean square of the difference over that of the result, of the worst position.
    const auto error = [&] {
        o.fetch();
        double worst = 0.0;
        for (index_t r = 0; r < n_checked; ++r) {
            double off = 0.0, energy = 0.0;
            for (index_t c = 0; c < k_stride; ++c) {
                const double e = exact[static_cast<std::size_t>(r * k_stride + c)], d = o.value(row_of(r) * k_stride + c) - e;
                off += d * d;
                energy += e * e;
            }
            if (std::isnan(off)) return off;
            worst = std::max(worst, std::sqrt(off / energy));
        }
        return worst;
    };
    // Probabilities and results rounded to bf16 are off by 2⁻⁸ of themselves at most. Rounded scores show more: 2⁻⁸ of a score of 7 are 3 % of e⁷.
    constexpr double k_tolerance = 1e-2, k_rounded_scores = 4e-2;
    const auto size = static_cast<double>(n);
    ladder steps(ctx, "attention, " + std::to_string(k_heads) + " heads of 64, " + std::to_string(n) + " positions, bf16",
                 {.flop = 4.0 * k_heads * size * size * k_head}, [&] { o.forget(); });
    {
        instar::tensor<float, 1, instar::device_memory> s({k_heads * n * n});
        steps.rung("1 three kernels, T × T", [&] {
            launch(ctx, "scores", naive_scores, {blocks_for(n, 32), blocks_for(n, 8), k_heads}, {32, 8}, 0, s.data(), q.data(), k.data(), n);
            launch(ctx, "softmax", softmax_rows<float>, {blocks_for(k_heads * n, 1)}, {k_block_warps * k_warp_size}, 0, s.data(), n);
            launch(ctx, "sums", naive_sums, {blocks_for(n, 4), k_heads}, {k_head, 4}, 0, o.data(), s.data(), v.data(), n);
        }, error, k_tolerance);
    }
    {
        // 2. The same three with products by the library's tensor cores, head by head, and the matrix in bf16.
        instar::tensor<bf16, 1, instar::device_memory> s({k_heads * n * n});
        using matrix = instar::tensor_view<bf16, 2>;
        const auto head = [&](both<bf16>& x, index_t h) { return matrix(x.data() + h * k_head, {n, k_head}, {k_stride, 1}); };
        const auto scores = [&](index_t h) { return matrix(s.data() + h * n * n, {n, n}); };
        steps.rung("2 cuBLASLt, T × T", [&] {
            for (index_t h = 0; h < k_heads; ++h) instar::ops::gemm<bf16>(ctx, scores(h), head(q, h), head(k, h), {.transpose_b = true});
            launch(ctx, "softmax", softmax_rows<bf16>, {blocks_for(k_heads * n, 1)}, {k_block_warps * k_warp_size}, 0, s.data(), n);
            for (index_t h = 0; h < k_heads; ++h) instar::ops::gemm<bf16>(ctx, head(o, h), scores(h), head(v, h));
        }, error, k_rounded_scores);
    }
    steps.rung("3 one pass, in float", [&] {
        launch(ctx, "one_pass", one_pass, {blocks_for(n, k_queries), k_heads}, {k_queries}, 0, o.data(), q.data(), k.data(), v.data(), n);
    }, error, k_tolerance);
    both<float> lse(ctx, k_heads * n);
    const auto view = [&](both<bf16>& x) { return instar::tensor_view<bf16, 4>(x.data(), {1, n, k_heads, k_head}); };
    steps.rung("4 instar, tensor cores", [&] {
        instar::ops::attention_forward<bf16>(ctx, view(o), {instar::tensor_view<float, 3>(lse.data(), {1, k_heads, n})}, view(q), view(k), view(v), {},
                                             {.scale = static_cast<double>(k_scale)});
    }, error, k_tolerance);
    return steps.finish();
}

}  // namespace kernels
