#ifndef INSTAR_OPS_CUDA_CROSS_ENTROPY_CUH
#define INSTAR_OPS_CUDA_CROSS_ENTROPY_CUH

// Softmax cross-entropy on a GPU, loss and gradient in one kernel. The maximum and the sum of exponentials are found in one
// reading (online softmax), so a row of logits is read twice and written once however long it is.
//
//     ops::softmax_cross_entropy(ctx, loss, dlogits, logits, targets, {}, {.denominator = n_targets});

#include "instar/cuda/launch.cuh"
#include "instar/cuda/row_group.cuh"
#include "instar/cuda/vector.cuh"
#include "instar/ops/cross_entropy.hpp"

namespace instar::ops {

namespace cuda {

/// log Σ_j exp(x_j) of a row, found by a group of threads: each keeps a maximum and a sum relative to it.
struct online_sum {
    float max = -INFINITY;
    float sum = 0.0f;

    __device__ __forceinline__ void add(float x) {
        if (x > max) {
            sum = sum * expf(max - x) + 1.0f;
            max = x;
        } else if (x != -INFINITY) {  // also when x is NaN, which then fills the sum
            sum += expf(x - max);
        }
    }
    template <class Group>
    __device__ float log_sum_exp(Group& group) const {
        const float all = group.max(max);
        const float mine = max == -INFINITY ? sum : sum * expf(max - all);
        return all + logf(group.sum(mine));
    }
};

/// One row of a loss over class indices, and its share of work for a thread of the row's group.
template <class T, int W, int Warps>
struct class_row {
    static constexpr index_t k_step = row_group<Warps>::template step<W>();
    const T* x;
    T* dx;
    index_t n, first;
    std::int32_t target;

    __device__ class_row(const row_group<Warps>& group, const tensor_view<const T, 2>& logits, const tensor_view<T, 2>& dlogits,
                         const tensor_view<const std::int32_t, 1>& targets, bool with_gradient)
        : x(logits.data() + group.row() * logits.stride(0)),
          dx(with_gradient ? dlogits.data() + group.row() * dlogits.stride(0) : nullptr),
          n(logits.extent(1)),
          first(group.template first<W>()),
          target(targets(group.row())) {}

    /// True for a row that needs no softmax. An ignored row is 0; a target that does not exist cannot be thrown from here, and NaN does not
    /// stay unseen.
    __device__ bool settled(const row_group<Warps>& group, float& loss) const {
        if (target >= 0 && target < n) return false;
        const float value = target < 0 ? 0.0f : NAN;
        if (group.lane() == 0) loss = value;
        float v[W];
        INSTAR_UNROLL
        for (int i = 0; i < W; ++i) v[i] = value;
        for (index_t j = first; j < n && dx != nullptr; j += k_step) store<W>(dx + j, v);
        return true;
    }
    /// Adds the thread's logits to `exponentials`, and their plain sum.
    __device__ float read(online_sum& exponentials) const {
        float total = 0.0f, v[W];
        for (index_t j = first; j < n; j += k_step) {
            load<W>(v, x + j);
            INSTAR_UNROLL
            for (int i = 0; i < W; ++i) {
                exponentials.add(v[i]);
                total += v[i];
            }
        }
        return total;
    }
    /// dx[j] = of(x[j], j == target). dx may be x.
    template <class F>
    __device__ void write(F of) const {
        float v[W];
        for (index_t j = first; j < n; j += k_step) {
            load<W>(v, x + j);
            INSTAR_UNROLL
            for (int i = 0; i < W; ++i) v[i] = of(v[i], j + i == target);
            store<W>(dx + j, v);
        }
    }
};

template <class T, int W, int Warps>
__global__ void cross_entropy_kernel(tensor_view<float, 1> loss, tensor_view<T, 2> dlogits, tensor_view<const T, 2> logits,
                                     tensor_view<const std::int32_t, 1> targets, tensor_view<const float, 1> row_weights,
                                     float inverse_denominator, float smoothing, bool with_gradient) {
    row_group<Warps> group;
    if (group.row() >= logits.extent(0)) return;
    const class_row<T, W, Warps> row(group, logits, dlogits, targets, with_gradient);
    float& row_loss = loss(group.row());
    if (row.settled(group, row_loss)) return;
    const float weight = (row_weights.data() != nullptr ? row_weights(group.row()) : 1.0f) * inverse_denominator;
    const float target_logit = to_float(row.x[row.target]);
    online_sum exponentials;
    const float total = row.read(exponentials);
    const float lse = exponentials.log_sum_exp(group);
    const float even = smoothing / static_cast<float>(row.n);
    float value = lse - (1.0f - smoothing) * target_logit;
    // Guarded: with a logit of −∞ the sum is −∞, and 0 · ∞ would make the unsmoothed loss NaN.
    if (smoothing > 0.0f) value -= even * group.sum(total);
    if (group.lane() == 0) row_loss = weight * value;
    if (!with_gradient) return;
    group.sync();  // dlogits may be logits: all have read the target's logit
    row.write([=](float x, bool is_target) { return weight * (expf(x - lse) - even - (is_target ? 1.0f - smoothing : 0.0f)); });
}

}  // namespace cuda

template <class T>
void softmax_cross_entropy(cuda_context& ctx, out_view<accumulator_t<T>, 1> loss, tensor_view<T, 2> dlogits, in_view<T, 2> logits,
                           tensor_view<const std::int32_t, 1> targets, tensor_view<const float, 1> row_weights,
                           cross_entropy_options options) {
    static constexpr const char* k_op = "softmax_cross_entropy";
    const index_t n_rows = logits.extent(0), n_classes = logits.extent(1);
    const bool with_gradient = !dlogits.empty(), weighted = !row_weights.empty();
    detail::check_class_loss<T>(k_op, loss, dlogits, logits, targets, row_weights, options.denominator);
    if (!(options.label_smoothing >= 0.0 && options.label_smoothing <= 1.0)) {
        throw value_error(std::string(k_op) + ": options.label_smoothing must be in [0, 1], is " + std::to_string(options.label_smoothing));
    }
    const tensor_view<const float, 1> weights = weighted ? row_weights : tensor_view<const float, 1>{};
    const auto run = [&]<int W>(std::integral_constant<int, W>) {
        cuda::launch_rows(ctx, k_op, n_rows, n_classes, cuda::cross_entropy_kernel<T, W, 1>, cuda::cross_entropy_kernel<T, W, cuda::k_block_warps>,
                          loss, dlogits, logits, targets, weights, static_cast<float>(1.0 / options.denominator),
                          static_cast<float>(options.label_smoothing), with_gradient);
    };
    cuda::with_pack<T>(cuda::packable(logits) && (!with_gradient || cuda::packable(dlogits)), run);
}

}  // namespace instar::ops

#endif
