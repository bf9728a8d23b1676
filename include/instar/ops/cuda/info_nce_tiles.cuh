// The operator's own header first, ahead of the guard: it ends by including info_nce.cuh, which needs what this file defines,
// so this file must come up inside that include when it is the one a translation unit names first.
#include "instar/ops/info_nce.hpp"

#ifndef INSTAR_OPS_CUDA_INFO_NCE_TILES_CUH
#define INSTAR_OPS_CUDA_INFO_NCE_TILES_CUH

// Building blocks of the contrastive losses' kernels: a 128 × 128 tile of a product in the registers of a block, its operands
// passing through shared memory, and what turns similarities into logits.
//
// A block has 256 threads, seen as 16 × 16. Of a tile thread (ty, tx) computes rows ty + 16·i and columns tx + 16·j, 8 × 8
// elements; the 16 threads of a row are half a warp. Products of floats run on the ordinary cores. Those of bf16 run on tensor cores, whose
// sums lie otherwise: warp (wy, wx) of 4 × 2 has 32 rows and 64 columns. They change hands through shared memory, so that what is done with a
// tile is written once.

#include "instar/cuda/mma.cuh"
#include "instar/cuda/row_group.cuh"
#include "instar/cuda/vector.cuh"
#include "instar/ops/elementwise.hpp"

namespace instar::ops::cuda {

inline constexpr int k_nce_side = 16;  ///< threads along a side
inline constexpr int k_nce_threads = k_nce_side * k_nce_side;
inline constexpr int k_nce_each = 8;                        ///< rows, and columns, of a thread
inline constexpr int k_nce_edge = k_nce_side * k_nce_each;  ///< rows, and columns, of a tile
inline constexpr int k_nce_depth = 16;                      ///< depths in shared memory at once
/// Two words of padding: a warp that writes 16 depths of 2 rows meets 32 banks.
inline constexpr int k_nce_pitch = k_nce_edge + 2;
inline constexpr int k_nce_stage = k_nce_depth * k_nce_pitch;

/// Rows and columns of what is computed between two merges, or held as a matrix: 64 MiB of float. Fixed: all sums follow it.
inline constexpr index_t k_nce_panel = 4096;

/// An operand of a product: element (i, k) at data[i · row + k · step].
template <class T>
struct nce_operand {
    const T* data;
    index_t row, step, n_rows, depth;

    /// Rows of a matrix of features.
    static nce_operand rows(const tensor_view<const T, 2>& x) {
        return {x.data(), x.stride(0), 1, x.extent(0), x.extent(1)};
    }
    /// The same matrix, its columns as rows.
    static nce_operand columns(const tensor_view<const T, 2>& x) {
        return {x.data(), 1, x.stride(0), x.extent(1), x.extent(0)};
    }
};

using nce_sums = float[k_nce_each][k_nce_each];

__device__ __forceinline__ int nce_row(int i) { return thread_x() / k_nce_side + i * k_nce_side; }
__device__ __forceinline__ int nce_column(int j) { return thread_x() % k_nce_side + j * k_nce_side; }

/// Depths first_k … of rows first … into shared memory, a depth after the other; zeros outside. Neighbours in memory go to
/// neighbouring threads.
__device__ __forceinline__ void nce_load(shared_array<float> to, const nce_operand<float>& from, index_t first,
                                         index_t first_k) {
    const bool along_depth = from.step == 1;
    for (int p = thread_x(); p < k_nce_edge * k_nce_depth; p += k_nce_threads) {
        const int i = along_depth ? p / k_nce_depth : p % k_nce_edge,
                  k = along_depth ? p % k_nce_depth : p / k_nce_edge;
        const bool inside = first + i < from.n_rows && first_k + k < from.depth;
        to[k * k_nce_pitch + i] =
            inside ? from.data[(first + i) * from.row + (first_k + k) * from.step] : 0.0f;
    }
}

/// The shared memory of a product. Every block that multiplies takes one.
template <class T>
struct nce_stage {
    static constexpr std::size_t bytes = 2 * instar::cuda::shared_bytes<float>(k_nce_stage);
    shared_array<float> a, b;

