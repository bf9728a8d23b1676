#ifndef INSTAR_CORE_PARALLEL_FOR_HPP
#define INSTAR_CORE_PARALLEL_FOR_HPP

// Loops on a context's threads, with results that do not depend on how many there are.
//
//     instar::parallel_for(ctx, n, 1024, [&](index_t begin, index_t end) { … });
//     double s = instar::parallel_sum<double>(ctx, n, 4096, [&](index_t begin, index_t end) { return …; });
//
// Ranges are cut at multiples of `grain`, whatever the number of threads; sums are added in the order of the ranges. parallel_kernel is
// the same for arithmetic in float: denormal numbers count as zero in its body.

#include <algorithm>
#include <memory>
#include <type_traits>
#include <vector>

#include <oneapi/tbb/blocked_range.h>
#include <oneapi/tbb/parallel_for.h>

#include "instar/core/cpu_context.hpp"
#include "instar/core/flush_denormals.hpp"

namespace instar {

namespace detail {

/// The loop itself, once for all bodies: oneTBB's templates are instantiated for this function alone, not anew for every loop of a
/// program, which is what a loop costs the compiler. `call` runs a body for one range: an indirect call a range.
inline void run_ranges(cpu_context& ctx, index_t n, index_t grain, void (*call)(void*, index_t, index_t), void* body) {
    ctx.arena().execute([=] {
        tbb::parallel_for(
            tbb::blocked_range<index_t>(0, (n + grain - 1) / grain, 1),
            [=](const tbb::blocked_range<index_t>& ranges) {
                for (index_t r = ranges.begin(); r < ranges.end(); ++r) call(body, r * grain, std::min(n, (r + 1) * grain));
            },
            tbb::auto_partitioner());
    });
}

}  // namespace detail

/// Calls f(begin, end) for consecutive ranges of `grain` indices that cover [0, n). Exceptions propagate.
/// Runs inline when there is one range or one thread.
template <class F>
void parallel_for(cpu_context& ctx, index_t n, index_t grain, F&& f) {
    if (n <= 0) return;
    grain = std::max<index_t>(grain, 1);
    const index_t n_ranges = (n + grain - 1) / grain;
    if (n_ranges == 1 || ctx.max_threads() == 1) {
        for (index_t r = 0; r < n_ranges; ++r) f(r * grain, std::min(n, (r + 1) * grain));
        return;
    }
    using body = std::remove_reference_t<F>;
    detail::run_ranges(ctx, n, grain, [](void* f_erased, index_t begin, index_t end) { (*static_cast<body*>(f_erased))(begin, end); },
                       const_cast<void*>(static_cast<const void*>(std::addressof(f))));
}

/// parallel_for in which denormal numbers count as zero (core/flush_denormals.hpp): what operators use.
template <class F>
void parallel_kernel(cpu_context& ctx, index_t n, index_t grain, F&& f) {
    parallel_for(ctx, n, grain, [&f](index_t begin, index_t end) {
        const flush_denormals zero;
        f(begin, end);
    });
}

/// Sum of f(begin, end) over ranges of `grain`, added in order: the same bits for any number of threads.
template <class Sum, class F>
Sum parallel_sum(cpu_context& ctx, index_t n, index_t grain, F&& f) {
    if (n <= 0) return Sum{};
    grain = std::max<index_t>(grain, 1);
    std::vector<Sum> parts(static_cast<std::size_t>((n + grain - 1) / grain));
    parallel_for(ctx, n, grain, [&](index_t begin, index_t end) { parts[static_cast<std::size_t>(begin / grain)] = f(begin, end); });
    Sum total{};
    for (const Sum& part : parts) total += part;
    return total;
}

}  // namespace instar

#endif
