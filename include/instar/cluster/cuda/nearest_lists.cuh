#ifndef INSTAR_CLUSTER_CUDA_NEAREST_LISTS_CUH
#define INSTAR_CLUSTER_CUDA_NEAREST_LISTS_CUH

// The k nearest found so far for each row of a block's tile, while products come in. A warp owns sixteen rows and their lists:
// nothing is locked, nothing waits for another warp.
//
//     warp_lists lists(memory, at, first_row, n_rows);
//     lists.take(i, hits, [&](int j) { return name; });   // those of row i's tile whose bits are set
//     lists.settle(128, [&](row, name) { return distance; }, [&](row, kth) { return entry_limit{…}; });
//
// A candidate first waits in `pending`. When another tile might not fit, the warp computes the distances of all that wait, in
// double, sorts them, and merges them into the row's list of the k best, whose last distance then says what may enter. Distances
// decide, with ties to the smaller name, so the lists do not depend on the order in which candidates came.

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "instar/cluster/cuda/row_products.cuh"

namespace instar::cluster::cuda {

inline constexpr int k_pending =
    2 * k_tile_edge;  ///< candidates that wait at most: room for a tile after any that is left

/// Lists of n_rows rows by n_slices slices of what is searched, in device memory.
struct nearest_lists {
    index_t n_rows, n_slices, k;
    std::int32_t* pending;  ///< [slice][row][k_pending]
    double* distance;       ///< [turn][slice][row][k], increasing
    std::int32_t* name;     ///< the same
    int *count, *turn;      ///< [slice][row]: how many there are, and which of the two copies holds them
    float *below, *slope;   ///< [slice][row]: entry_limit

    __device__ index_t place(index_t slice, index_t row) const { return slice * n_rows + row; }
    __device__ index_t list(int which, index_t place) const { return (which * n_slices * n_rows + place) * k; }
};

/// How a search of some rows among some columns is cut; no result depends on it.
struct search_cut {
    index_t tiles_per_slice, n_slices;  ///< of the columns
    index_t rows_at_once;               ///< in whole tiles
    /// Columns of a slice that a kernel of its own compares in double before the first tile, of which all 128 would pass without a limit. With m of
    /// them some 128·k / m of the tile pass, so √(128·k) make the least work; from k = 32 on no number makes less.
    int n_first;

    /// slices 0: as many as keep the device busy. list_bytes: of lists at once.
    search_cut(cuda_context& ctx, index_t n_rows, index_t n_columns, index_t k, index_t slices = 0,
               index_t list_bytes = index_t{256} << 20) {
        const index_t n_tiles = ceil_div(n_columns, k_tile_edge), row_tiles = ceil_div(n_rows, k_tile_edge);
        const index_t busy = 8 * static_cast<index_t>(ctx.properties().n_multiprocessors);
        const index_t affordable = std::max<index_t>(1, list_bytes / (k_tile_edge * bytes_of_row(k)));
        const index_t wanted = slices > 0 ? slices : std::min({ceil_div(busy, row_tiles), affordable, index_t{16}});
        tiles_per_slice = ceil_div(n_tiles, std::min(wanted, n_tiles));
        n_slices = ceil_div(n_tiles, tiles_per_slice);
        const index_t room = list_bytes / (n_slices * bytes_of_row(k)) / k_tile_edge * k_tile_edge;
        rows_at_once = std::clamp<index_t>(room, k_tile_edge, whole_tiles(n_rows));
        n_first = k < 32 ? static_cast<int>(std::ceil(std::sqrt(static_cast<double>(k_tile_edge * k)))) : 0;
    }
    /// Of a row's lists in a slice.
    static index_t bytes_of_row(index_t k) { return 24 * k + 4 * k_pending + 16; }
};

/// Owns the memory of nearest_lists.
class nearest_list_memory {
public:
    nearest_list_memory(cuda_context& ctx, const char* op, index_t n_rows, index_t n_slices, index_t k)
        : pending_(ctx, n_slices * n_rows * k_pending, op),
          distance_(ctx, 2 * n_slices * n_rows * k, op),
          name_(ctx, 2 * n_slices * n_rows * k, op),
          numbers_(ctx, 2 * n_slices * n_rows, op),
          limits_(ctx, 2 * n_slices * n_rows, op),
          lists_{n_rows,
                 n_slices,
                 k,
                 pending_.data(),
                 distance_.data(),
                 name_.data(),
                 numbers_.data(),
                 numbers_.data() + n_slices * n_rows,
                 limits_.data(),
                 limits_.data() + n_slices * n_rows} {}
    const nearest_lists& lists() const noexcept { return lists_; }

private:
    scratch<std::int32_t> pending_;
    scratch<double> distance_;
    scratch<std::int32_t> name_;
    scratch<int> numbers_;
    scratch<float> limits_;
    nearest_lists lists_;
};

/// Whether (a, name_a) comes before (b, name_b).
__device__ __forceinline__ bool nearer(double a, std::int32_t name_a, double b, std::int32_t name_b) {
    return a < b || (a == b && name_a < name_b);
}
/// How many of n elements in order come before (x, name).
template <class Distances, class Names>
__device__ __forceinline__ int count_nearer(const Distances& distances, const Names& names, int n, double x,
                                            std::int32_t name) {
    int begin = 0, end = n;
    while (begin < end) {
        const int middle = (begin + end) / 2;
        const double d = distances[middle];
        const std::int32_t other = names[middle];
        if (nearer(d, other, x, name)) begin = middle + 1;
        else end = middle;
    }
    return begin;
}

/// A candidate whose lower bound less slope · (a weight of the candidate's own) is not below the limit cannot enter.
struct entry_limit {
    float below, slope = 0.0f;
};

class warp_lists {
public:
    static constexpr std::size_t k_bytes =
        instar::cuda::shared_bytes<double>(k_tile_threads / k_warp_size * k_pending) +
        instar::cuda::shared_bytes<std::int32_t>(k_tile_threads / k_warp_size * k_pending) +
        3 * instar::cuda::shared_bytes<int>(k_tile_edge) + 2 * instar::cuda::shared_bytes<float>(k_tile_edge);