    __device__ explicit nce_stage(shared_memory& memory) : a(memory.take<float>(k_nce_stage)), b(memory.take<float>(k_nce_stage)) {}
};

inline constexpr int k_nce_mma_depth = 32;                      ///< depths in shared memory at once
inline constexpr int k_nce_mma_tall = k_nce_mma_depth + 8;      ///< from a row to the next, rows along depths
inline constexpr int k_nce_mma_wide = k_nce_edge + 8;           ///< from a depth to the next, depths along rows
inline constexpr int k_nce_mma_stage = k_nce_edge * k_nce_mma_tall;
inline constexpr int k_nce_exchange = k_nce_edge + 4;           ///< from a row of sums to the next
static_assert(k_nce_mma_depth * k_nce_mma_wide <= k_nce_mma_stage);

template <>
struct nce_stage<bf16> {
    static constexpr std::size_t bytes = 2 * instar::cuda::shared_bytes<bf16>(k_nce_mma_stage) + instar::cuda::shared_bytes<float>(32 * k_nce_exchange);
    shared_array<bf16> a, b;
    shared_array<float> sums;  ///< 32 rows of the tile

    __device__ explicit nce_stage(shared_memory& memory)
        : a(memory.take<bf16>(k_nce_mma_stage)), b(memory.take<bf16>(k_nce_mma_stage)), sums(memory.take<float>(32 * k_nce_exchange)) {}
};

/// sums = a · bᵀ of rows first_a … and first_b …. Every sum is one chain in the order of depths.
__device__ __forceinline__ void nce_product(nce_sums& sums, const nce_operand<float>& a, index_t first_a, const nce_operand<float>& b,
                                            index_t first_b, const nce_stage<float>& stage) {
    INSTAR_UNROLL
    for (int i = 0; i < k_nce_each; ++i) {
        INSTAR_UNROLL
        for (int j = 0; j < k_nce_each; ++j) sums[i][j] = 0.0f;
    }
    for (index_t first_k = 0; first_k < a.depth; first_k += k_nce_depth) {
        __syncthreads();  // the last depths have been read
        nce_load(stage.a, a, first_a, first_k);
        nce_load(stage.b, b, first_b, first_k);
        __syncthreads();
        INSTAR_UNROLL
        for (int k = 0; k < k_nce_depth; ++k) {
            float x[k_nce_each], y[k_nce_each];
            INSTAR_UNROLL
            for (int i = 0; i < k_nce_each; ++i) x[i] = stage.a[k * k_nce_pitch + nce_row(i)];
            INSTAR_UNROLL
            for (int j = 0; j < k_nce_each; ++j) y[j] = stage.b[k * k_nce_pitch + nce_column(j)];
            INSTAR_UNROLL
            for (int i = 0; i < k_nce_each; ++i) {
                INSTAR_UNROLL
                for (int j = 0; j < k_nce_each; ++j) sums[i][j] += x[i] * y[j];
            }
        }
    }
    __syncthreads();
}

/// Depths first_k … of rows first … into shared memory as they lie: rows along depths, or depths along rows; zeros outside.
__device__ __forceinline__ void nce_load(shared_array<bf16> to, const nce_operand<bf16>& from, index_t first, index_t first_k) {
    const bool along_depth = from.step == 1;
    const int n_packs = (along_depth ? k_nce_mma_depth : k_nce_edge) / 8;
    for (int p = thread_x(); p < k_nce_edge * k_nce_mma_depth / 8; p += k_nce_threads) {
        const int line = p / n_packs, at = p % n_packs * 8;
        const index_t i = first + (along_depth ? line : at), k = first_k + (along_depth ? at : line);
        // How many of the pack's eight exist.
        const index_t left = along_depth ? (i < from.n_rows ? from.depth - k : 0) : (k < from.depth ? from.n_rows - i : 0);
        const bf16* const place = from.data + i * from.row + k * from.step;
        alignas(16) bf16 raw[8] = {};
        if (left >= 8 && reinterpret_cast<std::uintptr_t>(place) % 16 == 0) {
            move<8>(raw, place);
        } else {
            for (int e = 0; e < 8 && e < left; ++e) raw[e] = place[e * (along_depth ? from.step : from.row)];
        }
        store_shared(to, line * (along_depth ? k_nce_mma_tall : k_nce_mma_wide) + at, raw);
    }
}

/// Rows `row` … row + 15 and depths k … k + 15 of a staged operand, as mma_16x8x16 takes its left one.
__device__ __forceinline__ void nce_left(std::uint32_t (&to)[4], shared_array<bf16> stage, bool along_depth, int row, int k) {
    const int lane = lane_id();
    if (along_depth) load_matrices<false>(to, stage, (row + lane % 16) * k_nce_mma_tall + k + lane / 16 * 8);
    else load_matrices<true>(to, stage, (k + lane / 16 * 8 + lane % 8) * k_nce_mma_wide + row + lane / 8 % 2 * 8);
}
/// The same as two right ones: eight rows each.
__device__ __forceinline__ void nce_right(std::uint32_t (&to)[4], shared_array<bf16> stage, bool along_depth, int row, int k) {
    const int lane = lane_id();
    if (along_depth) load_matrices<false>(to, stage, (row + lane / 16 * 8 + lane % 8) * k_nce_mma_tall + k + lane / 8 % 2 * 8);
    else load_matrices<true>(to, stage, (k + lane / 8 % 2 * 8 + lane % 8) * k_nce_mma_wide + row + lane / 16 * 8);
}

__device__ __forceinline__ void nce_product(nce_sums& sums, const nce_operand<bf16>& a, index_t first_a, const nce_operand<bf16>& b,
                                            index_t first_b, const nce_stage<bf16>& stage) {
    const int row = warp_id() / 2 * 32, column = warp_id() % 2 * 64, g = lane_id() / 4, t = lane_id() % 4;
    const bool a_along = a.step == 1, b_along = b.step == 1;
    float c[2][8][4] = {};
    for (index_t first_k = 0; first_k < a.depth; first_k += k_nce_mma_depth) {
        __syncthreads();  // the last depths have been read
        nce_load(stage.a, a, first_a, first_k);
        nce_load(stage.b, b, first_b, first_k);
        __syncthreads();
        INSTAR_UNROLL
        for (int k = 0; k < k_nce_mma_depth; k += 16) {
            std::uint32_t left[2][4];
            nce_left(left[0], stage.a, a_along, row, k);
            nce_left(left[1], stage.a, a_along, row + 16, k);
            INSTAR_UNROLL
            for (int n = 0; n < 8; n += 2) {
                std::uint32_t right[4];
                nce_right(right, stage.b, b_along, column + n * 8, k);
                INSTAR_UNROLL
                for (int m = 0; m < 2; ++m) {
                    mma_16x8x16(c[m][n], left[m], {right[0], right[1]});
                    mma_16x8x16(c[m][n + 1], left[m], {right[2], right[3]});
                }
            }
        }
    }
    // To the threads that own the elements, 32 rows at a time.
    INSTAR_UNROLL
    for (int part = 0; part < k_nce_edge / 32; ++part) {
        __syncthreads();
        if (warp_id() / 2 == part) {
            INSTAR_UNROLL
            for (int m = 0; m < 2; ++m) {
                INSTAR_UNROLL
                for (int n = 0; n < 8; ++n) {
                    INSTAR_UNROLL
                    for (int r = 0; r < 4; ++r)
                        stage.sums[(m * 16 + r / 2 * 8 + g) * k_nce_exchange + column + n * 8 + 2 * t + r % 2] = c[m][n][r];
                }
            }
        }
        __syncthreads();
        INSTAR_UNROLL
        for (int i = 0; i < 2; ++i) {
            INSTAR_UNROLL
            for (int j = 0; j < k_nce_each; ++j) sums[2 * part + i][j] = stage.sums[(nce_row(i)) * k_nce_exchange + nce_column(j)];
        }
    }
    __syncthreads();
}

/// Who takes part and who belongs to whom.
struct nce_partners {
    info_nce_targets t;
    index_t n, m;

