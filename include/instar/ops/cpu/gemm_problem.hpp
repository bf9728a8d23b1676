#ifndef INSTAR_OPS_CPU_GEMM_PROBLEM_HPP
#define INSTAR_OPS_CPU_GEMM_PROBLEM_HPP

// What a CPU matrix product of floats, or of bf16, is asked to do: the seam between ops::gemm, ops::linear, attention and k-NN above,
// and the backends below (gemm_packed.hpp, gemm_eigen.hpp). Shapes are the caller's to check.
//
//     cpu::gemm_serial({.m = 64, .n = 64, .k = 64, .a = q, .lda = 64, .b = keys, .ldb = 64, .transpose_b = true, .c = s, .ldc = 64});

#include "instar/core/element.hpp"

namespace instar::ops::cpu {

/// Rows of a that lie in pieces: the patches of a convolution's image, without a copy of them. Element (i, p) of a is
/// a[offset(i) + p / run · pitch + p % run].
struct gemm_gather {
    index_t width = 1, height = 1;                          ///< rows: [image, height, width]
    index_t image_step = 0, row_step = 0, column_step = 0;  ///< from one row to the next in each direction, in elements
    index_t run = 1;                                        ///< depths that are neighbours
    index_t pitch = 0;                                      ///< from one run of a row to its next

    index_t offset(index_t i) const { return i / (width * height) * image_step + i / width % height * row_step + i % width * column_step; }
};

/// c = op(a) · op(b), or c += …; then c += bias (a row vector); then activation = gelu(c). Leading dimensions in elements. T: float, or
/// bf16, whose sums are float and rounded once, when they are complete.
template <class T>
struct basic_gemm_problem {
    index_t m = 0, n = 0, k = 0;
    const T* a = nullptr;  ///< [m, lda], or [k, lda] when transposed
    index_t lda = 0;
    bool transpose_a = false;
    const T* b = nullptr;  ///< [k, ldb], or [n, ldb] when transposed
    index_t ldb = 0;
    bool transpose_b = false;
    T* c = nullptr;  ///< [m, ldc]
    index_t ldc = 0;
    bool accumulate = false;
    const T* bias = nullptr;  ///< [n], or none
    T* activation = nullptr;  ///< [m, ld_activation], or none: gelu of the final c
    index_t ld_activation = 0;
    const gemm_gather* gather = nullptr;  ///< where a's rows are, instead of lda
    bool bf16 = false;  ///< a and b are rounded to bf16; sums stay float
    bool b_is_weight = false;  ///< b may be packed once for many products, where the context holds weights
    float* sums = nullptr;  ///< [m, ld_sums]: where c of bf16 is summed when k takes several blocks of depths
    index_t ld_sums = 0;
};
using gemm_problem = basic_gemm_problem<float>;

/// A part of a product: rows [i0, i1), columns [j0, j1), depths [p0, p1) of the problem.
struct gemm_part {
    index_t i0, i1, j0, j1, p0, p1;
    const float* packed_b = nullptr;  ///< op(b) of columns [j_first, …) and depths [p0, p1) in panels; none: packed on the way
    index_t j_first = 0;              ///< first column in packed_b, a multiple of the panel's width from j0
    index_t packed_columns = 0;       ///< columns in packed_b, a multiple of the panel's width
};

/// How an instruction set cuts products. A lane is 32 bits of a packed copy: a float, or two bf16 at neighbouring depths.
struct gemm_geometry {
    index_t tile_rows, tile_columns;  ///< of c kept in registers
    index_t block_rows;               ///< rows of op(a) packed at once, to stay in the second-level cache
    index_t block_lanes;              ///< lanes of depths summed in registers before they are added to c
    index_t lane_depths;              ///< depths in a lane, 1 or 2
    index_t lane_multiple;            ///< a block's lanes are padded with zeros to a multiple of this
    bool whole_tiles;                 ///< rows are cut at multiples of tile_rows; else into tiles of about equal height
    static constexpr index_t k_group_panels = 4;  ///< panels of op(b) a thread packs for itself at once
    /// The first row of panel q of n when m rows are cut into n.
    constexpr index_t first_row(index_t m, index_t q, index_t n) const {
        if (!whole_tiles) return m * q / n;
        return q * tile_rows < m ? q * tile_rows : m;
    }
    constexpr index_t scratch_a() const { return block_rows * block_lanes + 256; }
    constexpr index_t scratch_b() const { return k_group_panels * block_lanes * tile_columns; }
    /// n columns in whole panels.
    constexpr index_t columns(index_t n) const { return (n + tile_columns - 1) / tile_columns * tile_columns; }
    constexpr index_t lanes(index_t depth) const {
        const index_t step = lane_depths * lane_multiple;
        return (depth + step - 1) / step * lane_multiple;
    }
};

/// The kernels of one instruction set for one kind of input: simd/gemm.inl.
template <class T>
struct basic_gemm_kernels {
    gemm_geometry cut;
    void (*compute)(const basic_gemm_problem<T>&, const gemm_part&, float*, float*);
    void (*pack_b)(float*, const basic_gemm_problem<T>&, index_t, index_t, index_t, index_t);
    index_t (*depth)(index_t);  ///< depths of each block but the last
};
using gemm_kernels = basic_gemm_kernels<float>;

}  // namespace instar::ops::cpu

#endif
