#ifndef INSTAR_CORE_MEMORY_HPP
#define INSTAR_CORE_MEMORY_HPP

// Where tensors live, and the bump allocator that gives a training step its memory.
//
//     instar::arena<> scratch;                       // on the host
//     scratch.measure();                             // dry run: counts, hands out null
//     take_everything(scratch);
//     scratch.commit();                              // one allocation of exactly that size
//     take_everything(scratch);                      // real memory, no allocation from here on
//
// host_memory aligns to 64 bytes (a cache line, an AVX-512 register) and asks for huge pages above 4 MiB.

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "instar/core/tensor_view.hpp"

namespace instar {

/// Host memory, 64-byte aligned. The model of the Memory policy: allocate, deallocate, zero.
struct host_memory {
    static constexpr std::size_t k_alignment = 64;

    static void* allocate(std::size_t bytes) {
        if (bytes == 0) return nullptr;
        constexpr std::size_t k_huge = std::size_t{2} << 20;
        const bool huge = bytes >= 2 * k_huge;
        const std::size_t alignment = huge ? k_huge : k_alignment;
        const std::size_t rounded = (bytes + alignment - 1) / alignment * alignment;
        if (rounded < bytes) throw memory_error("allocation of " + std::to_string(bytes) + " bytes overflows");
        void* p = std::aligned_alloc(alignment, rounded);
        if (p == nullptr) throw memory_error("cannot allocate " + std::to_string(bytes) + " bytes of host memory");
#if defined(__linux__) && defined(MADV_HUGEPAGE)
        // Advice only: with 4 KiB pages a training step spends a visible share of its time in TLB misses.
        if (huge) (void)madvise(p, rounded, MADV_HUGEPAGE);
#endif
        return p;
    }
    static void deallocate(void* p, std::size_t) noexcept { std::free(p); }
    static void zero(void* p, std::size_t bytes) noexcept {
        if (bytes) std::memset(p, 0, bytes);
    }
};

/// Owning block of raw memory of a Memory policy. Move only.
template <class Memory = host_memory>
class memory_block {
public:
    memory_block() = default;
    explicit memory_block(std::size_t bytes) : data_(Memory::allocate(bytes)), bytes_(bytes) {}
    memory_block(memory_block&& o) noexcept : data_(std::exchange(o.data_, nullptr)), bytes_(std::exchange(o.bytes_, 0)) {}
    memory_block& operator=(memory_block&& o) noexcept {
        if (this != &o) {
            release();
            data_ = std::exchange(o.data_, nullptr);
            bytes_ = std::exchange(o.bytes_, 0);
        }
        return *this;
    }
    memory_block(const memory_block&) = delete;
    memory_block& operator=(const memory_block&) = delete;
    ~memory_block() { release(); }

    void* data() const noexcept { return data_; }
    std::size_t bytes() const noexcept { return bytes_; }

private:
    void release() noexcept {
        if (data_) Memory::deallocate(data_, bytes_);
        data_ = nullptr;
        bytes_ = 0;
    }
    void* data_ = nullptr;
    std::size_t bytes_ = 0;
};

/// Bump allocator: measure, commit, then take without allocating. `mark`/`rewind` reuse memory of phases that are over.
template <class Memory = host_memory>
class arena {
public:
    /// Forgets everything taken and starts a dry run: `take` returns null views and counts bytes.
    void measure() {
        measuring_ = true;
        used_ = peak_ = 0;
    }
    /// Ends the dry run: makes room for all that was counted. Keeps the block when it is large enough already.
    void commit() {
        measuring_ = false;
        used_ = 0;
        if (peak_ > block_.bytes()) {
            block_ = memory_block<Memory>{};
            block_ = memory_block<Memory>(peak_);
        }
    }
    /// Hands out everything again; views taken before become invalid.
    void reset() noexcept { used_ = 0; }

    template <class T, int Rank>
    tensor_view<T, Rank> take(const index_t (&extents)[Rank]) {
        index_t n = 1;
        for (int d = 0; d < Rank; ++d) n *= extents[d];
        const std::size_t begin = used_;
        used_ += (static_cast<std::size_t>(n) * sizeof(T) + 63) / 64 * 64;
        peak_ = used_ > peak_ ? used_ : peak_;
        if (measuring_) return tensor_view<T, Rank>(nullptr, extents);
        if (used_ > block_.bytes()) {
            throw memory_error("arena: " + std::to_string(used_) + " bytes asked for, " +
                               std::to_string(block_.bytes()) + " committed");
        }
        return tensor_view<T, Rank>(reinterpret_cast<T*>(static_cast<std::byte*>(block_.data()) + begin), extents);
    }

    std::size_t mark() const noexcept { return used_; }
    void rewind(std::size_t mark) noexcept { used_ = mark; }
    bool measuring() const noexcept { return measuring_; }
    std::size_t peak_bytes() const noexcept { return peak_; }
    std::size_t committed_bytes() const noexcept { return block_.bytes(); }

private:
    memory_block<Memory> block_;
    std::size_t used_ = 0;
    std::size_t peak_ = 0;
    bool measuring_ = false;
};

}  // namespace instar

#endif