    __device__ bool row_here(index_t i) const { return i < n && (t.row_mask.data() == nullptr || t.row_mask(i) != 0); }
    __device__ bool column_here(index_t j) const {
        return j < m && (t.column_mask.data() == nullptr || t.column_mask(j) != 0);
    }
    /// Of two that take part.
    __device__ bool partners(index_t i, index_t j) const {
        if (t.row_labels.data() == nullptr) return j == i + t.diagonal;
        return t.row_labels(i) >= 0 && t.row_labels(i) == t.column_labels(j);
    }
};

/// An empty view's pointer may be anything; the kernels ask for null.
inline nce_partners make_nce_partners(info_nce_targets t, index_t n, index_t m) {
    if (t.row_labels.extent(0) == 0) t.row_labels = t.column_labels = {};
    if (t.row_mask.extent(0) == 0) t.row_mask = {};
    if (t.column_mask.extent(0) == 0) t.column_mask = {};
    return {t, n, m};
}

/// Sum over the 16 threads of a row of the tile: the same bits in all of them.
template <class Op>
__device__ __forceinline__ float nce_row_reduce(float v, Op op) {
    INSTAR_UNROLL
    for (int offset = k_nce_side / 2; offset > 0; offset /= 2) v = op(v, __shfl_xor_sync(k_full_warp, v, offset));
    return v;
}

/// Sum over a block in a fixed order, in thread 0. `slots`: one for each warp.
__device__ __forceinline__ float nce_block_sum(float v, shared_array<float> slots) {
    v = warp_sum(v);
    __syncthreads();
    if (lane_id() == 0) slots[warp_id()] = v;
    __syncthreads();
    float sum = slots[0];
    for (int w = 1; w < k_nce_threads / k_warp_size; ++w) {
        const float other = slots[w];
        sum += other;
    }
    return sum;
}

// --- what both losses do with a tile of gradients -----------------------------------------------------------------------------

/// to += a · bᵀ: rows of `to` are rows of a, its columns rows of b.
template <class T>
__global__ void __launch_bounds__(k_nce_threads, 2)
    nce_add_product_kernel(tensor_view<float, 2> to, nce_operand<T> a, nce_operand<T> b) {
    shared_memory memory;
    const nce_stage<T> stage(memory);
    const index_t first_row = block_y() * k_nce_edge, first_column = block_x() * k_nce_edge;
    nce_sums sums;
    nce_product(sums, a, first_row, b, first_column, stage);
    INSTAR_UNROLL
    for (int i = 0; i < k_nce_each; ++i) {
        INSTAR_UNROLL
        for (int j = 0; j < k_nce_each; ++j) {
            const index_t r = first_row + nce_row(i), c = first_column + nce_column(j);
            if (r < to.extent(0) && c < to.extent(1)) to.data()[r * to.stride(0) + c] += sums[i][j];
        }
    }
}

/// to += from, element types apart.
template <class T>
__global__ void nce_add_rows_kernel(tensor_view<T, 2> to, const float* from) {
    const index_t i = grid_thread(), d = to.extent(1);
    if (i >= to.size()) return;
    T& place = to.data()[i / d * to.stride(0) + i % d];
    place = from_float<T>(to_float(place) + from[i]);
}

/// to[0] += Σ from, by one block. (A is float. A kernel in a header must be a template: nvcc takes no `inline` from it.)
template <class A>
__global__ void nce_add_sum_kernel(A* to, const A* from, index_t n) {
    INSTAR_SHARED_ARRAY(A, slots, k_nce_threads / k_warp_size);
    A sum = 0.0f;
    for (index_t i = thread_x(); i < n; i += k_nce_threads) sum += from[i];
    sum = nce_block_sum(sum, slots);
    if (thread_x() == 0) to[0] += sum;
}

inline extent3 nce_grid(index_t n_rows, index_t n_columns) {
    return {blocks_for(n_columns, k_nce_edge), blocks_for(n_rows, k_nce_edge)};
}

/// A gradient that products are added to: the caller's own when it is float, else a float copy that `finish` adds to it.
template <class T>
class nce_gradient {
public:
    nce_gradient(cuda_context& ctx, const char* op, index_t n_rows, index_t d)
        : ctx_(ctx),
          op_(op),
          d_(d),
          memory_(ctx, std::is_same_v<T, float> ? 0 : n_rows * d, op) {}

