#ifndef INSTAR_CLUSTER_CUDA_ROW_PRODUCTS_CUH
#define INSTAR_CLUSTER_CUDA_ROW_PRODUCTS_CUH

// Inner products of all rows of one matrix with all rows of another, a tile of 128 × 128 at a time in the registers of a block:
// what k-NN, k-means and nearest-cluster searches have in common. What becomes of a tile is decided while it is there.
//
//     product_stages stages(memory);                                  // memory: the block's shared_memory
//     product_tile sums;
//     multiply_rows(sums, a, first_a, b, first_b, stages);            // sums[i][j]: rows first_a + tile_row(i), first_b + tile_column(j)
//
// Operands are copies without edges (padded_rows): depths in whole stages, rows in whole tiles, so that no load asks whether it may.
// Products run in float on the ordinary cores. Tensor cores would round operands to TF32, whose error is 8,192 times as large: too
// large for searches that must be exact. Each sum is one chain over the depths, so its rounding has a known bound.

#include "instar/cuda/launch.cuh"
#include "instar/cuda/vector.cuh"

namespace instar::cluster::cuda {

inline constexpr int k_tile_side = 16;  ///< threads along a side of a tile
inline constexpr int k_tile_threads = k_tile_side * k_tile_side;
inline constexpr int k_tile_each = 8;                          ///< rows, and columns, of a thread
inline constexpr int k_tile_edge = k_tile_side * k_tile_each;  ///< rows, and columns, of a tile
inline constexpr int k_stage_depth = 16;                       ///< depths in shared memory at once
inline constexpr int k_stage_pitch = k_tile_edge + 4;          ///< a multiple of four: rows are read four at a time
inline constexpr int k_stage_floats = k_stage_depth * k_stage_pitch;

INSTAR_HOST_DEVICE constexpr index_t whole_tiles(index_t n) {
    return instar::cuda::ceil_div(n, k_tile_edge) * k_tile_edge;
}
INSTAR_HOST_DEVICE constexpr index_t whole_stages(index_t d) {
    return instar::cuda::ceil_div(d > 0 ? d : 1, k_stage_depth) * k_stage_depth;
}

/// whole_tiles(n) rows of whole_stages(d) floats without gaps; zeros where there is nothing.
struct padded_rows {
    float* data;
    index_t n, stride;

    static index_t size(index_t n, index_t d) { return whole_tiles(n) * whole_stages(d); }
    padded_rows(float* memory, index_t n_rows, index_t d) : data(memory), n(n_rows), stride(whole_stages(d)) {}
    __device__ float* row(index_t i) const { return data + i * stride; }
};

using product_tile = float[k_tile_each][k_tile_each];

/// Rows and columns of a thread: two runs of four on each side, so that it reads shared memory sixteen bytes at a time. The sixteen
/// threads of a row are half a warp.
__device__ __forceinline__ int tile_row(int i) {
    return i / 4 * (k_tile_edge / 2) + thread_x() / k_tile_side * 4 + i % 4;
}
__device__ __forceinline__ int tile_column(int j) {
    return j / 4 * (k_tile_edge / 2) + thread_x() % k_tile_side * 4 + j % 4;
}
inline constexpr int k_warp_rows = k_tile_edge / (k_tile_threads / k_warp_size);  ///< rows of a tile that a warp has
/// The m-th row of the tile that this thread's warp has.
__device__ __forceinline__ int warp_row(int m) {
    return m / (k_warp_rows / 2) * (k_tile_edge / 2) + warp_id() * (k_warp_rows / 2) + m % (k_warp_rows / 2);
}

/// Shared memory of a product.
struct product_stages {
    static constexpr std::size_t k_bytes = 2 * instar::cuda::shared_bytes<float>(k_stage_floats);
    shared_array<float> a, b;
    __device__ explicit product_stages(shared_memory& memory)
        : a(memory.take<float>(k_stage_floats)),
          b(memory.take<float>(k_stage_floats)) {}
};

/// A thread's share of a stage: four depths each of two rows.
__device__ __forceinline__ void fetch_stage(float (&v)[2][4], const padded_rows& from, index_t first,
                                            index_t first_depth) {
    const float* const at = from.row(first + thread_x() / 4) + first_depth + thread_x() % 4 * 4;
    load<4>(v[0], at);
    load<4>(v[1], at + k_tile_edge / 2 * from.stride);
}
/// To shared memory, a depth after the other.
__device__ __forceinline__ void store_stage(shared_array<float> to, const float (&v)[2][4]) {
    INSTAR_UNROLL
    for (int h = 0; h < 2; ++h) {
        INSTAR_UNROLL
        for (int k = 0; k < 4; ++k)
            to[(thread_x() % 4 * 4 + k) * k_stage_pitch + h * (k_tile_edge / 2) + thread_x() / 4] = v[h][k];
    }
}
/// Two runs of four, half a tile apart.
__device__ __forceinline__ void read_stage(float (&to)[k_tile_each], shared_array<float> from, int at) {
    INSTAR_UNROLL
    for (int h = 0; h < 2; ++h) {
#if defined(__CUDACC__)
        const float4 v = *reinterpret_cast<const float4*>(from + at + h * (k_tile_edge / 2));
        to[4 * h] = v.x;
        to[4 * h + 1] = v.y;
        to[4 * h + 2] = v.z;
        to[4 * h + 3] = v.w;
#else
        for (int k = 0; k < 4; ++k) to[4 * h + k] = from[at + h * (k_tile_edge / 2) + k];
#endif
    }
}

/// sums = a · bᵀ of rows first_a … and first_b …, both multiples of a tile. All threads of the block.
__device__ __forceinline__ void multiply_rows(product_tile& sums, const padded_rows& a, index_t first_a,
                                              const padded_rows& b, index_t first_b, const product_stages& stages) {
    INSTAR_UNROLL
    for (int i = 0; i < k_tile_each; ++i) {
        INSTAR_UNROLL
        for (int j = 0; j < k_tile_each; ++j) sums[i][j] = 0.0f;
    }
    float next_a[2][4], next_b[2][4];
    fetch_stage(next_a, a, first_a, 0);
    fetch_stage(next_b, b, first_b, 0);
    for (index_t depth = 0; depth < a.stride; depth += k_stage_depth) {
        __syncthreads();  // the last stage has been read
        store_stage(stages.a, next_a);
        store_stage(stages.b, next_b);
        __syncthreads();
        if (depth + k_stage_depth < a.stride) {  // on their way while this stage is multiplied
            fetch_stage(next_a, a, first_a, depth + k_stage_depth);
            fetch_stage(next_b, b, first_b, depth + k_stage_depth);
        }
        INSTAR_UNROLL
        for (int k = 0; k < k_stage_depth; ++k) {
            float x[k_tile_each], y[k_tile_each];
            read_stage(x, stages.a, k * k_stage_pitch + tile_row(0));
            read_stage(y, stages.b, k * k_stage_pitch + tile_column(0));
            INSTAR_UNROLL
            for (int i = 0; i < k_tile_each; ++i) {
                INSTAR_UNROLL
                for (int j = 0; j < k_tile_each; ++j) sums[i][j] += x[i] * y[j];
            }
        }
    }
}

}  // namespace instar::cluster::cuda

#endif
