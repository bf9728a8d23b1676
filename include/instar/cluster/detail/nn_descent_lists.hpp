#ifndef INSTAR_CLUSTER_DETAIL_NN_DESCENT_LISTS_HPP
#define INSTAR_CLUSTER_DETAIL_NN_DESCENT_LISTS_HPP

// The parts of nn_descent.hpp: rows about their mean, lists of neighbours, leaves of random projection trees, joins.
//
//     nn_descent_joins joins(rows, lists, 60);
//     joins.join_leaves(ctx, projection_leaves(ctx, rows, 60, rng));      // every pair of a leaf
//     index_t n_changes = joins.round(ctx, rng, 4096);                      // every pair of a row's neighbours

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <vector>

#include "instar/core/cpu_context.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/core/philox.hpp"
#include "instar/core/tensor.hpp"
#include "instar/ops/cpu/gemm_serial.hpp"

namespace instar::cluster::detail {

/// Euclidean distance, or 1 − cosine, of rows i and j, in double.
inline double nn_descent_distance(tensor_view<const float, 2> x, const std::vector<double>& squares, bool cosine, index_t i, index_t j) {
    double s = 0.0;
    const double a = cosine ? 1.0 / std::sqrt(squares[static_cast<std::size_t>(i)]) : 1.0, b = cosine ? 1.0 / std::sqrt(squares[static_cast<std::size_t>(j)]) : 1.0;
    for (index_t c = 0; c < x.extent(1); ++c) {
        const double by = a * static_cast<double>(x(i, c)) - b * static_cast<double>(x(j, c));
        s += by * by;
    }
    return cosine ? 0.5 * s : std::sqrt(s);
}

/// Rows in float about their mean (of length 1 before, for cosine), and their squared lengths: what products make distances of.
class nn_descent_rows {
public:
    nn_descent_rows(cpu_context& ctx, tensor_view<const float, 2> x, bool cosine, const std::vector<double>& squares) : values_({x.extent(0), x.extent(1)}), squares_({x.extent(0)}) {
        const index_t n = x.extent(0), d = x.extent(1);
        std::vector<double> mean(static_cast<std::size_t>(d), 0.0);
        const auto scale = [&](index_t i) { return cosine ? 1.0 / std::sqrt(squares[static_cast<std::size_t>(i)]) : 1.0; };
        for (index_t i = 0; i < n; ++i) {
            for (index_t c = 0; c < d; ++c) mean[static_cast<std::size_t>(c)] += scale(i) * static_cast<double>(x(i, c)) / static_cast<double>(n);
        }
        parallel_for(ctx, n, 256, [&](index_t begin, index_t end) {
            for (index_t i = begin; i < end; ++i) {
                double s = 0.0;
                for (index_t c = 0; c < d; ++c) {
                    values_(i, c) = static_cast<float>(scale(i) * static_cast<double>(x(i, c)) - mean[static_cast<std::size_t>(c)]);
                    s += static_cast<double>(values_(i, c)) * static_cast<double>(values_(i, c));
                }
                squares_(i) = static_cast<float>(s);
            }
        });
    }
    index_t n() const { return values_.extent(0); }
    index_t d() const { return values_.extent(1); }
    const float* row(index_t i) const { return values_.data() + i * d(); }
    float square(index_t i) const { return squares_(i); }

private:
    tensor<float, 2> values_;
    tensor<float, 1> squares_;
};

struct nn_entry {
    float distance = std::numeric_limits<float>::infinity();  ///< squared
    std::int32_t index = -1;
    bool is_new = false;

    friend bool operator<(const nn_entry& a, const nn_entry& b) { return a.distance != b.distance ? a.distance < b.distance : a.index < b.index; }
};

/// k nearest so far of each row, sorted, the row itself not among them.
class nn_descent_lists {
public:
    nn_descent_lists(index_t n, index_t k) : k_(k), entries_(static_cast<std::size_t>(n * k)) {}
    index_t k() const { return k_; }
    std::span<nn_entry> of(index_t i) { return {entries_.data() + i * k_, static_cast<std::size_t>(k_)}; }
    std::span<const nn_entry> of(index_t i) const { return {entries_.data() + i * k_, static_cast<std::size_t>(k_)}; }
    float worst(index_t i) const { return of(i).back().distance; }

