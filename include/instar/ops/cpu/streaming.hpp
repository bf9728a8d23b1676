#ifndef INSTAR_OPS_CPU_STREAMING_HPP
#define INSTAR_OPS_CPU_STREAMING_HPP

// Results written past the caches. An ordinary store of a line that is in no cache first reads it from memory and later pushes another line
// out; a non-temporal store sends the line to memory and leaves the caches to what is read.
//
//     const bool stream = cpu::streams(y.data(), n, x.data());
//     cpu::write_blocks(stream, y.data() + begin, end - begin, [&](T* to, index_t first, index_t m) { gelu_range(to, x.data() + begin + first, m); }, x.data() + begin);
//
// It pays where the result would have left the caches before anyone reads it. Measured on a Xeon with 2 MiB of second-level cache a core
// (copies in a chain, each reads what the last one wrote): 0.8 of an ordinary store's speed with tensors of 3 to 16 MiB, 1.1 with 32 MiB,
// 1.6 from 64 MiB on. docs/kernels/layer_norm.md has the table. Values are the same either way.

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <numeric>

#include "instar/core/tensor_view.hpp"
#include "instar/ops/cpu/bf16_rows.hpp"
#include "instar/ops/cpu/simd/rows.hpp"

namespace instar::ops::cpu {

/// Results of so many bytes are streamed.
inline constexpr std::size_t k_stream_bytes = std::size_t{48} << 20;

/// Whether n elements at `to` are worth streaming. Not where they take an input's place: its lines are in the cache already.
template <class T, class... From>
bool streams(const T* to, index_t n, const From*... from) {
    return INSTAR_SIMD_X86 != 0 && static_cast<std::size_t>(n) * sizeof(T) >= k_stream_bytes && ((static_cast<const void*>(to) != static_cast<const void*>(from)) && ...);
}

/// to = from, past the caches; stream_fence() before another thread may read it.
template <class T>
void stream_copy(T* to, const T* from, index_t n) {
    INSTAR_SIMD_PICK(stream_bytes)(to, from, static_cast<std::size_t>(n) * sizeof(T));
}
/// Streamed stores are not ordered with the others, so a task ends with this.
inline void stream_fence() {
#if INSTAR_SIMD_X86
    __builtin_ia32_sfence();
#endif
}

/// Asks for the lines of n elements from `from` on; past the end of the memory it does nothing.
template <class T>
void prefetch_range(const T* from, index_t n) {
    const auto* const p = reinterpret_cast<const std::byte*>(from);
    for (std::size_t b = 0; b < static_cast<std::size_t>(n) * sizeof(T); b += 64) __builtin_prefetch(p + b);
}

/// f(block, first, m) makes elements first … first + m − 1 of `to` in block, which is to + first itself or, when they are streamed, 1 KiB
/// that stays in the first-level cache; with blocks of 8 KiB nothing was gained. `from` are the beginnings of what f reads, in step with
/// `to`: while streaming, their lines are asked for ahead of time, unless f does so itself.
template <class T, class F, class... From>
void write_blocks(bool stream, T* to, index_t n, F&& f, const From*... from) {
    if (!stream) return f(to, index_t{0}, n);
    constexpr index_t k_block = 1024 / static_cast<index_t>(sizeof(T)), k_line = 64 / static_cast<index_t>(sizeof(T));
    alignas(64) T block[k_block];
    // The first block ends where a line does, so that all the others are whole lines.
    index_t next = k_block - static_cast<index_t>(reinterpret_cast<std::uintptr_t>(to) / sizeof(T)) % k_line;
    for (index_t i = 0; i < n;) {
        const index_t m = std::min(next, n - i);
        (prefetch_range(from + i + 2 * k_block, k_block), ...);
        f(static_cast<T*>(block), i, m);
        stream_copy(to + i, static_cast<const T*>(block), m);
        i += m;
        next = k_block;
    }
    stream_fence();
}

/// Rows that are longer are not streamed: they would not stay in the first-level cache until they are.
inline constexpr index_t k_stream_row = 4096;

/// Whether rows are worth streaming: of float, at most k_stream_row long, without gaps between them.
template <class T, class... From>
bool streams_rows(tensor_view<T, 2> to, const From*... from) {
    return std::same_as<T, float> && to.extent(1) <= k_stream_row && to.contiguous() && streams(to.data(), to.size(), from...);
}
/// write_blocks by rows: f(rows, first), where rows are those from `first` on. With float it takes row_scratch, so f must not.
template <class T, class F, class... From>
void write_row_blocks([[maybe_unused]] bool stream, tensor_view<T, 2> to, F&& f, [[maybe_unused]] tensor_view<From, 2>... from) {
    if constexpr (std::same_as<T, float>) {
        if (stream) {
            // About 3 KiB of rows, whole lines where that takes at most 16 KiB.
            const index_t n_rows = to.extent(0), d = to.extent(1), whole_lines = 16 / std::gcd(d, index_t{16});
            const index_t step = whole_lines * d <= k_stream_row ? whole_lines : 1, most = step * std::max<index_t>(1, 768 / (step * d));
            float* const block = row_scratch(most * d);
            for (index_t r = 0; r < n_rows; r += most) {
                const index_t m = std::min(most, n_rows - r);
                for (index_t next = r + most; next < std::min(n_rows, r + 2 * most); ++next) (prefetch_range(&from(next, 0), d), ...);
                f(tensor_view<float, 2>(block, {m, d}), r);
                stream_copy(&to(r, 0), static_cast<const float*>(block), m * d);
            }
            return stream_fence();
        }
    }
    f(to, index_t{0});
}

}  // namespace instar::ops::cpu

#endif
