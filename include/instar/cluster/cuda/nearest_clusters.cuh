#ifndef INSTAR_CLUSTER_CUDA_NEAREST_CLUSTERS_CUH
#define INSTAR_CLUSTER_CUDA_NEAREST_CLUSTERS_CUH

// Clusters on a GPU as a size, a mean and a variance (detail/linkage_centers.hpp says what their distance D is), and the nearest
// other cluster of many of them at once.
//
//     cluster_centers centers(ctx, "agglomerative", x, kind, factor);          // one cluster a row
//     const auto found = centers.nearest(ctx, alive, rows);                    // rows: places in `alive`, ascending slots
//     centers.merge(ctx, pairs);                                               // (a, b): b becomes the union
//
// As in k-NN, tiles of float products say who may be near enough and double decides, by (distance, slot). Under ward, D is
// ‖a − b‖² / (w_a + w_b) with w = 1 / (2·size), so D < T means ‖a − b‖² − T·w_b < T·w_a: the limit of a row has a slope along the
// columns' weights.

#include <cstdint>
#include <vector>

#include "instar/cluster/cuda/nearest_lists.cuh"
#include "instar/cluster/cuda/rows.cuh"
#include "instar/cluster/detail/knn_rounding.hpp"

namespace instar::cluster::cuda {

/// Slots of clusters, in device memory.
struct cluster_slots {
    double* center;      ///< [n][d], scaled so that lengths are at most 1
    double* spread;      ///< [n] mean squared distance to the centre; 0 under ward
    std::int32_t* size;  ///< [n] points
    index_t d;
    bool ward;

