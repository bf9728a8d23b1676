#ifndef INSTAR_CLUSTER_DETAIL_LINKAGE_GENERIC_HPP
#define INSTAR_CLUSTER_DETAIL_LINKAGE_GENERIC_HPP

// Always the closest pair, for linkages whose merged clusters may come nearer than their parts were (centroid, median): the
// generic algorithm of Müllner, arXiv:1109.2378, section 3.1. Each cluster remembers the nearest one of larger slot and a
// distance that is at most the true one; the cluster with the least such distance is asked first, and searches again when its
// neighbour turns out to be further away.
//
//     struct clusters {                                                                     // slots 0 … n − 1
//         void search_all(std::vector<linkage_neighbour>& found);                           // of slots 0 … n − 2
//         linkage_neighbour search(std::int32_t x);                                         // among living slots above x
//         double distance(std::int32_t x, std::int32_t y);
//         bool alive(std::int32_t x) const;
//         const double* merge(std::int32_t x, std::int32_t y, double height);               // x < y; y goes on as the union
//     };                                                                                    // → distances of slots below y to it
//
// Choices among equals follow SciPy's: a binary heap that is built from the last parent up, and searches that take the first.

#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include "instar/cluster/detail/linkage_chain.hpp"

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

template <class Clusters>
std::vector<merge_record> generic_linkage(Clusters& clusters, index_t n, const linkage_progress& progress) {
    std::vector<linkage_neighbour> found(static_cast<std::size_t>(n - 1));
    clusters.search_all(found);
    std::vector<std::int32_t> neighbour;
    std::vector<double> least;
    for (const linkage_neighbour& f : found) {
        neighbour.push_back(f.slot);
        least.push_back(f.distance);
    }
    linkage_heap heap(least);
    std::vector<merge_record> merges;
    const linkage_ticks tick(progress, n - 1);
    while (static_cast<index_t>(merges.size()) < n - 1) {
        std::size_t x = heap.front();
        while (heap.value(x) != clusters.distance(static_cast<std::int32_t>(x), neighbour[x])) {
            const linkage_neighbour again = clusters.search(static_cast<std::int32_t>(x));
            neighbour[x] = again.slot;
            heap.set(x, again.distance);
            x = heap.front();
        }
        const double height = heap.value(x);
        const std::int32_t a = static_cast<std::int32_t>(x), b = neighbour[x];
        const auto y = static_cast<std::size_t>(b);
        heap.pop();
        merges.push_back({a, b, height});
        const double* const to_union = clusters.merge(a, b, height);
        for (std::size_t z = 0; z < y; ++z) {
            if (!clusters.alive(static_cast<std::int32_t>(z))) continue;
            if (neighbour[z] == a) neighbour[z] = b;  // a guess; `least` stays a bound
            if (to_union[z] < heap.value(z)) {
                neighbour[z] = b;
                heap.set(z, to_union[z]);
            }
        }
        if (b < n - 1) {
            const linkage_neighbour above = clusters.search(b);
            if (above.slot >= 0) {
                neighbour[y] = above.slot;
                heap.set(y, above.distance);
            }
        }
        tick(static_cast<index_t>(merges.size()));
    }
    return merges;
}

}  // namespace instar::cluster::detail

#endif
