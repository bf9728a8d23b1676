#ifndef INSTAR_CUDA_EMULATOR_OPTIONS_HPP
#define INSTAR_CUDA_EMULATOR_OPTIONS_HPP

// What a program may choose about the emulator.
//
//     instar::cuda_context ctx(0, {.order = instar::cuda::emulator::thread_order::shuffled, .seed = 7});
//     instar::cuda_context broken(0, {.fail_launch = 2});      // the second launch fails, as a device's may

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

    // Misfortune, so that tests can show what operators do then.
    std::size_t memory_bytes = std::size_t{1} << 34;    ///< the device's memory; bounds what operators take for temporaries
    int fail_allocation = 0;                            ///< the n-th allocation of a temporary fails; 0 = none
    int fail_launch = 0;                                ///< the n-th kernel launch or matrix product fails; 0 = none
    int compute_major = 8;                              ///< what the device reports
    int compute_minor = 0;
    /// Refuse arguments that are not device memory, as a device does. Off: tests may pass tensors of the host.
    bool check_memory = false;
};

}  // namespace instar::cuda::emulator

#endif
