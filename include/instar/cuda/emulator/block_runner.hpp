#ifndef INSTAR_CUDA_EMULATOR_BLOCK_RUNNER_HPP
#define INSTAR_CUDA_EMULATOR_BLOCK_RUNNER_HPP

// Runs the threads of one CUDA block as fibers, one block after the other.
//
//     block_runner runner(options{});
//     runner.launch({n_blocks, 1, 1}, {256, 1, 1}, shared_bytes, [](void* call) { … }, &call);
//
// A thread runs until it has to wait: at __syncthreads for its block, at a warp collective for the lanes of its mask. Then
// the next ready thread continues. When nobody can, or somebody has left, the launch throws device_error and says who waits
// where. The names that kernels use are in emulator/intrinsics.hpp.

#include <algorithm>
#include <array>
#include <cstring>
#include <exception>
#include <memory>
#include <source_location>
#include <vector>

#include "instar/core/philox.hpp"
#include "instar/cuda/emulator/fiber.hpp"
#include "instar/cuda/emulator/options.hpp"
#include "instar/cuda/emulator/shared_state.hpp"
#include "instar/cuda/grid.hpp"

namespace instar::cuda::emulator {

class block_runner;

/// The runner whose fibers this host thread runs now; null outside kernels.
inline thread_local constinit block_runner* running_block = nullptr;

}  // namespace instar::cuda::emulator

namespace instar::cuda {

// What a kernel asks for. Set at every switch, so reading one costs what reading a variable costs.
inline thread_local constinit extent3 threadIdx{};
inline thread_local constinit extent3 blockIdx{};
inline thread_local constinit extent3 blockDim{};
inline thread_local constinit extent3 gridDim{};

}  // namespace instar::cuda

namespace instar::cuda::emulator {

/// Thrown into the fibers of a block that has failed, so that they unwind.
struct block_cancelled {};

class block_runner {
public:
    using kernel_call = void (*)(void*);
    using location = std::source_location;
    static constexpr unsigned k_max_threads = 1024;  // of a block
    static constexpr std::size_t k_slot_bytes = 48;  // mma.sync brings ten registers

    /// A lane's part of a collective.
    struct lane_slot {
        std::uint32_t mask = 0;
        const char* kind = "";
        int source = 0;
        alignas(8) std::array<std::byte, k_slot_bytes> brought{}, result{};
    };
    struct warp {
        std::uint32_t arrived = 0;  ///< lanes that wait in a collective
        std::uint32_t done = 0;     ///< lanes that have exited
        std::uint32_t epoch = 0;    ///< completed __syncwarp of the whole warp
        std::array<lane_slot, 32> lanes{};
    };
    using completion = void (*)(const block_runner&, warp&, std::uint32_t mask);

    explicit block_runner(const options& o) : options_(o), random_{.seed = o.seed, .stream = 0} {}
    block_runner(const block_runner&) = delete;
    block_runner& operator=(const block_runner&) = delete;
    ~block_runner() {
        quitting_ = true;
        for (const auto& t : threads_) {
            if (t->waits == waiting::done) fiber::jump(main_, t->f);  // it has run at least once, so it has something to end
        }
    }

    /// Throws when options.fail_launch asks for it: called for each kernel launch and matrix product.
    void begin_call() {
        if (++n_calls_ == options_.fail_launch) throw device_error("launch " + std::to_string(n_calls_) + " fails, as options.fail_launch asks");
    }

