#ifndef INSTAR_CLUSTER_DETAIL_NEAREST_ROWS_HPP
#define INSTAR_CLUSTER_DETAIL_NEAREST_ROWS_HPP

// Exact search for the nearest clusters of linkage_centers: a product of floats finds who may be near enough, a distance in
// double decides.
//
//     nearest_rows index(centers);
//     index.all_nearest(ctx, k, [&](std::int32_t slot, const linkage_neighbour* found, index_t n) { … });   // of all, once
//     index.rebuild(ctx, alive);                                   // slots of the clusters to search in from here on
//     index.search(ctx, slot, list);                               // list: k slots' room; known neighbours may be in it
//     index.moved(slot); index.remove(slot);                       // after a merge
//
// Clusters are cut into blocks of 256 that lie close together (nearest_rows_order.hpp). A block keeps its clusters relative to
// a point of its own, so that ‖a‖² + ‖b‖² − 2·a·b loses digits relative to the distances at hand, not to the whole cloud; and a
// radius, so that blocks too far away are skipped whole. all_nearest multiplies floats. search, one row at a time, is bound by
// memory and reads coordinates rounded to bytes. Either condition is loosened by a bound of its rounding; what passes is
// compared in double, by (distance, slot): the result is that of comparing everything in double, whatever the order, the
// threads and the blocks.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

#include "instar/cluster/detail/linkage_centers.hpp"
#include "instar/cluster/detail/linkage_chain.hpp"
#include "instar/cluster/detail/nearest_rows_order.hpp"
#include "instar/core/cpu_context.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/core/tensor.hpp"

namespace instar::cluster::detail {

/// The k nearest found so far, in order. Does not own its memory.
struct nearest_list {
    linkage_neighbour* found = nullptr;
    index_t n = 0, k = 0;

    /// Distances above this cannot enter.
    double threshold() const { return n < k ? std::numeric_limits<double>::infinity() : found[n - 1].distance; }
    bool insert(linkage_neighbour x) {
        if (n == k && !(x < found[n - 1])) return false;
        index_t at = n < k ? n++ : k - 1;
        for (; at > 0 && x < found[at - 1]; --at) found[at] = found[at - 1];
        found[at] = x;
        return true;
    }
    bool contains(std::int32_t slot) const {
        return std::any_of(found, found + n, [&](const linkage_neighbour& f) { return f.slot == slot; });
    }
};

class nearest_rows {
public:
    static constexpr index_t k_block = 256;
    static constexpr index_t k_serial = 800'000;  // takes some ten times as long as waking a thread

    explicit nearest_rows(const linkage_centers& centers)
        : centers_(centers), depth_(centers.depth()), kernels_(centers.kernels()), column_of_(static_cast<std::size_t>(centers.n()), -1) {}

    index_t n_columns() const { return n_columns_; }
    index_t n_alive() const { return n_alive_; }

    /// Arranges the given clusters for searches.
    void rebuild(cpu_context& ctx, std::vector<std::int32_t> alive) { arrange(ctx, std::move(alive), false); }

    void remove(std::int32_t slot) {
        const index_t column = column_of(slot);
        norm_[static_cast<std::size_t>(column)] = std::numeric_limits<float>::infinity();
        slots_[static_cast<std::size_t>(column)] = -1;
        --n_alive_;
    }
    /// The cluster's centre, size or spread changed.
    void moved(std::int32_t slot) {
        const index_t column = column_of(slot), home = column / k_block;
        if (!set_column(column)) set_codes(home);
    }

    /// The k nearest of each cluster, all of them alive: found(slot, list, n), from any thread, once a slot.
    template <class F>
    void all_nearest(cpu_context& ctx, index_t k, F&& found) {
        std::vector<std::int32_t> all(column_of_.size());
        std::iota(all.begin(), all.end(), 0);
        arrange(ctx, std::move(all), true);
        compare_all(ctx, k, found);
        packed_ = {};
    }

