#ifndef INSTAR_CUDA_PIXELS_CUH
#define INSTAR_CUDA_PIXELS_CUH

// Where a thread stands in images whose channels lie together, and which windows of a convolution or a pooling cover a pixel.
//
//     const pixel_pack at(grid_thread(), height, width, d, W);                        // a pixel, W channels
//     const window_range rows(at.row, height_out, kernel, stride, padding);           // windows i with i·stride − padding ≤ row < … + kernel
//     for (index_t i = rows.begin; i < rows.end; ++i) …

#include "instar/cuda/device.cuh"

namespace instar::cuda {

/// The pixel and the first channel of pack `pack` in [n_batch, height, width, d / w].
struct pixel_pack {
    index_t image, row, column, channel;
    index_t offset;  ///< of the pack's first element

    __device__ pixel_pack(index_t pack, index_t height, index_t width, index_t d, int w) {
        const index_t packs = d / w, pixel = pack / packs, line = pixel / width;
        image = line / height;
        row = line - image * height;
        column = pixel - line * width;
        channel = (pack - pixel * packs) * w;
        offset = pixel * d + channel;
    }
};

/// The windows along one direction that hold position x: [begin, end) of n.
struct window_range {
    index_t begin, end;

    __device__ window_range(index_t x, index_t n, index_t kernel, index_t stride, index_t padding) {
        const index_t last = (x + padding) / stride, before = x + padding - kernel;  // windows up to before / stride end too early
        begin = before < 0 ? 0 : before / stride + 1;
        end = last + 1 < n ? last + 1 : n;
    }
};

}  // namespace instar::cuda

#endif
