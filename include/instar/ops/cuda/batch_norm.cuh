#ifndef INSTAR_OPS_CUDA_BATCH_NORM_CUH
#define INSTAR_OPS_CUDA_BATCH_NORM_CUH

// Batch normalisation on a GPU. Statistics in one reading of x: a thread holds eight rows of its channels in registers, takes their mean and
// the squares of differences to it, and merges that with what it has (Chan, Golub, LeVeque 1983); threads, blocks and ranges of rows are
// merged in a fixed order. No difference of large squares, no atomics: the digits survive a large mean, and the bits never change.
//
//     ops::batch_norm_forward(ctx, y, saved, running, x, weight, bias, {.relu = true});

#include <algorithm>

#include "instar/cuda/launch.cuh"
#include "instar/cuda/vector.cuh"
#include "instar/ops/batch_norm.hpp"
#include "instar/ops/cuda/relu.cuh"

namespace instar::ops {

namespace cuda {

inline constexpr int k_channel_threads = 256;
/// Blocks over which sums are spread, and blocks of a pass that only maps: fixed, so that sums have one order on every device.
inline constexpr index_t k_channel_sum_blocks = 512, k_channel_map_blocks = 2048;

/// How a grid lies over a matrix with few columns: `lanes` threads side by side have W channels each, a block as many rows at a time as
/// that leaves, block_x() a strip of channels and block_y() a range of rows.
struct channel_grid {
    index_t n_rows = 0, d = 0, rows_per_range = 1;
    int lanes = 1;
    unsigned n_strips = 0, n_ranges = 0;

    channel_grid(index_t rows, index_t columns, int w, index_t n_blocks, int rows_a_thread) : n_rows(rows), d(columns) {
        while (lanes < k_warp_size && lanes * w < d) lanes *= 2;
        n_strips = blocks_for(d, lanes * w);
        const index_t ranges = std::max<index_t>(1, n_blocks / std::max(1u, n_strips));
        rows_per_range = std::max<index_t>(rows_a_thread * (k_channel_threads / lanes), ceil_div(n_rows, ranges));
        n_ranges = blocks_for(n_rows, rows_per_range);
    }
    extent3 grid() const { return {n_strips, n_ranges}; }

    __device__ int n_slots() const { return k_channel_threads / lanes; }
    __device__ int slot() const { return thread_x() / lanes; }
    template <int W>
    __device__ index_t channel() const { return (block_x() * lanes + thread_x() % lanes) * W; }
    __device__ index_t begin() const { return block_y() * rows_per_range; }
    __device__ index_t end() const { return begin() + rows_per_range < n_rows ? begin() + rows_per_range : n_rows; }
};

/// Number, mean and sum of squared differences to the mean.
template <class F>
struct moments {
    F n = 0, mean = 0, squares = 0;

