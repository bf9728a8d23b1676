#ifndef INSTAR_CLUSTER_DETAIL_UMAP_GRAPH_HPP
#define INSTAR_CLUSTER_DETAIL_UMAP_GRAPH_HPP

// UMAP's fuzzy graph: from nearest neighbours to memberships, and their union in both directions.
//
//     umap_memberships m(ctx, neighbours.index, neighbours.distance, local_connectivity);     // rho, sigma, weight of each neighbour
//     umap_graph graph = umap_graph::unite(m, n, set_op_mix_ratio);                            // symmetric, rows sorted by column

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "instar/core/cpu_context.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/core/tensor.hpp"

namespace instar::cluster::detail {

/// exp(−(d − ρ)/σ) for each neighbour, where ρ is the distance at which a point's surely connected neighbours end and σ is such that the
/// memberships of a point add up to log₂ k (McInnes, Healy, Melville 2018, arXiv:1802.03426, section 3.1).
struct umap_memberships {
    index_t n = 0, k = 0;
    std::vector<std::int32_t> index;  // [n, k]
    std::vector<float> weight;        // [n, k]; 0 for the point itself

    /// index, distance: [n, k]. own: row i is point i of the index, and no neighbour of itself.
    umap_memberships(cpu_context& ctx, tensor_view<const std::int32_t, 2> neighbours, tensor_view<const float, 2> distance, double local_connectivity, bool own)
        : n(neighbours.extent(0)), k(neighbours.extent(1)), index(neighbours.data(), neighbours.data() + n * k), weight(static_cast<std::size_t>(n * k)) {
        double total = 0.0;
        for (index_t i = 0; i < n * k; ++i) total += static_cast<double>(distance.data()[i]);
        const double mean_of_all = total / static_cast<double>(n * k), target = std::log2(static_cast<double>(k));
        parallel_for(ctx, n, 64, [&](index_t begin, index_t end) {
            std::vector<double> positive;
            for (index_t i = begin; i < end; ++i) {
                const float* d = distance.data() + i * k;
                positive.clear();
                double mean = 0.0;
                for (index_t j = 0; j < k; ++j) {
                    mean += static_cast<double>(d[j]) / static_cast<double>(k);
                    if (d[j] > 0.0f) positive.push_back(static_cast<double>(d[j]));
                }
                const auto whole = static_cast<std::size_t>(local_connectivity);
                const double part = local_connectivity - static_cast<double>(whole);
                double rho = 0.0;
                if (!positive.empty() && static_cast<double>(positive.size()) >= local_connectivity) {
                    if (whole == 0) rho = part * positive[0];
                    else rho = positive[whole - 1] + (part > 1e-5 && whole < positive.size() ? part * (positive[whole] - positive[whole - 1]) : 0.0);
                } else if (!positive.empty()) {
                    rho = positive.back();
                }
                double low = 0.0, high = std::numeric_limits<double>::infinity(), sigma = 1.0;
                for (int step = 0; step < 64; ++step) {
                    double sum = 0.0;
                    for (index_t j = 1; j < k; ++j) {
                        const double by = static_cast<double>(d[j]) - rho;
                        sum += by > 0.0 ? std::exp(-by / sigma) : 1.0;
                    }
                    if (std::fabs(sum - target) < 1e-5) break;
                    if (sum > target) {
                        high = sigma;
                        sigma = 0.5 * (low + high);
                    } else {
                        low = sigma;
                        sigma = std::isinf(high) ? 2.0 * sigma : 0.5 * (low + high);
                    }
                }
                sigma = std::max(sigma, 1e-3 * (rho > 0.0 ? mean : mean_of_all));
                for (index_t j = 0; j < k; ++j) {
                    const double by = static_cast<double>(d[j]) - rho;
                    const bool itself = own && neighbours(i, j) == i;
                    weight[static_cast<std::size_t>(i * k + j)] = itself ? 0.0f : by <= 0.0 || sigma == 0.0 ? 1.0f : static_cast<float>(std::exp(-by / sigma));
                }
            }
        });
    }
};

/// Rows of neighbours and weights.
struct umap_graph {
    std::vector<index_t> start;          // [n + 1]
    std::vector<std::int32_t> column;
    std::vector<float> weight;