    /// True when the entry was taken: it is nearer than the last, and not there yet.
    bool insert(index_t i, const nn_entry& e) {
        const auto list = of(i);
        if (!(e < list.back())) return false;
        // One pair's products may differ by rounding: the index decides, wherever it stands.
        for (const nn_entry& there : list) {
            if (there.index == e.index) return false;
        }
        std::size_t at = list.size() - 1;
        for (; at > 0 && e < list[at - 1]; --at) list[at] = list[at - 1];
        list[at] = e;
        return true;
    }

private:
    index_t k_;
    std::vector<nn_entry> entries_;
};

/// Rows in the leaves of one random projection tree: halves by the plane between two random rows of each node.
struct leaf_set {
    std::vector<std::int32_t> rows;
    std::vector<index_t> start;  // of each leaf, and the end
};
inline leaf_set projection_leaves(cpu_context& ctx, const nn_descent_rows& x, index_t leaf_size, philox rng) {
    const index_t n = x.n(), d = x.d();
    leaf_set leaves;
    leaves.rows.resize(static_cast<std::size_t>(n));
    for (index_t i = 0; i < n; ++i) leaves.rows[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(i);
    std::vector<std::pair<index_t, index_t>> level{{0, n}}, next;
    std::vector<float> side(static_cast<std::size_t>(n));
    for (std::uint64_t depth = 0; !level.empty(); ++depth) {
        next.assign(2 * level.size(), {0, 0});
        std::vector<char> is_leaf(level.size(), 0);
        parallel_for(ctx, static_cast<index_t>(level.size()), 1, [&](index_t begin, index_t end) {
            std::vector<float> normal(static_cast<std::size_t>(d));
            for (index_t node = begin; node < end; ++node) {
                const auto [first, last] = level[static_cast<std::size_t>(node)];
                const auto size = static_cast<std::uint32_t>(last - first);
                if (last - first <= leaf_size) {
                    is_leaf[static_cast<std::size_t>(node)] = 1;
                    continue;
                }
                const philox own = rng.fork(depth).fork(static_cast<std::uint64_t>(first));
                std::int32_t* const rows = leaves.rows.data() + first;
                const std::uint32_t p = own.below(0, size);
                std::uint32_t q = own.below(1, size - 1);
                q += q >= p ? 1u : 0u;
                const float *const a = x.row(rows[p]), *const b = x.row(rows[q]);
                for (index_t c = 0; c < d; ++c) normal[static_cast<std::size_t>(c)] = a[c] - b[c];
                std::vector<std::pair<float, std::int32_t>> order(size);
                for (std::uint32_t i = 0; i < size; ++i) {
                    const float* const r = x.row(rows[i]);
                    float s = 0.0f;
                    for (index_t c = 0; c < d; ++c) s += normal[static_cast<std::size_t>(c)] * r[c];
                    order[i] = {s, rows[i]};
                }
                // By rank, not by the plane: halves of equal size, whatever the data (also when all rows are equal).
                std::nth_element(order.begin(), order.begin() + size / 2, order.end());
                for (std::uint32_t i = 0; i < size; ++i) rows[i] = order[i].second;
                std::sort(rows, rows + size / 2);
                std::sort(rows + size / 2, rows + size);
                const index_t middle = first + size / 2;
                next[static_cast<std::size_t>(2 * node)] = {first, middle};
                next[static_cast<std::size_t>(2 * node + 1)] = {middle, last};
            }
        });
        std::vector<std::pair<index_t, index_t>> kept;
        for (std::size_t node = 0; node < level.size(); ++node) {
            if (is_leaf[node]) {
                leaves.start.push_back(level[node].first);
                continue;
            }
            kept.push_back(next[2 * node]);
            kept.push_back(next[2 * node + 1]);
        }
        level = std::move(kept);
    }
    std::sort(leaves.start.begin(), leaves.start.end());
    leaves.start.push_back(n);
    return leaves;
}

class nn_descent_joins {
public:
    nn_descent_joins(const nn_descent_rows& rows, nn_descent_lists& lists, index_t max_candidates) : rows_(rows), lists_(lists), most_(max_candidates) {}

    /// Every pair of rows of a leaf.
    void join_leaves(cpu_context& ctx, const leaf_set& leaves) {
        const auto n_leaves = static_cast<index_t>(leaves.start.size()) - 1;
        for_chunks(ctx, n_leaves, 512, [&](index_t leaf, join_scratch& scratch, std::vector<update>& out) {
            const index_t first = leaves.start[static_cast<std::size_t>(leaf)], last = leaves.start[static_cast<std::size_t>(leaf) + 1];
            const std::span<const std::int32_t> members(leaves.rows.data() + first, static_cast<std::size_t>(last - first));
            compare(scratch, members, {}, out);
        });
    }

    /// Each row's new neighbours, and the rows that have it for a new neighbour, with each other and with the old ones. Returns how many
    /// entries changed. `chunk` rows are joined before lists take what they found.
    index_t round(cpu_context& ctx, philox rng, index_t chunk) {
        const index_t n = rows_.n();
        gather_candidates(ctx, rng);
        return for_chunks(ctx, n, chunk, [&](index_t i, join_scratch& scratch, std::vector<update>& out) {
            compare(scratch, {fresh_.data() + i * most_, static_cast<std::size_t>(n_fresh_[static_cast<std::size_t>(i)])},
                    {old_.data() + i * most_, static_cast<std::size_t>(n_old_[static_cast<std::size_t>(i)])}, out);
        });
    }

private:
    struct update {
        std::int32_t to, from;
        float distance;
        friend bool operator<(const update& a, const update& b) {
            if (a.to != b.to) return a.to < b.to;
            return a.distance != b.distance ? a.distance < b.distance : a.from < b.from;
        }
    };
    struct join_scratch {
        std::vector<float> left, right, products;
    };

    /// f collects updates of item i against the lists as they are; after every chunk of items they are merged, in the order of rows.
    index_t for_chunks(cpu_context& ctx, index_t n_items, index_t chunk, const std::function<void(index_t, join_scratch&, std::vector<update>&)>& f) {
        constexpr index_t k_grain = 32;
        index_t n_changes = 0;
        for (index_t begin = 0; begin < n_items; begin += chunk) {
            const index_t end = std::min(n_items, begin + chunk), n_parts = (end - begin + k_grain - 1) / k_grain;
            std::vector<std::vector<update>> parts(static_cast<std::size_t>(n_parts));
            parallel_for(ctx, n_parts, 1, [&](index_t first, index_t last) {
                join_scratch scratch;
                for (index_t p = first; p < last; ++p) {
                    for (index_t i = begin + p * k_grain; i < std::min(end, begin + (p + 1) * k_grain); ++i) f(i, scratch, parts[static_cast<std::size_t>(p)]);
                }
            });
            std::vector<update> all;
            std::size_t total = 0;
            for (const auto& part : parts) total += part.size();
            all.reserve(total);
            for (auto& part : parts) all.insert(all.end(), part.begin(), part.end());
            std::sort(all.begin(), all.end());
            for (const update& u : all) n_changes += lists_.insert(u.to, {u.distance, u.from, true}) ? 1 : 0;
        }
        return n_changes;
    }

    /// Pairs within `fresh` and between `fresh` and `old`: squared distances from one product.
    void compare(join_scratch& s, std::span<const std::int32_t> fresh, std::span<const std::int32_t> old, std::vector<update>& out) const {
        const auto m = static_cast<index_t>(fresh.size()), w = m + static_cast<index_t>(old.size()), d = rows_.d();
        if (m == 0 || w < 2) return;
        s.right.resize(static_cast<std::size_t>(w * d));
        s.products.resize(static_cast<std::size_t>(m * w));
        const auto name = [&](index_t j) { return j < m ? fresh[static_cast<std::size_t>(j)] : old[static_cast<std::size_t>(j - m)]; };
        for (index_t j = 0; j < w; ++j) std::copy_n(rows_.row(name(j)), d, s.right.data() + j * d);
        ops::cpu::gemm_serial({.m = m, .n = w, .k = d, .a = s.right.data(), .lda = d, .b = s.right.data(), .ldb = d, .transpose_b = true, .c = s.products.data(), .ldc = w});
        for (index_t i = 0; i < m; ++i) {
            const std::int32_t a = name(i);
            const float worst_a = lists_.worst(a), square_a = rows_.square(a);
            for (index_t j = i + 1; j < w; ++j) {
                const std::int32_t b = name(j);
                if (a == b) continue;
                const float distance = std::max(0.0f, square_a + rows_.square(b) - 2.0f * s.products[static_cast<std::size_t>(i * w + j)]);
                if (distance <= worst_a) out.push_back({a, b, distance});
                if (distance <= lists_.worst(b)) out.push_back({b, a, distance});
            }
        }
    }

    /// For each row at most most_ new and most_ old candidates of both directions, chosen by random priority; those chosen as new are new
    /// no more.
    void gather_candidates(cpu_context& ctx, philox rng) {
        const index_t n = rows_.n();
        struct arc {
            std::uint32_t priority;
            std::int32_t index;
            bool is_new;
        };
        // Reverse arcs by counting sort.
        std::vector<index_t> start(static_cast<std::size_t>(n) + 1, 0);
        for (index_t i = 0; i < n; ++i) {
            for (const nn_entry& e : lists_.of(i)) {
                if (e.index >= 0) ++start[static_cast<std::size_t>(e.index) + 1];
            }
        }
        for (std::size_t i = 1; i < start.size(); ++i) start[i] += start[i - 1];
        std::vector<std::int32_t> from(static_cast<std::size_t>(start.back()));
        std::vector<char> from_new(from.size());
        {
            std::vector<index_t> at(start.begin(), start.end() - 1);
            for (index_t i = 0; i < n; ++i) {
                for (const nn_entry& e : lists_.of(i)) {
                    if (e.index < 0) continue;
                    const auto place = static_cast<std::size_t>(at[static_cast<std::size_t>(e.index)]++);
                    from[place] = static_cast<std::int32_t>(i);
                    from_new[place] = e.is_new ? 1 : 0;
                }
            }
        }
        fresh_.assign(static_cast<std::size_t>(n * most_), 0);
        old_.assign(fresh_.size(), 0);
        n_fresh_.assign(static_cast<std::size_t>(n), 0);
        n_old_.assign(n_fresh_.size(), 0);
        parallel_for(ctx, n, 256, [&](index_t begin, index_t end) {
            std::vector<arc> arcs;
            for (index_t i = begin; i < end; ++i) {
                arcs.clear();
                // An arc's priority is that of its pair of rows, in this round.
                const auto add = [&](std::int32_t other, bool is_new) {
                    const auto low = static_cast<std::uint64_t>(std::min<index_t>(i, other)), high = static_cast<std::uint64_t>(std::max<index_t>(i, other));
                    arcs.push_back({rng.bits(low << 32 | high), other, is_new});
                };
                for (const nn_entry& e : lists_.of(i)) {
                    if (e.index >= 0) add(e.index, e.is_new);
                }
                for (index_t r = start[static_cast<std::size_t>(i)]; r < start[static_cast<std::size_t>(i) + 1]; ++r) add(from[static_cast<std::size_t>(r)], from_new[static_cast<std::size_t>(r)] != 0);
                std::sort(arcs.begin(), arcs.end(), [](const arc& a, const arc& b) { return a.priority != b.priority ? a.priority < b.priority : a.index != b.index ? a.index < b.index : a.is_new > b.is_new; });
                std::int32_t last = -1;
                for (const arc& a : arcs) {
                    if (a.index == last) continue;  // both directions of one pair are neighbours in the order
                    last = a.index;
                    index_t& count = a.is_new ? n_fresh_[static_cast<std::size_t>(i)] : n_old_[static_cast<std::size_t>(i)];
                    if (count < most_) (a.is_new ? fresh_ : old_)[static_cast<std::size_t>(i * most_ + count++)] = a.index;
                }
                const auto chosen = fresh_.begin() + i * most_, end_of_chosen = chosen + n_fresh_[static_cast<std::size_t>(i)];
                for (nn_entry& e : lists_.of(i)) {
                    if (e.is_new && std::find(chosen, end_of_chosen, e.index) != end_of_chosen) e.is_new = false;
                }
            }
        });
    }

    const nn_descent_rows& rows_;
    nn_descent_lists& lists_;
    index_t most_;
    std::vector<std::int32_t> fresh_, old_;   // [n, most_]
    std::vector<index_t> n_fresh_, n_old_;
};

}  // namespace instar::cluster::detail

#endif
