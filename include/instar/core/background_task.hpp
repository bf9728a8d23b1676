#ifndef INSTAR_CORE_BACKGROUND_TASK_HPP
#define INSTAR_CORE_BACKGROUND_TASK_HPP

// Work that goes on in a context's threads while the caller does something else.
//
//     cpu_context readers{2};
//     background_task task(readers);
//     task.start([&] { batch = decode(files); });
//     train(ctx, previous_batch);
//     task.wait();                                 // helps with it when it is not done; throws what it threw

#include <exception>
#include <utility>

#include <oneapi/tbb/task_group.h>

#include "instar/core/cpu_context.hpp"

namespace instar {

/// One piece of work at a time. The context must outlive it. Not to be moved: the work may hold its address.
class background_task {
public:
    explicit background_task(cpu_context& ctx) : ctx_(&ctx) {}
    background_task(const background_task&) = delete;
    background_task& operator=(const background_task&) = delete;
    ~background_task() { join(); }

    /// Begins f(), which must be callable as const; waits for the one before. What f throws is kept for wait().
    template <class F>
    void start(F f) {
        wait();
        running_ = true;
        ctx_->arena().enqueue(group_.defer([this, f = std::move(f)] {
            try {
                f();
            } catch (...) {
                error_ = std::current_exception();
            }
        }));
    }

    /// Returns when the work is done, taking part in what is left of it; rethrows what it threw, once.
    void wait() {
        join();
        if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
    }

    bool running() const noexcept { return running_; }

private:
    void join() {
        if (!running_) return;
        ctx_->arena().execute([&] { group_.wait(); });
        running_ = false;
    }

    cpu_context* ctx_;
    tbb::task_group group_;
    std::exception_ptr error_;
    bool running_ = false;
};

}  // namespace instar

#endif
