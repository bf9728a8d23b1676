#ifndef INSTAR_CLUSTER_CUDA_NN_DESCENT_LISTS_CUH
#define INSTAR_CLUSTER_CUDA_NN_DESCENT_LISTS_CUH

// Lists of nearest neighbours so far on a GPU, and the joins that improve them: all pairs of rows that an item names are compared, and
// each row takes what is nearer than what it has.
//
//     nn_joins joins(ctx, "nn_descent", rows, squares, k);
//     joins.run(ctx, items, most_items);                // items: leaves of a tree, or rows with their candidates
//     index_t n_changes = joins.n_changes(ctx);         // since the last call
//
// Two kernels a chunk of items. The first multiplies an item's rows, tile by tile, and writes the squared distances of each name to the
// others; every place at which a row is named is linked to the row's last one. In the second a warp has a row: it follows the links and
// merges.
//
// No order of threads shows. A pair's distance is one chain over the features, the same bits whichever comes first and whatever item it
// is in; so a list is the k least of a set, whatever order they come in, and links may lie in any order. That makes locks, a sort of
// updates and room for them unnecessary.

#include <cstring>

#include "instar/cluster/cuda/rows.cuh"

namespace instar::cluster::cuda {

/// A neighbour: squared distance, row and two marks; by order of distance, then row.
using nn_key = std::uint64_t;
inline constexpr nn_key k_nn_none = ~nn_key{0};
inline constexpr nn_key k_nn_new = 2;   ///< not yet among its row's candidates
inline constexpr nn_key k_nn_came = 1;  ///< with the merge that goes on
inline constexpr int k_nn_marks = 2;    ///< bits

__device__ __forceinline__ nn_key make_nn_key(float squared, std::int32_t row) {
    std::uint32_t bits = 0;  // of a float that is not negative: 31, ordered as it is
    std::memcpy(&bits, &squared, sizeof bits);
    return static_cast<nn_key>(bits) << 33 | static_cast<nn_key>(row) << k_nn_marks | k_nn_new | k_nn_came;
}
__device__ __forceinline__ std::int32_t nn_row(nn_key key) {
    return static_cast<std::int32_t>(key >> k_nn_marks & 0x7fffffffu);
}

/// Puts key in its place of an ascending list of `room` unless it is there, or beyond the last; low bits do not count. By a warp with the
/// same key.
template <int LowBits, class List>
__device__ void insert_key(List list, index_t room, nn_key key) {
    index_t place = 0;
    for (index_t base = 0; base < room; base += k_warp_size) {
        const index_t j = base + lane_id();
        const nn_key e = j < room ? static_cast<nn_key>(list[j]) : k_nn_none;
        if (__any_sync(k_full_warp, j < room && e >> LowBits == key >> LowBits)) return;
        const unsigned less = __ballot_sync(k_full_warp, j < room && e < key);
        place += __popc(less);
        if (less != k_full_warp) break;
    }
    if (place >= room) return;
    // From the end, so that nothing is overwritten before it has moved.
    for (index_t base = (room - 1) / k_warp_size * k_warp_size; base + k_warp_size > place; base -= k_warp_size) {
        const index_t j = base + lane_id();
        const bool moves = j >= place && j + 1 < room;
        const nn_key e = moves ? static_cast<nn_key>(list[j]) : k_nn_none;
        __syncwarp();
        if (moves) list[j + 1] = e;
        __syncwarp();
    }
    if (lane_id() == 0) list[place] = key;
    __syncwarp();
}
/// The keys of those lanes that have one.
template <int LowBits, class List>
__device__ void insert_keys(List list, index_t room, bool has, nn_key key) {
    const nn_key last = list[room - 1];
    unsigned who = __ballot_sync(k_full_warp, has && key < last);
    while (who != 0) {
        const int lane = __ffs(static_cast<int>(who)) - 1;
        who &= who - 1;
        insert_key<LowBits>(list, room, __shfl_sync(k_full_warp, key, lane));
    }
}

/// Rows to be compared: each fresh one of an item with the item's other fresh ones and with its old ones. Device memory.
struct nn_items {
    const std::int32_t* fresh;
    const std::int32_t* old;      ///< room_old apart
    const index_t* start;         ///< [n + 1] places in `fresh`, and there are no old ones; or null: room_fresh apart
    const std::int32_t* n_fresh;  ///< without start
    const std::int32_t* n_old;
    index_t n, room_fresh, room_old;