    /// For rows first_row … of the lists; those from n_rows on are not there. started: go on with what `finish` left.
    __device__ warp_lists(shared_memory& memory, const nearest_lists& lists, index_t slice, index_t first_row,
                          index_t n_rows, bool started)
        : lists_(lists),
          first_(lists.place(slice, first_row)),
          distance_(memory.take<double>(k_tile_threads / k_warp_size * k_pending) + warp_id() * k_pending),
          name_(memory.take<std::int32_t>(k_tile_threads / k_warp_size * k_pending) + warp_id() * k_pending),
          waiting_(memory.take<int>(k_tile_edge)),
          count_(memory.take<int>(k_tile_edge)),
          turn_(memory.take<int>(k_tile_edge)),
          below_(memory.take<float>(k_tile_edge)),
          slope_(memory.take<float>(k_tile_edge)) {
        if (lane_id() < k_warp_rows) {
            const int r = warp_row(lane_id());
            waiting_[r] = 0;
            count_[r] = started ? lists.count[first_ + r] : 0;
            turn_[r] = started ? lists.turn[first_ + r] : 0;
            below_[r] = first_row + r >= n_rows ? -INFINITY : started ? lists.below[first_ + r] : INFINITY;
            slope_[r] = started ? lists.slope[first_ + r] : 0.0f;
        }
        __syncwarp();
    }

    /// Of the list of row r of the tile.
    __device__ entry_limit limit(int r) const { return {below_[r], slope_[r]}; }

    /// Candidates first … first + n − 1, but for own(r), wait for every row.
    template <class Own>
    __device__ void take_all(int first, int n, Own&& own) {
        for (int m = 0; m < k_warp_rows; ++m) {
            const int r = warp_row(m);
            const float below = below_[r];
            if (below == -INFINITY) continue;  // the row is not there
            const int left_out = static_cast<int>(own(r)) - first;
            const bool inside = left_out >= 0 && left_out < n;
            for (int e = lane_id(); e < (inside ? n - 1 : n); e += k_warp_size)
                lists_.pending[(first_ + r) * k_pending + e] = first + e + (inside && e >= left_out ? 1 : 0);
            if (lane_id() == 0) waiting_[r] = inside ? n - 1 : n;
        }
        __syncwarp();
    }

    /// Adds the candidates of the warp's two rows tile_row(i) whose bits are set in `hits`: bit j is column tile_column(j) of this
    /// thread's. name(j) is the candidate's name. All lanes call it.
    template <class Name>
    __device__ void take(int i, unsigned hits, Name&& name) {
        if (__any_sync(k_full_warp, hits != 0) == 0) return;
        const int r = tile_row(i), n = __popc(hits);
        int before = n;  // how many the lanes of this row up to this one have
        INSTAR_UNROLL
        for (int offset = 1; offset < k_tile_side; offset *= 2) {
            const int other = __shfl_up_sync(k_full_warp, before, static_cast<unsigned>(offset), k_tile_side);
            if (lane_id() % k_tile_side >= offset) before += other;
        }
        const int waiting = waiting_[r];
        std::int32_t* to = lists_.pending + (first_ + r) * k_pending + waiting + before - n;
        INSTAR_UNROLL
        for (int j = 0; j < k_tile_each; ++j) {
            if ((hits >> j & 1u) != 0) *to++ = name(j);
        }
        __syncwarp();
        if (lane_id() % k_tile_side == k_tile_side - 1) waiting_[r] = waiting + before;
        __syncwarp();
    }

