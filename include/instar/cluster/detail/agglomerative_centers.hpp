#ifndef INSTAR_CLUSTER_DETAIL_AGGLOMERATIVE_CENTERS_HPP
#define INSTAR_CLUSTER_DETAIL_AGGLOMERATIVE_CENTERS_HPP

// Ward linkage, and average linkage of squared euclidean or cosine distances, in O(n·d) memory: the chain of
// linkage_chain.hpp over linkage_centers, with candidate lists filled by nearest_rows.
//
// All points look for their k_first nearest once, as one fused product of n·n·d; a chain of merges then needs some 0.2·n²
// further distances, one row at a time, where the plain chain computes 1.4·n² and rounds of mutual neighbours 2.6·n².

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "instar/cluster/detail/linkage_candidates.hpp"
#include "instar/cluster/detail/linkage_centers.hpp"
#include "instar/cluster/detail/linkage_chain.hpp"
#include "instar/cluster/detail/nearest_rows.hpp"

namespace instar::cluster::detail {

class agglomerative_centers {
public:
    /// Entries of a list after the first pass, after a search, and at most.
    static constexpr index_t k_first = 24, k_search = 16, k_capacity = 32;

    agglomerative_centers(cpu_context& ctx, tensor_view<const float, 2> x, center_linkage kind, bool unit)
        : ctx_(ctx), centers_(ctx, x, kind, unit), index_(centers_), lists_(centers_.n(), std::min(k_capacity, std::max<index_t>(centers_.n() - 1, 1))),
          alive_(static_cast<std::size_t>(centers_.n())), height_(alive_.size(), 0.0) {
        std::iota(alive_.begin(), alive_.end(), 0);
        const index_t n_others = centers_.n() - 1, k = std::min({k_first, lists_.capacity(), std::max<index_t>(n_others, 1)});
        index_.all_nearest(ctx, k, [&](std::int32_t slot, const linkage_neighbour* found, index_t n) {
            lists_.fill(slot, found, n, n_others, [](std::int32_t) { return 1; });
        });
        index_.rebuild(ctx, alive_);
    }

    linkage_neighbour nearest(std::int32_t x, std::int32_t previous) {
        linkage_neighbour best = refresh(x);
        if (!lists_.proves(x, best)) best = search(x);
        if (previous >= 0 && best.slot != previous && centers_.distance(x, previous) <= best.distance) best.slot = previous;
        return best;
    }

    double merge(std::int32_t a, std::int32_t b, double distance) {
        const double least = centers_.least_after_merge(a, b, lists_.bound(a).distance, lists_.bound(b).distance, distance);
        centers_.merge(a, b);
        lists_.merge(a, b, least, [&](std::int32_t slot) { return centers_.members(slot); }, [&](std::int32_t slot) { return centers_.distance(b, slot); });
        index_.remove(a);
        index_.moved(b);
        // Half of the columns are empty: pack the others anew.
        if (2 * index_.n_alive() < index_.n_columns() && index_.n_columns() > nearest_rows::k_block) {
            std::erase_if(alive_, [&](std::int32_t slot) { return lists_.current(slot) != slot; });
            index_.rebuild(ctx_, alive_);
        }
        // In exact arithmetic heights only grow towards the root.
        double& height = height_[static_cast<std::size_t>(b)];
        return height = std::max({centers_.height(distance), height, height_[static_cast<std::size_t>(a)]});
    }

private:
    linkage_neighbour refresh(std::int32_t x) {
        return lists_.refresh(x, [&](std::int32_t slot) { return centers_.members(slot); }, [&](std::int32_t slot) { return centers_.distance(x, slot); });
    }

    /// The nearest cluster of x, by a search that fills its list.
    linkage_neighbour search(std::int32_t x) {
        found_.resize(static_cast<std::size_t>(k_search));
        nearest_list list{found_.data(), 0, std::min({k_search, lists_.capacity(), index_.n_alive() - 1})};
        for (const auto* e = lists_.begin(x); e != lists_.end(x); ++e) list.insert({e->distance, e->slot});
        index_.search(ctx_, x, list);
        lists_.fill(x, list.found, list.n, index_.n_alive() - 1, [&](std::int32_t slot) { return centers_.members(slot); });
        return list.found[0];
    }

    cpu_context& ctx_;
    linkage_centers centers_;
    nearest_rows index_;
    linkage_candidates lists_;
    std::vector<std::int32_t> alive_;  // a superset of the living slots
    std::vector<double> height_;       // of a slot's last merge
    std::vector<linkage_neighbour> found_;
};

}  // namespace instar::cluster::detail

#endif