    /// Completes `list` to the nearest clusters of `slot`, as many as it has room for. What it holds already must be neighbours
    /// at their true distances. On this thread alone up to `serial` columns times coordinates.
    void search(cpu_context& ctx, std::int32_t slot, nearest_list& list, index_t serial = k_serial) const {
        const auto n_blocks = static_cast<index_t>(blocks_.size());
        const index_t home = column_of(slot) / k_block;
        search_blocks(slot, home, home + 1, list);  // where near ones are likely, so that little passes later
        if (n_blocks * k_block * (depth_ + 16) <= serial) return search_blocks(slot, 0, n_blocks, list);
        const index_t grain = std::max<index_t>(4, (n_blocks + 31) / 32), n_parts = (n_blocks + grain - 1) / grain;
        std::vector<linkage_neighbour> memory(static_cast<std::size_t>(n_parts * list.k));
        std::vector<nearest_list> parts(static_cast<std::size_t>(n_parts));
        parallel_for(ctx, n_blocks, grain, [&](index_t begin, index_t end) {
            const index_t part = begin / grain;
            nearest_list& mine = parts[static_cast<std::size_t>(part)];
            mine = {memory.data() + part * list.k, list.n, list.k};
            std::copy_n(list.found, list.n, mine.found);
            search_blocks(slot, begin, end, mine);
        });
        for (const nearest_list& part : parts) {
            for (index_t i = 0; i < part.n; ++i) {
                if (!list.contains(part.found[i].slot)) list.insert(part.found[i]);
            }
        }
    }

private:
    struct block {
        double radius = 0.0;  // of all centres about the origin
        double spread = 0.0;  // largest
        double weight = 0.0;  // largest of 1 / (2·size) under ward
        double unit = 0.0;    // what 1 in the bytes stands for
        double error = 0.0;   // largest ‖centre − what its bytes stand for‖
    };

    static constexpr double k_ulp = 0x1.0p-24;  // half a unit in the last place of float
    static constexpr index_t k_lanes_at_most = 16;

    bool ward() const { return centers_.kind() == center_linkage::ward; }
    double weight(std::int32_t slot) const { return ward() ? 0.5 / centers_.size(slot) : 0.0; }
    const double* origin(index_t b) const { return origins_.data() + b * centers_.stride(); }
    /// Bound of the relative rounding error of a sum of products over all coordinates.
    double gamma() const { return 2.0 * k_ulp * static_cast<double>(depth_ + 32); }

    /// The condition of nearest_rows.inl for one row against one block.
    struct condition {
        float constant = -std::numeric_limits<float>::infinity(), slope = 0.0f;
        bool possible = false;
    };
    /// `norm`: ‖row − origin‖², `reach`: a bound of every length that was rounded on the way, `margin`: more to allow for.
    condition condition_of(std::int32_t slot, double threshold, double norm, double reach, double margin, const block& columns) const {
        const double spread = centers_.spread(slot), mine = ward() ? 0.5 / centers_.size(slot) : 1.0;
        margin += gamma() * (reach * reach + spread + columns.spread) + 0x1.0p-46 * reach + 0x1.0p-100;  // 2⁻⁴⁶: subtractions in double
        const double t = threshold * (1.0 + gamma());
        const double gap = std::sqrt(std::max(0.0, norm - margin)) * (1.0 - 1e-9) - columns.radius;
        if (gap > 0.0 && gap * gap > t * (mine + columns.weight)) return {};
        return {static_cast<float>(t * mine - norm - spread + margin), ward() ? static_cast<float>(t) : 0.0f, true};
    }

    /// Rows compared together: at most as many as a tile has.
    struct rows {
        const std::int32_t* slots;
        index_t n;
        const float* packed;  // relative to the origin of their own block, [depth][lanes]
        double radius;        // within which they lie about it
        nearest_list* lists;
        double limit = std::numeric_limits<double>::infinity();  // largest threshold of the lists
    };

    /// Compares rows with a block of columns. Holds scratch, and the shift from one origin to the other.
    class comparer {
    public:
        explicit comparer(const nearest_rows& index)
            : index_(index), shift_(static_cast<std::size_t>(index.depth_)), rows_(static_cast<std::size_t>(index.depth_ * index.kernels_.layout.lanes)) {}

        /// What follows is about columns of `to` and rows of `from`, whose origins are `between` apart.
        void set_blocks(index_t from, index_t to, double between) {
            for (index_t p = 0; p < index_.depth_; ++p) shift_[static_cast<std::size_t>(p)] = static_cast<float>(index_.origin(from)[p] - index_.origin(to)[p]);
            to_ = to;
            between_ = between;
        }

