#ifndef INSTAR_CLUSTER_DETAIL_AGGLOMERATIVE_GENERIC_HPP
#define INSTAR_CLUSTER_DETAIL_AGGLOMERATIVE_GENERIC_HPP

// Always the closest pair, for linkages whose merged clusters may come nearer than their parts were (centroid, median): the
// generic algorithm of Müllner, arXiv:1109.2378, section 3.1. Each cluster remembers the nearest one of larger slot and a
// distance that is at most the true one; the cluster with the least such distance is asked first, and searches again when its
// neighbour turns out to be further away.
//
// Choices among equals follow SciPy's: a binary heap that is built from the last parent up, and searches that take the first.

#include <cstdint>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "instar/cluster/detail/linkage_chain.hpp"
#include "instar/cluster/detail/linkage_kinds.hpp"
#include "instar/cluster/detail/linkage_matrix.hpp"

namespace instar::cluster::detail {

/// Keys 0 … n − 1 by their values, the least in front; values may change.
class linkage_heap {
public:
    explicit linkage_heap(const std::vector<double>& values) : value_(values), at_(values.size()), place_(values.size()) {
        std::iota(at_.begin(), at_.end(), std::size_t{0});
        std::iota(place_.begin(), place_.end(), std::size_t{0});
        for (std::size_t i = at_.size() / 2; i-- > 0;) sink(i);
    }
    std::size_t front() const { return at_[0]; }
    double value(std::size_t key) const { return value_[key]; }
    void pop() {
        exchange(0, at_.size() - 1);
        at_.pop_back();
        sink(0);
    }
    void set(std::size_t key, double value) {
        const bool less = value < value_[key];
        value_[key] = value;
        if (less) rise(place_[key]);
        else sink(place_[key]);
    }

private:
    double value_at(std::size_t i) const { return value_[at_[i]]; }
    void exchange(std::size_t i, std::size_t j) {
        std::swap(at_[i], at_[j]);
        place_[at_[i]] = i;
        place_[at_[j]] = j;
    }
    void rise(std::size_t i) {
        for (; i > 0 && value_at((i - 1) / 2) > value_at(i); i = (i - 1) / 2) exchange(i, (i - 1) / 2);
    }
    void sink(std::size_t i) {
        for (std::size_t child; (child = 2 * i + 1) < at_.size(); i = child) {
            if (child + 1 < at_.size() && value_at(child + 1) < value_at(child)) ++child;
            if (!(value_at(i) > value_at(child))) return;
            exchange(i, child);
        }
    }

    std::vector<double> value_;       // of each key
    std::vector<std::size_t> at_;     // the heap
    std::vector<std::size_t> place_;  // of each key in it
};

template <class T>
std::vector<merge_record> generic_linkage(cpu_context& ctx, linkage_matrix<T>& d, linkage l, const linkage_progress& progress) {
    const index_t n = d.n();
    std::vector<std::int32_t> members(static_cast<std::size_t>(n), 1), neighbour(static_cast<std::size_t>(n - 1));
    std::vector<double> least(static_cast<std::size_t>(n - 1));
    const auto search = [&](index_t x) {  // among larger slots
        linkage_neighbour best;
        const T* row = d.row(x);
        for (index_t j = x + 1; j < n; ++j) {
            const auto distance = static_cast<double>(row[j - x - 1]);
            if (distance < best.distance && members[static_cast<std::size_t>(j)] > 0) best = {distance, static_cast<std::int32_t>(j)};
        }
        return best;
    };
    parallel_for(ctx, n - 1, 64, [&](index_t begin, index_t end) {
        for (index_t x = begin; x < end; ++x) {
            const linkage_neighbour found = search(x);
            neighbour[static_cast<std::size_t>(x)] = found.slot;
            least[static_cast<std::size_t>(x)] = found.distance;
        }
    });
    linkage_heap heap(least);
    std::vector<merge_record> merges;
    const linkage_ticks tick(progress, n - 1);
    while (static_cast<index_t>(merges.size()) < n - 1) {
        std::size_t x = heap.front();
        for (;;) {
            x = heap.front();
            if (heap.value(x) == static_cast<double>(d(static_cast<index_t>(x), neighbour[x]))) break;
            const linkage_neighbour found = search(static_cast<index_t>(x));
            neighbour[x] = found.slot;
            heap.set(x, found.distance);
        }
        const double height = heap.value(x);
        const auto y = static_cast<std::size_t>(neighbour[x]);
        heap.pop();
        merges.push_back({static_cast<std::int32_t>(x), static_cast<std::int32_t>(y), height});
        const auto n_x = static_cast<double>(members[x]), n_y = static_cast<double>(members[y]);
        members[y] += members[x];
        members[x] = 0;
        const auto i_x = static_cast<index_t>(x), i_y = static_cast<index_t>(y);
        for (index_t z = 0; z < n; ++z) {
            if (members[static_cast<std::size_t>(z)] == 0 || z == i_y) continue;
            T& at = d(z, i_y);
            const double merged = merged_distance(l, static_cast<double>(d(z, i_x)), static_cast<double>(at), height, n_x, n_y,
                                                     static_cast<double>(members[static_cast<std::size_t>(z)]));
            // The square under the root may fall below zero by rounding, where it is zero.
            at = static_cast<T>(merged >= 0.0 ? merged : 0.0);
        }
        for (std::size_t z = 0; z < y; ++z) {
            if (members[z] == 0) continue;
            if (neighbour[z] == static_cast<std::int32_t>(x)) neighbour[z] = static_cast<std::int32_t>(y);  // a guess; `least` stays a bound
            const auto distance = static_cast<double>(d(static_cast<index_t>(z), i_y));
            if (distance < heap.value(z)) {
                neighbour[z] = static_cast<std::int32_t>(y);
                heap.set(z, distance);
            }
        }
        if (i_y < n - 1) {
            const linkage_neighbour found = search(i_y);
            if (found.slot >= 0) {
                neighbour[y] = found.slot;
                heap.set(y, found.distance);
            }
        }
        tick(static_cast<index_t>(merges.size()));
    }
    return merges;
}

}  // namespace instar::cluster::detail

#endif
