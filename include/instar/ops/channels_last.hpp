#ifndef INSTAR_OPS_CHANNELS_LAST_HPP
#define INSTAR_OPS_CHANNELS_LAST_HPP

// Images as data loaders give them, one plane a channel, into the order that convolutions work in: the channels of a pixel together.
//
//     ops::channels_last(ctx, y, x);          // x [8, 3, 224, 224] → y [8, 224, 224, 3]

#include "instar/core/tensor_view.hpp"

namespace instar {
class cpu_context;
class cuda_context;
}  // namespace instar

namespace instar::ops {

/// y[b, i, j, c] = x[b, c, i, j]
///
/// | argument | shape                                           | element |
/// |----------|-------------------------------------------------|---------|
/// | y        | [n_batch, height, width, n_channels] contiguous | T       |
/// | x        | [n_batch, n_channels, height, width]            | T       |
///
/// Elements are copied, bit for bit. y may not alias x. Made for the few channels of images; cost: 2·n·sizeof(T) bytes. A gradient with
/// respect to images is not needed by any model here, so there is no backward. Throws shape_error when a shape disagrees.
template <class T>
void channels_last(cpu_context& ctx, tensor_view<T, 4> y, in_view<T, 4> x);
template <class T>
void channels_last(cuda_context& ctx, tensor_view<T, 4> y, in_view<T, 4> x);

namespace detail {

template <class T>
void check_channels_last(const tensor_view<T, 4>& y, const tensor_view<const T, 4>& x) {
    instar::detail::check_shape("channels_last", "y", y, {x.extent(0), x.extent(2), x.extent(3), x.extent(1)});
    instar::detail::check_contiguous("channels_last", "y", y);
}

}  // namespace detail

}  // namespace instar::ops

#if !defined(INSTAR_COMPILED)
#if !defined(__CUDACC__)
#include "instar/ops/cpu/channels_last.hpp"
#endif
#if defined(__CUDACC__) || defined(INSTAR_CUDA_EMULATED)
#include "instar/ops/cuda/channels_last.cuh"
#endif
#endif

#endif
