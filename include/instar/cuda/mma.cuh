#ifndef INSTAR_CUDA_MMA_CUH
#define INSTAR_CUDA_MMA_CUH

// Tensor cores: products of small matrices of bf16 by the 32 lanes of a warp together, with sums in float.
//
//     std::uint32_t a[4], b[4];
//     float c[4] = {}, d[4] = {};
//     cuda::load_matrices<false>(a, tile, offset);      // four 8 × 8 matrices from shared memory; `offset`: this lane's row
//     cuda::load_matrices<true>(b, tile, offset);       // the same transposed
//     cuda::mma_16x8x16(c, a, {b[0], b[1]});            // c[16, 8] += a[16, 16] · b[16, 8]
//     cuda::mma_16x8x16(d, a, {b[2], b[3]});
//
// Which elements a lane holds (PTX ISA 9.7.14, m16n8k16; g = lane / 4, t = lane % 4; a register is two bf16, the lower half first):
//
//     a   registers 0 … 3: rows g, g + 8, g, g + 8; columns 2t and 2t + 1, from register 2 on 8 more
//     b   registers 0, 1: rows 2t and 2t + 1, from register 1 on 8 more; column g
//     c   floats 0, 1: row g, columns 2t and 2t + 1; floats 2, 3: row g + 8
//
// load_matrices reads matrix m from the rows that lanes 8m … 8m + 7 point at, 16 bytes each: register m of a lane is row g, columns 2t and
// 2t + 1; transposed, rows 2t and 2t + 1 of column g. On a device this is mma.sync and ldmatrix (compute capability 8.0); in the emulator a
// collective of the warp, whose reads of shared memory are checked like any other.

#include <cstdint>

#include "instar/cuda/device.cuh"

namespace instar::cuda {

/// The two registers of b.
struct mma_b {
    std::uint32_t low, high;
};

/// Two floats rounded to bf16, the first in the lower half.
__device__ __forceinline__ std::uint32_t pack_bf16(float first, float second) {
#if defined(__CUDA_ARCH__)
    std::uint32_t y;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(second), "f"(first));
    return y;
#else
    return static_cast<std::uint32_t>(bf16(first).bits) | static_cast<std::uint32_t>(bf16(second).bits) << 16;
#endif
}

#if defined(__CUDACC__)

__device__ __forceinline__ void mma_16x8x16(float (&c)[4], const std::uint32_t (&a)[4], mma_b b) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b.low), "r"(b.high));
}

template <bool Transposed>
__device__ __forceinline__ void load_matrices(std::uint32_t (&to)[4], shared_array<bf16> tile, int offset) {
    const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(tile + offset));
    if constexpr (Transposed) {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(address) : "memory");
    } else {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(address) : "memory");
    }
}

/// Sixteen bytes into shared memory; offset is a multiple of 8.
__device__ __forceinline__ void store_shared(shared_array<bf16> tile, int offset, const bf16 (&from)[8]) {
    *reinterpret_cast<uint4*>(tile + offset) = *reinterpret_cast<const uint4*>(from);
}

/// Two neighbours into global memory; `to` is aligned to four bytes.
__device__ __forceinline__ void store_pair(bf16* to, std::uint32_t pair) { *reinterpret_cast<std::uint32_t*>(to) = pair; }

#else

namespace emulator {

struct mma_registers {
    float c[4];
    std::uint32_t a[4], b[2];
};

/// What each lane's four sums become. The tensor cores add in an order of their own; here in that of k, in double, rounded once.
inline void multiply_matrices(const block_runner&, block_runner::warp& w, std::uint32_t) {
    static thread_local float a[16][16], b[16][8];
    const auto half = [](std::uint32_t pair, int which) {
        bf16 x;
        x.bits = static_cast<std::uint16_t>(pair >> (16 * which));
        return static_cast<float>(x);
    };
    mma_registers lanes[32];
    for (std::size_t l = 0; l < 32; ++l) {
        std::memcpy(&lanes[l], w.lanes[l].brought.data(), sizeof lanes[l]);
        const std::size_t g = l / 4, t = l % 4;
        for (std::size_t r = 0; r < 4; ++r) {
            for (std::size_t e = 0; e < 2; ++e) a[g + r % 2 * 8][2 * t + e + r / 2 * 8] = half(lanes[l].a[r], static_cast<int>(e));
        }
        for (std::size_t r = 0; r < 2; ++r) {
            for (std::size_t e = 0; e < 2; ++e) b[2 * t + e + r * 8][g] = half(lanes[l].b[r], static_cast<int>(e));
        }
    }
    for (std::size_t l = 0; l < 32; ++l) {
        const std::size_t g = l / 4, t = l % 4;
        for (std::size_t r = 0; r < 4; ++r) {
            double sum = static_cast<double>(lanes[l].c[r]);
            for (std::size_t k = 0; k < 16; ++k) sum += static_cast<double>(a[g + r / 2 * 8][k]) * static_cast<double>(b[k][2 * t + r % 2]);
            lanes[l].c[r] = static_cast<float>(sum);
        }
        std::memcpy(w.lanes[l].result.data(), lanes[l].c, sizeof lanes[l].c);
    }
}

}  // namespace emulator

inline void mma_16x8x16(float (&c)[4], const std::uint32_t (&a)[4], mma_b b, const std::source_location where = std::source_location::current()) {
    const emulator::mma_registers brought{{c[0], c[1], c[2], c[3]}, {a[0], a[1], a[2], a[3]}, {b.low, b.high}};
    static_assert(sizeof brought <= emulator::block_runner::k_slot_bytes);
    const std::byte* result = emulator::this_block("mma.sync").warp_collective("mma.sync", k_full_warp, &brought, sizeof brought, 0, &emulator::multiply_matrices, where);
    std::memcpy(c, result, sizeof c);
}

template <bool Transposed>
void load_matrices(std::uint32_t (&to)[4], shared_array<bf16> tile, int offset, const std::source_location where = std::source_location::current()) {
    const int lane = emulator::this_block("ldmatrix").lane(), g = lane / 4, t = lane % 4;
    if (offset % 8 != 0) emulator::this_block("ldmatrix").fail("ldmatrix: offset " + std::to_string(offset) + " is not a multiple of 8, at " + emulator::block_runner::at(where));
    for (int m = 0; m < 4; ++m) {
        std::uint32_t pair = 0;
        for (int e = 0; e < 2; ++e) {
            const int row = Transposed ? 2 * t + e : g, column = Transposed ? g : 2 * t + e;
            const bf16 x = tile[{emulator::shuffle("ldmatrix", k_full_warp, offset, 8 * m + row, where) + column, where}];
            pair |= static_cast<std::uint32_t>(x.bits) << (16 * e);
        }
        to[m] = pair;
    }
}

inline void store_shared(shared_array<bf16> tile, int offset, const bf16 (&from)[8], const std::source_location where = std::source_location::current()) {
    if (offset % 8 != 0) emulator::this_block("a vector access").fail("misaligned access of 16 bytes, at " + emulator::block_runner::at(where));
    for (int i = 0; i < 8; ++i) tile[{offset + i, where}] = from[i];
}

inline void store_pair(bf16* to, std::uint32_t pair) {
    emulator::check_aligned(to, sizeof pair);
    std::memcpy(static_cast<void*>(to), &pair, sizeof pair);
}

#endif

}  // namespace instar::cuda

#endif
