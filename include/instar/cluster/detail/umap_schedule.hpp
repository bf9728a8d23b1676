#ifndef INSTAR_CLUSTER_DETAIL_UMAP_SCHEDULE_HPP
#define INSTAR_CLUSTER_DETAIL_UMAP_SCHEDULE_HPP

// What UMAP's descent draws and when, the same on every device: groups of vertices, edges of an epoch, random numbers.
//
//     umap_random random(seed, epoch, vertex);
//     if (umap_drawn(weight / largest, epoch)) other = random.below(n);

#include <cstdint>
#include <functional>

#include "instar/core/element.hpp"

namespace instar::cluster::detail {

struct umap_layout_options {
    index_t n_epochs = 200;
    float a = 1.577f, b = 0.895f, repulsion = 1.0f, learning_rate = 1.0f;
    index_t negative_sample_rate = 5;
    bool both_ends = true;  ///< edges move their tails too: not where the tails are fixed (transform)
    std::function<void(index_t epoch, index_t n_epochs)> progress = {};

    float rate(index_t epoch) const { return learning_rate * (1.0f - static_cast<float>(epoch) / static_cast<float>(n_epochs)); }
};

/// Vertices g, g + n_groups, g + 2·n_groups, … move at the same time: those of group g.
struct umap_groups {
    index_t n, n_groups;

    explicit umap_groups(index_t n_vertices) : n(n_vertices), n_groups(n_vertices < 32 ? n_vertices : 32) {}
    index_t size(index_t group) const { return (n - group + n_groups - 1) / n_groups; }
    index_t largest() const { return n_groups == 0 ? 0 : size(0); }
    index_t vertex(index_t group, index_t k) const { return k * n_groups + group; }
};

/// An edge is drawn in the share of the epochs that its weight is of the largest, evenly spaced.
INSTAR_HOST_DEVICE inline bool umap_drawn(float share, index_t epoch) {
    const auto each = static_cast<double>(share);
    return static_cast<index_t>(static_cast<double>(epoch + 1) * each) != static_cast<index_t>(static_cast<double>(epoch) * each);
}

/// A vertex's own numbers of one epoch: splitmix64 (Steele, Lea, Flood 2014).
class umap_random {
public:
    INSTAR_HOST_DEVICE umap_random(std::uint64_t seed, index_t epoch, index_t vertex)
        : state_(seed ^ (static_cast<std::uint64_t>(epoch) * 0x9E3779B97F4A7C15ull) ^ (static_cast<std::uint64_t>(vertex) * 0xD1B54A32D192ED03ull)) {}

    /// In [0, n), n < 2³².
    INSTAR_HOST_DEVICE index_t below(index_t n) { return static_cast<index_t>((next() >> 32) * static_cast<std::uint64_t>(n) >> 32); }

private:
    INSTAR_HOST_DEVICE std::uint64_t next() {
        std::uint64_t z = (state_ += 0x9E3779B97F4A7C15ull);
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
        return z ^ (z >> 31);
    }

    std::uint64_t state_;
};

}  // namespace instar::cluster::detail

#endif
