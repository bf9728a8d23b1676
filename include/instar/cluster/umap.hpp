#ifndef INSTAR_CLUSTER_UMAP_HPP
#define INSTAR_CLUSTER_UMAP_HPP

// UMAP: a low-dimensional layout in which near neighbours stay near.
//
//     auto model = cluster::umap(ctx, x, {.n_components = 50, .n_neighbors = 30, .min_dist = 0.0f});
//     model.embedding;                                     // [n, 50]
//     auto more = model.transform(ctx, new_rows);          // into the same layout
//     auto fast = cluster::umap(gpu, ctx, x_there, {});    // neighbours and descent on a GPU
//
// Options have umap-learn's names, meanings and defaults. The result is the same for a seed, whatever the number of threads. Nearest neighbours
// are exact (cluster/knn.hpp) up to 200,000 rows, above that most of them (cluster/nn_descent.hpp); options.neighbors decides otherwise. How it works: detail/umap_graph.hpp, detail/umap_spectral.hpp, detail/umap_layout.hpp.

#include <cmath>
#include <concepts>
#include <functional>
#include <string>
#include <tuple>
#include <utility>

#include "instar/cluster/detail/umap_device_layout.hpp"
#include "instar/cluster/detail/umap_graph.hpp"
#include "instar/cluster/detail/umap_layout.hpp"
#include "instar/cluster/detail/umap_spectral.hpp"
#include "instar/cluster/knn.hpp"
#include "instar/cluster/nn_descent.hpp"
#include "instar/core/transfer.hpp"

namespace instar::cluster {

enum class umap_metric { euclidean, cosine };
enum class umap_init { spectral, random };

/// How neighbours are found. automatic: exact as long as comparing all pairs is about as fast as descent finds most, by a fit to what was
/// measured for 20,000 to 70,000 rows (30 neighbours; docs/benchmarks/zero_shot_clustering.md).
enum class umap_neighbors { automatic, exact, descent };
inline constexpr index_t k_umap_exact_work = 70'000'000;
inline constexpr bool umap_neighbors_exact(index_t n, index_t d) { return n <= k_umap_exact_work / (300 + d); }

struct umap_options {
    index_t n_components = 2;
    index_t n_neighbors = 15;           ///< the point itself among them
    float min_dist = 0.1f;
    float spread = 1.0f;
    umap_metric metric = umap_metric::euclidean;
    umap_neighbors neighbors = umap_neighbors::automatic;
    index_t n_epochs = 0;               ///< 0: 500 for up to 10,000 points, else 200
    float learning_rate = 1.0f;
    umap_init init = umap_init::spectral;
    float set_op_mix_ratio = 1.0f;      ///< 1: union of the neighbourhoods, 0: intersection
    float local_connectivity = 1.0f;
    float repulsion_strength = 1.0f;
    index_t negative_sample_rate = 5;
    std::uint64_t seed = 0;
    std::function<void(index_t epoch, index_t n_epochs)> progress = {};  ///< after each epoch; may throw to stop
};

namespace detail {

/// Who moves positions: heads, of the graph's rows; tails: of its columns, the same tensor or a fixed one.
struct umap_host_layout {
    cpu_context& ctx;
    void operator()(const umap_graph& graph, const umap_layout_options& o, tensor<float, 2>& heads, const tensor<float, 2>& tails, std::uint64_t seed) const {
        umap_layout(graph, o).run(ctx, heads, tails, seed);
    }
};
template <std::same_as<cuda_context> Device>
struct umap_on_device {
    Device& device;
    void operator()(const umap_graph& graph, const umap_layout_options& o, tensor<float, 2>& heads, const tensor<float, 2>& tails, std::uint64_t seed) const {
        umap_device_layout<float>(device, {graph.start, graph.column, graph.weight}, o, heads, tails, seed);
    }
};

}  // namespace detail

/// A layout, and what it takes to lay out more points.
class umap_model {
public:
    tensor<float, 2> embedding;  ///< [n, n_components]
    index_t n_edges = 0;         ///< of the fuzzy graph, both directions
    index_t n_parts = 0;         ///< connected components of the graph
    double a = 0.0, b = 0.0;     ///< of the curve 1/(1 + a·d²ᵇ)

    /// Positions of new rows, [n_new, d] → [n_new, n_components]: the mean of their neighbours' by membership, then a third of the epochs in
    /// which they alone move. Throws as umap does.
    tensor<float, 2> transform(cpu_context& ctx, tensor_view<const float, 2> x) const {
        check_transform(x);
        if (x.extent(0) == 0) return tensor<float, 2>({0, embedding.extent(1)});
        return transform_by(ctx, knn(ctx, x, data.view(), {.k = options.n_neighbors, .metric = metric_of(options)}), detail::umap_host_layout{ctx});
    }

