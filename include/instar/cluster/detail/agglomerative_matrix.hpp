#ifndef INSTAR_CLUSTER_DETAIL_AGGLOMERATIVE_MATRIX_HPP
#define INSTAR_CLUSTER_DETAIL_AGGLOMERATIVE_MATRIX_HPP

// Linkages without a formula in O(n·d) memory, over a condensed matrix whose rows are updated after every merge: the chain of
// linkage_chain.hpp with candidate lists. Values, walk and choices are SciPy's, so that with a matrix of doubles the tree is
// SciPy's also where distances tie.

#include <algorithm>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

#include "instar/cluster/detail/agglomerative_generic.hpp"
#include "instar/cluster/detail/linkage_candidates.hpp"
#include "instar/cluster/detail/linkage_chain.hpp"
#include "instar/cluster/detail/linkage_kinds.hpp"
#include "instar/cluster/detail/linkage_matrix.hpp"
#include "instar/cluster/detail/nearest_rows.hpp"

namespace instar::cluster::detail {

/// Clusters over a matrix, for every linkage but centroid and median.
template <class T>
class agglomerative_matrix {
public:
    static constexpr index_t k_capacity = 16;

    agglomerative_matrix(cpu_context& ctx, linkage_matrix<T> matrix, linkage l)
        : ctx_(ctx), linkage_(l), matrix_(std::move(matrix)), n_alive_(matrix_.n()), lists_(matrix_.n(), std::min(k_capacity, std::max<index_t>(matrix_.n() - 1, 1)), slack()),
          members_(static_cast<std::size_t>(matrix_.n()), 1), place_(members_.size()), slot_(members_.size()) {
        std::iota(place_.begin(), place_.end(), 0);
        std::iota(slot_.begin(), slot_.end(), 0);
        first_lists();
    }

    linkage_neighbour nearest(std::int32_t x, std::int32_t previous) {
        const auto members = [&](std::int32_t slot) { return members_[static_cast<std::size_t>(slot)]; };
        linkage_neighbour best = lists_.refresh(x, members, [&](std::int32_t slot) { return distance(x, slot); });
        if (!lists_.proves(x, best)) {
            found_.resize(static_cast<std::size_t>(lists_.capacity()));
            nearest_list list{found_.data(), 0, std::min(lists_.capacity(), n_alive_ - 1)};
            matrix_.for_each_in_row(place(x), [&](index_t j, double d) {
                if (d > list.threshold()) return;
                const std::int32_t slot = slot_[static_cast<std::size_t>(j)];
                if (members(slot) > 0) list.insert({d, slot});
            });
            lists_.fill(x, list.found, list.n, n_alive_ - 1, members);
            best = list.found[0];
        }
        if (previous >= 0 && best.slot != previous && distance(x, previous) <= best.distance) best.slot = previous;
        return best;
    }

    double merge(std::int32_t a, std::int32_t b, double height) {
        update(a, b, height);
        const double bound_a = lists_.bound(a).distance, bound_b = lists_.bound(b).distance;
        const auto n_a = static_cast<double>(members_[static_cast<std::size_t>(a)]), n_b = static_cast<double>(members_[static_cast<std::size_t>(b)]);
        members_[static_cast<std::size_t>(b)] += members_[static_cast<std::size_t>(a)];
        members_[static_cast<std::size_t>(a)] = 0;
        --n_alive_;
        lists_.merge(a, b, least_after_merge(bound_a, bound_b, height, n_a, n_b), [&](std::int32_t slot) { return members_[static_cast<std::size_t>(slot)]; },
                     [&](std::int32_t slot) { return distance(b, slot); });
        if (2 * n_alive_ < matrix_.n() && matrix_.n() > 64) compact();
        return height;
    }

private:
    /// How much bounds are lowered for the sake of rounding: distances may creep below by a rounding a merge.
    static constexpr double slack() { return sizeof(T) == 8 ? 1.0 - 1e-9 : 1.0 - 1e-3; }

    index_t place(std::int32_t slot) const { return place_[static_cast<std::size_t>(slot)]; }
    double distance(std::int32_t a, std::int32_t b) const { return static_cast<double>(matrix_(place(a), place(b))); }

    /// See linkage_centers::least_after_merge.
    double least_after_merge(double d_a, double d_b, double d_ab, double n_a, double n_b) const {
        if (linkage_ == linkage::complete) return std::max(d_a, d_b);
        if (linkage_ == linkage::single) return std::min(d_a, d_b);
        if (linkage_ == linkage::weighted) return 0.5 * (d_a + d_b);
        if (linkage_ == linkage::average) return (n_a * d_a + n_b * d_b) / (n_a + n_b);
        const auto bound = [&](double n) { return ((n_a + n) * d_a * d_a + (n_b + n) * d_b * d_b - n * d_ab * d_ab) / (n_a + n_b + n); };
        return d_a == k_infinity || d_b == k_infinity ? k_infinity : std::sqrt(std::max(0.0, std::min(bound(1.0), bound(static_cast<double>(members_.size())))));
    }