    index_t n() const { return static_cast<index_t>(start.size()) - 1; }

    /// mix · (W + Wᵀ − W∘Wᵀ) + (1 − mix) · W∘Wᵀ
    static umap_graph unite(const umap_memberships& m, double mix) {
        struct edge {
            std::int32_t row, column;
            float weight;
            bool operator<(const edge& o) const { return row < o.row || (row == o.row && column < o.column); }
        };
        std::vector<edge> edges;
        edges.reserve(2 * m.weight.size());
        for (index_t i = 0; i < m.n; ++i) {
            for (index_t j = 0; j < m.k; ++j) {
                const float w = m.weight[static_cast<std::size_t>(i * m.k + j)];
                if (w == 0.0f) continue;
                const auto row = static_cast<std::int32_t>(i), column = m.index[static_cast<std::size_t>(i * m.k + j)];
                edges.push_back({row, column, w});
                edges.push_back({column, row, -w});  // the sign says which direction it came from
            }
        }
        std::sort(edges.begin(), edges.end(), [](const edge& a, const edge& b) { return a < b || (!(b < a) && a.weight > b.weight); });
        umap_graph g;
        g.start.assign(static_cast<std::size_t>(m.n + 1), 0);
        for (std::size_t e = 0; e < edges.size();) {
            double forward = 0.0, backward = 0.0;
            std::size_t next = e;
            for (; next < edges.size() && edges[next].row == edges[e].row && edges[next].column == edges[e].column; ++next) {
                (edges[next].weight > 0.0f ? forward : backward) = std::fabs(static_cast<double>(edges[next].weight));
            }
            const double both = forward * backward, w = mix * (forward + backward - both) + (1.0 - mix) * both;
            if (w > 0.0) {
                g.column.push_back(edges[e].column);
                g.weight.push_back(static_cast<float>(w));
                ++g.start[static_cast<std::size_t>(edges[e].row) + 1];
            }
            e = next;
        }
        for (std::size_t i = 1; i < g.start.size(); ++i) g.start[i] += g.start[i - 1];
        return g;
    }

    /// Without the edges that would not be drawn once in n_epochs.
    void prune(index_t n_epochs) {
        if (weight.empty() || n_epochs <= 10) return;
        const float least = *std::max_element(weight.begin(), weight.end()) / static_cast<float>(n_epochs);
        std::size_t kept = 0;
        index_t begin = 0;
        for (std::size_t i = 0; i + 1 < start.size(); ++i) {
            const index_t end = start[i + 1];
            for (index_t e = begin; e < end; ++e) {
                if (weight[static_cast<std::size_t>(e)] < least) continue;
                column[kept] = column[static_cast<std::size_t>(e)];
                weight[kept++] = weight[static_cast<std::size_t>(e)];
            }
            begin = end;
            start[i + 1] = static_cast<index_t>(kept);
        }
        column.resize(kept);
        weight.resize(kept);
    }

    /// Component of each point, numbered by first appearance; returns how many there are.
    index_t components(std::vector<std::int32_t>& of) const {
        of.assign(static_cast<std::size_t>(n()), -1);
        std::int32_t count = 0;
        std::vector<index_t> open;
        for (index_t i = 0; i < n(); ++i) {
            if (of[static_cast<std::size_t>(i)] >= 0) continue;
            open.assign(1, i);
            of[static_cast<std::size_t>(i)] = count;
            while (!open.empty()) {
                const index_t p = open.back();
                open.pop_back();
                for (index_t e = start[static_cast<std::size_t>(p)]; e < start[static_cast<std::size_t>(p) + 1]; ++e) {
                    std::int32_t& c = of[static_cast<std::size_t>(column[static_cast<std::size_t>(e)])];
                    if (c >= 0) continue;
                    c = count;
                    open.push_back(column[static_cast<std::size_t>(e)]);
                }
            }
            ++count;
        }
        return count;
    }
};

}  // namespace instar::cluster::detail

#endif