    __device__ index_t count_fresh(index_t i) const { return start != nullptr ? start[i + 1] - start[i] : n_fresh[i]; }
    __device__ index_t count(index_t i) const { return count_fresh(i) + (start != nullptr ? 0 : n_old[i]); }
    __device__ std::int32_t name(index_t i, index_t p) const {
        if (start != nullptr) return fresh[start[i] + p];
        const index_t m = n_fresh[i];
        return p < m ? fresh[i * room_fresh + p] : old[i * room_old + p - m];
    }
    index_t most_distances() const { return room_fresh * (room_fresh + 2 * room_old); }
    index_t most_names() const { return room_fresh + room_old; }
};

/// Items first …, n of them, and what is known about them.
struct nn_chunk {
    nn_items items;
    index_t first, n;
    float* distance;     ///< [n][most_distances]
    std::int32_t* next;  ///< [n][most_names] the row's place before, or −1
    std::int32_t* head;  ///< [rows] the row's last place, or −1

    /// Distances of the p-th name: to all names when it is fresh, to the fresh ones when it is old.
    __device__ float* distances(index_t i, index_t p, index_t m) const {
        const index_t f = items.room_fresh, o = items.room_old;
        return distance + i * f * (f + 2 * o) + (p < m ? p * (f + o) : f * (f + o) + (p - m) * f);
    }
    __device__ bool has_pairs(index_t i) const {
        return items.count_fresh(first + i) > 0 && items.count(first + i) > 1;
    }
};

inline constexpr int k_join_edge = 64;  ///< names of a tile's side; a thread has 4 × 4 of its products
inline constexpr int k_join_each = k_join_edge / k_tile_side;
inline constexpr int k_join_pitch = k_join_edge + 4;
inline constexpr int k_join_floats = k_stage_depth * k_join_pitch;

/// 16 depths of names p0 … into shared memory, a depth after the other; zeros past them.
__device__ __forceinline__ void fetch_names(shared_array<float> to, const padded_rows& rows, const nn_items& items,
                                            index_t i, index_t p0, index_t count, index_t depth) {
    const int p = thread_x() / 4, quad = thread_x() % 4 * 4;
    float v[4] = {};
    if (p0 + p < count) load<4>(v, rows.row(items.name(i, p0 + p)) + depth + quad);
    INSTAR_UNROLL
    for (int k = 0; k < 4; ++k) to[(quad + k) * k_join_pitch + p] = v[k];
}
__device__ __forceinline__ void read_four(float (&to)[k_join_each], shared_array<float> from, int at) {
#if defined(__CUDACC__)
    const float4 v = *reinterpret_cast<const float4*>(from + at);
    to[0] = v.x;
    to[1] = v.y;
    to[2] = v.z;
    to[3] = v.w;
#else
    for (int k = 0; k < k_join_each; ++k) to[k] = from[at + k];
#endif
}

/// A block an item.
template <class A>
__global__ void __launch_bounds__(k_tile_threads) nn_join_kernel(nn_chunk chunk, padded_rows rows, const A* squares) {
    INSTAR_SHARED_ARRAY(float, left, k_join_floats);
    INSTAR_SHARED_ARRAY(float, right, k_join_floats);
    const nn_items& items = chunk.items;
    const index_t local = block_x(), i = chunk.first + local, m = items.count_fresh(i), w = items.count(i);
    if (!chunk.has_pairs(local)) return;
    for (index_t p = thread_x(); p < w; p += k_tile_threads) {
        const auto place = static_cast<std::int32_t>(local * items.room_fresh + local * items.room_old + p);
        chunk.next[place] = atomicExch(&chunk.head[items.name(i, p)], place);  // any order: see above
    }
    for (index_t a0 = 0; a0 < m; a0 += k_join_edge) {
        for (index_t b0 = a0; b0 < w; b0 += k_join_edge) {
            A sums[k_join_each][k_join_each] = {};
            for (index_t depth = 0; depth < rows.stride; depth += k_stage_depth) {
                __syncthreads();  // the last depths have been read
                fetch_names(left, rows, items, i, a0, m, depth);
                fetch_names(right, rows, items, i, b0, w, depth);
                __syncthreads();
                INSTAR_UNROLL
                for (int k = 0; k < k_stage_depth; ++k) {
                    float x[k_join_each], y[k_join_each];
                    read_four(x, left, k * k_join_pitch + thread_x() / k_tile_side * k_join_each);
                    read_four(y, right, k * k_join_pitch + thread_x() % k_tile_side * k_join_each);
                    INSTAR_UNROLL
                    for (int r = 0; r < k_join_each; ++r) {
                        INSTAR_UNROLL
                        for (int c = 0; c < k_join_each; ++c) sums[r][c] += x[r] * y[c];
                    }
                }
            }
            INSTAR_UNROLL
            for (int r = 0; r < k_join_each; ++r) {
                const index_t p = a0 + thread_x() / k_tile_side * k_join_each + r;
                INSTAR_UNROLL
                for (int c = 0; c < k_join_each; ++c) {
                    const index_t q = b0 + thread_x() % k_tile_side * k_join_each + c;
                    if (p >= m || q >= w || p >= q) continue;
                    const A v = (squares[items.name(i, p)] + squares[items.name(i, q)]) - (sums[r][c] + sums[r][c]);
                    const A distance = v > A{} ? v : A{};
                    chunk.distances(local, p, m)[q] = distance;
                    chunk.distances(local, q, m)[p] = distance;
                }
            }
        }
    }
}

/// A warp a place; that of a row's first link has the row.
template <class Count>
__global__ void nn_merge_kernel(nn_key* lists, index_t k, nn_chunk chunk, Count* n_changes) {
    const nn_items& items = chunk.items;
    const index_t names = items.room_fresh + items.room_old, own = own_row();
    if (own >= chunk.n * names) return;
    const index_t own_item = own / names;
    if (!chunk.has_pairs(own_item) || own % names >= items.count(chunk.first + own_item)) return;
    if (chunk.next[own] >= 0) return;
    const std::int32_t row = items.name(chunk.first + own_item, own % names);
    nn_key* const list = lists + row * k;
    for (index_t place = chunk.head[row]; place >= 0; place = chunk.next[place]) {
        const index_t local = place / names, i = chunk.first + local, p = place % names, m = items.count_fresh(i),
                      n_others = p < m ? items.count(i) : m;
        const float* const distance = chunk.distances(local, p, m);
        for (index_t base = 0; base < n_others; base += k_warp_size) {
            const index_t q = base + lane_id();
            const bool has = q < n_others && q != p;
            insert_keys<k_nn_marks>(list, k, has, has ? make_nn_key(distance[q], items.name(i, q)) : k_nn_none);
        }
    }
    Count n{};
    for (index_t base = 0; base < k; base += k_warp_size) {
        const index_t j = base + lane_id();
        const bool came = j < k && list[j] != k_nn_none && (list[j] & k_nn_came) != 0;
        if (came) list[j] &= ~k_nn_came;
        n += static_cast<Count>(__popc(__ballot_sync(k_full_warp, came)));
    }
    if (lane_id() != 0) return;
    chunk.head[row] = -1;
    if (n > 0) atomicAdd(n_changes, n);  // whole numbers: any order
}

class nn_joins {
public:
    /// squares: of the rows, device memory. bytes: of distances at once.
    nn_joins(cuda_context& ctx, const char* op, const padded_rows& rows, const float* squares, index_t k, index_t bytes)
        : op_(op),
          rows_(rows),
          squares_(squares),
          k_(k),
          bytes_(bytes),
          lists_(ctx, rows.n * k, op),
          head_(ctx, rows.n, op),
          n_changes_(ctx, 1, op) {
        set_all(ctx, op, lists_.data(), rows.n * k, k_nn_none);
        set_all(ctx, op, head_.data(), rows.n, -1);
        set_all(ctx, op, n_changes_.data(), 1, 0ull);
    }

