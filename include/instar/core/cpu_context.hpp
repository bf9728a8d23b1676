#ifndef INSTAR_CORE_CPU_CONTEXT_HPP
#define INSTAR_CORE_CPU_CONTEXT_HPP

// Where CPU work runs. The first argument of every operator.
//
//     instar::cpu_context ctx;                    // all cores this process may use
//     instar::cpu_context two{2};                 // at most two threads
//     tbb::task_arena mine(4);
//     instar::cpu_context inside{mine};           // the caller's arena; it must outlive the context
//
// Results never depend on the number of threads. A context may be used by one thread at a time; several contexts
// may share an arena.

#include <memory>

#include <oneapi/tbb/task_arena.h>

#include "instar/core/error.hpp"
#include "instar/core/memory.hpp"

namespace instar {

/// Execution context of the CPU: a oneTBB task arena, owned or the caller's.
class cpu_context {
public:
    using memory = host_memory;

    cpu_context() : owned_(std::make_unique<tbb::task_arena>()), arena_(owned_.get()) { arena_->initialize(); }
    explicit cpu_context(int max_threads) {
        if (max_threads < 1) throw value_error("cpu_context: max_threads must be at least 1, is " + std::to_string(max_threads));
        owned_ = std::make_unique<tbb::task_arena>(max_threads);
        arena_ = owned_.get();
        arena_->initialize();
    }
    explicit cpu_context(tbb::task_arena& arena) : arena_(&arena) { arena_->initialize(); }

    tbb::task_arena& arena() noexcept { return *arena_; }
    /// Threads that may work at once, this one included.
    int max_threads() const noexcept { return arena_->max_concurrency(); }

    /// Lets float products (ops::gemm, linear layers, convolutions) round their inputs to bf16; sums and everything else stay float.
    /// Relative error of an input up to 2⁻⁸ instead of 2⁻²⁴. Products take half the time on processors with AVX512-BF16 and large
    /// ones about a fifth on those with AMX (isa::active_bf16); elsewhere the same rounding is done and nothing gained. Default: not allowed.
    /// Tensors of bf16 are multiplied so in any case.
    void allow_bf16(bool allow) noexcept { bf16_allowed_ = allow; }
    bool bf16_allowed() const noexcept { return bf16_allowed_; }

    /// While an object of this lives, the weights of linear layers stay as they are: see hold_weights.
    class weights_hold {
    public:
        explicit weights_hold(cpu_context& ctx) noexcept : ctx_(&ctx) { ++ctx_->n_holds_; }
        ~weights_hold() {
            if (--ctx_->n_holds_ == 0) ctx_->packed_weights_.reset();
        }
        weights_hold(const weights_hold&) = delete;
        weights_hold& operator=(const weights_hold&) = delete;

    private:
        cpu_context* ctx_;
    };
    /// Promises that weights given to linear layers (ops::linear_forward, ops::linear_gelu_forward) neither change nor move while the result
    /// lives. Each is then packed for the processor once, at its first product, and the copy used again: for inference, where few rows
    /// meet the same weights time and again. The same bits as without. Memory: one more copy of the weights that are used. Nothing can tell
    /// when the promise is broken: a weight that changes meanwhile goes on acting as it was, and so does one that is freed, on what is put
    /// in its place with the same shape. The context must not move meanwhile.
    ///
    ///     const auto hold = ctx.hold_weights();
    ///     for (…) model.forward(ctx, memory, ids, mask);
    [[nodiscard]] weights_hold hold_weights() noexcept { return weights_hold(*this); }
    bool weights_held() const noexcept { return n_holds_ > 0; }
    /// Where products keep the copies; theirs to fill, gone with the last hold.
    std::shared_ptr<void>& packed_weights() noexcept { return packed_weights_; }

private:
    std::unique_ptr<tbb::task_arena> owned_;
    tbb::task_arena* arena_;
    bool bf16_allowed_ = false;
    int n_holds_ = 0;
    std::shared_ptr<void> packed_weights_;
};

}  // namespace instar

#endif