        void compare(rows& r) {
            const block& columns = index_.blocks_[static_cast<std::size_t>(to_)];
            const double gap = (between_ - r.radius - columns.radius) * (1.0 - 1e-9);
            if (gap > 0.0 && gap * gap > r.limit * (1.0 + 1e-9)) return;  // under ward too: weights are at most ½
            index_.kernels_.shift(rows_.data(), r.packed, shift_.data(), index_.depth_, norm_);
            bool any = false;
            for (index_t i = 0; i < index_.kernels_.layout.lanes; ++i) {
                set_row(r, i, i < r.n ? condition_of(r, i, columns) : condition{});
                any = any || possible_;
            }
            if (!any) return;
            const index_t first = to_ * k_block, n_columns = std::min(k_block, index_.n_columns_ - first), panel = index_.kernels_.layout.panel;
            for (index_t j = 0; j < n_columns; j += panel) {
                const index_t at = first + j;
                const index_t n = index_.kernels_.tile(index_.depth_, rows_.data(), index_.packed_.data() + at * index_.depth_, index_.norm_.data() + at,
                                                       index_.weight_.data() + at, constant_, slope_, j, hits_);
                std::uint32_t changed = 0;
                for (index_t h = 0; h < n; ++h) {
                    const index_t i = hits_[h] >> 16;
                    const std::int32_t slot = r.slots[i], other = index_.slots_[static_cast<std::size_t>(first + (hits_[h] & 0xffff))];
                    if (other != slot && r.lists[i].insert({index_.centers_.distance(slot, other), other})) changed |= 1u << i;
                }
                for (index_t i = 0; changed != 0; ++i, changed >>= 1) {
                    if ((changed & 1u) != 0) set_row(r, i, condition_of(r, i, columns));
                }
            }
            r.limit = 0.0;
            for (index_t i = 0; i < r.n; ++i) r.limit = std::max(r.limit, r.lists[i].threshold());
        }

    private:
        condition condition_of(const rows& r, index_t i, const block& columns) const {
            return index_.condition_of(r.slots[i], r.lists[i].threshold(), static_cast<double>(norm_[i]), r.radius + between_ + columns.radius, 0.0, columns);
        }
        void set_row(const rows&, index_t i, const condition& c) {
            constant_[i] = c.constant;
            slope_[i] = c.slope;
            possible_ = c.possible;
        }

        const nearest_rows& index_;
        std::vector<float> shift_, rows_;
        index_t to_ = 0;
        double between_ = 0.0;
        bool possible_ = false;
        alignas(64) float norm_[k_lanes_at_most], constant_[k_lanes_at_most], slope_[k_lanes_at_most];
        std::uint32_t hits_[512];  // of the widest tile
    };

    template <class F>
    void compare_all(cpu_context& ctx, index_t k, F&& found) const {
        const auto n_blocks = static_cast<index_t>(blocks_.size());
        double largest = 0.0;  // radius
        for (const block& b : blocks_) largest = std::max(largest, b.radius);
        parallel_for(ctx, n_blocks, 1, [&](index_t begin, index_t end) {
            const index_t tile = kernels_.layout.rows, packed_size = kernels_.layout.lanes * depth_;
            std::vector<linkage_neighbour> memory(static_cast<std::size_t>(k_block * k));
            std::vector<nearest_list> lists(static_cast<std::size_t>(k_block));
            std::vector<std::pair<double, index_t>> order(static_cast<std::size_t>(n_blocks));
            std::vector<float> packed(static_cast<std::size_t>((k_block + tile - 1) / tile * packed_size));
            std::vector<rows> groups;
            comparer compare(*this);
            for (index_t mine = begin; mine < end; ++mine) {
                const index_t first = mine * k_block, n = std::min(k_block, n_columns_ - first), n_groups = (n + tile - 1) / tile;
                const double radius = blocks_[static_cast<std::size_t>(mine)].radius;
                for (index_t r = 0; r < n; ++r) lists[static_cast<std::size_t>(r)] = {memory.data() + r * k, 0, k};
                groups.clear();
                for (index_t q = 0; q < n_groups; ++q) {
                    const index_t r0 = n * q / n_groups, r1 = n * (q + 1) / n_groups;
                    float* out = packed.data() + q * packed_size;
                    pack_rows(out, origin(mine), slots_.data() + first + r0, r1 - r0);
                    groups.push_back({slots_.data() + first + r0, r1 - r0, out, radius, lists.data() + r0});
                }
                // Near blocks first: thresholds are tight by the time the far ones come, and at some point all are too far.
                for (index_t b = 0; b < n_blocks; ++b) {
                    order[static_cast<std::size_t>(b)] = {std::sqrt(centers_.squared_between(origin(mine), origin(b))), b};
                }
                std::sort(order.begin(), order.end());
                for (const auto& [between, b] : order) {
                    const double gap = (between - radius - largest) * (1.0 - 1e-9);
                    double limit = 0.0;
                    for (const rows& g : groups) limit = std::max(limit, g.limit);
                    if (gap > 0.0 && gap * gap > limit * (1.0 + 1e-9)) break;  // 1 / (2·size) is at most a half
                    compare.set_blocks(mine, b, between);
                    for (rows& g : groups) compare.compare(g);
                }
                for (index_t r = 0; r < n; ++r) {
                    const nearest_list& l = lists[static_cast<std::size_t>(r)];
                    found(slots_[static_cast<std::size_t>(first + r)], l.found, l.n);
                }
            }
        });
    }