    __device__ double squared_between(std::int32_t a, std::int32_t b) const {
        double sum = 0.0;
        for (index_t c = lane_id(); c < d; c += k_warp_size) {
            const double by = center[a * d + c] - center[b * d + c];
            sum += by * by;
        }
        return warp_sum(sum);
    }
    /// By a warp; symmetric to the last bit.
    __device__ double distance(std::int32_t a, std::int32_t b) const {
        const double squared = squared_between(a, b);
        if (!ward) return squared + (spread[a] + spread[b]);
        const auto n_a = static_cast<double>(size[a]), n_b = static_cast<double>(size[b]);
        return squared * (2.0 * n_a * n_b / (n_a + n_b));
    }
};

/// The living clusters as rows and columns of products. Each array but `alive` in whole tiles.
struct cluster_columns {
    padded_rows rows;           ///< centres about the origin
    const std::int32_t* alive;  ///< slots, ascending
    double* squares;            ///< ‖row‖² + spread
    double* mine;               ///< what a limit on D is multiplied by: w, or 1
    float *base, *norm, *error, *weight;
};

template <class T>
__global__ void cluster_start_kernel(cluster_slots slots, tensor_view<const T, 2> x, const double* factor) {
    const index_t r = own_row();
    if (r >= x.extent(0)) return;
    for (index_t c = lane_id(); c < slots.d; c += k_warp_size)
        slots.center[r * slots.d + c] = static_cast<double>(to_float(x.data()[r * x.stride(0) + c])) * factor[r];
    if (lane_id() == 0) slots.spread[r] = 0.0;
}

template <class A>
__global__ void cluster_columns_kernel(cluster_columns to, cluster_slots slots, const A* origin,
                                       detail::knn_rounding rounding) {
    const index_t m = own_row();
    if (m >= whole_tiles(to.rows.n)) return;
    const bool there = m < to.rows.n;
    const std::int32_t slot = there ? to.alive[m] : 0;
    A sum{};
    for (index_t c = lane_id(); c < to.rows.stride; c += k_warp_size) {
        const A v = there && c < slots.d ? slots.center[slot * slots.d + c] - origin[c] : A{};
        to.rows.row(m)[c] = static_cast<float>(v);
        sum += v * v;
    }
    sum = warp_sum(sum);
    if (lane_id() != 0) return;
    const A spread = there ? slots.spread[slot] : A{}, half = there ? 0.5 / static_cast<A>(slots.size[slot]) : A{};
    to.squares[m] = sum + spread;
    to.mine[m] = slots.ward ? half : 1.0;
    to.base[m] = there ? rounding.base(sum + spread) : INFINITY;
    to.norm[m] = rounding.norm(sum);
    to.error[m] = rounding.error(4.0 * sum);  // products are with twice the row
    to.weight[m] = slots.ward ? detail::float_above(half) : 0.0f;
}

/// What a cluster lets in when its nearest so far is this far. `own`: its column.
__device__ __forceinline__ entry_limit cluster_limit(const cluster_columns& columns,
                                                     const detail::knn_rounding& rounding, bool ward, std::int32_t own,
                                                     double d) {
    if (d == 0.0) return {-INFINITY};  // columns come in order of slots: later ones lose every tie
    const double reach = d * columns.mine[own], size = columns.squares[own];
    // The slope's product and its subtraction round too.
    return {rounding.beyond(reach - size, reach + size), ward ? detail::float_above(d * (1.0 + 0x1.0p-22)) : 0.0f};
}

/// Rows first_row + 128 · block_x …, which are columns names[…], against the first n_first columns of slice block_y, all in double.
template <class I>
__global__ void __launch_bounds__(k_tile_threads)
    nearest_start_kernel(nearest_lists lists, cluster_columns columns, cluster_slots slots, const I* names,
                         index_t n_rows, index_t first_row, index_t tiles_per_slice, detail::knn_rounding rounding,
                         int n_first) {
    shared_memory memory;
    const index_t in_lists = block_x() * k_tile_edge, first = first_row + in_lists;
    warp_lists nearest(memory, lists, block_y(), in_lists, n_rows - first_row, false);
    const index_t begin = block_y() * tiles_per_slice * k_tile_edge, left = columns.rows.n - begin;
    nearest.take_all(static_cast<int>(begin), left < n_first ? static_cast<int>(left) : n_first,
                     [&](int r) { return names[first + r]; });
    nearest.settle(
        0,
        [&](int r, std::int32_t column) {
            return slots.distance(columns.alive[names[first + r]], columns.alive[column]);
        },
        [&](int r, double d) { return cluster_limit(columns, rounding, slots.ward, names[first + r], d); });
    nearest.finish();
}

/// The same rows, now `row_data`, against all other columns of slice block_y.
template <class I>
__global__ void __launch_bounds__(k_tile_threads, 2)
    nearest_clusters_kernel(nearest_lists lists, cluster_columns columns, cluster_slots slots, padded_rows row_data,
                            const I* names, index_t first_row, index_t tiles_per_slice, detail::knn_rounding rounding,
                            int n_first) {
    shared_memory memory;
    const product_stages stages(memory);
    // Places are 32 bits wide, as slots are: registers are scarce.
    const int in_lists = static_cast<int>(block_x()) * k_tile_edge, first = static_cast<int>(first_row) + in_lists,
              n_rows = static_cast<int>(row_data.n);
    warp_lists nearest(memory, lists, block_y(), in_lists, row_data.n - first_row, true);
    const auto distance = [&](int r, std::int32_t column) {
        return slots.distance(columns.alive[names[first + r]], columns.alive[column]);
    };
    const auto limit_at = [&](int r, double d) {
        return cluster_limit(columns, rounding, slots.ward, names[first + r], d);
    };
    const index_t begin = block_y() * tiles_per_slice * k_tile_edge, past = begin + tiles_per_slice * k_tile_edge;
    const int end = static_cast<int>(past < columns.rows.n ? past : columns.rows.n),
              seen = static_cast<int>(begin) + n_first;
    for (int c0 = static_cast<int>(begin); c0 < end; c0 += k_tile_edge) {
        product_tile sums;
        multiply_rows(sums, row_data, first, columns.rows, c0, stages);
        float base[k_tile_each], norm[k_tile_each], weight[k_tile_each];
        INSTAR_UNROLL
        for (int j = 0; j < k_tile_each; ++j) {
            base[j] = c0 + tile_column(j) < seen ? INFINITY : columns.base[c0 + tile_column(j)];
            norm[j] = columns.norm[c0 + tile_column(j)];
            weight[j] = columns.weight[c0 + tile_column(j)];
        }
        INSTAR_UNROLL
        for (int i = 0; i < k_tile_each; ++i) {
            const entry_limit limit = nearest.limit(tile_row(i));
            const int own = first + tile_row(i) < n_rows ? static_cast<int>(names[first + tile_row(i)]) : 0;
            const float error = columns.error[own];
            unsigned hits = 0;
            INSTAR_UNROLL
            for (int j = 0; j < k_tile_each; ++j) {
                const float low = ((base[j] - 2.0f * sums[i][j]) - error * norm[j]) - limit.slope * weight[j];
                hits |= low < limit.below && c0 + tile_column(j) != own ? 1u << j : 0u;
            }
            nearest.take(i, hits, [&](int j) { return c0 + tile_column(j); });
        }
        nearest.settle(k_pending - k_tile_edge, distance, limit_at);
    }
    nearest.settle(0, distance, limit_at);
    nearest.finish();
}

template <class I>
__global__ void nearest_results_kernel(I* slot, double* distance, nearest_lists lists, const I* alive,
                                       index_t first_row, index_t n) {
    const index_t row = own_row();
    if (row >= lists.n_rows || first_row + row >= n) return;
    for_each_nearest(lists, row, [&](index_t, double d, std::int32_t column) {
        slot[first_row + row] = alive[column];
        distance[first_row + row] = d;
    });
}

/// pairs: (a, b) each; b becomes the union, with the same operations as detail/linkage_centers.hpp. A warp a pair.
template <class I>
__global__ void merge_clusters_kernel(cluster_slots slots, const I* pairs, index_t n) {
    const index_t p = own_row();
    if (p >= n) return;
    const I a = pairs[2 * p], b = pairs[2 * p + 1];
    const auto n_a = static_cast<double>(slots.size[a]), n_b = static_cast<double>(slots.size[b]);
    const double share = n_a / (n_a + n_b), between = slots.ward ? 0.0 : slots.squared_between(a, b);
    for (index_t c = lane_id(); c < slots.d; c += k_warp_size)
        slots.center[b * slots.d + c] += share * (slots.center[a * slots.d + c] - slots.center[b * slots.d + c]);
    __syncwarp();  // all have read what changes now
    if (lane_id() != 0) return;
    if (!slots.ward)
        slots.spread[b] = share * slots.spread[a] + (1.0 - share) * slots.spread[b] + share * (1.0 - share) * between;
    slots.size[b] += slots.size[a];
}

/// flags[i] = whether rows pairs[2·i] and pairs[2·i + 1] are equal, value by value. A warp a pair.
template <class T>
__global__ void same_rows_kernel(int* flags, tensor_view<const T, 2> x, const std::int32_t* pairs, index_t n) {
    const index_t p = own_row();
    if (p >= n) return;
    const T *const a = x.data() + pairs[2 * p] * x.stride(0), *const b = x.data() + pairs[2 * p + 1] * x.stride(0);
    bool same = true;
    for (index_t c = lane_id(); c < x.extent(1); c += k_warp_size) same = same && to_float(a[c]) == to_float(b[c]);
    const int all = __all_sync(k_full_warp, same);
    if (lane_id() == 0) flags[p] = all != 0 ? 1 : 0;
}

/// A number that equal rows share and others seldom do. A warp a row.
template <class T>
__global__ void hash_rows_kernel(std::uint64_t* hash, tensor_view<const T, 2> x) {
    const index_t r = own_row();
    if (r >= x.extent(0)) return;
    std::uint64_t sum = 0;
    for (index_t c = lane_id(); c < x.extent(1); c += k_warp_size) {
        const float v = to_float(x.data()[r * x.stride(0) + c]);
        // −0 and 0 are equal. The mixer is that of Steele, Lea and Flood 2014 (SplitMix).
        std::uint64_t z = (v == 0.0f ? 0u : __builtin_bit_cast(std::uint32_t, v)) +
                          0x9e3779b97f4a7c15ull * static_cast<std::uint64_t>(c + 1);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
        sum += z ^ (z >> 31);
    }
    sum = warp_sum(sum);
    if (lane_id() == 0) hash[r] = sum;
}

struct nearest_found {
    std::vector<std::int32_t> slot;
    std::vector<double> distance;
};

class cluster_centers {
public:
    /// factor: of each row, so that its length is at most 1. sizes: of the slots.
    template <class T>
    cluster_centers(cuda_context& ctx, const char* op, const tensor_view<const T, 2>& x, bool ward,
                    const std::vector<double>& factors, const std::vector<std::int32_t>& sizes)
        : op_(op),
          n_(x.extent(0)),
          rounding_(x.extent(1), true),
          center_(ctx, n_ * x.extent(1), op),
          spread_(ctx, n_, op),
          size_(ctx, n_, op),
          origin_(ctx, x.extent(1), op),
          slots_{center_.data(), spread_.data(), size_.data(), x.extent(1), ward} {
        const uploaded<double> factor(ctx, op, factors);
        launch(ctx, op, cluster_start_kernel<T>, grid_of_rows(n_), {k_row_threads}, 0, slots_, x, factor.data());
        ctx.upload(tensor_view<std::int32_t, 1>(size_.data(), {n_}),
                   tensor_view<const std::int32_t, 1>(sizes.data(), {n_}));
        std::vector<double> mean = column_sums(ctx, op, x, 1, factor.data(), nullptr, 1);
        for (double& m : mean) m /= static_cast<double>(n_);
        ctx.upload(tensor_view<double, 1>(origin_.data(), {slots_.d}),
                   tensor_view<const double, 1>(mean.data(), {slots_.d}));
    }

