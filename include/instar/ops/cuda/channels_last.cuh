#ifndef INSTAR_OPS_CUDA_CHANNELS_LAST_CUH
#define INSTAR_OPS_CUDA_CHANNELS_LAST_CUH

// Planes to pixels on a GPU: a thread a pixel, so that a warp reads a run of each plane and writes one run.
//
//     ops::channels_last(ctx, y, x);

#include "instar/cuda/launch.cuh"
#include "instar/ops/channels_last.hpp"

namespace instar::ops {

namespace cuda {

template <class T>
__global__ void channels_last_kernel(tensor_view<T, 4> y, tensor_view<const T, 4> x) {
    const index_t height = x.extent(2), width = x.extent(3), channels = x.extent(1), pixel = grid_thread();
    if (pixel >= x.extent(0) * height * width) return;
    const index_t j = pixel % width, i = pixel / width % height, b = pixel / (width * height);
    const T* const from = x.data() + b * x.stride(0) + i * x.stride(2) + j * x.stride(3);
    T* const to = y.data() + pixel * channels;
    for (index_t c = 0; c < channels; ++c) to[c] = from[c * x.stride(1)];
}

}  // namespace cuda

template <class T>
void channels_last(cuda_context& ctx, tensor_view<T, 4> y, in_view<T, 4> x) {
    detail::check_channels_last<T>(y, x);
    const index_t pixels = x.extent(0) * x.extent(2) * x.extent(3);
    cuda::launch(ctx, "channels_last", cuda::channels_last_kernel<T>, {cuda::blocks_for(pixels, 256)}, {256}, 0, y, x);
}

}  // namespace instar::ops

#endif
