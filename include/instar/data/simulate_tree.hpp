#ifndef INSTAR_DATA_SIMULATE_TREE_HPP
#define INSTAR_DATA_SIMULATE_TREE_HPP

// Part of data/simulate.hpp: a birth–death tree of species, and a taxonomy cut from it.
//
//     random_draws draw(philox{.seed = 7});
//     auto tree = grow_tree(draw, 200, 0.4);
//     std::vector<int> genus = cut_tree(tree, 70);        // clade of each species, numbered from 0

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <vector>

#include "instar/core/error.hpp"
#include "instar/core/philox.hpp"

namespace instar::data::detail {

/// Random numbers one after another from a counter-based stream.
class random_draws {
public:
    explicit random_draws(philox rng) : rng_(rng) {}

    /// In (0, 1).
    double uniform() { return (static_cast<double>(rng_.bits(next_++)) + 0.5) * 0x1.0p-32; }
    bool chance(double p) { return uniform() < p; }
    std::size_t below(std::size_t n) { return std::min(n - 1, static_cast<std::size_t>(uniform() * static_cast<double>(n))); }
    double exponential(double mean) { return -mean * std::log(uniform()); }
    double normal() {
        const double r = std::sqrt(-2.0 * std::log(uniform()));
        return r * std::cos(6.283185307179586 * uniform());
    }
    /// Counts the arrivals of unit-rate events before `mean`.
    int poisson(double mean) {
        int n = -1;
        for (double t = 0.0; t <= mean; ++n) t += exponential(1.0);
        return n;
    }

private:
    philox rng_;
    std::uint64_t next_ = 0;
};

struct tree_node {
    int parent = -1;
    double begin = 0.0, end = 0.0;  // of the branch above the node, from the root (0) to today (1)
    std::vector<int> children = {};
    bool survives = false;          // has a descendant today
};

/// Parents come before children. `leaves` are today's species.
struct species_tree {
    std::vector<tree_node> nodes;
    std::vector<int> leaves;
};

/// Grows lineages that split at rate 1 and die at rate `extinction` until n are alive; depth scaled to 1.
inline species_tree grow_tree(random_draws& draw, int n, double extinction) {
    species_tree tree;
    std::vector<int> alive;
    double now = 0.0;
    while (static_cast<int>(alive.size()) < n) {
        if (alive.empty()) {  // at first, and after everything died out
            tree.nodes.assign(1, tree_node{});
            alive.assign(1, 0);
            now = 0.0;
        }
        now += draw.exponential(1.0 / ((1.0 + extinction) * static_cast<double>(alive.size())));
        const std::size_t which = draw.below(alive.size());
        const int node = alive[which];
        tree.nodes[static_cast<std::size_t>(node)].end = now;
        alive.erase(alive.begin() + static_cast<std::ptrdiff_t>(which));
        if (draw.chance(extinction / (1.0 + extinction))) continue;
        for (int c = 0; c < 2; ++c) {
            const int child = static_cast<int>(tree.nodes.size());
            tree.nodes.push_back(tree_node{.parent = node, .begin = now});
            tree.nodes[static_cast<std::size_t>(node)].children.push_back(child);
            alive.push_back(child);
        }
    }
    // Time passes until the next event would come, so that the youngest pair has a branch too.
    now += draw.exponential(1.0 / ((1.0 + extinction) * static_cast<double>(n)));
    std::sort(alive.begin(), alive.end());
    for (int leaf : alive) {
        tree.nodes[static_cast<std::size_t>(leaf)].end = now;
        for (int v = leaf; v >= 0 && !tree.nodes[static_cast<std::size_t>(v)].survives; v = tree.nodes[static_cast<std::size_t>(v)].parent) {
            tree.nodes[static_cast<std::size_t>(v)].survives = true;
        }
    }
    // Ages by their square root: splits crowd in the past, as in radiations. Without it genera would lie much farther apart
    // than real ones do, and the genus of an unseen species would be no question.
    for (tree_node& v : tree.nodes) {
        v.begin = 1.0 - std::sqrt(std::max(0.0, 1.0 - v.begin / now));
        v.end = 1.0 - std::sqrt(std::max(0.0, 1.0 - v.end / now));
    }
    tree.leaves = std::move(alive);
    return tree;
}

/// Cuts the tree at the time when it had `n_clades` lineages with descendants today: clade of each leaf. Cuts at different
/// times nest, so they make ranks.
inline std::vector<int> cut_tree(const species_tree& tree, int n_clades) {
    std::vector<double> splits;
    for (const tree_node& v : tree.nodes) {
        const auto n = std::count_if(v.children.begin(), v.children.end(), [&](int c) { return tree.nodes[static_cast<std::size_t>(c)].survives; });
        if (n == 2) splits.push_back(v.end);
    }
    std::sort(splits.begin(), splits.end());
    const auto k = static_cast<std::size_t>(std::clamp<int>(n_clades, 1, static_cast<int>(splits.size()) + 1));
    // After k − 1 splits there are k lineages; cut between that split and the next.
    const double from = k == 1 ? -1.0 : splits[k - 2], to = k - 1 < splits.size() ? splits[k - 1] : 1.0;
    const double at = 0.5 * (from + to);
    std::map<int, int> number;
    std::vector<int> clade;
    for (int leaf : tree.leaves) {
        int v = leaf;
        while (tree.nodes[static_cast<std::size_t>(v)].begin > at) v = tree.nodes[static_cast<std::size_t>(v)].parent;
        clade.push_back(number.emplace(v, static_cast<int>(number.size())).first->second);
    }
    return clade;
}

}  // namespace instar::data::detail

#endif
