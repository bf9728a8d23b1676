#ifndef INSTAR_CLUSTER_CUDA_GIVEN_DISTANCES_CUH
#define INSTAR_CLUSTER_CUDA_GIVEN_DISTANCES_CUH

// Distances that a caller gives in device memory: whether they can be some, and a condensed copy of them.
//
//     const given_distances<float> given{data, n, stride, true};
//     check_given(ctx, op, given);
//     copy_given(ctx, op, matrix, given);

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "instar/cluster/cuda/linkage_distances.cuh"
#include "instar/cluster/detail/linkage_checks.hpp"

namespace instar::cluster::cuda {

template <class T>
struct given_distances {
    const T* data;
    index_t n, stride;  ///< stride: of rows, when square
    bool square;        ///< else the part above the diagonal, row by row

    INSTAR_HOST_DEVICE index_t place(index_t i, index_t j) const {
        return square ? i * stride + j : i * n - i * (i + 1) / 2 + j - i - 1;
    }
    __device__ double operator()(index_t i, index_t j) const { return static_cast<double>(data[place(i, j)]); }
};

/// Of row block_x: largest, and the first column whose element is not finite; n: none.
template <class T>
__global__ void finite_distances_kernel(given_distances<T> given, double* largest, std::int32_t* column) {
    const index_t i = block_x();
    nearest_slot bad{0.0, static_cast<std::int32_t>(given.n)}, below{0.0, 0};
    for (index_t j = (given.square ? 0 : i + 1) + thread_x(); j < given.n; j += k_nearest_threads) {
        const double d = given(i, j);
        if (!(fabs(d) < INFINITY)) bad.take({0.0, static_cast<std::int32_t>(j)});
        else below.take({-d, 0});
    }
    bad = nearest_of_block(bad);
    __syncthreads();  // the first search's shared memory has been read
    below = nearest_of_block(below);
    if (thread_x() != 0) return;
    column[i] = bad.slot;
    largest[i] = -below.distance;
}

/// Of row block_x: the first column whose element is refused; n: none.
template <class T>
__global__ void refused_distances_kernel(given_distances<T> given, double largest, std::int32_t* column) {
    const index_t i = block_x();
    nearest_slot bad{0.0, static_cast<std::int32_t>(given.n)};
    for (index_t j = (given.square ? i : i + 1) + thread_x(); j < given.n; j += k_nearest_threads) {
        const double d = given(i, j), mirrored = given.square ? given(j, i) : d;
        if (detail::refused_distance(d, mirrored, i == j, largest)) bad.take({0.0, static_cast<std::int32_t>(j)});
    }
    bad = nearest_of_block(bad);
    if (thread_x() == 0) column[i] = bad.slot;
}

/// Throws as the CPU does (detail/agglomerative_checks.hpp).
template <class T>
void check_given(cuda_context& ctx, const char* op, const given_distances<T>& given) {
    const index_t n = given.n;
    const scratch<double> row_largest(ctx, n, op);
    const scratch<std::int32_t> columns(ctx, n, op);
    const auto first_bad = [&] {
        const std::vector<std::int32_t> column = downloaded<std::int32_t>(ctx, columns.data(), n);
        index_t i = 0;
        while (i < n && column[static_cast<std::size_t>(i)] == n) ++i;
        return std::pair<index_t, index_t>{i, i < n ? column[static_cast<std::size_t>(i)] : n};
    };
    launch(ctx, op, finite_distances_kernel<T>, {blocks_for(n, 1)}, {k_nearest_threads}, 0, given, row_largest.data(),
           columns.data());
    if (const auto [i, j] = first_bad(); i < n) detail::throw_infinite_distance(i, j);
    double largest = 0.0;
    for (const double v : downloaded<double>(ctx, row_largest.data(), n)) largest = std::max(largest, v);
    launch(ctx, op, refused_distances_kernel<T>, {blocks_for(n, 1)}, {k_nearest_threads}, 0, given, largest,
           columns.data());
    if (const auto [i, j] = first_bad(); i < n) {
        const auto at = [&, &from = given](index_t r, index_t c) {
            return static_cast<double>(downloaded<T>(ctx, from.data + from.place(r, c), 1)[0]);
        };
        const double d = at(i, j);
        detail::throw_refused_distance(i, j, d, given.square ? at(j, i) : d, largest);
    }
}

/// Row block_x; rounding below 0 counts as 0.
template <class S, class T>
__global__ void copy_given_kernel(condensed_matrix<S> to, given_distances<T> given) {
    const index_t i = block_x(), j = block_y() * k_nearest_threads + thread_x();
    if (j <= i || j >= to.n) return;
    const double d = given(i, j);
    to(i, j) = static_cast<S>(d > 0.0 ? d : 0.0);
}
template <class S, class T>
void copy_given(cuda_context& ctx, const char* op, const condensed_matrix<S>& to, const given_distances<T>& given) {
    launch(ctx, op, copy_given_kernel<S, T>, {blocks_for(to.n, 1), blocks_for(to.n, k_nearest_threads)},
           {k_nearest_threads}, 0, to, given);
}

}  // namespace instar::cluster::cuda

#endif
