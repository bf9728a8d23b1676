#ifndef INSTAR_BENCHMARKS_ROOFLINE_HPP
#define INSTAR_BENCHMARKS_ROOFLINE_HPP

// What this machine can do at most, measured once a process, so that a benchmark can print its share of it.
//
//     cpu_context ctx;
//     for (auto _ : state) ops::gemm<float>(ctx, c, a, b);
//     bench::report(state, ctx, {.flop = 2.0 * m * n * k});               // GFLOP/s and %_of_peak
//     bench::report(state, ctx, {.bytes = 2.0 * n * sizeof(float)});      // GB/s and %_of_triad
//
// Peak: fused multiply-adds in registers, all threads at once. Triad: a = b + s·c, counting 12 bytes an element (STREAM's way; a
// store that first reads its line moves 16), over as many bytes as the work touches, at least 48 MiB a thread and at most 1 GiB: a
// third-level cache of hundreds of MiB holds part of a smaller one, and its speed is no limit for a larger one. The best of several
// short runs: what the machine can do, not what it does while others use it. Use ->UseRealTime() on benchmarks of several threads.
//
// The clock of a machine that is shared moves from second to second (by an eighth on one Xeon), so the peak is measured once more when a
// benchmark ends, for 20 ms: %_of_peak_then is the share of that, what the code makes of the clock it was given.

#include <algorithm>
#include <chrono>
#include <map>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>

#include "instar/core/cpu_context.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/core/tensor.hpp"
#include "instar/ops/cpu/simd/peak.hpp"

namespace instar::bench {

struct roofline {
    double gflops = 0.0;    ///< float multiply-adds, 10⁹ FLOP a second
    double triad_gbs = 0.0;  ///< 10⁹ bytes a second, over 48 MiB a thread
};

namespace detail {

inline double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

/// 10⁹ multiply-adds' FLOP a second of all threads, each at its best of `runs` runs of 4 ms.
inline double measure_peak(cpu_context& ctx, int runs) {
    const index_t threads = ctx.max_threads();
    // Each thread times itself, and its best run counts: a machine that is shared still shows its limit.
    std::vector<double> rate(static_cast<std::size_t>(threads));
    for (int run = 0; run < runs; ++run) {
        parallel_for(ctx, threads, 1, [&](index_t begin, index_t end) {
            for (index_t t = begin; t < end; ++t) {
                double flop = 0.0;
                const double start = seconds();
                benchmark::DoNotOptimize(INSTAR_SIMD_PICK(peak_fma)(300'000, &flop));
                double& r = rate[static_cast<std::size_t>(t)];
                r = std::max(r, flop / (seconds() - start));
            }
        });
    }
    double sum = 0.0;
    for (const double r : rate) sum += r * 1e-9;
    return sum;
}

/// Triad over `bytes`, 10⁹ bytes a second.
inline double measure_triad(cpu_context& ctx, index_t bytes) {
    const index_t n = bytes / 12, grain = index_t{1} << 16;
    double best = 0.0;
    tensor<float, 1> a({n}), b({n}), c({n});
    for (int run = 0; run < 10; ++run) {
        const double start = seconds();
        parallel_for(ctx, n, grain, [&](index_t begin, index_t end) {
            INSTAR_SIMD_PICK(triad)(a.data() + begin, b.data() + begin, c.data() + begin, 3.0f, end - begin);
        });
        best = std::max(best, 12.0 * static_cast<double>(n) / (seconds() - start) * 1e-9);
    }
    return best;
}

}  // namespace detail

/// Of the context's threads, over the bytes that a work touches; measured once for each 32 MiB.
inline double machine_triad(cpu_context& ctx, double bytes) {
    static std::map<std::pair<int, index_t>, double> measured;
    constexpr index_t k_step = index_t{32} << 20;
    const index_t least = (index_t{48} << 20) * ctx.max_threads();
    const index_t rounded = std::clamp(static_cast<index_t>(bytes) / k_step * k_step, least, std::max(least, index_t{1} << 30));
    auto [place, is_new] = measured.try_emplace({ctx.max_threads(), rounded});
    if (is_new) place->second = detail::measure_triad(ctx, rounded);
    return place->second;
}

/// Of the context's threads at the active instruction set. Takes a quarter of a second the first time.
inline roofline machine_roofline(cpu_context& ctx) {
    static std::map<int, roofline> measured;
    auto [place, is_new] = measured.try_emplace(ctx.max_threads());
    if (is_new) {
        place->second.gflops = detail::measure_peak(ctx, 60);
        place->second.triad_gbs = machine_triad(ctx, 0.0);
    }
    return place->second;
}

/// What one iteration of a benchmark does. Zeros are not reported.
struct work {
    double flop = 0.0;
    double bytes = 0.0;
    double footprint = 0.0;  ///< bytes of the arguments, where one is read and written; 0 = bytes
};

/// Sets the counters, after the loop.
inline void report(benchmark::State& state, cpu_context& ctx, work w) {
    using benchmark::Counter;
    const roofline r = machine_roofline(ctx);
    const auto n = static_cast<double>(state.iterations());
    if (w.flop > 0.0) {
        state.counters["GFLOP/s"] = Counter(w.flop * n * 1e-9, Counter::kIsRate);
        state.counters["%_of_peak"] = Counter(w.flop * n * 1e-7 / r.gflops, Counter::kIsRate);
        state.counters["peak"] = r.gflops;
        const double then = detail::measure_peak(ctx, 5);
        state.counters["%_of_peak_then"] = Counter(w.flop * n * 1e-7 / then, Counter::kIsRate);
        state.counters["peak_then"] = then;
    }
    if (w.bytes > 0.0) {
        state.counters["GB/s"] = Counter(w.bytes * n * 1e-9, Counter::kIsRate);
        const double triad = machine_triad(ctx, w.footprint > 0.0 ? w.footprint : w.bytes);
        state.counters["%_of_triad"] = Counter(w.bytes * n * 1e-7 / triad, Counter::kIsRate);
        state.counters["triad"] = triad;
    }
}

}  // namespace instar::bench

#endif