    index_t column_of(std::int32_t slot) const { return column_of_[static_cast<std::size_t>(slot)]; }

    void search_blocks(std::int32_t slot, index_t begin, index_t end, nearest_list& list) const {
        std::vector<float> row(static_cast<std::size_t>(centers_.stride()));
        std::uint32_t hits[k_block];
        const double mine = ward() ? weight(slot) : 1.0;
        for (index_t b = begin; b < end; ++b) {
            const block& columns = blocks_[static_cast<std::size_t>(b)];
            const double norm = kernels_.row(row.data(), centers_.center(slot), origin(b), centers_.stride(), 2.0 * columns.unit), length = std::sqrt(norm);
            const double gap = (length - columns.radius) * (1.0 - 1e-9);
            if (gap > 0.0 && gap * gap > list.threshold() * (mine + columns.weight) * (1.0 + 1e-9)) continue;
            const condition c = condition_of(slot, list.threshold(), norm, length + columns.radius, 2.0 * length * columns.error, columns);
            if (!c.possible) continue;
            const index_t first = b * k_block;
            const index_t n = kernels_.scan(depth_, row.data(), codes_.data() + first * depth_, norm_.data() + first, weight_.data() + first, c.constant, c.slope,
                                            k_block, hits);
            for (index_t h = 0; h < n; ++h) {
                const std::int32_t other = slots_[static_cast<std::size_t>(first + hits[h])];
                if (other == slot || list.contains(other)) continue;
                list.insert({centers_.distance(slot, other), other});
            }
        }
    }

    void arrange(cpu_context& ctx, std::vector<std::int32_t> alive, bool as_floats) {
        n_alive_ = n_columns_ = static_cast<index_t>(alive.size());
        slots_ = std::move(alive);
        compact_order(centers_.centers(), slots_, k_block);
        const index_t n_blocks = (n_columns_ + k_block - 1) / k_block, room = n_blocks * k_block;
        slots_.resize(static_cast<std::size_t>(room), -1);
        blocks_.assign(static_cast<std::size_t>(n_blocks), {});
        norm_.assign(slots_.size(), std::numeric_limits<float>::infinity());
        weight_.assign(slots_.size(), 0.0f);
        origins_ = tensor<double, 2>({n_blocks, centers_.stride()});
        if (as_floats) packed_ = tensor<float, 1>({room * depth_});
        else codes_ = tensor<std::int8_t, 1>({room * depth_});
        parallel_for(ctx, n_blocks, 4, [&](index_t begin, index_t end) {
            for (index_t b = begin; b < end; ++b) set_block(b, as_floats);
        });
    }

    void set_block(index_t b, bool as_floats) {
        const index_t first = b * k_block, n = std::min(k_block, n_columns_ - first);
        double* mean = origins_.data() + b * centers_.stride();
        const double* about = centers_.center(slots_[static_cast<std::size_t>(first)]);
        for (index_t j = 0; j < n; ++j) {
            const double* row = centers_.center(slots_[static_cast<std::size_t>(first + j)]);
            for (index_t p = 0; p < depth_; ++p) mean[p] += row[p] - about[p];
        }
        for (index_t p = 0; p < depth_; ++p) mean[p] = about[p] + mean[p] / static_cast<double>(n);
        for (index_t j = 0; j < n; ++j) column_of_[static_cast<std::size_t>(slots_[static_cast<std::size_t>(first + j)])] = static_cast<std::int32_t>(first + j);
        if (!as_floats) return set_codes(b);
        for (index_t j = first; j < first + n; ++j) {
            const double* row = centers_.center(slots_[static_cast<std::size_t>(j)]);
            for (index_t p = 0; p < depth_; ++p) packed_.data()[place(j, p)] = static_cast<float>(row[p] - mean[p]);
            set_summary(j);
        }
    }