    /// Runs call(argument) for every thread of every block. Throws device_error with block, thread and place of what failed.
    void launch(extent3 grid, extent3 block, std::size_t shared_bytes, kernel_call call, void* argument) {
        begin_call();
        if (running_block != nullptr) throw device_error("emulator: a kernel may not launch another");
        const std::size_t n_threads = std::size_t{block.x} * block.y * block.z;
        if (n_threads < 1 || n_threads > k_max_threads) {
            throw device_error("emulator: a block of " + std::to_string(n_threads) + " threads, expected 1 to 1024");
        }
        call_ = call;
        argument_ = argument;
        block_dim_ = block;
        n_threads_ = static_cast<int>(n_threads);
        while (threads_.size() < n_threads) {
            threads_.push_back(std::make_unique<thread>(options_.stack_bytes, &block_runner::thread_main, this, threads_.size()));
        }
        warps_.assign((n_threads + 31) / 32, warp{});
        shared_.begin_launch(shared_bytes);
        const std::uint64_t n_blocks = std::uint64_t{grid.x} * grid.y * grid.z;
        const scope entered(this, grid, block);
        if (options_.order == thread_order::fixed) {
            for (std::uint64_t b = 0; b < n_blocks; ++b) run_block(grid, b);
        } else {
            std::vector<std::uint64_t> blocks(n_blocks);
            for (std::uint64_t b = 0; b < n_blocks; ++b) blocks[b] = b;
            for (std::uint64_t b = n_blocks; b > 1; --b) std::swap(blocks[b - 1], blocks[random_below(static_cast<std::uint32_t>(b))]);
            for (const std::uint64_t b : blocks) run_block(grid, b);
        }
    }

    // --- called by kernels, through intrinsics.hpp and shared_array -----------------------------------------------------

    void block_barrier(const location& where) {
        if (n_done_ > 0) fail("divergent barrier: " + thread_name(first_done_) + " has exited, so " + at(where) + " cannot be complete");
        if (n_at_barrier_ > 0 && !same_place(where, barrier_where_)) {
            fail("divergent barrier: " + at(where) + ", while " + std::to_string(n_at_barrier_) + " threads wait at " + at(barrier_where_));
        }
        barrier_where_ = where;
        if (++n_at_barrier_ == n_threads_) {
            n_at_barrier_ = 0;
            ++block_epoch_;
            for (int t = 0; t < n_threads_; ++t) {
                if (t != current_) make_ready(t);
            }
            return;
        }
        thread& self = *threads_[index(current_)];
        self.waits = waiting::block;
        self.where = where;
        wait();
    }

    /// Every lane of `mask` brings a value of at most k_slot_bytes and waits for the others; when the last has come,
    /// `complete` turns what they brought into each lane's result. `kind` names the collective: lanes that meet must call the
    /// same one. `source` is the lane an exchange reads from.
    const std::byte* warp_collective(const char* kind, std::uint32_t mask, const void* value, std::size_t bytes, int source,
                                     completion complete, const location& where) {
        const int w = current_ / 32, lane = current_ % 32;
        warp& mine = warps_[index(w)];
        lane_slot& slot = mine.lanes[index(lane)];
        const std::uint32_t bit = std::uint32_t{1} << lane;
        const auto call = [&] { return std::string(kind) + " at " + at(where) + " with mask " + hex(mask); };
        if ((mask & bit) == 0) fail(call() + ": the calling lane is not in the mask");
        if ((mask & ~existing_lanes(w)) != 0) fail(call() + ": the block has no such lanes");
        if ((mask & mine.done) != 0) fail("divergent " + call() + ": lanes " + hex(mask & mine.done) + " have exited");
        if (bytes > 0) std::memcpy(slot.brought.data(), value, bytes);
        slot.mask = mask;
        slot.kind = kind;
        slot.source = source;
        mine.arrived |= bit;
        if ((mine.arrived & mask) != mask) {
            thread& self = *threads_[index(current_)];
            self.waits = waiting::warp;
            self.where = where;
            wait();
            return slot.result.data();
        }
        for (int l = 0; l < 32; ++l) {
            if ((mask >> l & 1u) == 0) continue;
            const lane_slot& other = mine.lanes[index(l)];
            // The same literal may have two addresses in two translation units.
            if (other.mask != mask || (other.kind != kind && std::strcmp(other.kind, kind) != 0)) {
                fail("divergent " + call() + ": lane " + std::to_string(l) + " is in " + other.kind + " with mask " + hex(other.mask));
            }
        }
        mine.arrived &= ~mask;
        complete(*this, mine, mask);
        for (int l = 0; l < 32; ++l) {
            if ((mask >> l & 1u) != 0 && l != lane) make_ready(w * 32 + l);
        }
        return slot.result.data();
    }