    /// The matrix row of b becomes the union's.
    void update(std::int32_t a, std::int32_t b, double height) {
        const index_t n = matrix_.n(), i_a = place(a), i_b = place(b);
        const auto n_a = static_cast<double>(members_[static_cast<std::size_t>(a)]), n_b = static_cast<double>(members_[static_cast<std::size_t>(b)]);
        constexpr index_t k_ahead = 16;  // above the diagonal every element is in another page, where no hardware looks ahead
        parallel_for(ctx_, n, 2048, [&](index_t begin, index_t end) {
            for (index_t i = begin; i < end; ++i) {
                if (i + k_ahead < i_b) {
                    __builtin_prefetch(&matrix_(i + k_ahead, i_b), 1);
                    if (i + k_ahead < i_a) __builtin_prefetch(&matrix_(i + k_ahead, i_a));
                }
                const std::int32_t members = members_[static_cast<std::size_t>(slot_[static_cast<std::size_t>(i)])];
                if (members == 0 || i == i_a || i == i_b) continue;
                T& d = matrix_(i, i_b);
                d = static_cast<T>(merged_distance(linkage_, static_cast<double>(matrix_(i, i_a)), static_cast<double>(d), height, n_a, n_b, static_cast<double>(members)));
            }
        });
    }

    /// The lists of all points: 64 at a time, so that the part of a row above the diagonal is read in runs too.
    void first_lists() {
        const index_t n = matrix_.n(), k = lists_.capacity();
        parallel_for(ctx_, n, 64, [&](index_t begin, index_t end) {
            std::vector<linkage_neighbour> memory(static_cast<std::size_t>((end - begin) * k));
            std::vector<nearest_list> lists(static_cast<std::size_t>(end - begin));
            for (index_t i = begin; i < end; ++i) lists[static_cast<std::size_t>(i - begin)] = {memory.data() + (i - begin) * k, 0, k};
            for (index_t j = 0; j < end; ++j) {
                const T* row = matrix_.row(j);
                for (index_t i = std::max(begin, j + 1); i < end; ++i) offer(lists[static_cast<std::size_t>(i - begin)], row[i - j - 1], j);
            }
            for (index_t i = begin; i < end; ++i) {
                nearest_list& list = lists[static_cast<std::size_t>(i - begin)];
                const T* row = matrix_.row(i);
                for (index_t j = i + 1; j < n; ++j) offer(list, row[j - i - 1], j);
                lists_.fill(static_cast<std::int32_t>(i), list.found, list.n, n - 1, [](std::int32_t) { return 1; });
            }
        });
    }
    static void offer(nearest_list& list, T distance, index_t j) {
        const auto d = static_cast<double>(distance);
        if (d <= list.threshold()) list.insert({d, static_cast<std::int32_t>(j)});
    }

    /// Half of the rows are empty: drops them.
    void compact() {
        std::vector<std::int32_t> kept;
        for (index_t i = 0; i < matrix_.n(); ++i) {
            const std::int32_t slot = slot_[static_cast<std::size_t>(i)];
            if (members_[static_cast<std::size_t>(slot)] == 0) continue;
            place_[static_cast<std::size_t>(slot)] = static_cast<std::int32_t>(kept.size());
            slot_[kept.size()] = slot;
            kept.push_back(static_cast<std::int32_t>(i));
        }
        matrix_.keep(kept);
    }

    static constexpr double k_infinity = std::numeric_limits<double>::infinity();

    cpu_context& ctx_;
    linkage linkage_;
    linkage_matrix<T> matrix_;
    index_t n_alive_;
    linkage_candidates lists_;
    std::vector<std::int32_t> members_;  // of each slot; 0 = merged into another
    std::vector<std::int32_t> place_;    // matrix row of each slot
    std::vector<std::int32_t> slot_;     // slot of each matrix row, ascending
    std::vector<linkage_neighbour> found_;
};

/// Prim's tree over a matrix: single linkage. The matrix is not changed.
template <class T>
std::vector<merge_record> spanning_tree_of_matrix(const linkage_matrix<T>& matrix, const linkage_progress& progress) {
    const index_t n = matrix.n();
    std::vector<merge_record> found;
    std::vector<double> nearest(static_cast<std::size_t>(n), std::numeric_limits<double>::infinity());
    std::vector<bool> in_tree(static_cast<std::size_t>(n), false);
    const linkage_ticks tick(progress, n - 1);
    std::int32_t current = 0;
    while (static_cast<index_t>(found.size()) < n - 1) {
        in_tree[static_cast<std::size_t>(current)] = true;
        linkage_neighbour next;
        matrix.for_each_in_row(current, [&](index_t j, double d) {
            if (in_tree[static_cast<std::size_t>(j)]) return;
            double& mine = nearest[static_cast<std::size_t>(j)];
            mine = d < mine ? d : mine;
            if (mine < next.distance) next = {mine, static_cast<std::int32_t>(j)};
        });
        found.push_back({current, next.slot, next.distance});
        current = next.slot;
        tick(static_cast<index_t>(found.size()));
    }
    return found;
}

/// The tree over a matrix, whatever the linkage.
template <class T>
dendrogram linkage_over_matrix(cpu_context& ctx, linkage_matrix<T> matrix, linkage l, const linkage_progress& progress) {
    const index_t n = matrix.n();
    if (l == linkage::single) return make_dendrogram(n, spanning_tree_of_matrix(matrix, progress), true, child_order::ascending);
    if (l == linkage::centroid || l == linkage::median) {
        agglomerative_generic<T> clusters(ctx, std::move(matrix), l);
        return make_dendrogram(n, generic_linkage(clusters, n, progress), false, child_order::ascending);
    }
    agglomerative_matrix<T> clusters(ctx, std::move(matrix), l);
    return make_dendrogram(n, nearest_neighbour_chain(clusters, n, progress), true, child_order::ascending);
}

}  // namespace instar::cluster::detail

#endif
