#ifndef INSTAR_CLUSTER_CUDA_UMAP_LAYOUT_CUH
#define INSTAR_CLUSTER_CUDA_UMAP_LAYOUT_CUH

// UMAP's descent on a GPU, in the CPU's scheme (detail/umap_layout.hpp): 32 groups of vertices one after the other. The vertices of a group
// make the moves of their edges at the same time, each as if it were alone, and write down what the other ends of their edges are to move
// by; then every vertex that has something to move by adds it up in the order of the edges. Two kernels a group; no atomics.
//
// Edges lie group by group on the device, so that those of a group have one place each in its list of moves. Who adds what is sorted by
// vertex once, before the first epoch.

#include <algorithm>
#include <cmath>
#include <vector>

#include "instar/cluster/cuda/rows.cuh"
#include "instar/cluster/detail/umap_device_layout.hpp"

namespace instar::cluster {

namespace cuda {

/// The graph in the order of groups, and who adds the moves of a group's edges. On the host.
struct umap_plan {
    std::vector<index_t> start{0};      ///< [n + 1] edges of each vertex, in the order of groups
    std::vector<std::int32_t> column;   ///< of each edge
    std::vector<float> share;           ///< of the epochs, in which the edge is drawn
    std::vector<index_t> vertex_begin;  ///< [n_groups + 1] places of a group's vertices in `start`
    std::vector<index_t> adder_begin;   ///< [n_groups + 1] places in `adder`
    std::vector<std::int32_t> adder;    ///< vertices that add moves of a group, or are of it; ascending within a group
    /// [adders + groups] where each adder's edges begin in its group's part of `edge`, and after a group's last adder where they end.
    std::vector<std::int32_t> added;
    std::vector<std::int32_t> edge;  ///< edges to be added, by adder and in their order; counted within the group
    index_t most_edges = 0;          ///< of a group

