#ifndef INSTAR_CLUSTER_DENDROGRAM_HPP
#define INSTAR_CLUSTER_DENDROGRAM_HPP

// The tree of an agglomerative clustering: who merged with whom, and how far apart they were.
//
//     cluster::dendrogram tree = cluster::agglomerative(ctx, x);          // cluster/agglomerative.hpp
//     tensor<double, 2> z = tree.linkage_matrix();                         // SciPy's: [n_points − 1, 4]
//     tensor<std::int32_t, 1> labels = tree.cut({.n_clusters = 800});      // scikit-learn's labels_
//     tensor<std::int32_t, 1> coarse = tree.cut({.distance_threshold = 2.5});
//
// Nodes 0 … n_points − 1 are the points; node n_points + k is what merge k made. Merges are sorted by height, except those of
// centroid and median linkage, whose heights may fall and which stay in the order they were made.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "instar/core/error.hpp"
#include "instar/core/tensor.hpp"

namespace instar::cluster {

/// Where to cut a tree: exactly one of the two is set.
struct cut_options {
    index_t n_clusters = 0;                                                 ///< this many clusters; 0 = not set
    double distance_threshold = std::numeric_limits<double>::quiet_NaN();  ///< no merge at this height or above; NaN = not set
};

class dendrogram;

namespace detail {

/// One merge of two clusters, each named by any point of it.
struct merge_record {
    std::int32_t a, b;
    double height;
};

/// What the two children of a node are listed as.
enum class child_order {
    ascending,  // SciPy: the smaller node first
    as_merged,  // scikit-learn's single linkage: the cluster of merge_record::a first
};

dendrogram make_dendrogram(index_t n_points, const std::vector<merge_record>& merges, bool sort_by_height, child_order order);

}  // namespace detail

/// A binary tree over n_points points. Empty (no points) when default constructed.
class dendrogram {
public:
    dendrogram() = default;

    index_t n_points() const noexcept { return n_points_; }
    index_t n_merges() const noexcept { return static_cast<index_t>(heights_.size()); }

    /// The two nodes that merge k joined, in the order that `cut` numbers labels by.
    std::pair<index_t, index_t> children(index_t k) const {
        check_merge("children", k);
        return {children_[static_cast<std::size_t>(2 * k)], children_[static_cast<std::size_t>(2 * k + 1)]};
    }
    /// The distance at which merge k happened.
    double height(index_t k) const {
        check_merge("height", k);
        return heights_[static_cast<std::size_t>(k)];
    }
    /// Points below the node that merge k made.
    index_t size(index_t k) const {
        check_merge("size", k);
        return sizes_[static_cast<std::size_t>(k)];
    }

    /// SciPy's linkage matrix, [n_points − 1, 4]: smaller node, larger node, height, number of points.
    tensor<double, 2> linkage_matrix() const {
        tensor<double, 2> z({n_merges(), 4});
        for (index_t k = 0; k < n_merges(); ++k) {
            const auto [a, b] = children(k);
            z(k, 0) = static_cast<double>(std::min(a, b));
            z(k, 1) = static_cast<double>(std::max(a, b));
            z(k, 2) = height(k);
            z(k, 3) = static_cast<double>(size(k));
        }
        return z;
    }

    /// Clusters that a threshold leaves: one more than there are merges at or above it.
    index_t n_clusters_at(double distance_threshold) const {
        return n_points_ == 0 ? 0 : 1 + std::count_if(heights_.begin(), heights_.end(), [&](double h) { return h >= distance_threshold; });
    }

    /// A label for each point: what scikit-learn's AgglomerativeClustering calls labels_, number for number.
    ///
    /// The tree is cut from its root, each time at the node made last, until n_clusters are left (by a threshold: one more
    /// than there are merges of that height or above). A cluster's label is its place in the binary heap that the cutting
    /// keeps, children being pushed in the order of `children`.
    ///
    /// Cost: O(n_points + n_clusters · log n_clusters).
    /// Throws value_error when both options or neither are set, for n_clusters outside [1, n_points], for a negative
    /// threshold.
    tensor<std::int32_t, 1> cut(cut_options options) const {
        const bool by_threshold = !std::isnan(options.distance_threshold);
        if (by_threshold == (options.n_clusters != 0)) {
            throw value_error(std::string("dendrogram::cut: exactly one of n_clusters and distance_threshold must be set, ") +
                              (by_threshold ? "both are" : "neither is"));
        }
        if (by_threshold && options.distance_threshold < 0.0) {
            throw value_error("dendrogram::cut: distance_threshold must not be negative, is " + std::to_string(options.distance_threshold));
        }
        const index_t k = by_threshold ? n_clusters_at(options.distance_threshold) : options.n_clusters;
        if (!by_threshold && (k < 1 || k > n_points_)) {
            throw value_error("dendrogram::cut: n_clusters is " + std::to_string(k) + ", must be between 1 and the " + std::to_string(n_points_) +
                              " points");
        }
        tensor<std::int32_t, 1> labels({n_points_});
        if (n_points_ == 0) return labels;
        const std::vector<std::int32_t> heads = cut_nodes(k);
        // Labels run down the tree: a node is made after its children, so parents come first from the end.
        std::vector<std::int32_t> label(static_cast<std::size_t>(2 * n_points_ - 1), -1);
        for (std::size_t i = 0; i < heads.size(); ++i) label[static_cast<std::size_t>(heads[i])] = static_cast<std::int32_t>(i);
        for (std::size_t m = heights_.size(); m-- > 0;) {
            const std::int32_t mine = label[static_cast<std::size_t>(n_points_) + m];
            if (mine < 0) continue;
            label[static_cast<std::size_t>(children_[2 * m])] = mine;
            label[static_cast<std::size_t>(children_[2 * m + 1])] = mine;
        }
        std::copy_n(label.begin(), n_points_, labels.begin());
        return labels;
    }

private:
    friend dendrogram detail::make_dendrogram(index_t, const std::vector<detail::merge_record>&, bool, detail::child_order);

