#ifndef INSTAR_OPS_BATCH_NORM_HPP
#define INSTAR_OPS_BATCH_NORM_HPP

// Batch normalisation over all rows (samples and pixels), channel by channel, optionally followed by ReLU.
//
//     ops::batch_norm_forward(ctx, y, saved, running, x, weight, bias, {.relu = true});     // training: statistics of the batch
//     ops::batch_norm_inference(ctx, y, running, x, weight, bias, {.relu = true});          // evaluation: the running ones
//     ops::batch_norm_backward(ctx, dx, dweight, dbias, dy, saved, y, x, weight, {.relu = true});
//
// Ioffe, Szegedy 2015 (arXiv:1502.03167).

#include <string>

#include "instar/core/tensor_view.hpp"

namespace instar {
class cpu_context;
class cuda_context;
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
    tensor_view<accumulator_t<T>, 1> mean, rstd;
};

/// Statistics of training so far, [d] each.
template <class T>
struct batch_norm_running {
    tensor_view<accumulator_t<T>, 1> mean, variance;
};

/// y = (x − mean) · rstd · weight + bias over the rows of one batch; running statistics move towards it (variance with 1/(n − 1)).
///
/// | argument              | shape        | element |
/// |-----------------------|--------------|---------|
/// | x, y (may alias)      | [n_rows, d]  | T       |
/// | weight, bias          | [d]          | T       |
/// | saved, running        | [d]          | accumulator_t<T>: float, double for double |
///
/// T: float or double; on a GPU float or bf16. Variance from differences to a mean, never from a difference of squares. CPU: sums of 256
/// rows in T, added in order in double. GPU: means and squares of a thread's rows in float, merged in order, across blocks in double (Chan,
/// Golub, LeVeque 1983). Same bits for any number of threads and on each run. Cost: three passes over x (GPU: two), one over y.
/// Throws shape_error when a shape disagrees, value_error for fewer than two rows, before anything is written.
template <class T>
void batch_norm_forward(cpu_context& ctx, tensor_view<T, 2> y, std::type_identity_t<batch_norm_saved<T>> saved,
                        std::type_identity_t<batch_norm_running<T>> running, in_view<T, 2> x, in_view<T, 1> weight, in_view<T, 1> bias,
                        batch_norm_options options = {});
template <class T>
void batch_norm_forward(cuda_context& ctx, tensor_view<T, 2> y, std::type_identity_t<batch_norm_saved<T>> saved,
                        std::type_identity_t<batch_norm_running<T>> running, in_view<T, 2> x, in_view<T, 1> weight, in_view<T, 1> bias,
                        batch_norm_options options = {});

/// The same with running statistics, which stay.
template <class T>
void batch_norm_inference(cpu_context& ctx, tensor_view<T, 2> y, std::type_identity_t<batch_norm_running<T>> running, in_view<T, 2> x, in_view<T, 1> weight,
                          in_view<T, 1> bias, batch_norm_options options = {});
template <class T>
void batch_norm_inference(cuda_context& ctx, tensor_view<T, 2> y, std::type_identity_t<batch_norm_running<T>> running, in_view<T, 2> x, in_view<T, 1> weight,
                          in_view<T, 1> bias, batch_norm_options options = {});

/// dx is overwritten (may alias dy); dweight and dbias accumulate. y is the forward's result, read with options.relu alone.
template <class T>
void batch_norm_backward(cpu_context& ctx, tensor_view<T, 2> dx, tensor_view<T, 1> dweight, tensor_view<T, 1> dbias, in_view<T, 2> dy,
                         std::type_identity_t<batch_norm_saved<T>> saved, in_view<T, 2> y, in_view<T, 2> x, in_view<T, 1> weight,
                         batch_norm_options options = {});
template <class T>
void batch_norm_backward(cuda_context& ctx, tensor_view<T, 2> dx, tensor_view<T, 1> dweight, tensor_view<T, 1> dbias, in_view<T, 2> dy,
                         std::type_identity_t<batch_norm_saved<T>> saved, in_view<T, 2> y, in_view<T, 2> x, in_view<T, 1> weight,
                         batch_norm_options options = {});

namespace detail {

/// Rows [n, d], which may lie apart.
template <class T>
void check_batch_norm_rows(const char* op, const char* argument, const tensor_view<T, 2>& v, index_t n, index_t d) {
    instar::detail::check_shape(op, argument, v, {n, d});
    instar::detail::check_unit_stride(op, argument, v);
}
/// A number a channel.
template <class T>
void check_batch_norm_channels(const char* op, const char* argument, const tensor_view<T, 1>& v, index_t d) {
    instar::detail::check_shape(op, argument, v, {d});
    instar::detail::check_unit_stride(op, argument, v);
}

template <class T>
void check_batch_norm_inference(const char* op, const tensor_view<T, 2>& y, const batch_norm_running<T>& running, const tensor_view<const T, 2>& x,
                                const tensor_view<const T, 1>& weight, const tensor_view<const T, 1>& bias) {
    const index_t n = x.extent(0), d = x.extent(1);
    check_batch_norm_rows(op, "x", x, n, d);
    check_batch_norm_rows(op, "y", y, n, d);
    check_batch_norm_channels(op, "weight", weight, d);
    check_batch_norm_channels(op, "bias", bias, d);
    check_batch_norm_channels(op, "running.mean", running.mean, d);
    check_batch_norm_channels(op, "running.variance", running.variance, d);
}

template <class T>
void check_batch_norm_forward(const char* op, const tensor_view<T, 2>& y, const batch_norm_saved<T>& saved, const batch_norm_running<T>& running,
                              const tensor_view<const T, 2>& x, const tensor_view<const T, 1>& weight, const tensor_view<const T, 1>& bias) {
    check_batch_norm_inference<T>(op, y, running, x, weight, bias);
    check_batch_norm_channels(op, "saved.mean", saved.mean, x.extent(1));
    check_batch_norm_channels(op, "saved.rstd", saved.rstd, x.extent(1));
    if (x.extent(0) < 2) throw value_error(std::string(op) + ": statistics need two rows at least, x has " + std::to_string(x.extent(0)));
}

template <class T>
void check_batch_norm_backward(const char* op, const tensor_view<T, 2>& dx, const tensor_view<T, 1>& dweight, const tensor_view<T, 1>& dbias,
                               const tensor_view<const T, 2>& dy, const batch_norm_saved<T>& saved, const tensor_view<const T, 2>& y,
                               const tensor_view<const T, 2>& x, const tensor_view<const T, 1>& weight, bool relu) {
    const index_t n = x.extent(0), d = x.extent(1);
    check_batch_norm_rows(op, "x", x, n, d);
    check_batch_norm_rows(op, "dx", dx, n, d);
    check_batch_norm_rows(op, "dy", dy, n, d);
    if (relu) check_batch_norm_rows(op, "y", y, n, d);
    check_batch_norm_channels(op, "weight", weight, d);
    check_batch_norm_channels(op, "dweight", dweight, d);
    check_batch_norm_channels(op, "dbias", dbias, d);
    check_batch_norm_channels(op, "saved.mean", saved.mean, d);
    check_batch_norm_channels(op, "saved.rstd", saved.rstd, d);
}

}  // namespace detail

}  // namespace instar::ops

#if !defined(INSTAR_COMPILED)
#if !defined(__CUDACC__)
#include "instar/ops/cpu/batch_norm.hpp"
#endif
#if defined(__CUDACC__) || defined(INSTAR_CUDA_EMULATED)
#include "instar/ops/cuda/batch_norm.cuh"
#endif
#endif

#endif