    /// The same with neighbours found and rows moved on a GPU; x lies in device memory, y on the host. As umap of a device has it.
    template <std::same_as<cuda_context> Device>
    tensor<float, 2> transform(Device& device, cpu_context& ctx, tensor_view<const float, 2> x) const {
        check_transform(x);
        if (x.extent(0) == 0) return tensor<float, 2>({0, embedding.extent(1)});
        device_input<float, 2, typename Device::memory> references;
        return transform_by(ctx, knn<float>(device, x, references(device, data.view()), {.k = options.n_neighbors, .metric = metric_of(options)}), detail::umap_on_device<Device>{device});
    }

    // What transform needs.
    tensor<float, 2> data;
    umap_options options;

    static knn_metric metric_of(const umap_options& o) { return o.metric == umap_metric::cosine ? knn_metric::cosine : knn_metric::euclidean; }

private:
    void check_transform(tensor_view<const float, 2> x) const {
        if (x.extent(1) != data.extent(1)) throw shape_error("umap.transform: x has shape " + shape_string(x) + ", expected [n, " + std::to_string(data.extent(1)) + "]");
    }

    template <class Layout>
    tensor<float, 2> transform_by(cpu_context& ctx, const knn_result& neighbours, Layout&& layout) const {
        const index_t n = neighbours.index.extent(0), m = embedding.extent(1);
        tensor<float, 2> y({n, m});
        const detail::umap_memberships w(ctx, neighbours.index.view(), neighbours.distance.view(), static_cast<double>(std::max(0.0f, options.local_connectivity - 1.0f)), false);
        detail::umap_graph graph;
        graph.start.push_back(0);
        for (index_t i = 0; i < n; ++i) {
            double total = 0.0;
            for (index_t j = 0; j < w.k; ++j) {
                const float v = w.weight[static_cast<std::size_t>(i * w.k + j)];
                graph.column.push_back(w.index[static_cast<std::size_t>(i * w.k + j)]);
                graph.weight.push_back(v);
                total += static_cast<double>(v);
                for (index_t c = 0; c < m; ++c) y(i, c) += v * embedding(graph.column.back(), c);
            }
            for (index_t c = 0; c < m; ++c) y(i, c) /= static_cast<float>(std::max(total, 1e-30));
            graph.start.push_back(static_cast<index_t>(graph.column.size()));
        }
        const index_t epochs = options.n_epochs > 0 ? std::max<index_t>(1, options.n_epochs / 3) : n <= 10000 ? 100 : 30;
        graph.prune(epochs);
        layout(graph, {.n_epochs = epochs, .a = static_cast<float>(a), .b = static_cast<float>(b), .repulsion = options.repulsion_strength,
                       .learning_rate = 0.25f * options.learning_rate, .negative_sample_rate = options.negative_sample_rate, .both_ends = false},
               y, embedding, options.seed + 1);
        return y;
    }
};

namespace detail {

inline void check_umap(tensor_view<const float, 2> x, const umap_options& options) {
    const index_t n = x.extent(0), m = options.n_components;
    const auto text = [](index_t v) { return std::to_string(v); };
    if (n < 3) throw value_error("umap: needs three rows at least, x has " + text(n));
    if (m < 1 || m >= n) throw value_error("umap: n_components is " + text(m) + ", must be between 1 and " + text(n - 1) + ", one less than the rows");
    if (options.n_neighbors < 2 || options.n_neighbors > n) throw value_error("umap: n_neighbors is " + text(options.n_neighbors) + ", must be between 2 and the " + text(n) + " rows");
    if (!(options.spread > 0.0f) || !(options.min_dist >= 0.0f) || options.min_dist > options.spread) throw value_error("umap: min_dist must be between 0 and spread, and spread positive");
    if (options.n_epochs < 0 || options.negative_sample_rate < 0) throw value_error("umap: n_epochs and negative_sample_rate must not be negative");
    if (!(options.learning_rate > 0.0f)) throw value_error("umap: learning_rate must be positive");
    if (!(options.set_op_mix_ratio >= 0.0f && options.set_op_mix_ratio <= 1.0f)) throw value_error("umap: set_op_mix_ratio must be between 0 and 1");
    if (!(options.local_connectivity >= 0.0f) || !(options.repulsion_strength >= 0.0f)) throw value_error("umap: local_connectivity and repulsion_strength must not be negative");
}

inline bool umap_exact(tensor_view<const float, 2> x, const umap_options& options) {
    return options.neighbors == umap_neighbors::exact || (options.neighbors == umap_neighbors::automatic && umap_neighbors_exact(x.extent(0), x.extent(1)));
}

/// Throws unless these can be the neighbours of x: shape_error, value_error.
inline void check_umap_neighbors(tensor_view<const float, 2> x, const knn_result& neighbors, const umap_options& options) {
    const index_t n = x.extent(0), k = options.n_neighbors;
    const auto check = [&](const char* what, const auto& found) {
        if (found.extent(0) != n || found.extent(1) != k) {
            throw shape_error(std::string("umap: neighbors.") + what + " has shape " + shape_string(found.view()) + ", expected [" + std::to_string(n) + ", " + std::to_string(k) + "], rows and n_neighbors");
        }
    };
    check("index", neighbors.index);
    check("distance", neighbors.distance);
    for (index_t i = 0; i < n; ++i) {
        for (index_t c = 0; c < x.extent(1); ++c) {
            if (!std::isfinite(x(i, c))) throw value_error("umap: x row " + std::to_string(i) + ", column " + std::to_string(c) + " is not finite");
        }
        for (index_t j = 0; j < k; ++j) {
            const auto where = [&] { return " at (" + std::to_string(i) + ", " + std::to_string(j) + ")"; };
            if (neighbors.index(i, j) < 0 || neighbors.index(i, j) >= n) {
                throw value_error("umap: neighbors.index is " + std::to_string(neighbors.index(i, j)) + where() + ", must be between 0 and " + std::to_string(n - 1));
            }
            if (!(neighbors.distance(i, j) >= 0.0f && std::isfinite(neighbors.distance(i, j)))) throw value_error("umap: neighbors.distance" + where() + " is negative or not finite");
        }
    }
}

/// From checked arguments. layout: umap_host_layout, or of a device.
template <class Layout>
umap_model umap_of_neighbors(cpu_context& ctx, tensor_view<const float, 2> x, knn_result neighbours, umap_options options, Layout&& layout) {
    const index_t n = x.extent(0), m = options.n_components;
    umap_model model;
    // The point itself comes first; among more duplicates than neighbours it may be missing, and takes the last one's place.
    for (index_t i = 0; i < n; ++i) {
        index_t at = 0;
        while (at + 1 < options.n_neighbors && neighbours.index(i, at) != i) ++at;
        for (; at > 0; --at) {
            neighbours.index(i, at) = neighbours.index(i, at - 1);
            neighbours.distance(i, at) = neighbours.distance(i, at - 1);
        }
        neighbours.index(i, 0) = static_cast<std::int32_t>(i);
        neighbours.distance(i, 0) = 0.0f;
    }
    const index_t n_epochs = options.n_epochs > 0 ? options.n_epochs : n <= 10000 ? 500 : 200;
    auto graph = detail::umap_graph::unite(detail::umap_memberships(ctx, neighbours.index.view(), neighbours.distance.view(), static_cast<double>(options.local_connectivity), true),
                                           static_cast<double>(options.set_op_mix_ratio));
    graph.prune(n_epochs);
    const philox rng{options.seed, 0};
    std::vector<std::int32_t> parts;
    model.n_parts = graph.components(parts);
    model.n_edges = static_cast<index_t>(graph.column.size());
    if (options.init == umap_init::spectral) {
        model.embedding = detail::umap_spectral(ctx, graph, x, m, rng.fork(1));
    } else {
        model.embedding = tensor<float, 2>({n, m});
        for (index_t i = 0; i < n * m; ++i) model.embedding.data()[i] = 20.0f * rng.fork(1).uniform(static_cast<std::uint64_t>(i)) - 10.0f;
    }
    // Each coordinate to [0, 10].
    for (index_t c = 0; c < m; ++c) {
        float low = model.embedding(0, c), high = low;
        for (index_t i = 1; i < n; ++i) {
            low = std::min(low, model.embedding(i, c));
            high = std::max(high, model.embedding(i, c));
        }
        for (index_t i = 0; i < n; ++i) model.embedding(i, c) = high > low ? 10.0f * (model.embedding(i, c) - low) / (high - low) : 0.0f;
    }
    std::tie(model.a, model.b) = detail::umap_curve(static_cast<double>(options.min_dist), static_cast<double>(options.spread));
    layout(graph, {.n_epochs = n_epochs, .a = static_cast<float>(model.a), .b = static_cast<float>(model.b), .repulsion = options.repulsion_strength,
                   .learning_rate = options.learning_rate, .negative_sample_rate = options.negative_sample_rate, .progress = options.progress},
           model.embedding, model.embedding, options.seed);
    model.data = tensor<float, 2>({n, x.extent(1)});
    for (index_t i = 0; i < n; ++i) {
        for (index_t c = 0; c < x.extent(1); ++c) model.data(i, c) = x(i, c);
    }
    model.options = std::move(options);
    return model;
}

}  // namespace detail

/// Uniform manifold approximation and projection (McInnes, Healy, Melville 2018, arXiv:1802.03426) of the rows of x.
///
/// | argument | shape  | element |                                                              |
/// |----------|--------|---------|--------------------------------------------------------------|
/// | x        | [n, d] | float   | finite; n ≥ 3; no zero rows under cosine                     |
///
/// Fuzzy union of neighbourhoods; spectral start, component by component where the graph falls apart; stochastic gradient descent.
/// Not umap-learn's numbers: its neighbours are approximate above 4,096 points (ours where umap_neighbors_exact says so) and its moves sequential. Same bits for any number of
/// threads; between instruction sets and maths libraries, results differ as those of two seeds do.
/// Cost: 2·n²·d FLOP for exact neighbours, then for each edge the share of the n_epochs that its weight is of
/// the largest, each time 1 + negative_sample_rate moves of n_components coordinates.
/// Throws value_error, before any work: options outside their range, a value that is not finite (row and column named), a zero row
/// under cosine.
inline umap_model umap(cpu_context& ctx, tensor_view<const float, 2> x, umap_options options = {}) {
    detail::check_umap(x, options);
    const knn_metric metric = umap_model::metric_of(options);
    auto neighbours = detail::umap_exact(x, options) ? knn(ctx, x, x, {.k = options.n_neighbors, .metric = metric}) : nn_descent(ctx, x, {.k = options.n_neighbors, .metric = metric, .seed = options.seed});
    return detail::umap_of_neighbors(ctx, x, std::move(neighbours), std::move(options), detail::umap_host_layout{ctx});
}

/// The same from neighbours found before, the nearest first: on a GPU, say, or once for several layouts. index and distance are
/// [n, n_neighbors], the point itself among them; options.metric is the one they were found by, and options.neighbors is not read.
///
///     umap(ctx, x, knn(gpu, x_there, x_there, {.k = 30}), {.n_neighbors = 30});      // what umap(ctx, x, {.n_neighbors = 30}) gives
///
/// Throws as above, but for zero rows, which are the metric's matter; and shape_error for other shapes, value_error for an index that is no
/// row, a distance that is negative or not finite.
inline umap_model umap(cpu_context& ctx, tensor_view<const float, 2> x, knn_result neighbors, umap_options options = {}) {
    detail::check_umap(x, options);
    detail::check_umap_neighbors(x, neighbors, options);
    return detail::umap_of_neighbors(ctx, x, std::move(neighbors), std::move(options), detail::umap_host_layout{ctx});
}

/// UMAP with neighbours and descent on a GPU: x lies in device memory, the model on the host. Memberships, their union and the spectral start
/// are the CPU's, by ctx, from a host copy of x.
///
/// Neighbours are exact or by descent as on the CPU, by the same rule; exact ones are those that the CPU finds, so the start is the CPU's too.
/// The descent of the layout has the CPU's groups, random numbers and order of additions; its sums and powers round otherwise, as they do on the
/// CPU between instruction sets, so results agree as those of two seeds do. The same bits on every run.
/// Cost and device memory: cluster/knn.hpp, cluster/nn_descent.hpp, detail/umap_device_layout.hpp. Throws as on the CPU.
template <std::same_as<cuda_context> Device>
umap_model umap(Device& device, cpu_context& ctx, tensor_view<const float, 2> x, umap_options options = {}) {
    detail::check_umap(x, options);
    const knn_metric metric = umap_model::metric_of(options);
    auto neighbours = detail::umap_exact(x, options) ? knn<float>(device, x, x, {.k = options.n_neighbors, .metric = metric})
                                                     : nn_descent<float>(device, x, {.k = options.n_neighbors, .metric = metric, .seed = options.seed});
    host_output<float, 2, typename Device::memory> here;
    return detail::umap_of_neighbors(ctx, here(device, x), std::move(neighbours), std::move(options), detail::umap_on_device<Device>{device});
}

}  // namespace instar::cluster

#endif