    void check_merge(const char* what, index_t k) const {
        if (k < 0 || k >= n_merges()) {
            throw value_error(std::string("dendrogram::") + what + ": merge " + std::to_string(k) + " does not exist, there are " +
                              std::to_string(n_merges()));
        }
    }

    /// The heap of nodes after k − 1 splits. Python's heapq keeps the smallest of the negated nodes in front, here the largest
    /// node; where an element comes to lie decides its label, so the sifting follows heapq's: a new element climbs from the
    /// end, a replaced root first falls along the larger children to a leaf and climbs from there.
    std::vector<std::int32_t> cut_nodes(index_t k) const {
        std::vector<std::int32_t> heap{static_cast<std::int32_t>(2 * n_points_ - 2)};
        heap.reserve(static_cast<std::size_t>(k));
        const auto climb = [&heap](std::size_t at) {
            const std::int32_t node = heap[at];
            for (; at > 0 && heap[(at - 1) / 2] < node; at = (at - 1) / 2) heap[at] = heap[(at - 1) / 2];
            heap[at] = node;
        };
        for (index_t i = 1; i < k; ++i) {
            const auto merge = static_cast<std::size_t>(heap[0] - n_points_);
            heap.push_back(children_[2 * merge]);
            climb(heap.size() - 1);
            std::size_t at = 0;
            for (std::size_t child = 1; child < heap.size(); child = 2 * at + 1) {
                if (child + 1 < heap.size() && heap[child + 1] > heap[child]) ++child;
                heap[at] = heap[child];
                at = child;
            }
            heap[at] = children_[2 * merge + 1];
            climb(at);
        }
        return heap;
    }

    index_t n_points_ = 0;
    std::vector<std::int32_t> children_;  // two a merge
    std::vector<double> heights_;
    std::vector<std::int32_t> sizes_;
};

namespace detail {

/// A tree from n_points − 1 merges in the order they were found. Sorting by height is stable, and names nodes after it.
inline dendrogram make_dendrogram(index_t n_points, const std::vector<merge_record>& merges, bool sort_by_height, child_order order) {
    std::vector<std::int32_t> by_height(merges.size());
    for (std::size_t m = 0; m < merges.size(); ++m) by_height[m] = static_cast<std::int32_t>(m);
    if (sort_by_height) {
        std::sort(by_height.begin(), by_height.end(), [&merges](std::int32_t a, std::int32_t b) {
            const double x = merges[static_cast<std::size_t>(a)].height, y = merges[static_cast<std::size_t>(b)].height;
            return x < y || (x == y && a < b);
        });
    }
    dendrogram tree;
    tree.n_points_ = n_points;
    tree.children_.resize(2 * merges.size());
    tree.heights_.resize(merges.size());
    tree.sizes_.resize(merges.size());
    const auto n_nodes = static_cast<std::size_t>(n_points) + merges.size();
    std::vector<std::int32_t> parent(n_nodes), size(n_nodes, 1);
    for (std::size_t i = 0; i < n_nodes; ++i) parent[i] = static_cast<std::int32_t>(i);
    const auto root = [&parent](std::int32_t node) {
        for (std::int32_t up; (up = parent[static_cast<std::size_t>(node)]) != node; node = up) {
            parent[static_cast<std::size_t>(node)] = parent[static_cast<std::size_t>(up)];
        }
        return node;
    };
    for (std::size_t m = 0; m < merges.size(); ++m) {
        const merge_record& merge = merges[static_cast<std::size_t>(by_height[m])];
        std::int32_t a = root(merge.a), b = root(merge.b);
        if (order == child_order::ascending && a > b) std::swap(a, b);
        const auto made = static_cast<std::int32_t>(static_cast<std::size_t>(n_points) + m);
        parent[static_cast<std::size_t>(a)] = parent[static_cast<std::size_t>(b)] = made;
        tree.children_[2 * m] = a;
        tree.children_[2 * m + 1] = b;
        tree.heights_[m] = merge.height;
        tree.sizes_[m] = size[static_cast<std::size_t>(made)] = size[static_cast<std::size_t>(a)] + size[static_cast<std::size_t>(b)];
    }
    return tree;
}

}  // namespace detail
}  // namespace instar::cluster

#endif
