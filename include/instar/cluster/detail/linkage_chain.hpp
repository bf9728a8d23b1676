#ifndef INSTAR_CLUSTER_DETAIL_LINKAGE_CHAIN_HPP
#define INSTAR_CLUSTER_DETAIL_LINKAGE_CHAIN_HPP

// The nearest-neighbour chain: from any cluster walk to its nearest one, from there on to that one's nearest, until two are
// each other's nearest; merge these, walk on from where the chain was. (Benzécri 1982; Murtagh, "A survey of recent advances
// in hierarchical clustering algorithms", Computer Journal 26, 1983.) It finds the tree of always merging the closest pair
// when a merged cluster is never nearer to a third than the nearer of its parts was: ward, average, complete, single,
// weighted, but not centroid and median. Merges come out of order and are sorted by height afterwards.
//
//     struct clusters {
//         linkage_neighbour nearest(std::int32_t x, std::int32_t previous);   // previous = −1: none
//         double merge(std::int32_t x, std::int32_t y, double distance);      // x < y; y goes on as the union; the height
//     };
//
// Clusters are named by slots 0 … n − 1. The order of walking and the choice among equals (the previous cluster of the chain,
// else the smallest slot) are SciPy's, so the merges come in SciPy's order, on which its numbering of equal heights depends.

#include <cstdint>
#include <functional>
#include <limits>
#include <utility>
#include <vector>

#include "instar/cluster/dendrogram.hpp"

namespace instar::cluster::detail {

/// A cluster and how far it is. Ordered by distance, then by slot.
struct linkage_neighbour {
    double distance = std::numeric_limits<double>::infinity();
    std::int32_t slot = -1;

    friend bool operator<(const linkage_neighbour& a, const linkage_neighbour& b) {
        return a.distance < b.distance || (a.distance == b.distance && a.slot < b.slot);
    }
};

using linkage_progress = std::function<void(index_t done, index_t total)>;

/// Tells the callback about merges, a few hundred times in all.
class linkage_ticks {
public:
    linkage_ticks(const linkage_progress& callback, index_t total) : callback_(callback), total_(total), step_(total / 256 + 1) {}
    void operator()(index_t done) const {
        if (callback_ && (done % step_ == 0 || done == total_)) callback_(done, total_);
    }

private:
    const linkage_progress& callback_;
    index_t total_, step_;
};

template <class Clusters>
std::vector<merge_record> nearest_neighbour_chain(Clusters& clusters, index_t n, const linkage_progress& progress) {
    std::vector<merge_record> merges;
    merges.reserve(static_cast<std::size_t>(n - 1));
    std::vector<std::int32_t> chain;
    std::vector<bool> gone(static_cast<std::size_t>(n), false);
    const linkage_ticks tick(progress, n - 1);
    std::int32_t first = 0;  // no living slot is below it
    while (static_cast<index_t>(merges.size()) < n - 1) {
        if (chain.empty()) {
            while (gone[static_cast<std::size_t>(first)]) ++first;
            chain.push_back(first);
        }
        for (;;) {
            const std::int32_t x = chain.back(), previous = chain.size() > 1 ? chain[chain.size() - 2] : -1;
            const linkage_neighbour y = clusters.nearest(x, previous);
            if (y.slot != previous) {
                chain.push_back(y.slot);
                continue;
            }
            chain.resize(chain.size() - 2);
            const auto [a, b] = std::minmax(x, previous);
            merges.push_back({a, b, clusters.merge(a, b, y.distance)});
            gone[static_cast<std::size_t>(a)] = true;
            break;
        }
        tick(static_cast<index_t>(merges.size()));
    }
    return merges;
}

}  // namespace instar::cluster::detail

#endif
