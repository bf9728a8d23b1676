#ifndef INSTAR_CLUSTER_DETAIL_AGGLOMERATIVE_GENERIC_HPP
#define INSTAR_CLUSTER_DETAIL_AGGLOMERATIVE_GENERIC_HPP

// Clusters over a condensed matrix for the generic algorithm (linkage_generic.hpp), which takes every linkage.

#include <cstdint>
#include <utility>
#include <vector>

#include "instar/cluster/detail/linkage_generic.hpp"
#include "instar/cluster/detail/linkage_kinds.hpp"
#include "instar/cluster/detail/linkage_matrix.hpp"

namespace instar::cluster::detail {

template <class T>
class agglomerative_generic {
public:
    agglomerative_generic(cpu_context& ctx, linkage_matrix<T> matrix, linkage l)
        : ctx_(ctx), linkage_(l), matrix_(std::move(matrix)), members_(static_cast<std::size_t>(matrix_.n()), 1), to_union_(members_.size()) {}

    void search_all(std::vector<linkage_neighbour>& found) {
        parallel_for(ctx_, matrix_.n() - 1, 64, [&](index_t begin, index_t end) {
            for (index_t x = begin; x < end; ++x) found[static_cast<std::size_t>(x)] = search(static_cast<std::int32_t>(x));
        });
    }

    linkage_neighbour search(std::int32_t x) const {
        linkage_neighbour best;
        const T* row = matrix_.row(x);
        for (std::int32_t j = x + 1; j < matrix_.n(); ++j) {
            const auto distance = static_cast<double>(row[j - x - 1]);
            if (distance < best.distance && alive(j)) best = {distance, j};
        }
        return best;
    }

    double distance(std::int32_t x, std::int32_t y) const { return static_cast<double>(matrix_(x, y)); }
    bool alive(std::int32_t x) const { return members_[static_cast<std::size_t>(x)] > 0; }

    const double* merge(std::int32_t x, std::int32_t y, double height) {
        auto &m_x = members_[static_cast<std::size_t>(x)], &m_y = members_[static_cast<std::size_t>(y)];
        const auto n_x = static_cast<double>(m_x), n_y = static_cast<double>(m_y);
        m_y += m_x;
        m_x = 0;
        for (std::int32_t z = 0; z < matrix_.n(); ++z) {
            if (!alive(z) || z == y) continue;
            T& at = matrix_(z, y);
            const double merged = merged_distance(linkage_, static_cast<double>(matrix_(z, x)), static_cast<double>(at), height, n_x, n_y,
                                                  static_cast<double>(members_[static_cast<std::size_t>(z)]));
            // The square under the root may fall below zero by rounding, where it is zero.
            at = static_cast<T>(merged >= 0.0 ? merged : 0.0);
            to_union_[static_cast<std::size_t>(z)] = static_cast<double>(at);
        }
        return to_union_.data();
    }

private:
    cpu_context& ctx_;
    linkage linkage_;
    linkage_matrix<T> matrix_;
    std::vector<std::int32_t> members_;  // of each slot; 0 = merged into another
    std::vector<double> to_union_;
};

}  // namespace instar::cluster::detail

#endif
