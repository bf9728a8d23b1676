#ifndef INSTAR_CLUSTER_DETAIL_AGGLOMERATIVE_SINGLE_HPP
#define INSTAR_CLUSTER_DETAIL_AGGLOMERATIVE_SINGLE_HPP

// Single linkage by a minimum spanning tree (Prim, 1957): points join the tree one by one, always the nearest to it, each
// recorded with the point that joined before. Sorted by length these edges give the same clusters as the tree's own (Müllner,
// "Modern hierarchical, agglomerative clustering algorithms", arXiv:1109.2378). Of equally near points the first joins: what
// SciPy and scikit-learn do, so ties give their trees too.
//
// O(n·d) memory. Points lie in compact blocks of 128; a block whose points are all nearer to the tree than they can be to the
// point that joined last is skipped. Distances are the plain double ones, so skipping changes nothing.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

#include "instar/cluster/detail/linkage_chain.hpp"
#include "instar/cluster/detail/linkage_distances.hpp"
#include "instar/cluster/detail/nearest_rows_order.hpp"
#include "instar/core/cpu_context.hpp"
#include "instar/core/parallel_for.hpp"

namespace instar::cluster::detail {

class spanning_tree {
public:
    static constexpr index_t k_block = 128;

    spanning_tree(cpu_context& ctx, tensor_view<const float, 2> x, linkage_metric metric) : ctx_(ctx), metric_(metric), n_(x.extent(0)), depth_(x.extent(1)) {
        rows_ = metric_.rows(ctx, x);
        point_.resize(static_cast<std::size_t>(n_));
        std::iota(point_.begin(), point_.end(), 0);
        compact_order(rows_.view(), point_, k_block);
        const index_t n_blocks = (n_ + k_block - 1) / k_block;
        blocks_.resize(static_cast<std::size_t>(n_blocks));
        panels_ = tensor<double, 1>({n_blocks * k_block * depth_});
        origins_ = tensor<double, 1>({(n_blocks + 7) / 8 * 8 * depth_});
        nearest_.assign(static_cast<std::size_t>(n_blocks * k_block), std::numeric_limits<double>::infinity());
        parallel_for(ctx, n_blocks, 8, [&](index_t begin, index_t end) {
            for (index_t b = begin; b < end; ++b) set_block(b);
        });
    }

    std::vector<merge_record> edges(const linkage_progress& progress) {
        std::vector<merge_record> found;
        found.reserve(static_cast<std::size_t>(n_ - 1));
        const auto n_blocks = static_cast<index_t>(blocks_.size());
        std::vector<double> between(static_cast<std::size_t>((n_blocks + 7) / 8 * 8));
        std::vector<std::int32_t> touched;
        const linkage_ticks tick(progress, n_ - 1);
        std::int32_t current = 0;
        take(current);
        while (static_cast<index_t>(found.size()) < n_ - 1) {
            const double* row = rows_.data() + current * depth_;
            metric_.squares(between.data(), depth_, row, origins_.data(), (n_blocks + 7) / 8);
            touched.clear();
            for (index_t b = 0; b < n_blocks; ++b) {
                const block& place = blocks_[static_cast<std::size_t>(b)];
                if (place.n == 0) continue;
                const double length = std::sqrt(between[static_cast<std::size_t>(b)]) * (1.0 - 1e-12) - place.radius;
                if (length <= 0.0 || metric_.of_length(length) * (1.0 - 1e-12) < place.farthest) touched.push_back(static_cast<std::int32_t>(b));
            }
            const auto n_touched = static_cast<index_t>(touched.size());
            constexpr double k_worth = 2e5;  // differences that take some ten times as long as waking a thread
            const double work = static_cast<double>(n_touched * k_block * depth_);
            const auto visit = [&](index_t begin, index_t end) {
                for (index_t i = begin; i < end; ++i) visit_block(touched[static_cast<std::size_t>(i)], row);
            };
            if (work < k_worth) visit(0, n_touched);
            else parallel_for(ctx_, n_touched, std::max<index_t>(4, (n_touched + 31) / 32), visit);
            linkage_neighbour next;
            for (const block& place : blocks_) next = std::min(next, place.first);
            found.push_back({current, next.slot, next.distance});
            current = next.slot;
            take(current);
            tick(static_cast<index_t>(found.size()));
        }
        return found;
    }

private:
    struct block {
        index_t n = 0;            // points not in the tree yet, the first of the block's columns
        double radius = 0.0;      // ‖·‖ of all its points about the origin
        double farthest = std::numeric_limits<double>::infinity();  // largest distance to the tree
        linkage_neighbour first;  // the point that is to join first
    };

