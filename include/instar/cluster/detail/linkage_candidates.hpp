#ifndef INSTAR_CLUSTER_DETAIL_LINKAGE_CANDIDATES_HPP
#define INSTAR_CLUSTER_DETAIL_LINKAGE_CANDIDATES_HPP

// For each cluster the few that were nearest when it last looked, and how far all others are at least. This is what spares
// the chain nearly all searches.
//
// When A and B merge because each is the other's nearest, the union is no nearer to a third cluster than the nearer of them
// was. So a list stays right while clusters merge: an entry that merged stands for the union, its distance computed anew,
// and what never was in the list stays behind the bound. While the nearest entry lies before the bound it is the nearest of
// all; when it does not, a search must fill the list again.

#include <algorithm>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

#include "instar/cluster/detail/linkage_chain.hpp"
#include "instar/core/version.hpp"

namespace instar::cluster::detail {

class linkage_candidates {
public:
    struct entry {
        double distance;
        std::int32_t slot;
        std::int32_t members;  // of the slot's cluster when the distance was computed; a cluster that merged has more
    };
    /// slack: bounds are multiplied by it, which is to make up for the rounding of all distances that follow.
    linkage_candidates(index_t n, index_t capacity, double slack = 1.0 - 1e-10)
        : slack_(slack), capacity_(capacity), entries_(static_cast<std::size_t>(n * capacity)), count_(static_cast<std::size_t>(n), 0),
          bound_(static_cast<std::size_t>(n), linkage_neighbour{0.0, -1}), union_of_(static_cast<std::size_t>(n)) {
        std::iota(union_of_.begin(), union_of_.end(), 0);
    }

    index_t capacity() const { return capacity_; }
    linkage_neighbour bound(std::int32_t slot) const { return bound_[static_cast<std::size_t>(slot)]; }
    entry* begin(std::int32_t slot) { return entries_.data() + slot * capacity_; }
    entry* end(std::int32_t slot) { return begin(slot) + count_[static_cast<std::size_t>(slot)]; }

    /// The cluster that slot's cluster is now part of.
    std::int32_t current(std::int32_t slot) {
        while (union_of_[static_cast<std::size_t>(slot)] != slot) {
            auto& up = union_of_[static_cast<std::size_t>(slot)];
            slot = up = union_of_[static_cast<std::size_t>(up)];
        }
        return slot;
    }

    /// Whether the nearest entry is the nearest cluster. Equal distances above 0 are left to a search, which compares slots;
    /// at 0 the slots tell: those of clusters outside the list are larger than the bound's and only grow.
    bool proves(std::int32_t slot, linkage_neighbour nearest) const {
        const linkage_neighbour b = bound(slot);
        return nearest.distance < b.distance || (nearest.distance == 0.0 && b.distance == 0.0 && nearest.slot <= b.slot);
    }

    /// What a search found, in order, of n_others clusters in all. members(slot) gives a cluster's size.
    template <class Members>
    void fill(std::int32_t slot, const linkage_neighbour* found, index_t n, index_t n_others, Members&& members) {
        entry* out = begin(slot);
        for (index_t i = 0; i < n; ++i) out[i] = {found[i].distance, found[i].slot, members(found[i].slot)};
        count_[static_cast<std::size_t>(slot)] = static_cast<std::int32_t>(n);
        bound_[static_cast<std::size_t>(slot)] = n < n_others ? linkage_neighbour{found[n - 1].distance * slack_, found[n - 1].slot} : linkage_neighbour{};
    }

    /// Brings a list up to date and returns its nearest entry.
    template <class Members, class Distance>
    linkage_neighbour refresh(std::int32_t slot, Members&& members, Distance&& distance) {
        entry* const list = begin(slot);
        entry* out = list;
        linkage_neighbour best;
        for (entry* e = list; e != end(slot); ++e) {
            entry x = *e;
            const std::int32_t now = current(x.slot), size = members(now);
            if (now == slot) continue;
            if (now != x.slot || size != x.members) {
                if (std::any_of(list, out, [now](const entry& o) { return o.slot == now; })) continue;
                x = {distance(now), now, size};
            }
            *out++ = x;
            best = std::min(best, linkage_neighbour{x.distance, x.slot});
        }
        count_[static_cast<std::size_t>(slot)] = static_cast<std::int32_t>(out - list);
        return best;
    }

    /// The list of b after a merged into it. `least`: how far clusters that were in neither list are from the union at least.
    template <class Members, class Distance>
    void merge(std::int32_t a, std::int32_t b, double least, Members&& members, Distance&& distance) {
        union_of_[static_cast<std::size_t>(a)] = b;
        const linkage_neighbour bound_a = bound(a), bound_b = bound(b);
        scratch_.clear();
        for (const std::int32_t from : {b, a}) {
            for (const entry* e = begin(from); e != end(from); ++e) {
                const std::int32_t now = current(e->slot);
                if (now == b || std::any_of(scratch_.begin(), scratch_.end(), [now](const entry& o) { return o.slot == now; })) continue;
                scratch_.push_back({0.0, now, members(now)});
            }
        }
        for (entry& e : scratch_) e.distance = distance(e.slot);
        linkage_neighbour bound{least * slack_, std::max(bound_a.slot, bound_b.slot)};
        if (static_cast<index_t>(scratch_.size()) > capacity_) {
            const auto before = [](const entry& x, const entry& y) { return x.distance < y.distance || (x.distance == y.distance && x.slot < y.slot); };
            std::nth_element(scratch_.begin(), scratch_.begin() + capacity_, scratch_.end(), before);
            const entry& dropped = scratch_[static_cast<std::size_t>(capacity_)];
            bound = std::min(bound, linkage_neighbour{dropped.distance * slack_, dropped.slot - 1});
            scratch_.resize(static_cast<std::size_t>(capacity_));
        }
        std::copy(scratch_.begin(), scratch_.end(), begin(b));
        count_[static_cast<std::size_t>(b)] = static_cast<std::int32_t>(scratch_.size());
        bound_[static_cast<std::size_t>(b)] = bound;
    }

private:
    double slack_;
    index_t capacity_;
    std::vector<entry> entries_;
    std::vector<std::int32_t> count_;
    std::vector<linkage_neighbour> bound_;
    std::vector<std::int32_t> union_of_;
    std::vector<entry> scratch_;
};

}  // namespace instar::cluster::detail

#endif
