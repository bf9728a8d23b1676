#ifndef INSTAR_CUDA_EMULATOR_SHARED_STATE_HPP
#define INSTAR_CUDA_EMULATOR_SHARED_STATE_HPP

// The shared memory of the running block, with a record of who touched each element last.
//
// Two accesses of one element by different threads, at least one of them a write, race when nothing orders them: no
// __syncthreads between them, and, for threads of one warp, no __syncwarp either. Which one happens first in the emulator
// does not matter: both orders are seen.
//
// An asynchronous copy (cuda/async_copy.cuh) writes from the moment it begins until its thread waits for it: whoever touches
// its elements in between races with it, that thread included.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

namespace instar::cuda::emulator {

/// Who accesses, and when: the number of block barriers so far, and of warp barriers of the thread's own warp. Both go on
/// counting from block to block, so a new block finds every element untouched without clearing anything.
struct access_time {
    std::uint32_t first_epoch;  ///< of the running block
    std::uint32_t block_epoch;
    std::uint32_t warp_epoch;
    std::uint16_t warp;
    std::uint16_t lane;
};

enum class access { read, write, atomic, copy };  // copy: an asynchronous one begins

/// One shared array of the block: its bytes and one cell of history an element.
class shared_record {
public:
    shared_record(std::size_t n, std::size_t element_bytes, const char* element_name)
        : bytes_(n * element_bytes), cells_(n), element_bytes_(element_bytes), name_(element_name) {}

    std::size_t size() const noexcept { return cells_.size(); }
    std::size_t element_bytes() const noexcept { return element_bytes_; }
    bool has_shape(std::size_t n, std::size_t element_bytes) const noexcept { return size() == n && element_bytes_ == element_bytes; }
    std::byte* element(std::size_t i) noexcept { return bytes_.data() + i * element_bytes_; }
    std::string describe() const { return "shared array of " + std::to_string(cells_.size()) + " " + name_; }

    /// Notes the access and returns null when it is sound, else what is wrong with it. `other` is the thread it collides with.
    const char* note(std::size_t i, access kind, const access_time& now, std::int64_t& other) {
        cell& c = cells_[i];
        const bool same_epoch_write = c.write_epoch == now.block_epoch;
        other = -1;
        if (c.write_epoch < now.first_epoch) {
            if (kind == access::read || kind == access::atomic) return "uninitialised read";
        } else if (c.in_flight) {
            other = thread_of(c.writer_warp, c.writer_lane);
            return kind == access::read ? "race: read of what an asynchronous copy writes" : "race: write of what an asynchronous copy writes";
        } else if (same_epoch_write && !(kind == access::atomic && c.written_by_atomic)) {
            if (!ordered(c.writer_warp, c.writer_lane, c.write_warp_epoch, now)) {
                other = thread_of(c.writer_warp, c.writer_lane);
                return kind == access::read ? "race: read of what another thread writes" : "race: two threads write";
            }
        }
        if (kind != access::read) {
            if (c.read_epoch == now.block_epoch && !ordered(c.reader_warp, c.reader_lane, c.read_warp_epoch, now)) {
                other = thread_of(c.reader_warp, c.reader_lane);
                return "race: write of what another thread reads";
            }
            c.write_epoch = now.block_epoch;
            c.write_warp_epoch = now.warp_epoch;
            c.writer_warp = now.warp;
            c.writer_lane = now.lane;
            c.written_by_atomic = kind == access::atomic;
            c.in_flight = kind == access::copy;
            return nullptr;
        }
        if (c.read_epoch != now.block_epoch) {
            c.read_epoch = now.block_epoch;
            c.reader_warp = now.warp;
            c.reader_lane = now.lane;
        } else if (c.reader_warp != now.warp) {
            c.reader_warp = k_several;
        } else if (c.read_warp_epoch != now.warp_epoch) {
            c.reader_lane = now.lane;
        } else if (c.reader_lane != now.lane) {
            c.reader_lane = k_several;
        }
        c.read_warp_epoch = now.warp_epoch;
        return nullptr;
    }

    /// The copy into element i has arrived: a write of its thread now.
    void note_arrival(std::size_t i, const access_time& now) {
        cell& c = cells_[i];
        c.in_flight = false;
        c.write_epoch = now.block_epoch;
        c.write_warp_epoch = now.warp_epoch;
    }

private:
    static constexpr std::uint32_t k_never = 0;  // epochs start at 1
    static constexpr std::uint16_t k_several = 0xffff;

    struct cell {
        std::uint32_t write_epoch = k_never;
        std::uint32_t write_warp_epoch = 0;
        std::uint32_t read_epoch = k_never;
        std::uint32_t read_warp_epoch = 0;
        std::uint16_t writer_warp = 0;
        std::uint16_t writer_lane = 0;
        std::uint16_t reader_warp = 0;
        std::uint16_t reader_lane = 0;
        bool written_by_atomic = false;
        bool in_flight = false;  ///< by an asynchronous copy that the writer has not waited for
    };

    /// An earlier access of this barrier interval by (warp, lane) comes before the one now: the same thread's own, or one of
    /// the same warp with a warp barrier in between.
    static bool ordered(std::uint16_t warp, std::uint16_t lane, std::uint32_t warp_epoch, const access_time& now) {
        return warp == now.warp && (lane == now.lane || warp_epoch != now.warp_epoch);
    }
    static std::int64_t thread_of(std::uint16_t warp, std::uint16_t lane) {
        return warp == k_several || lane == k_several ? -1 : std::int64_t{warp} * 32 + lane;
    }

    std::vector<std::byte> bytes_;
    std::vector<cell> cells_;
    std::size_t element_bytes_;
    const char* name_;
};

/// All shared arrays of the running block. Dynamic ones are known by the order in which a thread takes them, static ones by
/// the address of a variable at their definition.
class shared_state {
public:
    void begin_launch(std::size_t dynamic_bytes) {
        dynamic_bytes_ = dynamic_bytes;
        static_.clear();
    }
    void begin_block() noexcept { dynamic_count_ = dynamic_used_ = 0; }
    std::size_t dynamic_bytes() const noexcept { return dynamic_bytes_; }
    std::size_t dynamic_used() const noexcept { return dynamic_used_; }

    /// The index-th dynamic array; made by the first thread that asks. Null when the block has too few bytes.
    shared_record* dynamic_array(std::size_t index, std::size_t n, std::size_t element_bytes, const char* name) {
        if (index < dynamic_count_) return &dynamic_[index];
        const std::size_t bytes = (n * element_bytes + 15) / 16 * 16;
        if (dynamic_used_ + bytes > dynamic_bytes_) return nullptr;
        dynamic_used_ += bytes;
        ++dynamic_count_;
        if (index == dynamic_.size()) return &dynamic_.emplace_back(n, element_bytes, name);
        if (!dynamic_[index].has_shape(n, element_bytes)) dynamic_[index] = shared_record(n, element_bytes, name);
        return &dynamic_[index];
    }
    shared_record* static_array(const void* place, std::size_t n, std::size_t element_bytes, const char* name) {
        for (static_entry& e : static_) {
            if (e.place == place) return &e.record;
        }
        return &static_.emplace_back(static_entry{place, shared_record(n, element_bytes, name)}).record;
    }

private:
    struct static_entry {
        const void* place;
        shared_record record;
    };
    std::deque<shared_record> dynamic_;  // deques: records stay where they are
    std::deque<static_entry> static_;
    std::size_t dynamic_count_ = 0;
    std::size_t dynamic_bytes_ = 0;
    std::size_t dynamic_used_ = 0;
};

}  // namespace instar::cuda::emulator

#endif