    __device__ void merge(F other_n, F other_mean, F other_squares) {
        if (other_n == F(0)) return;
        const F total = n + other_n, difference = other_mean - mean, share = other_n / total;
        mean += difference * share;
        squares += other_squares + difference * difference * n * share;
        n = total;
    }
};

// --- statistics --------------------------------------------------------------------------------------------------------------

inline constexpr int k_moment_rows = 8;

/// partial[range, 0 and 1, d]: mean and squares of a range of rows.
template <class T, int W>
__global__ void __launch_bounds__(k_channel_threads, 2) batch_moments_kernel(float* partial, tensor_view<const T, 2> x, channel_grid g) {
    INSTAR_SHARED_ARRAY(float, means, k_channel_threads * W);
    INSTAR_SHARED_ARRAY(float, squares, k_channel_threads * W);
    const index_t channel = g.channel<W>(), begin = g.begin() + g.slot(), end = g.end();
    const int step = g.n_slots();
    moments<float> m[W];
    if (channel < g.d) {
        for (index_t row = begin; row < end; row += k_moment_rows * step) {
            float v[k_moment_rows][W] = {};
            int n = 0;
            INSTAR_UNROLL
            for (int k = 0; k < k_moment_rows; ++k) {
                if (row + k * step >= end) continue;
                load<W>(v[k], x.data() + (row + k * step) * x.stride(0) + channel);
                n = k + 1;
            }
            INSTAR_UNROLL
            for (int i = 0; i < W; ++i) {
                float sum = 0.0f, spread = 0.0f;
                INSTAR_UNROLL
                for (int k = 0; k < k_moment_rows; ++k) sum += k < n ? v[k][i] : 0.0f;
                const float mean = sum / static_cast<float>(n);
                INSTAR_UNROLL
                for (int k = 0; k < k_moment_rows; ++k) spread += k < n ? (v[k][i] - mean) * (v[k][i] - mean) : 0.0f;
                m[i].merge(static_cast<float>(n), mean, spread);
            }
        }
    }
    INSTAR_UNROLL
    for (int i = 0; i < W; ++i) {
        means[thread_x() * W + i] = m[i].mean;
        squares[thread_x() * W + i] = m[i].squares;
    }
    __syncthreads();
    // A thread a channel of the strip, which has at most 32 · 8.
    const int width = g.lanes * W;
    const index_t first = block_x() * width;
    if (thread_x() >= width || first + thread_x() >= g.d) return;
    moments<float> all;
    for (int slot = 0; slot < step; ++slot) {
        const index_t rows = g.end() - g.begin() - slot;  // left for this slot and those after it
        if (rows <= 0) break;
        all.merge(static_cast<float>(ceil_div(rows, step)), means[slot * width + thread_x()], squares[slot * width + thread_x()]);
    }
    partial[block_y() * 2 * g.d + first + thread_x()] = all.mean;
    partial[(block_y() * 2 + 1) * g.d + first + thread_x()] = all.squares;
}

/// A block has 32 channels, a warp a run of ranges, whose results are merged in order.
inline constexpr int k_finish_warps = 8;

/// Saved and running statistics from those of all ranges, in double.
template <class T>
__global__ void batch_statistics_kernel(batch_norm_saved<T> saved, batch_norm_running<T> running, const float* partial, channel_grid g, double eps,
                                        double momentum) {
    INSTAR_SHARED_ARRAY(double, means, k_finish_warps * k_warp_size);
    INSTAR_SHARED_ARRAY(double, squares, k_finish_warps * k_warp_size);
    INSTAR_SHARED_ARRAY(double, counts, k_finish_warps * k_warp_size);
    const index_t channel = block_x() * k_warp_size + lane_id(), n_ranges = g.n_ranges, run = ceil_div(n_ranges, k_finish_warps);
    moments<double> m;
    if (channel < g.d) {
        for (index_t range = warp_id() * run; range < n_ranges && range < (warp_id() + 1) * run; ++range) {
            const index_t left = g.n_rows - range * g.rows_per_range, rows = left < g.rows_per_range ? left : g.rows_per_range;
            m.merge(static_cast<double>(rows), static_cast<double>(partial[range * 2 * g.d + channel]), static_cast<double>(partial[(range * 2 + 1) * g.d + channel]));
        }
    }
    means[thread_x()] = m.mean;
    squares[thread_x()] = m.squares;
    counts[thread_x()] = m.n;
    __syncthreads();
    if (warp_id() != 0 || channel >= g.d) return;
    for (int w = 1; w < k_finish_warps; ++w) m.merge(counts[w * k_warp_size + lane_id()], means[w * k_warp_size + lane_id()], squares[w * k_warp_size + lane_id()]);
    saved.mean(channel) = static_cast<float>(m.mean);
    saved.rstd(channel) = static_cast<float>(1.0 / sqrt(m.squares / m.n + eps));
    running.mean(channel) = static_cast<float>((1.0 - momentum) * static_cast<double>(running.mean(channel)) + momentum * m.mean);
    running.variance(channel) = static_cast<float>((1.0 - momentum) * static_cast<double>(running.variance(channel)) + momentum * m.squares / (m.n - 1.0));
}

// --- y -----------------------------------------------------------------------------------------------------------------------

/// y = (x − mean) · rstd · weight + bias. With Variance, `spread` is a variance, else it is rstd.
template <class T, int W, bool Variance>
__global__ void batch_norm_apply_kernel(tensor_view<T, 2> y, tensor_view<const T, 2> x, const float* mean, const float* spread, const T* weight, const T* bias,
                                        float eps, bool relu, channel_grid g) {
    const index_t channel = g.channel<W>();
    if (channel >= g.d) return;
    float scale[W], shift[W], center[W], v[W];
    load<W>(scale, weight + channel);
    load<W>(shift, bias + channel);
    INSTAR_UNROLL
    for (int i = 0; i < W; ++i) {
        center[i] = mean[channel + i];
        scale[i] *= Variance ? 1.0f / sqrtf(spread[channel + i] + eps) : spread[channel + i];
    }
    for (index_t row = g.begin() + g.slot(); row < g.end(); row += g.n_slots()) {
        load<W>(v, x.data() + row * x.stride(0) + channel);
        INSTAR_UNROLL
        for (int i = 0; i < W; ++i) {
            v[i] = (v[i] - center[i]) * scale[i] + shift[i];
            if (relu) v[i] = rectified(v[i]);
        }
        store<W>(y.data() + row * y.stride(0) + channel, v);
    }
}

// --- backward ----------------------------------------------------------------------------------------------------------------

/// g = the gradient behind the ReLU; v = x normalised.
template <class T, int W>
__device__ __forceinline__ void load_gradient(float (&g)[W], float (&v)[W], const tensor_view<const T, 2>& dy, const tensor_view<const T, 2>& y,
                                              const tensor_view<const T, 2>& x, const float (&mean)[W], const float (&rstd)[W], bool relu, index_t row,
                                              index_t channel) {
    load<W>(g, dy.data() + row * dy.stride(0) + channel);
    if (relu) {
        load<W>(v, y.data() + row * y.stride(0) + channel);
        INSTAR_UNROLL
        for (int i = 0; i < W; ++i) g[i] = v[i] > 0.0f ? g[i] : 0.0f;
    }
    load<W>(v, x.data() + row * x.stride(0) + channel);
    INSTAR_UNROLL
    for (int i = 0; i < W; ++i) v[i] = (v[i] - mean[i]) * rstd[i];
}

/// partial[range, 0 and 1, d]: Σ g and Σ g · xh of a range of rows.
template <class T, int W>
__global__ void batch_norm_gradient_sums_kernel(float* partial, tensor_view<const T, 2> dy, batch_norm_saved<T> saved, tensor_view<const T, 2> y,
                                                tensor_view<const T, 2> x, bool relu, channel_grid g) {
    INSTAR_SHARED_ARRAY(float, sums, k_channel_threads * W);
    INSTAR_SHARED_ARRAY(float, sums_x, k_channel_threads * W);
    const index_t channel = g.channel<W>();
    float sum[W] = {}, sum_x[W] = {};
    if (channel < g.d) {
        float mean[W], rstd[W], gradient[W], xh[W];
        INSTAR_UNROLL
        for (int i = 0; i < W; ++i) {
            mean[i] = saved.mean(channel + i);
            rstd[i] = saved.rstd(channel + i);
        }
        for (index_t row = g.begin() + g.slot(); row < g.end(); row += g.n_slots()) {
            load_gradient<T, W>(gradient, xh, dy, y, x, mean, rstd, relu, row, channel);
            INSTAR_UNROLL
            for (int i = 0; i < W; ++i) {
                sum[i] += gradient[i];
                sum_x[i] += gradient[i] * xh[i];
            }
        }
    }
    INSTAR_UNROLL
    for (int i = 0; i < W; ++i) {
        sums[thread_x() * W + i] = sum[i];
        sums_x[thread_x() * W + i] = sum_x[i];
    }
    __syncthreads();
    const int width = g.lanes * W;
    const index_t first = block_x() * width;
    if (thread_x() >= width || first + thread_x() >= g.d) return;
    float total = 0.0f, total_x = 0.0f;
    for (int slot = 0; slot < g.n_slots(); ++slot) {
        total += sums[slot * width + thread_x()];
        total_x += sums_x[slot * width + thread_x()];
    }
    partial[block_y() * 2 * g.d + first + thread_x()] = total;
    partial[(block_y() * 2 + 1) * g.d + first + thread_x()] = total_x;
}

/// dbias and dweight from the sums of all ranges, in double; means[0 and 1, d]: of g and of g · xh.
template <class T>
__global__ void batch_norm_parameters_kernel(T* dweight, T* dbias, float* means, const float* partial, channel_grid g) {
    INSTAR_SHARED_ARRAY(double, sums, k_finish_warps * k_warp_size);
    INSTAR_SHARED_ARRAY(double, sums_x, k_finish_warps * k_warp_size);
    const index_t channel = block_x() * k_warp_size + lane_id(), n_ranges = g.n_ranges, run = ceil_div(n_ranges, k_finish_warps);
    double sum = 0.0, sum_x = 0.0;
    if (channel < g.d) {
        for (index_t range = warp_id() * run; range < n_ranges && range < (warp_id() + 1) * run; ++range) {
            sum += static_cast<double>(partial[range * 2 * g.d + channel]);
            sum_x += static_cast<double>(partial[(range * 2 + 1) * g.d + channel]);
        }
    }
    sums[thread_x()] = sum;
    sums_x[thread_x()] = sum_x;
    __syncthreads();
    if (warp_id() != 0 || channel >= g.d) return;
    for (int w = 1; w < k_finish_warps; ++w) {
        sum += sums[w * k_warp_size + lane_id()];
        sum_x += sums_x[w * k_warp_size + lane_id()];
    }
    dbias[channel] = from_float<T>(to_float(dbias[channel]) + static_cast<float>(sum));
    dweight[channel] = from_float<T>(to_float(dweight[channel]) + static_cast<float>(sum_x));
    means[channel] = static_cast<float>(sum / static_cast<double>(g.n_rows));
    means[g.d + channel] = static_cast<float>(sum_x / static_cast<double>(g.n_rows));
}

/// dx = weight · rstd · (g − mean g − xh · mean (g · xh)).
template <class T, int W>
__global__ void batch_norm_backward_kernel(tensor_view<T, 2> dx, tensor_view<const T, 2> dy, batch_norm_saved<T> saved, tensor_view<const T, 2> y,
                                           tensor_view<const T, 2> x, const T* weight, const float* means, bool relu, channel_grid g) {
    const index_t channel = g.channel<W>();
    if (channel >= g.d) return;
    float mean[W], rstd[W], scale[W], mean_g[W], mean_gx[W], gradient[W], xh[W];
    load<W>(scale, weight + channel);
    INSTAR_UNROLL
    for (int i = 0; i < W; ++i) {
        mean[i] = saved.mean(channel + i);
        rstd[i] = saved.rstd(channel + i);
        scale[i] *= rstd[i];
        mean_g[i] = means[channel + i];
        mean_gx[i] = means[g.d + channel + i];
    }
    for (index_t row = g.begin() + g.slot(); row < g.end(); row += g.n_slots()) {
        load_gradient<T, W>(gradient, xh, dy, y, x, mean, rstd, relu, row, channel);
        INSTAR_UNROLL
        for (int i = 0; i < W; ++i) gradient[i] = scale[i] * (gradient[i] - mean_g[i] - xh[i] * mean_gx[i]);
        store<W>(dx.data() + row * dx.stride(0) + channel, gradient);
    }
}

/// Launches batch_norm_apply_kernel.
template <class T, bool Variance>
void batch_norm_apply(cuda_context& ctx, const char* op, const tensor_view<T, 2>& y, const tensor_view<const T, 2>& x, const tensor_view<float, 1>& mean,
                      const tensor_view<float, 1>& spread, const tensor_view<const T, 1>& weight, const tensor_view<const T, 1>& bias,
                      const batch_norm_options& options) {
    const auto run = [&]<int W>(std::integral_constant<int, W>) {
        const channel_grid g(x.extent(0), x.extent(1), W, k_channel_map_blocks, 1);
        launch(ctx, op, batch_norm_apply_kernel<T, W, Variance>, g.grid(), {k_channel_threads}, 0, y, x, mean.data(), spread.data(), weight.data(), bias.data(),
               static_cast<float>(options.eps), options.relu, g);
    };
    with_pack<T>(packable(y, x) && packable(weight, bias), run);
}

}  // namespace cuda

template <class T>
void batch_norm_forward(cuda_context& ctx, tensor_view<T, 2> y, std::type_identity_t<batch_norm_saved<T>> saved,
                        std::type_identity_t<batch_norm_running<T>> running, in_view<T, 2> x, in_view<T, 1> weight, in_view<T, 1> bias,
                        batch_norm_options options) {
    static constexpr const char* k_op = "batch_norm_forward";
    detail::check_batch_norm_forward<T>(k_op, y, saved, running, x, weight, bias);
    const index_t d = x.extent(1);
    const auto run = [&]<int W>(std::integral_constant<int, W>) {
        const cuda::channel_grid g(x.extent(0), d, W, cuda::k_channel_sum_blocks, cuda::k_moment_rows);
        const cuda::scratch<float> partial(ctx, g.n_ranges * 2 * d, k_op);
        cuda::launch(ctx, k_op, cuda::batch_moments_kernel<T, W>, g.grid(), {cuda::k_channel_threads}, 0, partial.data(), x, g);
        cuda::launch(ctx, k_op, cuda::batch_statistics_kernel<T>, {cuda::blocks_for(d, cuda::k_warp_size)}, {cuda::k_finish_warps * cuda::k_warp_size}, 0,
                     saved, running, partial.data(), g, options.eps, options.momentum);
    };
    cuda::with_pack<T>(cuda::packable(x), run);
    cuda::batch_norm_apply<T, false>(ctx, k_op, y, x, saved.mean, saved.rstd, weight, bias, options);
}

template <class T>
void batch_norm_inference(cuda_context& ctx, tensor_view<T, 2> y, std::type_identity_t<batch_norm_running<T>> running, in_view<T, 2> x, in_view<T, 1> weight,
                          in_view<T, 1> bias, batch_norm_options options) {
    static constexpr const char* k_op = "batch_norm_inference";
    detail::check_batch_norm_inference<T>(k_op, y, running, x, weight, bias);
    cuda::batch_norm_apply<T, true>(ctx, k_op, y, x, running.mean, running.variance, weight, bias, options);
}

template <class T>
void batch_norm_backward(cuda_context& ctx, tensor_view<T, 2> dx, tensor_view<T, 1> dweight, tensor_view<T, 1> dbias, in_view<T, 2> dy,
                         std::type_identity_t<batch_norm_saved<T>> saved, in_view<T, 2> y, in_view<T, 2> x, in_view<T, 1> weight,
                         batch_norm_options options) {
    static constexpr const char* k_op = "batch_norm_backward";
    detail::check_batch_norm_backward<T>(k_op, dx, dweight, dbias, dy, saved, y, x, weight, options.relu);
    const index_t n = x.extent(0), d = x.extent(1);
    if (n == 0) return;
    const auto run = [&]<int W>(std::integral_constant<int, W>) {
        const cuda::channel_grid sums(n, d, W, cuda::k_channel_sum_blocks, cuda::k_moment_rows), map(n, d, W, cuda::k_channel_map_blocks, 1);
        const cuda::scratch<float> partial(ctx, sums.n_ranges * 2 * d, k_op), means(ctx, 2 * d, k_op);
        cuda::launch(ctx, k_op, cuda::batch_norm_gradient_sums_kernel<T, W>, sums.grid(), {cuda::k_channel_threads}, 0, partial.data(), dy, saved, y, x,
                     options.relu, sums);
        cuda::launch(ctx, k_op, cuda::batch_norm_parameters_kernel<T>, {cuda::blocks_for(d, cuda::k_warp_size)}, {cuda::k_finish_warps * cuda::k_warp_size}, 0,
                     dweight.data(), dbias.data(), means.data(), partial.data(), sums);
        cuda::launch(ctx, k_op, cuda::batch_norm_backward_kernel<T, W>, map.grid(), {cuda::k_channel_threads}, 0, dx, dy, saved, y, x, weight.data(),
                     means.data(), options.relu, map);
    };
    cuda::with_pack<T>(cuda::packable(dx, dy, x) && cuda::packable(weight) && (!options.relu || cuda::packable(y)), run);
}

}  // namespace instar::ops

#endif