    /// Merges what waits into the lists of those rows where more than `at_most` wait. distance(r, name): by all lanes, the same in
    /// all of them; limit(r, kth distance): of a list that is full.
    template <class Distance, class Limit>
    __device__ void settle(int at_most, Distance&& distance, Limit&& limit) {
        for (int m = 0; m < k_warp_rows; ++m) {
            const int r = warp_row(m), n = waiting_[r];
            if (n <= at_most) continue;  // the same in all lanes
            const std::int32_t* const from = lists_.pending + (first_ + r) * k_pending;
            for (int e = 0; e < n; ++e) {
                const std::int32_t name = from[e];
                const double d = distance(r, name);
                if (lane_id() == 0) {
                    distance_[e] = d;
                    name_[e] = name;
                }
            }
            sort_pending(n);
            merge(r, n, limit);
        }
    }

    /// Leaves everything to the kernel that reads the lists, or goes on with them.
    __device__ void finish() const {
        if (lane_id() >= k_warp_rows) return;
        const int r = warp_row(lane_id());
        lists_.count[first_ + r] = count_[r];
        lists_.turn[first_ + r] = turn_[r];
        lists_.below[first_ + r] = below_[r];
        lists_.slope[first_ + r] = slope_[r];
    }

private:
    /// Bitonic, over the next power of two.
    __device__ void sort_pending(int n) {
        int size = 2;
        while (size < n) size *= 2;
        for (int e = n + lane_id(); e < size; e += k_warp_size) {
            distance_[e] = static_cast<double>(INFINITY);
            name_[e] = 0x7fffffff;
        }
        __syncwarp();
        for (int run = 2; run <= size; run *= 2) {
            for (int step = run / 2; step > 0; step /= 2) {
                for (int p = lane_id(); p < size / 2; p += k_warp_size) {
                    const int low = 2 * p - (p & (step - 1)), high = low + step;
                    const double a = distance_[low], b = distance_[high];
                    const std::int32_t name_a = name_[low], name_b = name_[high];
                    if (nearer(b, name_b, a, name_a) == ((low & run) == 0)) {
                        distance_[low] = b;
                        distance_[high] = a;
                        name_[low] = name_b;
                        name_[high] = name_a;
                    }
                }
                __syncwarp();
            }
        }
    }

    /// The k first of a row's list and of the n that are sorted. An element's place is the number of those before it.
    template <class Limit>
    __device__ void merge(int r, int n, Limit&& limit) {
        const int have = count_[r], turn = turn_[r];
        const auto k = static_cast<int>(lists_.k);
        const index_t from = lists_.list(turn, first_ + r), to = lists_.list(1 - turn, first_ + r);
        const double* const old_distance = lists_.distance + from;
        const std::int32_t* const old_name = lists_.name + from;
        for (int e = lane_id(); e < n; e += k_warp_size) {
            const double d = distance_[e];
            const std::int32_t name = name_[e];
            put(to, e + count_nearer(old_distance, old_name, have, d, name), d, name);
        }
        for (int e = lane_id(); e < have; e += k_warp_size) {
            const double d = old_distance[e];
            const std::int32_t name = old_name[e];
            put(to, e + count_nearer(distance_, name_, n, d, name), d, name);
        }
        __syncwarp();
        const int now = have + n < k ? have + n : k;
        const entry_limit now_limit = now == k ? limit(r, lists_.distance[to + k - 1]) : entry_limit{INFINITY};
        if (lane_id() == 0) {
            waiting_[r] = 0;
            count_[r] = now;
            turn_[r] = 1 - turn;
            below_[r] = now_limit.below;
            slope_[r] = now_limit.slope;
        }
        __syncwarp();
    }
    __device__ void put(index_t list, int rank, double d, std::int32_t name) const {
        if (rank >= lists_.k) return;
        lists_.distance[list + rank] = d;
        lists_.name[list + rank] = name;
    }

    const nearest_lists& lists_;
    index_t first_;  // of the lists
    shared_array<double> distance_;
    shared_array<std::int32_t> name_;
    shared_array<int> waiting_, count_, turn_;
    shared_array<float> below_, slope_;
};

/// What a row's lists hold, over all slices in order: f(rank, distance, name) for the k first, by the lanes of a warp.
template <class F>
__device__ __forceinline__ void for_each_nearest(const nearest_lists& lists, index_t row, F&& f) {
    for (index_t s = 0; s < lists.n_slices; ++s) {
        const index_t own = lists.place(s, row), begin = lists.list(lists.turn[own], own);
        for (int e = lane_id(); e < lists.count[own]; e += k_warp_size) {
            const double d = lists.distance[begin + e];
            const std::int32_t name = lists.name[begin + e];
            index_t rank = e;
            for (index_t t = 0; t < lists.n_slices && rank < lists.k; ++t) {
                const index_t other = lists.place(t, row), list = lists.list(lists.turn[other], other);
                if (t != s) rank += count_nearer(lists.distance + list, lists.name + list, lists.count[other], d, name);
            }
            if (rank < lists.k) f(rank, d, name);
        }
    }
}

}  // namespace instar::cluster::cuda

#endif
