#ifndef INSTAR_CLUSTER_CUDA_ROWS_CUH
#define INSTAR_CLUSTER_CUDA_ROWS_CUH

// What the clusterers ask of the rows of a matrix in device memory before their real work: whether they are finite, how long they
// are, where their middle lies, and a copy of them about that point.
//
//     const auto squares = row_squares(ctx, "knn", x);                 // ‖x‖², on the host
//     check_finite_rows(ctx, "knn", "queries row", x, squares);
//     center_rows(ctx, "knn", padded, norms, x, factor, shift);        // padded = factor · x − shift, in float
//
// Statistics are double. Sums over rows are cut into ranges that depend on the shape alone and are added in order.

#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "instar/cluster/cuda/row_products.cuh"
#include "instar/core/tensor.hpp"
#include "instar/cuda/row_group.cuh"

namespace instar::cluster::cuda {

inline constexpr unsigned k_row_threads = k_block_warps * k_warp_size;  ///< of kernels with a warp a row

/// A host vector's copy on the device, for one operator's duration.
template <class T>
class uploaded {
public:
    uploaded(cuda_context& ctx, const char* op, std::span<const T> from)
        : memory_(ctx, static_cast<index_t>(from.size()), op) {
        const auto n = static_cast<index_t>(from.size());
        if (n > 0) ctx.upload(tensor_view<T, 1>(memory_.data(), {n}), tensor_view<const T, 1>(from.data(), {n}));
    }
    const T* data() const noexcept { return memory_.data(); }

private:
    scratch<T> memory_;
};

template <class T>
std::vector<T> downloaded(cuda_context& ctx, const T* from, index_t n) {
    std::vector<T> to(static_cast<std::size_t>(n));
    if (n > 0) ctx.download(tensor_view<T, 1>(to.data(), {n}), tensor_view<const T, 1>(from, {n}));
    return to;
}

/// The row of a kernel with a warp a row.
__device__ __forceinline__ index_t own_row() { return block_x() * k_block_warps + warp_id(); }
inline extent3 grid_of_rows(index_t n) { return {blocks_for(n, k_block_warps)}; }

template <class T>
__global__ void row_squares_kernel(double* squares, tensor_view<const T, 2> x) {
    const index_t r = own_row();
    if (r >= x.extent(0)) return;
    const T* const row = x.data() + r * x.stride(0);
    double sum = 0.0;
    for (index_t c = lane_id(); c < x.extent(1); c += k_warp_size) {
        const double v = static_cast<double>(to_float(row[c]));
        sum += v * v;
    }
    sum = warp_sum(sum);
    if (lane_id() == 0) squares[r] = sum;
}

/// ‖x‖² of every row.
template <class T>
std::vector<double> row_squares(cuda_context& ctx, const char* op, const tensor_view<const T, 2>& x) {
    const scratch<double> squares(ctx, x.extent(0), op);
    launch(ctx, op, row_squares_kernel<T>, grid_of_rows(x.extent(0)), {k_row_threads}, 0, squares.data(), x);
    return downloaded<double>(ctx, squares.data(), x.extent(0));
}

/// Throws value_error "op: what 4, column 2 is not finite" for the first such row.
template <class T>
void check_finite_rows(cuda_context& ctx, const char* op, const char* what, const tensor_view<const T, 2>& x,
                       const std::vector<double>& squares) {
    // Squares of floats do not overflow in double, so a sum of them is finite exactly when the row is.
    for (index_t r = 0; r < x.extent(0); ++r) {
        if (std::isfinite(squares[static_cast<std::size_t>(r)])) continue;
        const std::vector<T> row = downloaded<T>(ctx, x.data() + r * x.stride(0), x.extent(1));
        index_t c = 0;
        while (std::isfinite(static_cast<float>(row[static_cast<std::size_t>(c)]))) ++c;
        throw value_error(std::string(op) + ": " + what + " " + std::to_string(r) + ", column " + std::to_string(c) +
                          " is not finite");
    }
}
/// Throws value_error "op: what 4 is zero, why" for the first row of length 0.
inline void check_no_zero_row(const char* op, const char* what, const std::vector<double>& squares, const char* why) {
    for (std::size_t r = 0; r < squares.size(); ++r) {
        if (squares[r] == 0.0)
            throw value_error(std::string(op) + ": " + what + " " + std::to_string(r) + " is zero, " + why);
    }
}

/// to = value, n times.
template <class V>
__global__ void set_all_kernel(V* to, index_t n, V value) {
    const index_t i = grid_thread();
    if (i < n) to[i] = value;
}
template <class V>
void set_all(cuda_context& ctx, const char* op, V* to, index_t n, V value) {
    launch(ctx, op, set_all_kernel<V>, {blocks_for(n, 256)}, {256}, 0, to, n, value);
}

/// sums[range][c] = Σ (factor · x − about)^power over rows range.begin …, `step` apart; power 1 or 2. Lane = column.
template <class T>
__global__ void column_sums_kernel(double* sums, tensor_view<const T, 2> x, index_t step, index_t n_rows,
                                   index_t rows_per_range, const double* factor, const double* about, int power) {
    INSTAR_SHARED_ARRAY(double, parts, k_block_warps* k_warp_size);
    const index_t c = block_x() * k_warp_size + lane_id(), begin = block_y() * rows_per_range;
    const index_t end = begin + rows_per_range < n_rows ? begin + rows_per_range : n_rows;
    double sum = 0.0;
    if (c < x.extent(1)) {
        const double middle = about != nullptr ? about[c] : 0.0;
        for (index_t i = begin + warp_id(); i < end; i += k_block_warps) {
            const index_t r = i * step;
            const double v =
                (factor != nullptr ? factor[r] : 1.0) * static_cast<double>(to_float(x.data()[r * x.stride(0) + c])) -
                middle;
            sum += power == 2 ? v * v : v;
        }
    }
    parts[thread_x()] = sum;
    __syncthreads();
    if (warp_id() != 0 || c >= x.extent(1)) return;
    for (int w = 1; w < k_block_warps; ++w) {
        const double part = parts[w * k_warp_size + lane_id()];
        sum += part;
    }
    sums[block_y() * x.extent(1) + c] = sum;
}

/// Σ (factor · x − about)^power of the columns of every step-th row. factor and about: device memory, or null for 1 and 0.
template <class T>
std::vector<double> column_sums(cuda_context& ctx, const char* op, const tensor_view<const T, 2>& x, index_t step,
                                const double* factor, const double* about, int power) {
    const index_t n = ceil_div(x.extent(0), step), d = x.extent(1);
    std::vector<double> sums(static_cast<std::size_t>(d), 0.0);
    if (n == 0 || d == 0) return sums;
    const index_t rows_per_range = std::max<index_t>(256, ceil_div(n, 256)), n_ranges = ceil_div(n, rows_per_range);
    const scratch<double> parts(ctx, n_ranges * d, op);
    launch(ctx, op, column_sums_kernel<T>, {blocks_for(d, k_warp_size), static_cast<unsigned>(n_ranges)},
           {k_row_threads}, 0, parts.data(), x, step, n, rows_per_range, factor, about, power);
    const std::vector<double> all = downloaded<double>(ctx, parts.data(), n_ranges * d);
    for (std::size_t i = 0; i < all.size(); ++i) sums[i % sums.size()] += all[i];
    return sums;
}

/// to = factor · x − shift, rounded once; squares, unless null, = Σ to² before it was rounded.
template <class T>
__global__ void center_rows_kernel(padded_rows to, double* squares, tensor_view<const T, 2> x, const double* factor,
                                   const double* shift) {
    const index_t r = own_row(), d = x.extent(1);
    if (r >= whole_tiles(to.n)) return;
    double sum = 0.0;
    for (index_t c = lane_id(); c < to.stride; c += k_warp_size) {
        double v = 0.0;
        if (r < to.n && c < d) {
            v = static_cast<double>(to_float(x.data()[r * x.stride(0) + c]));
            if (factor != nullptr) v *= factor[r];
            if (shift != nullptr) v -= shift[c];
        }
        to.row(r)[c] = static_cast<float>(v);
        sum += v * v;
    }
    sum = warp_sum(sum);
    if (lane_id() == 0 && r < to.n && squares != nullptr) squares[r] = sum;
}

/// factor: of each row, shift: of each column, in device memory; null for 1 and 0. squares: [n] or null.
template <class T>
void center_rows(cuda_context& ctx, const char* op, const padded_rows& to, double* squares,
                 const tensor_view<const T, 2>& x, const double* factor, const double* shift) {
    launch(ctx, op, center_rows_kernel<T>, grid_of_rows(whole_tiles(to.n)), {k_row_threads}, 0, to, squares, x, factor,
           shift);
}

/// to = the chosen rows of from, zeros past them. A warp a row.
template <class I>
__global__ void gather_rows_kernel(padded_rows to, padded_rows from, const I* chosen) {
    const index_t r = own_row();
    if (r >= whole_tiles(to.n)) return;
    for (index_t p = lane_id(); p < to.stride; p += k_warp_size)
        to.row(r)[p] = r < to.n ? from.row(chosen[r])[p] : 0.0f;
}

}  // namespace instar::cluster::cuda

#endif