    umap_plan(const detail::umap_edges& graph, const detail::umap_groups& groups, bool both_ends)
        : vertex_begin{0},
          adder_begin{0} {
        const auto u = [](index_t i) { return static_cast<std::size_t>(i); };
        const float largest = graph.weight.empty() ? 1.0f : *std::max_element(graph.weight.begin(), graph.weight.end());
        std::vector<std::int32_t> count(u(groups.n)), at(u(groups.n));
        for (index_t group = 0; group < groups.n_groups; ++group) {
            const auto first = static_cast<index_t>(column.size());
            for (index_t k = 0; k < groups.size(group); ++k) {
                const index_t i = groups.vertex(group, k);
                for (index_t e = graph.start[u(i)]; e < graph.start[u(i + 1)]; ++e) {
                    column.push_back(graph.column[u(e)]);
                    share.push_back(graph.weight[u(e)] / largest);
                }
                start.push_back(static_cast<index_t>(column.size()));
            }
            vertex_begin.push_back(static_cast<index_t>(start.size()) - 1);
            const index_t n_edges = static_cast<index_t>(column.size()) - first;
            if (n_edges > 0x7fffffff) throw value_error("umap: more than 2^31 edges in a group of vertices");
            most_edges = std::max(most_edges, n_edges);
            // A counting sort by the vertices that the edges lead to.
            std::fill(count.begin(), count.end(), 0);
            for (index_t e = first; both_ends && e < first + n_edges; ++e) ++count[u(column[u(e)])];
            const auto edges_before = static_cast<index_t>(edge.size());
            std::int32_t total = 0;
            for (index_t i = 0; i < groups.n; ++i) {
                if (count[u(i)] == 0 && i % groups.n_groups != group) continue;
                adder.push_back(static_cast<std::int32_t>(i));
                added.push_back(total);
                at[u(i)] = total;
                total += count[u(i)];
            }
            added.push_back(total);
            adder_begin.push_back(static_cast<index_t>(adder.size()));
            edge.resize(u(edges_before + total));
            for (index_t e = first; both_ends && e < first + n_edges; ++e)
                edge[u(edges_before + at[u(column[u(e)])]++)] = static_cast<std::int32_t>(e - first);
        }
    }
};

/// What the kernels know. Pointers are to device memory.
template <class T>
struct umap_descent {
    const index_t* start;
    const std::int32_t* column;
    const float* share;
    T* at;            ///< [n][m]
    const T* others;  ///< [n_tails][m] where edges and negative samples lead to: `at`, or fixed
    T* moved;         ///< [vertices of a group][m]
    T* pushes;        ///< [edges of a group][m], or null
    index_t m, n_tails, n_groups, n_negative;
    float a, b, repulsion;
    std::uint64_t seed;
    bool same;  ///< others are `at`
};

/// Thread or warp: its number of all in the grid, and its lane.
template <int Lanes>
__device__ __forceinline__ index_t umap_worker() {
    return grid_thread() / Lanes;
}
template <int Lanes>
__device__ __forceinline__ int umap_lane() {
    return Lanes == 1 ? 0 : lane_id();
}

/// ‖x − y‖², in all lanes.
template <int Lanes, class T>
__device__ __forceinline__ float umap_squared_distance(const T* x, const T* y, index_t m) {
    float sum = 0.0f;
    for (index_t c = umap_lane<Lanes>(); c < m; c += Lanes) {
        const float by = x[c] - y[c];
        sum += by * by;
    }
    if constexpr (Lanes == 1) return sum;
    else return warp_sum(sum);
}

__device__ __forceinline__ float umap_clip(float g) { return g > 4.0f ? 4.0f : g < -4.0f ? -4.0f : g; }

/// The moves of a group's vertices: a worker a vertex, which alone reads and writes its row of `moved`.
template <int Lanes, class T>
__global__ void umap_move_kernel(umap_descent<T> u, index_t group, index_t first, index_t size, index_t epoch,
                                 float rate) {
    const index_t k = umap_worker<Lanes>();
    if (k >= size) return;
    const index_t i = k * u.n_groups + group, group_edges = u.start[first];
    T* const x = u.moved + k * u.m;
    for (index_t c = umap_lane<Lanes>(); c < u.m; c += Lanes) x[c] = u.at[i * u.m + c];
    detail::umap_random random(u.seed, epoch, i);
    for (index_t e = u.start[first + k]; e < u.start[first + k + 1]; ++e) {
        if (!detail::umap_drawn(u.share[e], epoch)) continue;
        const T* y = u.others + u.column[e] * u.m;
        float d = umap_squared_distance<Lanes>(x, y, u.m);
        // Towards y: the gradient of log 1/(1 + a·d²ᵇ).
        const float power = d > 0.0f ? powf(d, u.b) : 0.0f;
        const float pull = d > 0.0f ? -2.0f * u.a * u.b * power / (d * (u.a * power + 1.0f)) : 0.0f;
        for (index_t c = umap_lane<Lanes>(); c < u.m; c += Lanes) {
            const float g = rate * umap_clip(pull * (x[c] - y[c]));
            x[c] += g;
            if (u.pushes != nullptr) u.pushes[(e - group_edges) * u.m + c] = -g;
        }
        for (index_t s = 0; s < u.n_negative; ++s) {
            const index_t j = random.below(u.n_tails);
            if (u.same && j == i) continue;
            y = u.others + j * u.m;
            d = umap_squared_distance<Lanes>(x, y, u.m);
            // Away from y; at distance 0 along every axis.
            const float away =
                d > 0.0f ? 2.0f * u.repulsion * u.b / ((0.001f + d) * (u.a * powf(d, u.b) + 1.0f)) : 0.0f;
            for (index_t c = umap_lane<Lanes>(); c < u.m; c += Lanes)
                x[c] += rate * (d > 0.0f ? umap_clip(away * (x[c] - y[c])) : 4.0f);
        }
    }
}

/// The group's vertices go where they moved, and every vertex adds what edges of the group push it by: a worker an adder.
template <int Lanes, class T>
__global__ void umap_settle_kernel(umap_descent<T> u, index_t group, index_t first, const std::int32_t* adder,
                                   const std::int32_t* added, const std::int32_t* edge, index_t n, index_t epoch) {
    const index_t t = umap_worker<Lanes>();
    if (t >= n) return;
    const index_t j = adder[t], group_edges = u.start[first];
    T* const x = u.at + j * u.m;
    if (j % u.n_groups == group) {
        const T* const from = u.moved + j / u.n_groups * u.m;
        for (index_t c = umap_lane<Lanes>(); c < u.m; c += Lanes) x[c] = from[c];
    }
    for (index_t q = added[t]; q < added[t + 1]; ++q) {
        const index_t e = edge[q];
        if (!detail::umap_drawn(u.share[group_edges + e], epoch)) continue;
        for (index_t c = umap_lane<Lanes>(); c < u.m; c += Lanes) x[c] += u.pushes[e * u.m + c];
    }
}

template <int Lanes, class T>
void umap_run(cuda_context& ctx, const char* op, const umap_descent<T>& u, const umap_plan& plan,
              const detail::umap_groups& groups, const detail::umap_layout_options& o) {
    constexpr int k_threads = 128;
    const uploaded<std::int32_t> adder(ctx, op, plan.adder), added(ctx, op, plan.added), edge(ctx, op, plan.edge);
    const auto grid = [](index_t n) { return extent3{blocks_for(n * Lanes, k_threads)}; };
    for (index_t epoch = 0; epoch < o.n_epochs; ++epoch) {
        index_t edges_before = 0;
        for (index_t group = 0; group < groups.n_groups; ++group) {
            const auto at = static_cast<std::size_t>(group);
            const index_t first = plan.vertex_begin[at], size = plan.vertex_begin[at + 1] - first,
                          adders = plan.adder_begin[at], n_adders = plan.adder_begin[at + 1] - adders;
            launch(ctx, op, umap_move_kernel<Lanes, T>, grid(size), {k_threads}, 0, u, group, first, size, epoch,
                   o.rate(epoch));
            // Each group's part of `added` has one number more than it has adders.
            launch(ctx, op, umap_settle_kernel<Lanes, T>, grid(n_adders), {k_threads}, 0, u, group, first,
                   adder.data() + adders, added.data() + adders + group, edge.data() + edges_before, n_adders, epoch);
            edges_before += plan.added[static_cast<std::size_t>(plan.adder_begin[at + 1] + group)];
        }
        if (!o.progress) continue;
        ctx.synchronize();
        o.progress(epoch + 1, o.n_epochs);
    }
}

}  // namespace cuda

namespace detail {

template <class T>
void umap_device_layout(cuda_context& ctx, const umap_edges& graph, const umap_layout_options& o, tensor<T, 2>& heads,
                        const tensor<T, 2>& tails, std::uint64_t seed) {
    const char* const op = "umap";
    const index_t n = heads.extent(0), m = heads.extent(1), n_tails = tails.extent(0);
    if (n == 0) return;
    const bool same = heads.data() == tails.data(), both = same && o.both_ends;
    const umap_groups groups(n);
    const cuda::umap_plan plan(graph, groups, both);
    const cuda::uploaded<index_t> start(ctx, op, plan.start);
    const cuda::uploaded<std::int32_t> column(ctx, op, plan.column);
    const cuda::uploaded<float> share(ctx, op, plan.share);
    const cuda::scratch<T> at(ctx, n * m, op), moved(ctx, groups.largest() * m, op),
        pushes(ctx, both ? plan.most_edges * m : 0, op);
    const cuda::uploaded<T> fixed(ctx, op, {tails.data(), same ? 0 : static_cast<std::size_t>(n_tails * m)});
    const tensor_view<T, 2> there(at.data(), {n, m});
    ctx.upload(there, tensor_view<const T, 2>(heads.view()));
    const cuda::umap_descent<T> u{start.data(),
                                  column.data(),
                                  share.data(),
                                  at.data(),
                                  same ? at.data() : fixed.data(),
                                  moved.data(),
                                  pushes.data(),
                                  m,
                                  n_tails,
                                  groups.n_groups,
                                  o.negative_sample_rate,
                                  o.a,
                                  o.b,
                                  o.repulsion,
                                  seed,
                                  same};
    if (m <= 8) cuda::umap_run<1>(ctx, op, u, plan, groups, o);
    else cuda::umap_run<instar::cuda::k_warp_size>(ctx, op, u, plan, groups, o);
    ctx.download(heads.view(), tensor_view<const T, 2>(there));
}

}  // namespace detail

}  // namespace instar::cluster

#endif
