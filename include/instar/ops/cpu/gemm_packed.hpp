#ifndef INSTAR_OPS_CPU_GEMM_PACKED_HPP
#define INSTAR_OPS_CPU_GEMM_PACKED_HPP

// instar's own matrix product of floats and of bf16: who computes what, and where the packed copies live. The arithmetic is simd/gemm.inl.
//
//     cpu::gemm_packed(ctx, problem);      // on the context's threads
//     cpu::gemm_packed_bf16(ctx, problem); // a, b and c in bf16
//     cpu::gemm_serial(problem);           // on this thread, for use inside parallel loops: gemm_serial.hpp
//
// The same bits for any number of threads: an element's sum does not depend on how the work is cut, so the cuts are free to follow the
// number of threads. Where the context allows bf16, inputs are rounded to it on the way into the packed copies, and multiplied by the
// processor's own instructions where those are faster (isa::active_bf16). Nothing is allocated once the caches below have grown.

#include <algorithm>
#include <atomic>
#include <mutex>
#include <vector>

#include "instar/core/cpu_context.hpp"
#include "instar/core/flush_denormals.hpp"
#include "instar/core/memory.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/ops/cpu/gemm_serial.hpp"

namespace instar::ops::cpu {

namespace detail {

/// Packed copies of op(b), which all threads of a product read. Kept for the next product: the process holds as many as it
/// ever ran products at once. A thread that waits in a parallel loop may start another product, so they are not per thread.
class gemm_shared_scratch {
public:
    explicit gemm_shared_scratch(index_t n) {
        {
            const std::lock_guard lock(pool().mutex);
            if (!pool().blocks.empty()) {
                block_ = std::move(pool().blocks.back());
                pool().blocks.pop_back();
            }
        }
        const auto bytes = static_cast<std::size_t>(n) * sizeof(float);
        if (block_.bytes() < bytes) {
            block_ = memory_block<>{};
            block_ = memory_block<>(bytes);
        }
    }
    ~gemm_shared_scratch() {
        const std::lock_guard lock(pool().mutex);
        if (pool().blocks.size() < pool().blocks.capacity()) pool().blocks.push_back(std::move(block_));
    }
    gemm_shared_scratch(const gemm_shared_scratch&) = delete;
    gemm_shared_scratch& operator=(const gemm_shared_scratch&) = delete;
    float* data() const { return static_cast<float*>(block_.data()); }

private:
    struct blocks_of_process {
        std::mutex mutex;
        std::vector<memory_block<>> blocks;
        blocks_of_process() { blocks.reserve(64); }
    };
    static blocks_of_process& pool() {
        static blocks_of_process p;
        return p;
    }
    memory_block<> block_;
};

/// All of op(b) in the panels of `kernels`, by the context's threads. out: columns · lanes(k) floats.
template <class T>
void gemm_pack_whole(cpu_context& ctx, const basic_gemm_problem<T>& g, const basic_gemm_kernels<T>& kernels, float* out);

/// The copies of a context that holds its weights (cpu_context::hold_weights).
class packed_weights {
public:
    /// op(b) of g in panels; packed now if it was not before.
    template <class T>
    static const float* of(cpu_context& ctx, const basic_gemm_problem<T>& g, const basic_gemm_kernels<T>& kernels) {
        const auto pack = reinterpret_cast<void (*)()>(kernels.pack_b);  // tells element types and instruction sets apart
        if (!ctx.packed_weights()) ctx.packed_weights() = std::make_shared<packed_weights>();
        auto& entries = static_cast<packed_weights*>(ctx.packed_weights().get())->entries_;
        for (const entry& e : entries) {
            if (e.b == g.b && e.n == g.n && e.k == g.k && e.ldb == g.ldb && e.transposed == g.transpose_b && e.bf16 == g.bf16 && e.pack == pack) {
                return static_cast<const float*>(e.panels.data());
            }
        }
        const index_t floats = kernels.cut.columns(g.n) * kernels.cut.lanes(g.k);
        entry e{g.b, g.n, g.k, g.ldb, g.transpose_b, g.bf16, pack, memory_block<>(static_cast<std::size_t>(floats) * sizeof(float))};
        gemm_pack_whole(ctx, g, kernels, static_cast<float*>(e.panels.data()));
        entries.push_back(std::move(e));
        return static_cast<const float*>(entries.back().panels.data());
    }

private:
    struct entry {
        const void* b;
        index_t n, k, ldb;
        bool transposed, bf16;
        void (*pack)();
        memory_block<> panels;
    };
    std::vector<entry> entries_;
};

/// f(i) for i in [0, n), in order of demand: a thread that is late leaves its share to the others.
template <class F>
void run_tasks(cpu_context& ctx, index_t n, F&& f) {
    const index_t threads = std::min<index_t>(n, ctx.max_threads());
    if (threads <= 1) {
        for (index_t i = 0; i < n; ++i) f(i);
        return;
    }
    std::atomic<index_t> next{0};
    parallel_kernel(ctx, threads, 1, [&](index_t begin, index_t end) {
        for (index_t t = begin; t < end; ++t) {
            for (index_t i = next.fetch_add(1, std::memory_order_relaxed); i < n; i = next.fetch_add(1, std::memory_order_relaxed)) f(i);
        }
    });
}

template <class T>
void gemm_pack_whole(cpu_context& ctx, const basic_gemm_problem<T>& g, const basic_gemm_kernels<T>& kernels, float* out) {
    const gemm_geometry& cut = kernels.cut;
    const index_t step = kernels.depth(g.k), columns = cut.columns(g.n), group = 8 * cut.tile_columns;
    const index_t n_depths = ceil_div(g.k, step), n_groups = ceil_div(columns, group);
    run_tasks(ctx, n_depths * n_groups, [&](index_t task) {
        const index_t q0 = task / n_groups * step, q1 = std::min(g.k, q0 + step), j = task % n_groups * group;
        kernels.pack_b(out + cut.lanes(q0) * columns + j * cut.lanes(q1 - q0), g, j, std::min(g.n, j + group), q0, q1);
    });
}

/// Columns in parallel, every thread with all rows (at most block_rows) and its own copies: for few rows, where a shared copy
/// of op(b) would cost more than it saves.
template <class T>
void gemm_by_columns(cpu_context& ctx, const basic_gemm_problem<T>& g, const basic_gemm_kernels<T>& kernels, const float* packed_b) {
    const index_t n_panels = ceil_div(g.n, kernels.cut.tile_columns), n_row_panels = ceil_div(g.m, kernels.cut.tile_rows);
    const index_t wanted = 4 * ctx.max_threads();
    const index_t across = std::min(n_panels, wanted);
    const index_t down = std::min(n_row_panels, std::max<index_t>(1, wanted / 2 / across));
    run_tasks(ctx, across * down, [&](index_t task) {
        const index_t x = task / down, y = task % down;
        const gemm_part part{g.m * y / down, g.m * (y + 1) / down, n_panels * x / across * kernels.cut.tile_columns,
                             std::min(g.n, n_panels * (x + 1) / across * kernels.cut.tile_columns), 0, g.k, packed_b, 0, kernels.cut.columns(g.n)};
        auto& scratch = gemm_thread_scratch::mine();
        kernels.compute(g, part, scratch.a(kernels.cut), scratch.b(kernels.cut));
    });
}

/// Rows in parallel over one shared packed copy of op(b), a chunk of it at a time; or over all of it, if packed before.
template <class T>
void gemm_by_rows(cpu_context& ctx, const basic_gemm_problem<T>& g, const basic_gemm_kernels<T>& kernels, const float* packed_b) {
    constexpr index_t k_chunk = index_t{4} << 20;  // lanes: 16 MiB, what a shared cache holds and what stays allocated
    const index_t threads = ctx.max_threads(), width = kernels.cut.tile_columns;
    const index_t step = kernels.depth(g.k);
    const gemm_geometry& cut = kernels.cut;
    const index_t chunk_depth = packed_b != nullptr ? g.k : std::min(g.k, std::max<index_t>(step, 4096 * cut.lane_depths / step * step));
    const index_t all_columns = cut.columns(g.n);
    const index_t n_chunks = packed_b != nullptr ? 1 : ceil_div(all_columns * cut.lanes(chunk_depth), k_chunk);
    const index_t chunk_columns = ceil_div(ceil_div(all_columns, n_chunks), width) * width;
    // Blocks of equal height, four a thread when they stay tall enough to repay their share of op(b)'s traffic.
    const index_t n_row_panels = ceil_div(g.m, cut.tile_rows);
    const index_t least = ceil_div(n_row_panels, cut.block_rows / cut.tile_rows);
    const index_t n_blocks = std::min(n_row_panels, std::max(ceil_div(least, threads) * threads, std::min(4 * threads, n_row_panels / 4)));
    // The last two blocks of each thread in halves: whoever is late then keeps the others waiting half as long (1 to 5 % with two threads).
    // Not of a transposed a, whose rows in memory would be short to pack (2 to 5 % slower).
    const bool halves = threads > 1 && !g.transpose_a && n_row_panels >= 8 * n_blocks;
    const index_t n_halved = halves ? std::min(n_blocks, 2 * threads) : 0, n_tasks = n_blocks + n_halved;
    const gemm_shared_scratch shared(packed_b != nullptr ? 0 : chunk_columns * cut.lanes(chunk_depth));
    const float* const panels = packed_b != nullptr ? packed_b : shared.data();
    for (index_t p0 = 0; p0 < g.k; p0 += chunk_depth) {
        const index_t p1 = std::min(g.k, p0 + chunk_depth);
        for (index_t j0 = 0; j0 < g.n; j0 += chunk_columns) {
            const index_t j1 = std::min(g.n, j0 + chunk_columns), columns = ceil_div(j1 - j0, width) * width;
            const index_t n_depths = packed_b != nullptr ? 0 : ceil_div(p1 - p0, step), n_groups = ceil_div(columns, 8 * width);
            run_tasks(ctx, n_depths * n_groups, [&](index_t task) {
                const index_t q0 = p0 + task / n_groups * step, q1 = std::min(p1, q0 + step);
                const index_t group = task % n_groups * 8 * width;  // columns from j0
                kernels.pack_b(shared.data() + cut.lanes(q0 - p0) * columns + group * cut.lanes(q1 - q0), g, j0 + group, std::min(j1, j0 + group + 8 * width), q0, q1);
            });
            run_tasks(ctx, n_tasks, [&](index_t task) {
                // Cut at whole tiles, so that panels are as tall as they can be.
                const auto first_row = [&](index_t i) {
                    const index_t half_blocks = i + std::min(i, n_blocks - n_halved);
                    return cut.first_row(g.m, n_row_panels * half_blocks / (2 * n_blocks), n_row_panels);
                };
                const gemm_part part{first_row(task), first_row(task + 1), j0, j1, p0, p1, panels, j0, columns};
                kernels.compute(g, part, gemm_thread_scratch::mine().a(cut), nullptr);
            });
        }
    }
}

template <class T>
void gemm_on_threads(cpu_context& ctx, const basic_gemm_problem<T>& problem, const basic_gemm_kernels<T>& kernels) {
    // Below this, waking a thread costs more than it brings: some 10 µs of one core.
    constexpr double k_serial_products = 5e5;
    const double products = static_cast<double>(problem.m) * static_cast<double>(problem.n) * static_cast<double>(problem.k);
    if (products < k_serial_products) return gemm_on_this_thread(problem, kernels);
    const float* const packed_b = problem.b_is_weight && ctx.weights_held() && problem.k > 0 ? packed_weights::of(ctx, problem, kernels) : nullptr;
    if (problem.m <= kernels.cut.block_rows) return gemm_by_columns(ctx, problem, kernels, packed_b);
    gemm_by_rows(ctx, problem, kernels, packed_b);
}

}  // namespace detail

/// The product on the context's threads.
inline void gemm_packed(cpu_context& ctx, gemm_problem problem) {
    problem.bf16 = problem.bf16 || ctx.bf16_allowed();
    if (problem.m <= 0 || problem.n <= 0) return;
    const flush_denormals zero;
    detail::gemm_on_threads(ctx, problem, INSTAR_SIMD_PICK(gemm_kernels_for)(problem.bf16));
}

/// The same of bf16, whatever the context allows. A template, so that who has no such product does not compile one.
template <class T>
void gemm_packed_bf16(cpu_context& ctx, const basic_gemm_problem<T>& problem) {
    static_assert(std::same_as<T, bf16>);
    if (problem.m <= 0 || problem.n <= 0) return;
    const flush_denormals zero;
    const basic_gemm_kernels<T> kernels = INSTAR_SIMD_PICK(template gemm_kernels_for_type<T>)(true);
    if (kernels.depth(problem.k) >= problem.k) return detail::gemm_on_threads(ctx, problem, kernels);
    // Sums over several blocks of depths wait in float; a strip of columns at a time when c is large.
    constexpr index_t k_most_sums = index_t{4} << 20, k_least_columns = 256;
    const index_t strip = std::min(problem.n, std::max(k_least_columns, k_most_sums / problem.m / k_least_columns * k_least_columns));
    const detail::gemm_shared_scratch sums(problem.m * strip);
    for (index_t j = 0; j < problem.n; j += strip) {
        basic_gemm_problem<T> part = problem;
        part.n = std::min(strip, problem.n - j);
        part.b += problem.transpose_b ? j * problem.ldb : j;
        part.c += j;
        if (part.bias != nullptr) part.bias += j;
        if (part.activation != nullptr) part.activation += j;
        part.sums = sums.data();
        part.ld_sums = strip;
        detail::gemm_on_threads(ctx, part, kernels);
    }
}

}  // namespace instar::ops::cpu

#endif
