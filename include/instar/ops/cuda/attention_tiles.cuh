#ifndef INSTAR_OPS_CUDA_ATTENTION_TILES_CUH
#define INSTAR_OPS_CUDA_ATTENTION_TILES_CUH

// Building blocks of the attention kernels: tiles of rows in shared memory, and products of tiles in registers.
//
// A block has 256 threads, seen as 16 × 16. Of an R × R tile of scores thread (ty, tx) computes rows ty + 16·i and columns
// tx + 16·j; the 16 threads of a row are half a warp, so a row's maximum and sum are four shuffles. Of an R × D tile of
// outputs it computes the same rows and the columns tx + 16·j.

#include "instar/cuda/launch.cuh"
#include "instar/cuda/vector.cuh"
#include "instar/ops/cuda/dropout.cuh"

namespace instar::ops::cuda {

inline constexpr int k_attention_edge = 16;
inline constexpr int k_attention_threads = k_attention_edge * k_attention_edge;

/// Sizes of a kernel for heads of at most D elements, in tiles of R queries and R keys.
template <class T, int D, int R>
struct attention_shape {
    static constexpr int d = D;
    static constexpr int rows = R;
    static constexpr int n_row = R / k_attention_edge;     ///< rows, and score columns, of a thread
    static constexpr int n_column = D / k_attention_edge;  ///< output columns of a thread
    /// A row of a tile is padded to an odd number of words, so that the same column of 16 rows lies in 16 banks.
    static constexpr int pitch = D + 4 / static_cast<int>(sizeof(T));
    static constexpr int score_pitch = R + 1;
    static_assert(R % k_attention_edge == 0 && D % k_attention_edge == 0);

    static constexpr std::size_t tile_bytes() { return instar::cuda::shared_bytes<T>(R * pitch); }
    static constexpr std::size_t score_bytes() { return instar::cuda::shared_bytes<float>(R * score_pitch); }
};

/// Everything a kernel reads; unused views are empty.
template <class T>
struct attention_arguments {
    tensor_view<const T, 4> q, k, v, d_o;
    tensor_view<float, 3> lse;
    const float* row_dot = nullptr;  ///< D_i, [n_batch, n_heads, seq_len]
    tensor_view<const std::uint8_t, 2> key_mask;
    float scale = 1.0f;
    bool wide = false;  ///< all of q, k, v, d_o can be read sixteen bytes at a time

    /// 1 where a key exists and counts.
    __device__ bool keeps(index_t b, index_t key) const {
        return key < q.extent(1) && (key_mask.data() == nullptr || key_mask.data()[b * key_mask.stride(0) + key * key_mask.stride(1)] != 0);
    }
};

// Powers of two are what the hardware computes: exp(s) = 2^(s · log2 e).
inline constexpr float k_log2_e = 1.44269504f;
inline constexpr float k_ln_2 = 0.69314718f;

/// One head of one sample in a [n_batch, seq_len, n_heads, d_head] view: rows of d_head elements.
template <class T>
struct head_rows {
    T* data;
    index_t stride;
    index_t n_rows;
    int d;

    __device__ head_rows(const tensor_view<T, 4>& v, index_t b, index_t h)
        : data(v.data() + b * v.stride(0) + h * v.stride(2)), stride(v.stride(1)), n_rows(v.extent(1)), d(static_cast<int>(v.extent(3))) {}
};

/// Which tile of which head this block works on: blocks count tiles first, then heads, then samples.
struct attention_place {
    index_t b, h, first;

