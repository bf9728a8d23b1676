#ifndef INSTAR_TRAIN_INTERRUPT_HPP
#define INSTAR_TRAIN_INTERRUPT_HPP

// Ctrl-C that lets a step finish and a checkpoint be written.
//
//     train::interrupt_guard interrupt;                // until the end of the scope
//     while (step < n_steps) {
//         do_step();
//         if (interrupt.requested()) { save(); return 128 + interrupt.signal_number(); }
//     }
//
// The first SIGINT or SIGTERM sets a flag. From then on both have their default action, so a second one ends the process at
// once. The scope's end restores the handlers that were there before. Signals belong to the process: one guard at a time, and
// only programs should make one; the library never does.

#include <csignal>

#include <atomic>

#include "instar/core/error.hpp"

namespace instar::train {

/// Scoped handler of SIGINT and SIGTERM. A second guard at the same time throws value_error.
class interrupt_guard {
public:
    interrupt_guard() {
        if (alive_.exchange(true)) throw value_error("interrupt_guard: there is one already");
        signal_ = 0;
        struct sigaction action {};
        action.sa_handler = &interrupt_guard::handle;
        action.sa_flags = SA_RESTART;  // a write() in progress goes on
        sigemptyset(&action.sa_mask);
        for (int i = 0; i < 2; ++i) ::sigaction(k_signals[i], &action, &before_[i]);
    }
    ~interrupt_guard() {
        for (int i = 0; i < 2; ++i) ::sigaction(k_signals[i], &before_[i], nullptr);
        alive_ = false;
    }
    interrupt_guard(const interrupt_guard&) = delete;
    interrupt_guard& operator=(const interrupt_guard&) = delete;

    bool requested() const noexcept { return signal_ != 0; }
    /// SIGINT, SIGTERM, or 0.
    int signal_number() const noexcept { return signal_; }

private:
    static constexpr int k_signals[2] = {SIGINT, SIGTERM};

    // Only what POSIX allows in a handler: an atomic store without a lock, and sigaction.
    static void handle(int number) {
        signal_ = number;
        struct sigaction action {};
        action.sa_handler = SIG_DFL;
        sigemptyset(&action.sa_mask);
        for (const int s : k_signals) ::sigaction(s, &action, nullptr);
    }

    // A handler has no other way to reach its guard than static storage.
    static inline std::atomic<int> signal_{0};
    static inline std::atomic<bool> alive_{false};
    static_assert(std::atomic<int>::is_always_lock_free);

    struct sigaction before_[2] = {};
};

}  // namespace instar::train

#endif
