#ifndef INSTAR_CUDA_ROW_GROUP_CUH
#define INSTAR_CUDA_ROW_GROUP_CUH

// The threads that work on one row together: a warp for short rows, a block for long ones, the same kernel text for both.
//
//     template <class T, int W, int Warps>
//     __global__ void kernel(tensor_view<T, 2> y, tensor_view<const T, 2> x) {
//         row_group<Warps> group;
//         if (group.row() >= x.extent(0)) return;                          // whole groups leave together
//         float sum = 0.0f;
//         for (index_t j = group.first<W>(); j < d; j += group.step<W>()) …
//         sum = group.sum(sum);                                            // the same bits in every thread
//
//     cuda::launch_rows(ctx, "softmax_forward", n_rows, d, kernel<T, W, 1>, kernel<T, W, k_block_warps>, y, x);

#include "instar/cuda/launch.cuh"

namespace instar::cuda {

struct plus {
    template <class V>
    __device__ __forceinline__ V operator()(V a, V b) const {
        return a + b;
    }
};
struct maximum {
    __device__ __forceinline__ float operator()(float a, float b) const { return fmaxf(a, b); }
};

/// The butterfly: every lane ends with the reduction of all 32, in the same order of pairs, hence the same bits.
template <class V, class Op>
__device__ __forceinline__ V warp_reduce(V v, Op op) {
    INSTAR_UNROLL
    for (int offset = k_warp_size / 2; offset > 0; offset /= 2) v = op(v, __shfl_xor_sync(k_full_warp, v, offset));
    return v;
}
template <class V>
__device__ __forceinline__ V warp_sum(V v) {
    return warp_reduce(v, plus{});
}

/// Warps of a block that shares a row, and rows of a block whose warps have one each.
inline constexpr int k_block_warps = 8;

template <int Warps>
class row_group {
public:
    static constexpr int size = Warps * k_warp_size;

    __device__ row_group() {
        if constexpr (Warps > 1) {
            INSTAR_SHARED_ARRAY(float, slots, 2 * Warps);
            slots_ = slots;
        }
    }
    __device__ index_t row() const { return Warps > 1 ? block_x() : block_x() * k_block_warps + warp_id(); }
    /// Position of the thread in its group.
    __device__ int lane() const { return Warps > 1 ? thread_x() : lane_id(); }
    /// Packs of W elements are dealt to the lanes in turn.
    template <int W>
    __device__ index_t first() const {
        return lane() * W;
    }
    template <int W>
    __device__ static constexpr index_t step() {
        return size * W;
    }

    __device__ float sum(float v) { return reduce(v, plus{}); }
    __device__ float max(float v) { return reduce(v, maximum{}); }

    /// Reductions take turns with two sets of slots: who is still reading one is at most one barrier behind.
    template <class Op>
    __device__ float reduce(float v, Op op) {
        v = warp_reduce(v, op);
        if constexpr (Warps > 1) {
            const int turn = turn_ * Warps;
            turn_ ^= 1;
            if (lane_id() == 0) slots_[turn + warp_id()] = v;
            __syncthreads();
            v = slots_[turn];
            for (int w = 1; w < Warps; ++w) {
                const float other = slots_[turn + w];
                v = op(v, other);
            }
        }
        return v;
    }
    /// Everything that the group's threads wrote before is seen by all of them after.
    __device__ void sync() const {
        if constexpr (Warps > 1) {
            __syncthreads();
        } else {
            __syncwarp();
        }
    }

private:
    shared_array<float> slots_{};
    int turn_ = 0;
};

/// Rows longer than this are given a block each.
inline constexpr index_t k_warp_row = 1024;

/// Launches the warp kernel for short rows, the block kernel for long ones.
template <class... Parameters>
void launch_rows(cuda_context& ctx, const char* op, index_t n_rows, index_t row_length, void (*warp_kernel)(Parameters...),
                 void (*block_kernel)(Parameters...), std::type_identity_t<Parameters>... arguments) {
    if (row_length <= k_warp_row) {
        launch(ctx, op, warp_kernel, {blocks_for(n_rows, k_block_warps)}, {k_block_warps * k_warp_size}, 0, arguments...);
    } else {
        launch(ctx, op, block_kernel, {blocks_for(n_rows, 1)}, {k_block_warps * k_warp_size}, 0, arguments...);
    }
}

}  // namespace instar::cuda

#endif
