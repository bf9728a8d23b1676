#ifndef INSTAR_CUDA_GRAPH_HPP
#define INSTAR_CUDA_GRAPH_HPP

// A CUDA graph: what a function queues on a context, kept, and queued again by one call. Saves the host's time for each launch.
//
//     step();                                    // once as usual: sizes arenas, makes cuBLASLt's plans, loads kernels
//     cuda::graph graph;
//     graph.capture(ctx, step);                  // records; nothing runs
//     for (…) { ctx.upload_async(…); graph.launch(ctx); }
//
// What the function may do: call operators, fill, upload_async. What it may not: wait for the device (synchronize, download,
// squared_norm and with it clipping by norm) or allocate (tensors, arenas that grow); either throws device_error. Operators'
// temporaries are allowed: they become part of the graph.
//
// A graph keeps pointers and numbers as they were at the capture: the tensors must outlive it, and the learning rate, the
// optimiser's step number and dropout's random stream stay the same. A step that changes them captures again before each
// launch; a graph of the same shape is then updated, not built anew.
//
// In the emulator capture keeps a copy of the function and launch calls it, so a function that refers to variables sees them
// as they are at the launch.

#include <functional>
#include <utility>

#include "instar/cuda/cuda_context.hpp"

namespace instar::cuda {

#if defined(INSTAR_CUDA_EMULATED)

class graph {
public:
    graph() = default;
    graph(const graph&) = delete;
    graph& operator=(const graph&) = delete;

    template <class F>
    void capture(cuda_context&, F&& queue) {
        check_may_wait("graph.capture", emulator::graph_running);
        queue_ = std::forward<F>(queue);
    }
    bool captured() const noexcept { return static_cast<bool>(queue_); }
    void launch(cuda_context&) {
        if (!captured()) throw value_error("graph.launch: nothing was captured");
        struct running {
            running() { emulator::graph_running = true; }
            ~running() { emulator::graph_running = false; }
        } const now;
        queue_();
    }

private:
    std::function<void()> queue_;
};

#elif defined(INSTAR_CUDA_HEADERS)

class graph {
public:
    graph() = default;
    graph(const graph&) = delete;
    graph& operator=(const graph&) = delete;
    ~graph() {
        if (executable_ != nullptr) (void)cudaGraphExecDestroy(executable_);
    }

    /// Records what queue() puts on ctx. When it throws, the exception passes on and what was captured before stays.
    template <class F>
    void capture(cuda_context& ctx, F&& queue) {
        static constexpr const char* k_op = "graph.capture";
        check_may_wait(k_op, ctx.capturing_);
        ctx.activate();
        check(cudaStreamBeginCapture(ctx.stream(), cudaStreamCaptureModeThreadLocal), k_op, "cudaStreamBeginCapture");
        ctx.capturing_ = true;
        recording made;
        try {
            std::forward<F>(queue)();
        } catch (...) {
            ctx.capturing_ = false;
            (void)cudaStreamEndCapture(ctx.stream(), &made.graph);
            (void)cudaGetLastError();
            throw;
        }
        ctx.capturing_ = false;
        check(cudaStreamEndCapture(ctx.stream(), &made.graph), k_op, "cudaStreamEndCapture");
        if (executable_ != nullptr) {
            cudaGraphExecUpdateResultInfo result{};
            if (cudaGraphExecUpdate(executable_, made.graph, &result) == cudaSuccess) return;
            (void)cudaGetLastError();  // another shape: built anew
        }
        cudaGraphExec_t built = nullptr;
        check(cudaGraphInstantiate(&built, made.graph, 0), k_op, "cudaGraphInstantiate");
        if (executable_ != nullptr) (void)cudaGraphExecDestroy(executable_);
        executable_ = built;
    }
    bool captured() const noexcept { return executable_ != nullptr; }
    /// Queues all of it on ctx.
    void launch(cuda_context& ctx) {
        if (!captured()) throw value_error("graph.launch: nothing was captured");
        ctx.activate();
        check(cudaGraphLaunch(executable_, ctx.stream()), "graph.launch", "cudaGraphLaunch");
    }

private:
    struct recording {
        cudaGraph_t graph = nullptr;
        ~recording() {
            if (graph != nullptr) (void)cudaGraphDestroy(graph);
        }
    };
    cudaGraphExec_t executable_ = nullptr;
};

#endif

}  // namespace instar::cuda

#endif