    // What `complete` may be.
    static void order_memory(const block_runner& runner, warp& w, std::uint32_t mask) {
        if (mask == runner.existing_lanes(runner.current_ / 32)) ++w.epoch;
    }
    static void exchange(const block_runner& runner, warp& w, std::uint32_t mask) {
        for (int l = 0; l < 32; ++l) {
            if ((mask >> l & 1u) == 0) continue;
            lane_slot& slot = w.lanes[index(l)];
            if ((mask >> slot.source & 1u) == 0) {
                runner.fail(std::string(slot.kind) + ": lane " + std::to_string(l) + " reads lane " + std::to_string(slot.source) +
                            ", which is not in the mask " + hex(mask));
            }
            slot.result = w.lanes[index(slot.source)].brought;
        }
    }
    static void vote(const block_runner&, warp& w, std::uint32_t mask) {
        std::uint32_t votes = 0;
        for (int l = 0; l < 32; ++l) {
            if ((mask >> l & 1u) != 0 && w.lanes[index(l)].brought[0] != std::byte{0}) votes |= std::uint32_t{1} << l;
        }
        for (int l = 0; l < 32; ++l) {
            if ((mask >> l & 1u) != 0) std::memcpy(w.lanes[index(l)].result.data(), &votes, sizeof votes);
        }
    }

    int lane() const noexcept { return current_ % 32; }
    std::uint32_t existing_lanes(int warp_index) const noexcept {
        const int n = std::min(32, n_threads_ - warp_index * 32);
        return n == 32 ? 0xffffffffu : (std::uint32_t{1} << n) - 1u;
    }

    shared_state& shared() noexcept { return shared_; }
    void note_access(shared_record& record, std::size_t i, access kind, const location& where) {
        if (!options_.check_shared) return;
        std::int64_t other = -1;
        const char* wrong = record.note(i, kind, now(), other);
        if (wrong == nullptr) return;
        std::string message = std::string(wrong) + ", element " + std::to_string(i) + " of a " + record.describe();
        if (other >= 0) message += ", the other is " + thread_name(static_cast<int>(other));
        fail(message + ", at " + at(where));
    }

    // Asynchronous copies (cuda/async_copy.cuh). The bytes are taken when the copy begins and are in shared memory when its thread
    // has waited for the group; in between nobody may touch the elements. A device may do it at any time between the two.
    static constexpr std::size_t k_copy_bytes = 16;
    using copy_bytes = std::array<std::byte, k_copy_bytes>;

    void begin_copy(shared_record& record, std::size_t first, const copy_bytes& bytes, const location& where) {
        for (std::size_t i = 0; i < k_copy_bytes / record.element_bytes(); ++i) note_access(record, first + i, access::copy, where);
        thread& self = *threads_[index(current_)];
        self.copies.push_back({&record, first, self.n_groups, bytes});
    }
    void commit_group() { ++threads_[index(current_)]->n_groups; }
    /// Copies arrive, but for those of the thread's last `n_pending` groups, and those that it has not committed.
    void wait_group(std::uint32_t n_pending) {
        thread& self = *threads_[index(current_)];
        auto arrived = self.copies.begin();
        for (; arrived != self.copies.end() && arrived->group + n_pending < self.n_groups; ++arrived) {
            shared_record& record = *arrived->record;
            std::memcpy(record.element(arrived->first), arrived->bytes.data(), k_copy_bytes);
            for (std::size_t i = 0; i < k_copy_bytes / record.element_bytes(); ++i) record.note_arrival(arrived->first + i, now());
        }
        self.copies.erase(self.copies.begin(), arrived);
    }

    /// Ends the launch: the message gets block and thread in front.
    [[noreturn]] void fail(const std::string& message) const {
        const extent3 b = blockIdx;
        throw device_error("block (" + std::to_string(b.x) + ", " + std::to_string(b.y) + ", " + std::to_string(b.z) + "), " +
                           thread_name(current_) + ": " + message);
    }

    /// "layer_norm.cuh:42"
    static std::string at(const location& where) {
        const char* name = std::strrchr(where.file_name(), '/');
        return std::string(name != nullptr ? name + 1 : where.file_name()) + ":" + std::to_string(where.line());
    }

private:
    static std::size_t index(int i) noexcept { return static_cast<std::size_t>(i); }

