#ifndef INSTAR_CLUSTER_DETAIL_UMAP_DEVICE_LAYOUT_HPP
#define INSTAR_CLUSTER_DETAIL_UMAP_DEVICE_LAYOUT_HPP

// UMAP's descent on a GPU, for the program that lays out and for instar::compiled; umap.hpp calls it.
//
//     umap_device_layout<float>(gpu, {graph.start, graph.column, graph.weight}, options, y, y, seed);      // y moves

#include <cstdint>
#include <span>

#include "instar/cluster/detail/umap_schedule.hpp"
#include "instar/core/tensor.hpp"

namespace instar {
class cuda_context;
}

namespace instar::cluster::detail {

/// A graph's rows, on the host: start [n + 1], column and weight [start[n]].
struct umap_edges {
    std::span<const index_t> start;
    std::span<const std::int32_t> column;
    std::span<const float> weight;
};

/// umap_layout::run on a device: the same groups, draws, moves and order of additions, from and to the host. A warp moves a vertex, a thread
/// one of at most eight coordinates. Squared distances and powers round otherwise than on the CPU, as they do there between instruction sets,
/// and a descent amplifies that: layouts agree to rounding for a few epochs, then as those of two seeds do. The same bits on every run.
///
/// Memory on the device: 4·(2·n + n_tails)·m bytes, 16 an edge, 4·m for each edge of the largest of 32 groups, and at most 8·32·n for the order
/// of additions. Two launches a group and epoch; the host waits at the end, and after each epoch when there is a progress function.
/// T is float: a template, so that instar::compiled can hold it.
template <class T>
void umap_device_layout(cuda_context& ctx, const umap_edges& graph, const umap_layout_options& options, tensor<T, 2>& heads,
                        const tensor<T, 2>& tails, std::uint64_t seed);

}  // namespace instar::cluster::detail

#if !defined(INSTAR_COMPILED) && (defined(__CUDACC__) || defined(INSTAR_CUDA_EMULATED))
#include "instar/cluster/cuda/umap_layout.cuh"
#endif

#endif
