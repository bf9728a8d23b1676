#ifndef INSTAR_CUDA_EMULATOR_DEVICE_HEAP_HPP
#define INSTAR_CUDA_EMULATOR_DEVICE_HEAP_HPP

// What an emulated program holds of device memory and of pinned host memory. Both are host memory, so only this list can tell
// a device's pointer from another, and count what was not given back.
//
//     const auto before = device_heap::live(memory_kind::device);
//     …
//     CHECK(device_heap::live(memory_kind::device) == before);
//
// One list a process, as a process sees one device. Any thread may call.

#include <cstddef>
#include <functional>
#include <map>
#include <mutex>

namespace instar::cuda::emulator {

enum class memory_kind { device, pinned };

class device_heap {
public:
    static constexpr std::size_t k_device_bytes = std::size_t{1} << 34;  ///< the emulated device's memory

    static void add(const void* p, std::size_t bytes, memory_kind kind) {
        if (p == nullptr) return;
        const std::lock_guard lock(state().mutex);
        state().blocks[static_cast<const std::byte*>(p)] = {bytes, kind};
        ++state().live[static_cast<int>(kind)];
        if (kind == memory_kind::device) state().device_bytes += bytes;
    }
    static void remove(const void* p) noexcept {
        if (p == nullptr) return;
        const std::lock_guard lock(state().mutex);
        const auto place = state().blocks.find(static_cast<const std::byte*>(p));
        if (place == state().blocks.end()) return;
        --state().live[static_cast<int>(place->second.kind)];
        if (place->second.kind == memory_kind::device) state().device_bytes -= place->second.bytes;
        state().blocks.erase(place);
    }
    /// Whether p points into a block of this kind.
    static bool holds(const void* p, memory_kind kind) {
        const auto* const address = static_cast<const std::byte*>(p);
        const std::lock_guard lock(state().mutex);
        auto place = state().blocks.upper_bound(address);
        if (place == state().blocks.begin()) return false;
        --place;
        return place->second.kind == kind && address < place->first + place->second.bytes;
    }
    static std::size_t free_device_bytes() {
        const std::lock_guard lock(state().mutex);
        return k_device_bytes - state().device_bytes;
    }
    /// Number of blocks that nobody has given back.
    static std::size_t live(memory_kind kind) {
        const std::lock_guard lock(state().mutex);
        return state().live[static_cast<int>(kind)];
    }

private:
    struct block {
        std::size_t bytes;
        memory_kind kind;
    };
    struct heap {
        std::mutex mutex;
        std::map<const std::byte*, block, std::less<>> blocks;
        std::size_t live[2] = {};
        std::size_t device_bytes = 0;
    };
    static heap& state() {
        static heap& only = *new heap;  // never destroyed: a tensor of static duration gives its memory back later
        return only;
    }
};

/// Set while this thread replays a graph (cuda/graph.hpp), where a device allows neither waiting nor allocating.
inline thread_local constinit bool graph_running = false;

}  // namespace instar::cuda::emulator

#endif
