#ifndef INSTAR_CUDA_EMULATOR_FIBER_HPP
#define INSTAR_CUDA_EMULATOR_FIBER_HPP

// A stack of its own for each emulated CUDA thread, and the jump from one to another.
//
//     fiber main;                                                        // the host thread's own stack
//     fiber other(64 << 10, [](void* m) { return static_cast<fiber*>(m); }, &main);
//     fiber::jump(main, other);                                          // runs the function, continues where it says
//
// x86-64 switches with a dozen instructions; other machines through ucontext. AddressSanitizer and ThreadSanitizer are told
// of every switch. Each stack ends in a page that may not be touched, so an overflow stops at once instead of spreading.

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include <sys/mman.h>
#include <unistd.h>

#include "instar/core/error.hpp"

#if !defined(INSTAR_FIBER_UCONTEXT) && !(defined(__x86_64__) && defined(__linux__))
#define INSTAR_FIBER_UCONTEXT 1
#endif
#if defined(INSTAR_FIBER_UCONTEXT)
#include <ucontext.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#define INSTAR_FIBER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define INSTAR_FIBER_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define INSTAR_FIBER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define INSTAR_FIBER_TSAN 1
#endif
#endif

#if defined(INSTAR_FIBER_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(INSTAR_FIBER_TSAN)
#include <sanitizer/tsan_interface.h>
#endif

namespace instar::cuda::emulator {

class fiber;

namespace detail {

/// Where the jump in progress comes from and goes to: a fiber that starts reads it, having no arguments of its own.
struct jump_in_progress {
    fiber* from = nullptr;
    fiber* to = nullptr;
};
inline thread_local constinit jump_in_progress jumping{};

#if !defined(INSTAR_FIBER_UCONTEXT)
// Saves what the ABI lets a function rely on, swaps stacks, restores the other's, and returns into it. noipa: g++ must not
// look inside and conclude that the other registers survive the call.
#if defined(__clang__)
#define INSTAR_FIBER_OPAQUE __attribute__((naked, noinline))
#else
#define INSTAR_FIBER_OPAQUE __attribute__((naked, noinline, noipa))
#endif
INSTAR_FIBER_OPAQUE inline void switch_stack(void** /*save*/, void* /*load*/) {
    asm("pushq %rbp\n\t"
        "pushq %rbx\n\t"
        "pushq %r12\n\t"
        "pushq %r13\n\t"
        "pushq %r14\n\t"
        "pushq %r15\n\t"
        "movq %rsp, (%rdi)\n\t"
        "movq %rsi, %rsp\n\t"
        "popq %r15\n\t"
        "popq %r14\n\t"
        "popq %r13\n\t"
        "popq %r12\n\t"
        "popq %rbx\n\t"
        "popq %rbp\n\t"
        "ret");
}
#undef INSTAR_FIBER_OPAQUE
#endif

}  // namespace detail

/// A stack and where it stands. The default-constructed one stands for the host thread's own stack.
class fiber {
public:
    /// Runs on the fiber and returns whom to continue when it is over. Must not throw.
    using function = fiber* (*)(void*);

    fiber() {
#if defined(INSTAR_FIBER_TSAN)
        tsan_ = __tsan_get_current_fiber();
#endif
    }
    /// The first jump here calls run(argument). `colour` shifts the stack's top: stacks that all end at the same place in
    /// their pages would compete for the same few cache lines.
    fiber(std::size_t stack_bytes, function run, void* argument, std::size_t colour = 0) : run_(run), argument_(argument) {
        const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
        mapped_ = (stack_bytes + page - 1) / page * page + page;
        void* p = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED) throw memory_error("emulator: cannot map a stack of " + std::to_string(mapped_) + " bytes");
        mapping_ = static_cast<std::byte*>(p);
        if (mprotect(mapping_, page, PROT_NONE) != 0) {
            munmap(mapping_, mapped_);
            throw memory_error("emulator: cannot protect a stack's last page (see vm.max_map_count)");
        }
        bottom_ = mapping_ + page;
        size_ = mapped_ - page - colour * 1088 % 32768 / 64 * 64;
#if defined(INSTAR_FIBER_TSAN)
        tsan_ = __tsan_create_fiber(0);
#endif
        forget_frames();
        prepare();
    }
    fiber(const fiber&) = delete;
    fiber& operator=(const fiber&) = delete;
    ~fiber() {
        if (mapping_ == nullptr) return;
#if defined(INSTAR_FIBER_TSAN)
        __tsan_destroy_fiber(tsan_);
#endif
        forget_frames();
        munmap(mapping_, mapped_);
    }

