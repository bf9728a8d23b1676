#ifndef INSTAR_CUDA_GRID_HPP
#define INSTAR_CUDA_GRID_HPP

// Sizes of grids and blocks, for host code with and without CUDA.
//
//     cuda::launch(ctx, "gelu_forward", kernel<float, 4>, {cuda::blocks_for(n, 1024)}, {256}, 0, y, x, n);

#include <string>

#include "instar/core/element.hpp"
#include "instar/core/error.hpp"

namespace instar::cuda {

/// A grid's or block's extents; {n} is n × 1 × 1. The same fields as CUDA's dim3 and uint3.
struct extent3 {
    unsigned x = 1;
    unsigned y = 1;
    unsigned z = 1;
};

INSTAR_HOST_DEVICE constexpr index_t ceil_div(index_t a, index_t b) { return (a + b - 1) / b; }

/// Number of blocks that cover n items, `per_block` in each. Throws value_error beyond CUDA's limit of 2³¹ − 1.
inline unsigned blocks_for(index_t n, index_t per_block) {
    const index_t blocks = ceil_div(n, per_block);
    if (blocks > 0x7fffffff) throw value_error("cuda: " + std::to_string(blocks) + " blocks, more than a grid can have");
    return static_cast<unsigned>(blocks);
}

}  // namespace instar::cuda

#endif