    /// The nearest of `alive`, at least two ascending slots, to each of those at places `rows` in it. n_slices: as search_cut has it.
    nearest_found nearest(cuda_context& ctx, const std::vector<std::int32_t>& alive,
                          const std::vector<std::int32_t>& rows, index_t n_slices = 0) const {
        const auto m = static_cast<index_t>(alive.size()), n = static_cast<index_t>(rows.size()), room = whole_tiles(m);
        const scratch<float> column_memory(ctx, padded_rows::size(m, slots_.d), op_), numbers(ctx, 4 * room, op_);
        const scratch<double> wide(ctx, 2 * room, op_), distance(ctx, n, op_);
        const scratch<std::int32_t> slot(ctx, n, op_);
        const uploaded<std::int32_t> alive_slots(ctx, op_, alive), names(ctx, op_, rows);
        float* const f = numbers.data();
        const cluster_columns columns{padded_rows(column_memory.data(), m, slots_.d),
                                      alive_slots.data(),
                                      wide.data(),
                                      wide.data() + room,
                                      f,
                                      f + room,
                                      f + 2 * room,
                                      f + 3 * room};
        launch(ctx, op_, cluster_columns_kernel<double>, grid_of_rows(room), {k_row_threads}, 0, columns, slots_,
               origin_.data(), rounding_);
        // All of them are their own rows.
        const scratch<float> row_memory(ctx, n == m ? 0 : padded_rows::size(n, slots_.d), op_);
        const padded_rows row_data = n == m ? columns.rows : padded_rows(row_memory.data(), n, slots_.d);
        if (n != m) {
            launch(ctx, op_, gather_rows_kernel<std::int32_t>, grid_of_rows(whole_tiles(n)), {k_row_threads}, 0,
                   row_data, columns.rows, names.data());
        }
        const search_cut cut(ctx, n, m, 1, n_slices);
        const nearest_list_memory memory(ctx, op_, cut.rows_at_once, cut.n_slices, 1);
        for (index_t first = 0; first < n; first += cut.rows_at_once) {
            const index_t here = std::min(cut.rows_at_once, n - first);
            const extent3 grid{blocks_for(here, k_tile_edge), static_cast<unsigned>(cut.n_slices)};
            launch(ctx, op_, nearest_start_kernel<std::int32_t>, grid, {k_tile_threads}, warp_lists::k_bytes,
                   memory.lists(), columns, slots_, names.data(), n, first, cut.tiles_per_slice, rounding_,
                   cut.n_first);
            launch(ctx, op_, nearest_clusters_kernel<std::int32_t>, grid, {k_tile_threads},
                   product_stages::k_bytes + warp_lists::k_bytes, memory.lists(), columns, slots_, row_data,
                   names.data(), first, cut.tiles_per_slice, rounding_, cut.n_first);
            launch(ctx, op_, nearest_results_kernel<std::int32_t>, grid_of_rows(here), {k_row_threads}, 0, slot.data(),
                   distance.data(), memory.lists(), alive_slots.data(), first, n);
        }
        return {downloaded<std::int32_t>(ctx, slot.data(), n), downloaded<double>(ctx, distance.data(), n)};
    }

    /// pairs: (a, b) one after the other; no cluster is in two of them.
    void merge(cuda_context& ctx, const std::vector<std::int32_t>& pairs) const {
        const auto n = static_cast<index_t>(pairs.size()) / 2;
        const uploaded<std::int32_t> on_device(ctx, op_, pairs);
        launch(ctx, op_, merge_clusters_kernel<std::int32_t>, grid_of_rows(n), {k_row_threads}, 0, slots_,
               on_device.data(), n);
    }

private:
    const char* op_;
    index_t n_;
    detail::knn_rounding rounding_;
    scratch<double> center_, spread_;
    scratch<std::int32_t> size_;
    scratch<double> origin_;
    cluster_slots slots_;
};

}  // namespace instar::cluster::cuda

#endif
