#ifndef INSTAR_CUDA_EVENT_HPP
#define INSTAR_CUDA_EVENT_HPP

// A mark in a context's queue: to wait for what was queued before it and no more, and to time what lies between two.
//
//     cuda::event copied;
//     ctx.upload_async(x.view(), pinned.view());
//     copied.record(ctx);
//     …queue more…
//     copied.synchronize();                      // pinned may be filled again
//
//     start.record(ctx); work(); stop.record(ctx);
//     stop.synchronize();
//     double ms = cuda::milliseconds(start, stop);

#include <chrono>

#include "instar/cuda/cuda_context.hpp"

namespace instar::cuda {

#if defined(INSTAR_CUDA_EMULATED) || defined(INSTAR_CUDA_HEADERS)
class event;
double milliseconds(const event& start, const event& stop);
#endif

#if defined(INSTAR_CUDA_EMULATED)

/// In the emulator all that was queued has happened; the time is the host's.
class event {
public:
    event() = default;
    event(const event&) = delete;
    event& operator=(const event&) = delete;
    void record(cuda_context&) { time_ = std::chrono::steady_clock::now(); }
    void synchronize() { check_may_wait("event.synchronize", emulator::graph_running); }

private:
    friend double milliseconds(const event& start, const event& stop);
    std::chrono::steady_clock::time_point time_{};
};

inline double milliseconds(const event& start, const event& stop) {
    return std::chrono::duration<double, std::milli>(stop.time_ - start.time_).count();
}

#elif defined(INSTAR_CUDA_HEADERS)

/// Belongs to the device of the context that records it first.
class event {
public:
    event() = default;
    event(const event&) = delete;
    event& operator=(const event&) = delete;
    ~event() {
        if (event_ != nullptr) (void)cudaEventDestroy(event_);
    }
    void record(cuda_context& ctx) {
        ctx.activate();
        if (event_ == nullptr) check(cudaEventCreate(&event_), "event.record", "cudaEventCreate");
        check(cudaEventRecord(event_, ctx.stream()), "event.record", "cudaEventRecord");
    }
    /// Waits for what was queued before record, and reports what went wrong in it. Returns at once when never recorded.
    void synchronize() {
        if (event_ != nullptr) check(cudaEventSynchronize(event_), "event.synchronize", "cudaEventSynchronize");
    }

private:
    friend double milliseconds(const event& start, const event& stop);
    cudaEvent_t event_ = nullptr;
};

/// Both were recorded on one device and stop has been waited for. In steps of half a microsecond.
inline double milliseconds(const event& start, const event& stop) {
    float ms = 0.0f;
    check(cudaEventElapsedTime(&ms, start.event_, stop.event_), "event.milliseconds", "cudaEventElapsedTime");
    return static_cast<double>(ms);
}

#endif

}  // namespace instar::cuda

#endif
