#ifndef INSTAR_EXAMPLES_KERNELS_TILE_HPP
#define INSTAR_EXAMPLES_KERNELS_TILE_HPP

// What several ladders are built of: a vector of floats, and a tile of a matrix product in registers (docs/kernels/gemm.md, step 4).

#include "instar/core/version.hpp"

namespace kernels {

/// Sixteen floats: one AVX-512 register; compilers split it where the machine has narrower ones.
using vec = float __attribute__((vector_size(64), aligned(4), may_alias));
inline constexpr instar::index_t k_lanes = 16;

inline vec& at(float* p) { return *reinterpret_cast<vec*>(p); }
inline const vec& at(const float* p) { return *reinterpret_cast<const vec*>(p); }

inline float total(const vec& v) {
    float s = 0.0f;
    for (instar::index_t l = 0; l < k_lanes; ++l) s += v[l];
    return s;
}

/// c += a · b: Rows × Columns vectors of c are summed in registers over all of the depth, and touch memory once. For each k, Columns
/// loads of b and Rows broadcasts of a feed Rows · Columns multiply-adds.
template <int Rows, int Columns>
void register_tile(float* c, instar::index_t c_stride, const float* a, instar::index_t a_row, instar::index_t a_k, const float* b, instar::index_t b_k,
                   instar::index_t depth) {
    vec sum[Rows][Columns] = {};
    for (instar::index_t k = 0; k < depth; ++k) {
        vec right[Columns];
        for (int j = 0; j < Columns; ++j) right[j] = at(b + k * b_k + j * k_lanes);
        for (int i = 0; i < Rows; ++i) {
            const float left = a[i * a_row + k * a_k];
            for (int j = 0; j < Columns; ++j) sum[i][j] += left * right[j];
        }
    }
    for (int i = 0; i < Rows; ++i) {
        for (int j = 0; j < Columns; ++j) at(c + i * c_stride + j * k_lanes) += sum[i][j];
    }
}

}  // namespace kernels

#endif
