#ifndef INSTAR_TRAIN_BATCH_ORDER_HPP
#define INSTAR_TRAIN_BATCH_ORDER_HPP

// In which order an epoch visits its samples: a function of (seed, epoch) alone, so a resumed run continues as it would have.
//
//     auto order = train::epoch_order(n, philox{.seed = 7}, epoch);        // a permutation of 0 … n−1
//     auto order = train::class_balanced_order(labels, {.n_per_class = 4}, rng, epoch);

#include <algorithm>
#include <numeric>
#include <span>
#include <vector>

#include "instar/core/philox.hpp"
#include "instar/core/error.hpp"

namespace instar::train {

namespace detail {
/// Fisher–Yates with numbers of one stream.
template <class It>
void shuffle(It first, It last, philox rng) {
    const auto n = static_cast<std::uint32_t>(last - first);
    for (std::uint32_t i = n; i > 1; --i) std::swap(first[i - 1], first[rng.below(i, i)]);
}
}  // namespace detail

/// A permutation of 0 … n−1.
inline std::vector<index_t> epoch_order(index_t n, philox rng, index_t epoch) {
    std::vector<index_t> order(static_cast<std::size_t>(n));
    std::iota(order.begin(), order.end(), index_t{0});
    detail::shuffle(order.begin(), order.end(), rng.fork(static_cast<std::uint64_t>(epoch)));
    return order;
}

/// Groups of `n_per_class` samples of one class, groups shuffled: what a contrastive loss over labels needs, since a batch
/// without two samples of a class teaches nothing. Every sample is visited at least once an epoch; a class's last group is
/// filled up with samples of the same class drawn again (a class of one sample gives groups of that sample alone).
/// Samples with a negative label are left out.
inline std::vector<index_t> class_balanced_order(std::span<const std::int32_t> labels, index_t n_per_class, philox rng, index_t epoch) {
    if (n_per_class < 1) throw value_error("class_balanced_order: n_per_class must be at least 1");
    const philox own = rng.fork(static_cast<std::uint64_t>(epoch));
    std::int32_t n_classes = 0;
    for (std::int32_t l : labels) n_classes = std::max(n_classes, l + 1);
    std::vector<std::vector<index_t>> members(static_cast<std::size_t>(n_classes));
    for (std::size_t i = 0; i < labels.size(); ++i) {
        if (labels[i] >= 0) members[static_cast<std::size_t>(labels[i])].push_back(static_cast<index_t>(i));
    }
    std::vector<std::vector<index_t>> groups;
    for (std::size_t c = 0; c < members.size(); ++c) {
        auto& m = members[c];
        if (m.empty()) continue;
        detail::shuffle(m.begin(), m.end(), own.fork(1 + c));
        const std::size_t per = static_cast<std::size_t>(n_per_class);
        for (std::size_t begin = 0; begin < m.size(); begin += per) {
            std::vector<index_t> group;
            for (std::size_t j = 0; j < per && j < m.size(); ++j) group.push_back(m[(begin + j) % m.size()]);
            groups.push_back(std::move(group));
        }
    }
    detail::shuffle(groups.begin(), groups.end(), own.fork(0));
    std::vector<index_t> order;
    for (const auto& g : groups) order.insert(order.end(), g.begin(), g.end());
    return order;
}

}  // namespace instar::train

#endif