    /// Begins with these rows.
    void start(const tensor_view<T, 2>& to) {
        to_ = to;
        if (to.extent(0) == 0 || d_ == 0) return;
        if constexpr (!std::is_same_v<T, float>) {
            sums_ = tensor_view<float, 2>(memory_.data(), {to.extent(0), d_});
            fill_values<float>(ctx_, op_, sums_.template reshape<1>({sums_.size()}), 0.0f);
        } else {
            sums_ = to;
        }
    }
    /// rows [begin, end) += a · bᵀ
    void add(index_t begin, index_t end, const nce_operand<T>& a, const nce_operand<T>& b) {
        if (to_.extent(0) == 0 || d_ == 0) return;
        launch(ctx_, op_, nce_add_product_kernel<T>, nce_grid(end - begin, d_), {k_nce_threads}, nce_stage<T>::bytes,
               sums_.rows(begin, end), a, b);
    }
    void finish() {
        if constexpr (!std::is_same_v<T, float>) {
            if (to_.extent(0) == 0 || d_ == 0) return;
            launch(ctx_, op_, nce_add_rows_kernel<T>, {blocks_for(to_.size(), 256)}, {256}, 0, to_, sums_.data());
        }
    }

private:
    cuda_context& ctx_;
    const char* op_;
    index_t d_;
    scratch<float> memory_;
    tensor_view<T, 2> to_{};
    tensor_view<float, 2> sums_{};
};

}  // namespace instar::ops::cuda

#endif