    /// Bytes of all columns of a block, in units that leave room for centres to move.
    void set_codes(index_t b) {
        const index_t first = b * k_block;
        double largest = 0.0;
        for (index_t j = first; j < first + k_block; ++j) {
            if (slots_[static_cast<std::size_t>(j)] < 0) continue;
            const double* row = centers_.center(slots_[static_cast<std::size_t>(j)]);
            for (index_t p = 0; p < depth_; ++p) largest = std::max(largest, std::fabs(row[p] - origin(b)[p]));
        }
        blocks_[static_cast<std::size_t>(b)] = {.unit = largest * (1.125 / 127.0), .error = 0.0};
        for (index_t j = first; j < first + k_block; ++j) {
            if (slots_[static_cast<std::size_t>(j)] >= 0) (void)set_column(j);
        }
    }

    /// The bytes of a column; false when a coordinate is out of their range.
    bool set_column(index_t column) {
        block& home = blocks_[static_cast<std::size_t>(column / k_block)];
        const double* row = centers_.center(slots_[static_cast<std::size_t>(column)]);
        const double per_unit = home.unit > 0.0 ? 1.0 / home.unit : 0.0;
        double error = 0.0;
        for (index_t p = 0; p < depth_; ++p) {
            const double x = row[p] - origin(column / k_block)[p], code = std::nearbyint(x * per_unit);
            if (std::fabs(code) > 127.0 || (x != 0.0 && home.unit == 0.0)) return false;
            codes_.data()[place(column, p)] = static_cast<std::int8_t>(code);
            error += (x - code * home.unit) * (x - code * home.unit);
        }
        home.error = std::max(home.error, std::sqrt(error) * (1.0 + 1e-9));
        set_summary(column);
        return true;
    }

    void set_summary(index_t column) {
        const std::int32_t slot = slots_[static_cast<std::size_t>(column)];
        block& home = blocks_[static_cast<std::size_t>(column / k_block)];
        const double squares = centers_.squared_between(centers_.center(slot), origin(column / k_block));
        norm_[static_cast<std::size_t>(column)] = static_cast<float>(squares + centers_.spread(slot));
        weight_[static_cast<std::size_t>(column)] = static_cast<float>(weight(slot));
        home.radius = std::max(home.radius, std::sqrt(squares) * (1.0 + 1e-9));
        home.spread = std::max(home.spread, centers_.spread(slot));
        home.weight = std::max(home.weight, weight(slot));
    }

    /// Where coordinate p of a column lies: panels of [depth][panel].
    index_t place(index_t column, index_t p) const {
        const index_t panel = kernels_.layout.panel;
        return column / panel * panel * depth_ + p * panel + column % panel;
    }
    /// Rows relative to an origin, [depth][lanes]; rows that are not there are zero.
    void pack_rows(float* out, const double* about, const std::int32_t* slots, index_t n) const {
        const index_t lanes = kernels_.layout.lanes;
        std::fill_n(out, depth_ * lanes, 0.0f);
        for (index_t r = 0; r < n; ++r) {
            const double* row = centers_.center(slots[r]);
            for (index_t p = 0; p < depth_; ++p) out[p * lanes + r] = static_cast<float>(row[p] - about[p]);
        }
    }

    const linkage_centers& centers_;
    index_t depth_;
    nearest_kernels kernels_;
    index_t n_columns_ = 0, n_alive_ = 0;
    std::vector<std::int32_t> slots_;      // of each column; −1: not there (any more)
    std::vector<std::int32_t> column_of_;  // of each slot
    std::vector<block> blocks_;
    tensor<double, 2> origins_;
    tensor<float, 1> packed_;           // panels of [depth][panel], for all_nearest
    tensor<std::int8_t, 1> codes_;      // the same for search, in units of the block
    std::vector<float> norm_, weight_;  // of each column
};

}  // namespace instar::cluster::detail

#endif