    enum class waiting { no, block, warp, done };

    struct copy_in_flight {
        shared_record* record;
        std::size_t first;  ///< element
        std::uint32_t group;
        copy_bytes bytes;
    };
    struct thread {
        fiber f;
        waiting waits = waiting::no;
        location where{};
        extent3 position{};
        bool started = false;
        std::vector<copy_in_flight> copies;  ///< in the order in which they began
        std::uint32_t n_groups = 0;          ///< that the thread has committed
        thread(std::size_t stack_bytes, fiber::function run, void* runner, std::size_t i) : f(stack_bytes, run, runner, i) {}
    };
    /// The kernel-visible variables of this host thread, for the time of a launch.
    struct scope {
        scope(block_runner* r, extent3 grid, extent3 block) {
            running_block = r;
            gridDim = grid;
            blockDim = block;
        }
        ~scope() { running_block = nullptr; }
        scope(const scope&) = delete;
        scope& operator=(const scope&) = delete;
    };

    void run_block(extent3 grid, std::uint64_t b) {
        blockIdx = {static_cast<unsigned>(b % grid.x), static_cast<unsigned>(b / grid.x % grid.y),
                    static_cast<unsigned>(b / grid.x / grid.y)};
        n_at_barrier_ = n_done_ = 0;
        first_epoch_ = ++block_epoch_;
        shared_.begin_block();
        for (warp& w : warps_) w.arrived = w.done = 0;
        n_ready_ = first_ready_ = 0;
        failure_ = nullptr;
        for (int t = 0; t < n_threads_; ++t) {
            thread& each = *threads_[index(t)];
            each.waits = waiting::no;
            each.started = false;
            each.copies.clear();
            each.n_groups = 0;
            const auto u = static_cast<unsigned>(t);
            each.position = {u % block_dim_.x, u / block_dim_.x % block_dim_.y, u / block_dim_.x / block_dim_.y};
            make_ready(t);
        }
        continue_ready(main_);
        // Back here: all are done, or one failed, or the rest wait for what cannot come.
        if (!failure_ && n_done_ < n_threads_) failure_ = std::make_exception_ptr(device_error(describe_deadlock()));
        if (!failure_) return;
        const std::exception_ptr failure = failure_;
        unwind();
        std::rethrow_exception(failure);
    }

    /// Continues every suspended fiber with an exception, so that its stack is left in order.
    void unwind() {
        cancelling_ = true;
        for (int t = 0; t < n_threads_; ++t) {
            thread& each = *threads_[index(t)];
            if (each.waits == waiting::done || !each.started) continue;
            current_ = t;
            fiber::jump(main_, each.f);
        }
        cancelling_ = false;
    }

    /// A fiber's life: one kernel call for each block in which it has a part.
    static fiber* thread_main(void* runner) {
        auto& self = *static_cast<block_runner*>(runner);
        thread& me = *self.threads_[index(self.current_)];
        while (!self.quitting_) {
            me.started = true;
            threadIdx = me.position;
            try {
                self.call_(self.argument_);
                self.check_exit();
            } catch (const block_cancelled&) {
            } catch (...) {
                if (!self.failure_) self.failure_ = std::current_exception();
            }
            self.leave(me);
        }
        return &self.main_;
    }

    /// A thread that ends while others of its block wait for it is the other half of a divergent barrier. One that leaves copies
    /// behind has forgotten to wait for them.
    void check_exit() {
        if (const std::size_t n = threads_[index(current_)]->copies.size(); n > 0) {
            fail("the thread exits without having waited for its asynchronous copies (" + std::to_string(n) + ")");
        }
        if (n_at_barrier_ > 0) {
            fail("divergent barrier: the thread exits while " + std::to_string(n_at_barrier_) + " threads wait at " + at(barrier_where_));
        }
    }

