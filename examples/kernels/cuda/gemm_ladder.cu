// A matrix product on a GPU, from a thread an element to tensor cores that are fed by copies which run ahead; each step checked, then timed.
//
//     kernels_cuda gemm --n 4096            c = a · b, all n × n, bf16 with sums in float
//     kernels_emulated gemm --n 136         the same kernels as host C++: checked, not timed
//
// The text that goes with it is docs/kernels/gemm.md. n is a multiple of 8, so that sixteen bytes of a row lie inside or outside as a whole.
#include "ladder.hpp"

#include <cmath>

#include "instar/cuda/async_copy.cuh"
#include "instar/cuda/launch.cuh"
#include "instar/cuda/mma.cuh"
#include "instar/cuda/vector.cuh"
#include "instar/ops/gemm.hpp"

namespace kernels {

namespace {

using namespace instar::cuda;
using instar::bf16;

// 1, 2. The definition, a thread an element. The lanes of a warp are 32 neighbours in a column of c, and each of their loads of a is another
// row: 32 sectors of 32 bytes for 64 bytes that are used. Or they are neighbours in a row: one element of a for all of them, 64 bytes in a
// line of b.
template <bool InRow>
__global__ void one_element(bf16* c, const bf16* a, const bf16* b, index_t n) {
    const index_t across = block_x() * 32 + threadIdx.x, along = block_y() * 8 + threadIdx.y;
    const index_t row = InRow ? along : across, column = InRow ? across : along;
    if (row >= n || column >= n) return;
    float sum = 0.0f;
    for (index_t k = 0; k < n; ++k) sum += to_float(a[row * n + k]) * to_float(b[k * n + column]);
    c[row * n + column] = from_float<bf16>(sum);
}

constexpr int k_square = 32;  // the edge of step 3's tiles

// 3. Tiles of 32 × 32 in shared memory: an element that was loaded once is used 32 times. But each multiply-add still takes both factors from
// memory, from shared memory now.
__global__ void __launch_bounds__(k_square* k_square) shared_tiles(bf16* c, const bf16* a, const bf16* b, index_t n) {
    INSTAR_SHARED_ARRAY(bf16, left, k_square * k_square);
    INSTAR_SHARED_ARRAY(bf16, right, k_square * k_square);
    const int x = static_cast<int>(threadIdx.x), y = static_cast<int>(threadIdx.y);
    const index_t row = block_y() * k_square + y, column = block_x() * k_square + x;
    const bf16 zero(0.0f);
    float sum = 0.0f;
    for (index_t first = 0; first < n; first += k_square) {
        left[y * k_square + x] = row < n && first + x < n ? a[row * n + first + x] : zero;
        right[y * k_square + x] = first + y < n && column < n ? b[(first + y) * n + column] : zero;
        __syncthreads();
        for (int k = 0; k < k_square; ++k) sum += to_float(left[y * k_square + k]) * to_float(right[k * k_square + x]);
        __syncthreads();
    }
    if (row < n && column < n) c[row * n + column] = from_float<bf16>(sum);
}

constexpr int k_edge = 128;  // of what a block computes from here on: 128 × 128 elements of c

/// Eight elements from (row, column) on as floats, or zeros outside.
__device__ __forceinline__ void load_or_zero(float (&v)[8], const bf16* from, index_t n, index_t row, index_t column) {
    INSTAR_UNROLL
    for (int i = 0; i < 8; ++i) v[i] = 0.0f;
    if (row < n && column < n) load<8>(v, from + row * n + column);
}

// 4. Register tiles: a thread has 8 × 8 elements of c, in four parts of 4 × 4, so that lanes read neighbouring packs. For each k 16 floats
// from shared memory (four loads of 16 bytes) feed 64 multiply-adds. a's tile is transposed on its way, so that its rows are packs too.
__global__ void __launch_bounds__(256, 2) register_tiles(bf16* c, const bf16* a, const bf16* b, index_t n) {
    constexpr int k_depth = 16;
    INSTAR_SHARED_ARRAY(float, left, k_depth * k_edge);  // [k][row]
    INSTAR_SHARED_ARRAY(float, right, k_depth * k_edge);
    const int t = thread_x(), ty = t / 16, tx = t % 16;
    const index_t first_row = block_y() * k_edge, first_column = block_x() * k_edge;
    float sum[8][8] = {};
    for (index_t first = 0; first < n; first += k_depth) {
        float v[8];
        load_or_zero(v, a, n, first_row + t / 2, first + t % 2 * 8);
        INSTAR_UNROLL
        for (int i = 0; i < 8; ++i) left[(t % 2 * 8 + i) * k_edge + t / 2] = v[i];
        load_or_zero(v, b, n, first + t / 16, first_column + t % 16 * 8);
        store_shared(right, t / 16 * k_edge + t % 16 * 8, v);
        __syncthreads();
        INSTAR_UNROLL
        for (int k = 0; k < k_depth; ++k) {
            float x[2][4], y[2][4];
            INSTAR_UNROLL
            for (int half = 0; half < 2; ++half) {
                load_shared(x[half], left, k * k_edge + half * 64 + ty * 4);
                load_shared(y[half], right, k * k_edge + half * 64 + tx * 4);
            }
            INSTAR_UNROLL
            for (int i = 0; i < 8; ++i) {
                INSTAR_UNROLL
                for (int j = 0; j < 8; ++j) sum[i][j] += x[i / 4][i % 4] * y[j / 4][j % 4];
            }
        }
        __syncthreads();
    }
    INSTAR_UNROLL
    for (int i = 0; i < 8; ++i) {
        const index_t row = first_row + i / 4 * 64 + ty * 4 + i % 4;
        INSTAR_UNROLL
        for (int j = 0; j < 8; j += 2) {
            const index_t column = first_column + j / 4 * 64 + tx * 4 + j % 4;
            if (row < n && column < n) store_pair(c + row * n + column, pack_bf16(sum[i][j], sum[i][j + 1]));
        }
    }
}

// Tensor cores: four warps of 64 × 64 elements of c each, which is 128 floats a lane, and tiles 32 deep.
constexpr int k_depth = 32, k_threads = 128, k_tile = k_edge * k_depth;

/// Where the packs of eight of a tile's rows lie in shared memory. ldmatrix reads a pack of eight rows at once, without conflicts when
/// they lie in eight different places of the 128 bytes that the banks are wide. Swizzled, each row has its packs in another order.
template <int Columns, bool Swizzled>
struct tile_layout {
    static constexpr int packs = Columns / 8;
    static constexpr int rows_a_line = packs < 8 ? 8 / packs : 1;  // rows in 128 bytes
    INSTAR_HOST_DEVICE static constexpr int at(int row, int pack) {
        const int turn = row / rows_a_line % (packs < 8 ? packs : 8);
        return (row * packs + (Swizzled ? pack ^ turn : pack)) * 8;
    }
};
template <bool Swizzled>
using left_layout = tile_layout<k_depth, Swizzled>;  // 128 rows of a
template <bool Swizzled>
using right_layout = tile_layout<k_edge, Swizzled>;  // 32 rows of b

/// Most packs of one place among the eight that ldmatrix reads at once: they come one after the other.
template <class Layout>
constexpr int largest_conflict() {
    int most = 0;
    for (int first = 0; first < 32; first += 8) {
        for (int pack = 0; pack < Layout::packs; ++pack) {
            int n_in[8] = {};
            for (int row = first; row < first + 8; ++row) most = std::max(most, ++n_in[Layout::at(row, pack) / 8 % 8]);
        }
    }
    return most;
}
static_assert(largest_conflict<left_layout<false>>() == 4 && largest_conflict<right_layout<false>>() == 8);
static_assert(largest_conflict<left_layout<true>>() == 1 && largest_conflict<right_layout<true>>() == 1);

/// Brings 4096 elements from (first_row, first_column) on into a tile, zeros outside: at once through registers, or by copies that run ahead.
template <class Layout, bool Ahead>
__device__ __forceinline__ void fill_tile(shared_array<bf16> tile, const bf16* from, index_t n, index_t first_row, index_t first_column) {
    INSTAR_UNROLL
    for (int i = 0; i < k_tile / 8 / k_threads; ++i) {
        const int p = i * k_threads + thread_x(), row = p / Layout::packs, pack = p % Layout::packs;
        const bool exists = first_row + row < n && first_column + pack * 8 < n;
        const bf16* const place = exists ? from + (first_row + row) * n + first_column + pack * 8 : from;
        if constexpr (Ahead) {
            copy_async(tile, Layout::at(row, pack), place, exists ? 8 : 0);
        } else {
            alignas(16) bf16 raw[8] = {};
            if (exists) move<8>(raw, place);
            store_shared(tile, Layout::at(row, pack), raw);
        }
    }
}

/// The warp's sums += its 64 rows of one tile · its 64 columns of the other. For 16 of the depth eight ldmatrix feed 32 mma.sync.
template <bool Swizzled>
__device__ __forceinline__ void multiply_tiles(float (&sum)[4][8][4], shared_array<bf16> left, shared_array<bf16> right) {
    const int lane = lane_id(), row = warp_id() / 2 * 64 + lane % 16, pack = warp_id() % 2 * 8 + lane / 16;
    INSTAR_UNROLL
    for (int k = 0; k < k_depth; k += 16) {
        std::uint32_t a[4][4];
        INSTAR_UNROLL
        for (int i = 0; i < 4; ++i) load_matrices<false>(a[i], left, left_layout<Swizzled>::at(row + i * 16, k / 8 + lane / 16));
        INSTAR_UNROLL
        for (int j = 0; j < 8; j += 2) {
            std::uint32_t b[4];
            load_matrices<true>(b, right, right_layout<Swizzled>::at(k + lane % 16, pack + j));
            INSTAR_UNROLL
            for (int i = 0; i < 4; ++i) {
                mma_16x8x16(sum[i][j], a[i], {b[0], b[1]});
                mma_16x8x16(sum[i][j + 1], a[i], {b[2], b[3]});
            }
        }
    }
}

/// The warp's sums to its place in c, two neighbours at a time.
__device__ __forceinline__ void store_sums(bf16* c, index_t n, const float (&sum)[4][8][4]) {
    const index_t first_row = block_y() * k_edge + warp_id() / 2 * 64 + lane_id() / 4, first_column = block_x() * k_edge + warp_id() % 2 * 64 + lane_id() % 4 * 2;
    INSTAR_UNROLL
    for (int i = 0; i < 4; ++i) {
        INSTAR_UNROLL
        for (int half = 0; half < 2; ++half) {
            const index_t row = first_row + i * 16 + half * 8;
            INSTAR_UNROLL
            for (int j = 0; j < 8; ++j) {
                const index_t column = first_column + j * 8;
                if (row < n && column < n) store_pair(c + row * n + column, pack_bf16(sum[i][j][2 * half], sum[i][j][2 * half + 1]));
            }
        }
    }
}

// 5, 6. Tensor cores, from tiles that lie in shared memory as they do in a and b, or swizzled. While a tile is fetched nothing is multiplied
// (by this block: two share a multiprocessor).
template <bool Swizzled>
__global__ void __launch_bounds__(k_threads, 2) tensor_cores(bf16* c, const bf16* a, const bf16* b, index_t n) {
    shared_memory memory;
    const shared_array<bf16> left = memory.take<bf16>(k_tile);
    const shared_array<bf16> right = memory.take<bf16>(k_tile);
    float sum[4][8][4] = {};
    for (index_t first = 0; first < n; first += k_depth) {
        fill_tile<left_layout<Swizzled>, false>(left, a, n, block_y() * k_edge, first);
        fill_tile<right_layout<Swizzled>, false>(right, b, n, first, block_x() * k_edge);
        __syncthreads();
        multiply_tiles<Swizzled>(sum, left, right);
        __syncthreads();
    }
    store_sums(c, n, sum);
}

constexpr int k_stages = 4;

// 7. Copies that run ahead: while one of four stages is multiplied, three are on their way, past the registers. One barrier a tile: it says that
// the tile has arrived for all threads, and that all are done with the one before, whose stage is filled next.
__global__ void __launch_bounds__(k_threads, 2) copies_ahead(bf16* c, const bf16* a, const bf16* b, index_t n) {
    shared_memory memory;
    const shared_array<bf16> left = memory.take<bf16>(k_stages * k_tile);
    const shared_array<bf16> right = memory.take<bf16>(k_stages * k_tile);
    const int n_tiles = static_cast<int>(ceil_div(n, k_depth));
    const auto fetch = [&](int tile) {
        if (tile < n_tiles) {
            const int stage = tile % k_stages * k_tile;
            fill_tile<left_layout<true>, true>(left + stage, a, n, block_y() * k_edge, index_t{tile} * k_depth);
            fill_tile<right_layout<true>, true>(right + stage, b, n, index_t{tile} * k_depth, block_x() * k_edge);
        }
        commit_group();  // at the end an empty one, so that the wait below counts the same
    };
    for (int tile = 0; tile < k_stages - 1; ++tile) fetch(tile);
    float sum[4][8][4] = {};
    for (int tile = 0; tile < n_tiles; ++tile) {
        wait_group<k_stages - 2>();
        __syncthreads();
        fetch(tile + k_stages - 1);
        const int stage = tile % k_stages * k_tile;
        multiply_tiles<true>(sum, left + stage, right + stage);
    }
    store_sums(c, n, sum);
}

}  // namespace

int run_gemm(instar::cuda_context& ctx, index_t n) {
    both<bf16> a(ctx, n * n, 1), b(ctx, n * n, 2), c(ctx, n * n);
    // The yardstick in double, on enough rows that each block's part is looked at.
    const index_t n_checked = std::min<index_t>(n, 61);
    const auto row_of = [&](index_t r) { return r * (n - 1) / std::max<index_t>(n_checked - 1, 1); };
    std::vector<double> exact(static_cast<std::size_t>(n_checked * n));
    for (index_t r = 0; r < n_checked; ++r) {
        double* const sums = exact.data() + r * n;
        for (index_t k = 0; k < n; ++k) {
            const double x = a.value(row_of(r) * n + k);
            for (index_t j = 0; j < n; ++j) sums[j] += x * b.value(k * n + j);
        }
    }
    // Relative to the element, for c is rounded to bf16: by 2⁻⁸, 3.9e-3, at most. Sums near zero are held to what the float additions leave.
    const auto error = [&] {
        c.fetch();
        double worst = 0.0;
        for (index_t r = 0; r < n_checked; ++r) {
            for (index_t j = 0; j < n; ++j) {
                const double e = exact[static_cast<std::size_t>(r * n + j)], off = std::fabs(c.value(row_of(r) * n + j) - e);
                const double relative = off / (std::fabs(e) + 0.01 * std::sqrt(static_cast<double>(n)));
                if (std::isnan(off)) return off;
                worst = std::max(worst, relative);
            }
        }
        return worst;
    };
    constexpr double k_tolerance = 4.2e-3;
    const auto size = static_cast<double>(n);
    ladder steps(ctx, "c = a · b, " + std::to_string(n) + " × " + std::to_string(n) + ", bf16", {.flop = 2.0 * size * size * size}, [&] { c.forget(); });
    using kernel = void (*)(bf16*, const bf16*, const bf16*, index_t);
    const auto rung = [&](const char* name, kernel f, extent3 tile, extent3 block, std::size_t shared) {
        const extent3 grid{blocks_for(n, tile.x), blocks_for(n, tile.y)};
        steps.rung(name, [&, f, grid, block, shared] { launch(ctx, name, f, grid, block, shared, c.data(), a.data(), b.data(), n); }, error, k_tolerance);
    };
    const std::size_t stage = 2 * shared_bytes<bf16>(k_tile);
    rung("1 one thread an element", one_element<false>, {32, 8}, {32, 8}, 0);
    rung("2 lanes along rows", one_element<true>, {32, 8}, {32, 8}, 0);
    rung("3 shared tiles", shared_tiles, {k_square, k_square}, {k_square, k_square}, 0);
    rung("4 register tiles", register_tiles, {k_edge, k_edge}, {256}, 0);
    rung("5 tensor cores", tensor_cores<false>, {k_edge, k_edge}, {k_threads}, stage);
    rung("6 swizzled", tensor_cores<true>, {k_edge, k_edge}, {k_threads}, stage);
    rung("7 copies ahead", copies_ahead, {k_edge, k_edge}, {k_threads}, k_stages * stage);
    const instar::tensor_view<bf16, 2> cv(c.data(), {n, n}), av(a.data(), {n, n}), bv(b.data(), {n, n});
    steps.rung("8 cuBLASLt", [&] { instar::ops::gemm<bf16>(ctx, cv, av, bv); }, error, k_tolerance);
    return steps.finish();
}

}  // namespace kernels
