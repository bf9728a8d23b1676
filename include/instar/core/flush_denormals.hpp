#ifndef INSTAR_CORE_FLUSH_DENORMALS_HPP
#define INSTAR_CORE_FLUSH_DENORMALS_HPP

// Denormal numbers count as zero while this lives, on this thread.
//
//     {
//         const flush_denormals zero;      // parallel_kernel and matrix products do this for what they run
//         kernel(y, x, n);
//     }
//
// Intel's processors stop for some 150 cycles at every denormal (below 1.2e-38): a matrix product of them was measured 137 times as slow
// as of other numbers, GELU 60 times. AMD's and ARM's do not, and elsewhere than on x86-64 nothing is done.

#include "instar/core/version.hpp"

namespace instar {

class flush_denormals {
public:
#if defined(__SSE2__)
    flush_denormals() noexcept : before_(__builtin_ia32_stmxcsr()) {
        constexpr unsigned k_results = 0x8000, k_inputs = 0x0040;  // flush to zero, denormals are zeros
        if ((before_ & (k_results | k_inputs)) != (k_results | k_inputs)) __builtin_ia32_ldmxcsr(before_ | k_results | k_inputs);
    }
    ~flush_denormals() { __builtin_ia32_ldmxcsr(before_); }
#else
    flush_denormals() noexcept {}
    ~flush_denormals() {}
#endif
    flush_denormals(const flush_denormals&) = delete;
    flush_denormals& operator=(const flush_denormals&) = delete;

private:
#if defined(__SSE2__)
    unsigned before_;
#endif
};

}  // namespace instar

#endif