    /// Leaves `from`, continues `to`; returns when somebody jumps back to `from`.
    static void jump(fiber& from, fiber& to) {
#if defined(INSTAR_FIBER_ASAN)
        __sanitizer_start_switch_fiber(&from.fake_stack_, to.bottom_, to.size_);
#endif
        go(from, to);
#if defined(INSTAR_FIBER_ASAN)
        __sanitizer_finish_switch_fiber(from.fake_stack_, nullptr, nullptr);
#endif
    }

private:
    /// AddressSanitizer's marks of frames that were left without returning outlive them, and a mapping: whoever uses these
    /// addresses next, another fiber or an allocator, would be blamed for them.
    void forget_frames() {
#if defined(INSTAR_FIBER_ASAN)
        __asan_unpoison_memory_region(bottom_, mapped_ - static_cast<std::size_t>(bottom_ - mapping_));
#endif
    }

    /// Lays out the stack so that the first jump enters `enter`.
    void prepare() {
#if defined(INSTAR_FIBER_UCONTEXT)
        if (getcontext(&context_) != 0) throw device_error("emulator: getcontext failed");
        context_.uc_stack.ss_sp = bottom_;
        context_.uc_stack.ss_size = size_;
        context_.uc_link = nullptr;
        makecontext(&context_, &fiber::enter, 0);
#else
        // What switch_stack pops: six registers, then the address it returns to. The slot above that address is the
        // caller's for a debugger: zero ends a backtrace.
        auto* top = reinterpret_cast<void**>(bottom_ + size_) - 1;  // a function starts 8 bytes off a multiple of 16
        *top = nullptr;
        *--top = reinterpret_cast<void*>(&fiber::enter);
        for (int i = 0; i < 6; ++i) *--top = nullptr;
        stack_pointer_ = top;
#endif
    }

    static void go(fiber& from, fiber& to) {
        detail::jumping = {&from, &to};
#if defined(INSTAR_FIBER_TSAN)
        __tsan_switch_to_fiber(to.tsan_, 0);
#endif
#if defined(INSTAR_FIBER_UCONTEXT)
        swapcontext(&from.context_, &to.context_);
#else
        detail::switch_stack(&from.stack_pointer_, to.stack_pointer_);
#endif
    }
    // Not marked noreturn, nor what it calls: the compiler would tell AddressSanitizer to forget this stack too early.
    static void enter() {
        fiber* const self = detail::jumping.to;
#if defined(INSTAR_FIBER_ASAN)
        const void* bottom = nullptr;
        std::size_t size = 0;
        __sanitizer_finish_switch_fiber(nullptr, &bottom, &size);
        fiber* const from = detail::jumping.from;
        if (from->mapping_ == nullptr) {  // the host thread's stack: its bounds are known to the sanitizer alone
            from->bottom_ = static_cast<std::byte*>(const_cast<void*>(bottom));
            from->size_ = size;
        }
#endif
        fiber* const next = self->run_(self->argument_);
#if defined(INSTAR_FIBER_ASAN)
        __sanitizer_start_switch_fiber(nullptr, next->bottom_, next->size_);
#endif
        go(*self, *next);
    }

    function run_ = nullptr;
    void* argument_ = nullptr;
    std::byte* mapping_ = nullptr;
    std::size_t mapped_ = 0;
    std::byte* bottom_ = nullptr;
    std::size_t size_ = 0;
#if defined(INSTAR_FIBER_UCONTEXT)
    ucontext_t context_{};
#else
    void* stack_pointer_ = nullptr;
#endif
#if defined(INSTAR_FIBER_ASAN)
    void* fake_stack_ = nullptr;
#endif
#if defined(INSTAR_FIBER_TSAN)
    void* tsan_ = nullptr;
#endif
};

}  // namespace instar::cuda::emulator

#endif