    void set_block(index_t b) {
        block& place = blocks_[static_cast<std::size_t>(b)];
        const index_t first = b * k_block;
        place.n = std::min(k_block, n_ - first);
        std::vector<double> origin(static_cast<std::size_t>(depth_), 0.0);
        for (index_t j = 0; j < place.n; ++j) {
            const double* row = rows_.data() + point_[static_cast<std::size_t>(first + j)] * depth_;
            double* column = panel_column(panels_.data(), depth_, first + j);
            for (index_t p = 0; p < depth_; ++p) {
                column[p * 8] = row[p];
                origin[static_cast<std::size_t>(p)] += row[p] / static_cast<double>(place.n);
            }
        }
        double* column = panel_column(origins_.data(), depth_, b);
        for (index_t p = 0; p < depth_; ++p) column[p * 8] = origin[static_cast<std::size_t>(p)];
        for (index_t j = 0; j < place.n; ++j) {
            const double* row = rows_.data() + point_[static_cast<std::size_t>(first + j)] * depth_;
            double squares = 0.0;
            for (index_t p = 0; p < depth_; ++p) squares += (row[p] - origin[static_cast<std::size_t>(p)]) * (row[p] - origin[static_cast<std::size_t>(p)]);
            place.radius = std::max(place.radius, std::sqrt(squares) * (1.0 + 1e-12));
        }
    }

    void visit_block(index_t b, const double* row) {
        block& place = blocks_[static_cast<std::size_t>(b)];
        const index_t first = b * k_block;
        double distance[k_block];
        metric_.distances(distance, depth_, row, panels_.data() + first * depth_, (place.n + 7) / 8);
        for (index_t j = 0; j < place.n; ++j) {
            double& nearest = nearest_[static_cast<std::size_t>(first + j)];
            nearest = distance[j] < nearest ? distance[j] : nearest;
        }
        summarise(b);
    }

    void summarise(index_t b) {
        block& place = blocks_[static_cast<std::size_t>(b)];
        const index_t first = b * k_block;
        place.farthest = 0.0;
        place.first = {};
        for (index_t j = 0; j < place.n; ++j) {
            const double d = nearest_[static_cast<std::size_t>(first + j)];
            place.farthest = std::max(place.farthest, d);
            if (d <= place.first.distance) place.first = std::min(place.first, linkage_neighbour{d, point_[static_cast<std::size_t>(first + j)]});
        }
    }

    /// A point joins the tree: the block's last point takes its column.
    void take(std::int32_t point) {
        if (column_of_.empty()) {
            column_of_.resize(static_cast<std::size_t>(n_));
            for (index_t j = 0; j < n_; ++j) column_of_[static_cast<std::size_t>(point_[static_cast<std::size_t>(j)])] = static_cast<std::int32_t>(j);
        }
        const index_t at = column_of_[static_cast<std::size_t>(point)], b = at / k_block;
        block& place = blocks_[static_cast<std::size_t>(b)];
        const index_t last = b * k_block + --place.n;
        if (at != last) {
            double* to = panel_column(panels_.data(), depth_, at);
            const double* from = panel_column(panels_.data(), depth_, last);
            for (index_t p = 0; p < depth_; ++p) to[p * 8] = from[p * 8];
            nearest_[static_cast<std::size_t>(at)] = nearest_[static_cast<std::size_t>(last)];
            const std::int32_t moved = point_[static_cast<std::size_t>(at)] = point_[static_cast<std::size_t>(last)];
            column_of_[static_cast<std::size_t>(moved)] = static_cast<std::int32_t>(at);
        }
        summarise(b);
    }

    cpu_context& ctx_;
    point_metric metric_;
    index_t n_, depth_;
    tensor<double, 2> rows_;
    std::vector<std::int32_t> point_, column_of_;
    std::vector<block> blocks_;
    tensor<double, 1> panels_, origins_;  // [·][depth][8]
    std::vector<double> nearest_;         // distance of each column's point to the tree
};

}  // namespace instar::cluster::detail

#endif
