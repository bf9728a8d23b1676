#ifndef INSTAR_OPS_BATCH_NORM_HPP
#define INSTAR_OPS_BATCH_NORM_HPP

// Batch normalisation over all rows (samples and pixels), channel by channel, optionally followed by ReLU.
//
//     ops::batch_norm_forward(ctx, y, saved, running, x, weight, bias, {.relu = true});     // training: statistics of the batch
//     ops::batch_norm_inference(ctx, y, running, x, weight, bias, {.relu = true});          // evaluation: the running ones
//     ops::batch_norm_backward(ctx, dx, dweight, dbias, dy, saved, y, x, weight, {.relu = true});
//
// Ioffe, Szegedy 2015 (arXiv:1502.03167). On the CPU alone: there is no CUDA version yet.

#include "instar/core/tensor_view.hpp"

namespace instar {
class cpu_context;
}  // namespace instar

namespace instar::ops {

struct batch_norm_options {
    double eps = 1e-5;
    double momentum = 0.1;  ///< running = (1 − momentum) · running + momentum · batch, as PyTorch
    bool relu = false;      ///< y = max(0, ·)
};

/// Statistics of the batch, [d] each: what the backward needs.
template <class T>
struct batch_norm_saved {
    tensor_view<T, 1> mean, rstd;
};

/// Statistics of training so far, [d] each.
template <class T>
struct batch_norm_running {
    tensor_view<T, 1> mean, variance;
};

/// y = (x − mean) · rstd · weight + bias over the rows of one batch; running statistics move towards it (variance with 1/(n − 1)).
///
/// | argument              | shape        | element |
/// |-----------------------|--------------|---------|
/// | x, y (may alias)      | [n_rows, d]  | T       |
/// | weight, bias          | [d]          | T       |
/// | saved, running        | [d]          | T       |
///
/// T: float or double. Sums of 256 rows in T, added in order in double; variance from differences to the mean. Same bits for any number of
/// threads. Cost: three passes over x, one over y. Throws shape_error when a shape disagrees, value_error for fewer than two rows.
template <class T>
void batch_norm_forward(cpu_context& ctx, tensor_view<T, 2> y, std::type_identity_t<batch_norm_saved<T>> saved,
                        std::type_identity_t<batch_norm_running<T>> running, in_view<T, 2> x, in_view<T, 1> weight, in_view<T, 1> bias,
                        batch_norm_options options = {});

/// The same with running statistics, which stay.
template <class T>
void batch_norm_inference(cpu_context& ctx, tensor_view<T, 2> y, std::type_identity_t<batch_norm_running<T>> running, in_view<T, 2> x, in_view<T, 1> weight,
                          in_view<T, 1> bias, batch_norm_options options = {});

/// dx is overwritten (may alias dy); dweight and dbias accumulate. y is the forward's result, read with options.relu alone.
template <class T>
void batch_norm_backward(cpu_context& ctx, tensor_view<T, 2> dx, tensor_view<T, 1> dweight, tensor_view<T, 1> dbias, in_view<T, 2> dy,
                         std::type_identity_t<batch_norm_saved<T>> saved, in_view<T, 2> y, in_view<T, 2> x, in_view<T, 1> weight,
                         batch_norm_options options = {});

}  // namespace instar::ops

#if !defined(INSTAR_COMPILED) && !defined(__CUDACC__)
#include "instar/ops/cpu/batch_norm.hpp"
#endif

#endif
