#ifndef INSTAR_CUDA_EMULATOR_OPTIONS_HPP
#define INSTAR_CUDA_EMULATOR_OPTIONS_HPP

// What a program may choose about the emulator.
//
//     instar::cuda_context ctx(0, {.order = instar::cuda::emulator::thread_order::shuffled, .seed = 7});

#include <cstddef>
#include <cstdint>

namespace instar::cuda::emulator {

/// fixed: threads continue in the order they became able to, starting with thread 0: the same run every time.
/// shuffled: a random ready thread continues, blocks run in random order; the same for equal seeds. A correct kernel gives
/// the same bits in every order.
enum class thread_order { fixed, shuffled };

struct options {
    thread_order order = thread_order::fixed;
    std::uint64_t seed = 1;
    bool check_shared = true;                           ///< races and uninitialised reads; bounds are always checked
    std::size_t stack_bytes = std::size_t{256} << 10;   ///< of each emulated thread; only touched pages cost memory
};

}  // namespace instar::cuda::emulator

#endif
