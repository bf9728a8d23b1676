#ifndef INSTAR_OPS_DROPOUT_HPP
#define INSTAR_OPS_DROPOUT_HPP

// Inverted dropout without a stored mask: the backward draws the same numbers again.
//
//     const ops::dropout_options drop{.p = 0.1f, .rng = {seed, stream}};
//     ops::residual_dropout_forward(ctx, sum, residual, x, drop);     // sum = residual + dropout(x)
//     ops::dropout_backward(ctx, dx, dsum, drop);

#include "instar/core/philox.hpp"
#include "instar/core/tensor_view.hpp"

namespace instar {
class cpu_context;
class cuda_context;
}  // namespace instar

namespace instar::ops {

/// p in [0, 1); p = 0 is the identity and draws nothing. Element i is kept when rng.bits(i / group) ≥ p·2³² (see drop_below).
/// A p outside its range or a group below 1 is a value_error.
/// With the elements of a sample as group it is stochastic depth ("drop path", Huang et al. 2016, arXiv:1603.09382).
struct dropout_options {
    float p = 0.0f;
    philox rng{};
    index_t group = 1;  ///< so many elements in a row fall or stay together

    /// bits below this drop the element.
    INSTAR_HOST_DEVICE std::uint32_t drop_below() const {
        return static_cast<std::uint32_t>(static_cast<double>(p) * 4294967296.0);
    }
    INSTAR_HOST_DEVICE float scale() const { return 1.0f / (1.0f - p); }
};

/// y = x · keep / (1 − p).   x, y: [n] contiguous; may alias. T: float, double or bf16 (CPU), float or bf16 (CUDA). Same bits for any number of threads, and on every device.
template <class T>
void dropout_forward(cpu_context& ctx, tensor_view<T, 1> y, in_view<T, 1> x, dropout_options options);
template <class T>
void dropout_forward(cuda_context& ctx, tensor_view<T, 1> y, in_view<T, 1> x, dropout_options options);

/// y = residual + x · keep / (1 − p).   All [n] contiguous; y may alias either.
template <class T>
void residual_dropout_forward(cpu_context& ctx, tensor_view<T, 1> y, in_view<T, 1> residual, in_view<T, 1> x, dropout_options options);
template <class T>
void residual_dropout_forward(cuda_context& ctx, tensor_view<T, 1> y, in_view<T, 1> residual, in_view<T, 1> x, dropout_options options);

/// dx = dy · keep / (1 − p).   dx may alias dy.
template <class T>
void dropout_backward(cpu_context& ctx, tensor_view<T, 1> dx, in_view<T, 1> dy, dropout_options options);
template <class T>
void dropout_backward(cuda_context& ctx, tensor_view<T, 1> dx, in_view<T, 1> dy, dropout_options options);

}  // namespace instar::ops

#if !defined(INSTAR_COMPILED)
#if !defined(__CUDACC__)
#include "instar/ops/cpu/dropout.hpp"
#endif
#if defined(__CUDACC__) || defined(INSTAR_CUDA_EMULATED)
#include "instar/ops/cuda/dropout.cuh"
#endif
#endif

#endif