    /// The thread's kernel call is over; returns when its next block begins.
    void leave(thread& me) {
        me.waits = waiting::done;
        if (n_done_++ == 0) first_done_ = current_;
        warps_[index(current_ / 32)].done |= std::uint32_t{1} << (current_ % 32);
        if (cancelling_ || failure_ || n_ready_ == 0) {
            fiber::jump(me.f, main_);
        } else {
            continue_ready(me.f);
        }
    }

    // Ready threads form a ring; each is in it at most once.
    void make_ready(int t) {
        threads_[index(t)]->waits = waiting::no;
        ready_[(first_ready_ + n_ready_++) % k_max_threads] = t;
    }
    thread& take_ready() {
        int& first = ready_[first_ready_];
        if (options_.order == thread_order::shuffled) std::swap(first, ready_[(first_ready_ + random_below(n_ready_)) % k_max_threads]);
        current_ = first;
        first_ready_ = (first_ready_ + 1) % k_max_threads;
        --n_ready_;
        return *threads_[index(current_)];
    }
    void continue_ready(fiber& from) { fiber::jump(from, take_ready().f); }

    /// The current thread waits; others run. Returns when it is ready and its turn has come.
    void wait() {
        const int self = current_;
        thread& me = *threads_[index(self)];
        if (n_ready_ == 0) {
            fiber::jump(me.f, main_);  // nobody can go on
        } else {
            continue_ready(me.f);
        }
        if (cancelling_) throw block_cancelled{};
        threadIdx = me.position;
    }

    access_time now() const {
        const auto w = static_cast<std::uint16_t>(current_ / 32);
        return {first_epoch_, block_epoch_, warps_[w].epoch, w, static_cast<std::uint16_t>(current_ % 32)};
    }

    std::uint32_t random_below(std::uint32_t n) { return random_.below(random_index_++, n); }

    static bool same_place(const location& a, const location& b) noexcept {
        return a.line() == b.line() && a.column() == b.column() && std::strcmp(a.file_name(), b.file_name()) == 0;
    }
    static std::string hex(std::uint32_t mask) {
        std::string s = "0x";
        for (int shift = 28; shift >= 0; shift -= 4) s += "0123456789abcdef"[mask >> shift & 15u];
        return s;
    }
    std::string thread_name(int t) const {
        const extent3 p = threads_[index(t)]->position;
        return "thread (" + std::to_string(p.x) + ", " + std::to_string(p.y) + ", " + std::to_string(p.z) + ")";
    }
    /// Nobody can go on: one waiting thread of each kind is named.
    std::string describe_deadlock() const {
        std::string s = "block (" + std::to_string(blockIdx.x) + ", " + std::to_string(blockIdx.y) + ", " + std::to_string(blockIdx.z) +
                        "): divergent barrier, no thread can go on";
        for (const waiting kind : {waiting::block, waiting::warp}) {
            int n = 0, first = -1;
            for (int t = 0; t < n_threads_; ++t) {
                if (threads_[index(t)]->waits == kind && n++ == 0) first = t;
            }
            if (n == 0) continue;
            s += kind == waiting::block ? "; at a block barrier wait " : "; in a warp collective wait ";
            s += std::to_string(n) + " threads, the first " + thread_name(first) + " at " + at(threads_[index(first)]->where);
        }
        if (n_done_ > 0) s += "; " + std::to_string(n_done_) + " have exited";
        return s;
    }

    options options_;
    int n_calls_ = 0;
    philox random_;
    std::uint64_t random_index_ = 0;
    std::vector<std::unique_ptr<thread>> threads_;
    std::vector<warp> warps_;
    std::array<int, k_max_threads> ready_{};
    unsigned first_ready_ = 0;
    unsigned n_ready_ = 0;
    shared_state shared_;
    fiber main_;
    kernel_call call_ = nullptr;
    void* argument_ = nullptr;
    extent3 block_dim_{};
    int n_threads_ = 0;
    int current_ = 0;
    int n_done_ = 0;
    int first_done_ = 0;
    int n_at_barrier_ = 0;
    location barrier_where_{};
    std::uint32_t first_epoch_ = 0;
    std::uint32_t block_epoch_ = 0;
    std::exception_ptr failure_;
    bool cancelling_ = false;
    bool quitting_ = false;
};

}  // namespace instar::cuda::emulator

#endif