    __device__ attention_place(index_t seq_len, index_t n_heads, int rows) {
        const index_t n_tiles = ceil_div(seq_len, rows);
        first = block_x() % n_tiles * rows;
        h = block_x() / n_tiles % n_heads;
        b = block_x() / n_tiles / n_heads;
    }
};

/// Rows first … first + R − 1 into shared memory; zeros past the sequence and past d_head. `wide`: sixteen bytes at a time.
template <class Shape, class T>
__device__ void load_tile(shared_array<T> tile, const head_rows<const T>& from, index_t first, bool wide) {
    constexpr int k_wide = k_pack<T>;
    if (wide) {
        for (int p = thread_x(); p < Shape::rows * Shape::d / k_wide; p += k_attention_threads) {
            const int r = p / (Shape::d / k_wide), c = p % (Shape::d / k_wide) * k_wide;
            float v[k_wide] = {};
            if (first + r < from.n_rows && c < from.d) load<k_wide>(v, from.data + (first + r) * from.stride + c);
            INSTAR_UNROLL
            for (int i = 0; i < k_wide; ++i) tile[r * Shape::pitch + c + i] = from_float<T>(v[i]);
        }
    } else {
        for (int p = thread_x(); p < Shape::rows * Shape::d; p += k_attention_threads) {
            const int r = p / Shape::d, c = p % Shape::d;
            const bool inside = first + r < from.n_rows && c < from.d;
            tile[r * Shape::pitch + c] = inside ? from.data[(first + r) * from.stride + c] : from_float<T>(0.0f);
        }
    }
}

/// acc[i][j] += Σ_k a(i, k) · b(j, k): each value is read once and used for a whole row or column of the thread's part.
template <int N, int M, class A, class B>
__device__ __forceinline__ void accumulate(float (&acc)[N][M], int n_k, A a, B b) {
    for (int k = 0; k < n_k; ++k) {
        float x[N], y[M];
        INSTAR_UNROLL
        for (int i = 0; i < N; ++i) x[i] = a(i, k);
        INSTAR_UNROLL
        for (int j = 0; j < M; ++j) y[j] = b(j, k);
        INSTAR_UNROLL
        for (int i = 0; i < N; ++i) {
            INSTAR_UNROLL
            for (int j = 0; j < M; ++j) acc[i][j] += x[i] * y[j];
        }
    }
}

template <int N, int M>
__device__ __forceinline__ void clear(float (&acc)[N][M]) {
    INSTAR_UNROLL
    for (int i = 0; i < N; ++i) {
        INSTAR_UNROLL
        for (int j = 0; j < M; ++j) acc[i][j] = 0.0f;
    }
}

/// s = a · bᵀ of two tiles of rows.
template <class Shape, class T>
__device__ __forceinline__ void scores(float (&s)[Shape::n_row][Shape::n_row], shared_array<T> a, shared_array<T> b) {
    const int ty = thread_x() / k_attention_edge, tx = thread_x() % k_attention_edge;
    clear(s);
    accumulate(
        s, Shape::d, [&](int i, int k) { return to_float(a[(ty + i * k_attention_edge) * Shape::pitch + k]); },
        [&](int j, int k) { return to_float(b[(tx + j * k_attention_edge) * Shape::pitch + k]); });
}

/// acc += w · tile, w the R × R tile of scores: rows of w are rows of acc.
template <class Shape, class T>
__device__ __forceinline__ void add_product(float (&acc)[Shape::n_row][Shape::n_column], shared_array<float> w, shared_array<T> tile) {
    const int ty = thread_x() / k_attention_edge, tx = thread_x() % k_attention_edge;
    accumulate(
        acc, Shape::rows, [&](int i, int k) { return to_float(w[(ty + i * k_attention_edge) * Shape::score_pitch + k]); },
        [&](int j, int k) { return to_float(tile[k * Shape::pitch + tx + j * k_attention_edge]); });
}

/// acc += wᵀ · tile: columns of w are rows of acc.
template <class Shape, class T>
__device__ __forceinline__ void add_transposed_product(float (&acc)[Shape::n_row][Shape::n_column], shared_array<float> w,
                                                       shared_array<T> tile) {
    const int ty = thread_x() / k_attention_edge, tx = thread_x() % k_attention_edge;
    accumulate(
        acc, Shape::rows, [&](int i, int k) { return to_float(w[k * Shape::score_pitch + ty + i * k_attention_edge]); },
        [&](int j, int k) { return to_float(tile[k * Shape::pitch + tx + j * k_attention_edge]); });
}

/// Writes factor · acc to rows first … of a head, leaving out what lies past the sequence or past d_head.
template <class Shape, class T>
__device__ void store_rows(const head_rows<T>& to, index_t first, const float (&acc)[Shape::n_row][Shape::n_column], float factor) {
    const int ty = thread_x() / k_attention_edge, tx = thread_x() % k_attention_edge;
    for (int i = 0; i < Shape::n_row; ++i) {
        const index_t row = first + ty + i * k_attention_edge;
        if (row >= to.n_rows) continue;
        for (int j = 0; j < Shape::n_column; ++j) {
            const int c = tx + j * k_attention_edge;
            if (c < to.d) to.data[row * to.stride + c] = from_float<T>(factor * acc[i][j]);
        }
    }
}

/// Dropout's factor, 0 or 1/(1 − p), for each score of a tile: element index head_index · seq_len² + query · seq_len + key.
/// Rows are Columns + 1 apart. Four consecutive indices share one Philox block, and a row of the tile touches Columns/4 + 1 of them: they are dealt
/// to the threads, instead of each thread drawing a block an element.
template <int Rows, int Columns, int Threads>
__device__ void draw_factors(shared_array<float> factors, const dropout_draw& draw, index_t head_index, index_t seq_len, index_t first_query,
                             index_t first_key) {
    constexpr int k_blocks = Columns / 4 + 1;
    for (int p = thread_x(); p < Rows * k_blocks; p += Threads) {
        const int r = p / k_blocks;
        const index_t row_begin = (head_index * seq_len + first_query + r) * seq_len + first_key;
        const index_t block = row_begin / 4 + p % k_blocks;
        const auto bits = draw.rng.block(static_cast<std::uint64_t>(block));
        INSTAR_UNROLL
        for (int i = 0; i < 4; ++i) {
            const index_t c = block * 4 + i - row_begin;
            if (c >= 0 && c < Columns) factors[r * (Columns + 1) + c] = bits.v[i] >= draw.drop_below ? draw.scale : 0.0f;
        }
    }
}

}  // namespace instar::ops::cuda

#endif