    nn_key* lists() const { return lists_.data(); }  ///< [rows][k], ascending, device memory
    index_t k() const { return k_; }

    /// At most most_items at a time. Queued.
    void run(cuda_context& ctx, const nn_items& items, index_t most_items) const {
        const index_t each = items.most_distances(), names = items.most_names(),
                      at_once = std::clamp<index_t>(bytes_ / (each * static_cast<index_t>(sizeof(float))), 1,
                                                    std::min(items.n, most_items));
        const scratch<float> distance(ctx, at_once * each, op_);
        const scratch<std::int32_t> next(ctx, at_once * names, op_);
        for (index_t first = 0; first < items.n; first += at_once) {
            const nn_chunk chunk{items,           first,       std::min(at_once, items.n - first),
                                 distance.data(), next.data(), head_.data()};
            launch(ctx, op_, nn_join_kernel<float>, {blocks_for(chunk.n, 1)}, {k_tile_threads}, 0, chunk, rows_,
                   squares_);
            launch(ctx, op_, nn_merge_kernel<unsigned long long>, grid_of_rows(chunk.n * names), {k_row_threads}, 0,
                   lists_.data(), k_, chunk, n_changes_.data());
        }
    }

    /// Entries that came since the last call; waits.
    index_t n_changes(cuda_context& ctx) const {
        const auto n = static_cast<index_t>(downloaded<unsigned long long>(ctx, n_changes_.data(), 1)[0]);
        set_all(ctx, op_, n_changes_.data(), 1, 0ull);
        return n;
    }

private:
    const char* op_;
    padded_rows rows_;
    const float* squares_;
    index_t k_, bytes_;
    scratch<nn_key> lists_;
    scratch<std::int32_t> head_;
    scratch<unsigned long long> n_changes_;
};

}  // namespace instar::cluster::cuda

#endif
